"""Snapshots of all EBS volumes of an instance, as one crash-consistent set, kept for forensics."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from activities.aws import _contents, _custody, _keeping, _manifest, _reading, _snapshots
from activities.aws._custody import Custody, Handover, State
from activities.aws._reading import GONE, counted, tags, terminated
from activities.aws._snapshots import MOST_TAGS, ours
from firedoor import evidence
from firedoor.action import Action, NoParams, Permissions, proof, receipt
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.action import Barrier, Nature
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Kind
from firedoor.model.plan import Check, Plan, Proof, Receipt, Target, Touched, Verdict
from firedoor.settings import settings


def plan(target: Target, params: NoParams, aws: Aws) -> tuple[Plan, ...]:  # noqa: ARG001 - it has none
    """Snapshot all EBS volumes of an instance at one instant, and keep them for forensics."""
    instance, volumes = _look(target.subject.id, aws)
    if instance is None or terminated(instance):
        return (_nothing(target, f"{target.subject.id} {GONE}", gone=True),)
    storage = _instance_storage(instance, aws)
    if not volumes:
        return (_nothing(target, f"{target.subject.id} has no EBS volumes", storage),)
    creation = _snapshots.creation(target, copy_tags=_tags_fit(target, volumes))
    allowed = aws.allowed(creation)
    custody, keeping = _keeping.choose(volumes, aws)
    ids = [volume["VolumeId"] for volume in volumes]
    return (
        Plan(
            action="aws.snapshot_volumes",
            target=target,
            lease=target.subject.id,
            summary=_summary(target, volumes, custody),
            before={
                "volumes": ids,
                "disks": {volume["VolumeId"]: _disk(volume) for volume in volumes},
                "custody": custody.model_dump(mode="json"),
            },
            calls=(creation, *_custody.calls(target, custody, aws.region)),
            blast_radius=(
                f"{target.subject.id} goes on; reads and writes of its disks may be slower",
                f"{_sizes(volumes)} are stored, and charged for, until somebody deletes them",
                *_keeping.felt(custody),
                *_read_again(),
            ),
            preflight=(
                allowed,
                _listed(volumes),
                *_tags_copied(target, volumes),
                *storage,
                *keeping,
            ),
            lost=_keeping.lost(custody),
            touched=Touched(resources={_id(thing): tags(thing) for thing in (instance, *volumes)}),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Start the snapshots, and take each as far as it can go now; nothing is waited for.

    It is called again until all have come to their end, which the manifest records. Once there is a
    set, what fails later is in the manifest and ends nothing: containment waits for the set alone.
    """
    if not plan.calls:
        return receipt(plan)
    kept = evidence.recorded(plan.digest)
    with aws.only(plan.calls) as permit:
        # The call has no client token, and an answer may have been lost: look for our tags first.
        handover = Handover(plan, aws)
        if not handover.taken and not kept:
            aws.call(plan.calls[0])
            handover = Handover(plan, aws)
        progress = {} if kept else handover.advance()
        if progress and all(one.state is not State.LATER for one in progress.values()):
            settled = Handover(plan, aws)
            contents = _contents.hashed(plan, settled)
            if contents is not None:
                manifest = _manifest.keep(plan, settled, progress, contents)
                kept = evidence.record(plan.digest, [manifest])
    created = {volume: one["SnapshotId"] for volume, one in handover.taken.items()}
    return receipt(plan, permit.made, created=created, evidence=kept)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that what is to be kept of each volume is completed, and locked if it should be."""
    if not plan.calls:
        return proof(plan, [Check(name="volumes", ok=True, detail="none to snapshot")])
    handover = Handover(plan, aws)
    kept = evidence.recorded(plan.digest)
    checks, found = _keeping.read_back(handover)
    if not kept:
        checks.append(Check(name="manifest", ok=False, detail="written when all is settled"))
        return proof(plan, checks, verdict=Verdict.PENDING, evidence=tuple(found))
    written, problems = _written(kept[0])
    checks += [written, *(Check(name=v, ok=False, detail=why) for v, why in problems.items())]
    proven = all(check.ok for check in checks)
    return proof(
        plan,
        checks,
        verdict=Verdict.PROVEN if proven else Verdict.UNPROVEN,
        evidence=(*found, *kept),
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
            "ec2:DescribeVolumeAttribute",
            "ec2:DescribeVolumes",
            "kms:DescribeKey",
        ),
        apply=(
            "ec2:CopySnapshot",
            "ec2:CreateSnapshots",
            "ec2:CreateTags",
            "ec2:DescribeLockedSnapshots",
            "ec2:DescribeSnapshotAttribute",
            "ec2:DescribeSnapshots",
            "ec2:LockSnapshot",
            "ec2:ModifySnapshotAttribute",
            "kms:CreateGrant",
            # What EBS does with the keys in our name when it copies.
            "kms:Decrypt",
            "kms:DescribeKey",
            "kms:GenerateDataKeyWithoutPlaintext",
            "kms:ListGrants",
            "kms:ReEncryptFrom",
            "kms:ReEncryptTo",
            "kms:RevokeGrant",
            *_contents.PERMISSIONS,
        ),
        verify=(
            "ec2:DescribeLockedSnapshots",
            "ec2:DescribeSnapshotAttribute",
            "ec2:DescribeSnapshots",
            "kms:ListGrants",
        ),
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
    target: Target, why: str, preflight: Iterable[Check] = (), *, gone: bool = False
) -> Plan:
    look = "look for older snapshots and images of it by its tags"
    return Plan(
        action="aws.snapshot_volumes",
        target=target,
        lease=target.subject.id,
        summary=f"Nothing to snapshot: {why}.",
        preflight=tuple(preflight),
        refusals=(f"{why}: {look}",) if gone else (),
        gone=gone,
    )


def _tags_fit(target: Target, volumes: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the snapshots can have the volumes' tags beside ours.

    One key twice is an error, and so is one tag too many: better a set without the volumes' tags.
    """
    added = ours(target)
    return all(
        not added.keys() & tags(volume).keys() and len(tags(volume)) + len(added) <= MOST_TAGS
        for volume in volumes
    )


