"""The manifest of a set of snapshots: what was taken of what, when, by whom, and where."""

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from activities.aws._contents import Content
from activities.aws._context import canonical
from activities.aws._custody import Handover, Progress, State
from activities.aws._snapshots import Snapshot, copies, usable
from firedoor import evidence
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.evidence import Evidence
from firedoor.model.plan import Plan

NAME = "snapshots-manifest.json"

LISTING = 45.0
"""Seconds for which blocks are listed in all: 10 000 of 512 KiB take about half a second."""

PAGE = 10_000

_TOOLS = ("firedoor", "boto3", "botocore")


def keep(
    plan: Plan,
    handover: Handover,
    progress: Mapping[str, Progress],
    contents: Mapping[str, Content],
) -> Evidence:
    """Store the manifest of a set that will not come any further, and return its place and hash."""
    at = datetime.now(UTC)
    aws, end = handover.aws, time.monotonic() + LISTING
    document = {
        "incident": plan.target.incident,
        "step": plan.target.step,
        "plan": plan.digest,
        "subject": plan.target.subject.model_dump(mode="json"),
        "region": aws.region,
        "written_at": at,
        "taken_by": aws.identity,
        "approved_by": aws.by,
        "tools": {name: version(name) for name in _TOOLS},
        "lock": handover.custody.model_dump(mode="json")["lock"],
        "volumes": [
            {**_volume(plan, handover, volume, end), "content": contents[volume]}
            for volume in handover.custody.volumes
        ],
        "problems": problems(progress),
    }
    return evidence.keep(canonical(document), NAME, at)


def problems(progress: Mapping[str, Progress]) -> dict[str, str]:
    """Return why which volumes did not come to where they should."""
    return {v: one.why for v, one in progress.items() if one.state is State.FAILED}


def _volume(plan: Plan, handover: Handover, volume: str, end: float) -> dict[str, Any]:
    route = handover.custody.route(volume)
    taken = handover.taken.get(volume)
    disks = plan.before.get("disks")
    found: dict[str, Any] = {
        "volume": volume,
        "as planned": disks.get(volume) if isinstance(disks, dict) else None,
        "snapshot": _snapshot(taken, handover.aws, end) if taken else None,
    }
    if route is None:
        return found
    if route.recopied and (recopy := usable(copies(handover.here, volume))):
        found["copy under a key that can be shared"] = _snapshot(recopy, handover.aws, end)
    try:
        handed = usable(copies(handover.handed, volume))
    except CloudError as error:
        return {**found, "forensic copy": str(error)}
    return {**found, "forensic copy": _snapshot(handed, handover.there, end) if handed else None}


def _snapshot(snapshot: Snapshot, aws: Aws, end: float) -> dict[str, Any]:
    return {
        "id": snapshot["SnapshotId"],
        "account": snapshot.get("OwnerId", aws.account),
        "state": snapshot["State"],
        "started_at": snapshot["StartTime"],
        "completed_at": snapshot.get("CompletionTime"),
        "size_gib": snapshot["VolumeSize"],
        "bytes": snapshot.get("FullSnapshotSizeInBytes"),
        "key": snapshot.get("KmsKeyId"),
        "blocks": _blocks(snapshot["SnapshotId"], aws, end),
    }


def _blocks(id: str, aws: Aws, end: float) -> dict[str, Any] | str:
    """Say which blocks were ever written, as a hash of their numbers: not of what is in them.

    That takes one call for 5 GB, so it is done of every snapshot on the way, kept or not.
    """
    hashed, count = hashlib.sha256(), 0
    token: str | None = None
    while time.monotonic() < end:
        page = {"NextToken": token} if token else {}
        try:
            answer = aws.client("ebs").list_snapshot_blocks(SnapshotId=id, MaxResults=PAGE, **page)
        except CloudError as error:
            return f"not listed: {error}"
        for block in answer["Blocks"]:
            hashed.update(b"%d\n" % block["BlockIndex"])
        count += len(answer["Blocks"])
        if not (token := answer.get("NextToken")):
            return {"count": count, "bytes_each": answer["BlockSize"], "sha256": hashed.hexdigest()}
    return f"not listed: it takes too long, after {count} blocks"
