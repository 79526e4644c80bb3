"""Revoking the credentials of users and roles, against the emulated AWS."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from activities.aws import _denials, _trail, revoke_credentials
from activities.aws.revoke_credentials import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, PlanStale, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Principal, PrincipalType, Resource
from firedoor.model.plan import Check, Plan, Proof, Target, Verdict

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
CUTOFF = "2026-01-01T12:00:00Z"
OLDER = "FiredoorRevokeOlderSessions"
DENY_ALL = "FiredoorDenyAll"
KEY_STATUS = "access key status"


@pytest.fixture(autouse=True)
def _quickly(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing, in an account that has one region only."""
    monkeypatch.setattr(revoke_credentials, "SETTLE", ())
    monkeypatch.setattr(_trail, "PAUSE", 0.0)
    only = {"Regions": [{"RegionName": aws.region}]}
    events = aws.client("ec2").meta.events
    events.register(
        "before-call.ec2.DescribeRegions", lambda **_: (AWSResponse("", 200, {}, None), only)
    )


@pytest.fixture
def iam(scene: Scene) -> Any:
    """The clients of somebody else, who changes what they like."""
    return boto3.client("iam")


def principal(kind: PrincipalType, name: str, account: str = "123456789012") -> Principal:
    return Principal(cloud=Cloud.AWS, account=account, type=kind, name=name, id=f"{kind}/{name}")


def user(name: str = "alice") -> Principal:
    return principal(PrincipalType.USER, name)


def role(name: str) -> Principal:
    return principal(PrincipalType.ROLE, name)


def instance(scene: Scene, id: str) -> Resource:
    return Resource(
        cloud=Cloud.AWS, account=scene.account, region=scene.region, kind=Kind.INSTANCE, id=id
    )


def planned(subject: Principal | Resource, aws: Aws, at: datetime = AT, **params: Any) -> Plan:
    target = Target(subject=subject, incident="incident/1", step="revoke", at=at)
    (plan,) = revoke_credentials.plan(target, Params(**params), aws)
    return plan


def second_key(iam: Any, status: str = "Active") -> str:
    key = str(iam.create_access_key(UserName="alice")["AccessKey"]["AccessKeyId"])
    iam.update_access_key(UserName="alice", AccessKeyId=key, Status=status)
    return key


