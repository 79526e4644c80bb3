"""What is in a snapshot, as a hash: its blocks are read through the direct API of EBS.

The hashes of the blocks are kept, in lists that take seconds each. A disk takes longer than a call
may, so whoever comes next goes on after the last list.
https://docs.aws.amazon.com/ebs/latest/userguide/readsnapshots.html
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from time import monotonic, sleep
from typing import Any, TypeVar

from botocore.exceptions import BotoCoreError

from activities.aws._custody import Handover
from activities.aws._snapshots import Snapshot
from firedoor import evidence
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, FiredoorError, Refused, Throttled
from firedoor.model.evidence import Evidence
from firedoor.model.plan import Plan
from firedoor.settings import settings

T = TypeVar("T")

LIST = 1024
"""Blocks in a list: at 512 KiB each, half a GiB."""

TIME = 30.0
"""Seconds after which no further list is begun: an attempt of an activity has two minutes."""

TRIES = 4
"""Of one call, so that one answer that is lost among thousands ends nothing."""

PAUSE = 0.25
"""Seconds before the second try; each further one waits twice as long."""

PERMISSIONS = ("ebs:GetSnapshotBlock", "ebs:ListSnapshotBlocks")

GIB = 1024**3

Content = dict[str, Any] | str
"""The hash of what is in a snapshot and how it was made, or why there is none."""


def hashed(plan: Plan, handover: Handover) -> dict[str, Content] | None:
    """Return the content of what is kept, by volume; None if there is more to read than time."""
    end, contents = monotonic() + TIME, {}
    for volume in handover.custody.volumes:
        content = _of_volume(plan, handover, volume, end)
        if content is None:
            return None
        contents[volume] = content
    return contents


def _of_volume(plan: Plan, handover: Handover, volume: str, end: float) -> Content | None:
    there = handover.custody.route(volume) is not None
    try:
        kept = _fit(handover.kept(volume))
        return _read(plan, kept, handover.there if there else handover.aws, end)
    except Throttled:
        return None
    except (FiredoorError, BotoCoreError) as error:
        return f"not hashed: {error}"


def _fit(kept: Snapshot | None) -> Snapshot:
    if kept is None or kept["State"] != "completed":
        raise Refused("it is not completed")
    most = settings().snapshot_hash_gib
    size = kept.get("FullSnapshotSizeInBytes") or kept["VolumeSize"] * GIB
    if size > most * GIB:
        raise Refused(f"it may hold {size / GIB:.0f} GiB, FIREDOOR_SNAPSHOT_HASH_GIB is {most}")
    return kept


def _read(plan: Plan, kept: Snapshot, aws: Aws, end: float) -> Content | None:
    """Hash block after block from where it was left; None if time is over before that is done."""
    id, ebs = kept["SnapshotId"], aws.client("ebs")
    lists = _lists(plan, id)
    first = _after(lists)
    listed: Mapping[str, Any] = {"NextToken": "", "BlockSize": 512 * 1024}
    while "NextToken" in listed and first < kept["VolumeSize"] * GIB // listed["BlockSize"]:
        if monotonic() >= end:
            return None
        # Tokens of pages and blocks end after days, numbers do not.
        page = partial(ebs.list_snapshot_blocks, SnapshotId=id, MaxResults=LIST)
        listed = _patiently(partial(page, StartingBlockIndex=first))
        if blocks := listed["Blocks"]:
            hashes = aws.together(*(partial(_hash, ebs, id, block) for block in blocks))
            lists.append(_keep(plan, id, len(lists), blocks, hashes))
            first = blocks[-1]["BlockIndex"] + 1
    return _summed(lists, listed["BlockSize"])


def _hash(ebs: Any, id: str, block: Mapping[str, Any]) -> str:
    index, token = block["BlockIndex"], block["BlockToken"]

    def read() -> tuple[bytes, str]:
        answer = ebs.get_snapshot_block(SnapshotId=id, BlockIndex=index, BlockToken=token)
        return hashlib.sha256(answer["BlockData"].read()).digest(), answer["Checksum"]

    found, said = _patiently(read)
    if base64.b64encode(found).decode() != said:
        raise Refused(f"block {index} of {id} is not what EBS says that it is: {said}")
    return found.hex()


def _patiently(read: Callable[[], T]) -> T:
    """Read something, more than once if AWS is busy or the answer does not come whole."""
    for attempt in range(1, TRIES):
        try:
            return read()
        except CloudError as error:
            if not error.retryable:
                raise
        except BotoCoreError:
            pass
        sleep(PAUSE * 2**attempt)
    return read()


# The lists


def _lists(plan: Plan, id: str) -> list[Evidence]:
    """Return the lists of a snapshot that were kept before."""
    found: list[Evidence] = []
    while kept := evidence.recorded(_place(plan, id, len(found))):
        found += kept
    return found


def _place(plan: Plan, id: str, number: int) -> str:
    return f"{plan.digest}-{id}-{number}"


def _after(lists: Sequence[Evidence]) -> int:
    """Return the number of the first block that is in no list."""
    if not lists:
        return 0
    return int(evidence.fetch(lists[-1].uri).splitlines()[-1].split()[0]) + 1


def _keep(
    plan: Plan, id: str, number: int, blocks: Sequence[Mapping[str, Any]], hashes: Sequence[str]
) -> Evidence:
    lines = (f"{b['BlockIndex']} {one}\n" for b, one in zip(blocks, hashes, strict=True))
    kept = evidence.keep("".join(lines).encode(), f"{id}-blocks-{number}.txt", datetime.now(UTC))
    return evidence.record(_place(plan, id, number), [kept])[0]


def _summed(lists: Sequence[Evidence], block_size: int) -> Content:
    """Return one hash of all lists: whoever has the disk makes it again from nothing else."""
    texts = [evidence.fetch(one.uri) for one in lists]
    blocks = sum(text.count(b"\n") for text in texts)
    return {
        "sha256": hashlib.sha256(b"".join(texts)).hexdigest(),
        "of": "lines of block number, space, SHA-256 of the block in hex; blocks never written have"
        " none",
        "blocks": blocks,
        "bytes_each": block_size,
        "lists": [one.model_dump(mode="json") for one in lists],
    }
