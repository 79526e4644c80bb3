"""Snapshots of an instance's volumes, against the emulated AWS and what it cannot play."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import boto3
import pytest

from activities.aws import _contents, _manifest, snapshot_volumes
from activities.aws.snapshot_volumes import apply, verify
from firedoor import evidence
from firedoor.action import NoParams
from firedoor.cloud.aws import Aws
from firedoor.errors import Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Receipt, Target, Verdict
from firedoor.settings import settings
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


def slow(volume: str, seconds: float) -> None:
    """Let snapshots of a volume take their time."""
    tag = {"Key": "lab:seconds", "Value": str(seconds)}
    boto3.client("ec2").create_tags(Resources=[volume], Tags=[tag])


def set_up(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"FIREDOOR_{name}", value)
    settings.cache_clear()


def deny(lab: EmulatedAws, operation: str, service: str = "ec2", times: int = 1) -> None:
    fault = {"code": "UnauthorizedOperation", "status": 403, "times": times}
    lab.control("POST", "firedoor/faults", {"service": service, "operation": operation, **fault})


def error_of(volume: str, aws: Aws) -> Any:
    """Let the snapshot of a volume be in error, as it is when the volume was lost meanwhile."""

    def failed(parsed: dict[str, Any], **_: Any) -> None:
        for snapshot in parsed.get("Snapshots", ()):
            if snapshot.get("VolumeId") == volume:
                snapshot |= {"State": "error", "StateMessage": "the volume is gone"}

    aws.client("ec2").meta.events.register("after-call", failed)
    return failed


def problems(receipt: Receipt) -> dict[str, str]:
    return dict(json.loads(evidence.fetch(receipt.evidence[-1].uri))["problems"])


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
    *disks, manifest = proof.evidence
    assert {entry.uri for entry in disks} == {
        f"arn:aws:ec2:us-east-1::snapshot/{id}" for id in receipt.created.values()
    }
    assert manifest.name == "snapshots-manifest.json"


def test_manifest_says_what_was_taken_of_what_by_whom_and_when(scene: Scene, aws: Aws) -> None:
    plan = planned(scene.web_id, aws)

    (kept,) = apply(plan, aws).evidence

    document = json.loads(evidence.fetch(kept.uri))
    assert (document["incident"], document["plan"]) == ("incident/1", plan.digest)
    assert document["taken_by"] == aws.identity
    assert [one["volume"] for one in document["volumes"]] == sorted(scene.web_volume_ids)
    first = document["volumes"][0]
    assert first["as planned"]["devices"] != []
    assert first["snapshot"]["state"] == "completed"
    assert first["snapshot"]["blocks"]["count"] == first["snapshot"]["size_gib"]
    assert kept.sha256 == hashlib.sha256(evidence.fetch(kept.uri)).hexdigest()
    assert document["problems"] == {}


def test_blocks_that_may_not_be_listed_are_named_so(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    fault = {
        "service": "ebs",
        "operation": "ListSnapshotBlocks",
        "code": "AccessDeniedException",
        "status": 403,
        "times": 4,
    }
    lab.control("POST", "firedoor/faults", fault)
    plan = planned(scene.web_id, aws)

    (kept,) = apply(plan, aws).evidence

    document = json.loads(evidence.fetch(kept.uri))
    assert document["volumes"][0]["snapshot"]["blocks"].startswith("not listed: ")
    assert document["volumes"][0]["content"].startswith("not hashed: ")
    assert verify(plan, aws).verdict is Verdict.PROVEN


def disk(volume: str, gib: int) -> bytes:
    """Read a disk as the emulated AWS has it: a block in each GiB."""
    ebs = boto3.client("ebs")
    (snapshot,) = (one["SnapshotId"] for one in snapshots() if one["VolumeId"] == volume)
    listed = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
    assert len(listed) == gib
    read = (
        ebs.get_snapshot_block(
            SnapshotId=snapshot, BlockIndex=one["BlockIndex"], BlockToken=one["BlockToken"]
        )["BlockData"].read()
        for one in listed
    )
    return "".join(
        f"{one['BlockIndex']} {hashlib.sha256(data).hexdigest()}\n"
        for one, data in zip(listed, read, strict=True)
    ).encode()


def contents(receipt: Receipt) -> dict[str, Any]:
    document = json.loads(evidence.fetch(receipt.evidence[-1].uri))
    return {one["volume"]: one["content"] for one in document["volumes"]}


def test_manifest_has_the_hash_of_what_is_on_each_disk(scene: Scene, aws: Aws) -> None:
    found = contents(apply(planned(scene.web_id, aws), aws))

    for volume in scene.web_volume_ids:
        lines = disk(volume, 8)
        assert found[volume]["sha256"] == hashlib.sha256(lines).hexdigest()
        assert (found[volume]["blocks"], found[volume]["bytes_each"]) == (8, 512 * 1024)
        (kept,) = found[volume]["lists"]
        assert evidence.fetch(kept["uri"]) == lines
    one, other = scene.web_volume_ids
    assert found[one]["sha256"] != found[other]["sha256"]


def shortened(parsed: dict[str, Any], **_: Any) -> None:
    """Let a page of blocks be shorter than was asked for, as EBS's can be."""
    if len(parsed.get("Blocks", ())) > 3:
        parsed |= {"Blocks": parsed["Blocks"][:3], "NextToken": "more"}


