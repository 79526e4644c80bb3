"""Blobs in Azure Storage: `https://ACCOUNT.blob.core.windows.net/CONTAINER/prefix` or `azblob://`.

We log in with what the environment has, as the `az` command does: AZURE_STORAGE_CONNECTION_STRING,
AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or with a signature (SAS) that the URL brings along.
It is remembered by this process, and never part of a blob's name, of an error or of a log.
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, partial
from typing import Any, BinaryIO, Final
from urllib.parse import quote, unquote

from firedoor.collector import Blob, Collector
from firedoor.collectors import _days, _globs, _names
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

SCHEME: Final = "azblob://"
ENDPOINTS: Final = ("windows.net", "usgovcloudapi.net", "chinacloudapi.cn")
GROWING: Final = "PT1H.json"
"""What Azure calls the hour that it appends to."""
# The SDK by itself waits 15 seconds before it tries again.
PATIENCE: Final[dict[str, Any]] = {"retry_total": 3, "initial_backoff": 1, "increment_base": 2}

SCOPE: Final = "https://storage.azure.com/.default"
NO_CREDENTIALS: Final = (
    "set AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or log in"
    " with `az login`"
)
_HTTPS = re.compile(
    rf"https://(?P<account>[a-z0-9]{{3,24}})\.blob\.core\.(?P<cloud>{'|'.join(ENDPOINTS)})"
    r"/(?P<container>[^/?]+)(?:/(?P<path>[^?]*))?(?:\?(?P<sas>.*))?",
    re.DOTALL,
)
_SHORT = re.compile(
    r"azblob://(?P<account>[a-z0-9]{3,24})/(?P<container>[^/?]+)(?:/(?P<path>[^?]*))?", re.DOTALL
)
# By account and container. A name must not hold it, and whoever opens a blob has only its name.
_signatures: dict[tuple[str, str], str] = {}


@dataclass(frozen=True)
class _Where:
    account: str
    cloud: str
    container: str
    path: str

    def name(self, path: str) -> str:
        """Return the URL of a blob."""
        host = f"https://{self.account}.blob.core.{self.cloud}"
        return f"{host}/{self.container}/{quote(path, safe=_SAFE)}"


# What may stand in a path as it is: the `=` and `:` of Azure's own names too.
_SAFE = "/=:@!$&'()+,;~"


def takes(url: str) -> bool:
    """Return whether it is in Azure Storage."""
    return url.startswith(SCHEME) or bool(re.match(r"https://[a-z0-9]+\.blob\.core\.", url))


def blobs(url: str, since: datetime | None) -> Iterator[Blob]:
    """Yield the blobs, oldest day first; of folders by days only those that can hold what is new.

    Raises `BadInput`, `CloudError` or `Unreachable`.
    """
    where, sas = _parts(url)
    if sas:
        _signatures[where.account, where.container] = sas
    with _answers("ListBlobs"):
        client = _client(where)
    fits = _globs.matcher(where.path)
    found = _days.blobs(
        _start(where, client), partial(_look, where, client), partial(_read, where, client), since
    )
    return (blob for blob in found if fits(_parts(blob.name)[0].path))


def open_(blob: Blob, offset: int) -> BinaryIO:
    """Return a stream of a blob from an offset, which survives a lost connection."""
    where, _ = _parts(blob.name)
    with _answers("GetBlob"):
        try:
            download = _client(where).download_blob(where.path, offset=offset or None)
        except Exception as error:
            if getattr(error, "status_code", None) != 416:
                raise
            return reading(lambda _: b"")  # it is no longer than what was read of it

    def read(size: int) -> bytes:
        with _answers("GetBlob"):
            return bytes(download.read(size))

    return reading(read)


COLLECTOR = Collector(title="Azure Blob Storage", takes=takes, blobs=blobs, open=open_)


def _parts(url: str) -> tuple[_Where, str]:
    """Return a place, and the signature that the URL brings along."""
    if found := _HTTPS.fullmatch(url):
        where = _Where(found["account"], found["cloud"], found["container"], _path(found))
        return where, found["sas"] or ""
    if found := _SHORT.fullmatch(url):
        return _Where(found["account"], ENDPOINTS[0], found["container"], _path(found)), ""
    expected = "expected https://ACCOUNT.blob.core.windows.net/CONTAINER/prefix"
    raise BadInput("logs", url.partition("?")[0], expected)


def _path(found: re.Match[str]) -> str:
    return unquote(found["path"] or "")


def _client(where: _Where) -> Any:
    """Return the client of a container.

    Raises `AccessDenied` if we have nothing to log in with.
    """
    sas = _signatures.get((where.account, where.container))
    if connection := not sas and os.environ.get("AZURE_STORAGE_CONNECTION_STRING"):
        return _connected(connection, where.container)
    key = os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_SAS_TOKEN")
    return _reached(_host(where), where.container, sas or key or _identity())


@cache
def _connected(connection: str, container: str) -> Any:
    from azure.storage.blob import ContainerClient  # takes a third of a second

    try:
        return ContainerClient.from_connection_string(connection, container, **PATIENCE)
    except ValueError:
        expected = "expected DefaultEndpointsProtocol=https;AccountName=…;AccountKey=…"
        raise BadInput("AZURE_STORAGE_CONNECTION_STRING", "", expected) from None


@cache
def _reached(host: str, container: str, credential: Any) -> Any:
    from azure.storage.blob import ContainerClient

    return ContainerClient(host, container, credential=credential, **PATIENCE)


def _host(where: _Where) -> str:
    return f"https://{where.account}.blob.core.{where.cloud}"


@cache
def _identity() -> Any:
    """Return who we are in Entra ID: a managed identity, an environment, the login of `az`."""
    from azure.identity import DefaultAzureCredential

    known = DefaultAzureCredential()
    with _answers("GetToken"):
        known.get_token(SCOPE)  # at once, for each request would try for long
    return known


def _start(where: _Where, client: Any) -> str:
    """Return what is listed: the folder of a name without a slash at its end, if it is one."""
    root = _globs.root(where.path)
    if _globs.has_star(where.path) or root == "" or root.endswith("/"):
        return root
    with _answers("ListBlobs"):
        pages = client.list_blobs(name_starts_with=f"{root}/", results_per_page=1)
        return f"{root}/" if next(pages, None) else root


def _look(where: _Where, client: Any, folder: str) -> Level:
    from azure.storage.blob import BlobPrefix

    with _answers("ListBlobs"):
        pages = client.walk_blobs(name_starts_with=folder).by_page()
        items = list(next(pages, ()))
        whole = not pages.continuation_token
    folders = [item.name for item in items if isinstance(item, BlobPrefix)]
    blobs = [item for item in items if not isinstance(item, BlobPrefix)]
    return Level(folders, list(_readable(where, blobs)), whole)


def _read(where: _Where, client: Any, run: Run, day: date | None) -> Iterator[Blob]:
    starts = run.since(day, datetime.now(UTC).date()) if day else [run.prefix]
    for start in starts:
        with _answers("ListBlobs"):
            yield from _readable(where, client.list_blobs(name_starts_with=start))


def _readable(where: _Where, items: Iterable[Any]) -> Iterator[Blob]:
    """Yield what can be read; what would have to be brought back first is told."""
    for item in items:
        if item.blob_tier == "Archive":
            import structlog  # rarely, and it takes a while

            log = structlog.get_logger()
            log.warning("object.archived", object=where.name(item.name), do="rehydrate it")
        elif item.size:
            yield _blob(where, item)


def _blob(where: _Where, item: Any) -> Blob:
    from azure.storage.blob import BlobType

    return Blob(
        name=where.name(item.name),
        version=item.etag.strip('"'),
        size=item.size,
        modified=item.last_modified.astimezone(UTC),
        grows=item.blob_type == BlobType.APPENDBLOB or item.name.endswith(f"/{GROWING}"),
        account=_names.azure(item.name),
    )


@contextmanager
def _answers(operation: str) -> Iterator[None]:
    """Let errors of the SDK be ours; its own messages may show the URL with its signature."""
    from azure.core import exceptions as azure

    try:
        yield
    except azure.ClientAuthenticationError as error:
        if error.response is not None:  # Azure said so, and why
            raise _refused(error, operation) from None
        raise AccessDenied("NoCredentials", NO_CREDENTIALS, operation) from None
    except azure.HttpResponseError as error:
        raise _refused(error, operation) from None
    except azure.ServiceRequestError as error:
        raise Unreachable(f"{operation}: {type(error.inner_exception).__name__}") from None
    except azure.AzureError as error:
        raise Unavailable(type(error).__name__, "the answer broke off", operation) from None


def _refused(error: Any, operation: str) -> CloudError:
    said = getattr(error, "error_code", None) or error.status_code
    code = str(getattr(said, "value", said))
    headers = getattr(error.response, "headers", {})
    request = headers.get("x-ms-request-id", "")
    reason = error.reason or "no reason given"
    return _kind(error.status_code or 0)(code, reason, operation, request)


def _kind(status: int) -> type[CloudError]:
    if status >= 500 and status != 503:
        return Unavailable
    kinds = {401: AccessDenied, 403: AccessDenied, 404: NotFound, 429: Throttled, 503: Throttled}
    return kinds.get(status, CloudError)
