"""What AWS says of a subject and around it: the reads for each kind, in two waves."""

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from botocore import xform_name
from botocore.exceptions import BotoCoreError

from activities.aws import _identity
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, NotFound, Throttled
from firedoor.model.finding import Kind, Principal, PrincipalType, Resource

Read = Callable[[], Any]
Reads = dict[str, Read]
Facts = Mapping[str, Any]

EVENTS_PAGES = 4
"""Pages of 50 CloudTrail events for each name that is looked up."""

EVENTS_PAUSE = 0.5
"""Seconds between lookups: AWS allows two a second in an account and region."""

ATTEMPTS = 3
"""Tries of a read that AWS throttles: all of them start at the same moment."""

INSTANCE_ATTRIBUTES = (
    "blockDeviceMapping",
    "disableApiStop",
    "disableApiTermination",
    "instanceInitiatedShutdownBehavior",
    "userData",
)

BUCKET_READS = {
    "access control list": "GetBucketAcl",
    "CORS rules": "GetBucketCors",
    "encryption": "GetBucketEncryption",
    "lifecycle": "GetBucketLifecycleConfiguration",
    "location": "GetBucketLocation",
    "logging": "GetBucketLogging",
    "notifications": "GetBucketNotificationConfiguration",
    "object lock": "GetObjectLockConfiguration",
    "ownership controls": "GetBucketOwnershipControls",
    "policy": "GetBucketPolicy",
    "policy status": "GetBucketPolicyStatus",
    "public access block": "GetPublicAccessBlock",
    "replication": "GetBucketReplication",
    "tags": "GetBucketTagging",
    "versioning": "GetBucketVersioning",
    "website": "GetBucketWebsite",
}

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
    attempts = _identity.each(aws, (partial(_attempt, read) for read in reads.values()))
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
    return _of_kind(subject, aws) | {
        "events": lambda: {
            f"{attribute} {value}": events(attribute, value)
            for attribute, value in _looked_up(subject, aws)
        },
        **({"tags": partial(_tags, aws, subject.id)} if subject.id.startswith("arn:") else {}),
    }


