"""Which rule lets a packet pass or stops it: network ACLs by rule order, security groups by any.

Pure: what EC2 describes goes in, the rule that decides comes out.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ANY = "-1"
TCP, UDP, ICMP, ICMPV6 = "6", "17", "1", "58"
LAST_RULE = 32766
"""Later numbers are the default rules, which people know as `*`."""

_NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMPV6, "all": ANY}
_WITH_PORTS = {TCP, UDP}
_WITH_TYPES = {ICMP, ICMPV6}


@dataclass(frozen=True)
class Packet:
    """A packet, or all those that agree with it where it leaves something open.

    `port` is where it goes to, on our side if it comes in, on the remote side if it goes out. Of an
    ICMP packet it is the type, and `code` is the code.
    """

    remote: Address | Network
    egress: bool = False
    protocol: str = ANY  # as a number; -1 leaves it open
    port: int | None = None
    code: int | None = None

    def __str__(self) -> str:
        """Name it as a responder would: `ingress tcp/443 with 198.51.100.7`."""
        names = {number: name for name, number in _NUMBERS.items()} | {ANY: "traffic"}
        kind = names.get(self.protocol, f"protocol {self.protocol}")
        port = "" if self.port is None else f"/{self.port}"
        return f"{_direction(self.egress)} {kind}{port} with {self.remote}"


@dataclass(frozen=True)
class Ruling:
    """The rule of a network ACL that decides on a packet; without a number it is the default."""

    packet: Packet
    allowed: bool
    number: int | None = None
    before: int | None = None  # the first later rule that would allow it

    def __str__(self) -> str:
        """Say it in a sentence: `ingress rule 71 denies 198.51.100.7 before rule 100 allows it`."""
        number = "*" if self.number is None else self.number
        verb = "allows" if self.allowed else "denies"
        rule = f"{_direction(self.packet.egress)} rule {number} {verb} {self.packet.remote}"
        return rule if self.before is None else f"{rule} before rule {self.before} allows it"


def acl_rule(acl: Mapping[str, Any], packet: Packet) -> Ruling:
    """Return the rule of a network ACL that decides on a packet.

    Where the packet leaves something open, it is allowed if any such packet is: the ruling is then
    on the first rule that lets one pass.
    """
    rules = sorted(
        (_Rule.of_entry(entry) for entry in acl["Entries"] if entry["Egress"] == packet.egress),
        key=lambda rule: rule.number,
    )
    rulings = [_decide(rules, packet, one) for one in _representatives(rules, packet)]
    allowed = [ruling for ruling in rulings if ruling.allowed]
    return min(allowed or rulings, key=lambda r: LAST_RULE + 1 if r.number is None else r.number)


def group_rule(groups: Iterable[Mapping[str, Any]], packet: Packet) -> str | None:
    """Name the security group rule that lets a packet through; None if none does.

    Where the packet leaves something open, a rule that lets any such packet through counts. So does
    one that refers to a prefix list or a group, whoever is in it.
    """
    key = "IpPermissionsEgress" if packet.egress else "IpPermissions"
    for group in groups:
        for permission in group.get(key) or ():
            if not _Rule.of_permission(permission).speaks_of(packet):
                continue
            if source := _source(permission, packet.remote):
                kind = _said(permission)
                return f"{group['GroupId']} allows {_direction(packet.egress)} {kind} {source}"
    return None


@dataclass(frozen=True)
class _Rule:
    """One rule, of either kind, with its ranges closed; an open range is the whole."""

    protocol: str
    ports: tuple[int, int] = (0, 65535)
    types: tuple[int, int] = (0, 255)
    codes: tuple[int, int] = (0, 255)
    network: Network | None = None
    number: int = 0
    allows: bool = True

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> "_Rule":
        """Read an entry of a network ACL."""
        block = entry.get("CidrBlock") or entry["Ipv6CidrBlock"]
        ports, icmp = entry.get("PortRange") or {}, entry.get("IcmpTypeCode") or {}
        return cls(
            protocol=str(entry["Protocol"]),
            ports=(ports.get("From", 0), ports.get("To", 65535)),
            types=_one_or_all(icmp.get("Type", -1)),
            codes=_one_or_all(icmp.get("Code", -1)),
            network=ip_network(block, strict=False),
            number=int(entry["RuleNumber"]),
            allows=entry["RuleAction"] == "allow",
        )

    @classmethod
    def of_permission(cls, permission: Mapping[str, Any]) -> "_Rule":
        """Read a permission of a security group, but for whom it concerns."""
        name = str(permission["IpProtocol"]).lower()
        first, last = permission.get("FromPort", -1), permission.get("ToPort", -1)
        return cls(
            protocol=_NUMBERS.get(name, name),
            ports=(0, 65535) if first == -1 else (first, last),
            types=_one_or_all(first),  # of ICMP, FromPort is the type and ToPort the code
            codes=_one_or_all(last),
        )

    def matches(self, packet: Packet) -> bool:
        """Return whether it concerns a packet that leaves nothing open."""
        if self.network is not None and packet.remote not in self.network:
            return False
        return self.speaks_of(packet)

    def speaks_of(self, packet: Packet) -> bool:
        """Return whether it concerns any such packet, whoever the remote is."""
        if ANY in (self.protocol, packet.protocol):
            return True
        if self.protocol != packet.protocol:
            return False
        if packet.protocol in _WITH_PORTS:
            return _within(packet.port, self.ports)
        if packet.protocol in _WITH_TYPES:
            return _within(packet.port, self.types) and _within(packet.code, self.codes)
        return True


def _decide(rules: Sequence[_Rule], asked: Packet, packet: Packet) -> Ruling:
    matching = [rule for rule in rules if rule.matches(packet)]
    if not matching:
        return Ruling(asked, allowed=False)
    first, *rest = matching
    number = first.number if first.number <= LAST_RULE else None
    later = (rule.number for rule in rest if rule.allows)
    before = None if first.allows else next(later, None)
    return Ruling(asked, first.allows, number, before)


def _representatives(rules: Sequence[_Rule], packet: Packet) -> Iterator[Packet]:
    """Yield one packet of each kind that the rules tell apart; rules treat the others like it.

    Every rule is a box of ranges, so what happens to a packet can only change where one begins or
    has just ended.
    """
    for remote in _remotes(rules, packet.remote):
        for protocol in _protocols(rules, packet.protocol):
            alike = [rule for rule in rules if rule.protocol == protocol]
            for port, code in _ports(alike, protocol, packet):
                yield replace(packet, remote=remote, protocol=protocol, port=port, code=code)


def _remotes(rules: Sequence[_Rule], remote: Address | Network) -> Iterator[Address]:
    if isinstance(remote, IPv4Address | IPv6Address):
        yield remote
        return
    first, last = int(remote[0]), int(remote[-1])
    inner = [r.network for r in rules if r.network and r.network.version == remote.version]
    edges = {first, *(int(n[0]) for n in inner), *(int(n[-1]) + 1 for n in inner)}
    make = IPv4Address if remote.version == 4 else IPv6Address
    yield from (make(edge) for edge in sorted(edges) if first <= edge <= last)


def _protocols(rules: Sequence[_Rule], protocol: str) -> list[str]:
    if protocol != ANY:
        return [protocol]
    named = {rule.protocol for rule in rules} - {ANY}
    unnamed = next(str(number) for number in range(255, 0, -1) if str(number) not in named)
    return [*sorted(named), unnamed]


def _ports(
    rules: Sequence[_Rule], protocol: str, packet: Packet
) -> Iterator[tuple[int | None, int | None]]:
    if protocol in _WITH_PORTS:
        yield from ((port, None) for port in _values([r.ports for r in rules], packet.port, 65535))
    elif protocol in _WITH_TYPES:
        for kind in _values([r.types for r in rules], packet.port, 255):
            for code in _values([r.codes for r in rules], packet.code, 255):
                yield kind, code
    else:
        yield None, None


def _values(ranges: Iterable[tuple[int, int]], value: int | None, most: int) -> list[int]:
    if value is not None:
        return [value]
    edges = {0, *(edge for first, last in ranges for edge in (first, last + 1))}
    return sorted(edge for edge in edges if 0 <= edge <= most)


def _source(permission: Mapping[str, Any], remote: Address | Network) -> str | None:
    """Return by what a permission concerns a remote."""
    blocks = [
        *(r["CidrIp"] for r in permission.get("IpRanges") or ()),
        *(r["CidrIpv6"] for r in permission.get("Ipv6Ranges") or ()),
    ]
    for block in blocks:
        if _meet(ip_network(block, strict=False), remote):
            return f"with {block}"
    for entry in permission.get("PrefixListIds") or ():
        return f"with {entry['PrefixListId']}"
    for pair in permission.get("UserIdGroupPairs") or ():
        return f"with members of {pair['GroupId']}"
    return None


def _meet(network: Network, remote: Address | Network) -> bool:
    other = ip_network(str(remote))
    return network.version == other.version and network.overlaps(other)


def _said(permission: Mapping[str, Any]) -> str:
    name = str(permission["IpProtocol"]).lower()
    if name == ANY:
        return "everything"
    first, last = permission.get("FromPort", -1), permission.get("ToPort", -1)
    if first == -1:
        return name
    return f"{name}/{first}" if first == last else f"{name}/{first}-{last}"


def _within(value: int | None, ends: tuple[int, int]) -> bool:
    return value is None or ends[0] <= value <= ends[1]


def _one_or_all(value: int) -> tuple[int, int]:
    return (0, 255) if value == -1 else (value, value)


def _direction(egress: bool) -> str:
    return "egress" if egress else "ingress"
