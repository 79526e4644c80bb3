"""Capturing the context, against the emulated AWS and answers that it cannot give."""

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from activities.aws import _history, capture_context
from activities.aws.capture_context import ACTION, Params, apply, verify
from firedoor.cloud.aws import Aws
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Cloud, Kind, Principal, PrincipalType, Resource
from firedoor.model.plan import Plan, Receipt, Target, Verdict
from firedoor.settings import settings
from firedoor.testing import NOW

REGIONS = _history._regions
JPEG = b"\xff\xd8\xff\xe0 a screen"


def resource(kind: Kind, id: str) -> Resource:
    return Resource.model_validate(
        {
            "cloud": Cloud.AWS,
            "account": "123456789012",
            "region": "us-east-1",
            "kind": kind,
            "id": id,
        }
    )


def principal(kind: PrincipalType, name: str) -> Principal:
    return Principal(
        cloud=Cloud.AWS, account="123456789012", type=kind, name=name, id=f"{kind}/{name}"
    )


def planned(subject: Resource | Principal, aws: Aws, **params: Any) -> Plan:
    target = Target(subject=subject, incident="incident/1", step="context", at=NOW)
    (plan,) = capture_context.plan(target, Params(**params), aws)
    return plan


def remembered(subject: Resource | Principal, aws: Aws, **params: Any) -> Any:
    """Apply until the past is captured too, and return that document."""
    plan = planned(subject, aws, **params)
    apply(plan, aws)
    return json.loads(content(apply(plan, aws).evidence[-1]))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask nowhere else than at home, and wait for nothing."""
    monkeypatch.setattr(_history, "EVENTS_PAUSE", 0)
    monkeypatch.setattr(_history, "_regions", lambda _, aws: [aws.region])


def content(evidence: Evidence) -> bytes:
    return Path(urlparse(evidence.uri).path).read_bytes()


def document(receipt: Receipt) -> Any:
    return json.loads(content(receipt.evidence[0]))


def captured(subject: Resource | Principal, aws: Aws) -> Any:
    return document(apply(planned(subject, aws), aws))["captured"]


def answer(aws: Aws, service: str, operation: str, body: dict[str, Any], status: int = 200) -> None:
    """Let a client have this answer to an operation, whatever the emulated AWS would say."""
    answer = (AWSResponse("", status, {}, None), body)
    event = (
        f"before-call.{aws.client(service).meta.service_model.service_id.hyphenize()}.{operation}"
    )
    aws.client(service).meta.events.register(event, lambda **_: answer)


def test_plan_reads_and_changes_nothing(scene: Scene, aws: Aws, lab: EmulatedAws) -> None:
    lab.control("DELETE", "firedoor/calls")

    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws)

    assert (plan.calls, plan.changes, plan.undo) == ((), (), ())
    assert lab.control("GET", "firedoor/calls") == []


def test_instance_is_captured_with_all_that_is_around_it(scene: Scene, aws: Aws) -> None:
    found = captured(resource(Kind.INSTANCE, scene.web_id), aws)

    assert found["instance"][0]["Instances"][0]["InstanceId"] == scene.web_id
    assert [i["NetworkInterfaceId"] for i in found["interfaces"]] == [scene.web_interface_id]
    assert found["security groups"][0]["IpPermissions"][0]["FromPort"] == 443
    assert {v["VolumeId"] for v in found["volumes"]} == set(scene.web_volume_ids)
    assert [acl["NetworkAclId"] for acl in found["network ACLs"]] == [scene.public_acl_id]
    assert scene.route_table_id in {table["RouteTableId"] for table in found["route tables"]}
    assert found["attribute disableApiTermination"]["DisableApiTermination"] == {"Value": False}
    profile = found[f"instance profile {scene.profile_name}"]
    assert list(profile["roles"][0]["inline policies"]) == ["read-reports"]
    assert found["console output"]["Output"] != ""


def test_every_interface_of_an_instance_is_captured(scene: Scene, aws: Aws) -> None:
    found = captured(resource(Kind.INSTANCE, scene.app_id), aws)

    assert {i["NetworkInterfaceId"] for i in found["interfaces"]} == set(scene.app_interface_ids)
    subnets = {subnet["SubnetId"] for subnet in found["subnets"]}
    assert subnets == {scene.private_subnet_id, scene.public_subnet_id}


def test_load_balancing_of_an_instance_is_captured(scene: Scene, aws: Aws) -> None:
    elb = boto3.client("elbv2")
    group = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=scene.vpc_id)
    arn = group["TargetGroups"][0]["TargetGroupArn"]
    elb.create_target_group(Name="other", Protocol="HTTP", Port=80, VpcId=scene.vpc_id)
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": scene.web_id, "Port": 8443}])

    (found,) = captured(resource(Kind.INSTANCE, scene.web_id), aws)["target groups"]

    assert found["group"]["TargetGroupArn"] == arn
    assert [target["Target"]["Port"] for target in found["health"]] == [8443]


def test_screenshot_is_evidence_of_its_own(scene: Scene, aws: Aws) -> None:
    shot = {"InstanceId": scene.web_id, "ImageData": base64.b64encode(JPEG).decode()}
    answer(aws, "ec2", "GetConsoleScreenshot", shot)

    receipt = apply(planned(resource(Kind.INSTANCE, scene.web_id), aws), aws)

    context, picture = receipt.evidence
    assert (picture.name, content(picture)) == (f"{scene.web_id}-console.jpg", JPEG)
    in_document = document(receipt)["captured"]["console screenshot"]
    assert in_document["sha256"] == picture.sha256 == hashlib.sha256(JPEG).hexdigest()
    assert context.name == f"{scene.web_id}-context.json"


def test_console_of_an_instance_that_is_not_nitro_is_captured(scene: Scene, aws: Aws) -> None:
    calls: list[dict[str, Any]] = []

    def only_old(params: dict[str, Any], **_: Any) -> Any:
        calls.append(params["body"])
        if "Latest" in params["body"]:
            refusal = {"Error": {"Code": "UnsupportedOperation", "Message": "not Nitro"}}
            return AWSResponse("", 400, {}, None), refusal
        return AWSResponse("", 200, {}, None), {"Output": base64.b64encode(b"login:").decode()}

    aws.client("ec2").meta.events.register("before-call.ec2.GetConsoleOutput", only_old)

    found = captured(resource(Kind.INSTANCE, scene.web_id), aws)

    assert ["Latest" in call for call in calls] == [True, False]
    assert found["console output"]["Output"] == "login:"


def test_user_is_captured_with_keys_policies_and_groups(scene: Scene, aws: Aws) -> None:
    iam = boto3.client("iam")
    iam.create_group(GroupName="operators")
    iam.add_user_to_group(GroupName="operators", UserName="alice")
    look = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
    }
    policy = iam.create_policy(PolicyName="look", PolicyDocument=json.dumps(look))["Policy"]
    iam.attach_group_policy(GroupName="operators", PolicyArn=policy["Arn"])

    found = captured(principal(PrincipalType.USER, "alice"), aws)

    assert found["user"]["Arn"] == scene.user_arn
    assert found["access keys"][0]["AccessKeyId"] == scene.access_key_id
    assert "LastUsed" in found["access keys"][0]
    assert list(found["inline policies"]) == ["operator"]
    assert found["groups"][0]["managed policies"][0]["Document"] == look
    assert found["password"] is None


def test_role_is_captured_with_who_may_assume_it(scene: Scene, aws: Aws) -> None:
    found = captured(principal(PrincipalType.ROLE, scene.role_name), aws)

    trust = found["role"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert trust["Principal"] == {"Service": "ec2.amazonaws.com"}
    assert [p["Arn"] for p in found["instance profiles"]] == [scene.profile_arn]


def test_bucket_is_captured_with_what_is_not_there(scene: Scene, aws: Aws) -> None:
    s3 = boto3.client("s3")
    s3.put_bucket_versioning(Bucket=scene.bucket, VersioningConfiguration={"Status": "Enabled"})

    found = captured(resource(Kind.BUCKET, scene.bucket), aws)

    assert found["versioning"]["Status"] == "Enabled"
    assert found["access control list"]["Grants"] != []
    assert found["policy"] is None


def test_bucket_of_another_account_is_not_taken_for_ours(scene: Scene, aws: Aws) -> None:
    asked: list[str] = []
    aws.client("s3").meta.events.register(
        "before-call.s3",
        lambda params, **_: asked.append(params["headers"].get("x-amz-expected-bucket-owner")),
    )

    captured(resource(Kind.BUCKET, scene.bucket), aws)

    assert set(asked) == {"123456789012"}


def test_events_are_read_page_after_page_and_no_further_than_a_limit(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_history, "EVENTS_PAGES", 3)
    monkeypatch.setattr(capture_context, "PARTS", 1)
    event = {"EventId": "1", "EventTime": NOW}
    answer(aws, "cloudtrail", "LookupEvents", {"Events": [event], "NextToken": "more"})

    found = remembered(principal(PrincipalType.USER, "alice"), aws, hours=2160)

    (events,) = found["captured"].values()
    assert [one["EventId"] for one in events["Username alice"]["events"]] == ["1"] * 3
    assert found["not captured"]["events in us-east-1: Username alice"].startswith(
        "only the newest are, there are more before 2026-01-01 12:00"
    )


def happened(lab: EmulatedAws, who: dict[str, Any], **members: Any) -> None:
    """Let CloudTrail have an event of just now."""
    lab.control("POST", "firedoor/trail", {"userIdentity": who} | members)


def session(name: str, key: str = "ASIAIOSFODNN7EXAMPLE") -> dict[str, Any]:
    account = "123456789012"
    arn = f"arn:aws:sts::{account}:assumed-role/app/{name}"
    return {"type": "AssumedRole", "arn": arn, "accountId": account, "accessKeyId": key}


OURS = {"arn": "arn:aws:iam::123456789012:user/busy", "accountId": "123456789012"}


def everything(user: str) -> list[dict[str, Any]]:
    """Ask for all events of a user."""
    pages = boto3.client("cloudtrail").get_paginator("lookup_events")
    by = [{"AttributeKey": "Username", "AttributeValue": user}]
    return [event for page in pages.paginate(LookupAttributes=by) for event in page["Events"]]


def begun(lab: EmulatedAws, role: str, name: str, **members: Any) -> None:
    """Let somebody have assumed a role."""
    happened(
        lab,
        {"type": "AWSService", "invokedBy": "ec2.amazonaws.com"},
        eventSource="sts.amazonaws.com",
        eventName="AssumeRole",
        requestParameters={"roleArn": role, "roleSessionName": name},
        **members,
    )


def test_what_the_sessions_of_a_role_did_is_captured(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    begun(lab, scene.role_arn, "nightly")
    begun(lab, scene.role_arn, "refused", errorCode="AccessDenied")
    begun(lab, f"{scene.role_arn}-of-others", "theirs")
    for name in ("nightly", "refused", "theirs"):
        happened(lab, session(name), eventName="RunInstances")

    found = remembered(principal(PrincipalType.ROLE, scene.role_name), aws)["captured"]

    sessions = found["sessions in us-east-1"]
    assert list(sessions) == ["Username nightly"]
    assert [e["EventName"] for e in sessions["Username nightly"]["events"]] == ["RunInstances"]


def test_role_is_looked_up_by_the_arn_with_its_path(aws: Aws, lab: EmulatedAws) -> None:
    trust = json.dumps({"Version": "2012-10-17", "Statement": []})
    made = boto3.client("iam").create_role(
        RoleName="build", Path="/ci/", AssumeRolePolicyDocument=trust
    )
    begun(lab, made["Role"]["Arn"], "job-7")

    found = remembered(principal(PrincipalType.ROLE, "build"), aws)["captured"]

    assert list(found["sessions in us-east-1"]) == ["Username job-7"]


def test_sessions_that_are_too_many_are_said_to_be(
    scene: Scene, aws: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_history, "SESSIONS", 1)
    now = datetime.now(UTC)
    for name, minutes in (("early", 20), ("late", 10)):
        at = f"{now - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
        begun(lab, scene.role_arn, name, eventTime=at)

    found = remembered(principal(PrincipalType.ROLE, scene.role_name), aws)

    assert list(found["captured"]["sessions in us-east-1"]) == ["Username late"]
    assert found["not captured"]["sessions"] == "of 2 only the last 1 are"


def test_events_of_the_keys_of_the_finding_are_captured(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    for key, name in (("ASIAEXAMPLE000000001", "RunInstances"), ("ASIAEXAMPLE000000002", "Other")):
        happened(lab, session("app", key), eventName=name)
    user = principal(PrincipalType.USER, "alice")

    found = remembered(user, aws, access_keys=("ASIAEXAMPLE000000001",))["captured"]

    events = found["events in us-east-1"]["AccessKeyId ASIAEXAMPLE000000001"]["events"]
    assert [event["EventName"] for event in events] == ["RunInstances"]


def test_federated_user_is_looked_up_by_name(aws: Aws, lab: EmulatedAws) -> None:
    account = "123456789012"
    arn = f"arn:aws:sts::{account}:federated-user/bob"
    happened(lab, {"type": "FederatedUser", "arn": arn, "accountId": account})

    found = remembered(principal(PrincipalType.FEDERATED, "bob"), aws)["captured"]

    assert len(found["events in us-east-1"]["Username bob"]["events"]) == 1


def test_whole_history_is_asked_for_unless_a_runbook_says_less() -> None:
    assert Params().hours == 90 * 24


def test_more_events_than_are_read_at_once_are_read_in_parts(
    aws: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_history, "EVENTS_PAGES", 1)
    monkeypatch.setattr(_history, "_looked_up", lambda *_: [("Username", "busy")])
    now = datetime.now(UTC)
    times = [f"{now - timedelta(days=80, minutes=n):%Y-%m-%dT%H:%M:%SZ}" for n in range(120)]
    for at in times:
        happened(lab, {"type": "IAMUser", "userName": "busy", **OURS}, eventTime=at)
    user = principal(PrincipalType.USER, "busy")
    target = Target(subject=user, incident="incident/1", step="context", at=now)
    (plan,) = capture_context.plan(target, Params(), aws)

    verdicts = []
    while Verdict.PROVEN not in verdicts:
        receipt = apply(plan, aws)
        verdicts.append(verify(plan, aws).verdict)

    # Pages of 50: at the seam of two parts an event can be in both.
    _, *parts = [json.loads(content(one)) for one in receipt.evidence]
    found = [part["captured"]["events in us-east-1"]["Username busy"]["events"] for part in parts]
    assert [len(events) for events in found] == [50, 50, 22]
    assert {e["EventId"] for events in found for e in events} == {
        e["EventId"] for e in everything("busy")
    }
    assert verdicts == [Verdict.PENDING] * 3 + [Verdict.PROVEN]
    assert [part["not captured"] for part in parts] == [{}, {}, {}]


def test_events_are_bounded_in_time(scene: Scene, aws: Aws) -> None:
    asked: list[Any] = []

    def look_up(params: dict[str, Any], **_: Any) -> Any:
        asked.append(json.loads(params["body"]))
        return AWSResponse("", 200, {}, None), {"Events": []}

    aws.client("cloudtrail").meta.events.register("before-call.cloudtrail.LookupEvents", look_up)

    remembered(resource(Kind.INSTANCE, scene.web_id), aws, hours=2160)

    by = [request["LookupAttributes"][0]["AttributeKey"] for request in asked]
    assert by == ["Username", "ResourceName"]
    assert asked[0]["StartTime"] == NOW.timestamp() - 90 * 24 * 3600


def test_lookup_that_stays_throttled_keeps_what_was_read(
    scene: Scene, aws: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture_context, "PARTS", 1)
    calls = 0

    def look_up(**_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 1:
            refusal = {"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}
            return AWSResponse("", 400, {}, None), refusal
        event = {"EventId": "1", "EventTime": NOW}
        return AWSResponse("", 200, {}, None), {"Events": [event], "NextToken": "more"}

    aws.client("cloudtrail").meta.events.register("before-call.cloudtrail.LookupEvents", look_up)

    found = remembered(resource(Kind.BUCKET, scene.bucket), aws)

    (events,) = found["captured"].values()
    assert len(events[f"ResourceName {scene.bucket}"]["events"]) == 1
    assert len(found["not captured"]) == 1


def test_events_of_whoever_has_credentials_are_looked_up_in_every_region(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    regions = {"Regions": [{"RegionName": "eu-west-1"}, {"RegionName": "us-east-1"}]}
    answer(aws, "ec2", "DescribeRegions", regions)

    for subject in (
        principal(PrincipalType.USER, "alice"),
        resource(Kind.INSTANCE, scene.web_id),
        resource(Kind.FUNCTION, "resize"),
    ):
        assert _history._regions(subject, aws) == ["us-east-1", "eu-west-1"]
    assert _history._regions(resource(Kind.BUCKET, scene.bucket), aws) == ["us-east-1"]


def flow_log(scene: Scene, **destination: Any) -> str:
    answer = boto3.client("ec2").create_flow_logs(
        ResourceIds=[scene.vpc_id], ResourceType="VPC", TrafficType="ALL", **destination
    )
    return str(answer["FlowLogIds"][0])


def test_flows_round_the_time_are_captured(scene: Scene, aws: Aws) -> None:
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="flows")
    role = "arn:aws:iam::123456789012:role/flows"
    id = flow_log(scene, LogGroupName="flows", DeliverLogsPermissionArn=role)
    at = int(datetime.now(UTC).timestamp() * 1000)
    for stream, line in ((f"{scene.web_interface_id}-all", "ours"), ("eni-0-all", "not ours")):
        logs.create_log_stream(logGroupName="flows", logStreamName=stream)
        events = [{"timestamp": at, "message": line}]
        logs.put_log_events(logGroupName="flows", logStreamName=stream, logEvents=events)

    found = remembered(resource(Kind.INSTANCE, scene.web_id), aws, flow_hours=72)

    flows = found["captured"][f"flows in {id}"]
    assert [(one["stream"], one["line"]) for one in flows["records"]] == [
        (f"{scene.web_interface_id}-all", "ours")
    ]
    assert flows["complete"]


def test_flows_go_back_to_when_it_began(scene: Scene, aws: Aws) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="example-flows")
    id = flow_log(scene, LogDestinationType="s3", LogDestination="arn:aws:s3:::example-flows")
    began = NOW - timedelta(days=5)
    for day in (began - timedelta(days=2), began):
        folder = f"AWSLogs/123456789012/vpcflowlogs/us-east-1/{day:%Y/%m/%d}"
        s3.put_object(Bucket="example-flows", Key=f"{folder}/a.log.gz", Body=b"flows")

    flows = f"flows in {id}"
    web = resource(Kind.INSTANCE, scene.web_id)
    found = remembered(web, aws, flow_hours=1, since=began)["captured"][flows]
    without = remembered(web, aws, flow_hours=1)["captured"][flows]

    assert [f"{began:%Y/%m/%d}" in one["uri"] for one in found["objects"]] == [True]
    assert without["objects"] == []


def test_page_without_flows_is_not_taken_for_the_last(scene: Scene, aws: Aws) -> None:
    id = flow_log(
        scene,
        LogGroupName="flows",
        DeliverLogsPermissionArn="arn:aws:iam::123456789012:role/flows",
    )
    pages = 0

    def searched(**_: Any) -> Any:
        nonlocal pages
        pages += 1
        event = {"logStreamName": "eni", "timestamp": 1, "message": "ours"}
        last = {"events": [event]}
        return AWSResponse("", 200, {}, None), last if pages == 9 else {
            "events": [],
            "nextToken": str(pages),
        }

    aws.client("logs").meta.events.register("before-call.cloudwatch-logs.FilterLogEvents", searched)

    found = remembered(resource(Kind.INSTANCE, scene.web_id), aws)["captured"][f"flows in {id}"]

    assert [one["line"] for one in found["records"]] == ["ours"]
    assert found["complete"]


def test_flows_in_a_bucket_are_listed_by_day(scene: Scene, aws: Aws) -> None:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="example-flows")
    id = flow_log(scene, LogDestinationType="s3", LogDestination="arn:aws:s3:::example-flows/net")
    folder = f"net/AWSLogs/123456789012/vpcflowlogs/us-east-1/{datetime.now(UTC):%Y/%m/%d}"
    s3.put_object(Bucket="example-flows", Key=f"{folder}/a.log.gz", Body=b"flows")
    s3.put_object(Bucket="example-flows", Key="net/AWSLogs/other/a.log.gz", Body=b"flows")

    found = remembered(resource(Kind.INSTANCE, scene.web_id), aws)

    (listed,) = found["captured"][f"flows in {id}"]["objects"]
    assert (listed["uri"], listed["bytes"]) == (f"s3://example-flows/{folder}/a.log.gz", 5)


def test_more_flows_than_are_read_are_named_as_missing(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_history, "OBJECTS", 1)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="example-flows")
    id = flow_log(scene, LogDestinationType="s3", LogDestination="arn:aws:s3:::example-flows")
    folder = f"AWSLogs/123456789012/vpcflowlogs/us-east-1/{datetime.now(UTC):%Y/%m/%d}"
    for name in "ab":
        s3.put_object(Bucket="example-flows", Key=f"{folder}/{name}", Body=b"")

    found = remembered(resource(Kind.INSTANCE, scene.web_id), aws)

    assert len(found["captured"][f"flows in {id}"]["objects"]) == 1
    assert found["not captured"][f"flows in {id}"].startswith("only a part is")


def test_hive_folders_are_found_too(aws: Aws) -> None:
    log = {"DestinationOptions": {"HiveCompatiblePartitions": True}}
    past = _history.Past(events=NOW, flows=NOW - timedelta(days=1), until=NOW)

    assert list(_history._folders(aws, log, "", past)) == [
        "AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/"
        f"year={day:%Y}/month={day:%m}/day={day:%d}/"
        for day in (NOW - timedelta(days=1), NOW)
    ]


def test_instance_without_flow_logs_says_so(scene: Scene, aws: Aws) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws)
    apply(plan, aws)
    apply(plan, aws)

    proof = verify(plan, aws)

    (gap,) = [check for check in proof.checks if check.name == "flows"]
    assert gap.detail == (
        "not captured: no flow log is configured for its interfaces, subnets or VPC"
    )
    assert proof.verdict is Verdict.PROVEN


def test_past_comes_after_what_containment_waits_for(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws)
    lab.control("DELETE", "firedoor/calls")

    first = apply(plan, aws)
    looked_up = [c for c in lab.control("GET", "firedoor/calls") if c["service"] == "cloudtrail"]
    pending = verify(plan, aws)
    second = apply(plan, aws)

    assert looked_up == []
    assert pending.verdict is Verdict.PENDING
    assert second.evidence[:-1] == first.evidence
    assert second.evidence[-1].name == f"{scene.web_id}-history.json"


def test_function_is_captured_with_its_role(scene: Scene, aws: Aws) -> None:
    boto3.client("lambda").create_function(
        FunctionName="resize",
        Runtime="python3.12",
        Role=scene.role_arn,
        Handler="x.y",
        Code={"ZipFile": b"PK"},
    )

    found = captured(resource(Kind.FUNCTION, "resize"), aws)

    assert found["function"]["FunctionName"] == "resize"
    assert found[f"role {scene.role_name}"]["role"]["Arn"] == scene.role_arn
    assert [version["Version"] for version in found["versions"]] == ["$LATEST"]


def test_account_is_captured_with_its_identities_and_trails(scene: Scene, aws: Aws) -> None:
    boto3.client("s3").create_bucket(Bucket="example-trail")
    boto3.client("cloudtrail").create_trail(Name="all", S3BucketName="example-trail")

    found = captured(resource(Kind.ACCOUNT, "123456789012"), aws)

    users = found["users, roles and policies"]["UserDetailList"]
    assert [user["UserName"] for user in users] == ["alice"]
    assert [trail["Status"]["IsLogging"] for trail in found["trails"]] == [False]


def test_pods_are_named_as_out_of_reach(scene: Scene, aws: Aws) -> None:
    receipt = apply(planned(resource(Kind.WORKLOAD, "prod/shop/deployments/web"), aws), aws)

    assert document(receipt)["not captured"]["pods"].startswith("Kubernetes has them, not AWS")


def test_denied_read_is_recorded_and_stops_no_other(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    fault = {
        "service": "ec2",
        "operation": "DescribeVolumes",
        "code": "UnauthorizedOperation",
        "status": 403,
    }
    lab.control("POST", "firedoor/faults", fault)
    plan = planned(resource(Kind.INSTANCE, scene.web_id), aws)

    found = document(apply(plan, aws))
    apply(plan, aws)
    proof = verify(plan, aws)

    assert "UnauthorizedOperation" in found["not captured"]["volumes"]
    assert found["captured"]["interfaces"] != []
    assert proof.verdict is Verdict.PROVEN
    (gap,) = [check for check in proof.checks if check.name == "volumes"]
    assert (gap.ok, gap.detail.startswith("not captured: DescribeVolumes")) == (False, True)


def test_throttled_read_is_tried_again(
    scene: Scene, aws: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.aws._context.time.sleep", lambda _: None)
    fault = {
        "service": "ec2",
        "operation": "DescribeVolumes",
        "code": "RequestLimitExceeded",
        "status": 503,
        "times": 2,
    }
    lab.control("POST", "firedoor/faults", fault)

    found = captured(resource(Kind.INSTANCE, scene.web_id), aws)

    assert len(found["volumes"]) == 2


@pytest.mark.parametrize("kind", sorted(set(Kind) - {Kind.PRINCIPAL}))
def test_no_kind_of_subject_makes_it_fail(kind: Kind, scene: Scene, aws: Aws) -> None:
    plan = planned(resource(kind, "arn:aws:example:us-east-1:123456789012:thing/one"), aws)

    receipt = apply(plan, aws)

    assert document(receipt)["subject"]["kind"] == kind
    assert verify(plan, aws).plan_digest == plan.digest


@pytest.mark.parametrize("kind", sorted(PrincipalType))
def test_no_type_of_principal_makes_it_fail(kind: PrincipalType, scene: Scene, aws: Aws) -> None:
    receipt = apply(planned(principal(kind, "nobody"), aws), aws)

    assert document(receipt)["subject"]["type"] == kind


def test_document_says_for_whom_by_whom_and_when(scene: Scene, aws: Aws) -> None:
    plan = planned(principal(PrincipalType.USER, "alice"), aws)

    receipt = apply(plan, aws)

    found = document(receipt)
    assert (found["incident"], found["step"], found["plan"]) == (
        "incident/1",
        "context",
        plan.digest,
    )
    assert found["taken_by"] == aws.identity
    assert datetime.fromisoformat(found["taken_at"]) == receipt.evidence[0].taken_at


def test_evidence_carries_the_hash_of_what_is_stored(scene: Scene, aws: Aws) -> None:
    (evidence,) = apply(planned(principal(PrincipalType.USER, "alice"), aws), aws).evidence

    assert evidence.sha256 == hashlib.sha256(content(evidence)).hexdigest()
    assert evidence.size == len(content(evidence))


def test_applying_twice_captures_once(scene: Scene, aws: Aws, lab: EmulatedAws) -> None:
    plan = planned(principal(PrincipalType.USER, "alice"), aws)

    apply(plan, aws)
    first = apply(plan, aws)
    lab.control("DELETE", "firedoor/calls")
    second = apply(plan, aws)

    assert second.evidence == first.evidence
    assert lab.control("GET", "firedoor/calls") == []


def test_altered_document_is_unproven(scene: Scene, aws: Aws) -> None:
    plan = planned(principal(PrincipalType.USER, "alice"), aws)
    (evidence,) = apply(plan, aws).evidence
    Path(urlparse(evidence.uri).path).write_bytes(b"{}")

    proof = verify(plan, aws)

    assert proof.verdict is Verdict.UNPROVEN
    assert proof.checks[0].detail.endswith("was altered")


def test_subject_that_is_gone_is_said_to_be(aws: Aws) -> None:
    plan = planned(principal(PrincipalType.USER, "nobody"), aws)
    apply(plan, aws)
    apply(plan, aws)

    said = [check for check in verify(plan, aws).checks if check.name == "subject"]

    assert [check.ok for check in said] == [False]
    assert said[0].detail.startswith("user/nobody does not exist")


def test_document_that_is_gone_is_unproven(scene: Scene, aws: Aws) -> None:
    plan = planned(principal(PrincipalType.USER, "alice"), aws)
    (evidence,) = apply(plan, aws).evidence
    Path(urlparse(evidence.uri).path).unlink()

    proof = verify(plan, aws)

    assert proof.verdict is Verdict.UNPROVEN
    assert proof.checks[0].detail.endswith("is not there")


def test_nothing_stored_is_unproven(aws: Aws) -> None:
    assert verify(planned(resource(Kind.OTHER, "x"), aws), aws).verdict is Verdict.UNPROVEN


def test_document_can_be_kept_in_a_bucket(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREDOOR_EVIDENCE", f"s3://{scene.bucket}/kept")
    settings.cache_clear()
    plan = planned(principal(PrincipalType.USER, "alice"), aws)

    (evidence,) = apply(plan, aws).evidence
    again = apply(plan, aws)
    proof = verify(plan, aws)

    assert evidence.uri.startswith(f"s3://{scene.bucket}/kept/")
    assert proof.verdict is Verdict.PROVEN
    assert again.evidence[0] == evidence
    locks = [check.ok for check in proof.checks if check.name.startswith("Object Lock")]
    assert locks == [False, False]


def test_document_in_a_bucket_with_object_lock_is_said_to_be_locked(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3.client("s3").create_bucket(Bucket="example-locked", ObjectLockEnabledForBucket=True)
    monkeypatch.setenv("FIREDOOR_EVIDENCE", "s3://example-locked/kept")
    settings.cache_clear()
    plan = planned(principal(PrincipalType.USER, "alice"), aws)
    apply(plan, aws)
    apply(plan, aws)

    proof = verify(plan, aws)

    locks = [check.detail for check in proof.checks if check.name.startswith("Object Lock")]
    assert (proof.verdict, locks) == (Verdict.PROVEN, ["legal hold", "legal hold"])


# What IAM calls otherwise than the API does.
IAM_NAMES = {
    "GetBucketCors": "GetBucketCORS",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetObjectLockConfiguration": "GetBucketObjectLockConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "ListObjectsV2": "ListBucket",
}


def test_every_read_has_its_permission(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: set[str] = set()

    def note(model: Any, **_: Any) -> None:
        prefix = model.service_model.signing_name.replace("tagging", "tag")
        made.add(f"{prefix}:{IAM_NAMES.get(model.name, model.name)}")

    services = (
        "autoscaling cloudtrail ec2 ecs eks elb elbv2 guardduty iam lambda logs rds"
        " resourcegroupstaggingapi s3 ssm sts"
    )
    for service in services.split():
        aws.client(service).meta.events.register("before-call", note)
    regions = {"Regions": [{"RegionName": "us-east-1"}]}
    monkeypatch.setattr(_history, "_regions", REGIONS)
    answer(aws, "ec2", "DescribeRegions", regions)
    boto3.client("logs").create_log_group(logGroupName="flows")
    flow_log(scene, LogDestinationType="s3", LogDestination=scene.bucket_arn)
    flow_log(scene, LogGroupName="flows", DeliverLogsPermissionArn=scene.role_arn)
    boto3.client("cloudtrail").create_trail(Name="all", S3BucketName=scene.bucket)
    for kind in set(Kind) - {Kind.PRINCIPAL, Kind.INSTANCE, Kind.BUCKET}:
        apply(planned(resource(kind, "arn:aws:x:::y"), aws), aws)
    apply(planned(resource(Kind.WORKLOAD, "arn:aws:ecs:us-east-1:1:task/c/t"), aws), aws)
    apply(planned(resource(Kind.WORKLOAD, "prod/shop/deployments/web"), aws), aws)
    for subject in (
        resource(Kind.INSTANCE, scene.web_id),
        resource(Kind.BUCKET, scene.bucket),
        principal(PrincipalType.USER, "alice"),
        principal(PrincipalType.ROLE, scene.role_name),
    ):
        remembered(subject, aws)

    assert made - set(ACTION.permissions.apply) == set()


def test_history_that_takes_too_long_is_cut_off(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_history, "TIME", -1.0)
    monkeypatch.setattr(capture_context, "PARTS", 1)

    found = remembered(principal(PrincipalType.USER, "alice"), aws)

    assert found["not captured"]["events in us-east-1: Username alice"].startswith(
        f"only the newest are, there are more before {datetime.now(UTC):%Y-%m-%d}"
    )
