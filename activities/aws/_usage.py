"""Who else uses what is about to be cut off, in numbers: sentences for the blast radius."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from activities.aws import _network, _trail
from activities.aws._reading import counted, named
from activities.aws._trail import Event
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError

MOST_PAGES = 2
"""Pages of 50 events that are counted; planning must not take long."""

MOST_FUNCTIONS = 1_000
"""Functions of an account whose roles are looked at."""

PERMISSIONS = (
    "cloudtrail:LookupEvents",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkInterfaces",
    "iam:GetAccessKeyLastUsed",
    "iam:GetRole",
    "iam:ListInstanceProfilesForRole",
    "lambda:ListFunctions",
)

_Look = Callable[[], list[str]]


def used(
    aws: Aws,
    now: datetime,
    *,
    roles: Iterable[str] = (),
    keys: Iterable[str] = (),
    subnets: Iterable[str] = (),
    days: int = 90,
) -> tuple[str, ...]:
    """Return who else used roles, access keys or subnets of late, in sentences with numbers.

    Roles go by name, the rest by id. What cannot be counted is said in a sentence too; only the
    region at hand is looked at. CloudTrail's history goes back 90 days at most.
    """
    since = now - timedelta(days=days)
    looks = [
        *(_told(f"role {name}", look) for name in roles for look in _role(aws, name, since, now)),
        *(_told(f"key {id}", look) for id in keys for look in _key(aws, id, since, now)),
        *(_told(id, partial(_subnet, aws, id)) for id in subnets),
    ]
    return tuple(dict.fromkeys(line for lines in aws.together(*looks) for line in lines))


def _told(what: str, look: _Look) -> _Look:
    def told() -> list[str]:
        try:
            return look()
        except CloudError as error:
            return [f"what else uses {what} could not be counted: {error}"]

    return told


def _role(aws: Aws, name: str, since: datetime, now: datetime) -> tuple[_Look, ...]:
    return (
        partial(_role_last_used, aws, name),
        partial(_instances, aws, name),
        partial(_functions, aws, name),
        partial(_assumed, aws, name, since, now),
    )


def _role_last_used(aws: Aws, name: str) -> list[str]:
    last = _described(aws, name).get("RoleLastUsed") or {}
    if at := last.get("LastUsedDate"):
        return [f"role {name} was last used on {at:%Y-%m-%d} in {last.get('Region', '?')}"]
    return [f"no use of role {name} is on record"]


def _instances(aws: Aws, name: str) -> list[str]:
    """Name the instances that have the role by one of its profiles."""
    profiles = aws.pages("iam", "ListInstanceProfilesForRole", "InstanceProfiles", RoleName=name)
    if not profiles:
        return []
    filters = [
        {"Name": "iam-instance-profile.arn", "Values": [profile["Arn"] for profile in profiles]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    found = aws.pages("ec2", "DescribeInstances", "Reservations", Filters=filters)
    ids = sorted(instance["InstanceId"] for one in found for instance in one["Instances"])
    return [f"role {name} is that of {_listed(ids, 'instance')}"] if ids else []


def _functions(aws: Aws, name: str) -> list[str]:
    """Name the functions that run with the role."""
    arn = _described(aws, name)["Arn"]
    pages = aws.client("lambda").get_paginator("list_functions").paginate()
    every = list(islice((f for page in pages for f in page["Functions"]), MOST_FUNCTIONS + 1))
    names = sorted(f["FunctionName"] for f in every[:MOST_FUNCTIONS] if f["Role"] == arn)
    more = "at least " if len(every) > MOST_FUNCTIONS else ""
    return [f"role {name} is that of {more}{_listed(names, 'function')}"] if names else []


def _assumed(aws: Aws, name: str, since: datetime, now: datetime) -> list[str]:
    """Say how often, and by whom, the role was assumed."""
    arn = _described(aws, name)["Arn"]
    events, complete = _trail.lookup(aws, "ResourceName", arn, since, now, pages=MOST_PAGES)
    assumed = [e for e in events if e.name.startswith("AssumeRole") and not e.error]
    if not assumed:
        return []
    whom = sorted({_who(event) for event in assumed})
    times = _times(len(assumed), complete)
    span = _span(events, complete, since, now)
    return [f"role {name} was assumed {times} in {span}, by {named(whom)}"]


def _key(aws: Aws, id: str, since: datetime, now: datetime) -> tuple[_Look, ...]:
    return partial(_key_last_used, aws, id), partial(_key_calls, aws, id, since, now)


def _key_last_used(aws: Aws, id: str) -> list[str]:
    answer = aws.client("iam").get_access_key_last_used(AccessKeyId=id)
    last = answer.get("AccessKeyLastUsed") or {}
    owner = f" of {answer['UserName']}" if answer.get("UserName") else ""
    if at := last.get("LastUsedDate"):
        where = f"for {last['ServiceName']} in {last['Region']}"
        return [f"key {id}{owner} was last used on {at:%Y-%m-%d} {where}"]
    return [f"no use of key {id}{owner} is on record"]


def _key_calls(aws: Aws, id: str, since: datetime, now: datetime) -> list[str]:
    events, complete = _trail.lookup(aws, "AccessKeyId", id, since, now, pages=MOST_PAGES)
    if not events:
        return []
    addresses = {str(event.record.get("sourceIPAddress", "")) for event in events} - {""}
    services = Counter(event.service.removesuffix(".amazonaws.com") for event in events)
    most = [service for service, _ in services.most_common()]
    number = ("" if complete else "at least ") + counted(len(events), "call")
    return [
        f"key {id} made {number} in {_span(events, complete, since, now)}"
        f" from {_addresses(len(addresses))}, to {named(most)}"
    ]


def _subnet(aws: Aws, id: str) -> list[str]:
    """Count the interfaces in a subnet, by what they belong to."""
    found = _network.by_filter(aws, "DescribeNetworkInterfaces", "subnet-id", [id])
    kinds = Counter(str(one.get("InterfaceType", "interface")) for one in found)
    instances = {i for one in found if (i := (one.get("Attachment") or {}).get("InstanceId"))}
    by_kind = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    number = counted(len(found), "interface")
    if not found:
        return [f"{id} has no interface"]
    return [f"{id} has {number} ({by_kind}), of {counted(len(instances), 'instance')}"]


def _described(aws: Aws, name: str) -> dict[str, Any]:
    role: dict[str, Any] = aws.client("iam").get_role(RoleName=name)["Role"]
    return role


def _who(event: Event) -> str:
    who = event.who
    if service := who.get("invokedBy") or who.get("type") == "AWSService":
        return str(service) if isinstance(service, str) else "an AWS service"
    return str(who.get("arn") or who.get("userName") or who.get("accountId") or "somebody")


def _span(events: Sequence[Event], complete: bool, since: datetime, now: datetime) -> str:
    """Return over how long the events were counted: with more of them, since the oldest."""
    begin = since if complete or not events else events[-1].at
    days = -(-(now - begin) // timedelta(days=1))
    return counted(days, "day")


def _times(number: int, complete: bool) -> str:
    return ("" if complete else "at least ") + counted(number, "time")


def _addresses(number: int) -> str:
    return "1 address" if number == 1 else f"{number} addresses"


def _listed(names: Sequence[str], noun: str) -> str:
    return f"{counted(len(names), noun)}: {named(names)}"
