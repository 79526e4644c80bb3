"""Other accounts, entered by the product's own code, where IAM is enforced."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from activities.aws import revoke_credentials
from firedoor.cloud.aws import Aws, connect
from firedoor.cloud.policy_documents import Phase, rights
from firedoor.errors import AccessDenied
from firedoor.model.finding import Cloud, Principal, PrincipalType
from firedoor.model.plan import Call, Plan, Target, Verdict

pytestmark = pytest.mark.fetches

HUB = "123456789012"
MEMBER = "222222222222"
ROLE = "firedoor-responder"
INCIDENT = f"incident/aws/{MEMBER}/us-east-1/instance/i-0123456789abcdef0"
SESSION = f"aws.{MEMBER}.us-east-1.instance.i-0123456789abcdef0"
ANY = '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ec2:*","Resource":"*"}}'
ACTION = revoke_credentials.ACTION
NEEDED = ACTION.permissions


def member() -> Aws:
    return connect(MEMBER, "us-east-1", incident=INCIDENT, by="alice")


def principal(name: str, kind: PrincipalType = PrincipalType.USER) -> Principal:
    return Principal(cloud=Cloud.AWS, account=MEMBER, type=kind, name=name, id=f"{kind}/{name}")


def planned(subject: Principal, at: datetime | None = None) -> Plan:
    target = Target(subject=subject, incident=INCIDENT, step="revoke", at=at or datetime.now(UTC))
    (plan,) = ACTION.plan(target, ACTION.params(), member())
    return plan


@pytest.fixture
def key(accounts: Any) -> tuple[str, str]:
    """The access key of a user, who may read about EC2."""
    iam = accounts.root("iam")
    iam.create_user(UserName="bob")
    iam.put_user_policy(UserName="bob", PolicyName="ec2", PolicyDocument=ANY)
    made = iam.create_access_key(UserName="bob")["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def test_session_in_another_account_has_the_name_of_the_incident(accounts: Any) -> None:
    assert member().identity == f"arn:aws:sts::{MEMBER}:assumed-role/{ROLE}/{SESSION}"


def test_own_account_is_not_entered_by_a_role(accounts: Any) -> None:
    own = connect(HUB, "us-east-1", incident=INCIDENT, by="alice")

    assert own.identity == f"arn:aws:sts::{HUB}:assumed-role/firedoor/worker-1"
    assert own.elsewhere(account=MEMBER).identity == member().identity


@pytest.mark.parametrize(
    ("external_id", "told"),
    [
        (None, "without an external id, or else FIREDOOR_AWS_EXTERNAL_ID must be set"),
        (
            "somebody-elses",
            "with the external id that FIREDOOR_AWS_EXTERNAL_ID or the policy has for it",
        ),
    ],
    ids=["absent", "wrong"],
)
def test_external_id_is_demanded(
    accounts: Any, reconfigured: Callable[..., None], external_id: str | None, told: str
) -> None:
    reconfigured(aws_external_id=external_id)

    with pytest.raises(AccessDenied, match="cannot act as role firedoor-responder") as refused:
        member().client("ec2").describe_instances()

    assert told in str(refused.value)
    assert MEMBER in str(refused.value)


def test_missing_role_is_told(accounts: Any, reconfigured: Callable[..., None]) -> None:
    reconfigured(aws_role="nobody-made-this")

    with pytest.raises(AccessDenied, match="cannot act as role nobody-made-this in account 2222"):
        assert member().identity


def test_generated_policy_suffices_for_every_phase(accounts: Any, key: tuple[str, str]) -> None:
    accounts.grant(rights([NEEDED], own_role=ROLE))

    plan = planned(principal("bob"))
    applied = revoke_credentials.apply(plan, member())
    proof = revoke_credentials.verify(plan, member())
    reverted = revoke_credentials.revert(plan, member())

    assert (applied.calls and reverted.calls) != ()
    assert proof.verdict is not Verdict.DRIFTED


def test_generated_policy_allows_nothing_more(accounts: Any) -> None:
    accounts.grant(rights([NEEDED]))
    stray = Call(
        service="ec2", operation="TerminateInstances", parameters={"InstanceIds": ["i-0aaa"]}
    )

    with pytest.raises(AccessDenied, match="TerminateInstances"), member().only([stray]):
        member().call(stray)
    with pytest.raises(AccessDenied, match="ListUsers"):
        member().client("iam").list_users()


def test_rights_of_planning_do_not_allow_to_apply(accounts: Any, key: tuple[str, str]) -> None:
    accounts.grant(rights([NEEDED], [Phase.PLAN, Phase.VERIFY]))

    plan = planned(principal("bob"))

    assert plan.calls
    with pytest.raises(AccessDenied):
        revoke_credentials.apply(plan, member())


def test_role_cannot_change_itself(accounts: Any) -> None:
    accounts.grant(rights([NEEDED], own_role=ROLE))
    accounts.root("iam").create_role(RoleName="other", AssumeRolePolicyDocument=ANY)

    _put_policy("other")
    with pytest.raises(AccessDenied, match="PutRolePolicy"):
        _put_policy(ROLE)


def _put_policy(role: str) -> None:
    call = Call(
        service="iam",
        operation="PutRolePolicy",
        parameters={"RoleName": role, "PolicyName": "all", "PolicyDocument": ANY},
    )
    with member().only([call]):
        member().call(call)
