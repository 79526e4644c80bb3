"""Throttled, cut and lost calls, by an injector that is none of ours, before two emulators.

What the clients make of such a call, and then whole actions, as Temporal tries them again.
"""

import functools
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from activities.aws import block_address, revoke_credentials
from firedoor import errors
from firedoor.action import Action
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws, connect
from firedoor.lab import scene as scenes
from firedoor.lab.drills import principal, resource
from firedoor.lab.server import REGION, EmulatedAws
from firedoor.model.finding import Kind, PrincipalType, Subject
from firedoor.model.plan import Call, Outcome, Plan, Target
from firedoor.settings import settings

pytestmark = pytest.mark.fetches

ACCOUNT = "123456789012"
VOLUME = Call(
    service="ec2",
    operation="CreateVolume",  # without a client token, whoever sends it twice has two
    parameters={"AvailabilityZone": "us-east-1a", "Size": 1},
)
FAULTS: dict[str, dict[str, Any]] = {
    "throttled": {"error": {"code": "RequestLimitExceeded", "status": 503}},
    "cut": {"reset": True},
    "lost": {"response": {"abort_bytes": 0}},
}
ANY = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ec2:*","Resource":"*"}}'
TRIES = 5


@pytest.fixture(scope="module", params=["moto", "ministack"])
def upstream(request: pytest.FixtureRequest, lab: EmulatedAws) -> str:
    """The endpoint of an emulator."""
    if request.param == "moto":
        return lab.endpoint
    endpoint: str = request.getfixturevalue("ministack")
    return endpoint


@pytest.fixture(scope="module")
def injector(upstream: str, kit: Any) -> Iterator[str]:
    """The endpoint of the injector before it."""
    port = kit.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = ("microburst", "--upstream", upstream, "--port", str(port))
    with kit.running(kit.MICROBURST, *command, health=f"{endpoint}/_microburst/health"):
        # It reads what it knows of AWS for its first call, longer than our clients wait.
        patient = Config(read_timeout=kit.PATIENCE * 3)
        sts = boto3.Session(ACCOUNT, "unchecked").client(
            "sts", REGION, endpoint_url=endpoint, config=patient
        )
        sts.get_caller_identity()
        yield endpoint


