from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_network
from itertools import combinations
from threading import Event
from typing import Any

import boto3
import pytest
from pydantic import ValidationError

from activities.aws import _network, block_address
from activities.aws.block_address import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, PlanStale, QuotaExceeded, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Target, Verdict

AT = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
ATTACKER, OTHER, ATTACKER_V6 = "198.51.100.7", "203.0.113.9", "2001:db8:bad::7"
RULE = {"cidr": f"{ATTACKER}/32", "action": "deny", "protocol": "-1"}


@pytest.fixture(autouse=True)
def _no_pause_before_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0)


@pytest.fixture
def ec2(aws: Aws) -> Any:
    return boto3.client("ec2")


# Plan


def test_address_is_denied_both_ways_before_the_first_allow(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)

    number = number_of(plan)
    assert 1 <= number < 100
    assert [(c.resource, c.attribute, c.before, c.after) for c in plan.changes] == [
        (scene.public_acl_id, f"ingress {number}", None, RULE),
        (scene.public_acl_id, f"egress {number}", None, RULE),
    ]
    assert plan.calls[0].parameters == {
        "NetworkAclId": scene.public_acl_id,
        "RuleNumber": number,
        "Egress": False,
        "Protocol": "-1",
        "RuleAction": "deny",
        "CidrBlock": f"{ATTACKER}/32",
    }
    assert plan.lease == f"{scene.public_acl_id}/{ATTACKER}/32"
    assert plan.touched.networks == (ip_network(f"{ATTACKER}/32"),)
    assert plan.touched.resources == {scene.public_acl_id: {"Name": "public"}}


def test_ipv6_address_is_denied_by_its_own_member(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER_V6)

    assert plan.calls[0].parameters["Ipv6CidrBlock"] == f"{ATTACKER_V6}/128"
    assert "CidrBlock" not in plan.calls[0].parameters


def test_ipv4_address_in_ipv6_clothes_is_blocked_as_ipv4(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene.web_id, f"::ffff:{ATTACKER}")

    assert plan.lease == f"{scene.public_acl_id}/{ATTACKER}/32"


def test_each_acl_of_the_instance_has_its_own_plan(aws: Aws, scene: Scene) -> None:
    plans = planned(aws, scene.app_id, ATTACKER, ATTACKER_V6)

    assert {plan.lease for plan in plans} == {
        f"{acl}/{network}"
        for acl in (scene.public_acl_id, scene.private_acl_id)
        for network in (f"{ATTACKER}/32", f"{ATTACKER_V6}/128")
    }


def test_shared_acl_is_planned_once(aws: Aws, scene: Scene, ec2: Any) -> None:
    associate(ec2, scene.private_subnet_id, scene.public_acl_id)

    (plan,) = planned(aws, scene.app_id, ATTACKER)

    assert plan.before["subnets"] == sorted([scene.public_subnet_id, scene.private_subnet_id])


def test_addresses_of_one_step_get_numbers_of_their_own(aws: Aws, scene: Scene) -> None:
    plans = planned(aws, scene.web_id, ATTACKER, OTHER, ATTACKER_V6, first_rule=71, last_rule=73)

    assert sorted(number_of(plan) for plan in plans) == [71, 72, 73]
    for plan in plans:
        apply(plan, aws)
    assert all(holds(plan, aws) for plan in plans)


def test_address_of_a_step_for_which_no_number_is_left_is_refused(aws: Aws, scene: Scene) -> None:
    fits, refused = planned(aws, scene.web_id, ATTACKER, OTHER, first_rule=71, last_rule=71)

    assert (fits.refusals, number_of(fits)) == ((), 71)
    assert refused.refusals[0].startswith(
        f"{scene.public_acl_id} ingress has no free rule number between 71 and 71 before rule 100"
    )
    assert (refused.changes, refused.calls) == ((), ())


def test_repeated_address_is_planned_once(aws: Aws, scene: Scene) -> None:
    assert len(planned(aws, scene.web_id, ATTACKER, ATTACKER, f"::ffff:{ATTACKER}")) == 1


