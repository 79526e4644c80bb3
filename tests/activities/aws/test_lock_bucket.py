"""Locking a bucket, against the emulated AWS."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import boto3
import pytest
from botocore.exceptions import ClientError

from activities.aws import _bucket_policy, _network, lock_bucket
from activities.aws._bucket_policy import Requests, Whose
from activities.aws.lock_bucket import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import LATER, Plan, Target, Verdict
from firedoor.settings import settings

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
BUCKET = "payroll"
SID = "FiredoorLockEveryoneAll"
OPEN = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": False,
    "BlockPublicPolicy": False,
    "RestrictPublicBuckets": False,
}
# Written as nobody's serialiser would, to show that it comes back letter by letter.
THEIRS = """{"Version":"2012-10-17",  "Statement":
  {"Sid":"Partner","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::210987654321:root"},
   "Action":"s3:GetObject","Resource":"arn:aws:s3:::payroll/*"}}"""
PUBLIC = THEIRS.replace('{"AWS":"arn:aws:iam::210987654321:root"}', '"*"')
RULES = [
    {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
    {
        "ID": "cold",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "Transitions": [{"Days": 90, "StorageClass": "GLACIER"}],
    },
]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0.0)


@pytest.fixture
def s3(aws: Aws) -> Any:
    """The client of somebody else, who changes what they like."""
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="salaries.csv", Body=b"1,2,3")
    return client


@pytest.fixture
def account_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let 123456789012.127.0.0.1 be found, which is how S3 Control names the endpoint."""
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: look_up(host.rpartition("012.")[2], *a, **k)
    )


def fail(lab: EmulatedAws, operation: str, **fault: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": "s3", "operation": operation, **fault})


def planned(aws: Aws, bucket: str = BUCKET, spared: tuple[str, ...] = (), **params: Any) -> Plan:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, kind=Kind.BUCKET, id=bucket
    )
    target = Target(subject=subject, incident="incident/1", step="lock", at=AT, spared=spared)
    (plan,) = lock_bucket.plan(target, Params(**params), aws)
    return plan


def answer(read: Callable[..., Any]) -> Any:
    try:
        found = read(Bucket=BUCKET)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return {name: value for name, value in found.items() if name != "ResponseMetadata"}


def state(s3: Any) -> list[Any]:
    """All that AWS shows of the bucket and that a lock can change."""
    return [
        answer(read)
        for read in (
            s3.get_bucket_policy,
            s3.get_public_access_block,
            s3.get_bucket_versioning,
            s3.get_bucket_lifecycle_configuration,
        )
    ]


def sids(s3: Any) -> list[str]:
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    return [statement["Sid"] for statement in policy["Statement"]]


def furnish(s3: Any) -> None:
    """Give the bucket one of everything that a lock touches."""
    s3.put_bucket_policy(Bucket=BUCKET, Policy=THEIRS)
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=OPEN)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": RULES})


def somebody(scene: Scene) -> Any:
    """The client of a user of the account who may do everything."""
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    boto3.client("iam").put_user_policy(
        UserName=scene.user_name,
        PolicyName="s3",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )
    return boto3.client(
        "s3",
        aws_access_key_id=scene.access_key_id,
        aws_secret_access_key=scene.secret_access_key,
    )


