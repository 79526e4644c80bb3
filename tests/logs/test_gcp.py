"""What is particular about the logs of Google Cloud."""

import io
import json
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Place
from firedoor.logs._gcp_balancing import url

CONNECTION = {"src_ip": "192.0.2.1", "src_port": 1, "dest_ip": "192.0.2.2", "dest_port": 2}
VM = {"vm_name": "web-1"}


def entry(log: str, **payload: Any) -> dict[str, Any]:
    """Return an entry of a log."""
    return {
        "logName": f"projects/example-project/logs/{log}",
        "timestamp": "2026-01-31T10:00:00Z",
    } | payload


def flow(**payload: Any) -> dict[str, Any]:
    """Return an entry of a flow."""
    known = {"connection": CONNECTION, "reporter": "SRC", "bytes_sent": "1", "packets_sent": "1"}
    return entry("compute.googleapis.com%2Fvpc_flows", jsonPayload=known | payload)


def call(**payload: Any) -> dict[str, Any]:
    """Return an entry of a call."""
    known = {"serviceName": "iam.googleapis.com", "methodName": "SetIamPolicy"}
    return entry("cloudaudit.googleapis.com%2Factivity", protoPayload=known | payload)


def read(*entries: dict[str, Any], **place: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows, and why others are refused."""
    content = "".join(json.dumps(one) + "\n" for one in entries).encode()
    parsed = list(Reading(io.BytesIO(content), Place("entries", **place)))
    rows = [row for one in parsed for table in one.tables.values() for row in table.to_pylist()]
    return rows, [refusal.reason for one in parsed for refusal in one.refused]


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("reporter", "BOTH", "jsonPayload.reporter: expected SRC or DEST, not BOTH"),
        ("bytes_sent", "1e3", "at `$.jsonPayload.bytes_sent`"),
        ("packets_sent", "-", "at `$.jsonPayload.packets_sent`"),
        ("start_time", "yesterday", "at `$.jsonPayload.start_time`"),
        ("connection", None, "at `$.jsonPayload.connection`"),
    ],
)
def test_refusal_names_the_member_that_is_wrong(member: str, value: Any, reason: str) -> None:
    rows, refused = read(flow(), flow(**{member: value}))

    assert len(rows) == 1
    assert len(refused) == 1
    assert refused[0].endswith(reason)


def test_address_that_is_none_is_left_out() -> None:
    rows, refused = read(flow(connection=CONNECTION | {"src_ip": "unknown"}))

    assert (rows[0]["src_ip"], rows[0]["dst_ip"], refused) == (None, "192.0.2.2", [])


@pytest.mark.parametrize(
    ("reporter", "ends", "count"),
    [
        ("SRC", {"src_instance": VM, "dest_instance": VM}, 1),
        ("DEST", {"src_instance": VM, "dest_instance": VM}, 0),
        ("DEST", {"src_vpc": {"vpc_name": "prod"}, "dest_instance": VM}, 0),
        ("DEST", {"dest_instance": VM}, 1),
        ("DEST", {"src_google_service": {"type": "GOOGLE_API"}, "dest_instance": VM}, 1),
        ("SRC_GATEWAY", {"dest_instance": VM}, 0),
        ("SRC_GATEWAY", {}, 1),
        ("DEST_GATEWAY", {"src_instance": VM}, 0),
        ("DEST_GATEWAY", {}, 1),
    ],
)
def test_flow_counts_once_whoever_reports_it(
    reporter: str, ends: dict[str, Any], count: int
) -> None:
    assert len(read(flow(reporter=reporter, **ends))[0]) == count


@pytest.mark.parametrize(
    ("operation", "status", "count"),
    [
        ({"first": True}, {}, 1),
        ({"last": True}, {}, 0),
        ({"first": True, "last": True}, {}, 1),
        ({"last": True}, {"code": 7}, 1),
        ({"id": "a tunnel"}, {}, 1),
    ],
)
def test_call_is_one_row(operation: dict[str, Any], status: dict[str, Any], count: int) -> None:
    rows, refused = read(call(status=status) | {"operation": operation})

    assert (len(rows), refused) == (count, [])


def test_call_is_kept_as_it_was_logged() -> None:
    logged = json.dumps(call(request={"policy": {"é": 1.0}}), indent=1)

    parsed = list(Reading(io.BytesIO(logged.encode()), Place("call")))
    (row,) = parsed[0].tables["api_activity"].to_pylist()

    assert row["raw"] == logged


def test_code_that_is_new_is_told_as_its_number() -> None:
    rows, _ = read(call(status={"code": 99}))

    assert (rows[0]["status"], rows[0]["error"], rows[0]["denied"]) == ("Failure", "99", False)


def test_entry_without_a_project_is_of_whoever_keeps_the_log() -> None:
    named = call() | {"logName": "folders/42/logs/cloudaudit.googleapis.com%2Factivity"}
    nameless = {name: value for name, value in call().items() if name != "logName"}

    assert [row["account"] for row in read(named, nameless, account="mine")[0]] == ["42", "mine"]


def test_request_of_another_service_is_not_claimed() -> None:
    balanced = {"type": "http_load_balancer", "labels": {}}
    request = {"requestMethod": "GET", "requestUrl": "https://example.com/"}
    ours = entry("requests", resource=balanced, httpRequest=request)
    other = entry("requests", resource={"type": "cloud_run_revision"}, httpRequest=request)

    rows, refused = read(ours, other)

    assert len(rows) == 1
    assert refused == ["httpRequest: expected one of a load balancer"]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("https://Example.COM.:8443/a%2Fb?x=1?y#z", ("example.com", "/a%2Fb", "x=1?y#z")),
        ("http://user:word@example.com@192.0.2.1/", ("192.0.2.1", "/", None)),
        ("http://[2001:db8::1]:80/", ("2001:db8::1", "/", None)),
        ("http://example.com?a", ("example.com", None, "a")),
        ("/path\n?a\nb", (None, "/path\n", "a\nb")),
        ("", (None, None, None)),
    ],
)
def test_url_is_taken_apart_whatever_is_in_it(text: str, parts: tuple[Any, ...]) -> None:
    assert url(text) == parts
