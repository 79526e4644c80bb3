"""A trail of all regions in AWS CloudTrail, with digests by which its files can be checked.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-s3-bucket-policy-for-cloudtrail.html
"""

from typing import Any, Final

from firedoor.cloud.aws import Aws
from firedoor.enabling import _aws
from firedoor.enabling._aws import Bucket, apply, call
from firedoor.switch import Order, Step, Switch

NAME: Final = "firedoor"
COST: Final = (
    "management events are free once for each account, and S3 costs its own price:"
    " https://aws.amazon.com/cloudtrail/pricing"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Record what is called in every region, with files that nobody can alter unseen."""
    aws = _aws.clients(order)
    trail = _trail(aws)
    if trail is None:
        bucket = _aws.bucket(order, aws)
        allowed = _aws.allow(aws, bucket, _statements(order, bucket))
        return allowed, _created(order, aws, bucket)
    return _validated(trail, aws), _started(trail, aws)


SWITCH = Switch(
    title="API calls (CloudTrail)",
    cloud="aws",
    plan=plan,
    apply=apply,
    permissions=(
        "cloudtrail:DescribeTrails", "cloudtrail:GetTrailStatus", "cloudtrail:CreateTrail",
        "cloudtrail:AddTags", "cloudtrail:UpdateTrail", "cloudtrail:StartLogging",
        *_aws.BUCKET_PERMISSIONS,
    ),
)  # fmt: skip


def _trail(aws: Aws) -> dict[str, Any] | None:
    """Return the trail of all regions that lacks least, if there is one."""
    trails = aws.client("cloudtrail").describe_trails()["trailList"]
    everywhere = [trail for trail in trails if trail.get("IsMultiRegionTrail")]
    return max(everywhere, key=lambda one: bool(one.get("LogFileValidationEnabled")), default=None)


def _created(order: Order, aws: Aws, bucket: Bucket) -> Step:
    prefix = {"S3KeyPrefix": bucket.prefix} if bucket.prefix else {}
    create = call(
        "cloudtrail",
        "CreateTrail",
        Name=NAME,
        S3BucketName=bucket.name,
        **prefix,
        IsMultiRegionTrail=True,
        IncludeGlobalServiceEvents=True,
        EnableLogFileValidation=True,
        TagsList=[_aws.TAG],
    )
    start = call("cloudtrail", "StartLogging", Name=NAME)
    undo = call("cloudtrail", "DeleteTrail", Name=NAME)
    title = f"The trail {NAME} records the calls of all regions to {order.destination}"
    return _aws.step(title, aws, create, start, undo=[undo], cost=COST)


def _validated(trail: dict[str, Any], aws: Aws) -> Step:
    title = f"The files of the trail {trail['Name']} can be checked"
    if trail.get("LogFileValidationEnabled"):
        return Step(title=title, found="it writes digests")
    on, off = (
        call(
            "cloudtrail",
            "UpdateTrail",
            region=trail["HomeRegion"],
            Name=trail["TrailARN"],
            EnableLogFileValidation=wanted,
        )
        for wanted in (True, False)
    )
    return _aws.step(title, aws, on, undo=[off], note=_whose(trail, aws))


def _started(trail: dict[str, Any], aws: Aws) -> Step:
    arn, region = trail["TrailARN"], trail["HomeRegion"]
    title = f"The trail {trail['Name']} records the calls of all regions"
    home = aws.elsewhere(region=region).client("cloudtrail")
    if home.get_trail_status(Name=arn)["IsLogging"]:
        return Step(title=title, found=f"it does, to s3://{trail['S3BucketName']}")
    start = call("cloudtrail", "StartLogging", region=region, Name=arn)
    stop = call("cloudtrail", "StopLogging", region=region, Name=arn)
    return _aws.step(title, aws, start, undo=[stop], cost=COST, note=_whose(trail, aws))


def _whose(trail: dict[str, Any], aws: Aws) -> str:
    ours = f":{aws.account}:" in trail["TrailARN"]
    return "" if ours else "it is a trail of the organization: only its account can change it"


def _statements(order: Order, bucket: Bucket) -> list[dict[str, Any]]:
    arn = f"arn:{bucket.partition}:cloudtrail:{order.region}:{order.account}:trail/{NAME}"
    said = {"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}}
    return [
        {
            "Sid": "FiredoorCloudTrailAcl",
            **said,
            "Action": "s3:GetBucketAcl",
            "Resource": f"arn:{bucket.partition}:s3:::{bucket.name}",
            "Condition": {"StringEquals": {"aws:SourceArn": arn}},
        },
        {
            "Sid": "FiredoorCloudTrailWrite",
            **said,
            "Action": "s3:PutObject",
            "Resource": bucket.objects(order.account),
            "Condition": {
                "StringEquals": {
                    "s3:x-amz-acl": "bucket-owner-full-control",
                    "aws:SourceArn": arn,
                }
            },
        },
    ]
