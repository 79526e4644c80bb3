"""Credentials that no policy of the account reaches: root, federated users, Identity Center."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from activities.aws import _trail, revoke_credentials
from activities.aws.revoke_credentials import Params, apply, revert, verify
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import ACCOUNT, EmulatedAws
from firedoor.model.finding import Cloud, Principal, PrincipalType
from firedoor.model.plan import Plan, Target, Verdict
from firedoor.settings import settings

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(hours=2)
RESERVED = "AWSReservedSSO_Operators_0123456789abcdef"
IN_ACCOUNT = "AwsSSOInlinePolicy"
# As its owner wrote it.
STANDING = """{"Version": "2012-10-17",
 "Statement": [{"Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"}]}"""


@pytest.fixture(autouse=True)
def _quickly(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing, in an account that has one region only."""
    monkeypatch.setattr(revoke_credentials, "SETTLE", ())
    monkeypatch.setattr(_trail, "PAUSE", 0.0)
    only = {"Regions": [{"RegionName": aws.region}]}

    def regions(**_: Any) -> Any:
        return AWSResponse("", 200, {}, None), only

    aws.client("ec2").meta.events.register("before-call.ec2.DescribeRegions", regions)


def principal(kind: PrincipalType, name: str) -> Principal:
    return Principal(cloud=Cloud.AWS, account=ACCOUNT, type=kind, name=name, id=f"{kind}/{name}")


def planned(subject: Principal, aws: Aws, **params: Any) -> Plan:
    target = Target(subject=subject, incident="incident/1", step="revoke", at=LONG_AGO)
    (plan,) = revoke_credentials.plan(target, Params(**params), aws)
    return plan


# Root and federated users


def test_root_is_refused_with_what_people_must_do_instead(aws: Aws) -> None:
    plan = planned(principal(PrincipalType.ROOT, "root"), aws)

    assert (plan.calls, len(plan.refusals)) == ((), 1)
    assert len(plan.tasks) == 4
    assert all(ACCOUNT in task and "Done when" in task for task in plan.tasks)
    assert "sts:AssumeRoot" in plan.tasks[1]


def test_unknown_principal_is_found_by_its_key(scene: Scene, aws: Aws) -> None:
    unknown = principal(PrincipalType.UNKNOWN, "unknown")

    plan = planned(unknown, aws, access_keys=(scene.access_key_id,))

    assert plan.lease == "user/alice"


def test_federated_user_that_nobody_knows_is_a_task(scene: Scene, aws: Aws) -> None:
    plan = planned(principal(PrincipalType.FEDERATED, "visitor"), aws)

    assert (plan.calls, len(plan.refusals)) == ((), 1)
    assert ["federated/visitor" in task for task in plan.tasks] == [True, True]


