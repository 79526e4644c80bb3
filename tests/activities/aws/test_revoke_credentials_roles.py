"""Roles: trust that is narrowed, and denial to one instance or one function alone."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from activities.aws import _chain, _roles, _trail, revoke_credentials
from activities.aws._denials import instant
from activities.aws.revoke_credentials import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, PlanStale, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import ACCOUNT, EmulatedAws
from firedoor.model.finding import Cloud, Kind, Principal, PrincipalType, Resource
from firedoor.model.plan import LATER, Plan, Proof, Target, Verdict

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(hours=2)
BREAK_GLASS = f"arn:aws:iam::{ACCOUNT}:role/break-glass"
# As people write it: white space, and lists of one.
TRUST = """{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Principal": {"Service": ["ec2.amazonaws.com"]}, "Action": "sts:AssumeRole"}
  ]
}"""


@pytest.fixture(autouse=True)
def _quickly(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing, in an account that has one region only."""
    monkeypatch.setattr(revoke_credentials, "SETTLE", ())
    monkeypatch.setattr(_trail, "PAUSE", 0.0)
    only = {"Regions": [{"RegionName": aws.region}]}

    def regions(**_: Any) -> Any:
        return AWSResponse("", 200, {}, None), only

    aws.client("ec2").meta.events.register("before-call.ec2.DescribeRegions", regions)


@pytest.fixture
def iam(scene: Scene) -> Any:
    """The clients of somebody else, who changes what they like."""
    return boto3.client("iam")


def role(scene: Scene) -> Principal:
    return Principal(
        cloud=Cloud.AWS,
        account=ACCOUNT,
        type=PrincipalType.ROLE,
        name=scene.role_name,
        id=f"role/{scene.role_name}",
    )


def resource(kind: Kind, id: str) -> Resource:
    return Resource.model_validate(
        {"cloud": Cloud.AWS, "account": ACCOUNT, "region": "us-east-1", "kind": kind, "id": id}
    )


def planned(
    subject: Principal | Resource, aws: Aws, at: datetime = LONG_AGO, **params: Any
) -> Plan:
    target = Target(subject=subject, incident="incident/1", step="revoke", at=at)
    (plan,) = revoke_credentials.plan(target, Params(**params), aws)
    return plan


def trust(iam: Any, scene: Scene) -> str:
    """Read the trust policy letter for letter."""
    texts: list[str] = []
    iam.meta.events.register_first(
        "after-call.iam.GetRole", lambda parsed, **k: _roles._keep_text(parsed, **k), unique_id="t"
    )
    texts.append(_roles.trust(iam.get_role(RoleName=scene.role_name)["Role"]))
    return texts[0]


def policies(iam: Any, scene: Scene) -> list[str]:
    return sorted(iam.list_role_policies(RoleName=scene.role_name)["PolicyNames"])


def residual(proof: Proof, credential: str) -> tuple[str, datetime | None, bool]:
    (found,) = (one for one in proof.residual if one.credential == credential)
    return found.state, found.until, found.open


# Trust


