"""Credentials that were revoked are dead, and others live, where IAM is enforced."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from activities.aws import revoke_credentials
from firedoor.cloud.aws import Aws, connect
from firedoor.cloud.policy_documents import rights
from firedoor.model.finding import Cloud, Principal, PrincipalType
from firedoor.model.plan import Plan, Target, Verdict

pytestmark = pytest.mark.fetches

ACTION = revoke_credentials.ACTION
MEMBER = "222222222222"
INCIDENT = "incident/aws/222222222222/global/principal/app"
ANY = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ec2:*","Resource":"*"}}'
TRUST = (
    '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole",'
    '"Principal":{"AWS":"arn:aws:iam::222222222222:root"}}}'
)

Session = Callable[[], Any]


@pytest.fixture
def member(accounts: Any) -> Aws:
    """Firedoor in the member account, with just the rights of this action."""
    accounts.grant(rights([ACTION.permissions]))
    return connect(MEMBER, "us-east-1", incident=INCIDENT)


@pytest.fixture
def app(accounts: Any) -> Session:
    """A role that an application has; each call begins a session of it."""
    iam = accounts.root("iam")
    iam.create_role(RoleName="app", AssumeRolePolicyDocument=TRUST)
    iam.put_role_policy(RoleName="app", PolicyName="ec2", PolicyDocument=ANY)

    def begin() -> Any:
        arn = f"arn:aws:iam::{MEMBER}:role/app"
        given = accounts.root("sts").assume_role(RoleArn=arn, RoleSessionName="app-1")[
            "Credentials"
        ]
        return accounts.client(
            "ec2", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
        )

    return begin


@pytest.fixture
def bob(accounts: Any) -> Any:
    """A user with an access key: the client of who has it."""
    iam = accounts.root("iam")
    iam.create_user(UserName="bob")
    iam.put_user_policy(UserName="bob", PolicyName="ec2", PolicyDocument=ANY)
    key = iam.create_access_key(UserName="bob")["AccessKey"]
    return accounts.client("ec2", key["AccessKeyId"], key["SecretAccessKey"])


def exchanged(accounts: Any, user: str) -> Any:
    """Return the client of who exchanged a further key of a user for a session token."""
    key = accounts.root("iam").create_access_key(UserName=user)["AccessKey"]
    sts = accounts.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
    given = sts.get_session_token()["Credentials"]
    return accounts.client(
        "ec2", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
    )


def planned(kind: PrincipalType, name: str, aws: Aws, at: datetime, **params: Any) -> Plan:
    subject = Principal(cloud=Cloud.AWS, account=MEMBER, type=kind, name=name, id=f"{kind}/{name}")
    target = Target(subject=subject, incident=INCIDENT, step="revoke", at=at)
    (plan,) = ACTION.plan(target, ACTION.params(**params), aws)
    return plan


def is_alive(client: Any) -> bool:
    try:
        client.describe_vpcs()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (401, 403):
            raise
        return False
    return True


def test_revoked_sessions_of_a_role_are_dead_and_new_ones_live(member: Aws, app: Session) -> None:
    old = app()
    cutoff = _next_second()
    plan = planned(PrincipalType.ROLE, "app", member, cutoff)
    before = is_alive(old)

    revoke_credentials.apply(plan, member)

    _wait_until(cutoff)
    assert (before, is_alive(old), is_alive(app())) == (True, False, True)


def test_released_sessions_of_a_role_live_again(member: Aws, app: Session) -> None:
    old = app()
    cutoff = _next_second()
    plan = planned(PrincipalType.ROLE, "app", member, cutoff)
    revoke_credentials.apply(plan, member)
    revoked = is_alive(old)

    revoke_credentials.revert(plan, member)

    assert (revoked, is_alive(old)) == (False, True)


def test_revoked_keys_of_a_user_are_dead_until_they_are_released(member: Aws, bob: Any) -> None:
    before = is_alive(bob)
    plan = planned(PrincipalType.USER, "bob", member, datetime.now(UTC))

    revoke_credentials.apply(plan, member)
    revoked = is_alive(bob)
    proof = revoke_credentials.verify(plan, member)
    revoke_credentials.revert(plan, member)

    assert (before, revoked, is_alive(bob)) == (True, False, True)
    assert proof.verdict is not Verdict.DRIFTED


@pytest.mark.parametrize("params", [{}, {"deny_all": False}], ids=["everything", "older"])
def test_token_that_the_keys_were_exchanged_for_is_dead(
    accounts: Any, member: Aws, bob: Any, params: dict[str, Any]
) -> None:
    token = exchanged(accounts, "bob")
    cutoff = _next_second()
    plan = planned(PrincipalType.USER, "bob", member, cutoff, **params)
    before = is_alive(token)

    revoke_credentials.apply(plan, member)

    _wait_until(cutoff)
    assert (before, is_alive(token), is_alive(bob)) == (True, False, False)


def test_inactive_key_alone_is_dead_and_what_it_was_exchanged_for_is_not(
    accounts: Any, bob: Any
) -> None:
    iam, token = accounts.root("iam"), exchanged(accounts, "bob")
    for key in iam.list_access_keys(UserName="bob")["AccessKeyMetadata"]:
        iam.update_access_key(UserName="bob", AccessKeyId=key["AccessKeyId"], Status="Inactive")

    assert (is_alive(bob), is_alive(token)) == (False, True)


def _next_second() -> datetime:
    """Return the first instant that is later than a session of now: those are in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)


def _wait_until(at: datetime) -> None:
    time.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))
