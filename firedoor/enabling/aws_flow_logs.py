"""VPC flow logs of AWS, to S3.

https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html
"""

from typing import Any, Final

from firedoor.cloud.aws import Aws
from firedoor.enabling import _aws
from firedoor.enabling._aws import Bucket, apply, call
from firedoor.switch import Order, Step, Switch

FIELDS: Final = (
    "version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport", "protocol",
    "packets", "bytes", "start", "end", "action", "log-status", "vpc-id", "subnet-id",
    "instance-id", "tcp-flags", "type", "pkt-srcaddr", "pkt-dstaddr",
)  # fmt: skip
# Those of version 6 are of transit gateways; those of 7 take the right to list ECS clusters.
MORE: Final = (
    "region", "az-id", "sublocation-type", "sublocation-id", "pkt-src-aws-service",
    "pkt-dst-aws-service", "flow-direction", "traffic-path", "ecs-cluster-arn", "ecs-cluster-name",
    "ecs-container-instance-arn", "ecs-container-instance-id", "ecs-container-id",
    "ecs-second-container-id", "ecs-service-name", "ecs-task-definition-arn", "ecs-task-arn",
    "ecs-task-id", "reject-reason",
)  # fmt: skip
COST: Final = (
    "about $0.25 for each GB that is delivered to S3, and S3's own price for keeping it:"
    " https://aws.amazon.com/cloudwatch/pricing (vended logs)"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Log all traffic of every VPC, or of those that are named."""
    aws = _aws.clients(order)
    bucket = _aws.bucket(order, aws)
    named = {"VpcIds": list(order.only)} if order.only else {}
    vpcs = [vpc["VpcId"] for vpc in aws.pages("ec2", "DescribeVpcs", "Vpcs", **named)]
    return tuple(_step(vpc, order, aws, bucket) for vpc in sorted(vpcs))


SWITCH = Switch(
    title="VPC flow logs",
    cloud="aws",
    plan=plan,
    apply=apply,
    permissions=(
        "ec2:DescribeVpcs", "ec2:DescribeFlowLogs", "ec2:CreateFlowLogs", "ec2:CreateTags",
        "logs:CreateLogDelivery", "s3:ListBucket", "s3:GetBucketPolicy", "s3:PutBucketPolicy",
    ),
)  # fmt: skip


def _step(vpc: str, order: Order, aws: Aws, bucket: Bucket) -> Step:
    title = f"The traffic of {vpc} is logged to {order.destination}"
    fields = (*FIELDS, *MORE) if order.all_fields else FIELDS
    by_vpc = [{"Name": "resource-id", "Values": [vpc]}]
    logs = aws.pages("ec2", "DescribeFlowLogs", "FlowLogs", Filters=by_vpc)
    for log in logs:
        if _is_wanted(log, fields, bucket):
            failed = log.get("DeliverLogsStatus") == "FAILED"
            why = f"but not delivered: {log.get('DeliverLogsErrorMessage', '')}" if failed else ""
            return Step(title=title, found=f"{log['FlowLogId']} does", note=why)
    others = ", ".join(f"{log['FlowLogId']} to {log.get('LogDestination', '?')}" for log in logs)
    create = call(
        "ec2",
        "CreateFlowLogs",
        ResourceType="VPC",
        ResourceIds=[vpc],
        TrafficType="ALL",
        LogDestinationType="s3",
        LogDestination=bucket.arn,
        LogFormat=" ".join(f"${{{field}}}" for field in fields),
        TagSpecifications=[{"ResourceType": "vpc-flow-log", "Tags": [_aws.TAG]}],
    )
    return _aws.step(
        title,
        aws,
        create,
        undo=[_undo(vpc, aws.region)],
        cost=COST,
        note=f"it is logged otherwise too, which goes on and is paid for: {others}" if logs else "",
    )


def _is_wanted(log: dict[str, Any], fields: tuple[str, ...], bucket: Bucket) -> bool:
    has = {field.strip("${}") for field in log.get("LogFormat", "").split()}
    return (
        log.get("FlowLogStatus") == "ACTIVE"
        and log.get("TrafficType") == "ALL"
        and log.get("LogDestination", "").rstrip("/") == bucket.arn
        and has >= set(fields)
    )


def _undo(vpc: str, region: str) -> str:
    ours = f"Name=resource-id,Values={vpc} Name=tag:{_aws.TAG['Key']},Values={_aws.TAG['Value']}"
    ids = (
        f"aws ec2 describe-flow-logs --filter {ours} --query 'FlowLogs[].FlowLogId'"
        f" --output text --region {region}"
    )
    return f"aws ec2 delete-flow-logs --flow-log-ids $({ids}) --region {region}"
