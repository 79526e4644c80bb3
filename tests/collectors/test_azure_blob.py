"""Blobs in Azure Storage as places of logs: a small server that speaks List Blobs and Get Blob.

https://learn.microsoft.com/en-us/rest/api/storageservices/blob-service-rest-api
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pytest
import structlog

from firedoor import collecting
from firedoor.collector import Blob
from firedoor.collectors import azure_blob
from firedoor.errors import AccessDenied, BadInput, NotFound, Unreachable

ACCOUNT = "devstoreaccount1"
CONTAINER = "insights-logs-flowlogflowevent"
URL = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}"
SHORT = f"azblob://{ACCOUNT}/{CONTAINER}"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
FLOWS = f"flowLogResourceID=/{SUBSCRIPTION}_NETWORKWATCHERRG/NETWORKWATCHER_EASTUS_A"
NSG = f"resourceId=/SUBSCRIPTIONS/{SUBSCRIPTION.upper()}/RESOURCEGROUPS/RG/PROVIDERS/X"
NOW = datetime.now(UTC)
XML = {"Content-Type": "application/xml"}
NO_KEY = base64.b64encode(b"example").decode()


class Storage(BaseHTTPRequestHandler):
    """One container of one account."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        server: Any = self.server
        server.asked.append(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if server.sas and server.sas not in self.path:
            self._fail(403, "AuthenticationFailed")
        elif asked.get("comp") == "list" and CONTAINER in url.path:
            self._answer(self._list(server.blobs, asked).encode(), XML)
        elif asked.get("comp") == "list":
            self._fail(404, "ContainerNotFound")
        else:
            self._get(server.blobs.get(unquote(url.path).partition(f"{CONTAINER}/")[2]))

    def _get(self, blob: dict[str, Any] | None) -> None:
        if blob is None:
            self._fail(404, "BlobNotFound")
            return
        body, size = blob["body"], len(blob["body"])
        first, _, last = self.headers["x-ms-range"].removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or size - 1), size - 1)
        if start >= size:
            self._fail(416, "InvalidRange")
            return
        said = {"Content-Range": f"bytes {start}-{end}/{size}", "ETag": '"1"'}
        self._answer(body[start : end + 1], {**said, "x-ms-blob-type": blob["type"]}, 206)

    def _list(self, blobs: dict[str, dict[str, Any]], asked: dict[str, str]) -> str:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
        items: dict[str, str] = {}
        for name in sorted(name for name in blobs if name.startswith(prefix)):
            head, found, _ = name.removeprefix(prefix).partition(delimiter or "\0")
            if found:
                folder = f"{prefix}{head}{delimiter}"
                items[folder] = f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>"
            else:
                items[name] = self._item(name, blobs[name])
        page = int(asked.get("maxresults", "5000"))
        start = int(asked.get("marker", "0"))
        rest = start + page if start + page < len(items) else ""
        shown = "".join(list(items.values())[start : start + page])
        return (
            f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="x"'
            f' ContainerName="{CONTAINER}"><Prefix>{escape(prefix)}</Prefix><Blobs>{shown}</Blobs>'
            f"<NextMarker>{rest}</NextMarker></EnumerationResults>"
        )

    def _item(self, name: str, blob: dict[str, Any]) -> str:
        changed = format_datetime(blob["modified"], usegmt=True)
        return (
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{changed}"
            f"</Last-Modified><Etag>{blob['etag']}</Etag><Content-Length>{len(blob['body'])}"
            f"</Content-Length><BlobType>{blob['type']}</BlobType><AccessTier>{blob['tier']}"
            "</AccessTier></Properties></Blob>"
        )

    def _answer(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: int, code: str) -> None:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>no</Message></Error>'
        self._answer(
            body.encode(), {**XML, "x-ms-error-code": code, "x-ms-request-id": "r-1"}, status
        )

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def storage(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    server = serve(Storage)
    server.blobs, server.asked, server.sas = {}, [], ""
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={NO_KEY};"
        f"BlobEndpoint={server.url}/{ACCOUNT};",
    )
    azure_blob._signatures.clear()
    return server


def put(storage: Any, *names: str, ago: int = 0, body: bytes = b"0123456789", **more: str) -> None:
    for name in names:
        storage.blobs[name] = {
            "body": body,
            "etag": f"0x{len(storage.blobs)}{len(body)}",
            "modified": NOW - timedelta(ago),
            "type": "BlockBlob",
            "tier": "Hot",
            **more,
        }


def hour(ago: int, below: str = FLOWS) -> str:
    return f"{below}/{NOW - timedelta(ago):y=%Y/m=%m/d=%d}/h=05/m=00/macAddress=0/PT1H.json"


def names(url: str = URL, since: datetime | None = None) -> list[str]:
    found = (blob.name.removeprefix(f"{URL}/") for blob in collecting.blobs(url, since))
    return [unquote(name) for name in found]


def test_blobs_come_oldest_day_first_and_say_their_subscription(storage: Any) -> None:
    put(storage, hour(1), hour(2, NSG), hour(3), "loose")

    found = list(collecting.blobs(URL))

    assert [unquote(blob.name.removeprefix(f"{URL}/")) for blob in found] == [
        hour(3), hour(2, NSG), hour(1), "loose",
    ]  # fmt: skip
    assert [blob.account for blob in found] == [SUBSCRIPTION] * 3 + [""]


