from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from threading import Event
from typing import Any

import boto3
import pytest

from activities.aws import _network, isolate_instance
from activities.aws._quarantine import NAME as QUARANTINE
from activities.aws._quarantine import TAGS
from activities.aws.isolate_instance import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, PlanStale, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import (
    LATER,
    Call,
    CallRecord,
    Change,
    Check,
    Plan,
    Target,
    Verdict,
)

AT = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
# The swap of groups alone; the other parts have tests of their own.
PARAMS = Params(
    untrack=False,
    idle_timeouts=False,
    deny_peers=False,
    metadata_off=False,
    elastic_off=False,
    scaling_off=False,
    serving_off=False,
    protect=False,
)
UNWATCHED = ["flow logs"]  # what reading back cannot show where no flow logs are kept
OUR_TAGS = [{"Key": key, "Value": value} for key, value in TAGS.items()]


@pytest.fixture(autouse=True)
def _no_pause_before_the_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0)


@pytest.fixture
def ec2(aws: Aws) -> Any:
    return boto3.client("ec2")


# Plan


def test_plan_moves_every_interface_by_id(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene, scene.app_id)

    assert [c.resource for c in swapped(plan)] == sorted(scene.app_interface_ids)
    assert {tuple(c.before) for c in swapped(plan)} == {(scene.app_group_id,)}
    assert operations(plan.calls) == [
        "CreateSecurityGroup",
        "RevokeSecurityGroupEgress",
        "RevokeSecurityGroupEgress",
        "ModifyNetworkInterfaceAttribute",
        "ModifyNetworkInterfaceAttribute",
    ]
    assert plan.calls[-1].parameters["Groups"] == [LATER]


def test_plan_is_the_same_while_nothing_changes(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene, scene.app_id)

    assert planned(aws, scene, scene.app_id).digest == plan.digest
    assert quarantine_groups(ec2) == []


def test_existing_group_is_named_by_its_id(aws: Aws, scene: Scene, ec2: Any) -> None:
    apply(planned(aws, scene, scene.web_id), aws)
    (group,) = quarantine_groups(ec2)

    plan = planned(aws, scene, scene.app_id)

    moves = [call.parameters["Groups"] for call in plan.calls if "Groups" in call.parameters]
    assert moves == [[group["GroupId"]]] * 2
    assert swapped(plan)[0].after == [QUARANTINE]


def test_undo_says_which_group_stays(aws: Aws, scene: Scene) -> None:
    plan = planned(aws, scene, scene.web_id)

    assert any(QUARANTINE in lost and scene.vpc_id in lost for lost in plan.lost)


def test_isolated_instance_needs_nothing(aws: Aws, scene: Scene) -> None:
    apply(planned(aws, scene, scene.app_id), aws)

    plan = planned(aws, scene, scene.app_id)

    assert (plan.changes, plan.calls, plan.undo) == ((), (), ())
    assert "already" in plan.summary
    assert apply(plan, aws).calls == ()
    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert revert(plan, aws).calls == ()


def test_touched_names_instance_and_interfaces_with_tags(aws: Aws, scene: Scene, ec2: Any) -> None:
    ec2.create_tags(
        Resources=[scene.web_interface_id], Tags=[{"Key": "firedoor:protected", "Value": "yes"}]
    )

    plan = planned(aws, scene, scene.web_id)

    assert plan.touched.resources == {
        scene.web_id: {"Name": "web"},
        scene.web_interface_id: {"firedoor:protected": "yes"},
    }


