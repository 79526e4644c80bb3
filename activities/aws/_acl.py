"""Network ACLs: what they hold, and where a deny rule goes so that it takes effect."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from typing import Any
from zlib import crc32

from pydantic import JsonValue

from activities.aws import _network
from activities.aws._reading import or_none
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused
from firedoor.model.plan import Call, Change, Check

Network = IPv4Network | IPv6Network

QUOTA = "L-2AEEBF1A"  # rules per network ACL: for each direction, and for each family
DEFAULT_QUOTA = 20
LAST_RULE = 32766  # what comes after are the default rules, which cannot be changed but do count

ELSEWHERE = "block it in AWS WAF, Network Firewall or a security group with a prefix list"


@dataclass(frozen=True)
class Rule:
    """One deny rule, as it is shown, made and removed."""

    acl: str
    network: Network
    number: int
    egress: bool

    @property
    def change(self) -> Change:
        """The rule as a difference in the ACL."""
        after: JsonValue = {"cidr": str(self.network), "action": "deny", "protocol": "-1"}
        attribute = f"{direction(self.egress)} {self.number}"
        return Change(resource=self.acl, attribute=attribute, before=None, after=after)

    @property
    def entry(self) -> dict[str, JsonValue]:
        """The rule as EC2 takes and describes it."""
        return {
            "RuleNumber": self.number,
            "Egress": self.egress,
            "Protocol": "-1",
            "RuleAction": "deny",
            _cidr_member(self.network): str(self.network),
        }

    @property
    def creation(self) -> Call:
        """The call that adds it."""
        return Call(
            service="ec2",
            operation="CreateNetworkAclEntry",
            parameters={"NetworkAclId": self.acl, **self.entry},
        )

    @property
    def deletion(self) -> Call:
        """The call that removes it."""
        return Call(
            service="ec2",
            operation="DeleteNetworkAclEntry",
            parameters={
                "NetworkAclId": self.acl,
                "RuleNumber": self.number,
                "Egress": self.egress,
            },
        )


def of_subnets(aws: Aws, subnets: Iterable[str]) -> list[dict[str, Any]]:
    """Read the ACLs of subnets, in the order of their ids."""
    return _network.by_filter(aws, "DescribeNetworkAcls", "association.subnet-id", subnets)


def read(aws: Aws, id: str) -> dict[str, Any]:
    """Read an ACL; one that was deleted has no rules and no subnets."""
    found: list[dict[str, Any]] | None = or_none(
        partial(aws.pages, "ec2", "DescribeNetworkAcls", "NetworkAcls", NetworkAclIds=[id])
    )
    return found[0] if found else {"NetworkAclId": id, "Entries": [], "Associations": []}


def limit(aws: Aws) -> tuple[int, tuple[Check, ...]]:
    """Read how many rules an ACL may have; AWS's default is the safe assumption, and is said."""
    try:
        answer = aws.client("service-quotas").get_service_quota(ServiceCode="vpc", QuotaCode=QUOTA)
    except CloudError as error:
        detail = f"taken as {DEFAULT_QUOTA}, AWS's default: {error}"
        return DEFAULT_QUOTA, (Check(name="quota of rules in an ACL", ok=False, detail=detail),)
    return int(answer["Quota"]["Value"]), ()


def state(acl: dict[str, Any]) -> State:
    """Return the rules of an ACL, each under a name such as `ingress 1`."""
    return {
        (acl["NetworkAclId"], f"{direction(entry['Egress'])} {entry['RuleNumber']}"): {
            "cidr": entry.get("CidrBlock") or entry.get("Ipv6CidrBlock"),
            "action": entry["RuleAction"],
            "protocol": entry["Protocol"],
        }
        for entry in acl["Entries"]
    }


def subnets(acl: dict[str, Any]) -> set[str]:
    """Return the subnets that use an ACL."""
    return {association["SubnetId"] for association in acl["Associations"]}


def denials(
    acl: dict[str, Any],
    network: Network,
    *,
    band: range,
    limit: int,
    egress: bool,
    reserve: int = 0,
) -> tuple[tuple[Rule, ...], tuple[Check, ...]]:
    """Return the rules that are missing to deny a network, numbered within a band, and their room.

    They count as taken from now on. Raises `Refused` if there is no place for them, or none but
    that which is kept in reserve.
    """
    rules, checks = [], []
    for outward in directions(egress=egress):
        first = first_allow(acl, network, egress=outward)
        if first is None:
            continue  # denied already
        checks.append(_room(acl, network, limit, reserve, egress=outward))
        number = _free_number(acl, network, band, first, egress=outward)
        rules.append(Rule(acl["NetworkAclId"], network, number, outward))
    # The next address of the same step finds these numbers taken. A refused one takes none.
    acl["Entries"] += [rule.entry for rule in rules]
    return tuple(rules), tuple(checks)


