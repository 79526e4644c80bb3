"""The guard rails that no approval overrides."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedoor import guard
from firedoor.model.plan import Call, Plan, Target, Touched
from firedoor.model.policy import Policy, Protected
from firedoor.testing import ACCOUNT, NOW, instance

US = f"arn:aws:sts::{ACCOUNT}:assumed-role/firedoor/worker-1"
APP = f"arn:aws:iam::{ACCOUNT}:role/app"


def plan(*, calls: tuple[Call, ...] = (), **touched: object) -> Plan:
    return Plan(
        action="aws.some_action",
        target=Target(subject=instance(), incident="i", step="s", at=NOW),
        lease="l",
        summary="Do something.",
        calls=calls,
        touched=Touched.model_validate(touched),
    )


def refusals(plan: Plan, **protected: object) -> tuple[str, ...]:
    return guard.refusals(plan, Policy(protected=Protected.model_validate(protected)), US)


def test_a_plan_that_touches_nothing_protected_is_not_refused() -> None:
    harmless = plan(
        resources={"i-0a": {"Name": "web"}}, networks=["198.51.100.7/32"], principals=[APP]
    )

    assert refusals(harmless, resources=["i-0b"], networks=["203.0.113.0/24"]) == ()


# Tags and resources


@pytest.mark.parametrize(
    "tags",
    [
        {"firedoor:protected": "true"},
        {"firedoor:protected": ""},
        {"Firedoor:Protected": "yes"},
    ],
)
def test_rule_12_we_never_hit_what_is_tagged_as_protected(tags: dict[str, str]) -> None:
    found = refusals(plan(resources={"i-0a": tags, "eni-1": {}}))

    [(tag, value)] = tags.items()
    assert found == (
        f"i-0a carries {tag}={value}, and firedoor:protected=* is protected (protected.tags): act"
        " by hand, or have its owner take the tag off first",
    )


@pytest.mark.parametrize(
    ("value", "is_protected"),
    [("prod", True), ("PROD-eu", True), ("preprod", False), ("", False)],
)
def test_the_value_of_a_tag_can_be_a_pattern(value: str, is_protected: bool) -> None:
    found = refusals(plan(resources={"i-0a": {"stage": value}}), tags={"stage": "prod*"})

    assert bool(found) is is_protected


@pytest.mark.parametrize(
    ("resource", "pattern", "is_protected"),
    [
        ("i-0a", "i-0a", True),
        ("i-0a", "i-*", True),
        ("I-0A", "i-0a", True),
        ("i-0ab", "i-0a", False),
        ("arn:aws:s3:::prod-logs", "prod-*", True),
        (f"arn:aws:ec2:us-east-1:{ACCOUNT}:instance/i-0a", "i-0a", True),
        ("role/firedoor-host", "firedoor-*", True),
        ("i-0a", "i-?a", False),
    ],
)
def test_rule_12_we_never_hit_a_protected_resource(
    resource: str, pattern: str, is_protected: bool
) -> None:
    found = refusals(plan(resources={resource: {}}), resources=[pattern])

    assert bool(found) is is_protected


# Accounts


def test_rule_12_we_never_change_a_protected_account() -> None:
    call = Call(service="ec2", operation="CreateSnapshots", parameters={})

    expected = (
        f"account {ACCOUNT} is protected (protected.accounts): act there by hand, or take it off"
        " the policy first",
    )
    assert refusals(plan(calls=(call,)), accounts=[ACCOUNT]) == expected
    assert refusals(plan(resources={"i-0a": {}}), accounts=[ACCOUNT]) == expected


def test_what_only_reads_is_welcome_in_a_protected_account() -> None:
    assert refusals(plan(), accounts=[ACCOUNT]) == ()


def test_a_principal_of_a_protected_account_is_protected() -> None:
    other = plan(principals=["arn:aws:iam::210987654321:role/app"])

    assert len(refusals(other, accounts=["210987654321"])) == 1


# Principals


@pytest.mark.parametrize(
    ("identity", "principal"),
    [
        (US, f"arn:aws:iam::{ACCOUNT}:role/firedoor"),
        (US, f"arn:aws:iam::{ACCOUNT}:role/ops/tools/Firedoor"),
        (US, f"arn:aws:sts::{ACCOUNT}:assumed-role/firedoor/another-session"),
        (f"arn:aws:iam::{ACCOUNT}:user/ops/ci", f"arn:aws:iam::{ACCOUNT}:user/ops/ci"),
        (f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:root"),
        (
            f"arn:aws-cn:sts::{ACCOUNT}:assumed-role/firedoor/a",
            f"arn:aws-cn:iam::{ACCOUNT}:role/firedoor",
        ),
    ],
)
def test_rule_12_we_never_lock_ourselves_out(identity: str, principal: str) -> None:
    found = guard.refusals(plan(principals=[principal]), Policy(), identity)

    assert found == (
        f"{principal} is who Firedoor itself acts as (own identity, {identity}): it could not take"
        " this back; let another administrator do it",
    )


@pytest.mark.parametrize(
    "principal",
    [
        APP,
        f"arn:aws:iam::{ACCOUNT}:role/firedoor-app",
        f"arn:aws:iam::{ACCOUNT}:user/firedoor",
        "arn:aws:iam::210987654321:role/firedoor",
    ],
)
def test_who_is_not_us_is_not_taken_for_us(principal: str) -> None:
    assert refusals(plan(principals=[principal])) == ()


@pytest.mark.parametrize("resource", ["i-0a", "task/prod/i-0a"])
def test_rule_12_we_never_cut_off_what_we_run_on(resource: str) -> None:
    host = f"arn:aws:sts::{ACCOUNT}:assumed-role/firedoor/i-0a"
    (found,) = guard.refusals(plan(resources={resource: {}, "i-0b": {}}), Policy(), host)

    assert found == (
        f"{resource} is what Firedoor itself runs on (own identity, {host}): it could not take"
        " this back; move its workers first, or act by hand"
    )


def test_where_firedoor_acts_as_nobody_nobody_is_taken_for_it() -> None:
    assert guard.refusals(plan(principals=[APP]), Policy(), "") == ()


@pytest.mark.parametrize(
    ("pattern", "principal", "is_protected"),
    [
        ("arn:aws:iam::123456789012:role/app", APP, True),
        ("arn:aws:iam::*:role/app", APP, True),
        ("*:role/APP", APP, True),
        ("arn:aws:iam::123456789012:role/app", "arn:aws:iam::123456789012:role/x/app", True),
        ("arn:aws:iam::123456789012:role/x/app", "arn:aws:iam::123456789012:role/x/app", True),
        ("arn:aws:iam::*:role/x/*", "arn:aws:iam::123456789012:role/x/app", True),
        ("arn:aws:iam::*:role/x/*", APP, False),
        (
            "arn:aws:iam::123456789012:role/x/app",
            "arn:aws:sts::123456789012:assumed-role/app/s",
            True,
        ),
        ("arn:aws:sts::123456789012:assumed-role/app/*", APP, True),
        ("arn:aws:sts::*:assumed-role/other/*", APP, False),
        ("arn:aws:iam::123456789012:user/app", APP, False),
        ("*:root", "arn:aws:iam::123456789012:root", True),
    ],
)
def test_rule_12_we_never_hit_a_protected_principal(
    pattern: str, principal: str, is_protected: bool
) -> None:
    found = refusals(plan(principals=[principal]), principals=[pattern])

    assert bool(found) is is_protected


# Networks


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0", "::/0", "128.0.0.0/1", "8.0.0.0/8", "203.0.112.0/23", "2001:db8::/47",
        "10.1.2.3/32", "172.16.0.1/32", "172.31.0.0/24", "172.31.255.255/32", "192.168.1.1/32",
        "127.0.0.1/32", "169.254.169.254/32",
        "100.64.0.1/32", "224.0.0.1/32", "255.255.255.255/32", "0.0.0.0/32", "198.18.0.1/32",
        "192.0.0.8/32", "::1/128", "::/128", "fe80::1/128", "fd00:ec2::254/128", "ff02::1/128",
        "::ffff:198.51.100.7/128", "64:ff9b::c633:6407/128", "64:ff9b:1::1/128", "100::1/128",
        "fec0::1/128",
    ],
)  # fmt: skip
def test_rule_12_we_never_block_what_is_private_reserved_or_everything(network: str) -> None:
    found = refusals(plan(networks=[network]))

    assert len(found) == 1
    assert found[0].startswith(f"{ip_network(network)} ")


@pytest.mark.parametrize(
    "network",
    [
        "198.51.100.7/32", "203.0.113.0/24", "192.0.2.1/32", "2001:db8::7/128", "2001:db8::/48",
        "172.15.255.255/32", "172.32.0.0/32", "100.63.255.255/32", "100.128.0.0/32",
        "223.255.255.255/32", "9.255.255.255/32", "11.0.0.0/32", "2600::1/128",
    ],
)  # fmt: skip
def test_an_attackers_address_may_be_blocked(network: str) -> None:
    assert refusals(plan(networks=[network])) == ()


def test_a_refused_network_is_told_with_the_reason_and_another_way() -> None:
    found = refusals(plan(networks=["10.1.2.3/32", "::ffff:198.51.100.7/128", "198.51.0.0/16"]))

    assert found == (
        "10.1.2.3/32 lies in 10.0.0.0/8, which is private (RFC 1918) (reserved networks): contain"
        " the host that has it instead",
        "::ffff:c633:6407/128 lies in ::ffff:0:0/96, which is IPv4 written as IPv6 (RFC 4291)"
        " (reserved networks): block the IPv4 address instead",
        "198.51.0.0/16 is wider than /24 (catch-all networks): block the addresses that attack, one"
        " by one",
    )


@pytest.mark.parametrize(
    ("blocked", "known", "is_protected"),
    [
        ("203.0.113.7/32", "203.0.113.0/24", True),
        ("203.0.113.0/24", "203.0.113.7/32", True),
        ("203.0.114.7/32", "203.0.113.0/24", False),
        ("2001:db8::7/128", "2001:db8::/64", True),
        ("203.0.113.7/32", "::/0", False),
    ],
)
def test_rule_12_we_never_block_a_protected_network(
    blocked: str, known: str, is_protected: bool
) -> None:
    found = refusals(plan(networks=[blocked]), networks=[known])

    assert bool(found) is is_protected


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_whatever_holds_a_private_address_is_refused(address: object, length: int) -> None:
    network = ip_network(f"{address}/{length}", strict=False)
    private = [ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]

    holds = any(network.overlaps(known) for known in private)

    assert bool(refusals(plan(networks=[str(network)]))) >= holds


def test_every_reason_is_told() -> None:
    found = refusals(
        plan(
            resources={"i-0a": {"firedoor:protected": "1"}},
            principals=[APP],
            networks=["10.0.0.1/32"],
        ),
        resources=["i-0a"],
        principals=[APP],
        accounts=[ACCOUNT],
    )

    assert len(found) == 5