# What an approver reads


def _summary(target: Target, volumes: list[dict[str, Any]], custody: Custody) -> str:
    what = f"Snapshot {_sizes(volumes)} of {target.subject.id} at one instant"
    if not custody.routes:
        return f"{what}."
    how_many = "" if len(custody.routes) == len(volumes) else f"{len(custody.routes)} of them "
    return f"{what}, and copy {how_many}to account {custody.account}."


def _disk(volume: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "devices": [one["Device"] for one in volume.get("Attachments", ())],
        "size_gib": volume["Size"],
        "type": volume.get("VolumeType", ""),
        "encrypted": bool(volume.get("Encrypted")),
        "key": volume.get("KmsKeyId", ""),
    }


def _listed(volumes: list[dict[str, Any]]) -> Check:
    lines = (
        f"{v['VolumeId']} {v['Size']} GiB {v.get('VolumeType', '')}"
        f" {'encrypted' if v.get('Encrypted') else 'not encrypted'}"
        for v in volumes
    )
    return Check(name="volumes", ok=True, detail="; ".join(lines))


def _tags_copied(target: Target, volumes: list[dict[str, Any]]) -> list[Check]:
    if _tags_fit(target, volumes):
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


def _read_again() -> tuple[str, ...]:
    most = settings().snapshot_hash_gib
    return (f"what is kept is read to be hashed, of disks up to {most} GiB",) if most else ()


def _sizes(volumes: list[dict[str, Any]]) -> str:
    total = sum(volume["Size"] for volume in volumes)
    return f"{counted(len(volumes), 'volume')} ({total} GiB)"


def _written(entry: Evidence) -> tuple[Check, dict[str, str]]:
    """Read the manifest back: whether it is unchanged, and the problems that it names."""
    content, check = evidence.checked(entry)
    return check, json.loads(content)["problems"] if check.ok else {}


def _id(thing: Mapping[str, Any]) -> str:
    return str(thing.get("VolumeId") or thing["InstanceId"])
