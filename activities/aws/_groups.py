"""Security groups that Firedoor makes for itself, known by name and tag."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from activities.aws import _network
from activities.aws._reading import tags
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Unavailable
from firedoor.model.plan import Call

# A new group may show only after a moment: the pauses between looks, in seconds.
PAUSES = (0, 0.2, 0.5, 1, 2, 4)


def named(aws: Aws, names: Iterable[str]) -> list[dict[str, Any]]:
    """Read the groups with these names in all VPCs; a name is unique in its VPC, and final."""
    return _network.by_filter(aws, "DescribeSecurityGroups", "group-name", names)


def has(group: Mapping[str, Any], marks: Mapping[str, str]) -> bool:
    """Return whether a group has these tags, and so was made by us."""
    return marks.items() <= tags(group).items()


def creation(name: str, about: str, vpc: str, marks: Mapping[str, str]) -> Call:
    """Return the call that creates a group, tagged from the start."""
    return Call(
        service="ec2",
        operation="CreateSecurityGroup",
        parameters={
            "GroupName": name,
            "Description": about,
            "VpcId": vpc,
            "TagSpecifications": [
                {
                    "ResourceType": "security-group",
                    "Tags": [{"Key": key, "Value": value} for key, value in marks.items()],
                }
            ],
        },
    )


def create(call: Call, aws: Aws) -> dict[str, Any]:
    """Create a group, or take the one that somebody else has just created, and read it."""
    name, vpc = str(call.parameters["GroupName"]), call.parameters["VpcId"]
    try:
        aws.call(call)
    except CloudError as error:
        if error.code != "InvalidGroup.Duplicate":
            raise
    for pause in PAUSES:
        time.sleep(pause)
        if group := next((group for group in named(aws, [name]) if group["VpcId"] == vpc), None):
            return group
    raise Unavailable("InvalidGroup.NotFound", f"{name} does not show yet", call.operation)
