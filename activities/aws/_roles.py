"""What a role alone has: who may edit it, and who runs with it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from activities.aws import _trust
from activities.aws._reading import or_none
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError


def of_instance(instance: Mapping[str, Any], aws: Aws) -> dict[str, Any] | None:
    """Read the role that an instance has; None if it has none."""
    if "IamInstanceProfile" not in instance:
        return None
    iam, profile = aws.client("iam"), instance["IamInstanceProfile"]["Arn"].rpartition("/")[2]
    answer = or_none(lambda: iam.get_instance_profile(InstanceProfileName=profile))
    roles = answer["InstanceProfile"]["Roles"] if answer else []
    # What is listed in a profile lacks the tags.
    return _trust.role(roles[0]["RoleName"], aws) if roles else None


def of_function(function: Mapping[str, Any], aws: Aws) -> dict[str, Any] | None:
    """Read the role that a function runs with; None if it was deleted."""
    return _trust.role(function["Role"].rpartition("/")[2], aws)


def not_editable(role: Mapping[str, Any]) -> str:
    """Return why no policy of ours can be put on a role; nothing if one can."""
    name = role["RoleName"]
    if role["Path"].startswith("/aws-service-role/"):
        return (
            f"role/{name} is linked to a service of AWS, which alone can change it: contain the"
            " resource that it acts on, or end the use of that service"
        )
    if role["Path"].startswith("/aws-reserved/"):
        return (
            f"role/{name} belongs to IAM Identity Center, and no account can edit it: end the"
            " user's sessions there, and deny in the permission set"
        )
    return ""


def instances_told(role: str, aws: Aws) -> str:
    """Say which instances of the region have a role."""
    reads: list[Callable[[], list[Any]]] = [
        partial(aws.pages, "iam", "ListInstanceProfilesForRole", "InstanceProfiles", RoleName=role),
        partial(
            aws.pages,
            "ec2",
            "DescribeIamInstanceProfileAssociations",
            "IamInstanceProfileAssociations",
        ),
    ]
    try:
        profiles, associations = aws.together(*reads)
    except CloudError as error:
        return f"how many instances have it could not be read: {error}"
    arns = {profile["Arn"] for profile in profiles}
    ids = [a["InstanceId"] for a in associations if a["IamInstanceProfile"]["Arn"] in arns]
    told = f"instances in {aws.region} that have it: {len(ids)}"
    # The metadata service renews credentials only shortly before they end.
    return f"{told}, and may be denied for up to 6 h ({', '.join(ids)})" if ids else told