def test_federated_user_is_ended_with_the_user_who_got_the_token(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    event = {
        "eventTime": f"{LONG_AGO - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": "sts.amazonaws.com",
        "eventName": "GetFederationToken",
        "requestParameters": {"name": "visitor"},
        "userIdentity": {"type": "IAMUser", "arn": scene.user_arn, "userName": "alice"},
    }
    lab.control("POST", "firedoor/trail", event)

    plan = planned(principal(PrincipalType.FEDERATED, "visitor"), aws)

    assert plan.lease == "user/alice"
    assert "who got the session of federated/visitor" in plan.summary
    assert [call.operation for call in plan.calls] == ["PutUserPolicy", "UpdateAccessKey"]


# IAM Identity Center


@pytest.fixture
def center(scene: Scene) -> dict[str, str]:
    """Identity Center with a permission set, its role in the account, and a user."""
    sso, identities = boto3.client("sso-admin"), boto3.client("identitystore")
    instance = sso.list_instances()["Instances"][0]
    set_ = sso.create_permission_set(Name="Operators", InstanceArn=instance["InstanceArn"])
    found = {
        "InstanceArn": instance["InstanceArn"],
        "PermissionSetArn": set_["PermissionSet"]["PermissionSetArn"],
    }
    sso.put_inline_policy_to_permission_set(**found, InlinePolicy=STANDING)
    user = identities.create_user(
        IdentityStoreId=instance["IdentityStoreId"],
        UserName="carol@example.com",
        DisplayName="Carol",
        Name={"GivenName": "Carol", "FamilyName": "Example"},
    )
    boto3.client("iam").create_role(
        RoleName=RESERVED, Path="/aws-reserved/sso.amazonaws.com/", AssumeRolePolicyDocument="{}"
    )
    sso.provision_permission_set(**found, TargetType="ALL_PROVISIONED_ACCOUNTS")
    return {**found, "user": user["UserId"]}


def operators(aws: Aws, **params: Any) -> Plan:
    where = {"account": ACCOUNT, "region": "us-east-1", "user": "carol@example.com"}
    return planned(
        principal(PrincipalType.ROLE, RESERVED), aws, **{"identity_center": where, **params}
    )


def policy(center: dict[str, str]) -> str:
    own = {name: center[name] for name in ("InstanceArn", "PermissionSetArn")}
    found = boto3.client("sso-admin").get_inline_policy_for_permission_set(**own)
    return str(found["InlinePolicy"])


def in_account() -> Any:
    iam = boto3.client("iam")
    return iam.get_role_policy(RoleName=RESERVED, PolicyName=IN_ACCOUNT)["PolicyDocument"]


def test_role_of_identity_center_is_refused_and_the_work_given_to_people(
    center: dict[str, str], aws: Aws
) -> None:
    plan = operators(aws, identity_center=None)

    assert plan.calls == ()
    assert "belongs to IAM Identity Center" in plan.refusals[0]
    assert "identitystore:UserId" in plan.tasks[0]
    assert "unassigning alone ends none" in plan.tasks[1]
    assert all("Done when" in task for task in plan.tasks)


def test_permission_set_denies_one_user_and_is_put_back_byte_for_byte(
    center: dict[str, str], aws: Aws
) -> None:
    plan = operators(aws)

    apply(plan, aws)
    during, proof = in_account(), verify(plan, aws)
    revert(plan, aws)

    assert during["Statement"][-1]["Condition"] == {
        "StringEquals": {"identitystore:UserId": center["user"]},
        "DateLessThan": {"aws:TokenIssueTime": f"{LONG_AGO:%Y-%m-%dT%H:%M:%SZ}"},
    }
    assert proof.verdict is Verdict.PROVEN
    assert policy(center) == STANDING
    assert in_account() == json.loads(STANDING)
    steps = ["PutInlinePolicyToPermissionSet", "ProvisionPermissionSet"]
    assert [call.operation for call in plan.calls] == steps
    assert [call.operation for call in plan.undo] == steps


def test_portal_session_is_told_open_and_left_to_people(center: dict[str, str], aws: Aws) -> None:
    plan = operators(aws)
    apply(plan, aws)

    is_open = {one.credential: one.open for one in verify(plan, aws).residual}

    before = f"{LONG_AGO:%Y-%m-%dT%H:%M:%SZ}"
    sessions = f"role sessions of permission-set/Operators begun before {before}"
    assert is_open == {
        sessions: False,
        "access portal session": True,
        "role sessions of carol@example.com by other permission sets": False,
        "proof of who it is, by sts:GetCallerIdentity": False,
        "sessions of other roles that it began": False,
    }
    assert len(plan.tasks) == 3


def test_other_permission_sets_of_the_user_are_told_open(center: dict[str, str], aws: Aws) -> None:
    sso, instance = boto3.client("sso-admin"), {"InstanceArn": center["InstanceArn"]}
    admins = sso.create_permission_set(Name="Admins", **instance)["PermissionSet"]
    for arn, accounts in {
        center["PermissionSetArn"]: (ACCOUNT,),
        admins["PermissionSetArn"]: (ACCOUNT, "222222222222"),
    }.items():
        for account in accounts:
            sso.create_account_assignment(
                **instance,
                TargetId=account,
                TargetType="AWS_ACCOUNT",
                PermissionSetArn=arn,
                PrincipalType="USER",
                PrincipalId=center["user"],
            )
    plan = operators(aws)
    apply(plan, aws)

    told = "role sessions of carol@example.com by other permission sets"
    (left,) = [one for one in verify(plan, aws).residual if one.credential == told]

    assert (left.state, left.open) == ("are not denied: revoke Admins in 2 accounts too", True)
    assert left.state in [
        c.detail.partition(", until")[0] for c in plan.preflight if told in c.name
    ]


def test_permission_sets_of_nobody_in_particular_are_not_known(
    center: dict[str, str], aws: Aws
) -> None:
    plan = operators(aws, identity_center={"account": ACCOUNT, "region": "us-east-1"})

    told = {check.name: (check.ok, check.detail) for check in plan.preflight}

    ok, detail = told["afterwards, role sessions of whoever acted by other permission sets"]
    assert (ok, detail.partition(",")[0]) == (
        False,
        "not known: no user is named whose they could be",
    )


def test_provisioning_that_failed_is_made_good_by_a_retry(
    center: dict[str, str], aws: Aws, lab: EmulatedAws
) -> None:
    plan = operators(aws)
    fault = {"service": "sso", "operation": "ProvisionPermissionSet", "kind": "dropped"}
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(Unavailable):
        apply(plan, aws)
    drifted = verify(plan, aws).verdict
    retried = apply(plan, aws)

    assert drifted is Verdict.DRIFTED
    assert [call.operation for call in retried.calls] == ["ProvisionPermissionSet"]
    assert verify(plan, aws).verdict is Verdict.PROVEN


def test_deny_that_never_came_into_the_account_is_provisioned(
    center: dict[str, str], aws: Aws, lab: EmulatedAws
) -> None:
    fault = {"service": "sso", "operation": "ProvisionPermissionSet", "kind": "dropped"}
    lab.control("POST", "firedoor/faults", fault)
    with pytest.raises(Unavailable):
        apply(operators(aws), aws)

    plan = operators(aws)
    apply(plan, aws)

    assert [call.operation for call in plan.calls] == ["ProvisionPermissionSet"]
    assert verify(plan, aws).verdict is Verdict.PROVEN
    assert [call.operation for call in revert(plan, aws).calls] == ["ProvisionPermissionSet"]


def test_rights_are_asked_for_where_identity_center_is(center: dict[str, str], aws: Aws) -> None:
    (asked,) = (c.name for c in operators(aws).preflight if c.name.startswith("may "))

    assert asked == "may sso:ProvisionPermissionSet, sso:PutInlinePolicyToPermissionSet"


def test_half_done_is_taken_back_in_the_accounts_too(
    center: dict[str, str], aws: Aws, lab: EmulatedAws
) -> None:
    plan = operators(aws)
    fault = {"service": "sso", "operation": "ProvisionPermissionSet", "kind": "dropped"}
    lab.control("POST", "firedoor/faults", fault)
    with pytest.raises(Unavailable):
        apply(plan, aws)

    receipt = revert(plan, aws)

    assert [call.operation for call in receipt.calls] == [call.operation for call in plan.undo]
    assert (policy(center), in_account()) == (STANDING, json.loads(STANDING))


def test_permission_set_changed_since_planning_makes_the_plan_stale(
    center: dict[str, str], aws: Aws
) -> None:
    plan = operators(aws)
    own = {name: center[name] for name in ("InstanceArn", "PermissionSetArn")}
    other = STANDING.replace("ec2:", "s3:")
    boto3.client("sso-admin").put_inline_policy_to_permission_set(**own, InlinePolicy=other)

    with pytest.raises(PlanStale):
        apply(plan, aws)

    assert policy(center) == other


@pytest.mark.parametrize(
    ("where", "why"),
    [({"user": "nobody@example.com"}, "no user nobody"), ({"role": "Other"}, "no permission set")],
)
def test_who_or_what_identity_center_does_not_know_is_a_task(
    center: dict[str, str], aws: Aws, where: dict[str, str], why: str
) -> None:
    name = RESERVED.replace("Operators", where.get("role", "Operators"))
    if "role" in where:
        boto3.client("iam").create_role(
            RoleName=name, Path="/aws-reserved/sso.amazonaws.com/", AssumeRolePolicyDocument="{}"
        )
    user = where.get("user", "carol@example.com")
    place = {"account": ACCOUNT, "region": "us-east-1", "user": user}

    plan = planned(principal(PrincipalType.ROLE, name), aws, identity_center=place)

    assert why in plan.refusals[0]
    assert (plan.calls, len(plan.tasks)) == ((), 4)


def test_calls_name_the_account_that_administers_identity_center(
    center: dict[str, str], aws: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREDOOR_AWS_ROLE", "firedoor")
    settings.cache_clear()
    cloud.forget()
    member = cloud.connect("222222222222", "us-east-1")
    boto3.client("iam", **credentials("222222222222")).create_role(
        RoleName=RESERVED, Path="/aws-reserved/sso.amazonaws.com/", AssumeRolePolicyDocument="{}"
    )

    plan = operators(member)
    apply(plan, member)

    assert {(call.account, call.region) for call in plan.calls} == {(ACCOUNT, "us-east-1")}
    assert {call.account for call in plan.undo} == {ACCOUNT}
    found = member.client("iam").get_role_policy(RoleName=RESERVED, PolicyName=IN_ACCOUNT)
    assert found["PolicyDocument"]["Statement"][-1]["Effect"] == "Deny"


def credentials(account: str) -> dict[str, str]:
    role = f"arn:aws:iam::{account}:role/any"
    got = boto3.client("sts").assume_role(RoleArn=role, RoleSessionName="lab")["Credentials"]
    return {
        "aws_access_key_id": got["AccessKeyId"],
        "aws_secret_access_key": got["SecretAccessKey"],
        "aws_session_token": got["SessionToken"],
    }
