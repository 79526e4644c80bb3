"""The reads that capture a subject of each kind, and what is around it, by what they are about."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from botocore import xform_name

from activities.aws import _identity, _network
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.finding import Kind, Principal, PrincipalType, Resource

Read = Callable[[], Any]
Reads = dict[str, Read]

SCREENSHOT = "console screenshot"

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


def of_kind(subject: Resource | Principal, aws: Aws) -> Reads:
    """Return the reads for a subject, by its kind."""
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


def around(aws: Aws, interfaces: Iterable[Mapping[str, Any]]) -> Reads:
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


def target_groups(aws: Aws, interfaces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Read the target groups that send to an instance, with its health in them."""
    found = _network.target_groups(aws, interfaces)
    return [{"group": group, "health": targets} for group, targets in found]


def profile(aws: Aws, name: str) -> dict[str, Any]:
    """Read an instance profile, and all there is to know of its roles."""
    answer = aws.client("iam").get_instance_profile(InstanceProfileName=name)
    profile: dict[str, Any] = answer["InstanceProfile"]
    roles = [_all(_role(aws, role["RoleName"])) for role in profile["Roles"]]
    return {"profile": profile, "roles": roles}


def role(aws: Aws, name: str) -> dict[str, Any]:
    """Read all there is to know of a role."""
    return _all(_role(aws, name))


def around_tasks(aws: Aws, tasks: Iterable[Mapping[str, Any]]) -> Reads:
    """Read what ECS tasks were started from, and by."""
    ecs = aws.client("ecs")
    reads: Reads = {}
    for task in tasks:
        definition, group = task["taskDefinitionArn"], task.get("group", "")
        reads[f"task definition {definition}"] = partial(
            ecs.describe_task_definition, taskDefinition=definition, include=["TAGS"]
        )
        if group.startswith("service:"):
            reads[group] = partial(
                ecs.describe_services,
                cluster=task["clusterArn"],
                services=[group.removeprefix("service:")],
            )
    return reads


def out_of_reach(subject: Resource | Principal) -> dict[str, str]:
    """Say what AWS does not tell of a subject, and where it is to be had."""
    if subject.kind is Kind.WORKLOAD and not subject.id.startswith("arn:"):
        return {"pods": "Kubernetes has them, not AWS: get them and their logs with kubectl"}
    return {}


def tags(aws: Aws, arn: str) -> Any:
    """Read the tags of what has an ARN."""
    tagging = aws.client("resourcegroupstaggingapi")
    return tagging.get_resources(ResourceARNList=[arn])["ResourceTagMappingList"]


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
        SCREENSHOT: partial(ec2.get_console_screenshot, InstanceId=instance),
    }
    for attribute in INSTANCE_ATTRIBUTES:
        reads[f"attribute {attribute}"] = partial(
            ec2.describe_instance_attribute, InstanceId=instance, Attribute=attribute
        )
    return reads


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
    used = aws.together(
        *(partial(iam.get_access_key_last_used, AccessKeyId=key["AccessKeyId"]) for key in keys)
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
    documents = aws.together(*(partial(_document, aws, p["PolicyArn"]) for p in attached))
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
        "users, roles and policies": partial(_authorization, aws),
        "trails": partial(_trails, aws),
        "detectors": partial(aws.pages, "guardduty", "ListDetectors", "DetectorIds"),
    }


def _authorization(aws: Aws) -> dict[str, Any]:
    """Read all of IAM, without the policies that AWS manages."""
    filters = ["User", "Role", "Group", "LocalManagedPolicy"]
    found: dict[str, Any] = {}
    pages = aws.client("iam").get_paginator("get_account_authorization_details")
    for page in pages.paginate(Filter=filters):
        for name in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies"):
            found.setdefault(name, []).extend(page.get(name, ()))
    return found