def test_trust_is_narrowed_by_one_statement_and_put_back_byte_for_byte(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    iam.update_assume_role_policy(RoleName=scene.role_name, PolicyDocument=TRUST)
    plan = planned(role(scene), aws, narrow_trust=True)

    apply(plan, aws)
    during, proof = json.loads(trust(iam, scene)), verify(plan, aws)
    revert(plan, aws)

    assert during["Statement"][:-1] == json.loads(TRUST)["Statement"]
    assert during["Statement"][-1]["Effect"] == "Deny"
    assert proof.verdict is Verdict.PROVEN
    assert trust(iam, scene) == TRUST
    assert [c.operation for c in plan.calls] == ["UpdateAssumeRolePolicy", "PutRolePolicy"]
    assert [c.operation for c in plan.undo] == ["DeleteRolePolicy", "UpdateAssumeRolePolicy"]


def test_whoever_is_trusted_may_begin_sessions_all_the_same(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(role(scene), aws, narrow_trust=True, trusted=[BREAK_GLASS])
    apply(plan, aws)

    statement = json.loads(trust(iam, scene))["Statement"][-1]
    assert statement["Condition"] == {"ArnNotLike": {"aws:PrincipalArn": [BREAK_GLASS]}}
    told = (f"none can begin, but those of {BREAK_GLASS}", None, True)
    assert residual(verify(plan, aws), "new sessions") == told


def test_narrowed_trust_leaves_the_session_that_began_before_it_was(scene: Scene, aws: Aws) -> None:
    plan = planned(role(scene), aws, narrow_trust=True)
    apply(plan, aws)
    applied = datetime.now(UTC)

    state, until, is_open = residual(verify(plan, aws), "new sessions")

    assert (is_open, "works on" in state) == (True, True)
    assert until is not None
    assert timedelta(minutes=59) < until - applied < timedelta(minutes=65)


def test_narrowed_trust_with_a_margin_leaves_nothing(scene: Scene, aws: Aws) -> None:
    plan = planned(role(scene), aws, narrow_trust=True, margin=timedelta(hours=12))
    apply(plan, aws)

    assert [one.credential for one in verify(plan, aws).residual if one.open] == []


def test_trust_that_aws_writes_in_another_order_is_no_drift(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(role(scene), aws, narrow_trust=True)
    apply(plan, aws)
    ours = json.loads(trust(iam, scene))
    ours["Statement"].reverse()
    ours["Statement"][0]["Action"].reverse()
    iam.update_assume_role_policy(RoleName=scene.role_name, PolicyDocument=json.dumps(ours))

    assert verify(plan, aws).verdict is Verdict.PROVEN
    revert(plan, aws)
    assert _roles.SID not in trust(iam, scene)


def test_trust_changed_since_planning_makes_the_plan_stale(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(role(scene), aws, narrow_trust=True)
    other = TRUST.replace("ec2", "lambda")
    iam.update_assume_role_policy(RoleName=scene.role_name, PolicyDocument=other)

    with pytest.raises(PlanStale):
        apply(plan, aws)

    assert trust(iam, scene) == other


def test_trust_that_names_a_deleted_principal_is_not_narrowed(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    deleted = TRUST.replace(
        '{"Service": ["ec2.amazonaws.com"]}', '{"AWS": "AIDACKCEVSQ6C2EXAMPLE"}'
    )
    iam.update_assume_role_policy(RoleName=scene.role_name, PolicyDocument=deleted)

    plan = planned(role(scene), aws, narrow_trust=True)

    assert "AIDACKCEVSQ6C2EXAMPLE" in plan.refusals[0]
    assert planned(role(scene), aws).refusals == ()


def test_trust_quota_that_would_overflow_is_refused(scene: Scene, iam: Any, aws: Aws) -> None:
    long = json.loads(TRUST)
    long["Statement"][0]["Condition"] = {"StringEquals": {"sts:ExternalId": "x" * 1_900}}
    iam.update_assume_role_policy(RoleName=scene.role_name, PolicyDocument=json.dumps(long))

    plan = planned(role(scene), aws, narrow_trust=True)

    assert "2048 are allowed" in plan.refusals[0]


def test_trust_narrowed_by_another_incident_is_so_already(scene: Scene, aws: Aws) -> None:
    apply(planned(role(scene), aws, narrow_trust=True), aws)

    plan = planned(role(scene), aws, LONG_AGO, narrow_trust=True)

    assert plan.changes == ()


@pytest.mark.parametrize("operation", ["UpdateAssumeRolePolicy", "PutRolePolicy"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"code": "EntityTemporarilyUnmodifiable", "status": 409}, Throttled),
        ({"code": "AccessDenied", "status": 403}, AccessDenied),
        ({"kind": "lost"}, Unavailable),
    ],
)
def test_failure_anywhere_is_taken_back_exactly_or_made_good(
    scene: Scene,
    iam: Any,
    aws: Aws,
    lab: EmulatedAws,
    operation: str,
    fault: dict[str, Any],
    error: type[Exception],
) -> None:
    iam.update_assume_role_policy(RoleName=scene.role_name, PolicyDocument=TRUST)
    plan = planned(role(scene), aws, narrow_trust=True)
    lab.control("POST", "firedoor/faults", {"service": "iam", "operation": operation} | fault)

    with pytest.raises(error):
        apply(plan, aws)
    revert(plan, aws)
    taken_back = (trust(iam, scene), policies(iam, scene))
    apply(plan, aws)

    assert taken_back == (TRUST, ["read-reports"])
    assert verify(plan, aws).verdict is Verdict.PROVEN


# What the statement says of a role


def test_statement_of_a_role_names_who_may_begin_again(scene: Scene, aws: Aws) -> None:
    plan = planned(role(scene), aws)
    apply(plan, aws)

    proof = verify(plan, aws)

    before = f"role sessions begun before {instant(LONG_AGO)}"
    assert residual(proof, before) == ("denied everything", None, False)
    told = "begin as the trust policy allows: Service ec2.amazonaws.com"
    assert residual(proof, "new sessions") == (told, None, True)
    state, _, is_open = residual(proof, "what instances are handed")
    assert (is_open, scene.web_id in state) == (True, True)


def test_deny_all_of_a_role_leaves_nothing(scene: Scene, aws: Aws) -> None:
    plan = planned(role(scene), aws, deny_all=True)
    apply(plan, aws)

    assert [one.credential for one in verify(plan, aws).residual if one.open] == []


@pytest.fixture
def chained(scene: Scene, lab: EmulatedAws) -> Callable[..., None]:
    """Let a session of the scene's role, or one with a key, have assumed another."""

    def happened(
        session: str = "somebody",
        *,
        by: str = "",
        minutes: int = 20,
        lasts: int = 60,
        role: str = f"arn:aws:iam::{ACCOUNT}:role/admin",
        name: str = "next",
        key: str = "ASIANEXT",
        **given: Any,
    ) -> None:
        issuer = "admin" if by else scene.role_name
        event = {
            "eventTime": f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}",
            "eventSource": "sts.amazonaws.com",
            "eventName": "AssumeRole",
            "requestParameters": {
                "roleArn": role,
                "roleSessionName": name,
                "durationSeconds": lasts * 60,
            },
            "responseElements": {"credentials": {"accessKeyId": key, **given}},
            "userIdentity": {
                "type": "AssumedRole",
                "principalId": f"{scene.role_id}:{session}",
                "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{issuer}/{session}",
                "accountId": ACCOUNT,
                "accessKeyId": by or "ASIAORIGIN",
                "sessionContext": {"sessionIssuer": {"type": "Role", "userName": issuer}},
            },
        }
        lab.control("POST", "firedoor/trail", event)

    return happened


LIVES_ON = "lives on, and can begin others: revoke that role too"


def begun(plan: Plan, aws: Aws) -> dict[str, tuple[str, datetime | None]]:
    """Apply a plan, and return what lives on of sessions that were begun, and until when."""
    apply(plan, aws)
    left = verify(plan, aws).residual
    return {one.credential: (one.state, one.until) for one in left if " session " in one.credential}


def test_chained_session_is_told_with_the_hour_that_it_lasts(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    chained("somebody")
    plan = planned(role(scene), aws, NOW)
    apply(plan, aws)

    told = (LIVES_ON, NOW + timedelta(minutes=40), True)
    assert residual(verify(plan, aws), "role/admin session next") == told


def test_of_sessions_with_one_name_the_last_to_end_is_told(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    for minutes in (5, 50):
        chained(minutes=minutes, key=f"ASIA{minutes}")

    until = NOW + timedelta(minutes=55)
    assert begun(planned(role(scene), aws, NOW), aws) == {
        "role/admin session next": (LIVES_ON, until)
    }


def test_expiration_on_record_is_the_latest_instant(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    until = NOW + timedelta(hours=3)
    chained(expiration=f"{until:%b %d, %Y, %I:%M:%S %p}")

    assert begun(planned(role(scene), aws, NOW), aws) == {
        "role/admin session next": (LIVES_ON, until)
    }


def test_sessions_in_other_accounts_are_told_apart(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    for account in (ACCOUNT, "222222222222"):
        chained(role=f"arn:aws:iam::{account}:role/ops/admin", key=f"ASIA{account}")
    plan = planned(role(scene), aws, NOW)

    assert begun(plan, aws).keys() == {
        "role/admin session next",
        "role/admin session next in account 222222222222",
    }
    # We are not let into that account here, so what was begun from there is not known.
    state, _, _ = residual(verify(plan, aws), "sessions of other roles that it began")
    assert state.startswith("not known: what role/admin session next in account 222222222222 began")


def test_what_a_session_began_in_turn_is_told_even_if_it_has_ended_itself(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    chained(minutes=45, lasts=15, key="ASIAONE", name="one")
    chained(by="ASIAONE", minutes=35, lasts=15, key="ASIATWO", name="two")
    chained(by="ASIATWO", minutes=25, key="ASIATHREE", name="three")

    told = (
        LIVES_ON.replace(",", ", begun by role/admin session two,"),
        NOW + timedelta(minutes=35),
    )
    assert begun(planned(role(scene), aws, NOW), aws) == {"role/admin session three": told}


def test_session_of_the_revoked_role_itself_is_denied_and_not_told(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    chained(role=f"arn:aws:iam::{ACCOUNT}:role/{scene.role_name}", key="ASIAITSELF")
    chained("next", by="ASIAITSELF", key="ASIAFURTHER", name="further")

    assert begun(planned(role(scene), aws, NOW), aws).keys() == {"role/admin session further"}


def test_more_sessions_than_are_followed_are_a_gap(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    for number in range(_chain.MOST_FOLLOWED + 2):
        chained(key=f"ASIA{number:02}", name=f"s{number:02}")
    plan = planned(role(scene), aws, NOW)
    apply(plan, aws)

    state, _, is_open = residual(verify(plan, aws), "sessions of other roles that it began")

    assert (state, is_open) == ("not known: what 2 more sessions began is not looked up", True)


def test_cluster_that_lets_the_role_in_is_told_until_nobody_can_begin_a_session(
    scene: Scene, aws: Aws
) -> None:
    eks, arn = boto3.client("eks"), f"arn:aws:iam::{ACCOUNT}:role/{scene.role_name}"
    network = {"subnetIds": [scene.private_subnet_id]}
    for name in ("prod", "test"):
        eks.create_cluster(name=name, roleArn=arn, resourcesVpcConfig=network)
    eks.create_access_entry(clusterName="prod", principalArn=arn)
    eks.create_access_entry(clusterName="test", principalArn=f"{arn}-other")
    told = "proof of who it is, by sts:GetCallerIdentity"
    plan = planned(role(scene), aws, deny_all=True)
    apply(plan, aws)

    state, until, is_open = residual(verify(plan, aws), told)
    checks = {check.name: check.ok for check in plan.preflight}

    assert "delete its access entry of prod in us-east-1;" in state
    assert (until, is_open, checks[f"afterwards, {told}"]) == (None, True, False)


def test_chained_session_of_another_instance_is_not_this_ones(
    scene: Scene, aws: Aws, chained: Callable[..., None]
) -> None:
    chained(scene.app_id)
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws, NOW)

    told = [check.name for check in plan.preflight]

    assert "role/admin session next" not in told


# One policy a lease


def test_incidents_and_instances_share_a_role_without_wiping_one_another(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    one = planned(resource(Kind.INSTANCE, scene.web_id), aws)
    apply(one, aws)
    all_of_it = planned(role(scene), aws)
    apply(all_of_it, aws)

    revert(one, aws)

    assert policies(iam, scene) == ["FiredoorRevokeOlderSessions", "read-reports"]
    assert verify(all_of_it, aws).verdict is Verdict.PROVEN


def test_further_incidents_take_no_more_of_the_quota(scene: Scene, iam: Any, aws: Aws) -> None:
    plans = []
    for hour in range(5):
        plans.append(planned(role(scene), aws, LONG_AGO + timedelta(hours=hour)))
        apply(plans[-1], aws)

    during = policies(iam, scene)
    for plan in reversed(plans):
        revert(plan, aws)

    assert during == ["FiredoorRevokeOlderSessions", "read-reports"]
    assert policies(iam, scene) == ["read-reports"]


def test_full_quota_says_to_revoke_the_role_as_a_whole(scene: Scene, iam: Any, aws: Aws) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::" + "a" * 9_950,
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=scene.role_name, PolicyName="large", PolicyDocument=document)

    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws)

    assert "as a whole" in plan.refusals[0]


# The profile of an instance


def profile_of(instance: str) -> dict[str, Any] | None:
    found = boto3.client("ec2").describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [instance]}]
    )["IamInstanceProfileAssociations"]
    return found[0] if found else None


def profile_arn(instance: str) -> str | None:
    found = profile_of(instance)
    return str(found["IamInstanceProfile"]["Arn"]) if found else None


@pytest.mark.parametrize(("profile", "during"), [("remove", None), ("quarantine", "quarantine")])
def test_profile_is_taken_off_or_exchanged_and_put_back(
    scene: Scene, iam: Any, aws: Aws, profile: str, during: str | None
) -> None:
    iam.create_instance_profile(InstanceProfileName="quarantine")
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws, profile=profile)

    apply(plan, aws)
    then, proof = profile_arn(scene.web_id), verify(plan, aws)
    apply(plan, aws)
    revert(plan, aws)
    again = revert(plan, aws)

    assert (then and then.rpartition("/")[2]) == during
    assert proof.verdict is Verdict.PROVEN
    assert (profile_arn(scene.web_id), again.calls) == (scene.profile_arn, ())
    assert plan.lost == (f"the association of {scene.profile_arn} gets a new id",)


def test_replaced_association_is_found_by_its_new_id(scene: Scene, iam: Any, aws: Aws) -> None:
    iam.create_instance_profile(InstanceProfileName="quarantine")
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws, profile="quarantine")
    before = profile_of(scene.web_id)
    apply(plan, aws)

    receipt = revert(plan, aws)

    assert plan.undo[0].parameters["AssociationId"] == LATER
    used = receipt.calls[0].parameters["AssociationId"]
    assert before is not None
    assert used != before["AssociationId"]


def test_profile_given_anew_since_planning_makes_the_plan_stale(scene: Scene, aws: Aws) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws, profile="remove")
    ec2, old = boto3.client("ec2"), profile_of(scene.web_id)
    assert old is not None
    ec2.disassociate_iam_instance_profile(AssociationId=old["AssociationId"])
    ec2.associate_iam_instance_profile(
        InstanceId=scene.web_id, IamInstanceProfile={"Arn": scene.profile_arn}
    )

    with pytest.raises(PlanStale, match="anew"):
        apply(plan, aws)


def test_instance_terminated_while_contained_is_proven_and_given_no_profile(
    scene: Scene, aws: Aws
) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws, profile="remove")
    apply(plan, aws)
    boto3.client("ec2").terminate_instances(InstanceIds=[scene.web_id])

    proof, receipt = verify(plan, aws), revert(plan, aws)

    assert proof.verdict is Verdict.PROVEN
    assert [call.operation for call in receipt.calls] == ["DeleteRolePolicy"]
    assert "does not exist any more" in receipt.left[0]