def code(call: Callable[..., Any], **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


# The way in and back


def test_lock_is_proven_and_reverts_to_exactly_the_state_before(s3: Any, aws: Aws) -> None:
    furnish(s3)
    before = state(s3)
    plan = planned(aws)

    applied = apply(plan, aws)
    proof = verify(plan, aws)
    during = sids(s3)
    revert(plan, aws)

    assert [call.operation for call in applied.calls] == [
        "PutBucketPolicy",
        "PutPublicAccessBlock",
        "PutBucketVersioning",
        "PutBucketLifecycleConfiguration",
    ]
    assert during == ["Partner", SID]
    assert (proof.verdict, [check.ok for check in proof.checks]) == (Verdict.PROVEN, [True] * 4)
    assert state(s3) == before
    assert before[0]["Policy"] == THEIRS


def test_what_was_never_there_is_gone_again_after_revert(s3: Any, aws: Aws) -> None:
    plan = planned(aws)

    apply(plan, aws)
    reverted = revert(plan, aws)

    assert state(s3) == [
        "NoSuchBucketPolicy",
        "NoSuchPublicAccessBlockConfiguration",
        {"Status": "Suspended"},
        "NoSuchLifecycleConfiguration",
    ]
    assert [call.operation for call in reverted.calls] == [
        "PutBucketVersioning",
        "DeletePublicAccessBlock",
        "DeleteBucketPolicy",
    ]
    assert "cannot be as if it had never been on" in plan.lost[0]


def test_applying_and_reverting_twice_makes_each_call_once(s3: Any, aws: Aws) -> None:
    plan = planned(aws)

    first, second = apply(plan, aws), apply(plan, aws)
    back, again = revert(plan, aws), revert(plan, aws)

    assert (len(first.calls), second.calls) == (3, ())
    assert (len(back.calls), again.calls, again.left) == (3, (), ())


def test_every_changing_call_says_whose_bucket_it_must_be(s3: Any, aws: Aws) -> None:
    furnish(s3)

    plan = planned(aws)

    owners = {call.parameters["ExpectedBucketOwner"] for call in (*plan.calls, *plan.undo)}
    assert owners == {"123456789012"}


@pytest.mark.parametrize("operation", ["PutPublicAccessBlock", "PutBucketVersioning"])
def test_what_was_cut_short_is_completed_and_taken_back(
    s3: Any, aws: Aws, lab: EmulatedAws, operation: str
) -> None:
    furnish(s3)
    before = state(s3)
    plan = planned(aws)
    fail(lab, operation, kind="lost")

    with pytest.raises(Unavailable):
        apply(plan, aws)
    apply(plan, aws)
    proven = verify(plan, aws).verdict
    revert(plan, aws)

    assert proven is Verdict.PROVEN
    assert state(s3) == before


def test_partial_lock_is_taken_back_without_being_completed(
    s3: Any, aws: Aws, lab: EmulatedAws
) -> None:
    furnish(s3)
    before = state(s3)
    plan = planned(aws)
    fail(lab, "PutBucketVersioning", code="OperationAborted", status=409)

    with pytest.raises(Throttled):
        apply(plan, aws)
    revert(plan, aws)

    assert state(s3) == before


def test_bucket_that_does_not_exist_is_gone(aws: Aws) -> None:
    plan = planned(aws, "no-such-bucket")

    assert (plan.gone, plan.calls, plan.refusals) == (
        True,
        (),
        ("no-such-bucket does not exist",),
    )


def test_bucket_deleted_after_planning_voids_the_plan(s3: Any, aws: Aws) -> None:
    plan = planned(aws)
    s3.delete_object(Bucket=BUCKET, Key="salaries.csv")
    s3.delete_bucket(Bucket=BUCKET)

    with pytest.raises(PlanStale, match="does not exist any more"):
        apply(plan, aws)


def test_bucket_deleted_meanwhile_leaves_nothing_to_take_back(s3: Any, aws: Aws) -> None:
    plan = planned(aws)
    apply(plan, aws)
    s3.delete_bucket_policy(Bucket=BUCKET)
    s3.delete_object(Bucket=BUCKET, Key="salaries.csv")
    for version in s3.list_object_versions(Bucket=BUCKET).get("Versions", ()):
        s3.delete_object(Bucket=BUCKET, Key=version["Key"], VersionId=version["VersionId"])
    for marker in s3.list_object_versions(Bucket=BUCKET).get("DeleteMarkers", ()):
        s3.delete_object(Bucket=BUCKET, Key=marker["Key"], VersionId=marker["VersionId"])
    s3.delete_bucket(Bucket=BUCKET)

    assert verify(plan, aws).verdict is Verdict.DRIFTED
    assert revert(plan, aws).left == (f"{BUCKET} does not exist any more",)


def test_locked_bucket_needs_no_further_lock(s3: Any, aws: Aws) -> None:
    apply(planned(aws), aws)

    again = planned(aws)

    assert (again.changes, again.calls, again.undo) == ((), (), ())
    assert again.summary == f"Nothing to lock: {BUCKET} is so already."
    assert verify(again, aws).verdict is Verdict.PROVEN


# Somebody else's policy


def test_policy_changed_after_planning_voids_the_plan(s3: Any, aws: Aws) -> None:
    plan = planned(aws)
    s3.put_bucket_policy(Bucket=BUCKET, Policy=THEIRS)

    with pytest.raises(PlanStale, match="another than when planned"):
        apply(plan, aws)

    assert s3.get_bucket_policy(Bucket=BUCKET)["Policy"] == THEIRS


@pytest.mark.parametrize("standing", [None, THEIRS])
def test_statements_that_others_add_meanwhile_stay(
    s3: Any, aws: Aws, monkeypatch: pytest.MonkeyPatch, standing: str | None
) -> None:
    if standing:
        s3.put_bucket_policy(Bucket=BUCKET, Policy=standing)
    plan = planned(aws)
    apply(plan, aws)
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    added = {**policy["Statement"][-1], "Sid": "Theirs", "Action": "s3:PutObjectTagging"}
    policy["Statement"].append(added)
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    still = verify(plan, aws).verdict
    revert(plan, aws)

    assert still is Verdict.PROVEN
    assert sids(s3) == [*(["Partner"] if standing else []), "Theirs"]


def test_policy_is_deleted_if_others_took_out_all_but_our_statement(s3: Any, aws: Aws) -> None:
    s3.put_bucket_policy(Bucket=BUCKET, Policy=THEIRS)
    plan = planned(aws)
    apply(plan, aws)
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    policy["Statement"] = policy["Statement"][-1]
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    revert(plan, aws)

    assert state(s3)[0] == "NoSuchBucketPolicy"


def test_statement_that_somebody_loosened_is_drift_and_is_left_alone(s3: Any, aws: Aws) -> None:
    plan = planned(aws)
    apply(plan, aws)
    policy = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])
    policy["Statement"][0]["Condition"]["ArnNotLike"]["aws:PrincipalArn"].append("*")
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))

    drifted = verify(plan, aws).verdict
    left = revert(plan, aws).left

    assert drifted is Verdict.DRIFTED
    assert len(left) == 1
    assert sids(s3) == [SID]


