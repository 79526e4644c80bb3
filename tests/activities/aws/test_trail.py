"""CloudTrail's event history as a proof that a principal is quiet."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.stub import Stubber

from activities.aws import _trail, _window
from activities.aws._trail import Actor, quiet
from firedoor.cloud.aws import Aws
from firedoor.lab.scene import Scene
from firedoor.lab.server import ACCOUNT, EmulatedAws
from firedoor.model.plan import Verdict

NOW = datetime.now(UTC).replace(microsecond=0)
SINCE = NOW - timedelta(hours=1)
HERE = ("us-east-1",)

Put = Callable[..., None]


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trail, "PAUSE", 0.0)
    monkeypatch.setattr(_window, "WAIT", timedelta(minutes=30))


@pytest.fixture
def put(aws: Aws, lab: EmulatedAws) -> Put:
    """Let an event have happened, some minutes after `SINCE`."""

    def happened(minutes: float, who: dict[str, Any], **members: Any) -> None:
        at = f"{SINCE + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
        lab.control("POST", "firedoor/trail", {"eventTime": at, "userIdentity": who} | members)

    return happened


def user(name: str = "alice") -> dict[str, Any]:
    return {
        "type": "IAMUser",
        "arn": f"arn:aws:iam::{ACCOUNT}:user/{name}",
        "accountId": ACCOUNT,
        "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
        "userName": name,
    }


def session(
    name: str, role: str = "app", created: datetime = SINCE - timedelta(hours=1)
) -> dict[str, Any]:
    return {
        "type": "AssumedRole",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}",
        "accountId": ACCOUNT,
        "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "sessionContext": {
            "sessionIssuer": {"type": "Role", "userName": role},
            "attributes": {"creationDate": f"{created:%Y-%m-%dT%H:%M:%SZ}"},
        },
    }


def test_silence_that_lasts_is_proven(aws: Aws) -> None:
    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE)


def test_silence_is_pending_until_late_events_must_have_come(aws: Aws) -> None:
    window = quiet(aws, Actor(user="alice"), NOW - timedelta(minutes=40), NOW, regions=HERE)

    assert (window.verdict, window.due) == (Verdict.PENDING, NOW + timedelta(minutes=5))


def test_silence_from_before_it_was_applied_proves_nothing(aws: Aws) -> None:
    applied = NOW - timedelta(minutes=2)

    window = quiet(aws.after(applied), Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert (window.verdict, window.since) == (Verdict.PENDING, applied)


def test_silence_begins_with_the_last_call(aws: Aws, put: Put) -> None:
    put(5, user(), eventName="RunInstances")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert window.since == SINCE + timedelta(minutes=5)
    assert "last call that was not refused: ec2:RunInstances in us-east-1" in window.check.detail


def test_refused_calls_are_named_and_are_no_doing(aws: Aws, put: Put) -> None:
    put(50, user(), eventName="RunInstances", errorCode="Client.UnauthorizedOperation")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE)
    assert "1 call refused, last ec2:RunInstances" in window.check.detail


@pytest.mark.parametrize(
    ("members", "passed"),
    [
        (
            {"eventName": "DescribeInstances", "errorCode": "Client.InvalidInstanceID.NotFound"},
            True,
        ),
        ({"eventName": "RunInstances", "errorCode": "Client.DryRunOperation"}, True),
        ({"eventName": "RunInstances", "errorCode": "Client.RequestLimitExceeded"}, False),
        ({"eventSource": "sts.amazonaws.com", "eventName": "GetCallerIdentity"}, False),
        ({"eventName": "ConsoleLogin", "responseElements": {"ConsoleLogin": "Success"}}, True),
        ({"eventName": "ConsoleLogin", "responseElements": {"ConsoleLogin": "Failure"}}, False),
    ],
)
def test_what_shows_that_a_credential_still_works(
    aws: Aws, put: Put, members: dict[str, Any], passed: bool
) -> None:
    put(50, user(), **members)

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert (window.verdict is not Verdict.PROVEN) is passed


def test_actor_that_goes_on_for_long_is_unproven(aws: Aws, put: Put) -> None:
    put(50, user(), eventName="RunInstances")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert window.verdict is Verdict.UNPROVEN
    assert window.check.detail.startswith("user alice still acts")


def test_call_while_a_plan_may_wait_for_approval_is_pending(aws: Aws, put: Put) -> None:
    put(29, user(), eventName="RunInstances")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert (window.verdict, window.since) == (Verdict.PENDING, SINCE + timedelta(minutes=29))


def test_call_in_another_region_counts(aws: Aws, put: Put) -> None:
    put(50, user(), eventName="RunInstances", awsRegion="eu-west-1")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW)

    assert "RunInstances in eu-west-1" in window.check.detail


def test_session_that_has_the_name_of_a_user_is_somebody_else(aws: Aws, put: Put) -> None:
    put(50, session("alice"), eventName="RunInstances")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert window.verdict is Verdict.PROVEN


def test_sessions_of_a_role_are_found_by_their_beginning(aws: Aws, scene: Scene, put: Put) -> None:
    assumed = {"roleArn": scene.role_arn, "roleSessionName": scene.web_id}
    service = {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}
    put(-30, service, eventName="AssumeRole", requestParameters=assumed)
    put(10, session(scene.web_id, scene.role_name), eventName="RunInstances", awsRegion="eu-west-1")
    regions = ("us-east-1", "eu-west-1")

    window = quiet(aws, Actor(role=scene.role_name), SINCE, NOW, regions=regions)

    assert "RunInstances in eu-west-1" in window.check.detail


def test_session_whose_name_is_in_the_answer_is_found(aws: Aws, scene: Scene, put: Put) -> None:
    user = {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{scene.role_name}/eks-prod-web"}
    service = {"type": "AWSService", "invokedBy": "pods.eks.amazonaws.com"}
    put(
        -30,
        service,
        eventName="AssumeRoleForPodIdentity",
        requestParameters={"roleArn": scene.role_arn},
        responseElements={"assumedRoleUser": user},
    )
    put(50, session("eks-prod-web", scene.role_name), eventName="RunInstances")

    window = quiet(aws, Actor(role=scene.role_name), SINCE, NOW, regions=HERE)

    assert "still acts" in window.check.detail


def test_role_that_was_used_by_sessions_that_are_not_on_record_is_unproven(aws: Aws) -> None:
    used = {"LastUsedDate": NOW, "Region": "us-east-1"}
    role = {
        "Path": "/",
        "RoleName": "pool",
        "RoleId": "AROAIOSFODNN7EXAMPLE",
        "Arn": f"arn:aws:iam::{ACCOUNT}:role/pool",
        "CreateDate": SINCE,
        "RoleLastUsed": used,
    }
    with Stubber(aws.client("iam")) as stubber:
        stubber.add_response("get_role", {"Role": role})

        window = quiet(aws, Actor(role="pool"), SINCE, NOW, regions=HERE)

    assert window.verdict is Verdict.UNPROVEN
    assert "no session is on record" in window.check.detail


def test_federated_session_of_a_user_counts(aws: Aws, put: Put) -> None:
    federated = {
        "type": "FederatedUser",
        "arn": f"arn:aws:sts::{ACCOUNT}:federated-user/guest",
        "accountId": ACCOUNT,
        "sessionContext": {"sessionIssuer": {"type": "IAMUser", "userName": "alice"}},
    }
    put(-90, user(), eventName="GetFederationToken", requestParameters={"name": "guest"})
    put(50, federated, eventName="RunInstances")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert window.check.detail.startswith("user alice still acts")


def test_aws_opening_a_session_for_the_instance_is_no_call_of_the_role(
    aws: Aws, scene: Scene, put: Put
) -> None:
    assumed = {"roleArn": scene.role_arn, "roleSessionName": scene.web_id}
    service = {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}
    put(50, service, eventName="AssumeRole", requestParameters=assumed)

    window = quiet(aws, Actor(role=scene.role_name), SINCE, NOW, regions=HERE)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE)


def test_session_that_began_after_the_revocation_may_go_on(aws: Aws, put: Put) -> None:
    young = session("i-0abc", created=SINCE + timedelta(minutes=1))
    put(50, young, eventName="RunInstances")
    actor = Actor(role="app", session="i-0abc", issued_before=SINCE)

    window = quiet(aws, actor, SINCE, NOW, regions=HERE)

    assert (window.verdict, window.since) == (Verdict.PROVEN, SINCE)


def test_role_with_more_sessions_than_can_be_looked_up_is_unproven(
    aws: Aws, scene: Scene, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_trail, "MOST_SESSIONS", 1)
    for name in ("one", "two"):
        assumed = {"roleArn": scene.role_arn, "roleSessionName": name}
        put(-30, user(), eventName="AssumeRole", requestParameters=assumed)

    window = quiet(aws, Actor(role=scene.role_name), SINCE, NOW, regions=HERE)

    assert window.verdict is Verdict.UNPROVEN
    assert "has 2 sessions" in window.check.detail


def test_key_is_looked_up_by_itself(aws: Aws, put: Put) -> None:
    put(50, user("bob"), eventName="RunInstances")

    window = quiet(aws, Actor(keys=("AKIAIOSFODNN7EXAMPLE",)), SINCE, NOW, regions=HERE)

    assert window.check.detail.startswith("key AKIAIOSFODNN7EXAMPLE still acts")


def test_more_refusals_than_can_be_read_prove_only_the_time_that_was_read(
    aws: Aws, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_trail, "MOST_PAGES", 1)
    for _ in range(51):
        put(40, user(), errorCode="AccessDenied")

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert (window.verdict, window.since) == (Verdict.UNPROVEN, SINCE + timedelta(minutes=40))


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("ThrottlingException", 400, "try later"),
        ("AccessDeniedException", 400, "LookupEvents: AccessDeniedException"),
    ],
)
def test_history_that_cannot_be_read_proves_nothing(
    aws: Aws, lab: EmulatedAws, code: str, status: int, reason: str
) -> None:
    fault = {"service": "cloudtrail", "operation": "LookupEvents", "times": 9}
    lab.control("POST", "firedoor/faults", fault | {"code": code, "status": status})

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert window.verdict is Verdict.UNPROVEN
    assert reason in window.check.detail


def test_throttled_lookup_is_tried_again(aws: Aws, lab: EmulatedAws) -> None:
    fault = {"service": "cloudtrail", "operation": "LookupEvents", "times": 2}
    lab.control("POST", "firedoor/faults", fault | {"code": "ThrottlingException", "status": 400})

    window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=HERE)

    assert window.verdict is Verdict.PROVEN


def test_nobody_is_not_proven_to_be_quiet(aws: Aws) -> None:
    window = quiet(aws, Actor(), SINCE, NOW)

    assert window.verdict is Verdict.UNPROVEN


@pytest.mark.parametrize(
    ("why", "verdict"),
    [
        ("with an explicit deny in a service control policy", Verdict.PROVEN),
        ("because no identity-based policy allows the action", Verdict.UNPROVEN),
    ],
)
def test_region_counts_unless_it_is_closed_to_all(aws: Aws, why: str, verdict: Verdict) -> None:
    client = aws.elsewhere(region="eu-west-1").client("cloudtrail")
    with Stubber(client) as stubber:
        for _ in range(2):
            stubber.add_client_error("lookup_events", "AccessDeniedException", why)

        window = quiet(aws, Actor(user="alice"), SINCE, NOW, regions=("us-east-1", "eu-west-1"))

    assert window.verdict is verdict
