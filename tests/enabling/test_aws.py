"""Switches of AWS in the emulated AWS; what moto lacks of Security Hub is answered by a stub."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.stub import Stubber

from firedoor.cloud.aws import Aws
from firedoor.discovery import find
from firedoor.enabling import aws_flow_logs, aws_security_hub
from firedoor.errors import BadInput, CloudError, NotFound, UnplannedCall
from firedoor.lab.server import ACCOUNT, REGION
from firedoor.switch import Order, Step, Switch

SEED = (
    "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport}"
    " ${protocol} ${packets} ${bytes} ${start} ${end} ${action} ${log-status} ${vpc-id}"
    " ${subnet-id} ${instance-id} ${tcp-flags} ${type} ${pkt-srcaddr} ${pkt-dstaddr}"
)
SWITCHES = {id_: one for id_, one in find("firedoor.enabling", Switch).items() if one.apply}
EMULATED = sorted(SWITCHES.keys() - {"aws_security_hub"})
BUCKET = "aws-waf-logs-example"


def switch_on(id_: str, order: Order) -> tuple[Step, ...]:
    steps = SWITCHES[id_].plan(order)
    for step in steps:
        SWITCHES[id_].apply(step, order)
    return steps


def sent(step: Step) -> dict[str, Any]:
    return dict(step.calls[0].parameters)


def plan(id_: str, order: Order) -> tuple[Step, ...]:
    return SWITCHES[id_].plan(order)


@pytest.mark.parametrize("id_", EMULATED)
def test_a_second_run_does_nothing(served: Any, id_: str) -> None:
    first = switch_on(id_, served.order)
    second = plan(id_, served.order)

    assert any(not step.done for step in first)
    assert [(step.done, step.calls, bool(step.found)) for step in second] == [
        (True, (), True) for _ in second
    ]


@pytest.mark.parametrize("id_", EMULATED)
def test_planning_only_says_what_would_be_called_and_how_to_take_it_back(
    served: Any, id_: str
) -> None:
    steps = plan(id_, served.order)

    assert steps == plan(id_, served.order)
    for step in steps:
        commands = (*step.commands, *step.undo)
        assert len(step.commands) == len(step.calls) > 0
        assert len(step.undo) > 0
        assert all(one.startswith("aws ") and f"--region {REGION}" in one for one in commands)


def test_nothing_is_called_that_aws_was_not_planned_to_do(served: Any, aws: Aws) -> None:
    for id_ in EMULATED:
        for call in (call for step in plan(id_, served.order) for call in step.calls):
            with pytest.raises(UnplannedCall):
                aws.call(call)


def test_what_is_no_bucket_is_said(account: Any) -> None:
    for destination in (
        "",
        "logs",
        "s3://",
        "gs://logs-example",
        "s3://No_Such",
        "s3://logs-example/`x`",
    ):
        with pytest.raises(BadInput, match=r"destination: .*: expected s3://bucket/prefix"):
            plan("aws_flow_logs", replace(account.order, destination=destination))


def test_a_bucket_that_is_not_there_is_said(account: Any) -> None:
    with pytest.raises(BadInput, match="there is no such bucket"):
        plan("aws_flow_logs", replace(account.order, destination="s3://no-such-example"))


# VPC flow logs


def test_flow_logs_have_the_fields_that_are_asked_for(account: Any) -> None:
    switch_on("aws_flow_logs", account.order)
    made = account.client("ec2").describe_flow_logs()["FlowLogs"]

    assert {(log["ResourceId"], log["LogFormat"], log["LogDestination"]) for log in made} == {
        (vpc, SEED, f"arn:aws:s3:::{BUCKET}/network") for vpc in account.vpcs
    }


def test_the_command_is_that_of_the_aws_cli(account: Any) -> None:
    step = plan("aws_flow_logs", account.order)[0]

    assert step.commands[0].startswith(
        f"aws ec2 create-flow-logs --resource-type VPC --resource-ids {account.vpcs[0]}"
        " --traffic-type ALL --log-destination-type s3"
        f" --log-destination arn:aws:s3:::{BUCKET}/network --log-format '{SEED}'"
    )


def test_all_fields_take_in_the_direction_and_the_region(account: Any) -> None:
    order = replace(account.order, all_fields=True)
    switch_on("aws_flow_logs", account.order)

    (log_format,) = {sent(s)["LogFormat"] for s in plan("aws_flow_logs", order)}

    assert log_format.startswith(SEED)
    assert {"${region}", "${flow-direction}", "${reject-reason}"} <= set(log_format.split())
    assert len(log_format.split()) == len(aws_flow_logs.FIELDS + aws_flow_logs.MORE) == 40


def test_more_fields_than_asked_for_are_enough(account: Any) -> None:
    switch_on("aws_flow_logs", replace(account.order, all_fields=True))

    assert all(step.done for step in plan("aws_flow_logs", account.order))


def test_other_flow_logs_stay_and_are_named(account: Any) -> None:
    other = account.client("ec2").create_flow_logs(
        ResourceType="VPC",
        ResourceIds=account.vpcs[:1],
        TrafficType="REJECT",
        LogDestinationType="s3",
        LogDestination=f"arn:aws:s3:::{BUCKET}",
    )["FlowLogIds"][0]

    step = plan("aws_flow_logs", account.order)[0]

    assert (step.done, other in step.note) == (False, True)


def test_only_the_vpcs_that_are_named_are_logged(account: Any) -> None:
    steps = plan("aws_flow_logs", replace(account.order, only=(account.vpcs[1],)))

    assert [sent(step)["ResourceIds"] for step in steps] == [[account.vpcs[1]]]
    with pytest.raises(NotFound, match="InvalidVpcID"):
        plan("aws_flow_logs", replace(account.order, only=("vpc-00000000",)))


def test_what_aws_names_as_not_done_is_an_error(account: Any, aws: Aws) -> None:
    first, *_ = plan("aws_flow_logs", account.order)
    why = {"Code": "FlowLogAlreadyExists", "Message": "There is one."}

    with Stubber(aws.client("ec2")) as stub:
        undone = [{"ResourceId": account.vpcs[0], "Error": why}]
        stub.add_response("create_flow_logs", {"FlowLogIds": [], "Unsuccessful": undone})
        with pytest.raises(CloudError, match="CreateFlowLogs: FlowLogAlreadyExists: There is one"):
            SWITCHES["aws_flow_logs"].apply(first, account.order)


# DNS


def test_each_vpc_is_put_to_the_configuration_made_before(account: Any) -> None:
    switch_on("aws_dns", account.order)
    client = account.client("route53resolver")
    (config,) = client.list_resolver_query_log_configs()["ResolverQueryLogConfigs"]
    joined = client.list_resolver_query_log_config_associations()

    assert config["DestinationArn"] == f"arn:aws:s3:::{BUCKET}/network"
    assert {
        (one["ResourceId"], one["ResolverQueryLogConfigId"])
        for one in joined["ResolverQueryLogConfigAssociations"]
    } == {(vpc, config["Id"]) for vpc in account.vpcs}


def test_a_vpc_cannot_be_put_to_what_was_never_made(account: Any) -> None:
    _, vpc, *_ = plan("aws_dns", account.order)

    with pytest.raises(NotFound, match="nothing logs queries to"):
        SWITCHES["aws_dns"].apply(vpc, account.order)


# CloudTrail


def test_the_trail_covers_all_regions_and_writes_digests(account: Any) -> None:
    switch_on("aws_cloudtrail", account.order)
    client = account.client("cloudtrail")
    (trail,) = client.describe_trails()["trailList"]

    assert (trail["IsMultiRegionTrail"], trail["LogFileValidationEnabled"]) == (True, True)
    assert (trail["S3BucketName"], trail["S3KeyPrefix"]) == (BUCKET, "network")
    assert client.get_trail_status(Name=trail["Name"])["IsLogging"] is True


def test_a_trail_that_lacks_something_gets_only_that(account: Any) -> None:
    client = account.client("cloudtrail")
    client.create_trail(Name="theirs", S3BucketName=BUCKET, IsMultiRegionTrail=True)

    steps = switch_on("aws_cloudtrail", account.order)

    assert [call.operation for step in steps for call in step.calls] == [
        "UpdateTrail", "StartLogging",
    ]  # fmt: skip
    assert "--enable-log-file-validation" in steps[0].commands[0]
    assert "--no-enable-log-file-validation" in steps[0].undo[0]
    assert all(step.done for step in plan("aws_cloudtrail", account.order))


def test_what_a_bucket_policy_says_otherwise_stays(account: Any) -> None:
    theirs = {
        "Sid": "Theirs",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:DeleteObject",
        "Resource": f"arn:aws:s3:::{BUCKET}/*",
    }
    s3 = account.client("s3")
    before = json.dumps({"Version": "2012-10-17", "Statement": [theirs]})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=before)

    allow, *_ = switch_on("aws_cloudtrail", account.order)
    said = json.loads(s3.get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]

    assert [one["Sid"] for one in said] == [
        "Theirs", "FiredoorCloudTrailAcl", "FiredoorCloudTrailWrite",
    ]  # fmt: skip
    assert before in allow.undo[0]


# GuardDuty


def test_guardduty_gets_its_protection_plans_as_features(account: Any) -> None:
    switch_on("aws_guardduty", account.order)
    client = account.client("guardduty")
    (id_,) = client.list_detectors()["DetectorIds"]
    detector = client.get_detector(DetectorId=id_)

    assert detector["Status"] == "ENABLED"
    assert {one["Name"]: one["Status"] for one in detector["Features"]} == dict.fromkeys(
        (
            "S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "EBS_MALWARE_PROTECTION", "RDS_LOGIN_EVENTS",
            "LAMBDA_NETWORK_LOGS", "RUNTIME_MONITORING",
        ),
        "ENABLED",
    )  # fmt: skip


def test_a_detector_gets_only_the_features_that_it_lacks(account: Any) -> None:
    made = account.client("guardduty").create_detector(
        Enable=True, Features=[{"Name": "S3_DATA_EVENTS", "Status": "ENABLED"}]
    )

    there, lacking = plan("aws_guardduty", account.order)

    assert (there.done, there.found) == (True, f"detector {made['DetectorId']}")
    assert [one["Name"] for one in sent(lacking)["Features"]] == [
        "EKS_AUDIT_LOGS", "EBS_MALWARE_PROTECTION", "RDS_LOGIN_EVENTS", "LAMBDA_NETWORK_LOGS",
        "RUNTIME_MONITORING",
    ]  # fmt: skip
    assert "DataSources" not in sent(lacking)


# Load balancers and WAF


def test_a_load_balancer_that_logs_elsewhere_is_left_alone(served: Any) -> None:
    client = served.client("elbv2")
    (balancer,) = client.describe_load_balancers()["LoadBalancers"]
    attributes = {"access_logs.s3.enabled": "true", "access_logs.s3.bucket": "theirs-example"}
    client.modify_load_balancer_attributes(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Attributes=[{"Key": key, "Value": value} for key, value in attributes.items()],
    )

    (step,) = plan("aws_load_balancers", served.order)

    assert (step.done, step.found) == (True, "to s3://theirs-example")


def test_waf_logs_only_to_buckets_of_its_own_names(served: Any) -> None:
    served.client("s3").create_bucket(Bucket="logs-example")

    with pytest.raises(BadInput, match="expected s3://aws-waf-logs-"):
        plan("aws_waf", replace(served.order, destination="s3://logs-example"))
    with pytest.raises(BadInput, match="web ACL: arn:none: there is none in us-east-1"):
        plan("aws_waf", replace(served.order, only=("arn:none",)))


# Security Hub: moto knows neither GetEnabledStandards nor BatchEnableStandards

CIS = f"arn:aws:securityhub:{REGION}::standards/cis-aws-foundations-benchmark/v/3.0.0"
FSBP = f"arn:aws:securityhub:{REGION}::standards/aws-foundational-security-best-practices/v/1.0.0"


def test_the_hub_is_off_at_first_and_both_standards_are_enabled_by_arns_of_the_region(
    account: Any,
) -> None:
    hub, *standards = plan("aws_security_hub", account.order)

    assert sent(hub)["EnableDefaultStandards"] is False
    assert [
        sent(step)["StandardsSubscriptionRequests"][0]["StandardsArn"] for step in standards
    ] == [CIS, FSBP]
    assert (
        f"subscription/{aws_security_hub.STANDARDS['CIS AWS Foundations Benchmark 3.0.0']}"
        in (standards[0].undo[0])
    )


def test_what_is_enabled_of_security_hub_is_not_enabled_again(account: Any, aws: Aws) -> None:
    hub, *_ = plan("aws_security_hub", account.order)
    SWITCHES["aws_security_hub"].apply(hub, account.order)
    subscription = f"arn:aws:securityhub:{REGION}:{ACCOUNT}:subscription/cis"
    on = {
        "StandardsSubscriptionArn": subscription,
        "StandardsArn": CIS,
        "StandardsInput": {},
        "StandardsStatus": "READY",
    }
    there = {"HubArn": "arn:hub", "SubscribedAt": datetime(2026, 1, 31, tzinfo=UTC).isoformat()}
    client = aws.client("securityhub")

    with Stubber(client) as stub:
        stub.add_response("describe_hub", there)
        stub.add_response("get_enabled_standards", {"StandardsSubscriptions": [on]})
        hub, cis, fsbp = plan("aws_security_hub", account.order)
        request = [{"StandardsArn": FSBP}]
        stub.add_response(
            "batch_enable_standards",
            {
                "StandardsSubscriptions": [
                    {**on, "StandardsArn": FSBP, "StandardsStatus": "PENDING"}
                ]
            },
            {"StandardsSubscriptionRequests": request},
        )
        SWITCHES["aws_security_hub"].apply(fsbp, account.order)

    assert (hub.found, cis.found, fsbp.done) == ("arn:hub", subscription, False)
