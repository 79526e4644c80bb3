"""The contract of a collector: where logs lie, and how to read them there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO


@dataclass(frozen=True)
class Blob:
    """One object of a log, wherever it lies: a file, an S3 object, an hour of a log group."""

    name: str
    """Its URL, or its path: one name for one object."""
    version: str
    """Changes when its content does: an ETag, or size and time of change."""
    size: int
    modified: datetime
    grows: bool = False
    """Whether it is only ever appended to: then what was read of it need not be read again."""
    account: str = ""
    """Account, subscription or project, where the name tells it."""
    region: str = ""


@dataclass(frozen=True, kw_only=True)
class Collector:
    """One kind of place. Its id is the name of its module below `firedoor.collectors`.

    `takes(url)` says whether a URL or path is one of its own. `blobs(url, since)` yields the
    objects there, oldest first, those that changed before `since` left out where that saves asking
    for them. `open(blob, offset)` returns a stream of its bytes from an offset; the caller closes
    it. Both raise `BadInput` for a place that is none, and `CloudError` or `Unreachable` for what
    its cloud answers.
    """

    title: str
    takes: Callable[[str], bool]
    blobs: Callable[[str, datetime | None], Iterator[Blob]]
    open: Callable[[Blob, int], BinaryIO]