def test_number_of_an_address_is_the_same_for_ever(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene.web_id, "198.51.100.7")

    assert [change.attribute for change in plan.changes] == ["ingress 51", "egress 51"]


def test_number_of_an_address_does_not_move_with_other_denials(aws: Aws, scene: Scene) -> None:
    (before,) = planned(aws, scene.web_id, ATTACKER)
    (other,) = planned(aws, scene.web_id, OTHER)
    apply(other, aws)

    (after,) = planned(aws, scene.web_id, ATTACKER)

    assert after.changes == before.changes


def test_next_number_is_used_where_that_of_the_address_is_taken(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    number = usual_number(aws, scene)
    entry(ec2, scene.public_acl_id, number, "192.0.2.1/32")

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert [change.attribute for change in plan.changes] == [
        f"ingress {number + 1}",
        f"egress {number}",
    ]


@pytest.mark.parametrize("free", [71, 72, 73])
def test_last_free_number_of_the_band_is_found_wherever_it_is(
    aws: Aws, scene: Scene, ec2: Any, free: int
) -> None:
    for number in {71, 72, 73} - {free}:
        entry(ec2, scene.public_acl_id, number, "192.0.2.1/32")

    (plan,) = planned(aws, scene.web_id, ATTACKER, first_rule=71, last_rule=73, egress=False)

    assert number_of(plan) == free


def test_ingress_alone_if_asked(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER, egress=False)

    apply(plan, aws)

    assert entries(ec2, scene.public_acl_id) == {(False, number_of(plan)): f"deny -1 {ATTACKER}/32"}
    assert holds(plan, aws)


def test_narrow_allow_counts_as_the_first_one(aws: Aws, scene: Scene, ec2: Any) -> None:
    number = usual_number(aws, scene)
    entry(ec2, scene.public_acl_id, 3, "198.51.100.0/24", action="allow", protocol="6")
    entry(ec2, scene.public_acl_id, 1, "192.0.2.0/24", action="allow")

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert [change.attribute for change in plan.changes] == ["ingress 2", f"egress {number}"]


def test_deny_of_one_protocol_is_not_enough(aws: Aws, scene: Scene, ec2: Any) -> None:
    number = usual_number(aws, scene)
    entry(ec2, scene.public_acl_id, 1, f"{ATTACKER}/32", protocol="6")

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert [change.attribute for change in plan.changes] == [
        f"ingress {number}",
        f"egress {number}",
    ]


def test_address_that_is_denied_already_needs_nothing(aws: Aws, scene: Scene, ec2: Any) -> None:
    for egress in (False, True):
        entry(ec2, scene.public_acl_id, 5, "198.51.100.0/24", egress=egress)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert (plan.changes, plan.calls, plan.undo, plan.refusals) == ((), (), (), ())
    assert "already" in plan.summary
    assert apply(plan, aws).calls == ()
    assert holds(plan, aws)
    assert revert(plan, aws).calls == ()


def test_acl_without_any_allow_denies_already(aws: Aws, scene: Scene, ec2: Any) -> None:
    acl = ec2.create_network_acl(VpcId=scene.vpc_id)["NetworkAcl"]["NetworkAclId"]
    associate(ec2, scene.public_subnet_id, acl)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert plan.calls == ()


def test_finding_without_addresses_has_no_plan(aws: Aws, scene: Scene) -> None:
    assert planned(aws, scene.web_id) == ()


def test_instance_without_interfaces_has_no_plan(aws: Aws, scene: Scene) -> None:
    on_answer(aws, "DescribeNetworkInterfaces", lambda answer: answer["NetworkInterfaces"].clear())

    assert planned(aws, scene.web_id, ATTACKER) == ()


def test_band_must_not_be_empty() -> None:
    with pytest.raises(ValidationError, match="first_rule 80 is above last_rule 71"):
        Params(first_rule=80, last_rule=71)


# What an approver reads


def test_blast_radius_counts_who_shares_the_acl(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert plan.blast_radius[0] == (
        f"{scene.public_acl_id} rules 1 subnet with 2 instances and 2 network interfaces: "
        "the address is denied to all of them"
    )


def test_default_acl_is_named_as_such(aws: Aws, scene: Scene, ec2: Any) -> None:
    default = default_acl(ec2, scene)
    for subnet in (scene.public_subnet_id, scene.private_subnet_id):
        associate(ec2, subnet, default)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert plan.blast_radius[0].startswith(
        f"{default}, the VPC's default, rules 2 subnets with 2 instances and 3 network interfaces"
    )


def test_room_that_is_left_is_shown(aws: Aws, scene: Scene, ec2: Any) -> None:
    fill(ec2, scene.public_acl_id, up_to=16)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    room = {check.name: check.detail for check in plan.preflight if check.name.startswith("room")}
    assert room == {
        f"room in {scene.public_acl_id} ingress (IPv4)": "16 of 19 rules used",
        f"room in {scene.public_acl_id} egress (IPv4)": "1 of 19 rules used",
    }


def test_network_load_balancer_passes_the_client_on(aws: Aws, scene: Scene, ec2: Any) -> None:
    load_balancer(ec2, scene, "network", scene.web_id)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert "sees the client's address" not in {check.name for check in plan.preflight}


def test_missing_permission_shows_before_the_vote(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    fault(lab, "CreateNetworkAclEntry", kind="error", code="UnauthorizedOperation", status=403)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    (may,) = (check for check in plan.preflight if check.name == "may CreateNetworkAclEntry")
    assert not may.ok
    assert "UnauthorizedOperation" in may.detail


def test_plan_changes_nothing(aws: Aws, scene: Scene, ec2: Any) -> None:
    first = planned(aws, scene.app_id, ATTACKER, OTHER, ATTACKER_V6)

    assert planned(aws, scene.app_id, ATTACKER, OTHER, ATTACKER_V6) == first
    assert entries(ec2, scene.public_acl_id) == {}


# Refusals


@pytest.mark.parametrize("listed", [False, True])
def test_instance_that_is_gone_is_refused(aws: Aws, scene: Scene, ec2: Any, listed: bool) -> None:
    id = gone(aws, ec2, scene.web_id) if listed else "i-0123456789abcdef0"

    (plan,) = planned(aws, id, ATTACKER)

    assert plan.refusals[0].startswith(f"{id} does not exist any more, so it has no network ACL")
    assert (plan.changes, plan.calls, plan.undo) == ((), (), ())


def test_address_of_the_vpc_itself_is_refused(aws: Aws, scene: Scene, ec2: Any) -> None:
    (vpc,) = ec2.describe_vpcs(VpcIds=[scene.vpc_id])["Vpcs"]
    block = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"]
    inside = str(ip_network(block)[5])

    (plan,) = planned(aws, scene.web_id, inside)

    assert plan.refusals == (
        f"{inside} is our own, in {block} of {scene.vpc_id}, and is never blocked",
    )


def test_secondary_block_of_the_vpc_is_refused(aws: Aws, scene: Scene, ec2: Any) -> None:
    ec2.associate_vpc_cidr_block(VpcId=scene.vpc_id, CidrBlock="198.51.100.0/24")

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert "198.51.100.0/24" in plan.refusals[0]


def test_own_elastic_address_is_refused(aws: Aws, scene: Scene, ec2: Any) -> None:
    allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
    on_answer(
        aws,
        "DescribeAddresses",
        lambda answer: answer["Addresses"][0].update(PublicIp=ATTACKER),
    )

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert plan.refusals == (
        f"{ATTACKER} is our own, the elastic address {allocation}, and is never blocked",
    )


@pytest.mark.parametrize(("state", "refused"), [("available", True), ("deleted", False)])
def test_own_nat_gateway_is_refused_while_it_lives(
    aws: Aws, scene: Scene, state: str, refused: bool
) -> None:
    gateway = {
        "NatGatewayId": "nat-0123456789abcdef0",
        "State": state,
        "NatGatewayAddresses": [{"PublicIp": ATTACKER}],
    }
    on_answer(aws, "DescribeNatGateways", lambda answer: answer.update(NatGateways=[gateway]))

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert ["of the NAT gateway nat-0123456789abcdef0" in r for r in plan.refusals] == (
        [True] if refused else []
    )


def test_public_address_of_the_instance_itself_is_refused(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene.web_id, scene.web_public_address)

    assert scene.web_interface_id in plan.refusals[0]


def test_refused_address_does_not_stop_the_others(aws: Aws, scene: Scene) -> None:
    (alone,) = planned(aws, scene.web_id, ATTACKER)

    refused, plan = planned(aws, scene.web_id, scene.web_public_address, ATTACKER)

    assert refused.refusals != ()
    assert plan == alone


def test_full_acl_is_refused_with_another_way(aws: Aws, scene: Scene, ec2: Any) -> None:
    fill(ec2, scene.public_acl_id, up_to=19)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    (refusal,) = plan.refusals
    assert refusal.startswith(
        f"{scene.public_acl_id} ingress (IPv4) is full, 19 of 19 rules used, and 2 kept free"
    )
    assert plan.calls == ()


def test_families_have_room_of_their_own(aws: Aws, scene: Scene, ec2: Any) -> None:
    fill(ec2, scene.public_acl_id, up_to=19)

    (plan,) = planned(aws, scene.web_id, ATTACKER_V6)

    assert plan.refusals == ()
    apply(plan, aws)
    assert holds(plan, aws)


def test_step_that_overfills_the_acl_is_refused_in_its_last_address(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    fill(ec2, scene.public_acl_id, up_to=16)

    fits, overfills = planned(aws, scene.web_id, ATTACKER, OTHER)

    assert (fits.refusals, len(overfills.refusals)) == ((), 1)


def test_raised_quota_is_obeyed(aws: Aws, scene: Scene, ec2: Any) -> None:
    fill(ec2, scene.public_acl_id, up_to=19)
    on_answer(
        aws,
        "GetServiceQuota",
        lambda answer: answer["Quota"].update(Value=40.0),
        service="service-quotas",
    )

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert plan.refusals == ()
    assert plan.preflight[1].detail == "19 of 39 rules used"


def test_quota_that_cannot_be_read_is_the_default(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    denied = {"kind": "error", "code": "AccessDeniedException", "status": 400}
    fault(lab, "GetServiceQuota", service="service-quotas", **denied)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    (said,) = (check for check in plan.preflight if check.name == "quota of rules in an ACL")
    assert (said.ok, "AWS's default" in said.detail) == (False, True)


def test_no_free_number_before_the_allow_is_refused(aws: Aws, scene: Scene, ec2: Any) -> None:
    entry(ec2, scene.public_acl_id, 1, "0.0.0.0/0", action="allow")

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    (refusal,) = plan.refusals
    assert "no free rule number between 1 and 32766 before rule 1, which allows" in refusal


# Apply


def test_applied_rules_deny_and_are_proven(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)

    receipt = apply(plan, aws)

    assert entries(ec2, scene.public_acl_id) == {
        (False, number_of(plan)): f"deny -1 {ATTACKER}/32",
        (True, number_of(plan)): f"deny -1 {ATTACKER}/32",
    }
    assert [call.operation for call in receipt.calls] == ["CreateNetworkAclEntry"] * 2
    assert holds(plan, aws)


def test_applied_twice_is_applied_once(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    apply(plan, aws)
    before = entries(ec2, scene.public_acl_id)

    receipt = apply(plan, aws)

    assert receipt.calls == ()
    assert entries(ec2, scene.public_acl_id) == before


def test_apply_goes_on_where_it_stopped(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    later = {"kind": "error", "code": "RequestLimitExceeded", "status": 503}
    fault(lab, "CreateNetworkAclEntry", **later)
    with pytest.raises(Throttled):
        apply(plan, aws)

    receipt = apply(plan, aws)

    assert len(receipt.calls) == 1
    assert holds(plan, aws)


def test_lost_answer_is_read_back_and_not_repeated(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    fault(lab, "CreateNetworkAclEntry", kind="lost", times=2)
    with pytest.raises(Unavailable):
        apply(plan, aws)

    receipt = apply(plan, aws)

    assert receipt.calls == ()
    assert holds(plan, aws)


def test_same_rule_set_by_another_incident_is_a_success(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)

    def set_both() -> None:
        for egress in (False, True):
            entry(ec2, scene.public_acl_id, number_of(plan), f"{ATTACKER}/32", egress=egress)

    before_call(aws, "CreateNetworkAclEntry", set_both)

    receipt = apply(plan, aws)

    assert {call.detail.split(":")[1].strip() for call in receipt.calls} == {
        "NetworkAclEntryAlreadyExists"
    }
    assert holds(plan, aws)


def test_number_taken_by_another_rule_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER, egress=False)
    number = number_of(plan)
    before_call(
        aws, "CreateNetworkAclEntry", lambda: entry(ec2, scene.public_acl_id, number, f"{OTHER}/32")
    )

    with pytest.raises(PlanStale, match=f"ingress {number} "):
        apply(plan, aws)


def test_plan_of_which_a_part_was_applied_is_not_called_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    number = number_of(plan)
    before_call(
        aws, "CreateNetworkAclEntry", lambda: entry(ec2, scene.public_acl_id, number, f"{OTHER}/32")
    )

    with pytest.raises(CloudError, match="NetworkAclEntryAlreadyExists"):
        apply(plan, aws)

    receipt = revert(plan, aws)
    assert entries(ec2, scene.public_acl_id) == {(False, number): f"deny -1 {OTHER}/32"}
    assert len(receipt.left) == 1


def test_number_taken_before_apply_makes_the_plan_stale(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    number = number_of(plan)
    entry(ec2, scene.public_acl_id, number, f"{OTHER}/32", egress=True)

    with pytest.raises(PlanStale, match=f"egress {number} "):
        apply(plan, aws)

    assert entries(ec2, scene.public_acl_id) == {(True, number): f"deny -1 {OTHER}/32"}


def test_allow_put_before_ours_makes_the_plan_stale(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER, first_rule=50)
    entry(ec2, scene.public_acl_id, 10, "198.51.100.0/24", action="allow")

    with pytest.raises(PlanStale, match="rule 10"):
        apply(plan, aws)


def test_subnet_moved_to_another_acl_makes_the_plan_stale(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    associate(ec2, scene.public_subnet_id, scene.private_acl_id)

    with pytest.raises(PlanStale, match=scene.public_subnet_id):
        apply(plan, aws)


def test_acl_filled_meanwhile_makes_the_plan_stale(aws: Aws, scene: Scene, ec2: Any) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER, first_rule=90)
    fill(ec2, scene.public_acl_id, up_to=19)
    before = entries(ec2, scene.public_acl_id)

    with pytest.raises(PlanStale, match="others filled"):
        apply(plan, aws)

    assert entries(ec2, scene.public_acl_id) == before
    (again,) = planned(aws, scene.web_id, ATTACKER, first_rule=90)
    assert "is full" in again.refusals[0]


def test_acl_that_is_filled_in_the_last_moment_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER, first_rule=90, egress=False)
    before_call(aws, "CreateNetworkAclEntry", lambda: fill(ec2, scene.public_acl_id, up_to=19))

    with pytest.raises(PlanStale, match="filled"):
        apply(plan, aws)


def test_acl_that_is_filled_between_two_rules_is_a_quota_error(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER, first_rule=90)
    before_call(aws, "CreateNetworkAclEntry", lambda: fill(ec2, scene.public_acl_id, up_to=19))

    with pytest.raises(QuotaExceeded):
        apply(plan, aws)

    revert(plan, aws)
    assert not any(ATTACKER in rule for rule in entries(ec2, scene.public_acl_id).values())


def test_apply_and_verify_read_once_each(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    lab.control("DELETE", "firedoor/calls")

    apply(plan, aws)
    verify(plan, aws)

    operations = [call["operation"] for call in lab.control("GET", "firedoor/calls")]
    assert {one: operations.count(one) for one in operations if "Acl" in one} == {
        "CreateNetworkAclEntry": 2,
        "DescribeNetworkAcls": 2,
    }


# Two incidents


def test_second_incident_finds_the_address_blocked(aws: Aws, scene: Scene, ec2: Any) -> None:
    (first,) = planned(aws, scene.web_id, ATTACKER)
    apply(first, aws)

    (second,) = planned(aws, scene.web_id, ATTACKER)

    assert second.lease == first.lease
    assert second.calls == ()
    assert holds(second, aws)
    assert revert(second, aws).calls == ()
    assert len(entries(ec2, scene.public_acl_id)) == 2


def test_incidents_that_plan_the_same_block_at_once_set_it_once(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    (first,), (second,) = (planned(aws, scene.web_id, ATTACKER) for _ in range(2))
    apply(first, aws)

    receipt = apply(second, aws)

    assert receipt.calls == ()
    assert len(entries(ec2, scene.public_acl_id)) == 2


def test_plans_made_at_once_for_several_addresses_all_apply(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    addresses = [f"198.51.100.{host}" for host in range(1, 6)]
    plans = [plan for address in addresses for plan in planned(aws, scene.web_id, address)]

    for plan in plans:
        apply(plan, aws)

    assert entries(ec2, scene.public_acl_id) == {
        (egress, number_of(plan)): f"deny -1 {address}/32"
        for plan, address in zip(plans, addresses, strict=True)
        for egress in (False, True)
    }
    assert all(holds(plan, aws) for plan in plans)


def test_incidents_that_want_one_number_for_two_addresses_plan_again(
    aws: Aws, scene: Scene
) -> None:
    band = {"first_rule": 71, "last_rule": 72}
    plans = [planned(aws, scene.web_id, a, **band)[0] for a in (ATTACKER, OTHER, ATTACKER_V6)]
    # Of three addresses and two numbers, some two have the same.
    first, second = next(
        (one, two) for one, two in combinations(plans, 2) if number_of(one) == number_of(two)
    )
    apply(first, aws)

    with pytest.raises(PlanStale):
        apply(second, aws)

    (again,) = planned(aws, scene.web_id, str(second.params["address"]), **band)
    apply(again, aws)
    assert {number_of(first), number_of(again)} == {71, 72}
    assert all(holds(plan, aws) for plan in (first, again))


def test_incident_that_lost_the_last_number_of_its_band_is_refused(aws: Aws, scene: Scene) -> None:
    band = {"first_rule": 71, "last_rule": 71}
    (first,), (second,) = (planned(aws, scene.web_id, a, **band) for a in (ATTACKER, OTHER))
    apply(first, aws)

    with pytest.raises(PlanStale, match="ingress 71 "):
        apply(second, aws)

    (again,) = planned(aws, scene.web_id, OTHER, **band)
    assert "no free rule number between 71 and 71 before rule 100" in again.refusals[0]


# Verify


def test_removed_rule_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene)
    number = number_of(plan)
    ec2.delete_network_acl_entry(NetworkAclId=scene.public_acl_id, RuleNumber=number, Egress=True)

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    assert [check.name for check in proof.checks if not check.ok] == [
        f"{scene.public_acl_id} egress {number} is ours",
        f"egress denies {ATTACKER}/32",
    ]


def test_replaced_rule_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene)
    replace(ec2, scene.public_acl_id, number_of(plan), f"{ATTACKER}/32", action="allow")

    assert verify(plan, aws).verdict == Verdict.DRIFTED


def test_allow_before_ours_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene, first_rule=50)
    entry(ec2, scene.public_acl_id, 10, "198.51.100.0/24", action="allow", egress=True)

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    (wrong,) = (check.detail for check in proof.checks if not check.ok)
    assert wrong == f"egress rule 10 allows {ATTACKER}/32"


def test_subnet_moved_to_another_acl_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene)
    associate(ec2, scene.public_subnet_id, scene.private_acl_id)

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    assert proof.checks[-1].detail == scene.public_subnet_id


def test_deleted_acl_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene)
    delete_acl(ec2, scene)

    assert verify(plan, aws).verdict == Verdict.DRIFTED


# Revert


def test_revert_leaves_the_acl_exactly_as_it_was(aws: Aws, scene: Scene, ec2: Any) -> None:
    entry(ec2, scene.public_acl_id, 7, "192.0.2.0/24")
    before = entries(ec2, scene.public_acl_id)
    plans = planned(aws, scene.web_id, ATTACKER, ATTACKER_V6)
    for plan in plans:
        apply(plan, aws)

    receipts = [revert(plan, aws) for plan in plans]

    assert entries(ec2, scene.public_acl_id) == before
    assert {receipt.left for receipt in receipts} == {()}


def test_reverted_twice_is_reverted_once(aws: Aws, scene: Scene) -> None:
    plan = applied(aws, scene)
    revert(plan, aws)

    receipt = revert(plan, aws)

    assert (receipt.calls, receipt.left) == ((), ())


def test_revert_takes_back_a_half_applied_plan(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    fault(lab, "CreateNetworkAclEntry", kind="error", code="RequestLimitExceeded", status=503)
    with pytest.raises(Throttled):
        apply(plan, aws)

    receipt = revert(plan, aws)

    assert len(receipt.calls) == 1
    assert entries(ec2, scene.public_acl_id) == {}


def test_revert_leaves_a_rule_that_is_not_ours_any_more(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene)
    number = number_of(plan)
    replace(ec2, scene.public_acl_id, number, "192.0.2.0/24", action="deny")

    receipt = revert(plan, aws)

    assert entries(ec2, scene.public_acl_id) == {(False, number): "deny -1 192.0.2.0/24"}
    (left,) = receipt.left
    assert left.startswith(f"{scene.public_acl_id} ingress {number} was changed since")


def test_revert_of_a_rule_removed_meanwhile_is_fine(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene)
    before_call(
        aws,
        "DeleteNetworkAclEntry",
        lambda: [
            ec2.delete_network_acl_entry(
                NetworkAclId=scene.public_acl_id, RuleNumber=number_of(plan), Egress=egress
            )
            for egress in (False, True)
        ],
    )

    revert(plan, aws)

    assert entries(ec2, scene.public_acl_id) == {}


def test_revert_in_a_deleted_acl_has_nothing_to_do(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene)
    delete_acl(ec2, scene)

    receipt = revert(plan, aws)

    assert (receipt.calls, receipt.left) == ((), ())


# Helpers


def planned(aws: Aws, instance_id: str, *addresses: str, **params: Any) -> tuple[Plan, ...]:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, id=instance_id, kind=Kind.INSTANCE
    )
    target = Target(subject=subject, incident="incident/1", step="block", at=AT)
    return block_address.plan(target, Params(addresses=addresses, **params), aws)


def holds(plan: Plan, aws: Aws) -> bool:
    """Whether all that is read back is as it should be; there are no flow logs to prove more."""
    proof = verify(plan, aws)
    wrong = [check.name for check in proof.checks if not check.ok]
    return (proof.verdict, wrong) == (Verdict.UNPROVEN, ["flow logs"])


def number_of(plan: Plan) -> int:
    """The rule number of a plan, which is the same in each direction."""
    (number,) = {int(str(call.parameters["RuleNumber"])) for call in plan.calls}
    return number


def usual_number(aws: Aws, scene: Scene) -> int:
    """The attacker's number in the public ACL as it is now."""
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    return number_of(plan)


def applied(aws: Aws, scene: Scene, **params: Any) -> Plan:
    (plan,) = planned(aws, scene.web_id, ATTACKER, **params)
    apply(plan, aws)
    return plan


def entry(
    ec2: Any,
    acl: str,
    number: int,
    block: str,
    *,
    action: str = "deny",
    protocol: str = "-1",
    egress: bool = False,
) -> None:
    ec2.create_network_acl_entry(**_entry(acl, number, block, action, protocol, egress))


def replace(ec2: Any, acl: str, number: int, block: str, *, action: str) -> None:
    ec2.replace_network_acl_entry(**_entry(acl, number, block, action, "-1", egress=False))


def _entry(
    acl: str, number: int, block: str, action: str, protocol: str, egress: bool
) -> dict[str, Any]:
    return {
        "NetworkAclId": acl,
        "RuleNumber": number,
        "Protocol": protocol,
        "RuleAction": action,
        "Egress": egress,
        "CidrBlock": block,
    } | ({"PortRange": {"From": 1, "To": 65535}} if protocol == "6" else {})


def entries(ec2: Any, acl: str) -> dict[tuple[bool, int], str]:
    """The rules that the scene did not put there."""
    (found,) = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    return {
        (e["Egress"], e["RuleNumber"]): (
            f"{e['RuleAction']} {e['Protocol']} {e.get('CidrBlock') or e['Ipv6CidrBlock']}"
        )
        for e in found["Entries"]
        if e["RuleNumber"] < 100
    }


def fill(ec2: Any, acl: str, *, up_to: int) -> None:
    """Add ingress rules that have nothing to do with the attacker; the scene has one already."""
    for number in range(2, up_to + 1):
        entry(ec2, acl, 200 + number, f"192.0.2.{number}/32")


def gone(aws: Aws, ec2: Any, instance: str) -> str:
    """End an instance, which AWS lists for a while longer, but without interfaces."""
    ec2.terminate_instances(InstanceIds=[instance])
    on_answer(aws, "DescribeNetworkInterfaces", lambda answer: answer["NetworkInterfaces"].clear())
    return instance


def associate(ec2: Any, subnet: str, acl: str) -> None:
    ec2.replace_network_acl_association(AssociationId=association(ec2, subnet), NetworkAclId=acl)


def association(ec2: Any, subnet: str) -> str:
    found = ec2.describe_network_acls(
        Filters=[{"Name": "association.subnet-id", "Values": [subnet]}]
    )
    (association_id,) = (
        a["NetworkAclAssociationId"]
        for a in found["NetworkAcls"][0]["Associations"]
        if a["SubnetId"] == subnet
    )
    return str(association_id)


def default_acl(ec2: Any, scene: Scene) -> str:
    filters = [
        {"Name": "vpc-id", "Values": [scene.vpc_id]},
        {"Name": "default", "Values": ["true"]},
    ]
    return str(ec2.describe_network_acls(Filters=filters)["NetworkAcls"][0]["NetworkAclId"])


def delete_acl(ec2: Any, scene: Scene) -> None:
    associate(ec2, scene.public_subnet_id, scene.private_acl_id)
    ec2.delete_network_acl(NetworkAclId=scene.public_acl_id)


def load_balancer(ec2: Any, scene: Scene, kind: str, instance_id: str) -> None:
    elbv2 = boto3.client("elbv2")
    zone = ec2.create_subnet(
        VpcId=scene.vpc_id, CidrBlock="10.20.9.0/24", AvailabilityZone="us-east-1b"
    )["Subnet"]["SubnetId"]
    subnets = [scene.public_subnet_id, zone]
    balancer = elbv2.create_load_balancer(Name="front", Subnets=subnets, Type=kind)
    protocol = "HTTP" if kind == "application" else "TCP"
    group = elbv2.create_target_group(
        Name="shop", Protocol=protocol, Port=80, VpcId=scene.vpc_id, TargetType="instance"
    )["TargetGroups"][0]["TargetGroupArn"]
    elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": instance_id}])
    elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
        Protocol=protocol,
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )


def fault(lab: EmulatedAws, operation: str, *, service: str = "ec2", **more: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": service, "operation": operation, **more})


def before_call(aws: Aws, operation: str, do: Callable[[], Any]) -> None:
    """Let something happen just before an operation is sent for the first time."""
    pending = [do]
    happened = Event()

    def called(**_: Any) -> None:
        try:
            pending.pop()()
        except IndexError:
            happened.wait(10)  # a call that goes out beside it must not overtake it
        else:
            happened.set()

    aws.client("ec2").meta.events.register(f"before-call.ec2.{operation}", called)


def on_answer(aws: Aws, operation: str, change: Callable[[Any], Any], service: str = "ec2") -> None:
    """Change the answers to an operation: what the emulator cannot show."""

    def changed(parsed: Any, **_: Any) -> None:
        change(parsed)

    aws.client(service).meta.events.register_last(f"after-call.{service}.{operation}", changed)
