"""What network ACLs and security groups do with a packet."""

from ipaddress import IPv4Network, ip_address, ip_network
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.aws._packet import Packet, acl_rule, group_rule

REMOTE = ip_address("198.51.100.7")


def entry(number: int, action: str, block: str = "0.0.0.0/0", **members: Any) -> dict[str, Any]:
    """An entry of a network ACL as EC2 describes it, for everything that comes in."""
    family = "Ipv6CidrBlock" if ":" in block else "CidrBlock"
    usual = {"Egress": False, "Protocol": "-1"}
    return {"RuleNumber": number, "RuleAction": action, family: block, **usual, **members}


def acl(*entries: dict[str, Any]) -> dict[str, Any]:
    """A network ACL with these entries, out of order, and the default ones."""
    last = [entry(32767, "deny"), entry(32768, "deny", "::/0")]
    return {"NetworkAclId": "acl-1", "Entries": [*last, *reversed(entries)]}


ALL = entry(100, "allow")


def test_lower_number_decides_and_the_later_allow_is_named() -> None:
    ruling = acl_rule(acl(entry(71, "deny", "198.51.100.7/32"), ALL), Packet(REMOTE))

    assert str(ruling) == "ingress rule 71 denies 198.51.100.7 before rule 100 allows it"


def test_deny_after_an_allow_is_without_effect() -> None:
    ruling = acl_rule(acl(ALL, entry(110, "deny", "198.51.100.7/32")), Packet(REMOTE))

    assert (ruling.allowed, ruling.number) == (True, 100)


def test_what_no_rule_concerns_is_denied_by_default() -> None:
    ruling = acl_rule(acl(entry(100, "allow", "10.20.0.0/16")), Packet(REMOTE))

    assert str(ruling) == "ingress rule * denies 198.51.100.7"


def test_directions_are_apart() -> None:
    rules = acl(entry(100, "allow", Egress=True))

    assert acl_rule(rules, Packet(REMOTE, egress=True)).allowed
    assert not acl_rule(rules, Packet(REMOTE)).allowed


def test_families_are_apart() -> None:
    rules = acl(entry(71, "deny", "2001:db8::/32"), ALL, entry(101, "allow", "::/0"))

    assert acl_rule(rules, Packet(REMOTE)).allowed
    assert not acl_rule(rules, Packet(ip_address("2001:db8::7"))).allowed


@pytest.mark.parametrize(
    ("packet", "allowed"),
    [
        (Packet(REMOTE, protocol="6", port=443), False),
        (Packet(REMOTE, protocol="6", port=444), True),
        (Packet(REMOTE, protocol="17", port=443), True),
        (Packet(REMOTE, protocol="47"), True),
        (Packet(REMOTE), True),
    ],
)
def test_rule_for_a_port_leaves_the_others_alone(packet: Packet, allowed: bool) -> None:
    ports = {"Protocol": "6", "PortRange": {"From": 400, "To": 443}}

    ruling = acl_rule(acl(entry(71, "deny", **ports), ALL), packet)

    assert ruling.allowed is allowed


def test_rules_that_deny_a_protocol_each_leave_the_rest_open() -> None:
    denials = [entry(n, "deny", Protocol=p) for n, p in ((1, "6"), (2, "17"), (3, "1"))]

    assert acl_rule(acl(*denials, ALL), Packet(REMOTE)).number == 100


def test_rules_that_deny_all_ports_together_leave_none_open() -> None:
    halves = [
        entry(number, "deny", Protocol="6", PortRange={"From": first, "To": last})
        for number, first, last in ((1, 0, 1023), (2, 1024, 65535))
    ]

    assert not acl_rule(acl(*halves, ALL), Packet(REMOTE, protocol="6")).allowed


def test_icmp_is_told_apart_by_type_and_code() -> None:
    echo = {"Protocol": "1", "IcmpTypeCode": {"Type": 8, "Code": -1}}
    rules = acl(entry(71, "deny", **echo), ALL)

    assert not acl_rule(rules, Packet(REMOTE, protocol="1", port=8, code=0)).allowed
    assert acl_rule(rules, Packet(REMOTE, protocol="1", port=0, code=0)).allowed


def test_network_is_denied_only_if_all_of_it_is() -> None:
    network = ip_network("198.51.100.0/24")
    halves = [entry(1, "deny", "198.51.100.0/25"), entry(2, "deny", "198.51.100.128/25")]

    assert acl_rule(acl(halves[0], ALL), Packet(network)).allowed
    assert not acl_rule(acl(*halves, ALL), Packet(network)).allowed


BLOCKS = [*IPv4Network("192.0.2.0/29").subnets(new_prefix=32), ip_network("192.0.2.0/29")]
BLOCKS += [*IPv4Network("192.0.2.0/29").subnets(new_prefix=30), ip_network("0.0.0.0/0")]

