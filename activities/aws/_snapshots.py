"""EBS snapshots as evidence: the tags by which ours are known, the calls that make and keep them.

Snapshots and their copies have no client token, so each is looked for by its tags first.
https://docs.aws.amazon.com/ebs/latest/userguide/ebs-copy-snapshot.html
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from pydantic import Field

from activities.aws._reading import or_none, tags
from firedoor.cloud.aws import Aws
from firedoor.model.base import Model
from firedoor.model.evidence import Evidence
from firedoor.model.plan import LATER, Call, Target
from firedoor.settings import SnapshotLock

Snapshot = Mapping[str, Any]

INCIDENT, STEP, INSTANCE = "firedoor:incident", "firedoor:step", "firedoor:instance"

VOLUME = "firedoor:volume"
"""On copies only: the volume that AWS names in a copy is an arbitrary one."""

MOST_TAGS = 50  # of one EC2 resource
MOST_ATTEMPTS = 3  # to copy one snapshot


class Lock(Model):
    """How snapshots are kept from being deleted."""

    mode: SnapshotLock
    days: int
    cool_off: int | None = Field(default=None, description="hours, in compliance mode only")


def ours(target: Target) -> dict[str, str]:
    """Return the tags by which the snapshots of a step are known."""
    return {INCIDENT: target.incident, STEP: target.step, INSTANCE: target.subject.id}


def found(target: Target, aws: Aws) -> tuple[Snapshot, ...]:
    """Read the snapshots and copies of a step that an account has, the newest first."""
    filters = [
        {"Name": f"tag:{key}", "Values": [_literal(value)]} for key, value in ours(target).items()
    ]
    listed = aws.pages("ec2", "DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
    return tuple(sorted(listed, key=lambda one: one["StartTime"], reverse=True))


def taken(listed: Iterable[Snapshot]) -> dict[str, Snapshot]:
    """Return the snapshots of the set itself, by volume."""
    return {one["VolumeId"]: one for one in listed if VOLUME not in tags(one)}


def copies(listed: Iterable[Snapshot], volume: str) -> tuple[Snapshot, ...]:
    """Return the copies that were made for a volume; of those that failed there may be several."""
    return tuple(one for one in listed if tags(one).get(VOLUME) == volume)


def usable(made: Iterable[Snapshot]) -> Snapshot | None:
    """Return the copy that has not failed, if there is one."""
    return next((one for one in made if one["State"] != "error"), None)


def locked(ids: Iterable[str], aws: Aws) -> dict[str, dict[str, Any]]:
    """Read the locks that hold, by snapshot; what is not locked, or not any more, is left out."""
    wanted = list(ids)
    if not wanted:
        return {}
    locks = aws.pages("ec2", "DescribeLockedSnapshots", "Snapshots", SnapshotIds=wanted)
    return {lock["SnapshotId"]: lock for lock in locks if lock["LockState"] != "expired"}


def is_shared(id: str, account: str, aws: Aws) -> bool:
    """Return whether a snapshot is shared with an account."""
    permissions = aws.client("ec2").describe_snapshot_attribute(
        SnapshotId=id, Attribute="createVolumePermission"
    )["CreateVolumePermissions"]
    return any(permission.get("UserId") == account for permission in permissions)


def sees(id: str, aws: Aws) -> bool:
    """Return whether a snapshot that was shared with an account is visible there already."""
    return or_none(partial(aws.client("ec2").describe_snapshots, SnapshotIds=[id])) is not None


# The calls; a plan has them with LATER for the ids


def creation(target: Target, *, copy_tags: bool) -> Call:
    """Return the call that takes one crash-consistent set of all volumes."""
    return _ec2(
        "CreateSnapshots",
        InstanceSpecification={"InstanceId": target.subject.id, "ExcludeBootVolume": False},
        Description=_description(target),
        **({"CopyTagsFromSource": "volume"} if copy_tags else {}),
        TagSpecifications=_tagged(ours(target)),
    )


def copy(
    target: Target, volume: str, key: str, region: str, source: str = LATER, account: str = ""
) -> Call:
    """Return the call that copies the snapshot of a volume under another key."""
    call = _ec2(
        "CopySnapshot",
        SourceRegion=region,
        SourceSnapshotId=source,
        Description=_description(target),
        Encrypted=True,
        KmsKeyId=key,
        TagSpecifications=_tagged({**ours(target), VOLUME: volume}),
    )
    return call.model_copy(update={"account": account})


def share(account: str, id: str = LATER, *, add: bool = True) -> Call:
    """Return the call that shares a snapshot with an account, or takes that back."""
    return _ec2(
        "ModifySnapshotAttribute",
        SnapshotId=id,
        Attribute="createVolumePermission",
        OperationType="add" if add else "remove",
        UserIds=[account],
    )


def lock(by: Lock, id: str = LATER, account: str = "") -> Call:
    """Return the call that locks a snapshot; only compliance mode knows a cooling-off period."""
    cool_off = {"CoolOffPeriod": by.cool_off} if by.cool_off else {}
    call = _ec2("LockSnapshot", SnapshotId=id, LockMode=by.mode, LockDuration=by.days, **cool_off)
    return call.model_copy(update={"account": account})


def evidence(snapshot: Snapshot, name: str, aws: Aws) -> Evidence:
    """Return the evidence that a snapshot is."""
    return Evidence(
        name=name,
        taken_at=snapshot["StartTime"],
        uri=f"arn:{aws.partition}:ec2:{aws.region}::snapshot/{snapshot['SnapshotId']}",
    )


def _ec2(operation: str, **parameters: Any) -> Call:
    return Call(service="ec2", operation=operation, parameters=parameters)


def _description(target: Target) -> str:
    return f"Evidence of {target.incident}"[:255]


def _tagged(pairs: Mapping[str, str]) -> list[dict[str, Any]]:
    listed = [{"Key": key, "Value": value} for key, value in pairs.items()]
    return [{"ResourceType": "snapshot", "Tags": listed}]


def _literal(value: str) -> str:
    """Escape what EC2's filters take for a wildcard."""
    return value.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")