def test_s3_that_shows_a_change_late_is_no_drift(s3: Any, aws: Aws) -> None:
    plan = planned(aws)
    apply(plan, aws)
    late = [True]

    def versioning(parsed: dict[str, Any], **_: Any) -> None:
        if late and late.pop():
            parsed["Status"] = "Suspended"

    aws.client("s3").meta.events.register("after-call.s3.GetBucketVersioning", versioning)
    late *= 2  # looked at twice: whether it is there, and what it is

    assert verify(plan, aws).verdict is Verdict.PROVEN


@pytest.mark.parametrize(
    ("ago", "once", "verdict"),
    [
        (timedelta(minutes=14), None, Verdict.PENDING),
        (timedelta(minutes=16), None, Verdict.PROVEN),
        (timedelta(0), "Suspended", Verdict.PROVEN),
    ],
)
def test_versioning_that_is_new_is_pending_until_it_must_be_everywhere(
    s3: Any, aws: Aws, ago: timedelta, once: str | None, verdict: Verdict
) -> None:
    if once:
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": once})
    plan = planned(aws)
    apply(plan, aws)

    assert verify(plan, aws.after(datetime.now(UTC) - ago)).verdict is verdict


def test_policy_is_compared_by_what_it_says() -> None:
    ours = _bucket_policy.deny(
        BUCKET, "aws", whose=Whose.EVERYONE, requests=Requests.ALL, spared=["arn:aws:iam::1:root"]
    )
    stored = {
        **ours,
        "Principal": {"AWS": "*"},
        "Action": "s3:*",
        "Resource": list(reversed(ours["Resource"])),
        "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::1:root"}},
    }

    assert _bucket_policy.plain(stored) == _bucket_policy.plain(ours)
    assert _bucket_policy.alike(
        json.dumps({"Statement": stored}), json.dumps({"Statement": [ours]})
    )