def first_allow(acl: dict[str, Any], network: Network, *, egress: bool) -> int | None:
    """Return the number of the first rule that allows anything with a network, if it is reached.

    An allow for a part of the network counts; a deny must cover all of it.
    """
    same_way = [entry for entry in acl["Entries"] if entry["Egress"] == egress]
    for entry in sorted(same_way, key=lambda entry: int(entry["RuleNumber"])):
        text = entry.get(_cidr_member(network))
        if text is None:
            continue
        block = ip_network(text, strict=False)
        if entry["RuleAction"] == "allow" and meet(block, network):
            return int(entry["RuleNumber"])
        if entry["RuleAction"] == "deny" and entry["Protocol"] == "-1" and covers(block, network):
            return None
    return None


def room(acl: dict[str, Any], network: Network, *, limit: int, reserve: int, egress: bool) -> int:
    """Return how many more networks of the same family an ACL can deny."""
    ways = directions(egress=egress)
    return max(0, limit - 1 - reserve - max(_used(acl, network, egress=way) for way in ways))


def is_full(acl: dict[str, Any], network: Network, limit: int, *, egress: bool) -> bool:
    """Return whether an ACL takes no rule about a network any more, in this one direction."""
    return _used(acl, network, egress=egress) >= limit - 1


def merged(
    networks: Iterable[Network], number: int, widest: int, kept_out: Iterable[Network]
) -> list[Network]:
    """Return networks that cover the given ones, of one family, at most so many if possible.

    Each step joins the two whose common block is narrowest; a block that is wider than `/widest`,
    or meets one of those that are kept out, is never made.
    """
    kept_out, blocks = tuple(kept_out), sorted(set(networks))
    while len(blocks) > number:
        joined = [
            block
            for one, other in pairwise(blocks)
            if (block := _common(one, other)).prefixlen >= widest
            and not any(meet(block, kept) for kept in kept_out)
        ]
        if not joined:
            break
        best = max(joined, key=lambda block: block.prefixlen)
        blocks = sorted([b for b in blocks if not covers(best, b)] + [best])
    return blocks


def meet(one: Network, other: Network) -> bool:
    """Return whether two networks have an address in common."""
    return covers(one, other) or covers(other, one)


def covers(one: Network, other: Network) -> bool:
    """Return whether all of the other network lies in the one."""
    return one.version == other.version and other.subnet_of(one)  # type: ignore[arg-type]


def directions(*, egress: bool) -> tuple[bool, ...]:
    """Return the values of `Egress` that are meant: what comes in, and what goes out if asked."""
    return (False, True) if egress else (False,)


def direction(egress: bool) -> str:
    """Return the name of a direction."""
    return "egress" if egress else "ingress"


def _free_number(
    acl: dict[str, Any], network: Network, band: range, first_allow: int, *, egress: bool
) -> int:
    """Return a free number of the band before the first rule that allows the address.

    Where to look first depends on the address and on how many numbers there are, not on what is
    taken: plans for several addresses that are made at the same time would otherwise all take the
    lowest number, and void one another.
    """
    taken = {entry["RuleNumber"] for entry in acl["Entries"] if entry["Egress"] == egress}
    numbers = [number for number in band if number < first_allow]
    first = crc32(str(network).encode()) % max(len(numbers), 1)
    for number in (*numbers[first:], *numbers[:first]):
        if number not in taken:
            return number
    raise Refused(
        f"{acl['NetworkAclId']} {direction(egress)} has no free rule number between"
        f" {band[0]} and {band[-1]} before rule {first_allow}, which allows the"
        f" address: renumber that rule, or {ELSEWHERE}"
    )


def _room(
    acl: dict[str, Any], network: Network, limit: int, reserve: int, *, egress: bool
) -> Check:
    # The default rule `*` counts, and IPv4 and IPv6 count separately.
    # https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
    usable, used = limit - 1, _used(acl, network, egress=egress)
    where = f"{acl['NetworkAclId']} {direction(egress)} (IPv{network.version})"
    if used >= usable - reserve:
        kept = f", and {reserve} kept free for people" if reserve else ""
        raise Refused(f"{where} is full, {used} of {usable} rules used{kept}: {ELSEWHERE}")
    return Check(name=f"room in {where}", ok=True, detail=f"{used} of {usable} rules used")


def _used(acl: dict[str, Any], network: Network, *, egress: bool) -> int:
    return sum(
        entry["RuleNumber"] <= LAST_RULE
        for entry in acl["Entries"]
        if entry["Egress"] == egress and _cidr_member(network) in entry
    )


def _common(one: Network, other: Network) -> Network:
    """Return the narrowest network that holds both."""
    while not covers(one, other):
        one = one.supernet()
    return one


def _cidr_member(network: Network) -> str:
    return "CidrBlock" if network.version == 4 else "Ipv6CidrBlock"
