"""Snapshots of all EBS volumes of an instance, as one crash-consistent set."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from activities.aws import _reading
from activities.aws._reading import GONE, counted, strings, tags, terminated
from firedoor.action import Action, NoParams, Permissions, proof, receipt
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.action import Barrier, Nature
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Kind
from firedoor.model.plan import Call, Check, Plan, Proof, Receipt, Target, Touched, Verdict

INCIDENT, STEP, INSTANCE = "firedoor:incident", "firedoor:step", "firedoor:instance"

MOST_TAGS = 50  # of one EC2 resource


def plan(target: Target, params: NoParams, aws: Aws) -> tuple[Plan, ...]:  # noqa: ARG001 - it has none
    """Snapshot all EBS volumes of an instance at one instant, without stopping it."""
    instance, volumes = _look(target.subject.id, aws)
    if instance is None or terminated(instance):
        return (_nothing(target, f"{target.subject.id} {GONE}", refused=True),)
    storage = _instance_storage(instance, aws)
    if not volumes:
        return (_nothing(target, f"{target.subject.id} has no EBS volumes", storage),)
    call = _creation(target, volumes)
    allowed, shareable = aws.together(partial(aws.allowed, call), partial(_shareable, volumes, aws))
    ids = [volume["VolumeId"] for volume in volumes]
    return (
        Plan(
            action="aws.snapshot_volumes",
            target=target,
            lease=target.subject.id,
            summary=f"Snapshot {_sizes(volumes)} of {target.subject.id} at one instant.",
            before={"volumes": ids},
            calls=(call,),
            blast_radius=(
                f"{target.subject.id} goes on; reads and writes of its disks may be slower",
                f"{_sizes(volumes)} are stored, and charged for, until somebody deletes them",
            ),
            preflight=(allowed, _listed(volumes), shareable, *_tags_copied(call), *storage),
            touched=Touched(resources={_id(thing): tags(thing) for thing in (instance, *volumes)}),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Start the snapshots, unless those of this step exist already, and do not wait for them."""
    with aws.only(plan.calls) as permit:
        # The call has no client token, and an answer may have been lost: look for our tags first.
        taken = _taken(plan, aws) if plan.calls else []
        if not taken:
            taken = [snapshot for call in plan.calls for snapshot in aws.call(call)["Snapshots"]]
    created = {snapshot["VolumeId"]: snapshot["SnapshotId"] for snapshot in taken}
    return receipt(plan, permit.made, created=created)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that a completed snapshot of each volume exists."""
    taken = _taken(plan, aws) if plan.calls else []
    by_volume = {snapshot["VolumeId"]: snapshot for snapshot in taken}
    volumes = strings(plan.before.get("volumes"))
    states = {by_volume[v]["State"] if v in by_volume else "missing" for v in volumes}
    if states <= {"completed"}:
        verdict = Verdict.PROVEN
    else:
        verdict = Verdict.PENDING if states <= {"completed", "pending"} else Verdict.UNPROVEN
    progress = [_progress(volume, by_volume.get(volume)) for volume in volumes]
    return proof(
        plan,
        progress or [Check(name="volumes", ok=True, detail="none to snapshot")],
        verdict=verdict,
        evidence=tuple(_evidence(s, aws) for s in taken if s["State"] == "completed"),
    )


ACTION = Action(
    nature=Nature.EVIDENCE,
    kinds=frozenset({Kind.INSTANCE}),
    plan=plan,
    apply=apply,
    verify=verify,
    permissions=Permissions(
        plan=(
            "ec2:CreateSnapshots",  # for the dry run
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeInstances",
            "ec2:DescribeVolumes",
            "kms:DescribeKey",
        ),
        apply=("ec2:CreateSnapshots", "ec2:CreateTags", "ec2:DescribeSnapshots"),
        verify=("ec2:DescribeSnapshots",),
    ),
    barrier=Barrier.STARTED,  # a snapshot is of the instant at which it is started
    techniques=("T1070", "T1485", "T1486", "T1578.003"),
    function="RS.AN",
)


def _look(instance: str, aws: Aws) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    attached = [{"Name": "attachment.instance-id", "Values": [instance]}]
    reads: list[Callable[[], Any]] = [
        partial(_reading.instance, aws, instance),
        partial(aws.pages, "ec2", "DescribeVolumes", "Volumes", Filters=attached),
    ]
    found, volumes = aws.together(*reads)
    return found, sorted(volumes, key=_id)


def _nothing(
    target: Target, why: str, preflight: Iterable[Check] = (), *, refused: bool = False
) -> Plan:
    look = "look for older snapshots and images of it by its tags"
    return Plan(
        action="aws.snapshot_volumes",
        target=target,
        lease=target.subject.id,
        summary=f"Nothing to snapshot: {why}.",
        preflight=tuple(preflight),
        refusals=(f"{why}: {look}",) if refused else (),
    )


def _creation(target: Target, volumes: list[dict[str, Any]]) -> Call:
    ours = _ours(target)
    # One key twice is an error, and so is one tag too many: better a set without the volumes' tags.
    copy = all(
        not ours.keys() & tags(volume).keys() and len(tags(volume)) + len(ours) <= MOST_TAGS
        for volume in volumes
    )
    return Call(
        service="ec2",
        operation="CreateSnapshots",
        parameters={
            "InstanceSpecification": {"InstanceId": target.subject.id, "ExcludeBootVolume": False},
            "Description": f"Evidence of {target.incident}"[:255],
            **({"CopyTagsFromSource": "volume"} if copy else {}),
            "TagSpecifications": [
                {
                    "ResourceType": "snapshot",
                    "Tags": [{"Key": key, "Value": value} for key, value in ours.items()],
                }
            ],
        },
    )


def _ours(target: Target) -> dict[str, str]:
    """Return the tags by which the snapshots of a step are known."""
    return {INCIDENT: target.incident, STEP: target.step, INSTANCE: target.subject.id}


def _taken(plan: Plan, aws: Aws) -> list[dict[str, Any]]:
    ours = _ours(plan.target).items()
    filters = [{"Name": f"tag:{key}", "Values": [_literal(tag)]} for key, tag in ours]
    found = aws.pages("ec2", "DescribeSnapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
    return sorted(found, key=lambda snapshot: str(snapshot["VolumeId"]))


def _literal(value: str) -> str:
    """Escape what EC2's filters take for a wildcard."""
    return value.replace("\\", "\\\\").replace("*", "\\*").replace("?", "\\?")


