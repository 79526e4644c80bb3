"""What AWS says of a subject and around it: gathered in two waves, and as a document."""

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
from firedoor.errors import CloudError, NotFound, Throttled
from firedoor.model.finding import Kind, Principal, PrincipalType, Resource

Facts = Mapping[str, Any]

EVENTS_PAGES = 4
"""Pages of 50 CloudTrail events for each name that is looked up."""

EVENTS_PAUSE = 0.5
"""Seconds between lookups: AWS allows two a second in an account and region."""

ATTEMPTS = 3
"""Tries of a read that AWS throttles: all of them start at the same moment."""


PERMISSIONS = (
    "autoscaling:DescribeAutoScalingInstances",
    "cloudtrail:DescribeTrails",
    "cloudtrail:LookupEvents",
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
    "eks:DescribeCluster",
    "eks:ListAccessEntries",
    "eks:ListNodegroups",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetGroups",
    "elasticloadbalancing:DescribeTargetHealth",
    "guardduty:ListDetectors",
    "iam:GetAccessKeyLastUsed",
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
    "lambda:GetFunctionConfiguration",
    "lambda:GetPolicy",
    "lambda:ListEventSourceMappings",
    "lambda:ListFunctionUrlConfigs",
    "rds:DescribeDBClusters",
    "rds:DescribeDBInstances",
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


def capture(
    subject: Resource | Principal, aws: Aws, since: datetime, until: datetime
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what could be read, by name, and why the rest could not.

    What does not exist is captured as None: that there is no bucket policy is a fact.
    """
    captured, missing = _gather(aws, _first(subject, aws, since, until))
    further, also_missing = _gather(aws, _second(subject, aws, captured))
    return captured | further, missing | also_missing


def canonical(document: Mapping[str, Any]) -> bytes:
    """Return a document as sorted JSON in UTF-8, times in UTC."""
    text = json.dumps(document, default=_plain, ensure_ascii=False, indent=2, sort_keys=True)
    return text.encode(errors="backslashreplace")  # consoles print anything


def _gather(aws: Aws, reads: Reads) -> tuple[dict[str, Any], dict[str, str]]:
    attempts = aws.together(*(partial(_attempt, read) for read in reads.values()))
    answers = dict(zip(reads, attempts, strict=True))
    captured = {name: value for name, (value, reason) in answers.items() if not reason}
    return captured, {name: reason for name, (_, reason) in answers.items() if reason}


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
        except (CloudError, BotoCoreError) as error:
            return None, str(error)
    return None, ""


def _first(subject: Resource | Principal, aws: Aws, since: datetime, until: datetime) -> Reads:
    events = partial(_events, aws, since=since, until=until)
    reads = _facts.of_kind(subject, aws) | {
        "events": lambda: {
            f"{attribute} {value}": events(attribute, value)
            for attribute, value in _looked_up(subject, aws)
        }
    }
    if subject.id.startswith("arn:"):
        reads["tags"] = partial(_facts.tags, aws, subject.id)
    return reads


def _second(subject: Resource | Principal, aws: Aws, facts: Facts) -> Reads:
    """Read what only the first wave can point to."""
    if subject.kind is not Kind.INSTANCE:
        return {}
    interfaces = facts.get("interfaces") or ()
    reads = _facts.around(aws, interfaces)
    for association in facts.get("instance profile associations") or ():
        profile = association["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        reads[f"instance profile {profile}"] = partial(_facts.profile, aws, profile)
    if interfaces:
        reads["target groups"] = partial(_facts.target_groups, aws, interfaces)
    return reads


def _looked_up(subject: Resource | Principal, aws: Aws) -> list[tuple[str, str]]:
    """Return by what CloudTrail finds the events of a subject."""
    match subject:
        case Principal(type=PrincipalType.USER | PrincipalType.ROOT, name=name):
            return [("Username", name), ("ResourceName", name)]
        case Principal(type=PrincipalType.ROLE, name=name):
            arn = f"arn:{aws.partition}:iam::{subject.account}:role/{name}"
            return [("ResourceName", name), ("ResourceName", arn)]
        case Resource(kind=Kind.INSTANCE, id=id):
            # The session of an instance's role is named after the instance.
            return [("Username", id), ("ResourceName", id)]
        case _:
            return [("ResourceName", subject.id)]


def _events(
    aws: Aws, attribute: str, value: str, *, since: datetime, until: datetime
) -> dict[str, Any]:
    """Read the newest events, and say whether there are more."""
    parameters: dict[str, Any] = {
        "LookupAttributes": [{"AttributeKey": attribute, "AttributeValue": value}],
        "StartTime": since,
        "EndTime": until,
    }
    events: list[Any] = []
    for _ in range(EVENTS_PAGES):
        answer = aws.client("cloudtrail").lookup_events(**parameters)
        time.sleep(EVENTS_PAUSE)
        events += answer["Events"]
        if (token := answer.get("NextToken")) is None:
            return {"events": events, "complete": True}
        parameters["NextToken"] = token
    return {"events": events, "complete": False}


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
