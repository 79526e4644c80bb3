"""AWS Security Hub CSPM, and two standards that it checks accounts by.

https://docs.aws.amazon.com/securityhub/latest/userguide/standards-view-manage.html
"""

from typing import Any, Final

from firedoor.cloud.aws import Aws
from firedoor.enabling import _aws
from firedoor.enabling._aws import apply, call
from firedoor.errors import CloudError
from firedoor.switch import Order, Step, Switch

STANDARDS: Final = {
    "CIS AWS Foundations Benchmark 3.0.0": "cis-aws-foundations-benchmark/v/3.0.0",
    "AWS Foundational Security Best Practices 1.0.0": (
        "aws-foundational-security-best-practices/v/1.0.0"
    ),
}
COST: Final = (
    "free for 30 days, then about $0.0010 for each of the first 100,000 checks of a month, and AWS"
    " Config for what it records: https://aws.amazon.com/security-hub/cspm/pricing"
)
CONFIG: Final = "most of its checks need AWS Config to record resources in this region"
# What Security Hub answers where it is off.
_OFF = ("InvalidAccessException", "ResourceNotFoundException")


def plan(order: Order) -> tuple[Step, ...]:
    """Have Security Hub collect findings in this region, and check the account by two standards."""
    aws = _aws.clients(order)
    title = f"Security Hub collects findings of {order.account} in {order.region}"
    hub = aws.client("securityhub")
    try:
        found = Step(title=title, found=hub.describe_hub()["HubArn"])
    except CloudError as error:
        if error.code not in _OFF:
            raise
        return _enabled(title, aws), *(_standard(name, aws, ()) for name in STANDARDS)
    on = aws.pages("securityhub", "GetEnabledStandards", "StandardsSubscriptions")
    return found, *(_standard(name, aws, on) for name in STANDARDS)


SWITCH = Switch(
    title="Findings and standards (Security Hub)",
    cloud="aws",
    plan=plan,
    apply=apply,
    permissions=(
        "securityhub:DescribeHub", "securityhub:GetEnabledStandards",
        "securityhub:EnableSecurityHub", "securityhub:TagResource",
        "securityhub:BatchEnableStandards", "iam:CreateServiceLinkedRole",
    ),
)  # fmt: skip


def standard(name: str, partition: str, region: str) -> str:
    """Return the ARN of a standard, which is of a region.

    Only the old CIS 1.2.0 has one without a region, and with `ruleset` in it.
    """
    return f"arn:{partition}:securityhub:{region}::standards/{STANDARDS[name]}"


def _enabled(title: str, aws: Aws) -> Step:
    enable = call(
        "securityhub",
        "EnableSecurityHub",
        EnableDefaultStandards=False,
        ControlFindingGenerator="SECURITY_CONTROL",
        Tags={_aws.TAG["Key"]: _aws.TAG["Value"]},
    )
    undo = call("securityhub", "DisableSecurityHub")
    return _aws.step(title, aws, enable, undo=[undo], cost=COST, note=CONFIG)


def _standard(name: str, aws: Aws, on: Any) -> Step:
    title = f"Security Hub checks by {name}"
    arn = standard(name, aws.partition, aws.region)
    for one in on:
        if one["StandardsArn"] == arn and one["StandardsStatus"] not in ("DELETING", "FAILED"):
            return Step(title=title, found=one["StandardsSubscriptionArn"])
    enable = call(
        "securityhub",
        "BatchEnableStandards",
        StandardsSubscriptionRequests=[{"StandardsArn": arn}],
    )
    subscription = (
        f"arn:{aws.partition}:securityhub:{aws.region}:{aws.account}:subscription/{STANDARDS[name]}"
    )
    undo = call("securityhub", "BatchDisableStandards", StandardsSubscriptionArns=[subscription])
    return _aws.step(title, aws, enable, undo=[undo], cost=COST, note=CONFIG)
