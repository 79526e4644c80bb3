import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]

OTHER = "210987654321"


@pytest.fixture
def ec2(stock: Stock) -> Any:
    return stock("ec2")


@pytest.fixture
def theirs(scene: Scene) -> Stock:
    role = boto3.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{OTHER}:role/firedoor", RoleSessionName="other"
    )
    given = role["Credentials"]
    session = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    return lambda service: session.client(service)


def _code(call: Callable[..., Any], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


def _snapshot(ec2: Any, **volume: Any) -> str:
    made = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, **volume)["VolumeId"]
    return str(ec2.create_snapshot(VolumeId=made)["SnapshotId"])


def _share(ec2: Any, id: str) -> None:
    ec2.modify_snapshot_attribute(
        SnapshotId=id,
        Attribute="createVolumePermission",
        OperationType="add",
        UserIds=[OTHER],
    )


def _read(ec2: Any, id: str) -> dict[str, Any]:
    (found,) = ec2.describe_snapshots(SnapshotIds=[id])["Snapshots"]
    return dict(found)


def test_snapshot_takes_as_long_as_its_volume_says(ec2: Any, scene: Scene) -> None:
    volume = scene.web_volume_ids[0]
    ec2.create_tags(Resources=[volume], Tags=[{"Key": "lab:seconds", "Value": "0.3"}])
    id = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]

    before = _read(ec2, id)["State"]
    refused = _code(ec2.copy_snapshot, SourceRegion="us-east-1", SourceSnapshotId=id)
    time.sleep(0.3)

    assert (before, refused, _read(ec2, id)["State"]) == ("pending", "IncorrectState", "completed")


def test_shared_snapshot_is_visible_and_can_be_copied_there(
    ec2: Any, theirs: Stock, scene: Scene
) -> None:
    id, there = _snapshot(ec2), theirs("ec2")

    hidden = _code(there.describe_snapshots, SnapshotIds=[id])
    _share(ec2, id)
    copy = there.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=id)["SnapshotId"]

    assert hidden == "InvalidSnapshot.NotFound"
    assert _read(there, id)["OwnerId"] == scene.account
    assert _read(there, copy)["VolumeId"] == "vol-ffffffff"
    own = there.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert [one["SnapshotId"] for one in own] == [copy]


def test_default_key_cannot_be_shared(ec2: Any, scene: Scene) -> None:
    id = _snapshot(ec2, Encrypted=True)

    assert _code(
        ec2.modify_snapshot_attribute,
        SnapshotId=id,
        Attribute="createVolumePermission",
        OperationType="add",
        UserIds=[OTHER],
    ) == "OperationNotPermitted"  # fmt: skip


def test_copy_without_a_grant_on_the_key_ends_in_error(
    ec2: Any, stock: Stock, theirs: Stock, scene: Scene
) -> None:
    key = stock("kms").create_key()["KeyMetadata"]["Arn"]
    id, there = _snapshot(ec2, Encrypted=True, KmsKeyId=key), theirs("ec2")
    _share(ec2, id)
    source = {"SourceRegion": "us-east-1", "SourceSnapshotId": id}

    without = _read(there, there.copy_snapshot(**source)["SnapshotId"])
    stock("kms").create_grant(
        KeyId=key,
        GranteePrincipal=f"arn:aws:iam::{OTHER}:role/firedoor",
        Operations=["Decrypt"],
    )
    granted = _read(there, there.copy_snapshot(**source)["SnapshotId"])

    assert (without["State"], "not accessible" in without["StateMessage"]) == ("error", True)
    assert granted["State"] == "completed"


def test_only_so_many_copies_are_under_way_at_once(ec2: Any, scene: Scene) -> None:
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    id = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    ec2.create_tags(Resources=[volume], Tags=[{"Key": "lab:seconds", "Value": "60"}])
    source = {"SourceRegion": "us-east-1", "SourceSnapshotId": id}

    for _ in range(20):
        ec2.copy_snapshot(**source)

    assert _code(ec2.copy_snapshot, **source) == "ResourceLimitExceeded"


def test_locked_snapshot_cannot_be_deleted(ec2: Any, scene: Scene) -> None:
    id = _snapshot(ec2)
    ec2.lock_snapshot(SnapshotId=id, LockMode="governance", LockDuration=1)

    refused = _code(ec2.delete_snapshot, SnapshotId=id)
    (lock,) = ec2.describe_locked_snapshots(SnapshotIds=[id])["Snapshots"]
    ec2.unlock_snapshot(SnapshotId=id)
    ec2.delete_snapshot(SnapshotId=id)

    assert (refused, lock["LockState"], lock["LockDuration"]) == (
        "OperationNotPermitted",
        "governance",
        1,
    )


def test_compliance_lock_without_cooling_off_is_for_good(ec2: Any, scene: Scene) -> None:
    id = _snapshot(ec2)
    ec2.lock_snapshot(SnapshotId=id, LockMode="compliance", LockDuration=2)

    assert _code(ec2.unlock_snapshot, SnapshotId=id) == "OperationNotPermitted"
    assert (
        _code(ec2.lock_snapshot, SnapshotId=id, LockMode="compliance", LockDuration=1)
        == "OperationNotPermitted"
    )


def test_governance_mode_knows_no_cooling_off(ec2: Any, scene: Scene) -> None:
    id = _snapshot(ec2)

    assert _code(
        ec2.lock_snapshot, SnapshotId=id, LockMode="governance", LockDuration=1, CoolOffPeriod=1
    ) == "InvalidParameterCombination"  # fmt: skip


def test_blocks_of_a_snapshot_are_listed(ec2: Any, stock: Stock, scene: Scene) -> None:
    id = _snapshot(ec2)

    answer = stock("ebs").list_snapshot_blocks(SnapshotId=id)

    assert [block["BlockIndex"] for block in answer["Blocks"]] == [0]
    assert answer["BlockSize"] == 512 * 1024