@pytest.fixture
def through(injector: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """The product's clients, whose calls all pass the injector."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", injector)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    settings.cache_clear()
    cloud.forget()
    yield connect(ACCOUNT, "us-east-1")
    cloud.forget()


def inject(kit: Any, injector: str, fault: str, where: str = "ec2:CreateVolume") -> None:
    """Let the next call of an operation go wrong."""
    service, _, operation = where.partition(":")
    rule = {"service": service, "operation": operation, "times": 1, **FAULTS[fault]}
    kit.ask(f"{injector}/_microburst/rules", json.dumps([rule]).encode())


def fail(aws: Aws) -> errors.CloudError:
    """Return the error of a call that must fail."""
    with pytest.raises(errors.CloudError) as failed, aws.only([VOLUME]):
        aws.call(VOLUME)
    return failed.value


def volumes(aws: Aws) -> int:
    return len(aws.client("ec2").describe_volumes()["Volumes"])


def test_throttled_call_is_not_made_and_not_repeated(through: Aws, injector: str, kit: Any) -> None:
    there = volumes(through)
    inject(kit, injector, "throttled")

    error = fail(through)

    assert (type(error), error.retryable) == (errors.Throttled, True)
    assert [made.outcome for made in error.made] == [Outcome.ERROR]
    assert volumes(through) == there


def test_call_that_is_cut_off_is_unknown_and_not_repeated(
    through: Aws, injector: str, kit: Any
) -> None:
    there = volumes(through)
    inject(kit, injector, "cut")

    error = fail(through)

    assert (type(error), error.retryable) == (errors.Unavailable, True)
    assert [made.outcome for made in error.made] == [Outcome.UNKNOWN]
    assert volumes(through) == there


def test_call_whose_answer_is_lost_is_unknown_and_made_once(
    through: Aws, injector: str, kit: Any
) -> None:
    there = volumes(through)
    inject(kit, injector, "lost")

    error = fail(through)

    assert (type(error), error.retryable) == (errors.Unavailable, True)
    assert [made.outcome for made in error.made] == [Outcome.UNKNOWN]
    assert volumes(through) == there + 1


# Whole actions


def persist(phase: Callable[[], Any]) -> int:
    """Try as Temporal does, and return how many tries that took."""
    for number in range(1, TRIES + 1):
        try:
            phase()
        except errors.FiredoorError as error:
            if not error.retryable:
                raise
        else:
            return number
    raise AssertionError(f"it was not done in {TRIES} tries")


def planned(subject: Subject, action: Action, params: dict[str, Any], aws: Aws) -> Plan:
    target = Target(subject=subject, incident="incident/1", step="step", at=datetime.now(UTC))
    (plan,) = action.plan(target, action.params.model_validate(params), aws)
    return plan


@pytest.mark.parametrize("upstream", ["moto"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
def test_address_is_blocked_once_and_unblocked_whatever_goes_wrong(
    through: Aws, injector: str, kit: Any, lab: EmulatedAws, fault: str
) -> None:
    lab.reset()
    web = scenes.build(boto3.Session()).web_id
    action = block_address.ACTION
    plan = planned(resource(Kind.INSTANCE, web), action, {"addresses": ["198.51.100.7"]}, through)
    before = acls(through)

    inject(kit, injector, fault, "ec2:CreateNetworkAclEntry")
    tries = persist(functools.partial(action.apply, plan, through))
    entries = [entry for acl in acls(through) for entry in acl["Entries"]]
    denied = [e.get("CidrBlock") for e in entries if e["RuleAction"] == "deny"]
    inject(kit, injector, fault, "ec2:DeleteNetworkAclEntry")
    more = persist(functools.partial(block_address.revert, plan, through))

    assert (tries, more) == (2, 2)
    assert denied.count("198.51.100.7/32") == len(plan.calls) == 2  # one for each direction
    assert acls(through) == before


@pytest.mark.parametrize("upstream", ["ministack"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
def test_key_is_dead_once_and_alive_again_whatever_goes_wrong(
    through: Aws, upstream: str, injector: str, kit: Any, fault: str
) -> None:
    kit.ask(f"{upstream}/_ministack/reset", b"")
    iam, key = root_of(upstream), user_with_key(upstream)
    before = policies(iam)
    action = revoke_credentials.ACTION
    plan = planned(principal(PrincipalType.USER, "bob"), action, {}, through)

    inject(kit, injector, fault, "iam:PutUserPolicy")
    tries = persist(functools.partial(action.apply, plan, through))
    revoked, during = is_alive(key), policies(iam)
    inject(kit, injector, fault, "iam:DeleteUserPolicy")
    more = persist(functools.partial(revoke_credentials.revert, plan, through))

    assert (tries, more) == (2, 2)
    assert (revoked, is_alive(key)) == (False, True)
    assert (len(during), policies(iam)) == (len(before) + 1, before)


def acls(aws: Aws) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = aws.client("ec2").describe_network_acls()["NetworkAcls"]
    return found


def root_of(upstream: str) -> Any:
    return boto3.Session(ACCOUNT, "unchecked").client("iam", REGION, endpoint_url=upstream)


def user_with_key(upstream: str) -> Any:
    """Make a user, and return a client of who has its key."""
    iam = root_of(upstream)
    iam.create_user(UserName="bob")
    iam.put_user_policy(UserName="bob", PolicyName="ec2", PolicyDocument=ANY)
    made = iam.create_access_key(UserName="bob")["AccessKey"]
    keys = made["AccessKeyId"], made["SecretAccessKey"]
    return boto3.Session(*keys).client("ec2", REGION, endpoint_url=upstream)


def policies(iam: Any) -> dict[str, Any]:
    """Return the policies of the user, by name."""
    names = iam.list_user_policies(UserName="bob")["PolicyNames"]
    return {
        name: iam.get_user_policy(UserName="bob", PolicyName=name)["PolicyDocument"]
        for name in names
    }


def is_alive(client: Any) -> bool:
    try:
        client.describe_vpcs()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (401, 403):
            raise
        return False
    return True