def test_instance_given_another_role_is_drift_and_makes_a_plan_stale(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws)
    apply(plan, aws)
    iam.create_role(RoleName="admin", AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName="admin")
    iam.add_role_to_instance_profile(InstanceProfileName="admin", RoleName="admin")
    own = profile_of(scene.web_id)
    assert own is not None
    boto3.client("ec2").replace_iam_instance_profile_association(
        AssociationId=own["AssociationId"], IamInstanceProfile={"Name": "admin"}
    )

    proof = verify(plan, aws)

    (check,) = (one for one in proof.checks if not one.ok)
    assert (check.name, proof.verdict) == (f"{scene.web_id} runs as", Verdict.DRIFTED)
    assert check.detail == "role/admin by now, which is not denied"
    with pytest.raises(PlanStale, match="runs as role/admin by now"):
        apply(plan, aws)


def test_profile_that_does_not_exist_is_refused(scene: Scene, aws: Aws) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws, profile="nothing")

    assert "there is no instance profile nothing" in plan.refusals[0]


@pytest.mark.parametrize("operation", ["PutRolePolicy", "DisassociateIamInstanceProfile"])
def test_answer_lost_on_the_way_is_made_good(
    scene: Scene, aws: Aws, lab: EmulatedAws, operation: str
) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws, profile="remove")
    service = "iam" if operation == "PutRolePolicy" else "ec2"
    fault = {"service": service, "operation": operation, "kind": "lost"}
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(Unavailable):
        apply(plan, aws)
    retried = apply(plan, aws)

    assert operation not in [call.operation for call in retried.calls]
    assert verify(plan, aws).verdict is Verdict.PROVEN