# What an approver reads


def _listed(volumes: list[dict[str, Any]]) -> Check:
    lines = (
        f"{v['VolumeId']} {v['Size']} GiB {v.get('VolumeType', '')}"
        f" {'encrypted' if v.get('Encrypted') else 'not encrypted'}"
        for v in volumes
    )
    return Check(name="volumes", ok=True, detail="; ".join(lines))


def _tags_copied(call: Call) -> list[Check]:
    if "CopyTagsFromSource" in call.parameters:
        return []
    why = "a volume has our tags already, or too many to add ours: its tags are not copied"
    return [Check(name="tags of the volumes", ok=False, detail=why)]


def _instance_storage(instance: dict[str, Any], aws: Aws) -> tuple[Check, ...]:
    """Say what no EBS snapshot holds: disks of the host, which are lost when the instance stops."""
    name = "instance store"
    try:
        answer = aws.client("ec2").describe_instance_types(InstanceTypes=[instance["InstanceType"]])
    except CloudError as error:
        return (Check(name=name, ok=False, detail=f"could not be checked: {error}"),)
    size = answer["InstanceTypes"][0].get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0)
    if not size:
        return ()
    detail = (
        f"{size} GB on disks of the host are in no snapshot and vanish when the instance stops:"
        " copy what matters before that"
    )
    return (Check(name=name, ok=False, detail=detail),)


def _shareable(volumes: list[dict[str, Any]], aws: Aws) -> Check:
    """Say whether the snapshots can be shared with a forensic account.

    Not with the default key, as its policy cannot be changed: copy them under another key first.
    https://docs.aws.amazon.com/ebs/latest/userguide/ebs-modifying-snapshot-permissions.html
    """
    name = "can be shared with another account"
    keys = sorted({volume["KmsKeyId"] for volume in volumes if volume.get("KmsKeyId")})
    try:
        managers = [
            aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]["KeyManager"] for key in keys
        ]
    except CloudError as error:
        return Check(name=name, ok=False, detail=f"could not be checked: {error}")
    default = [key for key, manager in zip(keys, managers, strict=True) if manager == "AWS"]
    if default:
        detail = f"{default[0]} is AWS's own key: copy the snapshots under a key of yours first"
        return Check(name=name, ok=False, detail=detail)
    grant = f"the other account also needs a grant on {', '.join(keys)}" if keys else ""
    return Check(name=name, ok=True, detail=grant)


def _sizes(volumes: list[dict[str, Any]]) -> str:
    total = sum(volume["Size"] for volume in volumes)
    return f"{counted(len(volumes), 'volume')} ({total} GiB)"


# What is read back


def _progress(volume: str, snapshot: dict[str, Any] | None) -> Check:
    if snapshot is None:
        return Check(name=volume, ok=False, detail="no snapshot of this step")
    detail = f"{snapshot['SnapshotId']} {snapshot['State']} {snapshot.get('Progress', '')}".strip()
    if reason := snapshot.get("StateMessage"):
        detail = f"{detail}: {reason}"
    return Check(name=volume, ok=snapshot["State"] == "completed", detail=detail)


def _evidence(snapshot: dict[str, Any], aws: Aws) -> Evidence:
    return Evidence(
        name=f"snapshot of {snapshot['VolumeId']}",
        taken_at=snapshot["StartTime"],
        uri=f"arn:{aws.partition}:ec2:{aws.region}::snapshot/{snapshot['SnapshotId']}",
    )


def _id(thing: Mapping[str, Any]) -> str:
    return str(thing.get("VolumeId") or thing["InstanceId"])
