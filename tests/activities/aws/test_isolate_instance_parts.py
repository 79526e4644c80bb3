from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import pairwise
from typing import Any

import boto3
import pytest

from activities.aws import _network, _untracked, block_address, isolate_instance
from activities.aws._packet import Packet, group_rule
from activities.aws._quarantine import NAME as QUARANTINE
from activities.aws.isolate_instance import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, QuotaExceeded, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Check, Plan, Target, Verdict

AT = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
PEER, PEER_V6 = "198.51.100.7", "2001:db8:ffff::7"
UNWATCHED = ["flow logs"]  # what reading back cannot show where no flow logs are kept


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0)
    monkeypatch.setattr(_untracked, "PAUSES", (0, 0))


@pytest.fixture
def ec2(aws: Aws) -> Any:
    return boto3.client("ec2")


# All of it


def test_everything_is_set_and_everything_comes_back(aws: Aws, scene: Scene, ec2: Any) -> None:
    settled(ec2, scene)
    before = state(ec2, scene)
    plan = planned(aws, scene.web_id, addresses=(PEER, PEER_V6))

    apply(plan, aws)

    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert revert(plan, aws).left == ()
    assert state(ec2, scene) == before


def test_applied_twice_is_applied_once(aws: Aws, scene: Scene, ec2: Any) -> None:
    settled(ec2, scene)
    plan = planned(aws, scene.web_id, addresses=(PEER,))
    apply(plan, aws)
    contained = state(ec2, scene)

    assert apply(plan, aws).calls == ()
    assert state(ec2, scene) == contained


def test_reverted_twice_is_reverted_once(aws: Aws, scene: Scene, ec2: Any) -> None:
    settled(ec2, scene)
    plan = planned(aws, scene.web_id, addresses=(PEER,))
    apply(plan, aws)
    revert(plan, aws)

    again = revert(plan, aws)

    assert (again.calls, again.left) == ((), ())


def test_what_keeps_it_comes_first_and_quarantine_last(aws: Aws, scene: Scene, ec2: Any) -> None:
    settled(ec2, scene)

    receipt = apply(planned(aws, scene.web_id, addresses=(PEER,)), aws)

    order = ["Groups" if "Groups" in c.parameters else c.operation for c in receipt.calls]
    stages = [
        ("CreateTags", "ModifyInstanceAttribute", "SetInstanceProtection"),
        (
            "EnterStandby",
            "DeregisterTargets",
            "DeregisterInstancesFromLoadBalancer",
            "ModifyInstanceMetadataOptions",
            "DisassociateAddress",
            "CreateNetworkAclEntry",
        ),
        ("Groups",),
    ]
    for earlier, later in pairwise(stages):
        assert max(map(last(order), earlier)) < min(map(order.index, later))
    assert order.index("Groups") < order.index("RevokeSecurityGroupIngress")
    assert order[-1] == "DeleteSecurityGroup"


def test_calls_that_are_planned_are_those_that_are_made(aws: Aws, scene: Scene, ec2: Any) -> None:
    settled(ec2, scene)
    plan = planned(aws, scene.web_id, addresses=(PEER,))

    made = [call.operation for call in apply(plan, aws).calls]
    undone = [call.operation for call in revert(plan, aws).calls]

    assert sorted(made) == sorted(call.operation for call in plan.calls)
    # The group that takes off the tracking is deleted by then.
    assert sorted([*undone, "DeleteSecurityGroup"]) == sorted(c.operation for c in plan.undo)


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        *(
            (operation, "lost")
            for operation in (
                "CreateTags",
                "ModifyInstanceAttribute",
                "SetInstanceProtection",
                "EnterStandby",
                "DeregisterTargets",
                "DeregisterInstancesFromLoadBalancer",
                "ModifyInstanceMetadataOptions",
                "DisassociateAddress",
                "CreateNetworkAclEntry",
                "AuthorizeSecurityGroupIngress",
                "RevokeSecurityGroupIngress",
                "DeleteSecurityGroup",
            )
        ),
        ("DeregisterTargets", "dropped"),
        ("DisassociateAddress", "throttled"),
    ],
)
def test_part_that_fails_for_now_keeps_nothing_else_and_is_done_next_time(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws, operation: str, kind: str
) -> None:
    settled(ec2, scene)
    before = state(ec2, scene)
    plan = planned(aws, scene.web_id, addresses=(PEER,))
    fault(lab, operation, **FAULTS[kind])

    with pytest.raises((Throttled, Unavailable)):
        apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [QUARANTINE]
    apply(plan, aws)
    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert passages(ec2) == []
    revert(plan, aws)
    assert state(ec2, scene) == before


@pytest.mark.parametrize("operation", ["EnterStandby", "ModifyInstanceAttribute", "CreateTags"])
def test_part_that_is_denied_is_shown_and_keeps_nothing_else(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws, operation: str
) -> None:
    settled(ec2, scene)
    before = state(ec2, scene)
    plan = planned(aws, scene.web_id, addresses=(PEER,))
    fault(lab, operation, kind="error", code="AccessDenied", status=403, times=9)

    receipt = apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [QUARANTINE]
    assert any("AccessDenied" in call.detail for call in receipt.calls)
    if operation != "CreateTags":  # the tags are for people: nothing passes without them
        assert verify(plan, aws).verdict == Verdict.DRIFTED
    lab.control("DELETE", "firedoor/faults")
    assert revert(plan, aws).left == ()
    assert state(ec2, scene) == before