def test_two_scopes_of_lock_stand_side_by_side(s3: Any, aws: Aws) -> None:
    s3.put_bucket_policy(Bucket=BUCKET, Policy=THEIRS)
    all_of_it = planned(aws)
    apply(all_of_it, aws)
    reads = planned(aws, deny=Requests.READS)
    apply(reads, aws)

    both = sids(s3)
    revert(reads, aws)
    first = sids(s3)
    revert(all_of_it, aws)

    assert both == ["Partner", SID, "FiredoorLockEveryoneReads"]
    assert first == ["Partner", SID]
    assert s3.get_bucket_policy(Bucket=BUCKET)["Policy"] == THEIRS


def test_policy_that_would_be_too_long_is_refused(s3: Any, aws: Aws) -> None:
    policy = json.loads(THEIRS)
    policy["Statement"]["Resource"] = [f"arn:aws:s3:::{BUCKET}/{n:040}" for n in range(310)]
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy, separators=(",", ":")))

    (refusal,) = planned(aws).refusals

    assert "S3 takes 20480" in refusal
    assert planned(aws, to=Whose.PUBLIC).refusals == ()


def test_public_policy_goes_under_the_block_and_comes_back(s3: Any, aws: Aws) -> None:
    s3.put_bucket_policy(Bucket=BUCKET, Policy=PUBLIC)
    plan = planned(aws)

    apply(plan, aws)
    proven = verify(plan, aws).verdict
    revert(plan, aws)

    assert proven is Verdict.PROVEN
    assert s3.get_bucket_policy(Bucket=BUCKET)["Policy"] == PUBLIC


@pytest.mark.usefixtures("account_hosts")
def test_public_policy_that_is_blocked_already_is_refused_with_the_reason(
    s3: Any, aws: Aws
) -> None:
    s3.put_bucket_policy(Bucket=BUCKET, Policy=PUBLIC)
    boto3.client("s3control").put_public_access_block(
        AccountId=aws.account, PublicAccessBlockConfiguration={**OPEN, "BlockPublicPolicy": True}
    )

    (refusal,) = planned(aws).refusals

    assert "the account's BlockPublicPolicy refuses" in refusal


# Who is denied


def test_users_are_denied_while_locked_and_firedoor_is_not(scene: Scene, s3: Any, aws: Aws) -> None:
    user = somebody(scene)
    plan = planned(aws)

    read = user.get_object(Bucket=BUCKET, Key="salaries.csv")["Body"].read()
    apply(plan, aws)
    denied = code(user.get_object, Bucket=BUCKET, Key="salaries.csv")
    settings_denied = code(user.delete_bucket_policy, Bucket=BUCKET)
    revert(plan, aws)

    assert (read, denied, settings_denied) == (b"1,2,3", "AccessDenied", "AccessDenied")
    assert user.get_object(Bucket=BUCKET, Key="salaries.csv")["Body"].read() == b"1,2,3"


@pytest.mark.parametrize(
    ("params", "open_for"),
    [
        ({"deny": "reads"}, {"put_object"}),
        ({"deny": "writes"}, {"get_object"}),
        ({"to": "outside"}, {"get_object", "put_object"}),
        ({"to": "presigned"}, {"get_object", "put_object"}),
        ({"to": "public"}, {"get_object", "put_object"}),
        ({"networks": ["127.0.0.0/8"]}, {"get_object", "put_object"}),
        ({"networks": ["198.51.100.0/24"]}, set()),
        ({"exempt": ["arn:aws:iam::123456789012:user/al*"]}, {"get_object", "put_object"}),
    ],
)
def test_lock_denies_what_its_parameters_say(
    scene: Scene, s3: Any, aws: Aws, params: dict[str, Any], open_for: set[str]
) -> None:
    user = somebody(scene)
    apply(planned(aws, **params), aws)

    answers = {
        operation: answer(partial(getattr(user, operation), Key="salaries.csv"))
        for operation in ("get_object", "put_object")
    }

    still = {operation for operation, given in answers.items() if given != "AccessDenied"}
    assert still == open_for


def test_principals_that_the_policy_protects_are_spared(scene: Scene, s3: Any, aws: Aws) -> None:
    user = somebody(scene)
    apply(planned(aws, spared=(scene.user_arn,)), aws)

    assert answer(partial(user.get_object, Key="salaries.csv")) != "AccessDenied"