def statuses(iam: Any) -> dict[str, str]:
    keys = iam.list_access_keys(UserName="alice")["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in keys}


def user_policy(iam: Any, name: str = DENY_ALL) -> Any:
    return iam.get_user_policy(UserName="alice", PolicyName=name)["PolicyDocument"]


def user_policies(iam: Any) -> list[str]:
    return list(iam.list_user_policies(UserName="alice")["PolicyNames"])


def role_policies(iam: Any, scene: Scene) -> list[str]:
    return list(iam.list_role_policies(RoleName=scene.role_name)["PolicyNames"])


def residual(proof: Proof, credential: str) -> tuple[str, datetime | None, bool]:
    (found,) = (one for one in proof.residual if one.credential == credential)
    return found.state, found.until, found.open


def failed(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if not check.ok]


# A user


def test_plan_turns_off_every_active_key_and_denies_everything(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    other = second_key(iam)

    plan = planned(user(), aws)

    keys = sorted([scene.access_key_id, other])
    assert [(c.resource, c.attribute, c.before) for c in plan.changes[:1]] == [
        ("user/alice", f"inline policy {DENY_ALL}", None)
    ]
    assert sorted((c.resource, c.before, c.after) for c in plan.changes[1:]) == [
        (key, "Active", "Inactive") for key in keys
    ]
    assert [c.operation for c in plan.calls] == ["PutUserPolicy", *["UpdateAccessKey"] * 2]
    assert [c.operation for c in plan.undo] == [*["UpdateAccessKey"] * 2, "DeleteUserPolicy"]
    assert (plan.lease, plan.refusals, plan.lost) == ("user/alice", (), ())
    assert plan.touched.principals == (scene.user_arn,)


def test_applied_plan_is_proven_and_reverts_to_exactly_the_state_before(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    off = second_key(iam, "Inactive")
    plan = planned(user(), aws)

    applied = apply(plan, aws)
    proof = verify(plan, aws)
    during = statuses(iam)
    reverted = revert(plan, aws)

    assert during == {scene.access_key_id: "Inactive", off: "Inactive"}
    assert proof.verdict is Verdict.PROVEN
    assert statuses(iam) == {scene.access_key_id: "Active", off: "Inactive"}
    assert user_policies(iam) == ["operator"]
    assert [c.operation for c in applied.calls] == ["PutUserPolicy", "UpdateAccessKey"]
    assert [c.operation for c in reverted.calls] == ["UpdateAccessKey", "DeleteUserPolicy"]


def test_keys_are_dead_once_applied_and_alive_again_once_reverted(scene: Scene, aws: Aws) -> None:
    session = boto3.Session(scene.access_key_id, scene.secret_access_key)
    plan = planned(user(), aws)

    apply(plan, aws)
    with pytest.raises(ClientError, match=r"InvalidClientTokenId|AuthFailure|AccessDenied"):
        session.client("ec2").describe_instances()
    revert(plan, aws)

    assert session.client("ec2").describe_instances()["Reservations"] != []


def test_applying_and_reverting_twice_makes_each_call_once(scene: Scene, aws: Aws) -> None:
    plan = planned(user(), aws)

    apply(plan, aws)
    again = apply(plan, aws)
    revert(plan, aws)
    reverted_again = revert(plan, aws)

    assert (again.calls, reverted_again.calls, reverted_again.left) == ((), (), ())


def test_retry_finishes_what_a_lost_answer_left_half_done(
    scene: Scene, iam: Any, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(user(), aws)
    fault = {"service": "iam", "operation": "PutUserPolicy", "kind": "lost"}
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(Unavailable):
        apply(plan, aws)
    retried = apply(plan, aws)

    assert [call.operation for call in retried.calls] == ["UpdateAccessKey"]
    assert verify(plan, aws).verdict is Verdict.PROVEN


def test_rule_18_cutoff_is_in_utc_whatever_the_zone_of_the_machine(
    scene: Scene, iam: Any, aws: Aws, elsewhere: None
) -> None:
    at = AT.astimezone(timezone(timedelta(hours=-5)))
    apply(planned(user(), aws, at, deny_all=False), aws)

    condition = user_policy(iam, OLDER)["Statement"][0]["Condition"]
    assert condition == {"DateLessThan": {"aws:TokenIssueTime": CUTOFF}}


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock is set to New York."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


def test_margin_also_ends_what_begins_while_people_decide(scene: Scene, aws: Aws) -> None:
    plan = planned(user(), aws, deny_all=False, margin=timedelta(minutes=15))

    document: Any = plan.changes[0].after
    condition = document["Statement"][0]["Condition"]
    assert condition["DateLessThan"]["aws:TokenIssueTime"] == "2026-01-01T12:15:00Z"


def test_deny_all_reaches_what_carries_no_time_of_issue(scene: Scene, iam: Any, aws: Aws) -> None:
    apply(planned(user(), aws), aws)

    statement = user_policy(iam)["Statement"][0]
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "*", "*")
    assert "Condition" not in statement
    assert sorted(user_policies(iam)) == [DENY_ALL, "operator"]


def test_rotation_leaves_the_keys_off(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(user(), aws, rotate=True)
    apply(plan, aws)

    receipt = revert(plan, aws)

    assert [call.operation for call in plan.undo] == ["DeleteUserPolicy"]
    assert plan.lost == (f"{scene.access_key_id} stays inactive after release, to be rotated",)
    assert statuses(iam) == {scene.access_key_id: "Inactive"}
    assert receipt.left == (f"{scene.access_key_id} stays inactive, to be rotated",)


def test_key_made_after_containment_is_drift(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(user(), aws)
    apply(plan, aws)

    made = second_key(iam)
    proof = verify(plan, aws)

    assert proof.verdict is Verdict.DRIFTED
    assert f"access key {made}" in failed(proof.checks)


def test_key_turned_on_after_containment_is_drift(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(user(), aws)
    apply(plan, aws)

    iam.update_access_key(UserName="alice", AccessKeyId=scene.access_key_id, Status="Active")
    proof = verify(plan, aws)

    assert proof.verdict is Verdict.DRIFTED
    assert f"{scene.access_key_id} {KEY_STATUS}" in failed(proof.checks)


def test_policy_removed_after_containment_is_drift(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(user(), aws)
    apply(plan, aws)

    iam.delete_user_policy(UserName="alice", PolicyName=DENY_ALL)
    proof = verify(plan, aws)

    assert proof.verdict is Verdict.DRIFTED
    assert failed(proof.checks) == [f"user/alice inline policy {DENY_ALL}"]


def test_key_turned_on_since_planning_makes_the_plan_stale(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    other = second_key(iam, "Inactive")
    plan = planned(user(), aws)
    iam.update_access_key(UserName="alice", AccessKeyId=other, Status="Active")

    with pytest.raises(PlanStale, match=other):
        apply(plan, aws)

    assert user_policies(iam) == ["operator"]


def test_key_deleted_since_planning_makes_the_plan_stale(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(user(), aws)
    iam.delete_access_key(UserName="alice", AccessKeyId=scene.access_key_id)

    with pytest.raises(PlanStale, match=scene.access_key_id):
        apply(plan, aws)


def test_policy_changed_since_planning_makes_the_plan_stale(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(user(), aws)
    other = json.dumps(_denials.older_sessions(AT))
    iam.put_user_policy(UserName="alice", PolicyName=DENY_ALL, PolicyDocument=other)

    with pytest.raises(PlanStale):
        apply(plan, aws)

    assert statuses(iam) == {scene.access_key_id: "Active"}


def test_revert_leaves_alone_what_somebody_changed_since(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(user(), aws)
    apply(plan, aws)
    iam.delete_access_key(UserName="alice", AccessKeyId=scene.access_key_id)
    theirs = json.dumps(_denials.older_sessions(AT))
    iam.put_user_policy(UserName="alice", PolicyName=DENY_ALL, PolicyDocument=theirs)

    receipt = revert(plan, aws)

    assert receipt.calls == ()
    assert len(receipt.left) == 2
    assert user_policy(iam) == _denials.older_sessions(AT)


def test_older_cutoff_of_ours_is_moved_on_and_put_back(scene: Scene, iam: Any, aws: Aws) -> None:
    older = _denials.older_sessions(AT - timedelta(days=1))
    iam.put_user_policy(UserName="alice", PolicyName=OLDER, PolicyDocument=json.dumps(older))
    plan = planned(user(), aws, deny_all=False)

    apply(plan, aws)
    during = user_policy(iam, OLDER)
    revert(plan, aws)

    assert during == _denials.older_sessions(AT)
    assert user_policy(iam, OLDER) == older


def test_later_cutoff_of_ours_is_left_alone(scene: Scene, iam: Any, aws: Aws) -> None:
    later = _denials.older_sessions(AT + timedelta(days=1))
    iam.put_user_policy(UserName="alice", PolicyName=OLDER, PolicyDocument=json.dumps(later))

    plan = planned(user(), aws, deny_all=False)

    assert [call.operation for call in plan.calls] == ["UpdateAccessKey"]


def test_plan_still_holds_when_a_later_one_moved_the_cutoff_on(scene: Scene, aws: Aws) -> None:
    first = planned(user(), aws, deny_all=False)
    apply(first, aws)
    second = planned(user(), aws, AT + timedelta(hours=1), deny_all=False)

    apply(second, aws)

    assert verify(first, aws).verdict is Verdict.PROVEN
    revert(second, aws)
    assert revert(first, aws).left == ()


def test_policy_under_our_name_of_other_making_is_refused(scene: Scene, iam: Any, aws: Aws) -> None:
    theirs = json.dumps(_denials.one_instance("arn:aws:ec2:us-east-1:123456789012:instance/i-1"))
    iam.put_user_policy(UserName="alice", PolicyName=DENY_ALL, PolicyDocument=theirs)

    plan = planned(user(), aws)

    assert "not as Firedoor makes it" in plan.refusals[0]


def test_nothing_to_revoke_is_a_plan_without_calls(scene: Scene, aws: Aws) -> None:
    apply(planned(user(), aws), aws)

    plan = planned(user(), aws)

    assert (plan.changes, plan.calls, plan.undo, plan.refusals) == ((), (), (), ())
    assert plan.summary == "Nothing to revoke: all of it is so already."
    assert apply(plan, aws).calls == ()
    assert verify(plan, aws).verdict is Verdict.PROVEN


def test_keys_are_turned_off_where_there_is_no_room_for_a_policy(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    fill(iam.put_user_policy, 1_950, UserName="alice", PolicyName="large")
    plan = planned(user(), aws)

    receipt = apply(plan, aws)

    (task,) = plan.tasks
    assert (plan.refusals, [call.operation for call in receipt.calls]) == ((), ["UpdateAccessKey"])
    assert "AWSDenyAll" in task
    assert "2048 are allowed" in task
    assert plan.summary == "Turn off 1 access key of user/alice; nothing is denied."
    open_still = [one.credential for one in verify(plan, aws).residual if one.open]
    assert "sessions by GetSessionToken" in open_still


def test_user_quota_that_leaves_nothing_to_be_done_is_refused(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    fill(iam.put_user_policy, 1_950, UserName="alice", PolicyName="large")
    iam.update_access_key(UserName="alice", AccessKeyId=scene.access_key_id, Status="Inactive")

    plan = planned(user(), aws)

    assert "2048 are allowed" in plan.refusals[0]


def test_ways_in_that_stay_open_are_named(scene: Scene, iam: Any, aws: Aws) -> None:
    iam.create_login_profile(UserName="alice", Password="correct-horse-battery-9!A")
    plan = planned(user(), aws, deny_all=False)
    apply(plan, aws)

    proof = verify(plan, aws)

    told = "sign-in stays possible, with 0 MFA devices"
    assert Check(name="afterwards, console password", ok=False, detail=told) in plan.preflight
    assert residual(proof, "console password") == (told, None, True)
    assert proof.verdict is Verdict.PROVEN


def test_deny_all_leaves_no_way_in(scene: Scene, iam: Any, aws: Aws) -> None:
    iam.create_login_profile(UserName="alice", Password="correct-horse-battery-9!A")
    plan = planned(user(), aws)
    apply(plan, aws)

    assert [one for one in verify(plan, aws).residual if one.open] == []


def test_quarantine_by_aws_is_left_alone_and_mentioned(scene: Scene, iam: Any, aws: Aws) -> None:
    policy = iam.create_policy(
        PolicyName="AWSCompromisedKeyQuarantineV3", PolicyDocument=json.dumps(_denials.everything())
    )["Policy"]
    iam.attach_user_policy(UserName="alice", PolicyArn=policy["Arn"])

    plan = planned(user(), aws)

    assert any(line.startswith("AWSCompromisedKeyQuarantineV3") for line in plan.blast_radius)
    assert {call.operation for call in plan.calls} == {"PutUserPolicy", "UpdateAccessKey"}


def test_user_that_is_gone_is_refused(scene: Scene, aws: Aws) -> None:
    plan = planned(user("nobody"), aws)

    assert (plan.refusals, plan.gone) == (("user/nobody does not exist",), True)


@pytest.mark.parametrize(
    "kind", sorted(set(PrincipalType) - {PrincipalType.USER, PrincipalType.ROLE})
)
def test_what_no_policy_of_ours_binds_is_refused(kind: PrincipalType, aws: Aws) -> None:
    plan = planned(principal(kind, "someone"), aws)

    assert (len(plan.refusals), plan.calls) == (1, ())


# A role


def test_role_is_denied_by_a_policy_of_our_own_name(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(role(scene.role_name), aws)

    apply(plan, aws)
    during = role_policies(iam, scene)
    proof = verify(plan, aws)
    revert(plan, aws)

    assert sorted(during) == [OLDER, "read-reports"]
    assert proof.verdict is Verdict.PROVEN
    assert role_policies(iam, scene) == ["read-reports"]
    assert plan.lease == f"role/{scene.role_name}"


def test_role_plan_counts_the_instances_that_have_it(scene: Scene, aws: Aws) -> None:
    plan = planned(role(scene.role_name), aws)

    who = f"role {scene.role_name} is that of 1 instance: {scene.web_id}"
    assert who in plan.blast_radius
    assert plan.blast_radius[0].endswith("until they are handed new credentials, up to 6 h later")


@pytest.mark.parametrize(
    ("params", "until"),
    [
        ({"deny_all": True}, "until release, new sessions too"),
        ({"narrow_trust": True}, "until release"),
        ({}, "until they begin a new session; instances, until they are"),
    ],
)
def test_role_plan_says_until_when_its_users_are_denied(
    scene: Scene, aws: Aws, params: dict[str, bool], until: str
) -> None:
    plan = planned(role(scene.role_name), aws, **params)

    said = f"whoever uses role/{scene.role_name} is denied everything {until}"
    assert plan.blast_radius[0].startswith(said)


@pytest.mark.parametrize("operation", ["ListRolePolicies", "ListAttachedRolePolicies"])
def test_role_whose_policies_may_not_be_listed_is_revoked_all_the_same(
    scene: Scene, iam: Any, aws: Aws, lab: EmulatedAws, operation: str
) -> None:
    fault = {"service": "iam", "operation": operation, "times": 9}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDenied", "status": 403})

    plan = planned(role(scene.role_name), aws)
    apply(plan, aws)

    assert "may not be read" in "".join(c.detail for c in plan.preflight if not c.ok)
    lab.control("DELETE", "firedoor/faults")
    assert sorted(role_policies(iam, scene)) == [OLDER, "read-reports"]


def test_many_instances_are_counted_and_few_are_named(scene: Scene, aws: Aws) -> None:
    many = [
        {"InstanceId": f"i-{number:017x}", "IamInstanceProfile": {"Arn": scene.profile_arn}}
        for number in range(500)
    ]
    aws.client("ec2").meta.events.register(
        "after-call.ec2.DescribeIamInstanceProfileAssociations",
        lambda parsed, **_: parsed.update(IamInstanceProfileAssociations=many),
    )

    plan = planned(role(scene.role_name), aws)

    (told,) = (c.detail for c in plan.preflight if c.name.endswith("instances are handed"))
    assert "500 instances in us-east-1 with it" in told
    assert len(told) < 250


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/aws-service-role/support.amazonaws.com/", "linked to a service"),
        ("/aws-reserved/sso.amazonaws.com/", "Identity Center"),
    ],
)
def test_role_that_only_aws_can_edit_is_refused(
    path: str, reason: str, scene: Scene, iam: Any, aws: Aws
) -> None:
    iam.create_role(RoleName="reserved", Path=path, AssumeRolePolicyDocument="{}")

    plan = planned(role("reserved"), aws)

    assert reason in plan.refusals[0]
    assert plan.calls == ()


def test_role_quota_that_would_overflow_is_refused(scene: Scene, iam: Any, aws: Aws) -> None:
    fill(iam.put_role_policy, 10_100, RoleName=scene.role_name, PolicyName="large")

    plan = planned(role(scene.role_name), aws)

    assert "10240 are allowed" in plan.refusals[0]


def test_sessions_of_a_role_end_and_later_ones_begin(scene: Scene, aws: Aws) -> None:
    older = assumed(scene, "older")
    at = datetime.now(UTC) + timedelta(seconds=1)

    apply(planned(role(scene.role_name), aws, at), aws)
    time.sleep(1)
    later = assumed(scene, "later")

    with pytest.raises(AccessDenied):
        older.client("ec2").describe_instances()
    assert later.client("ec2").describe_instances()["Reservations"] != []


# The role of one instance


def test_instance_is_denied_by_its_arn_and_nobody_else(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(instance(scene, scene.web_id), aws)
    apply(plan, aws)

    name = f"FiredoorDenyInstance-{scene.web_id}"
    document = iam.get_role_policy(RoleName=scene.role_name, PolicyName=name)["PolicyDocument"]
    arn = f"arn:aws:ec2:us-east-1:{scene.account}:instance/{scene.web_id}"
    assert document["Statement"][0]["Condition"] == {"ArnEquals": {"ec2:SourceInstanceARN": arn}}
    assert plan.lease == f"role/{scene.role_name}/{scene.web_id}"
    assert verify(plan, aws).verdict is Verdict.PROVEN
    revert(plan, aws)
    assert role_policies(iam, scene) == ["read-reports"]


def test_instance_without_a_role_has_nothing_to_revoke(scene: Scene, aws: Aws) -> None:
    without_role(scene.app_id)
    target = Target(
        subject=instance(scene, scene.app_id), incident="incident/x", step="revoke", at=AT
    )

    assert revoke_credentials.plan(target, Params(), aws) == ()


@pytest.mark.parametrize("listed", [False, True])
def test_instance_that_is_gone_is_refused(scene: Scene, aws: Aws, listed: bool) -> None:
    id = scene.app_id if listed else "i-0123456789abcdef0"
    without_role(scene.app_id)
    boto3.client("ec2").terminate_instances(InstanceIds=[scene.app_id])

    plan = planned(instance(scene, id), aws)

    assert plan.refusals == (
        f"{id} does not exist any more: what it was handed lives for up to 6 h, so revoke the role"
        " it had",
    )


def test_terminated_instance_whose_role_is_known_is_denied(scene: Scene, aws: Aws) -> None:
    listed = boto3.client("ec2").describe_instances(InstanceIds=[scene.app_id])
    profile = listed["Reservations"][0]["Instances"][0]["IamInstanceProfile"]
    boto3.client("ec2").terminate_instances(InstanceIds=[scene.app_id])
    on_instances(aws, lambda one: one.update(IamInstanceProfile=profile))

    plan = planned(instance(scene, scene.app_id), aws)

    assert [call.operation for call in plan.calls] == ["PutRolePolicy"]
    assert plan.refusals == ()


# Helpers


def on_instances(aws: Aws, change: Callable[[dict[str, Any]], None]) -> None:
    """Change how instances are described: what the emulator cannot show."""

    def changed(parsed: Any, **_: Any) -> None:
        for reservation in parsed["Reservations"]:
            for one in reservation["Instances"]:
                change(one)

    events = aws.client("ec2").meta.events
    events.register_last("after-call.ec2.DescribeInstances", changed)


def without_role(instance: str) -> None:
    ec2 = boto3.client("ec2")
    (association,) = ec2.describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [instance]}]
    )["IamInstanceProfileAssociations"]
    ec2.disassociate_iam_instance_profile(AssociationId=association["AssociationId"])


def assumed(scene: Scene, name: str) -> Aws:
    """Return clients that act in a session of the scene's role, which may read everything."""
    allow(boto3.client("iam").put_role_policy, "ec2:*", "iam:*", RoleName=scene.role_name)
    sts = boto3.client("sts")
    answer = sts.assume_role(RoleArn=scene.role_arn, RoleSessionName=name)["Credentials"]
    keys = (answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"])
    return Aws(scene.account, scene.region, boto3.Session(*keys))


def allow(put: Any, *actions: str, **owner: str) -> None:
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    put(PolicyName="more", PolicyDocument=json.dumps(document), **owner)


def fill(put: Any, size: int, **owner: str) -> None:
    """Write an inline policy of about a size, in a test that is about the quota."""
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::" + "a" * size,
    }
    put(PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}), **owner)
