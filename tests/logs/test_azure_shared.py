"""Every log of Azure that is at hand is read: so many rows, so many refused, and why."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from firedoor.errors import Unreadable
from firedoor.lake.objects import Reading
from firedoor.log_source import Place

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the samples are not at hand")

SIGNINS = {"SignInLogs", "NonInteractiveUserSignInLogs", "ServicePrincipalSignInLogs"}


def read(content: bytes) -> tuple[str | None, list[dict[str, Any]], Counter[str], int]:
    """Return the source, the rows, why some were refused, and how many were passed over."""
    reading = Reading(io.BytesIO(content), Place("object"))
    parsed = list(reading)
    rows = [row for one in parsed for table in one.tables.values() for row in table.to_pylist()]
    refused = Counter(refusal.reason for one in parsed for refusal in one.refused)
    return reading.source, rows, refused, sum(one.passed for one in parsed)


def content(name: str) -> bytes:
    """Return a file."""
    return (DATA / name).read_bytes()


def logs(folder: str) -> list[dict[str, Any]]:
    """Return the events with which Panther tests its rules."""
    files = sorted((DATA / "panther-tests" / folder).glob("*.json"))
    return [test["log"] for file in files for test in json.loads(file.read_text())["tests"]]


def lines(events: list[dict[str, Any]]) -> bytes:
    """Return events as JSON lines."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def tuples(name: str) -> list[list[str]]:
    """Return the fields of all tuples, wherever they stand."""
    found: list[list[str]] = []

    def keep(members: dict[str, Any]) -> dict[str, Any]:
        found.extend(one.split(",") for one in members.get("flowTuples", ()))
        return members

    json.loads((DATA / name).read_text("utf-8-sig"), object_hook=keep)
    return found


@pytest.mark.parametrize(
    ("source", "name", "unit"),
    [
        ("azure_nsg_flow", "azure-nsg-flow/sumologic/blob_fixtures.json", 1000),
        ("azure_vnet_flow", "azure-vnet-flow/sumologic/blob_fixtures_vnetflowlogs.json", 1),
        (
            "azure_vnet_flow",
            "azure-vnet-flow/sumologic/blob_fixtures_networkinterfaceflowlogs.json",
            1,
        ),
    ],
)
def test_each_tuple_and_each_answer_is_a_row(source: str, name: str, unit: int) -> None:
    expected = tuples(name)
    answers = [one for one in expected if one[11] not in ("", "0")]

    found, rows, refused, passed = read(content(name))

    assert (found, refused, passed) == (source, Counter(), 0)
    assert len(rows) == len(expected) + len(answers)
    assert sum(row["bytes"] or 0 for row in rows) == sum(
        int(one[10] or 0) + int(one[12] or 0) for one in expected
    )
    # Of the one format the decision, of the other the state.
    assert sum(row["action"] == "Denied" for row in rows) == sum(one[7] == "D" for one in expected)
    assert {row["time"] for row in rows} == {int(one[0]) * unit for one in expected}
    assert {row["protocol"] for row in rows} <= {6, 17}


def test_calls_that_have_only_begun_are_none() -> None:
    name = "azure-activity/plaso/azure_activity_log.jsonl"
    statuses = [json.loads(line)["status"]["value"] for line in content(name).splitlines()]

    source, rows, refused, passed = read(content(name))

    assert statuses == ["Started"] * 4
    assert (source, rows, refused, passed) == ("azure_activity", [], Counter(), 4)


def test_calls_to_the_resource_manager_are_rows_and_those_to_storage_are_refused() -> None:
    name = "azure-activity/panther-analysis/rule_test_events.shared.jsonl"
    events = [json.loads(line) for line in content(name).splitlines()]
    calls = [event for event in events if event.get("category") in ("Administrative", "Policy")]

    source, rows, refused, passed = read(content(name))

    assert (source, passed) == ("azure_activity", 0)
    assert len(rows) == len(calls) == 116
    assert sum(refused.values()) == len(events) - len(calls) == 3
    assert sum(row["status"] == "Failure" for row in rows) == sum(
        event["resultType"] == "Failed" for event in calls
    )
    assert sum(row["denied"] for row in rows) == sum(
        event.get("resultSignature") == "403" for event in calls
    )
    assert [json.loads(row["raw"]) for row in rows] == calls


def test_a_mapping_of_fields_is_no_log() -> None:
    with pytest.raises(Unreadable, match="expected a log that we know"):
        read(content("azure-activity/opensearch-sa/azure-sample.json"))


def test_events_of_activity_rules_are_calls() -> None:
    events = logs("azure_activity_rules")
    storage = [event for event in events if event.get("category") in (None, "StorageWrite")]

    source, rows, refused, _ = read(lines(events))

    assert source == "azure_activity"
    assert len(rows) == len(events) - len(storage) == 117
    assert sum(refused.values()) == len(storage) == 3


def test_events_of_sign_in_rules_are_logins() -> None:
    logins = [event for event in logs("azure_signin_rules") if event["category"] in SIGNINS]
    codes = [
        event["properties"].get("status", {}).get("errorCode", event.get("resultType"))
        for event in logins
    ]

    source, rows, refused, passed = read(lines(logins))

    assert (source, refused, passed) == ("azure_signin", Counter(), 0)
    successes = [str(code) in ("0", "Success") for code in codes]
    assert [row["status"] == "Success" for row in rows] == successes
    assert len(rows) == 17
    assert all(row["src_ip"] for row in rows)


def test_events_of_the_audit_log_are_calls() -> None:
    events = [event for event in logs("azure_signin_rules") if event["category"] not in SIGNINS]

    source, rows, refused, passed = read(lines(events))

    assert (source, refused, passed) == ("azure_audit", Counter(), 0)
    assert len(rows) == len(events) == 11
    assert [row["operation"] for row in rows] == [event["operationName"] for event in events]
    assert [row["account"] for row in rows] == [event["tenantId"] for event in events]
    users = [event["properties"]["initiatedBy"]["user"] for event in events]
    assert [row["actor"] for row in rows] == [user["userPrincipalName"] for user in users]
    assert [row["status"] for row in rows].count("Failure") == 1
    assert all(row["src_ip"] for row in rows)


def test_sign_ins_and_changes_may_be_in_one_file() -> None:
    source, rows, refused, _ = read(lines(logs("azure_signin_rules")))

    assert (source, refused) == ("azure_audit", Counter())
    assert Counter(row["source"] for row in rows) == {"azure_audit": 11, "azure_signin": 17}


@pytest.mark.parametrize(
    ("source", "name", "rows"),
    [
        ("azure_app_gateway", "azure-appgw/otel/access-log.json", 6),
        ("azure_app_gateway", "azure-appgw/plaso/azure_application_gateway_access.json", 2),
        ("azure_waf", "azure-waf/otel/firewall-log.json", 1),
    ],
)
def test_requests_are_rows(source: str, name: str, rows: int) -> None:
    expected = content(name).count(b'"category"')

    found, requests, refused, passed = read(content(name))

    assert (found, refused, passed) == (source, Counter(), 0)
    assert len(requests) == expected == rows


def test_gateways_tell_seconds_and_milliseconds() -> None:
    _, rows, _, _ = read(content("azure-appgw/otel/access-log.json"))

    assert [row["duration"] for row in rows] == [205, 205, 34, 205, 13, 97]
