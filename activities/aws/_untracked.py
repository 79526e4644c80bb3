"""The group that takes connections off EC2's tracking, for the seconds before quarantine.

A connection that is tracked outlives every change of groups. Where a group lets everything through,
both ways, at every port and in both families, nothing needs to be tracked: with its next packet a
connection becomes one that the rules alone decide on, and the empty group then cuts it. ICMP, and
what passes certain gateways, is tracked all the same.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html

The group is open to everybody, so it is made for one instance, emptied as soon as the time is over,
and deleted. Emptying cuts already, whether or not moving on then succeeds.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _groups
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.plan import LATER, Call

TAGS = {"firedoor:purpose": "untrack"}

# A group may count as used for a moment after its last interface left.
PAUSES = (0, 0.5, 1, 2)

_EVERYTHING: list[JsonValue] = [
    {
        "IpProtocol": "-1",
        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
        "Ipv6Ranges": [{"CidrIpv6": "::/0"}],
    }
]
# A new group lets out all of IPv4 already, and IPv6 only where its VPC has it.
_OUT_V6: list[JsonValue] = [{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]


def name(instance: str) -> str:
    """Return the name of the group of an instance."""
    return f"firedoor-untrack-{instance}"


def is_ours(group: Mapping[str, Any]) -> bool:
    """Return whether Firedoor made a group."""
    return _groups.has(group, TAGS)


def creation(vpc: str, instance: str) -> Call:
    """Return the call that creates the group."""
    about = f"Firedoor: open for seconds, while {instance} goes into quarantine. Then deleted."
    return _groups.creation(name(instance), about, vpc, TAGS)


def openings(group: str = LATER) -> tuple[Call, ...]:
    """Return the calls that let everything in and out."""
    return (
        _edit("AuthorizeSecurityGroupIngress", group, _EVERYTHING),
        _edit("AuthorizeSecurityGroupEgress", group, _OUT_V6),
    )


def closings(group: str = LATER) -> tuple[Call, ...]:
    """Return the calls that let nothing in or out."""
    return (
        _edit("RevokeSecurityGroupIngress", group, _EVERYTHING),
        _edit("RevokeSecurityGroupEgress", group, _EVERYTHING),
    )


def deletion(group: str = LATER) -> Call:
    """Return the call that deletes the group."""
    return Call(service="ec2", operation="DeleteSecurityGroup", parameters={"GroupId": group})


def is_open(group: dict[str, Any]) -> bool:
    """Return whether a group has rules."""
    return bool(group["IpPermissions"] or group["IpPermissionsEgress"])


def ready(call: Call, group: dict[str, Any] | None, aws: Aws) -> str:
    """Return the id of the group, created and open; one of an earlier attempt is used again."""
    group = group or _groups.create(call, aws)
    opened = aws.together(*(partial(_edited, one, aws) for one in openings(group["GroupId"])))
    if errors := [error for error in opened if error]:
        raise errors[0]
    return str(group["GroupId"])


def close(group: str, aws: Aws) -> list[CloudError]:
    """Empty a group, and return what failed."""
    closed = aws.together(*(partial(_edited, one, aws) for one in closings(group)))
    return [error for error in closed if error]


def delete(groups: Iterable[str], aws: Aws) -> list[CloudError]:
    """Delete groups, and return what failed."""
    gone = aws.together(*(partial(_deleted, deletion(group), aws) for group in groups))
    return [error for error in gone if error]


def _edit(operation: str, group: str, rules: list[JsonValue]) -> Call:
    parameters: dict[str, JsonValue] = {"GroupId": group, "IpPermissions": rules}
    return Call(service="ec2", operation=operation, parameters=parameters)


def _edited(call: Call, aws: Aws) -> CloudError | None:
    so_already = {"InvalidPermission.Duplicate", "InvalidPermission.NotFound"}
    return _tried(partial(aws.call, call), so_already)


def _deleted(call: Call, aws: Aws) -> CloudError | None:
    error = None
    for pause in PAUSES:
        time.sleep(pause)
        error = _tried(partial(aws.call, call), {"InvalidGroup.NotFound"})
        if error is None or error.code != "DependencyViolation":
            return error
    return error


def _tried(do: Callable[[], Any], so_already: set[str]) -> CloudError | None:
    try:
        do()
    except CloudError as error:
        return None if error.code in so_already else error
    return None