# One function


@pytest.fixture
def function(scene: Scene) -> str:
    """A function with the scene's role."""
    code = BytesIO()
    with ZipFile(code, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): ...")
    boto3.client("lambda").create_function(
        FunctionName="resize",
        Runtime="python3.13",
        Role=scene.role_arn,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
        Tags={"team": "web"},
    )
    return "resize"


def session(scene: Scene, name: str) -> Aws:
    """Return clients that act in a session of the scene's role, which may read everything."""
    statement = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    boto3.client("iam").put_role_policy(
        RoleName=scene.role_name, PolicyName="more", PolicyDocument=document
    )
    got = boto3.client("sts").assume_role(RoleArn=scene.role_arn, RoleSessionName=name)
    keys = got["Credentials"]
    return Aws(
        ACCOUNT,
        "us-east-1",
        boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"]),
    )


def test_function_is_denied_by_its_arn_and_nobody_else(
    scene: Scene, iam: Any, aws: Aws, function: str
) -> None:
    plan = planned(resource(Kind.FUNCTION, function), aws)
    apply(plan, aws)

    with pytest.raises(AccessDenied):
        session(scene, function).client("ec2").describe_instances()
    other = session(scene, "other").client("ec2").describe_instances()
    name = "FiredoorDenyFunction-us-east-1-resize"
    document = iam.get_role_policy(RoleName=scene.role_name, PolicyName=name)["PolicyDocument"]
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:resize"
    assert document["Statement"][0]["Condition"] == {"ArnEquals": {"lambda:SourceFunctionArn": arn}}
    assert other["Reservations"] != []
    assert plan.lease == f"role/{scene.role_name}/resize"
    assert plan.touched.resources["resize"] == {"team": "web"}


