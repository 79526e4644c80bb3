"""CloudTrail records that are not as most are."""

import io
import json
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Parsed, Place, Sample
from firedoor.logs.aws_cloudtrail import SOURCE

EVENT: dict[str, Any] = {
    "eventVersion": "1.09",
    "userIdentity": {"type": "Root", "accountId": "123456789012"},
    "eventTime": "2026-01-02T03:04:05Z",
    "eventSource": "iam.amazonaws.com",
    "eventName": "CreateUser",
    "eventID": "e",
}


def read(*records: Any, wanted: dict[str, frozenset[str]] | None = None) -> list[Parsed]:
    """Return what an object of records holds."""
    content = json.dumps({"Records": records}).encode()
    return list(Reading(io.BytesIO(content), Place("o.json"), wanted=wanted))


def calls(*records: Any) -> list[dict[str, Any]]:
    """Return the rows of calls."""
    return [
        row
        for parsed in read(*records)
        if "api_activity" in parsed.tables
        for row in parsed.tables["api_activity"].to_pylist()
    ]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"eventTime": None}, "eventTime: expected a text"),
        ({"eventTime": "now"}, "eventTime: expected a time, not now"),
        ({"eventName": ""}, "eventName: expected a text"),
        ({"eventSource": 7}, "Expected `str | null`, got `int` - at `$.eventSource`"),
        (
            {"userIdentity": {"type": 7}},
            "userIdentity: Expected `str | null`, got `int` - at `$.type`",
        ),
    ],
)
def test_damaged_event_is_refused_alone(odd: dict[str, Any], reason: str) -> None:
    [parsed] = read(EVENT, EVENT | odd, EVENT)

    assert [(one.number, one.reason) for one in parsed.refused] == [(2, reason)]
    assert parsed.tables["api_activity"].num_rows == 2


def test_digest_file_and_insight_are_passed_over() -> None:
    digest = {"awsAccountId": "123456789012", "digestS3Object": "d.json.gz", "logFiles": []}
    insight = {"eventVersion": "1.09", "eventTime": "2026-01-02T03:04:05Z", "insightDetails": {},
               "eventCategory": "Insight"}  # fmt: skip

    for record in (digest, insight):
        [parsed] = Reading(io.BytesIO(json.dumps(record).encode()), Place("d.json"))

        assert (dict(parsed.tables), list(parsed.refused), parsed.passed) == ({}, [], 1)


def test_envelope_among_plain_events_is_opened() -> None:
    enveloped = {"detail-type": "AWS API Call via CloudTrail", "detail": EVENT | {"eventID": "b"}}

    assert [row["event_id"] for row in calls(EVENT, enveloped, EVENT)] == ["e", "e", "b"]


@pytest.mark.parametrize(
    ("identity", "actor"),
    [
        ({"type": "Root", "userName": "alias"}, "root"),
        ({"type": "AssumedRole", "arn": "arn:aws:sts::123456789012:assumed-role/adm/s"}, "adm"),
        ({"type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/path/eve"}, "eve"),
        ({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "0f-1"}}, "0f-1"),
        ({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, "ec2.amazonaws.com"),
        ({"type": "Unknown"}, None),
    ],
)
def test_actor_is_the_name_that_is_known(identity: dict[str, Any], actor: str | None) -> None:
    assert [row["actor"] for row in calls(EVENT | {"userIdentity": identity})] == [actor]


@pytest.mark.parametrize(
    ("code", "denied"),
    [
        ("AccessDenied", True),
        ("AccessDeniedException", True),
        ("Client.UnauthorizedOperation", True),
        ("UnauthorizedException", True),
        ("VpceAccessDenied", True),
        ("NoSuchEntityException", False),
        (None, False),
    ],
)
def test_only_want_of_a_permission_is_a_denial(code: str | None, denied: bool) -> None:
    [row] = calls(EVENT | {"errorCode": code})

    assert (row["denied"], row["status"]) == (denied, "Failure" if code else "Success")


def test_read_only_may_be_written_as_a_text() -> None:
    rows = calls(*(EVENT | {"readOnly": value} for value in (True, "True", "false", None)))

    assert [row["read_only"] for row in rows] == [True, True, False, None]


def test_record_is_kept_as_it_was_logged() -> None:
    text = '{"eventVersion": "1.09",\t"eventTime":"2026-01-02T03:04:05Z", "eventName":"é", "eventSource":"s", "n": 1.0}'  # noqa: E501

    [parsed] = Reading(io.BytesIO(text.encode()), Place("o.json"))

    assert parsed.tables["api_activity"]["raw"].to_pylist() == [text]


def test_only_what_is_wanted_is_read() -> None:
    [parsed] = read(EVENT, wanted={"api_activity": frozenset({"operation"})})

    assert {name: table.to_pylist() for name, table in parsed.tables.items()} == {
        "api_activity": [{"operation": "CreateUser"}]
    }


def test_notification_of_s3_is_no_event() -> None:
    notification = EVENT | {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {}}

    assert not SOURCE.recognises(Sample("n.json", record=notification))
    assert SOURCE.recognises(Sample("e.json", record=EVENT))


def test_wrong_password_in_identity_center_is_a_login_that_failed() -> None:
    step = EVENT | {"eventSource": "signin.amazonaws.com", "eventName": "CredentialVerification"}
    details = [{"CredentialVerification": word} for word in ("Failure", "Success")]

    [parsed] = read(*(step | {"serviceEventDetails": one} for one in details))

    assert parsed.tables["authentication"].select(["activity", "status"]).to_pylist() == [
        {"activity": "Logon", "status": "Failure"}
    ]
    assert parsed.tables["api_activity"]["status"].to_pylist() == ["Failure", "Success"]
