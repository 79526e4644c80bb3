"""Objects in Google Cloud Storage as places of logs: a small server that speaks its JSON API.

https://cloud.google.com/storage/docs/json_api/v1/objects
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from firedoor import collecting
from firedoor.collector import Blob
from firedoor.collectors import gcs
from firedoor.errors import AccessDenied, BadInput, NotFound, Unreachable

BUCKET = "logs-example"
URL = f"gs://{BUCKET}"
FLOWS = "compute.googleapis.com/vpc_flows"
NOW = datetime.now(UTC)


class Storage(BaseHTTPRequestHandler):
    """One bucket."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        server: Any = self.server
        server.asked.append(self.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        _, _, key = url.path.partition(f"/b/{BUCKET}/o")
        held = server.objects.get(unquote(key[1:]))
        if server.refuses:
            self._fail(server.refuses)
        elif f"/b/{BUCKET}/" not in url.path:
            self._fail(404)
        elif not key:
            self._answer(json.dumps(self._list(server.objects, asked)).encode())
        elif held is None or asked.get("generation", held["generation"]) != held["generation"]:
            self._fail(404)
        else:
            self._media(held["body"])

    def _media(self, body: bytes) -> None:
        start, _, end = self.headers.get("Range", "bytes=0-")[6:].partition("-")
        if int(start) >= len(body):
            self._fail(416)
            return
        part = body[int(start) : int(end or len(body)) + 1]
        said = f"bytes {start}-{int(start) + len(part) - 1}/{len(body)}"
        self._answer(part, 206, **{"Content-Range": said})

    def _list(self, objects: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter", "\0")
        found: dict[str, Any] = {}
        for name in sorted(objects):
            if name.startswith(prefix) and name >= asked.get("startOffset", ""):
                head, cut, _ = name.removeprefix(prefix).partition(delimiter)
                found[f"{prefix}{head}{cut}"] = None if cut else {"name": name, **objects[name]}
        page = list(found.items())[int(asked.get("pageToken", "0")) :]
        answer: dict[str, Any] = {
            "items": [
                {k: v for k, v in held.items() if k != "body"} for _, held in page[:3] if held
            ],
            "prefixes": [name for name, held in page[:3] if not held],
        }
        if page[3:]:
            answer["nextPageToken"] = str(int(asked.get("pageToken", "0")) + 3)
        return answer

    def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content-Type", "application/json")
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: int) -> None:
        self._answer(json.dumps({"error": {"code": status, "message": "no"}}).encode(), status)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def storage(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    server = serve(Storage)
    server.objects, server.asked, server.refuses = {}, [], 0
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    gcs._client.cache_clear()
    yield server
    gcs._client.cache_clear()


def put(storage: Any, *names: str, ago: int = 0, body: bytes = b"0123456789") -> None:
    for name in names:
        before = storage.objects.get(name, {"generation": "0"})
        storage.objects[name] = {
            "body": body,
            "size": str(len(body)),
            "generation": str(int(before["generation"]) + 1),
            "updated": f"{NOW - timedelta(ago):%Y-%m-%dT%H:%M:%S.%fZ}",
        }


def hour(ago: int) -> str:
    return f"{FLOWS}/{NOW - timedelta(ago):%Y/%m/%d}/05:00:00_05:59:59_S0.json"


def names(url: str = URL, since: datetime | None = None) -> list[str]:
    return [blob.name.removeprefix(f"{URL}/") for blob in collecting.blobs(url, since)]


def test_objects_come_oldest_day_first_over_pages(storage: Any) -> None:
    put(storage, *(hour(ago) for ago in range(5)), "loose")

    assert names() == [*(hour(ago) for ago in (4, 3, 2, 1, 0)), "loose"]


def test_an_incremental_listing_begins_some_days_before(storage: Any) -> None:
    put(storage, *(hour(ago) for ago in (0, 2, 4, 40, 400)))

    assert names(URL, NOW) == [hour(2), hour(0)]


def test_a_folder_of_more_than_a_page_is_listed_whole(storage: Any) -> None:
    put(storage, *(f"{name}/x" for name in "abcd"))
    put(storage, "a/old", ago=40)

    assert names(URL, NOW) == ["a/x", "b/x", "c/x", "d/x"]


def test_the_project_is_told_by_the_name_where_it_is_in_it(storage: Any) -> None:
    put(storage, "projects/example-prod/a", "b")

    assert [blob.account for blob in collecting.blobs(URL)] == ["", "example-prod"]


def test_another_content_is_another_version(storage: Any) -> None:
    put(storage, "a")
    (before,) = collecting.blobs(URL)
    put(storage, "a")
    (after,) = collecting.blobs(URL)

    assert (before.version, after.version) == ("1", "2")


@pytest.mark.parametrize(("offset", "rest"), [(0, b"0123456789"), (4, b"456789"), (10, b"")])
def test_an_object_is_read_from_an_offset(storage: Any, offset: int, rest: bytes) -> None:
    put(storage, "a")
    (blob,) = collecting.blobs(URL)

    with collecting.open_(blob, offset) as stream:
        assert stream.read() == rest


def test_an_object_larger_than_a_piece_is_read_whole(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs, "PIECE", 256 << 10)
    body = bytes(range(256)) * 12_345
    put(storage, "a", body=body)
    (blob,) = collecting.blobs(URL)

    with collecting.open_(blob) as stream:
        assert stream.read() == body


@pytest.mark.parametrize("name", ["a b+c=d&e.json", "é/50%25.json", "what?#.json"])
def test_any_name_is_read_back(storage: Any, name: str) -> None:
    put(storage, name)

    (blob,) = collecting.blobs(URL)

    with collecting.open_(blob) as stream:
        assert stream.read() == b"0123456789"


def test_a_name_means_its_object_or_its_folder_and_stars_stand_for_names(storage: Any) -> None:
    put(storage, "prod/a", "prod-old/b", "prod.gz")

    assert names(f"{URL}/prod") == ["prod/a"]
    assert names(f"{URL}/prod.gz") == ["prod.gz"]
    assert names(f"{URL}/pro*/b") == ["prod-old/b"]


def test_errors_are_ours(storage: Any) -> None:
    put(storage, "a")
    with (
        collecting.open_(Blob(f"{URL}/none", "1", 1, NOW)) as stream,
        pytest.raises(NotFound, match=r"^GetObject: 404: "),
    ):
        stream.read()
    with pytest.raises(NotFound, match=r"^ListObjects: 404: no$"):
        list(collecting.blobs("gs://no-such-bucket"))
    with pytest.raises(BadInput, match="expected gs://bucket/prefix"):
        list(collecting.blobs("gs://X"))
    storage.refuses = 403
    with pytest.raises(AccessDenied, match=r"^ListObjects: 403: no$"):
        list(collecting.blobs(URL))


def test_where_nobody_answers_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(gcs, "PATIENCE", 0.1)
    gcs._client.cache_clear()

    with pytest.raises(Unreachable, match=r"^ListObjects: \w+$"):
        list(collecting.blobs(URL))
    gcs._client.cache_clear()


def test_who_has_no_credentials_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/example.json")
    gcs._client.cache_clear()

    with pytest.raises(AccessDenied, match="NoCredentials"):
        list(collecting.blobs(URL))