@pytest.mark.parametrize("params", [{}, {"deny": "reads"}, {"to": "presigned"}])
def test_presigned_url_is_dead_while_locked(
    scene: Scene, s3: Any, aws: Aws, params: dict[str, Any]
) -> None:
    url = somebody(scene).generate_presigned_url(
        "get_object", {"Bucket": BUCKET, "Key": "salaries.csv"}
    )
    with urlopen(url) as answered:
        before = answered.read()

    apply(planned(aws, **params), aws)
    with pytest.raises(HTTPError, match="403"):
        urlopen(url)

    assert before == b"1,2,3"


@pytest.mark.parametrize(
    ("identity", "patterns"),
    [
        (
            "arn:aws:sts::123456789012:assumed-role/firedoor/incident-1",
            (
                "arn:aws:iam::123456789012:role/firedoor",
                "arn:aws:iam::123456789012:role/*/firedoor",
            ),
        ),
        (
            "arn:aws:iam::123456789012:user/ir/firedoor",
            (
                "arn:aws:iam::123456789012:user/firedoor",
                "arn:aws:iam::123456789012:user/*/firedoor",
            ),
        ),
        ("arn:aws:iam::123456789012:root", ("arn:aws:iam::123456789012:root",)),
    ],
)
def test_firedoor_exempts_the_principal_behind_its_session(
    identity: str, patterns: tuple[str, ...]
) -> None:
    assert _bucket_policy.who_we_are(identity, "aws") == patterns


def test_services_that_deliver_logs_go_on_and_cloudfront_does_not(s3: Any, aws: Aws) -> None:
    plan = planned(aws)

    statement: Any = plan.changes[0].after
    condition = statement["Condition"]
    spared = condition["StringNotEqualsIfExists"]["aws:PrincipalServiceName"]
    assert "cloudtrail.amazonaws.com" in spared
    assert "cloudfront.amazonaws.com" not in spared


def test_lock_without_log_deliveries_is_refused_on_the_bucket_of_a_trail(s3: Any, aws: Aws) -> None:
    boto3.client("cloudtrail").create_trail(Name="org", S3BucketName=BUCKET)

    (refusal,) = planned(aws, services=()).refusals

    assert refusal.startswith(f"org deliver into {BUCKET}")
    assert planned(aws).refusals == ()


def test_bucket_of_our_own_evidence_is_refused(
    s3: Any, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREDOOR_EVIDENCE", f"s3://{BUCKET}/evidence")
    settings.cache_clear()

    plan = planned(aws)
    settings.cache_clear()

    assert "is where Firedoor keeps evidence" in plan.refusals[0]


# What else is told


def test_rules_that_delete_stop_and_others_go_on(s3: Any, aws: Aws) -> None:
    furnish(s3)

    apply(planned(aws), aws)

    rules = s3.get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    assert {rule["ID"]: rule["Status"] for rule in rules} == {"old": "Disabled", "cold": "Enabled"}


def test_rule_that_deletes_and_is_added_meanwhile_is_drift(s3: Any, aws: Aws) -> None:
    plan = planned(aws)
    apply(plan, aws)
    s3.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": RULES[:1]}
    )

    failed = [check.name for check in verify(plan, aws).checks if not check.ok]

    assert failed == [f"{BUCKET} lifecycle"]