def _second(subject: Resource | Principal, aws: Aws, facts: Facts) -> Reads:
    """Read what only the first wave can point to."""
    if subject.kind is not Kind.INSTANCE:
        return {}
    interfaces = facts.get("interfaces") or ()
    reads = _around(aws, interfaces)
    for association in facts.get("instance profile associations") or ():
        profile = association["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        reads[f"instance profile {profile}"] = partial(_profile, aws, profile)
    if interfaces:
        reads["target groups"] = partial(_target_groups, aws, subject.id, interfaces)
    return reads


def _of_kind(subject: Resource | Principal, aws: Aws) -> Reads:
    match subject:
        case Principal(type=PrincipalType.USER, name=name):
            return _user(aws, name)
        case Principal(type=PrincipalType.ROLE, name=name):
            return _role(aws, name)
        case Principal() | Resource(kind=Kind.ACCOUNT):
            return _account(aws)
        case Resource(kind=Kind.INSTANCE, id=id):
            return _instance(aws, id)
        case Resource(kind=Kind.BUCKET, id=id, account=account):
            return _bucket(aws, id, account)
        case Resource(kind=kind, id=id):
            return _other(aws, kind, id)


def _instance(aws: Aws, instance: str) -> Reads:
    ec2 = aws.client("ec2")
    own = [{"Name": "attachment.instance-id", "Values": [instance]}]
    its = [{"Name": "instance-id", "Values": [instance]}]
    reads: Reads = {
        "instance": partial(
            aws.pages, "ec2", "DescribeInstances", "Reservations", InstanceIds=[instance]
        ),
        "instance status": lambda: ec2.describe_instance_status(
            InstanceIds=[instance], IncludeAllInstances=True
        )["InstanceStatuses"],
        "interfaces": partial(
            aws.pages, "ec2", "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=own
        ),
        "volumes": partial(aws.pages, "ec2", "DescribeVolumes", "Volumes", Filters=own),
        "addresses": partial(aws.pages, "ec2", "DescribeAddresses", "Addresses", Filters=its),
        "instance profile associations": partial(
            aws.pages,
            "ec2",
            "DescribeIamInstanceProfileAssociations",
            "IamInstanceProfileAssociations",
            Filters=its,
        ),
        "auto scaling": partial(
            aws.pages,
            "autoscaling",
            "DescribeAutoScalingInstances",
            "AutoScalingInstances",
            InstanceIds=[instance],
        ),
        "systems manager": lambda: aws.client("ssm").describe_instance_information(
            Filters=[{"Key": "InstanceIds", "Values": [instance]}]
        )["InstanceInformationList"],
        "classic load balancers": partial(_classic_balancers, aws, instance),
        "console output": partial(_console_output, aws, instance),
        "console screenshot": partial(ec2.get_console_screenshot, InstanceId=instance),
    }
    for attribute in INSTANCE_ATTRIBUTES:
        reads[f"attribute {attribute}"] = partial(
            ec2.describe_instance_attribute, InstanceId=instance, Attribute=attribute
        )
    return reads


def _around(aws: Aws, interfaces: Iterable[Mapping[str, Any]]) -> Reads:
    """Read the network that the interfaces are in."""
    ids = sorted({i["NetworkInterfaceId"] for i in interfaces})
    subnets = sorted({i["SubnetId"] for i in interfaces})
    vpcs = sorted({i["VpcId"] for i in interfaces})
    groups = sorted({group["GroupId"] for i in interfaces for group in i["Groups"]})

    def described(what: str, name: str, values: list[str]) -> Read:
        filters = [{"Name": name, "Values": values}]
        # DescribeFlowLogs alone calls its parameter otherwise.
        parameter = "Filter" if what == "FlowLogs" else "Filters"
        return partial(aws.pages, "ec2", f"Describe{what}", what, **{parameter: filters})

    watched = [*ids, *subnets, *vpcs]
    reads: dict[str, tuple[list[str], Read]] = {
        "security groups": (groups, described("SecurityGroups", "group-id", groups)),
        # All of the VPC: a subnet without a table of its own uses the main one.
        "route tables": (vpcs, described("RouteTables", "vpc-id", vpcs)),
        "network ACLs": (subnets, described("NetworkAcls", "association.subnet-id", subnets)),
        "subnets": (subnets, described("Subnets", "subnet-id", subnets)),
        "VPCs": (vpcs, described("Vpcs", "vpc-id", vpcs)),
        "flow logs": (watched, described("FlowLogs", "resource-id", watched)),
    }
    return {name: read for name, (values, read) in reads.items() if values}


def _console_output(aws: Aws, instance: str) -> Any:
    ec2 = aws.client("ec2")
    try:
        return ec2.get_console_output(InstanceId=instance, Latest=True)
    except CloudError as error:
        if error.code != "UnsupportedOperation":  # only Nitro instances have the latest
            raise
        return ec2.get_console_output(InstanceId=instance)


def _classic_balancers(aws: Aws, instance: str) -> list[Any]:
    balancers = aws.pages("elb", "DescribeLoadBalancers", "LoadBalancerDescriptions")
    return [b for b in balancers if {"InstanceId": instance} in b["Instances"]]


def _target_groups(
    aws: Aws, instance: str, interfaces: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Read the target groups that send to the instance or one of its addresses, with the health."""
    vpcs = {i["VpcId"] for i in interfaces}
    own = {instance} | {a["PrivateIpAddress"] for i in interfaces for a in i["PrivateIpAddresses"]}
    own |= {a["Ipv6Address"] for i in interfaces for a in i.get("Ipv6Addresses", ())}
    groups = [
        group
        for group in aws.pages("elbv2", "DescribeTargetGroups", "TargetGroups")
        if group.get("VpcId") in vpcs
    ]
    elb = aws.client("elbv2")
    health = _identity.each(
        aws,
        (partial(elb.describe_target_health, TargetGroupArn=g["TargetGroupArn"]) for g in groups),
    )
    pairs = (
        (group, [t for t in answer["TargetHealthDescriptions"] if t["Target"]["Id"] in own])
        for group, answer in zip(groups, health, strict=True)
    )
    return [{"group": group, "health": targets} for group, targets in pairs if targets]


def _profile(aws: Aws, name: str) -> dict[str, Any]:
    answer = aws.client("iam").get_instance_profile(InstanceProfileName=name)
    profile: dict[str, Any] = answer["InstanceProfile"]
    roles = [_all(_role(aws, role["RoleName"])) for role in profile["Roles"]]
    return {"profile": profile, "roles": roles}


def _user(aws: Aws, name: str) -> Reads:
    iam = aws.client("iam")
    own = {"UserName": name}
    return {
        "user": lambda: iam.get_user(**own)["User"],
        "access keys": partial(_access_keys, aws, name),
        "inline policies": partial(_identity.inline_policies, aws, "User", name),
        "managed policies": partial(_managed_policies, aws, "User", name),
        "groups": partial(_groups, aws, name),
        "password": lambda: iam.get_login_profile(**own)["LoginProfile"],
        "MFA devices": partial(aws.pages, "iam", "ListMFADevices", "MFADevices", **own),
        "SSH keys": partial(aws.pages, "iam", "ListSSHPublicKeys", "SSHPublicKeys", **own),
        "signing certificates": partial(
            aws.pages, "iam", "ListSigningCertificates", "Certificates", **own
        ),
        "service-specific credentials": lambda: iam.list_service_specific_credentials(**own)[
            "ServiceSpecificCredentials"
        ],
    }


def _role(aws: Aws, name: str) -> Reads:
    iam = aws.client("iam")
    return {
        "role": lambda: iam.get_role(RoleName=name)["Role"],
        "inline policies": partial(_identity.inline_policies, aws, "Role", name),
        "managed policies": partial(_managed_policies, aws, "Role", name),
        "instance profiles": partial(
            aws.pages, "iam", "ListInstanceProfilesForRole", "InstanceProfiles", RoleName=name
        ),
    }


def _access_keys(aws: Aws, user: str) -> list[dict[str, Any]]:
    iam = aws.client("iam")
    keys = aws.pages("iam", "ListAccessKeys", "AccessKeyMetadata", UserName=user)
    used = _identity.each(
        aws, (partial(iam.get_access_key_last_used, AccessKeyId=key["AccessKeyId"]) for key in keys)
    )
    return [key | {"LastUsed": u["AccessKeyLastUsed"]} for key, u in zip(keys, used, strict=True)]


def _groups(aws: Aws, user: str) -> list[dict[str, Any]]:
    groups = aws.pages("iam", "ListGroupsForUser", "Groups", UserName=user)
    return [
        {
            "group": group,
            "inline policies": _identity.inline_policies(aws, "Group", group["GroupName"]),
            "managed policies": _managed_policies(aws, "Group", group["GroupName"]),
        }
        for group in groups
    ]


def _managed_policies(aws: Aws, owner: _identity.Owner, name: str) -> list[dict[str, Any]]:
    """Read what is attached, with the documents of the customer's own policies."""
    attached = _identity.attached_policies(aws, owner, name)
    documents = _identity.each(aws, (partial(_document, aws, p["PolicyArn"]) for p in attached))
    return [policy | {"Document": d} for policy, d in zip(attached, documents, strict=True)]


def _document(aws: Aws, arn: str) -> Any:
    if arn.split(":")[4] == "aws":
        return None  # public, and the same for everybody
    iam = aws.client("iam")
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    return iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]


def _bucket(aws: Aws, bucket: str, owner: str) -> Reads:
    s3 = aws.client("s3")
    return {
        name: partial(getattr(s3, xform_name(operation)), Bucket=bucket, ExpectedBucketOwner=owner)
        for name, operation in BUCKET_READS.items()
    }


def _account(aws: Aws) -> Reads:
    return {
        "account summary": lambda: aws.client("iam").get_account_summary()["SummaryMap"],
        "password policy": aws.client("iam").get_account_password_policy,
        "trails": lambda: aws.client("cloudtrail").describe_trails()["trailList"],
        "detectors": partial(aws.pages, "guardduty", "ListDetectors", "DetectorIds"),
    }


def _other(aws: Aws, kind: Kind, id: str) -> Reads:
    match kind:
        case Kind.VOLUME:
            return {"volume": partial(aws.client("ec2").describe_volumes, VolumeIds=[id])}
        case Kind.SNAPSHOT:
            ec2 = aws.client("ec2")
            share = partial(ec2.describe_snapshot_attribute, Attribute="createVolumePermission")
            return {
                "snapshot": partial(ec2.describe_snapshots, SnapshotIds=[id]),
                "shared with": partial(share, SnapshotId=id),
            }
        case Kind.IMAGE:
            ec2 = aws.client("ec2")
            share = partial(ec2.describe_image_attribute, Attribute="launchPermission")
            return {
                "image": partial(ec2.describe_images, ImageIds=[id]),
                "shared with": partial(share, ImageId=id),
            }
        case Kind.DATABASE:
            rds = aws.client("rds")
            return {
                "database": partial(rds.describe_db_instances, DBInstanceIdentifier=id),
                "database cluster": partial(rds.describe_db_clusters, DBClusterIdentifier=id),
            }
        case Kind.FUNCTION:
            code = aws.client("lambda")
            return {
                "function": partial(code.get_function_configuration, FunctionName=id),
                "policy": partial(code.get_policy, FunctionName=id),
                "URLs": partial(code.list_function_url_configs, FunctionName=id),
                "event sources": partial(code.list_event_source_mappings, FunctionName=id),
            }
        case Kind.CLUSTER:
            eks = aws.client("eks")
            return {
                "cluster": partial(eks.describe_cluster, name=id),
                "node groups": partial(eks.list_nodegroups, clusterName=id),
                "access entries": partial(eks.list_access_entries, clusterName=id),
            }
        case _:
            return {}


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


def _tags(aws: Aws, arn: str) -> Any:
    tagging = aws.client("resourcegroupstaggingapi")
    return tagging.get_resources(ResourceARNList=[arn])["ResourceTagMappingList"]


def _all(reads: Reads) -> dict[str, Any]:
    return {name: read() for name, read in reads.items()}


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
