"""The role that is assumed in other accounts: in whose name, for how long, or why not."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firedoor.cloud.roles import Role, credentials, session_name, source_identity
from firedoor.errors import AccessDenied, Unavailable

ARN = "arn:aws:iam::222222222222:role/firedoor-responder"
ROLE = Role("firedoor-responder", "f1redoor-example")

LONG = f"incident/aws/222222222222/global/principal/role/{'deploy/' * 9}production"


class Sts:
    """What answers AssumeRole, with credentials that last for so long."""

    def __init__(self, lasting: timedelta = timedelta(hours=1)) -> None:
        self.lasting = lasting
        self.asked: list[dict[str, str]] = []

    def assume_role(self, **request: str) -> dict[str, Any]:
        self.asked.append(request)
        given = {
            "AccessKeyId": f"ASIA{len(self.asked)}",
            "SecretAccessKey": "secret",
            "SessionToken": "token",
            "Expiration": datetime.now(UTC) + self.lasting,
        }
        return {"Credentials": given}


def key(sts: Sts, role: Role = ROLE, times: int = 1) -> str:
    """Return the access key that signs the last of some calls."""
    made = credentials(sts.assume_role, ARN, role, "an-incident", "alice")
    return [str(made.get_frozen_credentials().access_key) for _ in range(times)][-1]


@pytest.mark.parametrize(
    ("incident", "expected"),
    [
        (
            "incident/aws/123456789012/us-east-1/instance/i-0123456789abcdef0",
            "aws.123456789012.us-east-1.instance.i-0123456789abcdef0",
        ),
        ("incident/aws/123456789012/us-east-1/role/a b:c", "aws.123456789012.us-east-1.role.a-b-c"),
        ("", "firedoor"),
        ("x", "x-"),
    ],
)  # fmt: skip
def test_session_is_named_after_the_incident(incident: str, expected: str) -> None:
    assert session_name(incident) == expected


def test_long_names_keep_their_end_and_stay_different() -> None:
    name, other = session_name(LONG), session_name(LONG.replace("aws", "aws-cn"))

    assert re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)
    assert name == session_name(LONG)
    assert name.endswith(".deploy.production")
    assert name != other


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("alice@example.com", "alice@example.com"),
        ("", "firedoor"),
        ("Zoë of the night shift", "Zo--of-the-night-shift"),
    ],
)
def test_source_identity_is_who_decided(by: str, expected: str) -> None:
    assert source_identity(by) == expected


def test_sts_is_told_the_incident_who_decided_and_the_external_id() -> None:
    sts = Sts()

    key(sts)
    key(sts, Role("firedoor-responder", None))

    said = {"RoleArn": ARN, "RoleSessionName": "an-incident", "SourceIdentity": "alice"}
    assert sts.asked == [{**said, "ExternalId": "f1redoor-example"}, said]


def test_credentials_are_fetched_when_they_are_needed_and_then_kept() -> None:
    sts = Sts()

    credentials(sts.assume_role, ARN, ROLE, "an-incident", "alice")

    assert sts.asked == []
    assert key(sts, times=3) == "ASIA1"


def test_credentials_are_fetched_anew_before_they_end() -> None:
    sts = Sts(lasting=timedelta(minutes=9))

    assert key(sts, times=3) == "ASIA3"


def test_session_of_an_hour_lasts_on_when_sts_does_not_answer_near_its_end() -> None:
    sts = Sts(lasting=timedelta(minutes=14))
    made = credentials(sts.assume_role, ARN, ROLE, "an-incident", "alice")
    first = made.get_frozen_credentials().access_key

    sts.asked = [{}] * 10
    sts.lasting = None  # type: ignore[assignment]  # which it fails on
    kept = made.get_frozen_credentials().access_key

    assert (first, kept) == ("ASIA1", "ASIA1")


def test_refusal_says_which_role_where_and_what_to_do() -> None:
    def refuse(**_: str) -> None:
        raise AccessDenied("AccessDenied", "User: … is not authorized", "AssumeRole", "r-1")

    with pytest.raises(AccessDenied) as refused:
        credentials(refuse, ARN, ROLE, "an-incident", "alice").get_frozen_credentials()

    told = str(refused.value)
    assert "cannot act as role firedoor-responder in account 222222222222" in told
    assert all(word in told for word in ("sts:SetSourceIdentity", "iam role", "iam hub", "r-1"))
    assert "f1redoor-example" not in told


@pytest.mark.parametrize(
    "error",
    [
        AccessDenied("ExpiredToken", "expired", "AssumeRole"),
        Unavailable("ReadTimeoutError", "no answer", "AWS"),
    ],
    ids=lambda error: error.code,
)
def test_what_is_no_refusal_of_the_role_is_told_as_it_is(error: Exception) -> None:
    def fail(**_: str) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        credentials(fail, ARN, ROLE, "an-incident", "alice").get_frozen_credentials()

    assert raised.value is error
