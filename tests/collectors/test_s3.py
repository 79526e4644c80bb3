"""Objects in S3 as places of logs, in the emulated AWS."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
import structlog

from firedoor import collecting
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws, own
from firedoor.collector import Blob
from firedoor.collectors import _days
from firedoor.collectors import s3 as s3_collector
from firedoor.errors import AccessDenied, BadInput, CloudError, NotFound, Unavailable

BUCKET = "logs-example"
URL = f"s3://{BUCKET}"
NOW = datetime.now(UTC)
FLOWS = "AWSLogs/123456789012/vpcflowlogs/us-east-1"
TRAIL = "AWSLogs/o-example/123456789012/CloudTrail/eu-central-1"


@pytest.fixture
def s3(aws: Aws) -> Any:
    client = own("s3")
    client.create_bucket(Bucket=BUCKET)
    return client


def put(s3: Any, *keys: str, body: bytes = b"x" * 10, **how: str) -> None:
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, **how)


def day(ago: int, style: str = "%Y/%m/%d") -> str:
    return (NOW - timedelta(ago)).strftime(style)


def names(url: str, since: datetime | None = None) -> list[str]:
    return [blob.name.removeprefix(f"{URL}/") for blob in collecting.blobs(url, since)]


def test_account_and_region_are_told_by_the_key(s3: Any) -> None:
    put(s3, f"{FLOWS}/2026/01/31/a.gz", f"{TRAIL}/2026/01/31/b.gz", "flat/c.gz")
    put(s3, "flat/123456789012_vpcflowlogs_ap-southeast-2_fl-1_20260131T0000Z_d.gz")

    found = {(blob.account, blob.region) for blob in collecting.blobs(URL)}

    assert found == {
        ("123456789012", "us-east-1"),
        ("123456789012", "eu-central-1"),
        ("123456789012", "ap-southeast-2"),
        ("", ""),
    }


def test_days_come_in_order_across_accounts_and_regions(s3: Any) -> None:
    put(s3, f"{FLOWS}/2026/01/31/a", f"{TRAIL}/2026/02/01/b", f"{FLOWS}/2026/02/02/c")

    assert names(URL) == [
        f"{FLOWS}/2026/01/31/a", f"{TRAIL}/2026/02/01/b", f"{FLOWS}/2026/02/02/c",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "style", ["%Y/%m/%d", "year=%Y/month=%m/day=%d", "eventDay=%Y%m%d", "dt=%Y-%m-%d"]
)
def test_an_incremental_listing_begins_some_days_before(s3: Any, style: str) -> None:
    put(s3, *(f"{FLOWS}/{day(ago, style)}/a" for ago in (0, 2, 4, 40, 400)))

    assert names(URL, NOW) == [f"{FLOWS}/{day(ago, style)}/a" for ago in (2, 0)]


def test_what_lies_by_no_days_is_listed_whole(s3: Any) -> None:
    put(s3, "loose", "deep/in/here", f"{FLOWS}/{day(0)}/a")

    assert set(names(URL, NOW)) == {"loose", "deep/in/here", f"{FLOWS}/{day(0)}/a"}


def test_what_is_too_much_to_be_looked_into_is_listed_whole(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(s3, *(f"{name}/{day(40)}/x" for name in "abcde"))
    assert names(URL, NOW) == []

    monkeypatch.setattr(_days, "LEVELS", 2)  # above, and the first of five

    assert names(URL, NOW) == [f"{name}/{day(40)}/x" for name in "bcde"]


def test_a_listing_goes_over_pages(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_collector, "PAGE", 3)
    keys = [f"many/{number}" for number in range(10)]
    put(s3, *keys)

    assert names(URL) == names(f"{URL}/many") == keys


def test_a_name_means_its_object_or_its_folder_and_no_other(s3: Any) -> None:
    put(s3, "prod/a", "prod-old/b", "prod.gz")

    assert names(f"{URL}/prod") == names(f"{URL}/prod/") == ["prod/a"]
    assert names(f"{URL}/prod.gz") == ["prod.gz"]
    assert names(f"{URL}/pro*/b") == ["prod-old/b"]


def test_any_name_is_read_back(s3: Any) -> None:
    odd = ["a b+c=d&e.gz", "é/ü.gz", "50%25/x", "q'\"/(z)"]
    put(s3, *odd)

    found = list(collecting.blobs(URL))

    assert {blob.name.removeprefix(f"{URL}/") for blob in found} == set(odd)
    for blob in found:
        with collecting.open_(blob) as stream:
            assert stream.read() == b"x" * 10


def test_folders_of_the_console_and_empty_objects_are_none(s3: Any) -> None:
    put(s3, "folder/", "folder/empty", body=b"")

    assert names(URL) == []


def test_what_lies_in_glacier_is_named_and_left_out(s3: Any) -> None:
    put(s3, "cold", StorageClass="GLACIER")
    put(s3, "cool", StorageClass="GLACIER_IR")

    with structlog.testing.capture_logs() as said:
        assert names(URL) == ["cool"]

    assert [(line["event"], line["first"]) for line in said] == [
        ("objects.archived", f"{URL}/cold")
    ]


def test_another_content_is_another_version(s3: Any) -> None:
    put(s3, "a", body=b"one")
    (before,) = collecting.blobs(URL)
    put(s3, "a", body=b"two")
    (after,) = collecting.blobs(URL)

    assert before.version != after.version


@pytest.mark.parametrize(("offset", "rest"), [(0, b"0123456789"), (4, b"456789"), (10, b"")])
def test_an_object_is_read_from_an_offset(s3: Any, offset: int, rest: bytes) -> None:
    put(s3, "a", body=b"0123456789")
    (blob,) = collecting.blobs(URL)

    with collecting.open_(blob, offset) as stream:
        assert stream.read() == rest


class Breaking(BaseHTTPRequestHandler):
    """Sends no more than 100,000 bytes before it hangs up, and knows ranges and ETags."""

    body = bytes(range(256)) * 1000
    replaced = False

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if self.headers.get("If-Match") and self.server.replaced:  # type: ignore[attr-defined]
            self.send_error(412)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(self.body) - start))
        self.end_headers()
        self.wfile.write(self.body[start : start + 100_000])
        self.close_connection = True

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def breaking(aws: Aws, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = serve(Breaking)
    server.replaced = False
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    cloud.forget()
    yield server
    cloud.forget()


def test_a_lost_connection_goes_on_where_it_broke(breaking: Any) -> None:
    with collecting.open_(Blob(f"{URL}/a", "one", len(Breaking.body), NOW)) as stream:
        assert stream.read() == Breaking.body


def test_the_rest_of_an_object_that_was_replaced_is_refused(breaking: Any) -> None:
    stream = collecting.open_(Blob(f"{URL}/a", "one", len(Breaking.body), NOW))
    breaking.replaced = True

    with pytest.raises(CloudError, match="412"):
        stream.read()


def test_errors_are_ours(s3: Any) -> None:
    put(s3, "a")
    (blob,) = collecting.blobs(URL)
    s3.delete_object(Bucket=BUCKET, Key="a")

    with pytest.raises(NotFound, match="NoSuchKey"):
        collecting.open_(blob)
    with pytest.raises(NotFound, match="NoSuchBucket"):
        list(collecting.blobs("s3://no-such-bucket-example/AWSLogs/"))
    with pytest.raises(BadInput, match="expected s3://bucket/prefix"):
        list(collecting.blobs("s3://Not_A_Bucket/x"))


def test_where_nobody_answers_it_is_said(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(cloud, "PATIENT", cloud.CONFIG)  # it would try five times
    cloud.forget()

    with pytest.raises(Unavailable, match="EndpointConnectionError"):
        list(collecting.blobs(URL))
    cloud.forget()


def test_who_has_no_credentials_is_told_so(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    cloud.forget()

    with pytest.raises(AccessDenied, match="no credentials for AWS here"):
        list(collecting.blobs(URL))
    cloud.forget()
