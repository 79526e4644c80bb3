"""Logs of the web ACLs of AWS WAF, to S3.

https://docs.aws.amazon.com/waf/latest/developerguide/logging-s3.html
"""

from typing import Any, Final

from firedoor.cloud.aws import Aws
from firedoor.enabling import _aws
from firedoor.enabling._aws import Bucket, apply, call
from firedoor.errors import BadInput, NotFound
from firedoor.switch import Order, Step, Switch

PREFIX: Final = "aws-waf-logs-"
"""How the name of a bucket has to begin that WAF logs to."""
GLOBAL: Final = "us-east-1"
"""Where the web ACLs of CloudFront are."""
COST: Final = (
    "about $0.25 for each GB that is delivered to S3, and S3's own price for keeping it:"
    " https://aws.amazon.com/cloudwatch/pricing (vended logs)"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Log what every web ACL of this region does, or those that are named by ARN."""
    aws = _aws.clients(order)
    bucket = _aws.bucket(order, aws)
    if not bucket.name.startswith(PREFIX):
        expected = f"expected s3://{PREFIX}…: WAF logs to buckets of such names only"
        raise BadInput("destination", order.destination, expected)
    scopes = ("REGIONAL", "CLOUDFRONT") if order.region == GLOBAL else ("REGIONAL",)
    acls = [acl for scope in scopes for acl in _acls(aws, scope)]
    meant = [acl for acl in acls if not order.only or acl["ARN"] in order.only]
    if missing := set(order.only) - {acl["ARN"] for acl in acls}:
        raise BadInput("web ACL", min(missing), f"there is none in {order.region}")
    return tuple(_step(acl, order, aws, bucket) for acl in meant)


SWITCH = Switch(
    title="Web requests (WAF)",
    cloud="aws",
    plan=plan,
    apply=apply,
    permissions=(
        "wafv2:ListWebACLs", "wafv2:GetLoggingConfiguration", "wafv2:PutLoggingConfiguration",
        "logs:CreateLogDelivery", "iam:CreateServiceLinkedRole", *_aws.BUCKET_PERMISSIONS,
    ),
)  # fmt: skip


def _acls(aws: Aws, scope: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = aws.client("wafv2").list_web_acls(Scope=scope, **more)
        found += page["WebACLs"]
        if not page.get("NextMarker"):
            return found
        more = {"NextMarker": page["NextMarker"]}


def _step(acl: dict[str, Any], order: Order, aws: Aws, bucket: Bucket) -> Step:
    arn = acl["ARN"]
    title = f"What the web ACL {acl['Name']} does is logged"
    try:
        read = aws.client("wafv2").get_logging_configuration(ResourceArn=arn)
        to = ", ".join(read["LoggingConfiguration"]["LogDestinationConfigs"])
        return Step(title=title, found=f"to {to}")
    except NotFound:
        pass
    put = call(
        "wafv2",
        "PutLoggingConfiguration",
        LoggingConfiguration={"ResourceArn": arn, "LogDestinationConfigs": [bucket.arn]},
    )
    undo = call("wafv2", "DeleteLoggingConfiguration", ResourceArn=arn)
    return _aws.step(f"{title} to {order.destination}", aws, put, undo=[undo], cost=COST)