@pytest.mark.usefixtures("account_hosts")
def test_other_doors_are_counted(s3: Any, aws: Aws) -> None:
    s3.put_bucket_policy(Bucket=BUCKET, Policy=THEIRS)
    s3.put_bucket_website(
        Bucket=BUCKET, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}}
    )
    boto3.client("s3control").create_access_point(
        AccountId=aws.account, Name="analysts", Bucket=BUCKET
    )
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.create_bucket(Bucket="payroll-copy")
    s3.put_bucket_versioning(Bucket="payroll-copy", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_replication(
        Bucket=BUCKET,
        ReplicationConfiguration={
            "Role": "arn:aws:iam::123456789012:role/replication",
            "Rules": [
                {
                    "ID": "r",
                    "Status": "Enabled",
                    "Priority": 1,
                    "Filter": {"Prefix": ""},
                    "DeleteMarkerReplication": {"Status": "Disabled"},
                    "Destination": {"Bucket": "arn:aws:s3:::payroll-copy"},
                }
            ],
        },
    )
    _distribute()

    told = "\n".join(planned(aws).blast_radius)

    assert "1 access point to payroll (analysts" in told
    assert "payroll is behind 1 CloudFront distribution (" in told
    assert "1 replication rule of payroll: copies in payroll-copy" in told
    assert "lets in 1 from outside: 210987654321" in told
    assert "payroll is a website" in told


@pytest.mark.usefixtures("account_hosts")
def test_buckets_behind_the_same_multi_region_access_point_are_named(s3: Any, aws: Aws) -> None:
    s3.create_bucket(Bucket="payroll-eu")
    boto3.client("s3control", region_name="us-west-2").create_multi_region_access_point(
        AccountId=aws.account,
        ClientToken="1",
        Details={"Name": "everywhere", "Regions": [{"Bucket": BUCKET}, {"Bucket": "payroll-eu"}]},
    )

    told = planned(aws).blast_radius

    assert (
        "1 multi-region access point to payroll: 1 other bucket behind it stay open (payroll-eu)"
        in told
    )


@pytest.mark.parametrize("operation", ["GetBucketPolicyStatus", "ListDistributions"])
def test_what_may_not_be_read_stops_no_lock(
    s3: Any, aws: Aws, lab: EmulatedAws, operation: str
) -> None:
    service = "cloudfront" if operation == "ListDistributions" else "s3"
    s3.put_bucket_policy(Bucket=BUCKET, Policy=THEIRS)
    fault = {"service": service, "operation": operation, "times": 9}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDenied", "status": 403})

    plan = planned(aws)

    assert (plan.refusals, plan.calls[0].operation) == ((), "PutBucketPolicy")


def test_directory_bucket_is_refused_with_what_to_do_instead(aws: Aws) -> None:
    plan = planned(aws, bucket="payroll--use1-az4--x-s3")

    assert (plan.calls, plan.gone) == ((), False)
    assert "deny s3express:CreateSession" in plan.refusals[0]


def test_reads_that_no_trail_records_are_a_task(s3: Any, aws: Aws) -> None:
    (task,) = planned(aws).tasks

    assert task.startswith(f"Turn on S3 data events for {BUCKET}")


@pytest.mark.parametrize(
    "selectors",
    [
        {
            "EventSelectors": [
                {"DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3"]}]}
            ]
        },
        {
            "AdvancedEventSelectors": [
                {
                    "FieldSelectors": [
                        {"Field": "eventCategory", "Equals": ["Data"]},
                        {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
                        {"Field": "resources.ARN", "StartsWith": [f"arn:aws:s3:::{BUCKET}/"]},
                    ]
                }
            ]
        },
    ],
)
def test_data_events_of_a_trail_are_seen(s3: Any, aws: Aws, selectors: dict[str, Any]) -> None:
    trails = boto3.client("cloudtrail")
    trails.create_trail(Name="org", S3BucketName=BUCKET)
    trails.put_event_selectors(TrailName="org", **selectors)

    plan = planned(aws)

    (check,) = [c for c in plan.preflight if c.name.startswith("data events")]
    assert (check.ok, check.detail, plan.tasks) == (True, "logged by org", ())


def test_plan_shows_the_exact_policy_and_allows_to_take_out_ours_alone(s3: Any, aws: Aws) -> None:
    s3.put_bucket_policy(Bucket=BUCKET, Policy=THEIRS)

    plan = planned(aws)

    undone = [(call.operation, call.parameters.get("Policy")) for call in plan.undo[-3:]]
    assert undone == [
        ("PutBucketPolicy", THEIRS),
        ("PutBucketPolicy", LATER),
        ("DeleteBucketPolicy", None),
    ]


def _distribute() -> None:
    boto3.client("cloudfront").create_distribution(
        DistributionConfig={
            "CallerReference": "1",
            "Comment": "",
            "Enabled": True,
            "Origins": {
                "Quantity": 1,
                "Items": [
                    {
                        "Id": "s3",
                        "DomainName": f"{BUCKET}.s3.us-east-1.amazonaws.com",
                        "S3OriginConfig": {"OriginAccessIdentity": ""},
                    }
                ],
            },
            "DefaultCacheBehavior": {
                "TargetOriginId": "s3",
                "ViewerProtocolPolicy": "https-only",
                "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
                "MinTTL": 0,
            },
        }
    )