def test_missing_permission_shows_before_the_vote(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    denied = {"kind": "error", "code": "UnauthorizedOperation", "status": 403}
    fault(lab, "ec2", "ModifyNetworkInterfaceAttribute", **denied)

    plan = planned(aws, scene, scene.web_id)

    assert "UnauthorizedOperation" in check(plan, "may ModifyNetworkInterfaceAttribute").detail
    assert check(plan, "may CreateSecurityGroup").ok


# Refusals


@pytest.mark.parametrize("listed", [False, True])
def test_instance_that_is_gone_is_refused(aws: Aws, scene: Scene, ec2: Any, listed: bool) -> None:
    id = gone(aws, ec2, scene.web_id) if listed else "i-0123456789abcdef0"

    plan = planned(aws, scene, id)

    assert plan.refusals == (
        f"{id} does not exist any more: isolate what took its place, and revoke the role it had, as"
        " what it was handed lives for up to 6 h",
    )
    assert (plan.changes, plan.calls, plan.undo) == ((), (), ())


def test_instance_that_has_no_interface_is_refused(aws: Aws, scene: Scene) -> None:
    on_answer(aws, "DescribeNetworkInterfaces", lambda answer: answer["NetworkInterfaces"].clear())

    plan = planned(aws, scene, scene.web_id)

    assert plan.refusals == (f"{scene.web_id} is running and has no network interface to isolate",)


@pytest.mark.parametrize(
    ("marks", "owner"),
    [
        ({"RequesterManaged": True, "RequesterId": "amazon-eks"}, "managed by amazon-eks"),
        (
            {"Operator": {"Managed": True, "Principal": "eks.amazonaws.com"}},
            "managed by eks.amazonaws.com",
        ),
        ({"InterfaceType": "trunk"}, "of type trunk"),
    ],
)
def test_interface_of_a_service_is_refused(
    aws: Aws, scene: Scene, marks: dict[str, Any], owner: str
) -> None:
    on_answer(
        aws,
        "DescribeNetworkInterfaces",
        lambda answer: answer["NetworkInterfaces"][0].update(marks),
    )

    plan = planned(aws, scene, scene.web_id)

    (refusal,) = plan.refusals
    assert refusal.startswith(f"{scene.web_interface_id} is {owner}, so")
    assert (plan.changes, plan.calls, plan.undo) == ((), (), ())


def test_elastic_fabric_adapter_is_ours_to_move(aws: Aws, scene: Scene) -> None:
    on_answer(
        aws,
        "DescribeNetworkInterfaces",
        lambda answer: answer["NetworkInterfaces"][0].update(InterfaceType="efa"),
    )

    assert planned(aws, scene, scene.web_id).refusals == ()


def test_group_of_the_same_name_is_refused_without_our_tag(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    group_id = create_group(ec2, scene, tags=[{"Key": "team", "Value": "network"}])

    plan = planned(aws, scene, scene.web_id)

    (refusal,) = plan.refusals
    assert group_id in refusal
    assert plan.calls == ()


def test_group_of_the_same_name_in_another_vpc_does_not_matter(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    other = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    ec2.create_security_group(GroupName=QUARANTINE, Description="other", VpcId=other)

    plan = planned(aws, scene, scene.web_id)

    assert plan.refusals == ()
    assert operations(plan.calls)[0] == "CreateSecurityGroup"


# Apply


def test_isolated_interfaces_are_in_a_group_without_any_rule(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    plan = planned(aws, scene, scene.app_id)

    receipt = apply(plan, aws)

    (group,) = quarantine_groups(ec2)
    assert groups(ec2, *scene.app_interface_ids) == [[group["GroupId"]]] * 2
    assert (group["IpPermissions"], group["IpPermissionsEgress"]) == ([], [])
    assert receipt.created == {scene.vpc_id: group["GroupId"]}
    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_new_group_loses_its_egress_of_both_families(aws: Aws, scene: Scene) -> None:
    receipt = apply(planned(aws, scene, scene.web_id), aws)

    revoked = [
        call.parameters["IpPermissions"]
        for call in receipt.calls
        if call.operation == "RevokeSecurityGroupEgress"
    ]
    assert sorted(revoked, key=str) == [
        [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
        [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}],
    ]


def test_rules_are_gone_before_an_interface_moves(aws: Aws, scene: Scene) -> None:
    receipt = apply(planned(aws, scene, scene.app_id), aws)

    assert operations(receipt.calls) == [
        "CreateSecurityGroup",
        "RevokeSecurityGroupEgress",
        "RevokeSecurityGroupEgress",
        "ModifyNetworkInterfaceAttribute",
        "ModifyNetworkInterfaceAttribute",
    ]


def test_only_the_default_rules_that_exist_are_revoked(aws: Aws, ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]  # without IPv6
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.30.1.0/24")["Subnet"]["SubnetId"]
    launched = ec2.run_instances(
        ImageId="ami-0abcdef1234567890", MinCount=1, MaxCount=1, SubnetId=subnet
    )
    instance_id = launched["Instances"][0]["InstanceId"]

    receipt = apply(planned_for(aws, instance_id), aws)

    assert operations(receipt.calls).count("RevokeSecurityGroupEgress") == 1
    assert quarantine_groups(ec2)[0]["IpPermissionsEgress"] == []


def test_rules_in_our_group_are_shown_and_removed_first(aws: Aws, scene: Scene, ec2: Any) -> None:
    group_id = create_group(ec2, scene, tags=OUR_TAGS)
    add_rules(ec2, scene, group_id)

    plan = planned(aws, scene, scene.web_id)
    receipt = apply(plan, aws)

    shown = check(plan, f"{group_id} is empty")
    assert (shown.ok, "6 rules" in shown.detail) == (False, True)
    assert operations(plan.calls)[:-1] == [
        *["RevokeSecurityGroupIngress"] * 4,
        *["RevokeSecurityGroupEgress"] * 2,
    ]
    assert f"6 rules of {group_id}" in plan.lost
    assert group_id in plan.touched.resources
    assert operations(receipt.calls)[-1] == "ModifyNetworkInterfaceAttribute"
    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_rules_in_the_group_of_an_isolated_instance_are_removed(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    apply(planned(aws, scene, scene.web_id), aws)
    (group,) = quarantine_groups(ec2)
    add_rules(ec2, scene, group["GroupId"])

    plan = planned(aws, scene, scene.web_id)
    apply(plan, aws)

    assert [change.attribute for change in swapped(plan)] == [
        "ingress tcp 22-22 192.0.2.0/24",
        "ingress tcp 22-22 198.51.100.0/24",
        "ingress tcp 22-22 2001:db8::/32",
        f"ingress tcp 22-22 {scene.account}/{scene.app_group_id}",
    ]
    assert operations(plan.undo) == []
    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert operations(revert(plan, aws).calls) == []


def test_interfaces_in_two_vpcs_have_a_group_each(aws: Aws, scene: Scene, ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.30.1.0/24")["Subnet"]["SubnetId"]
    second = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=scene.web_id, DeviceIndex=1)
    before = groups(ec2, scene.web_interface_id, second)
    plan = planned(aws, scene, scene.web_id)

    receipt = apply(plan, aws)

    assert receipt.created == {group["VpcId"]: group["GroupId"] for group in quarantine_groups(ec2)}
    assert groups(ec2, scene.web_interface_id, second) == [
        [receipt.created[scene.vpc_id]],
        [receipt.created[vpc]],
    ]
    assert failed(verify(plan, aws).checks) == UNWATCHED
    revert(plan, aws)
    assert groups(ec2, scene.web_interface_id, second) == before


def test_rule_that_somebody_else_removed_meanwhile_is_no_obstacle(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    group_id = create_group(ec2, scene, tags=OUR_TAGS)
    plan = planned(aws, scene, scene.web_id)
    before_call(aws, "RevokeSecurityGroupEgress", lambda: empty(ec2, group_id))

    apply(plan, aws)

    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_applied_twice_is_applied_once(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene, scene.app_id)
    first = apply(plan, aws)

    second = apply(plan, aws)

    assert second.calls == ()
    assert second.created == first.created
    assert len(quarantine_groups(ec2)) == 1


def test_apply_goes_on_where_it_stopped(aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws) -> None:
    plan = planned(aws, scene, scene.app_id)
    later = {"kind": "error", "code": "RequestLimitExceeded", "status": 503}
    fault(lab, "ec2", "ModifyNetworkInterfaceAttribute", **later)
    with pytest.raises(Throttled):
        apply(plan, aws)
    half = groups(ec2, *scene.app_interface_ids)

    receipt = apply(plan, aws)

    assert half.count([scene.app_group_id]) == 1
    assert operations(receipt.calls) == ["ModifyNetworkInterfaceAttribute"]
    assert failed(verify(plan, aws).checks) == UNWATCHED


@pytest.mark.parametrize(
    "operation",
    ["CreateSecurityGroup", "RevokeSecurityGroupEgress", "ModifyNetworkInterfaceAttribute"],
)
def test_lost_answer_is_read_back_and_not_repeated(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws, operation: str
) -> None:
    plan = planned(aws, scene, scene.app_id)
    fault(lab, "ec2", operation, kind="lost")
    lab.control("DELETE", "firedoor/calls")
    with pytest.raises(Unavailable):
        apply(plan, aws)

    apply(plan, aws)

    made = [call["operation"] for call in lab.control("GET", "firedoor/calls")]
    assert [made.count(name) for name in dict.fromkeys(operations(plan.calls))] == [1, 2, 2]
    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_incidents_that_create_the_group_at_once_share_it(aws: Aws, scene: Scene, ec2: Any) -> None:
    mine, theirs = planned(aws, scene, scene.web_id), planned(aws, scene, scene.app_id)
    other = Aws(aws.account, aws.region, boto3.Session())
    before_call(aws, "CreateSecurityGroup", lambda: apply(theirs, other))

    receipt = apply(mine, aws)

    (group,) = quarantine_groups(ec2)
    everything = (scene.web_interface_id, *scene.app_interface_ids)
    assert groups(ec2, *everything) == [[group["GroupId"]]] * 3
    details = [call.detail for call in receipt.calls if call.detail]
    assert details[0].startswith("CreateSecurityGroup: InvalidGroup.Duplicate")
    assert failed(verify(mine, aws).checks) == UNWATCHED


def test_group_that_another_incident_has_not_emptied_yet_is_emptied(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    plan = planned(aws, scene, scene.web_id)
    before_call(aws, "CreateSecurityGroup", lambda: create_group(ec2, scene, tags=OUR_TAGS))

    apply(plan, aws)

    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_apply_reads_each_thing_once_and_changes_what_is_planned(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    apply(planned(aws, scene, scene.web_id), aws)
    plan = planned(aws, scene, scene.app_id)
    lab.control("DELETE", "firedoor/calls")

    apply(plan, aws)

    assert sorted(call["operation"] for call in lab.control("GET", "firedoor/calls")) == [
        *["CreateTags"] * 4,  # the instance, its disk and its two interfaces
        "DescribeInstances",
        "DescribeNetworkInterfaces",
        "DescribeSecurityGroups",
        "DescribeTags",
        *["ModifyNetworkInterfaceAttribute"] * 2,
    ]


# Stale plans


def test_interface_that_was_changed_makes_the_plan_stale(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene, scene.app_id)
    set_groups(ec2, scene.app_interface_ids[1], [scene.default_group_id])

    with pytest.raises(PlanStale, match=scene.app_interface_ids[1]):
        apply(plan, aws)

    assert quarantine_groups(ec2) == []
    assert groups(ec2, scene.app_interface_ids[0]) == [[scene.app_group_id]]


def test_interface_attached_after_planning_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    plan = planned(aws, scene, scene.web_id)
    attached = attach(ec2, scene, scene.web_id)

    with pytest.raises(PlanStale, match=attached):
        apply(plan, aws)

    assert quarantine_groups(ec2) == []


def test_begun_isolation_is_finished_despite_a_new_interface(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    plan = planned(aws, scene, scene.app_id)
    later = {"kind": "error", "code": "RequestLimitExceeded", "status": 503}
    fault(lab, "ec2", "ModifyNetworkInterfaceAttribute", **later)
    with pytest.raises(Throttled):
        apply(plan, aws)
    attached = attach(ec2, scene, scene.app_id)

    apply(plan, aws)

    (group,) = quarantine_groups(ec2)
    assert groups(ec2, *scene.app_interface_ids) == [[group["GroupId"]]] * 2
    assert failed(verify(plan, aws).checks)[:-1] == [f"{attached} is in {QUARANTINE} only"]


def test_group_that_appears_without_our_tag_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    plan = planned(aws, scene, scene.web_id)
    create_group(ec2, scene, tags=[{"Key": "team", "Value": "network"}])

    with pytest.raises(PlanStale, match="did not see"):
        apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [[scene.web_group_id]]


def test_foreign_group_that_is_faster_than_ours_is_not_used(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    plan = planned(aws, scene, scene.web_id)
    before_call(aws, "CreateSecurityGroup", lambda: create_group(ec2, scene, tags=[]))

    with pytest.raises(PlanStale, match="did not see"):
        apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [[scene.web_group_id]]


def test_rule_that_appears_in_the_group_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    group_id = create_group(ec2, scene, tags=OUR_TAGS)
    plan = planned(aws, scene, scene.web_id)
    add_rules(ec2, scene, group_id)

    with pytest.raises(PlanStale, match="has a rule that the plan did not see"):
        apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [[scene.web_group_id]]


def test_group_deleted_after_planning_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    group_id = create_group(ec2, scene, tags=OUR_TAGS)
    plan = planned(aws, scene, scene.web_id)
    ec2.delete_security_group(GroupId=group_id)

    with pytest.raises(PlanStale, match="was deleted after planning"):
        apply(plan, aws)


def test_group_made_anew_after_planning_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    group_id = create_group(ec2, scene, tags=OUR_TAGS)
    plan = planned(aws, scene, scene.web_id)
    ec2.delete_security_group(GroupId=group_id)
    create_group(ec2, scene, tags=OUR_TAGS)

    with pytest.raises(PlanStale, match="did not see"):
        apply(plan, aws)


# Verify


def test_interface_taken_out_of_quarantine_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene, scene.web_id)
    set_groups(ec2, scene.web_interface_id, [scene.web_group_id])

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    assert failed(proof.checks)[:-1] == [f"{scene.web_interface_id} is in {QUARANTINE} only"]


def test_second_group_beside_quarantine_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene, scene.web_id)
    (group,) = quarantine_groups(ec2)
    set_groups(ec2, scene.web_interface_id, [group["GroupId"], scene.web_group_id])

    assert verify(plan, aws).verdict == Verdict.DRIFTED


def test_interface_attached_since_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene, scene.web_id)
    attached = attach(ec2, scene, scene.web_id)

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    assert failed(proof.checks)[:-1] == [f"{attached} is in {QUARANTINE} only"]


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_rule_in_the_quarantine_group_is_drift(
    aws: Aws, scene: Scene, ec2: Any, direction: str
) -> None:
    plan = applied(aws, scene, scene.web_id)
    (group,) = quarantine_groups(ec2)
    authorize = getattr(ec2, f"authorize_security_group_{direction}")
    authorize(
        GroupId=group["GroupId"],
        IpPermissions=[{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]}],
    )

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    assert failed(proof.checks)[:-1] == [f"{QUARANTINE} in {scene.vpc_id} lets nothing pass"]


def test_look_that_lags_behind_is_taken_again(aws: Aws, scene: Scene) -> None:
    plan = applied(aws, scene, scene.web_id)
    old = [{"GroupId": scene.web_group_id, "GroupName": "web"}]
    on_answer(
        aws,
        "DescribeNetworkInterfaces",
        lambda answer: answer["NetworkInterfaces"][0].update(Groups=old),
        times=1,
    )

    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_instance_without_interfaces_is_isolated(aws: Aws, scene: Scene) -> None:
    plan = applied(aws, scene, scene.web_id)
    on_answer(aws, "DescribeNetworkInterfaces", lambda answer: answer["NetworkInterfaces"].clear())

    assert verify(plan, aws).verdict == Verdict.PROVEN


# Revert


def test_revert_gives_back_exactly_the_groups_before(aws: Aws, scene: Scene, ec2: Any) -> None:
    first, second = scene.app_interface_ids
    set_groups(ec2, second, [scene.app_group_id, scene.default_group_id])
    before = groups(ec2, first, second)
    plan = applied(aws, scene, scene.app_id)

    receipt = revert(plan, aws)

    assert groups(ec2, first, second) == before
    assert receipt.left == ()
    assert operations(receipt.calls) == ["ModifyNetworkInterfaceAttribute"] * 2
    assert len(quarantine_groups(ec2)) == 1


def test_reverted_twice_is_reverted_once(aws: Aws, scene: Scene) -> None:
    plan = applied(aws, scene, scene.app_id)
    revert(plan, aws)

    receipt = revert(plan, aws)

    assert (receipt.calls, receipt.left) == ((), ())


def test_revert_takes_back_a_half_applied_plan(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    plan = planned(aws, scene, scene.app_id)
    fault(lab, "ec2", "ModifyNetworkInterfaceAttribute", kind="error", code="Nope", status=400)
    with pytest.raises(CloudError):
        apply(plan, aws)

    receipt = revert(plan, aws)

    assert len(operations(receipt.calls)) == 1
    assert groups(ec2, *scene.app_interface_ids) == [[scene.app_group_id]] * 2


def test_revert_leaves_what_somebody_changed_since(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene, scene.app_id)
    changed, other = scene.app_interface_ids
    set_groups(ec2, changed, [scene.default_group_id])

    receipt = revert(plan, aws)

    assert groups(ec2, changed, other) == [[scene.default_group_id], [scene.app_group_id]]
    (left,) = receipt.left
    assert left.startswith(f"{changed} groups was changed since")


def test_revert_leaves_an_interface_whose_group_is_gone(aws: Aws, scene: Scene, ec2: Any) -> None:
    first, second = scene.app_interface_ids
    doomed = ec2.create_security_group(GroupName="x", Description="x", VpcId=scene.vpc_id)[
        "GroupId"
    ]
    set_groups(ec2, first, [scene.app_group_id, doomed])
    plan = applied(aws, scene, scene.app_id)
    ec2.delete_security_group(GroupId=doomed)

    receipt = revert(plan, aws)

    (group,) = quarantine_groups(ec2)
    assert groups(ec2, first, second) == [[group["GroupId"]], [scene.app_group_id]]
    (left,) = receipt.left
    assert first in left
    assert doomed in left


def test_revert_reaches_an_interface_that_was_detached(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene, scene.app_id)
    detached = scene.app_interface_ids[1]
    ec2.detach_network_interface(AttachmentId=attachment(ec2, detached))

    receipt = revert(plan, aws)

    assert groups(ec2, detached) == [[scene.app_group_id]]
    assert receipt.left == ()


def test_revert_says_that_an_interface_is_gone(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = applied(aws, scene, scene.app_id)
    kept, deleted = scene.app_interface_ids
    ec2.detach_network_interface(AttachmentId=attachment(ec2, deleted))
    ec2.delete_network_interface(NetworkInterfaceId=deleted)

    receipt = revert(plan, aws)

    assert receipt.left == (f"{deleted} does not exist any more",)
    assert groups(ec2, kept) == [[scene.app_group_id]]


# Helpers


def planned_for(aws: Aws, instance_id: str) -> Plan:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, id=instance_id, kind=Kind.INSTANCE
    )
    target = Target(subject=subject, incident="incident/1", step="isolate", at=AT)
    (plan,) = isolate_instance.plan(target, PARAMS, aws)
    return plan


def planned(aws: Aws, scene: Scene, instance_id: str) -> Plan:
    assert scene.account == aws.account
    return planned_for(aws, instance_id)


def applied(aws: Aws, scene: Scene, instance_id: str) -> Plan:
    plan = planned(aws, scene, instance_id)
    apply(plan, aws)
    return plan


def check(plan: Plan, name: str) -> Check:
    (found,) = (check for check in plan.preflight if check.name == name)
    return found


def failed(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def operations(calls: Iterable[Call | CallRecord]) -> list[str]:
    """Return what is called, but for the tags that every isolation sets and removes."""
    return [call.operation for call in calls if not call.operation.endswith("Tags")]


def swapped(plan: Plan) -> list[Change]:
    """Return the changes of groups and their rules."""
    return [change for change in plan.changes if not change.attribute.startswith("tag")]


def quarantine_groups(ec2: Any) -> list[Any]:
    named = [{"Name": "group-name", "Values": [QUARANTINE]}]
    found: list[Any] = ec2.describe_security_groups(Filters=named)["SecurityGroups"]
    return found


def groups(ec2: Any, *interfaces: str) -> list[list[str]]:
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=list(interfaces))
    by_id = {i["NetworkInterfaceId"]: i for i in found["NetworkInterfaces"]}
    return [sorted(group["GroupId"] for group in by_id[i]["Groups"]) for i in interfaces]


def set_groups(ec2: Any, interface: str, ids: list[str]) -> None:
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=ids)


def attachment(ec2: Any, interface: str) -> str:
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])
    return str(found["NetworkInterfaces"][0]["Attachment"]["AttachmentId"])


def attach(ec2: Any, scene: Scene, instance_id: str) -> str:
    created = ec2.create_network_interface(
        SubnetId=scene.private_subnet_id, Groups=[scene.default_group_id]
    )
    interface = str(created["NetworkInterface"]["NetworkInterfaceId"])
    ec2.attach_network_interface(
        NetworkInterfaceId=interface, InstanceId=instance_id, DeviceIndex=5
    )
    return interface


def create_group(ec2: Any, scene: Scene, tags: list[dict[str, str]]) -> str:
    created = ec2.create_security_group(
        GroupName=QUARANTINE,
        Description="a test",
        VpcId=scene.vpc_id,
        TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}] if tags else [],
    )
    return str(created["GroupId"])


def add_rules(ec2: Any, scene: Scene, group_id: str) -> None:
    tcp = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22}
    ec2.authorize_security_group_ingress(
        GroupId=group_id,
        IpPermissions=[
            {
                **tcp,
                "IpRanges": [
                    {"CidrIp": "192.0.2.0/24", "Description": "office"},
                    {"CidrIp": "198.51.100.0/24"},
                ],
                "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}],
                "UserIdGroupPairs": [{"GroupId": scene.app_group_id, "UserId": scene.account}],
            }
        ],
    )


def empty(ec2: Any, group_id: str) -> None:
    (group,) = ec2.describe_security_groups(GroupIds=[group_id])["SecurityGroups"]
    if group["IpPermissionsEgress"]:
        ec2.revoke_security_group_egress(
            GroupId=group_id, IpPermissions=group["IpPermissionsEgress"]
        )


def fault(lab: EmulatedAws, service: str, operation: str, **more: Any) -> None:
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


def gone(aws: Aws, ec2: Any, instance: str) -> str:
    """End an instance, which AWS lists for a while longer, but without interfaces."""
    ec2.terminate_instances(InstanceIds=[instance])
    on_answer(aws, "DescribeNetworkInterfaces", lambda answer: answer["NetworkInterfaces"].clear())
    return instance


def on_answer(
    aws: Aws, operation: str, change: Callable[[Any], Any], times: int | None = None
) -> None:
    """Change the answers to an operation: what the emulator cannot show."""
    pending = [None] * (times or 1000)

    def changed(parsed: Any, **_: Any) -> None:
        if pending:
            pending.pop()
            change(parsed)

    aws.client("ec2").meta.events.register_last(f"after-call.ec2.{operation}", changed)
