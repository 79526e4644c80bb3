"""Access logs of application load balancers of AWS, to S3.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
"""

from typing import Any, Final

from firedoor.cloud.aws import Aws
from firedoor.enabling import _aws
from firedoor.enabling._aws import Bucket, apply, call
from firedoor.switch import Order, Step, Switch

COST: Final = "S3's own price for keeping them: https://aws.amazon.com/s3/pricing"
BUCKET: Final = "the bucket has to be in the same region, and encrypted with S3's own keys"


def plan(order: Order) -> tuple[Step, ...]:
    """Log the requests to every application load balancer, or to those that are named by ARN."""
    aws = _aws.clients(order)
    bucket = _aws.bucket(order, aws)
    named = {"LoadBalancerArns": list(order.only)} if order.only else {}
    all_ = aws.pages("elbv2", "DescribeLoadBalancers", "LoadBalancers", **named)
    ours = [one for one in all_ if one["Type"] == "application"]
    steps = [_step(one, order, aws, bucket) for one in ours]
    if all(step.done for step in steps):
        return tuple(steps)
    return _aws.allow(aws, bucket, _statements(order, bucket)), *steps


SWITCH = Switch(
    title="Requests (application load balancers)",
    cloud="aws",
    plan=plan,
    apply=apply,
    permissions=(
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeLoadBalancerAttributes",
        "elasticloadbalancing:ModifyLoadBalancerAttributes", *_aws.BUCKET_PERMISSIONS,
    ),
)  # fmt: skip


def _step(balancer: dict[str, Any], order: Order, aws: Aws, bucket: Bucket) -> Step:
    arn = balancer["LoadBalancerArn"]
    title = f"The requests to {balancer['LoadBalancerName']} are logged"
    read = aws.client("elbv2").describe_load_balancer_attributes(LoadBalancerArn=arn)
    before = {one["Key"]: one["Value"] for one in read["Attributes"]}
    if before.get("access_logs.s3.enabled") == "true":
        place = f"{before['access_logs.s3.bucket']}/{before.get('access_logs.s3.prefix', '')}"
        return Step(title=title, found=f"to s3://{place.rstrip('/')}")
    wanted = {
        "access_logs.s3.enabled": "true",
        "access_logs.s3.bucket": bucket.name,
        "access_logs.s3.prefix": bucket.prefix,
    }
    set_, undo = (
        call(
            "elbv2",
            "ModifyLoadBalancerAttributes",
            LoadBalancerArn=arn,
            Attributes=[{"Key": key, "Value": value} for key, value in values.items()],
        )
        for values in (wanted, {"access_logs.s3.enabled": "false"})
    )
    return _aws.step(
        title + f" to {order.destination}", aws, set_, undo=[undo], cost=COST, note=BUCKET
    )


def _statements(order: Order, bucket: Bucket) -> list[dict[str, Any]]:
    balancers = f"arn:{bucket.partition}:elasticloadbalancing:{order.region}:{order.account}"
    return [
        {
            "Sid": "FiredoorLoadBalancers",
            "Effect": "Allow",
            "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": bucket.objects(order.account),
            "Condition": {"ArnLike": {"aws:SourceArn": f"{balancers}:loadbalancer/*"}},
        }
    ]