def test_denied_function_is_proven_and_taken_back(
    scene: Scene, iam: Any, aws: Aws, function: str
) -> None:
    plan = planned(resource(Kind.FUNCTION, function), aws)
    apply(plan, aws)

    proof = verify(plan, aws)
    revert(plan, aws)

    handed = f"what resize is handed as role/{scene.role_name}"
    assert proof.verdict is Verdict.PROVEN
    assert residual(proof, handed)[2] is False
    assert policies(iam, scene) == ["read-reports"]


def test_function_given_another_role_is_drift(
    scene: Scene, iam: Any, aws: Aws, function: str
) -> None:
    plan = planned(resource(Kind.FUNCTION, function), aws)
    apply(plan, aws)
    other = iam.create_role(RoleName="admin", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    boto3.client("lambda").update_function_configuration(FunctionName=function, Role=other)

    failed = [check.name for check in verify(plan, aws).checks if not check.ok]

    assert failed == ["resize runs as"]


def test_function_named_by_a_version_that_is_gone_is_the_same_lease(
    scene: Scene, aws: Aws, function: str
) -> None:
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{function}:7"

    plan = planned(resource(Kind.FUNCTION, arn), aws)

    assert (plan.gone, plan.lease) == (False, f"role/{scene.role_name}/resize")


def test_function_that_does_not_exist_is_gone(scene: Scene, aws: Aws) -> None:
    plan = planned(resource(Kind.FUNCTION, "nothing"), aws)

    assert (plan.gone, plan.calls) == (True, ())


def test_instance_is_denied_wherever_its_credentials_are_used(scene: Scene, aws: Aws) -> None:
    handed = session(scene, scene.web_id)
    apply(planned(resource(Kind.INSTANCE, scene.web_id), aws), aws)

    with pytest.raises(AccessDenied):
        handed.client("ec2").describe_instances()
    assert session(scene, "other").client("ec2").describe_instances()["Reservations"] != []


def test_what_is_handed_out_while_the_deny_is_gone_is_open(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws)
    apply(plan, aws)
    iam.delete_role_policy(
        RoleName=scene.role_name, PolicyName=f"FiredoorDenyInstance-{scene.web_id}"
    )

    proof = verify(plan, aws)

    handed = f"what {scene.web_id} is handed as role/{scene.role_name}"
    assert (proof.verdict, residual(proof, handed)[2]) == (Verdict.DRIFTED, True)
