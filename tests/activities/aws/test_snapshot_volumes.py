"""Snapshots of an instance's volumes, against the emulated AWS and what it cannot play."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from activities.aws import snapshot_volumes
from activities.aws.snapshot_volumes import apply, verify
from firedoor.action import NoParams
from firedoor.cloud.aws import Aws
from firedoor.errors import Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Target, Verdict
from firedoor.testing import NOW


def planned(instance: str, aws: Aws, step: str = "snapshot") -> Plan:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, kind=Kind.INSTANCE, id=instance
    )
    target = Target(subject=subject, incident="incident/1", step=step, at=NOW)
    (plan,) = snapshot_volumes.plan(target, NoParams(), aws)
    return plan


def snapshots() -> list[dict[str, Any]]:
    ours = [{"Name": "tag-key", "Values": ["firedoor:incident"]}]
    return list(boto3.client("ec2").describe_snapshots(Filters=ours)["Snapshots"])


def preflight(plan: Plan) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.ok, check.detail) for check in plan.preflight}


def test_plan_holds_the_one_call_that_takes_the_whole_set(scene: Scene, aws: Aws) -> None:
    plan = planned(scene.web_id, aws)

    (call,) = plan.calls
    assert (call.service, call.operation) == ("ec2", "CreateSnapshots")
    assert call.parameters["InstanceSpecification"] == {
        "InstanceId": scene.web_id,
        "ExcludeBootVolume": False,
    }
    assert call.parameters["CopyTagsFromSource"] == "volume"
    assert plan.summary == f"Snapshot 2 volumes (16 GiB) of {scene.web_id} at one instant."
    assert preflight(plan)["may CreateSnapshots"] == (True, "")
    assert set(plan.touched.resources) == {scene.web_id, *scene.web_volume_ids}
    assert (plan.changes, plan.undo, plan.lease) == ((), (), scene.web_id)


def test_applied_plan_is_proven_with_a_snapshot_of_each_volume(scene: Scene, aws: Aws) -> None:
    plan = planned(scene.web_id, aws)

    receipt = apply(plan, aws)
    proof = verify(plan, aws)

    assert set(receipt.created) == set(scene.web_volume_ids)
    assert proof.verdict is Verdict.PROVEN
    assert {entry.uri for entry in proof.evidence} == {
        f"arn:aws:ec2:us-east-1::snapshot/{id}" for id in receipt.created.values()
    }


def test_snapshots_say_what_they_are_for(scene: Scene, aws: Aws) -> None:
    apply(planned(scene.web_id, aws), aws)

    tags = [{tag["Key"]: tag["Value"] for tag in snapshot["Tags"]} for snapshot in snapshots()]
    ours = {
        "firedoor:incident": "incident/1",
        "firedoor:step": "snapshot",
        "firedoor:instance": scene.web_id,
    }
    assert tags == [ours, ours]


def test_applying_twice_takes_one_set(scene: Scene, aws: Aws) -> None:
    plan = planned(scene.web_id, aws)

    first = apply(plan, aws)
    second = apply(plan, aws)

    assert second.calls == ()
    assert second.created == first.created
    assert len(snapshots()) == 2


def test_set_whose_answer_was_lost_is_found_and_not_taken_again(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(scene.web_id, aws)
    fault = {"service": "ec2", "operation": "CreateSnapshots", "kind": "lost"}
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(Unavailable):
        apply(plan, aws)
    retried = apply(plan, aws)

    assert retried.calls == ()
    assert set(retried.created) == set(scene.web_volume_ids)
    assert len(snapshots()) == 2


def test_set_of_another_instance_of_the_same_step_is_not_taken_for_ours(
    scene: Scene, aws: Aws
) -> None:
    apply(planned(scene.web_id, aws), aws)
    plan = planned(scene.app_id, aws)

    receipt = apply(plan, aws)

    assert len(receipt.calls) == len(plan.calls) == 1
    assert not set(receipt.created) & set(scene.web_volume_ids)


def test_step_that_is_taken_again_takes_its_own_set(scene: Scene, aws: Aws) -> None:
    first = apply(planned(scene.web_id, aws), aws)
    again = apply(planned(scene.web_id, aws, "snapshot#2"), aws)

    assert not set(first.created.values()) & set(again.created.values())


def test_volumes_that_carry_our_tags_are_not_asked_for_theirs(scene: Scene, aws: Aws) -> None:
    boto3.client("ec2").create_tags(
        Resources=[scene.web_volume_ids[0]], Tags=[{"Key": "firedoor:incident", "Value": "other"}]
    )

    plan = planned(scene.web_id, aws)

    assert "CopyTagsFromSource" not in plan.calls[0].parameters
    assert preflight(plan)["tags of the volumes"][0] is False


def test_instance_without_volumes_has_nothing_to_snapshot(scene: Scene, aws: Aws) -> None:
    ec2 = boto3.client("ec2")
    for volume in scene.web_volume_ids:
        ec2.detach_volume(VolumeId=volume, InstanceId=scene.web_id)

    plan = planned(scene.web_id, aws)

    assert (plan.calls, plan.refusals) == ((), ())
    assert apply(plan, aws).created == {}
    assert verify(plan, aws).verdict is Verdict.PROVEN


@pytest.mark.parametrize("listed", [False, True])
def test_instance_that_is_gone_is_refused(scene: Scene, aws: Aws, listed: bool) -> None:
    id = scene.web_id if listed else "i-0123456789abcdef0"
    boto3.client("ec2").terminate_instances(InstanceIds=[scene.web_id])

    plan = planned(id, aws)

    assert plan.refusals == (
        f"{id} does not exist any more: look for older snapshots and images of it by its tags",
    )
    assert plan.calls == ()


def test_instance_store_is_named_as_left_out(scene: Scene, aws: Aws) -> None:
    instance = boto3.client("ec2").run_instances(
        ImageId="ami-0abcdef1234567890", InstanceType="m5d.large", MinCount=1, MaxCount=1
    )["Instances"][0]["InstanceId"]

    plan = planned(instance, aws)

    ok, detail = preflight(plan)["instance store"]
    assert not ok
    assert detail.startswith("75 GB on disks of the host are in no snapshot")


@pytest.mark.parametrize(
    ("manager", "shareable"), [("AWS", False), ("CUSTOMER", True)], ids=["default key", "own key"]
)
def test_default_key_cannot_be_shared(
    manager: str, shareable: bool, scene: Scene, aws: Aws
) -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    metadata = {"KeyId": key, "KeyManager": manager}
    with Stubber(aws.client("kms")) as kms:
        kms.add_response("describe_key", {"KeyMetadata": metadata}, {"KeyId": key})

        check = snapshot_volumes._shareable([{"KmsKeyId": key}], aws)

    assert (check.ok, key in check.detail) == (shareable, True)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (("completed", "completed"), Verdict.PROVEN),
        (("completed", "pending"), Verdict.PENDING),
        (("pending", "error"), Verdict.UNPROVEN),
        (("completed", None), Verdict.UNPROVEN),
    ],
)
def test_set_is_as_good_as_its_worst_snapshot(
    states: tuple[str | None, ...], verdict: Verdict, scene: Scene, aws: Aws
) -> None:
    plan = planned(scene.web_id, aws)
    found = [
        {
            "SnapshotId": f"snap-0{volume[4:]}",
            "VolumeId": volume,
            "State": state,
            "Progress": "42%",
            "StartTime": NOW,
        }
        for volume, state in zip(sorted(scene.web_volume_ids), states, strict=True)
        if state
    ]
    with Stubber(aws.client("ec2")) as ec2:  # in two pages, as many accounts have many snapshots
        ec2.add_response("describe_snapshots", {"Snapshots": found[:1], "NextToken": "more"})
        ec2.add_response("describe_snapshots", {"Snapshots": found[1:]})

        proof = verify(plan, aws)

    assert proof.verdict is verdict
    assert len(proof.evidence) == states.count("completed")
    assert [check.ok for check in proof.checks] == [state == "completed" for state in states]