def test_disk_is_read_on_where_the_last_call_left_it(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(apply(planned(scene.web_id, aws, "whole"), aws))
    read: list[str] = []
    aws.client("ebs").meta.events.register(
        "before-call.ebs.GetSnapshotBlock", lambda params, **_: read.append(params["url_path"])
    )
    aws.client("ebs").meta.events.register("after-call.ebs.ListSnapshotBlocks", shortened)
    plan = planned(scene.web_id, aws)

    times = iter([0.0, 0.0, 99.0] * 6 + [0.0] * 99)  # there is time for one list more, each time
    monkeypatch.setattr(_contents, "monotonic", lambda: next(times))

    rounds = 1
    while not (receipt := apply(plan, aws)).evidence:
        assert verify(plan, aws).verdict is Verdict.PENDING
        rounds += 1

    assert rounds > 3
    found = contents(receipt)
    assert {v: one["sha256"] for v, one in found.items()} == {
        v: one["sha256"] for v, one in whole.items()
    }
    assert [len(one["lists"]) for one in found.values()] == [3, 3]  # of three blocks and the rest
    assert len(read) == len(set(read)) == 16


def test_block_that_came_altered_is_not_hashed(scene: Scene, aws: Aws) -> None:
    def altered(parsed: dict[str, Any], **_: Any) -> None:
        parsed["Checksum"] = "x"

    aws.client("ebs").meta.events.register("after-call.ebs.GetSnapshotBlock", altered)

    found = contents(apply(planned(scene.web_id, aws), aws))

    assert all("is not what EBS says that it is" in one for one in found.values())


def test_busy_ebs_is_asked_again_and_then_left_for_later(
    scene: Scene, aws: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_contents, "PAUSE", 0.0)
    busy = {"service": "ebs", "operation": "ListSnapshotBlocks", "status": 400}
    lab.control(
        "POST",
        "firedoor/faults",
        {**busy, "code": "RequestThrottledException", "times": _contents.TRIES + 1},
    )
    plan = planned(scene.web_id, aws)

    first, second = apply(plan, aws), apply(plan, aws)

    assert first.evidence == ()
    assert all(one["blocks"] == 8 for one in contents(second).values())


def test_disk_that_is_larger_than_is_read_is_named_so(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, SNAPSHOT_HASH_GIB="7")

    found = contents(apply(planned(scene.web_id, aws), aws))

    said = "not hashed: it may hold 8 GiB, FIREDOOR_SNAPSHOT_HASH_GIB is 7"
    assert set(found.values()) == {said}


def test_set_in_the_making_is_pending_and_written_down_when_it_is_made(
    scene: Scene, aws: Aws
) -> None:
    slow(scene.web_volume_ids[0], 0.4)
    plan = planned(scene.web_id, aws)

    first, pending = apply(plan, aws), verify(plan, aws)
    time.sleep(0.4)
    second, proof = apply(plan, aws), verify(plan, aws)

    assert (first.evidence, pending.verdict) == ((), Verdict.PENDING)
    assert len(pending.evidence) == 1  # of the other volume
    assert (second.calls, len(second.evidence)) == ((), 1)
    assert proof.verdict is Verdict.PROVEN


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
    assert (plan.calls, plan.gone) == ((), True)


def test_instance_store_is_named_as_left_out(scene: Scene, aws: Aws) -> None:
    instance = boto3.client("ec2").run_instances(
        ImageId="ami-0abcdef1234567890", InstanceType="m5d.large", MinCount=1, MaxCount=1
    )["Instances"][0]["InstanceId"]

    plan = planned(instance, aws)

    ok, detail = preflight(plan)["instance store"]
    assert not ok
    assert detail.startswith("75 GB on disks of the host are in no snapshot")


def test_snapshot_that_fails_is_unproven_and_the_others_are_kept(scene: Scene, aws: Aws) -> None:
    slow(scene.web_volume_ids[0], 60)
    plan = planned(scene.web_id, aws)
    apply(plan, aws)
    in_error = error_of(scene.web_volume_ids[0], aws)

    receipt, proof = apply(plan, aws), verify(plan, aws)
    aws.client("ec2").meta.events.unregister("after-call", in_error)

    assert len(receipt.evidence) == 1
    assert proof.verdict is Verdict.UNPROVEN
    assert "the volume is gone" in problems(receipt)[scene.web_volume_ids[0]]
    assert len(proof.evidence) == 2  # the other snapshot, and the manifest


def test_altered_manifest_is_unproven(scene: Scene, aws: Aws) -> None:
    plan = planned(scene.web_id, aws)
    (kept,) = apply(plan, aws).evidence
    Path(urlparse(kept.uri).path).write_bytes(b"{}")

    assert verify(plan, aws).verdict is Verdict.UNPROVEN


def test_lock_holds_what_stays_in_this_account(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, SNAPSHOT_LOCK="governance", SNAPSHOT_LOCK_DAYS="30")
    plan = planned(scene.web_id, aws)

    receipt = apply(plan, aws)

    locks = boto3.client("ec2").describe_locked_snapshots()["Snapshots"]
    assert {(one["SnapshotId"], one["LockState"], one["LockDuration"]) for one in locks} == {
        (id, "governance", 30) for id in receipt.created.values()
    }
    assert all("CoolOffPeriod" not in call.parameters for call in plan.calls)
    assert plan.lost == ()
    assert verify(plan, aws).verdict is Verdict.PROVEN


def test_approver_is_told_that_a_compliance_lock_is_for_good(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, SNAPSHOT_LOCK="compliance", SNAPSHOT_LOCK_COOL_OFF="48")
    plan = planned(scene.web_id, aws)

    apply(plan, aws)

    assert plan.lost[0].startswith("after 48 hours nobody, not even the root user, can delete")
    assert "locked in compliance mode for 90 days: charged for that long" in plan.blast_radius
    locks = boto3.client("ec2").describe_locked_snapshots()["Snapshots"]
    assert {(one["LockState"], one["CoolOffPeriod"]) for one in locks} == {
        ("compliance-cooloff", 48)
    }


def test_lock_that_fails_does_not_undo_the_set(
    scene: Scene, aws: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up(monkeypatch, SNAPSHOT_LOCK="governance")
    deny(lab, "LockSnapshot", times=2)
    plan = planned(scene.web_id, aws)

    receipt, proof = apply(plan, aws), verify(plan, aws)

    assert proof.verdict is Verdict.UNPROVEN
    assert all("UnauthorizedOperation" in why for why in problems(receipt).values())
    assert len(snapshots()) == 2
    assert [call.outcome for call in receipt.calls] == ["ok", "error", "error"]


def test_blocks_that_take_too_long_to_list_are_named_so(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_manifest, "LISTING", -1.0)
    plan = planned(scene.web_id, aws)

    (kept,) = apply(plan, aws).evidence

    document = json.loads(evidence.fetch(kept.uri))
    assert document["volumes"][0]["snapshot"]["blocks"].startswith("not listed: it takes too long")
