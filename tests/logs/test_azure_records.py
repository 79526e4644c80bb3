"""Records of Azure that are not as most are."""

import io
import json
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Parsed, Place

TIME = "2024-01-01T00:00:00Z"
SIGNIN = {"category": "SignInLogs", "time": TIME, "properties": {"status": {"errorCode": 0}}}
QUESTION = {"category": "AzureFirewallDnsProxy", "time": TIME}
REQUEST = {"category": "ApplicationGatewayAccessLog", "time": TIME}
CALL = {
    "category": "Administrative",
    "operationName": "Microsoft.Compute/virtualMachines/write",
    "time": TIME,
    "resultType": "Success",
}

CHANGE = {
    "category": "AuditLogs",
    "operationName": "Add user",
    "time": TIME,
    "properties": {"loggedByService": "Core Directory"},
}


def read(*records: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows of an object of records, and why some were refused."""
    content = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    parsed: list[Parsed] = list(Reading(io.BytesIO(content), Place("o.json", account="place")))
    rows = [row for one in parsed for table in one.tables.values() for row in table.to_pylist()]
    return rows, [refusal.reason for one in parsed for refusal in one.refused]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (SIGNIN | {"time": "now"}, "time: expected a time, not now"),
        (SIGNIN | {"time": ""}, "time: expected a time, not nothing"),
        (SIGNIN | {"properties": {}}, "properties.status.errorCode: expected a code"),
        (CALL | {"category": "Policy", "operationName": "Update"}, "operationName: expected"),
        (CALL | {"category": "Else"}, "category: expected one of Administrative"),
        (CHANGE | {"time": "now"}, "time: expected a time, not now"),
        (CHANGE | {"operationName": " "}, "operationName: expected a text"),
        (CHANGE | {"properties": {}}, "properties: expected one of loggedByService"),
        (QUESTION | {"properties": {"msg": "hello"}}, "properties.msg: expected DNS Request"),
        (QUESTION, "category: expected AzureFirewallDnsProxy"),
        (REQUEST | {"properties": {"httpStatus": "x"}}, "httpStatus: expected a whole number"),
        (REQUEST | {"properties": {"timeTaken": "x"}}, "timeTaken: expected a number, not x"),
        (
            {"category": "FrontDoorAccessLog", "time": TIME, "properties": {"requestBytes": "x"}},
            "requestBytes: expected a whole number, not x",
        ),
        (
            {"category": "DnsResponse", "time": TIME},
            "category: expected DnsResponse, with properties",
        ),
    ],
)
def test_record_that_is_damaged_is_refused_by_its_member(
    record: dict[str, Any], reason: str
) -> None:
    good = {
        "SignInLogs": SIGNIN,
        "AuditLogs": CHANGE,
        "AzureFirewallDnsProxy": QUESTION | {"properties": {"msg": "Error: "}},
    }
    before = good.get(record["category"], CALL if "operationName" in record else None)
    first = [before] if before else []

    _, refused = read(*first, record)

    assert [one[: len(reason)] for one in refused] == [reason]


@pytest.mark.parametrize(
    ("record", "members"),
    [
        (CALL, ["location", "callerIpAddress", "identity", "properties", "tenantId", "resourceId"]),
        (SIGNIN, ["location", "callerIpAddress", "resourceId", "tenantId", "identity"]),
        (CHANGE, ["location", "callerIpAddress", "resourceId", "tenantId", "identity", "result"]),
    ],
    ids=["call", "login", "change"],
)
def test_member_that_is_null_is_as_if_it_were_not_there(
    record: dict[str, Any], members: list[str]
) -> None:
    expected, _ = read(record)

    rows, refused = read(record | dict.fromkeys(members))

    assert refused == []
    assert [row | {"raw": ""} for row in rows] == [row | {"raw": ""} for row in expected]


def test_account_that_no_record_tells_is_that_of_the_place() -> None:
    rows, _ = read(SIGNIN, CALL)

    assert [row["account"] for row in rows] == ["place", "place"]


def test_sources_that_share_an_object_each_get_their_records() -> None:
    rows, refused = read(CALL, SIGNIN, REQUEST | {"properties": {}}, CALL)

    assert refused == []
    assert sorted(row["source"] for row in rows) == [
        "azure_activity", "azure_activity", "azure_app_gateway", "azure_signin",
    ]  # fmt: skip


def test_name_of_an_operation_is_as_a_keyboard_writes_it() -> None:
    name = "Update application \u2013 Certificates and secrets management "

    [row], _ = read(CHANGE | {"operationName": name})

    assert row["operation"] == "Update application - Certificates and secrets management"


@pytest.mark.parametrize("status", ["Start", "Started", "Accept", "Accepted", "Running"])
def test_call_that_has_not_ended_is_none(status: str) -> None:
    assert read(CALL | {"resultType": status}) == ([], [])


@pytest.mark.parametrize(
    ("record", "denied"),
    [
        ({"resultType": "Failure", "resultSignature": "Failed.Forbidden"}, True),
        ({"resultType": "Failed", "resultSignature": "403"}, True),
        ({"resultType": "Failure", "properties": {"statusCode": "Unauthorized"}}, True),
        (
            {
                "resultType": "Failure",
                "properties": {"statusMessage": '{"code":"LinkedAuthorizationFailed"}'},
            },
            True,
        ),
        ({"resultType": "Failure", "resultSignature": "Failed.NotFound"}, False),
        ({"resultType": "Failure", "properties": "not JSON {"}, False),
        ({"resultType": "Success", "resultSignature": "Succeeded.Forbidden"}, False),
    ],
)
def test_call_is_denied_where_it_failed_for_want_of_a_right(
    record: dict[str, Any], denied: bool
) -> None:
    [row], _ = read(CALL | record)

    assert row["denied"] is denied


def test_raw_is_the_record_as_it_was_written() -> None:
    text = json.dumps(CALL, indent=1)

    [parsed] = Reading(io.BytesIO(text.encode()), Place("o.json"))

    assert parsed.tables["api_activity"]["raw"].to_pylist() == [text]