RULES = st.lists(
    st.builds(
        lambda number, allow, block, protocol, ends: entry(
            number,
            "allow" if allow else "deny",
            str(block),
            Protocol=protocol,
            **(
                {"PortRange": {"From": min(ends), "To": max(ends)}}
                if protocol in ("6", "17")
                else {}
            ),
        ),
        st.integers(1, 20),
        st.booleans(),
        st.sampled_from(BLOCKS),
        st.sampled_from(["-1", "6", "17", "47"]),
        st.tuples(st.sampled_from([0, 1, 2, 3, 65535]), st.sampled_from([0, 1, 2, 3, 65535])),
    ),
    max_size=6,
    unique_by=lambda rule: rule["RuleNumber"],
)


@settings(max_examples=150, deadline=None)
@given(RULES, st.sampled_from(BLOCKS), st.sampled_from(["-1", "6", "17", "47", "50"]))
def test_ruling_is_that_of_trying_every_packet(
    rules: list[dict[str, Any]], block: IPv4Network, protocol: str
) -> None:
    inside = [a for a in ip_network("192.0.2.0/29") if a in block]
    addresses = inside if block.prefixlen else [*inside, REMOTE]
    protocols = ["6", "17", "47", "50"] if protocol == "-1" else [protocol]
    every = product(addresses, protocols, (0, 1, 2, 3, 4, 65534, 65535))

    passes = any(_passes(rules, *one) for one in every)

    assert acl_rule(acl(*rules), Packet(block, protocol=protocol)).allowed is passes


def _passes(rules: list[dict[str, Any]], address: Any, protocol: str, port: int) -> bool:
    for rule in sorted(rules, key=lambda rule: int(rule["RuleNumber"])):
        ports = rule.get("PortRange", {"From": 0, "To": 65535})
        if (
            address in ip_network(rule["CidrBlock"])
            and rule["Protocol"] in ("-1", protocol)
            and ports["From"] <= port <= ports["To"]
        ):
            return bool(rule["RuleAction"] == "allow")
    return False


def group(*permissions: dict[str, Any], egress: bool = False) -> dict[str, Any]:
    """A security group with permissions in one direction, and none in the other."""
    ways = ("IpPermissionsEgress", "IpPermissions")
    return dict(zip(ways if egress else ways[::-1], (list(permissions), []), strict=True)) | {
        "GroupId": "sg-1"
    }


def https(**members: Any) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, **members}


EVERYBODY = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}], "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}


@pytest.mark.parametrize(
    ("packet", "rule"),
    [
        (Packet(REMOTE), "sg-1 allows ingress tcp/443 with 0.0.0.0/0"),
        (Packet(REMOTE, protocol="6", port=443), "sg-1 allows ingress tcp/443 with 0.0.0.0/0"),
        (Packet(ip_address("2001:db8::7")), "sg-1 allows ingress tcp/443 with ::/0"),
        (Packet(ip_network("192.0.2.0/24")), "sg-1 allows ingress tcp/443 with 0.0.0.0/0"),
        (Packet(REMOTE, protocol="6", port=80), None),
        (Packet(REMOTE, protocol="17", port=443), None),
        (Packet(REMOTE, egress=True), None),
    ],
)
def test_group_lets_through_what_a_rule_allows(packet: Packet, rule: str | None) -> None:
    assert group_rule([group(https(**EVERYBODY))], packet) == rule


def test_new_group_lets_everything_out() -> None:
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}

    rule = group_rule([group(everything, egress=True)], Packet(REMOTE, egress=True))

    assert rule == "sg-1 allows egress everything with 0.0.0.0/0"


def test_group_without_rules_lets_nothing_through() -> None:
    assert group_rule([group()], Packet(REMOTE)) is None


def test_rules_of_several_groups_add_up() -> None:
    assert group_rule([group(), group(https(**EVERYBODY))], Packet(REMOTE)) is not None


def test_group_tells_icmp_apart_by_type() -> None:
    echo = {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, **EVERYBODY}

    assert group_rule([group(echo)], Packet(REMOTE, protocol="1", port=8, code=0))
    assert not group_rule([group(echo)], Packet(REMOTE, protocol="1", port=3, code=1))


PREFIX_LIST = https(PrefixListIds=[{"PrefixListId": "pl-1"}])
MEMBERS = https(UserIdGroupPairs=[{"GroupId": "sg-2"}])


@pytest.mark.parametrize(
    ("permission", "rule"),
    [(PREFIX_LIST, "with pl-1"), (MEMBERS, "with members of sg-2")],
)
def test_what_a_rule_refers_to_counts_whoever_is_in_it(
    permission: dict[str, Any], rule: str
) -> None:
    assert group_rule([group(permission)], Packet(REMOTE)) == f"sg-1 allows ingress tcp/443 {rule}"