def test_what_azure_appends_to_grows(storage: Any) -> None:
    put(storage, hour(1), "whole.json")
    put(storage, "appended.log", type="AppendBlob")

    assert {blob.name.rpartition("/")[2]: blob.grows for blob in collecting.blobs(URL)} == {
        "PT1H.json": True, "appended.log": True, "whole.json": False,
    }  # fmt: skip


def test_an_incremental_listing_asks_for_the_last_days_only(storage: Any) -> None:
    put(storage, *(hour(ago) for ago in (0, 2, 4, 40, 400)))

    assert names(URL, NOW) == [hour(2), hour(0)]
    assert not [path for path in storage.asked if f"{NOW - timedelta(40):m%%3D%m/d%%3D%d}" in path]


def test_what_changed_long_before_is_left_out(storage: Any) -> None:
    put(storage, "new")
    put(storage, "old", ago=40)

    assert names(URL, NOW) == ["new"]


def test_an_appended_blob_is_read_from_where_it_ended(storage: Any) -> None:
    put(storage, hour(0))
    (before,) = collecting.blobs(URL)
    put(storage, hour(0), body=b"0123456789abc")
    (after,) = collecting.blobs(URL)

    with collecting.open_(after, before.size) as stream:
        assert (stream.read(), before.version == after.version) == (b"abc", False)
    with collecting.open_(after, after.size) as stream:
        assert stream.read() == b""


def test_a_blob_larger_than_a_piece_is_read_whole(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = bytes(range(256)) * 200_000  # the SDK asks for 32 MB, then for 4 at a time
    put(storage, "large", body=body)

    with collecting.open_(Blob(f"{URL}/large", "1", len(body), NOW), 7) as stream:
        assert stream.read() == body[7:]


@pytest.mark.parametrize("name", ["a b+c=d&e.json", "é/50%25.json", "what?#.json"])
def test_any_name_is_read_back(storage: Any, name: str) -> None:
    put(storage, name)

    (blob,) = collecting.blobs(URL)

    with collecting.open_(blob) as stream:
        assert stream.read() == b"0123456789"


def test_the_short_form_and_stars_mean_the_same_blobs(storage: Any) -> None:
    put(storage, "a/b.json", "a/c.gz", "ab/d.json")

    assert names(f"{SHORT}/a") == names(f"{URL}/a/") == ["a/b.json", "a/c.gz"]
    assert names(f"{SHORT}/**/*.json") == ["a/b.json", "ab/d.json"]


def test_what_lies_in_the_archive_is_named_and_left_out(storage: Any) -> None:
    put(storage, "cold", tier="Archive")

    with structlog.testing.capture_logs() as said:
        assert names() == []

    assert [line["object"] for line in said] == [f"{URL}/cold"]


def test_a_signature_opens_but_is_never_shown(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, "a")
    sas = "sv=2026-01-01&sp=rl&sig=SECRET"
    storage.sas = "sig=SECRET"
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setattr(azure_blob, "_host", lambda where: f"{storage.url}/{where.account}")

    (blob,) = collecting.blobs(f"{URL}?{sas}")
    with collecting.open_(blob) as stream:
        assert stream.read() == b"0123456789"

    assert "SECRET" not in repr(blob)
    assert collecting.shown(f"{URL}/a?{sas}") == f"{URL}/a"
    with pytest.raises(BadInput) as bad:
        list(collecting.blobs(f"https://example.blob.core.example.com/x?{sas}"))
    storage.sas = "sig=OTHER"
    with pytest.raises(AccessDenied) as denied:
        collecting.open_(blob)
    assert "SECRET" not in f"{bad.value} {denied.value} {denied.value.__cause__}"


def test_errors_are_ours(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match=r"^GetBlob: BlobNotFound: .* \(request r-1\)$"):
        collecting.open_(Blob(f"{URL}/none", "1", 1, NOW))
    with pytest.raises(NotFound, match="ListBlobs: ContainerNotFound"):
        list(collecting.blobs(f"azblob://{ACCOUNT}/none"))
    with pytest.raises(BadInput, match="expected https://ACCOUNT"):
        list(collecting.blobs("azblob://x"))
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "nonsense SECRET")
    with pytest.raises(BadInput, match="AZURE_STORAGE_CONNECTION_STRING: expected") as caught:
        list(collecting.blobs(URL))
    assert "SECRET" not in str(caught.value)
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    # Without asking the network for a managed identity, which nobody has here.
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    with pytest.raises(AccessDenied, match="set AZURE_STORAGE_CONNECTION_STRING"):
        list(collecting.blobs(URL))


def test_where_nobody_answers_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_blob, "PATIENCE", {"retry_total": 0})
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"AccountName={ACCOUNT};AccountKey={NO_KEY};BlobEndpoint=http://127.0.0.1:9/x;",
    )

    with pytest.raises(Unreachable, match=r"^ListBlobs: \w+$"):
        list(collecting.blobs(URL))