def _trails(aws: Aws) -> list[dict[str, Any]]:
    """Read the trails, and whether they log."""
    cloudtrail = aws.client("cloudtrail")
    trails = cloudtrail.describe_trails()["trailList"]
    return [t | {"Status": cloudtrail.get_trail_status(Name=t["TrailARN"])} for t in trails]


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
            return _database(aws, id)
        case Kind.FUNCTION:
            return _function(aws, id)
        case Kind.CLUSTER:
            return _cluster(aws, id)
        case Kind.WORKLOAD:
            return _workload(aws, id)
        case _:
            return {}


def _database(aws: Aws, arn_or_name: str) -> Reads:
    rds = aws.client("rds")
    own, cluster = {"DBInstanceIdentifier": arn_or_name}, {"DBClusterIdentifier": arn_or_name}
    name = arn_or_name.rpartition(":")[2]
    events = {"SourceIdentifier": name, "Duration": 14 * 24 * 60}
    return {
        "database": partial(rds.describe_db_instances, **own),
        "database cluster": partial(rds.describe_db_clusters, **cluster),
        "snapshots": partial(aws.pages, "rds", "DescribeDBSnapshots", "DBSnapshots", **own),
        "cluster snapshots": partial(
            aws.pages, "rds", "DescribeDBClusterSnapshots", "DBClusterSnapshots", **cluster
        ),
        "log files": partial(rds.describe_db_log_files, DBInstanceIdentifier=name),
        "database events": partial(rds.describe_events, SourceType="db-instance", **events),
        "cluster events": partial(rds.describe_events, SourceType="db-cluster", **events),
    }


def _function(aws: Aws, name: str) -> Reads:
    code, own = aws.client("lambda"), {"FunctionName": name}
    return {
        # Not GetFunction: it hands out a link to the code, which would lie in the evidence.
        "function": partial(code.get_function_configuration, **own),
        "concurrency": partial(code.get_function_concurrency, **own),
        "policy": partial(code.get_policy, **own),
        "URLs": partial(code.list_function_url_configs, **own),
        "event sources": partial(
            aws.pages, "lambda", "ListEventSourceMappings", "EventSourceMappings", **own
        ),
        "versions": partial(aws.pages, "lambda", "ListVersionsByFunction", "Versions", **own),
        "aliases": partial(aws.pages, "lambda", "ListAliases", "Aliases", **own),
    }


def _cluster(aws: Aws, name: str) -> Reads:
    """Read a cluster of EKS, and one of ECS: a finding calls both by name alone."""
    eks, ecs = aws.client("eks"), aws.client("ecs")
    return {
        **_eks(aws, name),
        "node groups": partial(eks.list_nodegroups, clusterName=name),
        "add-ons": partial(eks.list_addons, clusterName=name),
        "ECS cluster": partial(ecs.describe_clusters, clusters=[name], include=["TAGS"]),
        "ECS services": partial(aws.pages, "ecs", "ListServices", "serviceArns", cluster=name),
        "ECS tasks": partial(aws.pages, "ecs", "ListTasks", "taskArns", cluster=name),
    }


def _workload(aws: Aws, id: str) -> Reads:
    """Read an ECS task, or the cluster of a workload in EKS: `cluster/namespace/type/name`."""
    if ":ecs:" in id and "/" in id:
        cluster = id.split("/")[1]
        ecs = aws.client("ecs")
        return {
            "tasks": lambda: ecs.describe_tasks(cluster=cluster, tasks=[id], include=["TAGS"])[
                "tasks"
            ],
        }
    return _eks(aws, id.partition("/")[0]) if "/" in id and ":" not in id else {}


def _eks(aws: Aws, name: str) -> Reads:
    eks = aws.client("eks")
    return {
        "cluster": partial(eks.describe_cluster, name=name),
        "access entries": partial(eks.list_access_entries, clusterName=name),
        "pod identities": partial(
            aws.pages, "eks", "ListPodIdentityAssociations", "associations", clusterName=name
        ),
    }


def _all(reads: Reads) -> dict[str, Any]:
    return {name: read() for name, read in reads.items()}
