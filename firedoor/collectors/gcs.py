"""Objects in Google Cloud Storage: `gs://bucket/prefix`, where `*` and `**` may stand for names.

We log in with the application default credentials; STORAGE_EMULATOR_HOST leads elsewhere.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import cache, partial
from typing import Any, BinaryIO, Final

from firedoor.collector import Blob, Collector
from firedoor.collectors import _days, _globs
from firedoor.collectors._days import Level, Run
from firedoor.collectors._stream import reading
from firedoor.errors import (
    AccessDenied,
    BadInput,
    CloudError,
    NotFound,
    Throttled,
    Unavailable,
    Unreachable,
)

SCHEME: Final = "gs://"
FIELDS: Final = "items(name,generation,size,updated),prefixes,nextPageToken"
PIECE: Final = 8 << 20
"""How much of an object is fetched at once, in bytes."""
PATIENCE: Final = 30.0
"""For how long, in seconds, the SDK tries again."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PROJECT = re.compile(r"(?:^|/)projects/([a-z][a-z0-9-]{4,28}[a-z0-9])/")


def takes(url: str) -> bool:
    """Return whether it is in Google Cloud Storage."""
    return url.startswith(SCHEME)


def blobs(url: str, since: datetime | None) -> Iterator[Blob]:
    """Yield the objects, oldest day first; of folders by days only those that can hold what is new.

    Raises `BadInput`, `CloudError` or `Unreachable`.
    """
    bucket, pattern = _parts(url)
    fits = _globs.matcher(pattern)
    found = _days.blobs(
        _start(bucket, pattern), partial(_look, bucket), partial(_read, bucket), since
    )
    return (blob for blob in found if fits(_parts(blob.name)[1]))


def open_(blob: Blob, offset: int) -> BinaryIO:
    """Return a stream of an object from an offset, of the generation that was listed."""
    bucket, key = _parts(blob.name)
    with _answers("GetObject"):
        remote = _client().bucket(bucket).blob(key, generation=int(blob.version))
        # As it is stored: what is gzip is unpacked by whoever reads it, and offsets stay true.
        stream = remote.open("rb", chunk_size=PIECE, retry=_retry(), raw_download=True)
        # Seeking would ask for the size first; it is known.
        stream._blob._properties["size"] = str(blob.size)
        stream.seek(min(offset, blob.size))

    def read(size: int) -> bytes:
        with _answers("GetObject"):
            return bytes(stream.read(size))

    return reading(read, stream.close)


COLLECTOR = Collector(title="Google Cloud Storage", takes=takes, blobs=blobs, open=open_)


@cache
def _client() -> Any:
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage  # type: ignore[import-untyped]  # takes half a second

    try:
        return storage.Client()
    except DefaultCredentialsError as error:
        said = str(error).partition(".")[0]
        raise AccessDenied("NoCredentials", said, "Google Cloud Storage") from error


def _parts(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise BadInput("logs", url, "expected gs://bucket/prefix")
    return bucket, key


def _start(bucket: str, pattern: str) -> str:
    """Return what is listed: the folder of a name without a slash at its end, if it is one."""
    root = _globs.root(pattern)
    if _globs.has_star(pattern) or root == "" or root.endswith("/"):
        return root
    return f"{root}/" if next(_listed(bucket, prefix=f"{root}/", max_results=1), None) else root


def _look(bucket: str, folder: str) -> Level:
    with _answers("ListObjects"):
        listing = _list(bucket, prefix=folder, delimiter="/")
        items = list(next(listing.pages, ()))
        whole = not listing.next_page_token
    return Level(sorted(listing.prefixes), [_blob(bucket, i) for i in items if i.size], whole)


def _read(bucket: str, run: Run, day: date | None) -> Iterator[Blob]:
    asked = {"start_offset": run.at(day)} if day else {}
    yield from _listed(bucket, prefix=run.prefix, **asked)


def _listed(bucket: str, **asked: Any) -> Iterator[Blob]:
    with _answers("ListObjects"):
        for item in _list(bucket, **asked):
            if item.size:
                yield _blob(bucket, item)


def _list(bucket: str, **asked: Any) -> Any:
    return _client().list_blobs(bucket, fields=FIELDS, retry=_retry(), **asked)


def _retry() -> Any:
    from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]

    return DEFAULT_RETRY.with_timeout(PATIENCE)


def _blob(bucket: str, item: Any) -> Blob:
    project = _PROJECT.search(item.name)
    return Blob(
        name=f"{SCHEME}{bucket}/{item.name}",
        version=str(item.generation),
        size=item.size,
        modified=item.updated.astimezone(UTC),
        account=project[1] if project else "",
    )


@contextmanager
def _answers(operation: str) -> Iterator[None]:
    """Let errors of the SDK be ours."""
    from google.api_core import exceptions as api
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except api.GoogleAPICallError as error:
        status = int(error.code or 0)
        raise _kind(status)(str(status), _reason(error), operation) from error
    except api.RetryError as error:
        raise Unreachable(f"{operation}: {type(error.cause).__name__}") from error
    except GoogleAuthError as error:
        raise AccessDenied(type(error).__name__, str(error), operation) from error
    except RequestException as error:
        raise Unreachable(f"{operation}: {type(error).__name__}") from error


def _reason(error: Any) -> str:
    """Return the first line of what Google says, without the URL before it."""
    return str(error.message).partition("\n")[0].rpartition(": ")[2]


def _kind(status: int) -> type[CloudError]:
    if status >= 500:
        return Unavailable
    kinds = {401: AccessDenied, 403: AccessDenied, 404: NotFound, 429: Throttled}
    return kinds.get(status, CloudError)
