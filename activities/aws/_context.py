"""What AWS says of a subject and around it now: gathered in two waves, and as a document."""

import base64
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError

from activities.aws import _facts
from activities.aws._facts import Read, Reads
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, NotFound, Refused, Throttled
from firedoor.model.finding import Kind, Principal, Resource

Facts = Mapping[str, Any]

ATTEMPTS = 3
"""Tries of a read that AWS throttles: all of them start at the same moment."""


PERMISSIONS = (
    "autoscaling:DescribeAutoScalingInstances",
    "cloudtrail:DescribeTrails",
    "cloudtrail:GetTrailStatus",
    "ec2:DescribeAddresses",
    "ec2:DescribeFlowLogs",
    "ec2:DescribeIamInstanceProfileAssociations",
    "ec2:DescribeImageAttribute",
    "ec2:DescribeImages",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRouteTables",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSnapshotAttribute",
    "ec2:DescribeSnapshots",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "ec2:DescribeVpcs",
    "ec2:GetConsoleOutput",
    "ec2:GetConsoleScreenshot",
    "ecs:DescribeClusters",
    "ecs:DescribeServices",
    "ecs:DescribeTaskDefinition",
    "ecs:DescribeTasks",
    "ecs:ListServices",
    "ecs:ListTasks",
    "eks:DescribeCluster",
    "eks:ListAccessEntries",
    "eks:ListAddons",
    "eks:ListNodegroups",
    "eks:ListPodIdentityAssociations",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "guardduty:ListDetectors",
    "iam:GetAccessKeyLastUsed",
    "iam:GetAccountAuthorizationDetails",
    "iam:GetAccountPasswordPolicy",
    "iam:GetAccountSummary",
    "iam:GetGroupPolicy",
    "iam:GetInstanceProfile",
    "iam:GetLoginProfile",
    "iam:GetPolicy",
    "iam:GetPolicyVersion",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:GetUser",
    "iam:GetUserPolicy",
    "iam:ListAccessKeys",
    "iam:ListAttachedGroupPolicies",
    "iam:ListAttachedRolePolicies",
    "iam:ListAttachedUserPolicies",
    "iam:ListGroupPolicies",
    "iam:ListGroupsForUser",
    "iam:ListInstanceProfilesForRole",
    "iam:ListMFADevices",
    "iam:ListRolePolicies",
    "iam:ListSSHPublicKeys",
    "iam:ListServiceSpecificCredentials",
    "iam:ListSigningCertificates",
    "iam:ListUserPolicies",
    "lambda:GetFunctionConcurrency",
    "lambda:GetFunctionConfiguration",
    "lambda:GetPolicy",
    "lambda:ListAliases",
    "lambda:ListEventSourceMappings",
    "lambda:ListFunctionUrlConfigs",
    "lambda:ListVersionsByFunction",
    "rds:DescribeDBClusterSnapshots",
    "rds:DescribeDBClusters",
    "rds:DescribeDBInstances",
    "rds:DescribeDBLogFiles",
    "rds:DescribeDBSnapshots",
    "rds:DescribeEvents",
    "s3:GetBucketAcl",
    "s3:GetBucketCORS",
    "s3:GetBucketLocation",
    "s3:GetBucketLogging",
    "s3:GetBucketNotification",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketOwnershipControls",
    "s3:GetBucketPolicy",
    "s3:GetBucketPolicyStatus",
    "s3:GetBucketPublicAccessBlock",
    "s3:GetBucketTagging",
    "s3:GetBucketVersioning",
    "s3:GetBucketWebsite",
    "s3:GetEncryptionConfiguration",
    "s3:GetLifecycleConfiguration",
    "s3:GetReplicationConfiguration",
    "ssm:DescribeInstanceInformation",
    "sts:GetCallerIdentity",
    "tag:GetResources",
)


def capture(subject: Resource | Principal, aws: Aws) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what could be read, by name, and why the rest could not.

    What does not exist is captured as None: that there is no bucket policy is a fact.
    """
    captured, missing = gather(aws, _first(subject, aws))
    further, also_missing = gather(aws, _second(subject, aws, captured))
    missing |= also_missing | _facts.out_of_reach(subject)
    return captured | further, missing


def gather(aws: Aws, reads: Reads) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what these reads gave, and why some gave nothing."""
    attempts = aws.together(*(partial(_attempt, read) for read in reads.values()))
    answers = dict(zip(reads, attempts, strict=True))
    captured = {name: value for name, (value, reason) in answers.items() if not reason}
    return captured, {name: reason for name, (_, reason) in answers.items() if reason}


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return a document as sorted JSON in UTF-8, times in UTC."""
    text = json.dumps(document, default=_plain, ensure_ascii=False, indent=2, sort_keys=True)
    return text.encode(errors="backslashreplace")  # consoles print anything


def _attempt(read: Read) -> tuple[Any, str]:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _without_metadata(read()), ""
        except NotFound:
            break
        except Throttled as error:
            if attempt == ATTEMPTS:
                return None, str(error)
            time.sleep(attempt)
        except (CloudError, Refused, BotoCoreError) as error:
            return None, str(error)
    return None, ""


def _first(subject: Resource | Principal, aws: Aws) -> Reads:
    reads = _facts.of_kind(subject, aws)
    if subject.id.startswith("arn:"):
        reads["tags"] = partial(_facts.tags, aws, subject.id)
    return reads


def _second(subject: Resource | Principal, aws: Aws, facts: Facts) -> Reads:
    """Read what only the first wave can point to."""
    match subject.kind:
        case Kind.INSTANCE:
            return _about_instance(aws, facts)
        case Kind.FUNCTION:
            role = (facts.get("function") or {}).get("Role", "").rpartition("/")[2]
            return {f"role {role}": partial(_facts.role, aws, role)} if role else {}
        case Kind.WORKLOAD:
            return _facts.around_tasks(aws, facts.get("tasks") or ())
        case _:
            return {}


def _about_instance(aws: Aws, facts: Facts) -> Reads:
    interfaces = facts.get("interfaces") or ()
    reads = _facts.around(aws, interfaces)
    for association in facts.get("instance profile associations") or ():
        profile = association["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        reads[f"instance profile {profile}"] = partial(_facts.profile, aws, profile)
    images = {i["ImageId"] for r in facts.get("instance") or () for i in r["Instances"]}
    for image in sorted(images):
        # An image of somebody else can be taken away at any time.
        reads[f"image {image}"] = partial(aws.client("ec2").describe_images, ImageIds=[image])
    if interfaces:
        reads["target groups"] = partial(_facts.target_groups, aws, interfaces)
    return reads


def _without_metadata(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_metadata(v) for k, v in value.items() if k != "ResponseMetadata"}
    return [_without_metadata(item) for item in value] if isinstance(value, list) else value


def _plain(value: object) -> str:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return str(value)
