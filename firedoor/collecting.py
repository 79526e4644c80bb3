"""Where logs lie, whatever kind of place it is: what is there, and the bytes of it."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import BinaryIO

from firedoor.collector import Blob, Collector
from firedoor.discovery import find
from firedoor.errors import BadInput

_SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python makes of the bytes of a name that are no text."""
EXPECTED = (
    "expected a file, a folder, s3://bucket/prefix, cloudwatch://log-group,"
    " https://ACCOUNT.blob.core.windows.net/container/prefix, azblob://ACCOUNT/container/prefix"
    " or gs://bucket/prefix"
)


def blobs(url: str, since: datetime | None = None) -> Iterator[Blob]:
    """Yield the objects of a place, oldest first.

    Those that changed well before `since` are left out where that saves asking for them. Raises
    `BadInput` for a place that is none, `CloudError` or `Unreachable` for what its cloud answers.
    """
    return _collector(url).blobs(url, since)


def open_(blob: Blob, offset: int = 0) -> BinaryIO:
    """Return a stream of the bytes of an object from an offset; the caller closes it."""
    return _collector(blob.name).open(blob, offset)


def shown(url: str) -> str:
    """Return a place as it may be printed and kept: without the signature that opens it."""
    return url.partition("?")[0] if "://" in url else url


def _collector(url: str) -> Collector:
    if _SURROGATE.search(url):
        raise BadInput("logs", url, "expected a name in UTF-8")
    collectors: Mapping[str, Collector] = find("firedoor.collectors", Collector)
    for collector in collectors.values() if url else ():  # no path is not the folder we are in
        if collector.takes(url):
            return collector
    raise BadInput("logs", shown(url), EXPECTED)
