"""Objects in Amazon S3: `s3://bucket/prefix`, where `*` and `**` may stand for names."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, BinaryIO, Final

from firedoor.collector import Blob, Collector
from firedoor.collectors import _days, _globs, _names
from firedoor.collectors._days import Level, Run
from firedoor.collectors._stream import reading
from firedoor.errors import BadInput, CloudError, Unreachable

SCHEME: Final = "s3://"
ARCHIVED: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
"""Storage classes whose objects have to be restored before they can be read."""
PAGE: Final = 1000
RECONNECTS: Final = 3

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]|arn:aws[\w-]*:s3:[^/]+:accesspoint")


def takes(url: str) -> bool:
    """Return whether it is in S3."""
    return url.startswith(SCHEME)


def blobs(url: str, since: datetime | None) -> Iterator[Blob]:
    """Yield the objects, oldest day first; what lies in Glacier is told in our log, and left out.

    Where folders are named by days, as below `AWSLogs/`, only those days are listed that can hold
    what is new. Raises `BadInput`, `CloudError` or `Unreachable`.
    """
    bucket, pattern = _parts(url)
    client, fits = _client(), _globs.matcher(pattern)
    found = _days.blobs(
        _start(pattern, client, bucket),
        partial(_look, client, bucket),
        partial(_read, client, bucket),
        since,
    )
    return (blob for blob in found if fits(_parts(blob.name)[1]))


def open_(blob: Blob, offset: int) -> BinaryIO:
    """Return a stream of an object from an offset, which survives a lost connection."""
    bucket, key = _parts(blob.name)
    download = _Download(_client(), bucket, key, offset)
    return reading(download.read, download.close)


COLLECTOR = Collector(title="Amazon S3", takes=takes, blobs=blobs, open=open_)


class _Download:
    """One object, read from an offset; where the connection breaks, it is asked for the rest."""

    def __init__(self, client: Any, bucket: str, key: str, offset: int) -> None:
        self._client, self._offset = client, offset
        self._object = {"Bucket": bucket, "Key": key}
        self._body: Any = None
        self._left = RECONNECTS
        self._broken = _aws().BROKEN
        self._connect()

    def read(self, size: int) -> bytes:
        while True:
            try:
                got = bytes(self._body.read(size)) if self._body else b""
            except self._broken as error:
                self._left -= 1
                if self._left < 0:
                    raise Unreachable(f"s3://{'/'.join(self._object.values())}: {error}") from error
                self._connect()
                continue
            self._offset += len(got)
            return got

    def close(self) -> None:
        if self._body:
            self._body.close()

    def _connect(self) -> None:
        range_ = {"Range": f"bytes={self._offset}-"} if self._offset else {}
        get = partial(self._client.get_object, **self._object, **range_)
        try:
            answer = _aws().asked(get, "GetObject")
        except CloudError as error:
            if error.code not in ("InvalidRange", "416"):
                raise
            self._body = None  # it is no longer than what was read of it
            return
        # The rest of an object that was replaced meanwhile does not fit.
        self._object.setdefault("IfMatch", answer["ETag"])
        self._body = answer["Body"]


def _aws() -> Any:
    from firedoor.cloud import asking  # the SDK takes a quarter of a second

    return asking


def _client() -> Any:
    return _aws().client("s3")


def _parts(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    if bucket.startswith("arn:"):  # of an access point, whose name comes after a slash
        name, _, key = key.partition("/")
        return f"{bucket}/{name}", key
    if not _BUCKET.fullmatch(bucket):
        raise BadInput("logs", url, "expected s3://bucket/prefix")
    return bucket, key


def _start(pattern: str, client: Any, bucket: str) -> str:
    """Return what is listed: the folder of a name without a slash at its end, if it is one."""
    root = _globs.root(pattern)
    if _globs.has_star(pattern) or root == "" or root.endswith("/"):
        return root
    is_folder = _page(client, bucket, Prefix=f"{root}/", MaxKeys=1).get("Contents")
    return f"{root}/" if is_folder else root


def _look(client: Any, bucket: str, folder: str) -> Level:
    page = _page(client, bucket, Prefix=folder, Delimiter="/")
    return Level(
        [one["Prefix"] for one in page.get("CommonPrefixes", ())],
        _readable(bucket, page),
        whole=not page.get("IsTruncated"),
    )


def _read(client: Any, bucket: str, run: Run, day: date | None) -> Iterator[Blob]:
    which = {"Prefix": run.prefix} | ({"StartAfter": run.at(day)} if day else {})
    while True:
        page = _page(client, bucket, **which)
        yield from _readable(bucket, page)
        if not page.get("IsTruncated"):
            return
        which["ContinuationToken"] = page["NextContinuationToken"]


def _page(client: Any, bucket: str, **which: Any) -> dict[str, Any]:
    page = partial(client.list_objects_v2, Bucket=bucket, **{"MaxKeys": PAGE, **which})
    return _aws().asked(page, "ListObjectsV2")  # type: ignore[no-any-return]


def _readable(bucket: str, page: dict[str, Any]) -> list[Blob]:
    """Return what can be read of a page; what would have to be restored first is told."""
    objects = [one for one in page.get("Contents", ()) if one["Size"]]
    archived = [one["Key"] for one in objects if one.get("StorageClass") in ARCHIVED]
    if archived:
        first = f"{SCHEME}{bucket}/{archived[0]}"
        import structlog  # rarely, and it takes a while

        log = structlog.get_logger()
        log.warning("objects.archived", count=len(archived), first=first, do="restore them")
    return [_blob(bucket, one) for one in objects if one.get("StorageClass") not in ARCHIVED]


def _blob(bucket: str, said: dict[str, Any]) -> Blob:
    key = said["Key"]
    account, region = _names.aws(key)
    return Blob(
        name=f"{SCHEME}{bucket}/{key}",
        version=said["ETag"].strip('"'),
        size=said["Size"],
        modified=said["LastModified"].astimezone(UTC),
        account=account,
        region=region,
    )