def test_part_that_cannot_be_read_keeps_nothing_else(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    settled(ec2, scene)
    plan = planned(aws, scene.web_id)
    fault(lab, "DescribeTargetHealth", **FAULTS["throttled"])

    with pytest.raises(Throttled):
        apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [QUARANTINE]
    apply(plan, aws)
    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_part_that_cannot_be_looked_at_is_left_out_and_said(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    fault(lab, "DescribeTargetGroups", kind="error", code="AccessDenied", status=403)

    plan = planned(aws, scene.web_id)

    assert "AccessDenied" in check(plan, "take it out of target groups").detail
    assert plan.refusals == ()
    assert any(change.attribute == "groups" for change in plan.changes)


def test_undo_that_fails_for_now_keeps_nothing_else(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    settled(ec2, scene)
    before = state(ec2, scene)
    plan = planned(aws, scene.web_id)
    apply(plan, aws)
    fault(lab, "AssociateAddress", **FAULTS["throttled"])

    with pytest.raises(Throttled):
        revert(plan, aws)

    assert groups(ec2, scene.web_interface_id) == ["web"]
    assert revert(plan, aws).left == ()
    assert state(ec2, scene) == before


def test_what_somebody_changed_since_is_left(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene.web_id)
    apply(plan, aws)
    ec2.modify_instance_metadata_options(
        InstanceId=scene.web_id, HttpEndpoint="enabled", HttpTokens="required"
    )

    receipt = revert(plan, aws)

    (left,) = receipt.left
    assert left.startswith(f"{scene.web_id} metadata service was changed since")
    assert groups(ec2, scene.web_interface_id) == ["web"]


def test_part_that_changed_after_planning_makes_the_plan_stale(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    plan = planned(aws, scene.web_id)
    ec2.modify_instance_metadata_options(InstanceId=scene.web_id, HttpTokens="required")

    with pytest.raises(PlanStale, match="metadata service"):
        apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == ["web"]


def test_begun_isolation_is_finished_despite_a_part_that_changed(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    plan = planned(aws, scene.web_id)
    fault(lab, "CreateSecurityGroup", **FAULTS["throttled"])
    with pytest.raises(Throttled):
        apply(plan, aws)
    ec2.modify_instance_metadata_options(
        InstanceId=scene.web_id, HttpEndpoint="enabled", HttpTokens="required"
    )

    apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [QUARANTINE]


def test_instance_that_ended_meanwhile_is_said_once(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene.web_id, protect=False)
    apply(plan, aws)
    ec2.terminate_instances(InstanceIds=[scene.web_id])

    receipt = revert(plan, aws)

    assert f"{scene.web_id} does not exist any more" in receipt.left
    assert not any("tags" in left for left in receipt.left)


def test_parts_can_be_left_out(aws: Aws, scene: Scene, ec2: Any) -> None:
    settled(ec2, scene)

    plan = planned(
        aws,
        scene.web_id,
        untrack=False,
        idle_timeouts=False,
        deny_peers=False,
        metadata_off=False,
        elastic_off=False,
        scaling_off=False,
        serving_off=False,
        protect=False,
    )

    assert {change.attribute for change in plan.changes} == {
        "tags of the incident", "tag firedoor:incident", "groups",
    }  # fmt: skip


def test_silent_flow_logs_prove_it(aws: Aws, scene: Scene, ec2: Any) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    at = now - timedelta(minutes=40)
    found = Target.model_validate({**target(aws, scene.web_id).model_dump(), "at": at})
    (plan,) = isolate_instance.plan(found, Params(untrack_for=timedelta(0)), aws)
    apply(plan, aws)
    flow_log(ec2, scene, [at + timedelta(minutes=minutes) for minutes in range(-1, 39)])

    proof = verify(plan, aws)

    assert (proof.verdict, failed(proof.checks)) == (Verdict.PROVEN, [])
    assert proof.since == at


# The untracking group


def test_interface_passes_through_an_open_group_that_is_gone_afterwards(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    seen: list[Any] = []
    see = lambda: seen.append(inside(ec2, scene)[0])  # noqa: E731
    plan = planned(aws, scene.web_id, idle_timeouts=False)
    before_each(aws, "ec2", "ModifyNetworkInterfaceAttribute", see)
    before_each(aws, "ec2", "DeleteSecurityGroup", see)

    apply(plan, aws)

    assert [group["GroupName"] for group in seen] == [
        "web",
        _untracked.name(scene.web_id),
        QUARANTINE,
    ]
    assert passages(ec2) == []


def test_everything_may_pass_the_untracking_group_both_ways(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]  # without IPv6
    calls = _untracked.creation(vpc, "i-0abc"), *_untracked.openings()

    with aws.only(calls):
        id = _untracked.ready(calls[0], None, aws)
        again = _untracked.ready(calls[0], {"GroupId": id}, aws)

    assert again == id
    (group,) = ec2.describe_security_groups(GroupIds=[id])["SecurityGroups"]
    everybody = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    packets = [Packet(remote, egress) for remote in everybody for egress in (False, True)]
    assert all(group_rule([group], packet) for packet in packets)
    rules = [*group["IpPermissions"], *group["IpPermissionsEgress"]]
    assert {rule["IpProtocol"] for rule in rules} == {"-1"}


def test_plan_says_for_how_long_it_is_open(aws: Aws, scene: Scene) -> None:
    plan = planned(aws, scene.web_id, untrack_for=timedelta(seconds=20))

    assert any(line.startswith("For 20 seconds before") for line in plan.blast_radius)
    assert check(plan, "cuts live connections").ok
    assert plan.params["untrack_for"] == "PT20S"


def test_group_is_closed_though_interfaces_cannot_leave_it(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    plan = planned(aws, scene.web_id, idle_timeouts=False)
    moves = [0]

    def fail_the_second() -> None:
        moves[0] += 1
        if moves[0] == 2:
            fault(lab, "ModifyNetworkInterfaceAttribute", **FAULTS["throttled"])

    before_each(aws, "ec2", "ModifyNetworkInterfaceAttribute", fail_the_second)

    with pytest.raises(Throttled):
        apply(plan, aws)

    (group,) = inside(ec2, scene)
    assert (group["IpPermissions"], group["IpPermissionsEgress"]) == ([], [])
    apply(plan, aws)
    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert passages(ec2) == []


def test_what_was_left_open_is_closed_even_if_quarantine_is_gone(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    first = planned(aws, scene.app_id)
    apply(first, aws)
    plan = planned(aws, scene.web_id)
    left_open(ec2, scene)
    revert(first, aws)
    (quarantine,) = named(ec2, QUARANTINE)
    ec2.delete_security_group(GroupId=quarantine["GroupId"])

    with pytest.raises(PlanStale, match="was deleted after planning"):
        apply(plan, aws)

    (group,) = inside(ec2, scene)
    assert (group["IpPermissions"], group["IpPermissionsEgress"]) == ([], [])


def test_what_was_left_open_goes_on_to_quarantine(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene.web_id)
    left_open(ec2, scene)

    apply(plan, aws)

    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert passages(ec2) == []


def test_undo_reaches_an_interface_that_was_left_on_the_way(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    before = state(ec2, scene)
    plan = planned(aws, scene.web_id, idle_timeouts=False)
    moves = [0]

    def fail_the_second() -> None:
        moves[0] += 1
        if moves[0] == 2:
            fault(lab, "ModifyNetworkInterfaceAttribute", **FAULTS["throttled"])

    before_each(aws, "ec2", "ModifyNetworkInterfaceAttribute", fail_the_second)
    with pytest.raises(Throttled):
        apply(plan, aws)

    receipt = revert(plan, aws)

    assert receipt.left == ()
    assert state(ec2, scene) == before
    assert passages(ec2) == []


def test_without_an_untracking_group_it_goes_to_quarantine_straight(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    apply(planned(aws, scene.app_id), aws)  # so that only the other group is to be made
    plan = planned(aws, scene.web_id)
    fault(lab, "CreateSecurityGroup", kind="error", code="SecurityGroupLimitExceeded", status=400)

    apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [QUARANTINE]


def test_stopped_instance_is_not_opened(aws: Aws, scene: Scene, ec2: Any) -> None:
    ec2.stop_instances(InstanceIds=[scene.web_id])

    plan = planned(aws, scene.web_id)

    assert "AuthorizeSecurityGroupIngress" not in {call.operation for call in plan.calls}


def test_group_of_that_name_by_somebody_else_is_not_used(aws: Aws, scene: Scene, ec2: Any) -> None:
    ec2.create_security_group(
        GroupName=_untracked.name(scene.web_id), Description="x", VpcId=scene.vpc_id
    )

    plan = planned(aws, scene.web_id)

    assert "AuthorizeSecurityGroupIngress" not in {call.operation for call in plan.calls}
    assert not check(plan, "cuts live connections").ok


def test_peers_are_denied_where_somebody_else_has_the_name_of_the_untracking_group(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    name = _untracked.name(scene.web_id)
    id = ec2.create_security_group(GroupName=name, Description="x", VpcId=scene.vpc_id)["GroupId"]

    plan = planned(aws, scene.web_id, addresses=(PEER,))

    assert {str(network) for network in plan.touched.networks} == {f"{PEER}/32"}
    assert name in check(plan, f"{id} is ours").detail


def test_group_that_cannot_be_made_keeps_nothing_else(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    settled(ec2, scene)
    plan = planned(aws, scene.web_id, untrack=False)
    full = {"kind": "error", "code": "SecurityGroupLimitExceeded", "status": 400}
    fault(lab, "CreateSecurityGroup", **full)

    with pytest.raises(QuotaExceeded):
        apply(plan, aws)

    assert [id for id, used, _ in state(ec2, scene)["elastic"] if used] == []
    assert instance(ec2, scene)["MetadataOptions"]["HttpEndpoint"] == "disabled"
    assert classic_members("old") == []
    apply(plan, aws)
    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_opening_ends_with_the_worker_and_that_is_said(aws: Aws, scene: Scene) -> None:
    plan = planned(aws, scene.web_id, untrack_for=timedelta(seconds=20))

    assert any("if Firedoor's worker dies" in line for line in plan.blast_radius)


def test_interfaces_in_two_vpcs_pass_through_a_group_each(aws: Aws, scene: Scene, ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.30.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.30.1.0/24")["Subnet"]["SubnetId"]
    second = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=scene.web_id, DeviceIndex=1)
    plan = planned(aws, scene.web_id)

    receipt = apply(plan, aws)

    created = [c.parameters for c in receipt.calls if c.operation == "CreateSecurityGroup"]
    passed = {c["VpcId"] for c in created if c["GroupName"] == _untracked.name(scene.web_id)}
    assert passed == {scene.vpc_id, vpc}
    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert passages(ec2) == []
    assert revert(plan, aws).left == ()
    assert groups(ec2, second) == ["default"]


def test_interface_that_cannot_be_opened_goes_to_quarantine_with_the_others(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    plan = planned(aws, scene.app_id, idle_timeouts=False)
    nope = {"kind": "error", "code": "OperationNotPermitted", "status": 400}
    fault(lab, "ModifyNetworkInterfaceAttribute", **nope)

    receipt = apply(plan, aws)

    assert any("OperationNotPermitted" in call.detail for call in receipt.calls)
    assert [groups(ec2, id) for id in scene.app_interface_ids] == [[QUARANTINE]] * 2
    assert passages(ec2) == []


# Idle timeouts


def test_timeouts_become_as_short_as_they_can_be(aws: Aws, scene: Scene, ec2: Any) -> None:
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert interface(ec2, scene)["ConnectionTrackingConfiguration"] == {
        "TcpEstablishedTimeout": 60,
        "UdpStreamTimeout": 60,
        "UdpTimeout": 30,
    }
    assert any("never set" in line for line in plan.lost)


def test_timeouts_that_were_set_come_back(aws: Aws, scene: Scene, ec2: Any) -> None:
    own = {"TcpEstablishedTimeout": 600, "UdpStreamTimeout": 120, "UdpTimeout": 45}
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=scene.web_interface_id, ConnectionTrackingSpecification=own
    )
    plan = planned(aws, scene.web_id)
    apply(plan, aws)

    revert(plan, aws)

    assert interface(ec2, scene)["ConnectionTrackingConfiguration"] == own
    assert not any("never set" in line for line in plan.lost)


def test_type_with_timeouts_of_its_own_gets_those_back(aws: Aws, scene: Scene, ec2: Any) -> None:
    on_answer(
        aws,
        "ec2",
        "DescribeInstanceTypes",
        lambda a: a["InstanceTypes"][0]["NetworkInfo"].update(
            ConnectionTrackingConfiguration={"DefaultTcpEstablishedTimeout": 350}
        ),
    )
    plan = planned(aws, scene.web_id)
    apply(plan, aws)

    revert(plan, aws)

    assert interface(ec2, scene)["ConnectionTrackingConfiguration"] == {
        "TcpEstablishedTimeout": 350,
        "UdpStreamTimeout": 180,
        "UdpTimeout": 30,
    }


def test_type_without_nitro_keeps_its_timeouts_and_that_is_said(aws: Aws, scene: Scene) -> None:
    on_answer(
        aws,
        "ec2",
        "DescribeInstanceTypes",
        lambda a: a["InstanceTypes"][0].update(Hypervisor="xen"),
    )

    plan = planned(aws, scene.web_id)

    assert not check(plan, "idle timeouts of connections can be set").ok
    assert "idle timeouts of connections" not in {change.attribute for change in plan.changes}


# Protection


def test_instance_and_disks_are_protected(aws: Aws, scene: Scene, ec2: Any) -> None:
    apply(planned(aws, scene.web_id), aws)

    assert protection(ec2, scene) == (True, True, "stop", [False, False])


def test_only_what_differs_is_set_and_put_back(aws: Aws, scene: Scene, ec2: Any) -> None:
    ec2.modify_instance_attribute(InstanceId=scene.web_id, DisableApiStop={"Value": True})
    ec2.modify_instance_attribute(
        InstanceId=scene.web_id, InstanceInitiatedShutdownBehavior={"Value": "terminate"}
    )
    plan = planned(aws, scene.web_id)
    apply(plan, aws)

    revert(plan, aws)

    assert protection(ec2, scene) == (False, True, "terminate", [True, True])


def test_spot_instance_is_said_to_be_unprotected(aws: Aws, scene: Scene) -> None:
    on_answer(
        aws,
        "ec2",
        "DescribeInstances",
        lambda a: a["Reservations"][0]["Instances"][0].update(InstanceLifecycle="spot"),
    )

    plan = planned(aws, scene.web_id)

    assert "Spot" in check(plan, "can be protected from its end").detail
    assert "termination protection" not in {change.attribute for change in plan.changes}


# Metadata


def test_metadata_comes_back_with_its_tokens_and_hops(aws: Aws, scene: Scene, ec2: Any) -> None:
    ec2.modify_instance_metadata_options(
        InstanceId=scene.web_id, HttpTokens="required", HttpPutResponseHopLimit=3
    )
    before = instance(ec2, scene)["MetadataOptions"]
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert instance(ec2, scene)["MetadataOptions"]["HttpEndpoint"] == "disabled"
    revert(plan, aws)
    assert instance(ec2, scene)["MetadataOptions"] == before


def test_metadata_that_is_still_being_turned_off_is_pending(aws: Aws, scene: Scene) -> None:
    plan = planned(aws, scene.web_id)
    apply(plan, aws)
    on_answer(
        aws,
        "ec2",
        "DescribeInstances",
        lambda a: a["Reservations"][0]["Instances"][0]["MetadataOptions"].update(State="pending"),
    )

    proof = verify(plan, aws)

    assert "metadata service" in failed(proof.checks)
    assert proof.verdict != Verdict.DRIFTED


def test_what_no_rule_filters_is_said(aws: Aws, scene: Scene) -> None:
    off = [check.name for check in planned(aws, scene.web_id).preflight if not check.ok]
    on = [c.name for c in planned(aws, scene.web_id, metadata_off=False).preflight if not c.ok]

    assert "cuts DNS" in off
    assert ("cuts instance metadata" in off, "cuts instance metadata" in on) == (False, True)


# Addresses


def test_elastic_address_is_kept_and_put_back_where_it_was(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    allocation, address = elastic(ec2, scene)
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert used_by(ec2, allocation) == (None, None)
    revert(plan, aws)
    assert used_by(ec2, allocation) == (scene.web_interface_id, scene.web_address)
    assert any(address in line for line in plan.blast_radius)


def test_elastic_address_of_a_second_private_one_is_found(aws: Aws, scene: Scene) -> None:
    second = {
        "PrivateIpAddress": "10.20.1.99",
        "Primary": False,
        "Association": {
            "AllocationId": "eipalloc-1",
            "AssociationId": "eipassoc-1",
            "PublicIp": "203.0.113.9",
        },
    }
    on_answer(
        aws,
        "ec2",
        "DescribeNetworkInterfaces",
        lambda answer: [
            found["PrivateIpAddresses"].append(second)
            for found in answer["NetworkInterfaces"]
            if found["NetworkInterfaceId"] == scene.web_interface_id
        ],
    )

    plan = planned(aws, scene.web_id)

    (change,) = (c for c in plan.changes if c.resource == "eipalloc-1")
    assert change.before == {
        "NetworkInterfaceId": scene.web_interface_id,
        "PrivateIpAddress": "10.20.1.99",
    }
    (back,) = (c for c in plan.undo if c.operation == "AssociateAddress")
    assert back.parameters["AllowReassociation"] is False


def test_elastic_address_that_somebody_took_is_left(aws: Aws, scene: Scene, ec2: Any) -> None:
    allocation, _ = elastic(ec2, scene)
    plan = planned(aws, scene.web_id)
    apply(plan, aws)
    other = scene.app_interface_ids[1]
    ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=other)

    receipt = revert(plan, aws)

    assert any(left.startswith(f"{allocation} use of") for left in receipt.left)
    assert used_by(ec2, allocation)[0] == other


def test_lent_address_stays_unless_a_runbook_gives_it_up(aws: Aws, scene: Scene, ec2: Any) -> None:
    kept = planned(aws, scene.web_id)
    given_up = planned(aws, scene.web_id, lent_off=True)

    apply(given_up, aws)

    assert not any(change.attribute.startswith("public address") for change in kept.changes)
    assert any(scene.web_public_address in line for line in kept.lost)
    assert any(
        f"{scene.web_public_address}, which AWS lent" in line and "another" in line
        for line in given_up.lost
    )
    assert "Association" not in interface(ec2, scene)
    revert(given_up, aws)
    assert "AllocationId" not in interface(ec2, scene)["Association"]


# Auto Scaling


def test_member_goes_to_standby_with_one_less_wanted(aws: Aws, scene: Scene) -> None:
    fleet(scene, least=0)
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert member(scene) == ("Standby", True)
    assert group("fleet")["DesiredCapacity"] == 0
    assert plan.touched.fleets["autoscaling/fleet"] == 1
    revert(plan, aws)
    assert member(scene) == ("InService", False)
    assert group("fleet")["DesiredCapacity"] == 1


def test_protection_from_scale_in_goes_before_it_is_on_its_way_into_service(
    aws: Aws, scene: Scene
) -> None:
    fleet(scene, least=0)
    plan = planned(aws, scene.web_id)
    apply(plan, aws)

    order = [call.operation for call in revert(plan, aws).calls]

    assert order.index("SetInstanceProtection") < order.index("ExitStandby")


def test_minimum_that_does_not_let_it_go_brings_a_replacement(aws: Aws, scene: Scene) -> None:
    fleet(scene, least=1)
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert any("starts another at once, from the same image" in line for line in plan.blast_radius)
    assert any("undo makes it one more" in line for line in plan.lost)
    assert member(scene) == ("Standby", True)
    assert len(group("fleet")["Instances"]) == 2
    revert(plan, aws)
    assert member(scene) == ("InService", False)


def test_busy_group_is_tried_again(aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws) -> None:
    fleet(scene, least=0)
    plan = planned(aws, scene.web_id)
    fault(lab, "EnterStandby", kind="error", code="ResourceContention", status=500)

    with pytest.raises(Unavailable, match="ResourceContention"):
        apply(plan, aws)

    assert groups(ec2, scene.web_interface_id) == [QUARANTINE]
    apply(plan, aws)
    assert member(scene) == ("Standby", True)


def test_member_that_cannot_go_to_standby_is_said(aws: Aws, scene: Scene) -> None:
    fleet(scene, least=0)
    on_answer(
        aws,
        "autoscaling",
        "DescribeAutoScalingInstances",
        lambda a: a["AutoScalingInstances"][0].update(LifecycleState="Terminating:Wait"),
    )

    plan = planned(aws, scene.web_id)

    assert "Terminating:Wait" in check(plan, "stays alive in its Auto Scaling group").detail
    assert not any("lifecycle" in change.attribute for change in plan.changes)


def test_way_back_into_service_counts_as_there(aws: Aws, scene: Scene) -> None:
    fleet(scene, least=0)
    plan = planned(aws, scene.web_id)
    apply(plan, aws)
    revert(plan, aws)
    on_answer(
        aws,
        "autoscaling",
        "DescribeAutoScalingInstances",
        lambda a: a["AutoScalingInstances"][0].update(LifecycleState="Pending"),
    )

    again = revert(plan, aws)

    assert (again.calls, again.left) == ((), ())


# Load balancers


def test_target_leaves_with_its_port_and_comes_back_with_it(aws: Aws, scene: Scene) -> None:
    arn = target_group(scene, "shop", scene.web_id, port=8443)
    target_group(scene, "other", scene.app_id)
    boto3.client("elbv2").register_targets(TargetGroupArn=arn, Targets=[{"Id": scene.app_id}])
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert targets(arn) == {(scene.app_id, 80)}
    revert(plan, aws)
    assert targets(arn) == {(scene.app_id, 80), (scene.web_id, 8443)}
    assert "Target group shop loses this target; 1 healthy target remain" in "".join(
        plan.blast_radius
    )
    assert plan.touched.fleets["target-group/shop"] == 2
    assert "target-group/other" not in plan.touched.fleets


def test_target_by_address_leaves_too(aws: Aws, scene: Scene) -> None:
    arn = target_group(scene, "shop", scene.web_address, kind="ip")

    apply(planned(aws, scene.web_id), aws)

    assert targets(arn) == set()


def test_target_under_two_ports_leaves_under_both(aws: Aws, scene: Scene) -> None:
    target_group(scene, "shop", scene.web_id)

    def twice(answer: Any) -> None:
        (one,) = answer["TargetHealthDescriptions"]
        other = {**one, "Target": {**one["Target"], "Port": 8080}}
        answer["TargetHealthDescriptions"].append(other)

    on_answer(aws, "elbv2", "DescribeTargetHealth", twice)

    plan = planned(aws, scene.web_id)

    assert [c.attribute for c in plan.changes if c.attribute.startswith("target ")] == [
        f"target {scene.web_id}:80",
        f"target {scene.web_id}:8080",
    ]


def test_target_that_drains_has_left(aws: Aws, scene: Scene) -> None:
    target_group(scene, "shop", scene.web_id)
    plan = planned(aws, scene.web_id)
    apply(plan, aws)
    drains = {"State": "draining", "Reason": "Target.DeregistrationInProgress"}
    gone = {"Target": {"Id": scene.web_id, "Port": 80}, "TargetHealth": drains}
    on_answer(
        aws,
        "elbv2",
        "DescribeTargetHealth",
        lambda answer: answer["TargetHealthDescriptions"].append(gone),
    )

    assert failed(verify(plan, aws).checks) == UNWATCHED


def test_target_that_somebody_registered_again_is_drift(aws: Aws, scene: Scene) -> None:
    arn = target_group(scene, "shop", scene.web_id)
    plan = planned(aws, scene.web_id)
    apply(plan, aws)
    again = [{"Id": scene.web_id, "Port": 80}]
    boto3.client("elbv2").register_targets(TargetGroupArn=arn, Targets=again)

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    assert failed(proof.checks)[0] == f"{arn} target {scene.web_id}:80"


def test_classic_load_balancer_lets_it_go_and_takes_it_back(aws: Aws, scene: Scene) -> None:
    classic(scene, "old")
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert classic_members("old") == []
    revert(plan, aws)
    assert classic_members("old") == [scene.web_id]
    assert plan.touched.fleets["loadbalancer/old"] == 1


def test_too_many_target_groups_are_left_to_a_person(
    aws: Aws, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_network, "MOST_TARGET_GROUPS", 0)
    target_group(scene, "shop", scene.web_id)

    plan = planned(aws, scene.web_id)

    assert check(plan, "take it out of target groups").detail == (
        f"1 target group in {scene.vpc_id}: look there by hand"
    )


# Peers


def test_peers_are_denied_where_everything_is_tracked(aws: Aws, scene: Scene, ec2: Any) -> None:
    gateway = nat(ec2, scene)
    plan = planned(aws, scene.app_id, addresses=(PEER, PEER_V6))

    apply(plan, aws)

    assert denied(ec2, scene.private_acl_id) == {
        (f"{PEER}/32", False),
        (f"{PEER}/32", True),
        (f"{PEER_V6}/128", False),
        (f"{PEER_V6}/128", True),
    }
    assert denied(ec2, scene.public_acl_id) == set()
    assert gateway in check(plan, "cuts always tracked connections").detail
    assert [str(network) for network in plan.touched.networks] == [f"{PEER}/32", f"{PEER_V6}/128"]
    assert failed(verify(plan, aws).checks) == UNWATCHED
    revert(plan, aws)
    assert denied(ec2, scene.private_acl_id) == set()


def test_peers_are_denied_whatever_load_balancers_there_are(
    aws: Aws, scene: Scene, ec2: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_network, "MOST_TARGET_GROUPS", 0)
    nat(ec2, scene)
    target_group(scene, "shop", scene.app_id)

    plan = planned(aws, scene.app_id, addresses=(PEER,))

    assert any(change.resource == scene.private_acl_id for change in plan.changes)


def test_peers_are_not_denied_where_the_swap_cuts_them(aws: Aws, scene: Scene, ec2: Any) -> None:
    nat(ec2, scene)

    plan = planned(aws, scene.web_id, addresses=(PEER,))

    assert not any(change.resource.startswith("acl-") for change in plan.changes)


def test_targets_of_a_network_load_balancer_are_always_tracked(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    target_group(scene, "relay", scene.web_id, protocol="TCP")

    plan = planned(aws, scene.web_id, addresses=(PEER,))

    assert "relay (TCP)" in check(plan, "cuts always tracked connections").detail
    assert {c.resource for c in plan.changes if c.resource.startswith("acl-")} == {
        scene.public_acl_id
    }


@pytest.mark.parametrize(
    "route",
    [
        {"TransitGatewayId": "tgw-1"},
        {"EgressOnlyInternetGatewayId": "eigw-1", "DestinationIpv6CidrBlock": "::/0"},
        {"GatewayId": "vpce-1", "DestinationCidrBlock": "0.0.0.0/0"},
    ],
)
def test_other_hops_are_known_too(aws: Aws, scene: Scene, route: dict[str, str]) -> None:
    on_answer(
        aws,
        "ec2",
        "DescribeRouteTables",
        lambda answer: [table["Routes"].append(route) for table in answer["RouteTables"]],
    )

    plan = planned(aws, scene.web_id)

    hop = next(iter(route.values()))
    assert hop in check(plan, "cuts always tracked connections").detail


def test_gateway_endpoint_of_s3_is_no_such_hop(aws: Aws, scene: Scene) -> None:
    route = {"GatewayId": "vpce-1", "DestinationPrefixListId": "pl-1"}
    on_answer(
        aws,
        "ec2",
        "DescribeRouteTables",
        lambda answer: [table["Routes"].append(route) for table in answer["RouteTables"]],
    )

    plan = planned(aws, scene.web_id)

    assert not any(c.name == "cuts always tracked connections" for c in plan.preflight)


def test_private_and_own_peers_are_named_and_not_denied(aws: Aws, scene: Scene, ec2: Any) -> None:
    nat(ec2, scene)
    _, own = elastic(ec2, scene)

    plan = planned(aws, scene.app_id, addresses=("10.99.1.1", own, PEER))

    shown = check(plan, "cuts always tracked connections")
    assert (shown.ok, "10.99.1.1" in shown.detail) == (False, True)
    assert [str(network) for network in plan.touched.networks] == [f"{PEER}/32"]


def test_peer_that_others_need_is_named_and_not_denied(aws: Aws, scene: Scene, ec2: Any) -> None:
    nat(ec2, scene)
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    s3 = next(one["PrefixListId"] for one in lists if one["PrefixListName"].endswith(".s3"))
    entry = ec2.get_managed_prefix_list_entries(PrefixListId=s3)["Entries"][0]
    service, partner = str(ip_network(entry["Cidr"])[1]), "203.0.113.99"

    plan = planned(
        aws.sparing((ip_network("203.0.113.96/28"),)),
        scene.app_id,
        addresses=(service, partner, PEER),
    )

    shown = check(plan, "cuts always tracked connections")
    assert (shown.ok, service in shown.detail, partner in shown.detail) == (False, True, True)
    assert [str(network) for network in plan.touched.networks] == [f"{PEER}/32"]


def test_services_that_may_not_be_read_are_said_and_stop_nothing(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    nat(ec2, scene)
    denied = {"kind": "error", "code": "UnauthorizedOperation", "status": 403}
    fault(lab, "DescribeManagedPrefixLists", **denied)

    plan = planned(aws, scene.app_id, addresses=(PEER,))

    assert not check(plan, "addresses of AWS services").ok
    assert [str(network) for network in plan.touched.networks] == [f"{PEER}/32"]


def test_gateway_endpoint_of_dynamodb_is_said_to_live_on(aws: Aws, scene: Scene, ec2: Any) -> None:
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    table = next(one["PrefixListId"] for one in lists if one["PrefixListName"].endswith("dynamodb"))
    route = {"GatewayId": "vpce-1", "DestinationPrefixListId": table}
    on_answer(
        aws,
        "ec2",
        "DescribeRouteTables",
        lambda answer: [table["Routes"].append(route) for table in answer["RouteTables"]],
    )

    plan = planned(aws, scene.web_id)

    assert "DynamoDB (vpce-1)" in check(plan, "cuts always tracked connections").detail
    assert not any(change.resource.startswith("acl-") for change in plan.changes)


def test_full_network_acl_is_said_and_stops_nothing(aws: Aws, scene: Scene, ec2: Any) -> None:
    nat(ec2, scene)
    for number in range(1, 19):
        ec2.create_network_acl_entry(
            NetworkAclId=scene.private_acl_id,
            RuleNumber=number,
            Protocol="-1",
            RuleAction="deny",
            Egress=False,
            CidrBlock=f"192.0.2.{number}/32",
        )

    plan = planned(aws, scene.app_id, addresses=(PEER,))

    assert "full" in check(plan, f"{PEER} can be denied in {scene.private_acl_id}").detail
    assert plan.refusals == ()
    assert any(change.attribute == "groups" for change in plan.changes)
    assert not check(plan, "cuts always tracked connections").ok


def test_number_that_another_rule_took_does_not_stop_isolation(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    nat(ec2, scene)
    plan = planned(aws, scene.app_id, addresses=(PEER,))
    rule = next(c for c in plan.calls if c.operation == "CreateNetworkAclEntry").parameters
    ec2.create_network_acl_entry(**{**rule, "CidrBlock": "192.0.2.1/32"})

    apply(plan, aws)

    assert groups(ec2, scene.app_interface_ids[0]) == [QUARANTINE]
    direction = "egress" if rule["Egress"] else "ingress"
    assert failed(verify(plan, aws).checks)[:-1] == [
        f"{scene.private_acl_id} denies {PEER}/32 {direction}"
    ]
    revert(plan, aws)
    assert denied(ec2, scene.private_acl_id) == {("192.0.2.1/32", rule["Egress"])}


def test_rule_that_lets_a_peer_in_before_ours_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    nat(ec2, scene)
    plan = planned(aws, scene.app_id, addresses=(PEER,))
    apply(plan, aws)
    ec2.create_network_acl_entry(
        NetworkAclId=scene.private_acl_id,
        RuleNumber=1,
        Protocol="-1",
        RuleAction="allow",
        Egress=True,
        CidrBlock="0.0.0.0/0",
    )

    proof = verify(plan, aws)

    assert proof.verdict == Verdict.DRIFTED
    assert failed(proof.checks)[0] == f"{scene.private_acl_id} denies {PEER}/32 egress"


def test_block_of_the_same_address_has_a_rule_of_its_own(aws: Aws, scene: Scene, ec2: Any) -> None:
    nat(ec2, scene)
    mine = planned(aws, scene.app_id, addresses=(PEER,))
    (_, blocked) = sorted(
        block_address.plan(
            mine.target, block_address.Params.model_validate({"addresses": [PEER]}), aws
        ),
        key=lambda plan: plan.lease.startswith(scene.private_acl_id),
    )

    ours = {(c.resource, c.attribute) for c in mine.changes if c.resource.startswith("acl-")}
    assert not ours & {(c.resource, c.attribute) for c in blocked.changes}


def test_peers_are_denied_where_nothing_takes_them_off_the_tracking(aws: Aws, scene: Scene) -> None:
    plan = planned(aws, scene.web_id, addresses=(PEER,), untrack=False)

    assert {c.resource for c in plan.changes if c.resource.startswith("acl-")} == {
        scene.public_acl_id
    }


# Tags


def test_instance_is_marked_and_the_mark_goes(aws: Aws, scene: Scene, ec2: Any) -> None:
    ec2.create_tags(
        Resources=[scene.web_id], Tags=[{"Key": "firedoor:incident", "Value": "incident/0"}]
    )
    before = instance(ec2, scene)["Tags"]
    plan = planned(aws, scene.web_id)

    apply(plan, aws)

    assert tags(ec2, scene) == {
        "Name": "web",
        "firedoor:incident": "incident/1",
        "firedoor:step": "isolate",
        "firedoor:planned-at": "2026-01-31T03:00:00Z",
    }
    revert(plan, aws)
    assert sorted(instance(ec2, scene)["Tags"], key=str) == sorted(before, key=str)


def test_disks_and_interfaces_are_marked_and_the_marks_go(aws: Aws, scene: Scene, ec2: Any) -> None:
    mark = {"Key": "firedoor:incident", "Value": "incident/0"}
    ec2.create_tags(Resources=[scene.web_interface_id], Tags=[mark])
    plan = planned(aws, scene.web_id)
    held = (*scene.web_volume_ids, scene.web_interface_id)

    apply(plan, aws)
    marked = incidents(ec2, *held)
    revert(plan, aws)

    assert marked == dict.fromkeys(held, "incident/1")
    assert incidents(ec2, *held) == {scene.web_interface_id: "incident/0"}


def test_disk_that_another_incident_marks_meanwhile_does_not_stop_isolation(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    plan = planned(aws, scene.web_id)
    mark = {"Key": "firedoor:incident", "Value": "incident/2"}
    ec2.create_tags(Resources=[scene.web_volume_ids[0]], Tags=[mark])

    apply(plan, aws)

    assert failed(verify(plan, aws).checks) == UNWATCHED
    assert incidents(ec2, scene.web_volume_ids[0]) == {scene.web_volume_ids[0]: "incident/2"}


def test_nothing_but_the_mark_is_nothing_to_do(aws: Aws, scene: Scene) -> None:
    apply(planned(aws, scene.web_id), aws)

    later = Target.model_validate({**target(aws, scene.web_id).model_dump(), "incident": "other"})
    (plan,) = isolate_instance.plan(later, Params(untrack_for=timedelta(0)), aws)

    assert (plan.changes, plan.calls, plan.undo) == ((), (), ())


# Permissions


def test_subnets_that_go_out_through_it_are_counted(aws: Aws, scene: Scene, ec2: Any) -> None:
    main = ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [scene.vpc_id]}])
    tables = {t["RouteTableId"]: t for t in main["RouteTables"]}
    to = {"NetworkInterfaceId": scene.web_interface_id, "DestinationCidrBlock": "192.0.2.0/24"}
    for table in tables:
        ec2.create_route(RouteTableId=table, **to)

    plan = planned(aws, scene.web_id)

    told = {line for line in plan.blast_radius if "through it" in line}
    (other,) = tables.keys() - {scene.route_table_id}
    assert told == {
        f"{scene.route_table_id} sends 192.0.2.0/24 of 1 subnet through it: they lose that way, so"
        " give them another first",
        f"{other} sends 192.0.2.0/24 of all subnets of {scene.vpc_id} without a table of their own"
        " through it: they lose that way, so give them another first",
    }


def test_node_of_a_cluster_is_named_as_such(aws: Aws, scene: Scene, ec2: Any) -> None:
    owned = {"Key": "kubernetes.io/cluster/shop", "Value": "owned"}
    ec2.create_tags(Resources=[scene.web_id], Tags=[owned])

    plan = planned(aws, scene.web_id)

    assert any("Kubernetes cluster shop" in line for line in plan.blast_radius)


def test_permissions_are_asked_for_once_each_elsewhere_than_in_ec2_too(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    target_group(scene, "shop", scene.web_id)

    plan = planned(aws, scene.web_id)

    names = [check.name for check in plan.preflight]
    assert "may elasticloadbalancing:DeregisterTargets" in names
    assert names.count("may ModifyNetworkInterfaceAttribute") == 1


# Helpers

FAULTS: dict[str, dict[str, Any]] = {
    "lost": {"kind": "lost"},
    "dropped": {"kind": "dropped"},
    "throttled": {"kind": "error", "code": "RequestLimitExceeded", "status": 503},
}


def target(aws: Aws, instance_id: str) -> Target:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, id=instance_id, kind=Kind.INSTANCE
    )
    return Target(subject=subject, incident="incident/1", step="isolate", at=AT)


def planned(aws: Aws, instance_id: str, **params: Any) -> Plan:
    chosen = Params.model_validate({"untrack_for": timedelta(0), **params})
    (plan,) = isolate_instance.plan(target(aws, instance_id), chosen, aws)
    assert plan.refusals == ()
    return plan


def settled(ec2: Any, scene: Scene) -> None:
    """Give the `web` server all that isolation has parts for."""
    elastic(ec2, scene)
    fleet(scene, least=0)
    target_group(scene, "relay", scene.web_id, protocol="TCP")
    classic(scene, "old")
    own = {"TcpEstablishedTimeout": 600, "UdpStreamTimeout": 120, "UdpTimeout": 45}
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=scene.web_interface_id, ConnectionTrackingSpecification=own
    )


def state(ec2: Any, scene: Scene) -> dict[str, Any]:
    """Return all that isolation may touch, as AWS shows it."""
    found = interface(ec2, scene)
    shown = instance(ec2, scene)
    return {
        "groups": found["Groups"],
        "timeouts": found.get("ConnectionTrackingConfiguration"),
        "address": (found.get("Association") or {}).get("PublicIp"),
        "elastic": [
            (a["AllocationId"], a.get("NetworkInterfaceId"), a.get("PrivateIpAddress"))
            for a in ec2.describe_addresses()["Addresses"]
        ],
        "tags": sorted(shown["Tags"], key=str),
        "metadata": shown["MetadataOptions"],
        "protection": protection(ec2, scene),
        "acl": ec2.describe_network_acls(NetworkAclIds=[scene.public_acl_id])["NetworkAcls"][0][
            "Entries"
        ],
        "members": [
            (
                g["DesiredCapacity"],
                [(i["LifecycleState"], i["ProtectedFromScaleIn"]) for i in g["Instances"]],
            )
            for g in boto3.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        ],
        "targets": {
            g["TargetGroupName"]: targets(g["TargetGroupArn"])
            for g in boto3.client("elbv2").describe_target_groups()["TargetGroups"]
        },
        "classic": [
            b["Instances"]
            for b in boto3.client("elb").describe_load_balancers()["LoadBalancerDescriptions"]
        ],
    }


def check(plan: Plan, name: str) -> Check:
    (found,) = (check for check in plan.preflight if check.name == name)
    return found


def failed(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def last(order: list[str]) -> Callable[[str], int]:
    return lambda name: len(order) - 1 - order[::-1].index(name)


def instance(ec2: Any, scene: Scene) -> Any:
    return ec2.describe_instances(InstanceIds=[scene.web_id])["Reservations"][0]["Instances"][0]


def incidents(ec2: Any, *ids: str) -> dict[str, str]:
    """Return which incident each of these is marked with."""
    wanted = [
        {"Name": "resource-id", "Values": [*ids]},
        {"Name": "key", "Values": ["firedoor:incident"]},
    ]
    return {t["ResourceId"]: t["Value"] for t in ec2.describe_tags(Filters=wanted)["Tags"]}


def tags(ec2: Any, scene: Scene) -> dict[str, str]:
    found = {tag["Key"]: tag["Value"] for tag in instance(ec2, scene)["Tags"]}
    return {key: value for key, value in found.items() if not key.startswith("aws:")}


def interface(ec2: Any, scene: Scene) -> Any:
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=[scene.web_interface_id])
    return found["NetworkInterfaces"][0]


def groups(ec2: Any, id: str) -> list[str]:
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"][0]
    return [group["GroupName"] for group in found["Groups"]]


def inside(ec2: Any, scene: Scene) -> list[Any]:
    ids = [group["GroupId"] for group in interface(ec2, scene)["Groups"]]
    found: list[Any] = ec2.describe_security_groups(GroupIds=ids)["SecurityGroups"]
    return found


def named(ec2: Any, name: str) -> list[Any]:
    wanted = [{"Name": "group-name", "Values": [name]}]
    found: list[Any] = ec2.describe_security_groups(Filters=wanted)["SecurityGroups"]
    return found


def left_open(ec2: Any, scene: Scene) -> None:
    """Leave the `web` server as a worker would that was killed while everything may pass."""
    creation = _untracked.creation(scene.vpc_id, scene.web_id)
    id = ec2.create_security_group(**creation.parameters)["GroupId"]
    opening, _ = _untracked.openings(id)
    ec2.authorize_security_group_ingress(**opening.parameters)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=scene.web_interface_id, Groups=[id])


def passages(ec2: Any) -> list[str]:
    found = ec2.describe_security_groups()["SecurityGroups"]
    return [g["GroupName"] for g in found if g["GroupName"].startswith("firedoor-untrack")]


def protection(ec2: Any, scene: Scene) -> tuple[Any, ...]:
    names = ("disableApiTermination", "disableApiStop", "instanceInitiatedShutdownBehavior")
    values = [
        ec2.describe_instance_attribute(InstanceId=scene.web_id, Attribute=name)[
            name[0].upper() + name[1:]
        ]["Value"]
        for name in names
    ]
    disks = instance(ec2, scene)["BlockDeviceMappings"]
    return (*values, [disk["Ebs"]["DeleteOnTermination"] for disk in disks])


def flow_log(ec2: Any, scene: Scene, minutes: list[datetime]) -> None:
    """Log these minutes of the `web` server, in each of which nothing passed."""
    stream = {"logGroupName": "flows", "logStreamName": f"{scene.web_interface_id}-all"}
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="flows")
    logs.create_log_stream(**stream)
    ec2.create_flow_logs(
        ResourceType="NetworkInterface",
        ResourceIds=[scene.web_interface_id],
        TrafficType="ALL",
        MaxAggregationInterval=60,
        LogGroupName="flows",
        DeliverLogsPermissionArn=scene.role_arn,
    )
    own = f"2 {scene.account} {scene.web_interface_id} - - - - - - -"
    times = [int(at.timestamp()) for at in minutes]
    events = [{"timestamp": t * 1000, "message": f"{own} {t} {t + 60} - NODATA"} for t in times]
    logs.put_log_events(**stream, logEvents=events)


def elastic(ec2: Any, scene: Scene) -> tuple[str, str]:
    allocated = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(
        AllocationId=allocated["AllocationId"], NetworkInterfaceId=scene.web_interface_id
    )
    return allocated["AllocationId"], allocated["PublicIp"]


def used_by(ec2: Any, allocation: str) -> tuple[str | None, str | None]:
    (found,) = ec2.describe_addresses(AllocationIds=[allocation])["Addresses"]
    if not found.get("AssociationId"):
        return None, None
    return found["NetworkInterfaceId"], found["PrivateIpAddress"]


def fleet(scene: Scene, least: int) -> None:
    scaling = boto3.client("autoscaling")
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="fleet",
        InstanceId=scene.web_id,
        VPCZoneIdentifier=scene.public_subnet_id,
        MinSize=0,
        MaxSize=4,
    )
    scaling.attach_instances(AutoScalingGroupName="fleet", InstanceIds=[scene.web_id])
    scaling.update_auto_scaling_group(AutoScalingGroupName="fleet", MinSize=least)


def group(name: str) -> Any:
    found = boto3.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    return found["AutoScalingGroups"][0]


def member(scene: Scene) -> tuple[str, bool]:
    found = boto3.client("autoscaling").describe_auto_scaling_instances(InstanceIds=[scene.web_id])
    (one,) = found["AutoScalingInstances"]
    return one["LifecycleState"], one["ProtectedFromScaleIn"]


def target_group(
    scene: Scene,
    name: str,
    target: str,
    *,
    kind: str = "instance",
    protocol: str = "HTTP",
    port: int = 80,
) -> str:
    elbv2 = boto3.client("elbv2")
    created = elbv2.create_target_group(
        Name=name, Protocol=protocol, Port=80, VpcId=scene.vpc_id, TargetType=kind
    )
    arn = str(created["TargetGroups"][0]["TargetGroupArn"])
    elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": target, "Port": port}])
    return arn


def targets(arn: str) -> set[tuple[str, int]]:
    found = boto3.client("elbv2").describe_target_health(TargetGroupArn=arn)
    return {(t["Target"]["Id"], t["Target"]["Port"]) for t in found["TargetHealthDescriptions"]}


def classic(scene: Scene, name: str) -> None:
    elb = boto3.client("elb")
    listener = {"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 80}
    elb.create_load_balancer(
        LoadBalancerName=name, Listeners=[listener], AvailabilityZones=["us-east-1a"]
    )
    elb.register_instances_with_load_balancer(
        LoadBalancerName=name, Instances=[{"InstanceId": scene.web_id}]
    )


def classic_members(name: str) -> list[str]:
    found = boto3.client("elb").describe_load_balancers(LoadBalancerNames=[name])
    return [i["InstanceId"] for i in found["LoadBalancerDescriptions"][0]["Instances"]]


def nat(ec2: Any, scene: Scene) -> str:
    """Let the private subnet go out through a NAT gateway."""
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    made = ec2.create_nat_gateway(SubnetId=scene.public_subnet_id, AllocationId=address)
    gateway = str(made["NatGateway"]["NatGatewayId"])
    main = ec2.describe_route_tables(Filters=[{"Name": "association.main", "Values": ["true"]}])
    (table,) = (t for t in main["RouteTables"] if t["VpcId"] == scene.vpc_id)
    ec2.create_route(
        RouteTableId=table["RouteTableId"],
        DestinationCidrBlock="0.0.0.0/0",
        NatGatewayId=gateway,
    )
    return gateway


def denied(ec2: Any, acl: str) -> set[tuple[str, bool]]:
    (found,) = ec2.describe_network_acls(NetworkAclIds=[acl])["NetworkAcls"]
    return {
        (entry.get("CidrBlock") or entry["Ipv6CidrBlock"], entry["Egress"])
        for entry in found["Entries"]
        if entry["RuleAction"] == "deny" and entry["RuleNumber"] < 32767
    }


SERVICES = {
    "EnterStandby": "autoscaling",
    "SetInstanceProtection": "autoscaling",
    "DeregisterTargets": "elbv2",
    "DescribeTargetGroups": "elbv2",
    "DescribeTargetHealth": "elbv2",
    "DeregisterInstancesFromLoadBalancer": "elbv2",  # the signature does not tell them apart
}


def fault(lab: EmulatedAws, operation: str, **more: Any) -> None:
    service = SERVICES.get(operation, "ec2")
    lab.control("POST", "firedoor/faults", {"service": service, "operation": operation, **more})


def before_call(aws: Aws, service: str, operation: str, do: Callable[[], Any]) -> None:
    """Let something happen just before an operation is sent for the first time."""
    pending = [do]
    before_each(aws, service, operation, lambda: pending.pop()() if pending else None)


def before_each(aws: Aws, service: str, operation: str, do: Callable[[], Any]) -> None:
    """Let something happen before an operation is sent, but for trying it out."""

    def called(params: Any, **_: Any) -> None:
        if "DryRun" not in str(params.get("body")):
            do()

    aws.client(service).meta.events.register(f"before-call.{service}.{operation}", called)


def on_answer(aws: Aws, service: str, operation: str, change: Callable[[Any], Any]) -> None:
    """Change the answers to an operation: what the emulator cannot show."""
    hooks = {"elbv2": "elastic-load-balancing-v2", "autoscaling": "auto-scaling"}
    name = f"after-call.{hooks.get(service, service)}.{operation}"
    aws.client(service).meta.events.register_last(name, lambda parsed, **_: change(parsed))
