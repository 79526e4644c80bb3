import json
from fnmatch import fnmatchcase
from typing import Any

import boto3
import botocore.session
import pytest
from pydantic import ValidationError

from activities.aws import _bucket_policy, _scp, restrict_account
from firedoor import errors
from firedoor.cloud.aws import Aws, connect
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import GLOBAL, Cloud, Kind, Principal, PrincipalType, Resource
from firedoor.model.plan import Outcome, Plan, Target, Verdict
from firedoor.settings import settings
from firedoor.testing import ACCOUNT, NOW

BREAK_GLASS = "arn:aws:iam::*:role/break-glass"
SCP = _scp.TYPE


@pytest.fixture
def office(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The organisation's management account, which is the lab's own."""
    monkeypatch.setenv("FIREDOOR_AWS_ROLE", "firedoor")
    settings.cache_clear()
    client = boto3.client("organizations")
    client.create_organization(FeatureSet="ALL")
    (root,) = client.list_roots()["Roots"]
    client.enable_policy_type(RootId=root["Id"], PolicyType=SCP)
    return client


@pytest.fixture
def member(office: Any) -> Aws:
    status = office.create_account(AccountName="shop", Email="shop@example.com")
    return connect(status["CreateAccountStatus"]["AccountId"], "us-east-1")


def _target(account: str, **members: Any) -> Target:
    where = {"cloud": Cloud.AWS, "account": account, "region": GLOBAL}
    subject = Resource(**where, kind=Kind.ACCOUNT, id=account)
    return Target(subject=subject, incident="aws/1", step="restrict", at=NOW, **members)


def _plan(member: Aws, **params: Any) -> Plan:
    given = restrict_account.Params(**({"exempt": (BREAK_GLASS,)} | params))
    (plan,) = restrict_account.plan(_target(member.account), given, member)
    return plan


def _attached(office: Any, member: Aws) -> list[str]:
    found = office.list_policies_for_target(TargetId=member.account, Filter=SCP)["Policies"]
    return [policy["Name"] for policy in found]


def _policies(office: Any) -> list[str]:
    return [policy["Name"] for policy in office.list_policies(Filter=SCP)["Policies"]]


def test_the_policy_denies_all_but_break_glass_and_ourselves(office: Any, member: Aws) -> None:
    plan = _plan(member)

    created = restrict_account.apply(plan, member).created

    content = office.describe_policy(PolicyId=created["policy"])["Policy"]["Content"]
    (statement,) = json.loads(content)["Statement"]
    assert _attached(office, member) == ["FullAWSAccess", plan.before["name"]]
    assert set(statement["Action"]) == set(_scp.DESTRUCTIVE)
    assert statement["Condition"]["ArnNotLike"]["aws:PrincipalArn"] == sorted(
        [BREAK_GLASS, *_bucket_policy.who_we_are(member.identity, "aws")]
    )
    assert restrict_account.verify(plan, member).verdict is Verdict.PROVEN


def test_it_is_done_in_the_management_account(office: Any, member: Aws) -> None:
    calls = (*_plan(member).calls, *_plan(member).undo)

    assert {(call.account, call.region) for call in calls} == {(ACCOUNT, "us-east-1")}


def test_a_delegate_is_asked_in_its_own_account(office: Any, member: Aws) -> None:
    status = office.create_account(AccountName="security", Email="security@example.com")
    delegate = status["CreateAccountStatus"]["AccountId"]

    params = restrict_account.Params(delegate=delegate)
    asked = restrict_account._office(_target(member.account), params, member)

    assert (asked.account, asked.region) == (delegate, "us-east-1")


def test_undo_leaves_nothing_behind(office: Any, member: Aws) -> None:
    before = (_attached(office, member), _policies(office))
    plan = _plan(member)

    restrict_account.apply(plan, member)
    again = restrict_account.apply(plan, member)
    restrict_account.revert(plan, member)
    repeated = restrict_account.revert(plan, member)

    assert (again.calls, repeated.calls) == ((), ())
    assert (_attached(office, member), _policies(office)) == before


def test_a_policy_that_was_there_is_used_and_kept(office: Any, member: Aws) -> None:
    first = _plan(member)
    restrict_account.apply(first, member)
    id = restrict_account._id(first, connect(ACCOUNT, "us-east-1"))
    office.detach_policy(PolicyId=id, TargetId=member.account)

    plan = _plan(member)
    restrict_account.apply(plan, member)
    restrict_account.revert(plan, member)

    assert [call.operation for call in plan.calls] == ["AttachPolicy"]
    assert plan.before["name"] in _policies(office)


def test_a_policy_that_others_use_by_now_is_kept(office: Any, member: Aws) -> None:
    plan = _plan(member)
    id = restrict_account.apply(plan, member).created["policy"]
    other = office.create_account(AccountName="b", Email="b@example.com")["CreateAccountStatus"]
    office.attach_policy(PolicyId=id, TargetId=other["AccountId"])

    left = restrict_account.revert(plan, member).left

    assert left == (f"policy/{plan.before['name']} is kept: others use it too",)
    assert _attached(office, member) == ["FullAWSAccess"]


def test_a_policy_that_says_something_else_is_refused(office: Any, member: Aws) -> None:
    name = str(_plan(member).before["name"])
    content = _scp.document(["s3:*"], [])
    office.create_policy(Name=name, Content=content, Description="", Type=SCP)

    assert "says something else" in _plan(member).refusals[0]


def test_a_policy_that_was_edited_is_drift_and_not_deleted(office: Any, member: Aws) -> None:
    plan = _plan(member)
    id = restrict_account.apply(plan, member).created["policy"]
    office.update_policy(PolicyId=id, Content=_scp.document(["s3:*"], []))

    verdict = restrict_account.verify(plan, member).verdict
    left = restrict_account.revert(plan, member).left

    assert verdict is Verdict.DRIFTED
    assert "content was changed since" in left[0]
    assert plan.before["name"] in _policies(office)


def test_attached_already_is_nothing_to_do(office: Any, member: Aws) -> None:
    restrict_account.apply(_plan(member), member)

    plan = _plan(member)

    assert (plan.changes, plan.calls, plan.undo) == ((), (), ())
    assert "already" in plan.summary


def test_the_management_account_is_refused(office: Any, aws: Aws) -> None:
    (plan,) = restrict_account.plan(_target(ACCOUNT), restrict_account.Params(), aws)

    assert "is the management account, which no service control policy binds" in plan.refusals[0]


def test_without_an_organisation_it_is_refused(aws: Aws) -> None:
    (plan,) = restrict_account.plan(_target(ACCOUNT), restrict_account.Params(), aws)

    assert "is in no organisation" in plan.refusals[0]


def test_an_account_that_left_is_refused(office: Any, member: Aws, lab: EmulatedAws) -> None:
    _fault(lab, "DescribeAccount", code="AccountNotFoundException", status=400)

    assert "no account of our organisation" in _plan(member).refusals[0]


def test_a_sixth_policy_is_refused(office: Any, member: Aws) -> None:
    for number in range(4):
        content = _scp.document(["s3:*"], [])
        policy = office.create_policy(Name=f"p{number}", Content=content, Description="", Type=SCP)[
            "Policy"
        ]["PolicySummary"]
        office.attach_policy(PolicyId=policy["Id"], TargetId=member.account)

    assert "5 service control policies attached, and 5 is the most" in _plan(member).refusals[0]


def test_policies_that_are_not_enabled_are_refused(office: Any, member: Aws) -> None:
    (root,) = office.list_roots()["Roots"]
    office.disable_policy_type(RootId=root["Id"], PolicyType=SCP)

    assert "are not enabled" in _plan(member).refusals[0]


def test_a_policy_that_is_too_long_is_refused(office: Any, member: Aws) -> None:
    actions = tuple(f"s3:{'A' * 60}{number}" for number in range(80))

    assert "5120 are allowed" in _plan(member, actions=actions).refusals[0]


def test_what_is_denied_by_default_leaves_room_for_many_exempt() -> None:
    exempt = [f"arn:aws:iam::*:role/{'x' * 64}{number}" for number in range(20)]

    assert len(_scp.document(_scp.DESTRUCTIVE, exempt)) <= _scp.MOST_CHARACTERS


# Rights of S3 that are named otherwise than the operation that needs them.
S3_RIGHTS = {
    "BypassGovernanceRetention",
    "DeleteObjectVersion",
    "PutLifecycleConfiguration",
    "PutReplicationConfiguration",
}


def test_what_is_denied_by_default_is_what_aws_calls_its_operations() -> None:
    """A policy with a prefix that no service has is taken by AWS, and denies nothing."""
    session = botocore.session.get_session()
    rights: dict[str, set[str]] = {"s3": set(S3_RIGHTS)}
    for service in session.get_available_services():
        model = session.get_service_model(service)
        rights.setdefault(model.endpoint_prefix, set()).update(model.operation_names)

    nothing = [
        denied
        for denied in _scp.DESTRUCTIVE
        for prefix, _, operations in [denied.partition(":")]
        if not any(fnmatchcase(right, operations) for right in rights.get(prefix, ()))
    ]

    assert nothing == []


def test_what_we_may_not_do_is_a_persons_task(office: Any, member: Aws, lab: EmulatedAws) -> None:
    _fault(lab, "ListPolicies", code="AccessDeniedException", status=400)

    plan = _plan(member)

    (task,) = plan.tasks
    assert "Firedoor may not restrict accounts" in plan.refusals[0]
    assert plan.calls == ()
    assert f"In account {ACCOUNT}, create the service control policy" in task
    assert '"Effect":"Deny"' in task


@pytest.mark.parametrize("operation", ["CreatePolicy", "AttachPolicy"])
def test_a_lost_answer_is_unknown_and_the_retry_reads_back(
    office: Any, member: Aws, lab: EmulatedAws, operation: str
) -> None:
    plan = _plan(member)
    _fault(lab, operation, kind="lost")

    with pytest.raises(errors.Unavailable) as caught:
        restrict_account.apply(plan, member)
    restrict_account.apply(plan, member)

    assert caught.value.made[-1].outcome is Outcome.UNKNOWN
    assert _policies(office).count(str(plan.before["name"])) == 1
    assert restrict_account.verify(plan, member).verdict is Verdict.PROVEN


@pytest.mark.parametrize("operation", ["CreatePolicy", "AttachPolicy"])
def test_an_apply_that_breaks_off_can_be_taken_back(
    office: Any, member: Aws, lab: EmulatedAws, operation: str
) -> None:
    before = (_attached(office, member), _policies(office))
    plan = _plan(member)
    _fault(lab, operation)

    with pytest.raises(errors.Unavailable):
        restrict_account.apply(plan, member)
    restrict_account.revert(plan, member)

    assert (_attached(office, member), _policies(office)) == before


def test_root_is_bound_and_service_linked_roles_are_not_and_both_are_told(
    office: Any, member: Aws
) -> None:
    plan = _plan(member)

    assert "its root too" in plan.blast_radius[0]
    assert "Not bound are service-linked roles" in plan.blast_radius[1]
    assert plan.touched.principals == (f"arn:aws:iam::{member.account}:root",)


def test_how_many_it_hits_is_told_unless_we_may_not_look(
    office: Any, member: Aws, lab: EmulatedAws
) -> None:
    member_iam = member.client("iam")
    roles = len(member_iam.list_roles()["Roles"])

    seen = _plan(member)
    fault = {"service": "iam", "operation": "GetAccountSummary", "status": 403}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDenied"})
    unseen = _plan(member)

    assert seen.blast_radius[0].startswith(f"All 0 users and {roles} role")
    assert unseen.blast_radius[0].startswith("All users and roles of")
    assert "who is in the account" in [c.name for c in unseen.preflight if not c.ok]


def test_an_organisation_that_is_gone_leaves_nothing_to_take_back(
    office: Any, member: Aws, lab: EmulatedAws
) -> None:
    plan = _plan(member)
    restrict_account.apply(plan, member)
    fault = {"service": "organizations", "operation": "ListPolicies", "status": 400}
    lab.control("POST", "firedoor/faults", fault | {"code": restrict_account.NOT_IN_USE})

    receipt = restrict_account.revert(plan, member)

    assert (receipt.calls, len(receipt.left)) == ((), 1)


def test_root_as_subject_is_its_account(office: Any, member: Aws) -> None:
    subject = Principal(
        cloud=Cloud.AWS,
        account=member.account,
        id="root/root",
        type=PrincipalType.ROOT,
        name="root",
    )
    target = _target(member.account).model_copy(update={"subject": subject})

    (plan,) = restrict_account.plan(target, restrict_account.Params(), member)

    assert [call.operation for call in plan.calls] == ["CreatePolicy", "AttachPolicy"]


def test_another_principal_is_refused(office: Any, member: Aws) -> None:
    subject = Principal(
        cloud=Cloud.AWS, account=member.account, id="user/a", type=PrincipalType.USER, name="a"
    )
    target = _target(member.account).model_copy(update={"subject": subject})

    (plan,) = restrict_account.plan(target, restrict_account.Params(), member)

    assert "revoke its credentials instead" in plan.refusals[0]


def test_without_break_glass_the_approver_is_warned(office: Any, member: Aws) -> None:
    plan = _plan(member, exempt=())

    assert [c.name for c in plan.preflight if not c.ok and "break" in c.name] == [
        "break-glass is exempt"
    ]


@pytest.mark.parametrize(
    "params",
    [
        {"exempt": ("break-glass",)},
        {"actions": ("delete all",)},
        {"actions": ()},
        {"delegate": "1"},
    ],
)
def test_params_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        restrict_account.Params(**params)


def _fault(lab: EmulatedAws, operation: str, **more: Any) -> None:
    what = {"service": "organizations", "operation": operation, **more}
    lab.control("POST", "firedoor/faults", what)
