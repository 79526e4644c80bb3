"""Logs of the DNS queries in VPCs: Route 53 Resolver query logging, to S3.

https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resolver-query-logs.html
"""

import hashlib
from typing import Any, Final

from firedoor.cloud.aws import Aws
from firedoor.enabling import _aws
from firedoor.enabling._aws import Bucket, call
from firedoor.errors import NotFound
from firedoor.model.plan import LATER, Call
from firedoor.switch import Order, Step, Switch

SERVICE: Final = "route53resolver"
COST: Final = (
    "about $0.25 for each GB that is delivered to S3, and S3's own price for keeping it:"
    " https://aws.amazon.com/cloudwatch/pricing (vended logs)"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Log the DNS queries of every VPC, or of those that are named."""
    aws = _aws.clients(order)
    bucket = _aws.bucket(order, aws)
    config = _config(aws, bucket)
    named = {"VpcIds": list(order.only)} if order.only else {}
    vpcs = sorted(vpc["VpcId"] for vpc in aws.pages("ec2", "DescribeVpcs", "Vpcs", **named))
    logged = {
        one["ResourceId"]: one["ResolverQueryLogConfigId"]
        for one in aws.pages(
            SERVICE,
            "ListResolverQueryLogConfigAssociations",
            "ResolverQueryLogConfigAssociations",
        )
        if one["Status"] in ("CREATING", "ACTIVE")
    }
    steps = [_associated(vpc, logged.get(vpc, ""), config, aws, bucket) for vpc in vpcs]
    return _configured(order, config, aws, bucket), *steps


def apply(step: Step, order: Order) -> None:
    """Make the calls of a step and no others; raises `CloudError`."""
    aws = _aws.clients(order)
    with aws.only(step.calls):
        for one in step.calls:
            aws.call(_known(one, order, aws))


SWITCH = Switch(
    title="DNS queries (Route 53 Resolver)",
    cloud="aws",
    plan=plan,
    apply=apply,
    permissions=(
        "ec2:DescribeVpcs", "route53resolver:ListResolverQueryLogConfigs",
        "route53resolver:ListResolverQueryLogConfigAssociations",
        "route53resolver:CreateResolverQueryLogConfig", "route53resolver:TagResource",
        "route53resolver:AssociateResolverQueryLogConfig", "logs:CreateLogDelivery",
        "s3:ListBucket", "s3:GetBucketPolicy", "s3:PutBucketPolicy",
    ),
)  # fmt: skip


def _config(aws: Aws, bucket: Bucket) -> dict[str, Any] | None:
    """Return the configuration that logs to a bucket, if there is one."""
    configs = aws.pages(SERVICE, "ListResolverQueryLogConfigs", "ResolverQueryLogConfigs")
    wanted = (one for one in configs if one["DestinationArn"].rstrip("/") == bucket.arn)
    return next((one for one in wanted if one["Status"] in ("CREATING", "CREATED")), None)


def _configured(order: Order, config: dict[str, Any] | None, aws: Aws, bucket: Bucket) -> Step:
    title = f"Resolver can log queries to {order.destination}"
    if config:
        return Step(title=title, found=f"{config['Id']} does")
    # The same request, when it is repeated, makes no second one.
    request = hashlib.sha256(bucket.arn.encode()).hexdigest()[:16]
    create = call(
        SERVICE,
        "CreateResolverQueryLogConfig",
        Name="firedoor",
        DestinationArn=bucket.arn,
        CreatorRequestId=f"firedoor-{request}",
        Tags=[_aws.TAG],
    )
    undo = f"aws {SERVICE} delete-resolver-query-log-config {_id_option(aws, bucket)}"
    return _aws.step(title, aws, create, undo=[f"{undo} --region {aws.region}"])


def _associated(vpc: str, by: str, config: dict[str, Any] | None, aws: Aws, bucket: Bucket) -> Step:
    title = f"The DNS queries of {vpc} are logged"
    if by:
        here = config is not None and by == config["Id"]
        return Step(title=title, found=f"{by} does" + ("" if here else ", to another place"))
    id_ = config["Id"] if config else LATER
    associate = call(
        SERVICE, "AssociateResolverQueryLogConfig", ResolverQueryLogConfigId=id_, ResourceId=vpc
    )
    options = f"{_id_option(aws, bucket)} --resource-id {vpc} --region {aws.region}"
    done = f"aws {SERVICE} associate-resolver-query-log-config {options}"
    undo = f"aws {SERVICE} disassociate-resolver-query-log-config {options}"
    return Step(title=title, calls=(associate,), commands=(done,), undo=(undo,), cost=COST)


def _id_option(aws: Aws, bucket: Bucket) -> str:
    """Return the option that names the configuration, which may be there only later."""
    where = f"ResolverQueryLogConfigs[?DestinationArn==`{bucket.arn}`].Id"
    listed = f"aws {SERVICE} list-resolver-query-log-configs --query '{where}' --output text"
    return f'--resolver-query-log-config-id "$({listed} --region {aws.region})"'


def _known(one: Call, order: Order, aws: Aws) -> Call:
    """Return a call with the id that was not known yet."""
    if LATER not in one.parameters.values():
        return one
    config = _config(aws, _aws.bucket(order, aws))
    if config is None:
        what = f"nothing logs queries to {order.destination} yet"
        raise NotFound("ResourceNotFoundException", what, one.operation)
    known = {name: config["Id"] if v == LATER else v for name, v in one.parameters.items()}
    return one.model_copy(update={"parameters": known})
