"""What the logs of AWS say of a subject's past: its events in CloudTrail, and its flows.

This takes minutes where much has happened, and does not go away with what containment changes.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from activities.aws import _context, _facts, _trail
from activities.aws._reading import or_none
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused, Throttled
from firedoor.model.base import Model, UtcDatetime
from firedoor.model.finding import Kind, Principal, PrincipalType, Resource

EVENTS_PAGES = 40
"""Pages of 50 CloudTrail events that are read for each name at once, newest first."""

EVENTS_PAUSE = 0.5
"""Seconds between lookups: AWS allows two a second in an account and region."""

ATTEMPTS = 4
"""Tries of one lookup that AWS throttles."""

TIME = 75.0
"""Seconds after which no further page is read: an attempt of an activity has two minutes."""

SESSIONS = 20
"""Sessions of a role whose events are read, those that began last first."""

FLOWS = 50_000
"""Records of flows that are read for each interface."""

FLOWS_A_PAGE = 10_000

OBJECTS = 5_000
"""Objects of flow logs in a bucket that are listed."""

PERMISSIONS = (
    "cloudtrail:LookupEvents",
    "ec2:DescribeFlowLogs",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeRegions",
    "iam:GetRole",
    "logs:FilterLogEvents",
    "s3:ListBucket",
)


@dataclass(frozen=True)
class Past:
    """How far back is looked for events and for flows, and for which access keys beside."""

    events: datetime
    flows: datetime
    until: datetime
    keys: tuple[str, ...] = ()
    stop_at: float = field(default_factory=lambda: time.monotonic() + TIME)

    @property
    def is_time_left(self) -> bool:
        """Whether another page may be read."""
        return time.monotonic() < self.stop_at


class Lookup(Model):
    """The events with one attribute in one region, newest first, from a time on backwards."""

    what: str  # `events`, or `sessions` of a role
    region: str
    attribute: str
    value: str
    before: UtcDatetime

    @property
    def place(self) -> str:
        """Under what they are captured."""
        return f"{self.what} in {self.region}"

    @property
    def name(self) -> str:
        """Under what they are there."""
        return f"{self.attribute} {self.value}"


@dataclass(frozen=True)
class Found:
    """What the logs say, by name, what they do not, with the reason, and what is still to be read.

    There can be more events than are read at once, as of a role that many use.
    """

    captured: dict[str, Any]
    missing: dict[str, str]
    left: tuple[Lookup, ...] = ()

    def __or__(self, other: "Found") -> "Found":
        """Return both together."""
        return Found(
            self.captured | other.captured, self.missing | other.missing, self.left + other.left
        )


def capture(subject: Resource | Principal, aws: Aws, past: Past) -> Found:
    """Read what the logs say of a subject, the newest first."""
    regions = _regions(subject, aws)
    names = [("AccessKeyId", key) for key in past.keys] + _looked_up(subject, aws)
    found = events = go_on(_lookups("events", regions, names, past), aws, past)
    if isinstance(subject, Principal) and subject.type is PrincipalType.ROLE:
        # What a role did is only to be found by the names of its sessions.
        sessions = _sessions(events.captured)
        names = [("Username", session) for session in sessions[:SESSIONS]]
        found |= go_on(_lookups("sessions", regions, names, past), aws, past)
        if len(sessions) > SESSIONS:
            found.missing["sessions"] = f"of {len(sessions)} only the last {SESSIONS} are"
    if subject.kind is Kind.INSTANCE:
        found |= Found(*_flows(subject.id, aws, past))
    return found


# Events


def go_on(lookups: Iterable[Lookup], aws: Aws, past: Past) -> Found:
    """Read events, those that were left too."""
    wanted = tuple(lookups)
    places: dict[str, list[Lookup]] = {}
    for one in wanted:
        places.setdefault(one.place, []).append(one)
    captured, missing = _context.gather(
        aws, {place: partial(_events, aws, some, past) for place, some in places.items()}
    )
    return Found(captured, missing, tuple(_left(wanted, captured)))


def cut_off(left: Iterable[Lookup]) -> dict[str, str]:
    """Say of which events only the newest were read."""
    return {
        f"{one.place}: {one.name}": f"only the newest are, there are more before {one.before}"
        for one in left
    }


def _left(lookups: Iterable[Lookup], captured: Mapping[str, Any]) -> Iterator[Lookup]:
    """Yield what was not read to its end, each from its oldest event on."""
    for one in lookups:
        found = (captured.get(one.place) or {}).get(one.name)
        if found and not found["complete"]:
            oldest = min((event["EventTime"] for event in found["events"]), default=one.before)
            yield Lookup.model_validate({**one.model_dump(), "before": oldest})


def _lookups(
    what: str, regions: Iterable[str], names: list[tuple[str, str]], past: Past
) -> list[Lookup]:
    return [
        Lookup(what=what, region=region, attribute=attribute, value=value, before=past.until)
        for region in regions
        for attribute, value in names
    ]


def _regions(subject: Resource | Principal, aws: Aws) -> list[str]:
    """Return where a subject can have left events: whoever has credentials acts in any region."""
    if subject.kind not in (Kind.PRINCIPAL, Kind.INSTANCE, Kind.FUNCTION):
        return [aws.region]
    try:
        described = aws.client("ec2").describe_regions()["Regions"]
    except CloudError:
        return [aws.region]
    return list(dict.fromkeys((aws.region, *sorted(r["RegionName"] for r in described))))


def _looked_up(subject: Resource | Principal, aws: Aws) -> list[tuple[str, str]]:
    """Return by what CloudTrail finds the events of a subject."""
    match subject:
        case Principal(type=PrincipalType.USER | PrincipalType.ROOT, name=name):
            return [("Username", name), ("ResourceName", name)]
        case Principal(type=PrincipalType.ROLE, name=name):
            return [("ResourceName", name), ("ResourceName", _arn(subject, aws))]
        case Principal(name=name):
            return [("Username", name)]
        case Resource(kind=Kind.INSTANCE | Kind.FUNCTION, id=id):
            # The sessions of the roles of both are named after them.
            return [("Username", id), ("ResourceName", id)]
        case _:
            return [("ResourceName", subject.id)]


def _arn(role: Principal, aws: Aws) -> str:
    """Return the ARN of a role, which has a path that its name does not say."""
    try:
        found = or_none(partial(aws.client("iam").get_role, RoleName=role.name))
    except CloudError:  # by its name it is looked up all the same
        found = None
    usual = f"arn:{aws.partition}:iam::{role.account}:role/{role.name}"
    return str(found["Role"]["Arn"]) if found else usual


def _sessions(captured: Mapping[str, Any]) -> list[str]:
    """Return the names of the sessions that began in events, the last first."""
    lookups = [one for found in captured.values() for one in (found or {}).values()]
    events = [event for one in lookups for event in one["events"]]
    events.sort(key=lambda event: event["EventTime"], reverse=True)
    return [name for name in dict.fromkeys(map(_trail.begun, events)) if name]


def _events(aws: Aws, lookups: Iterable[Lookup], past: Past) -> dict[str, Any]:
    # One after the other: AWS counts the lookups of an account and region together.
    return {one.name: _newest(aws.elsewhere(region=one.region), one, past) for one in lookups}


def _newest(aws: Aws, lookup: Lookup, past: Past) -> dict[str, Any]:
    """Read the newest events of a lookup, and say whether these are all."""
    by = {"AttributeKey": lookup.attribute, "AttributeValue": lookup.value}
    parameters: dict[str, Any] = {
        "LookupAttributes": [by],
        "StartTime": past.events,
        "EndTime": lookup.before,
    }
    events: list[Any] = []
    for _ in range(EVENTS_PAGES):
        answer = _patiently(aws, parameters) if past.is_time_left else None
        if answer is None:
            break
        events += answer["Events"]
        if (token := answer.get("NextToken")) is None:
            return {"events": events, "complete": True}
        parameters["NextToken"] = token
    return {"events": events, "complete": False}


def _patiently(aws: Aws, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """Look up a page, or give up: what was read before is not thrown away for that."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer: dict[str, Any] = aws.client("cloudtrail").lookup_events(**parameters)
        except Throttled:
            if attempt == ATTEMPTS and "NextToken" not in parameters:
                raise
        else:
            time.sleep(EVENTS_PAUSE)
            return answer
        time.sleep(EVENTS_PAUSE * 2**attempt)
    return None


# Flows


def _flows(instance: str, aws: Aws, past: Past) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        own = [{"Name": "attachment.instance-id", "Values": [instance]}]
        interfaces = aws.pages("ec2", "DescribeNetworkInterfaces", "NetworkInterfaces", Filters=own)
        logs = _facts.around(aws, interfaces)["flow logs"]() if interfaces else []
    except CloudError as error:
        return {}, {"flows": str(error)}
    if not logs:
        return {}, {"flows": "no flow log is configured for its interfaces, subnets or VPC"}
    ids = sorted(interface["NetworkInterfaceId"] for interface in interfaces)
    captured, missing = _context.gather(
        aws, {f"flows in {log['FlowLogId']}": partial(_of_log, aws, log, ids, past) for log in logs}
    )
    for name, found in captured.items():
        if found is not None and not found["complete"]:
            missing[name] = "only a part is: there are more than are read at once"
        elif found is None:
            missing[name] = "where it is delivered to does not exist"
    return captured, missing


def _of_log(aws: Aws, log: Mapping[str, Any], interfaces: list[str], past: Past) -> dict[str, Any]:
    match log.get("LogDestinationType", "cloud-watch-logs"):
        case "cloud-watch-logs":
            return _records(aws, log, interfaces, past)
        case "s3":
            return _objects(aws, log, past)
        case other:
            raise Refused(f"it is delivered to {other}, which cannot be asked for what was")


def _records(aws: Aws, log: Mapping[str, Any], interfaces: list[str], past: Past) -> dict[str, Any]:
    """Read the records of interfaces; each has a stream that begins with its id."""
    records: list[Any] = []
    complete = True
    for interface in interfaces:
        some, whole = _of_interface(aws, log, interface, past)
        records += some
        complete = complete and whole
    return {"format": log.get("LogFormat"), "records": records, "complete": complete}


def _of_interface(
    aws: Aws, log: Mapping[str, Any], interface: str, past: Past
) -> tuple[list[Any], bool]:
    parameters = {
        "logGroupName": log["LogGroupName"],
        "logStreamNamePrefix": f"{interface}-",
        "startTime": int(past.flows.timestamp() * 1000),
        "endTime": int(past.until.timestamp() * 1000),
        "limit": FLOWS_A_PAGE,
    }
    records: list[Any] = []
    # A page can be empty, and yet not be the last one.
    while past.is_time_left and len(records) < FLOWS:
        answer = aws.client("logs").filter_log_events(**parameters)
        records += [_record(event) for event in answer["events"]]
        if not (token := answer.get("nextToken")):
            return records, True
        parameters["nextToken"] = token
    return records, False


def _record(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"stream": event["logStreamName"], "at": event["timestamp"], "line": event["message"]}


def _objects(aws: Aws, log: Mapping[str, Any], past: Past) -> dict[str, Any]:
    """List the objects with the flows of that time; they may be many, and stay in their bucket."""
    bucket, _, prefix = str(log["LogDestination"]).partition(":::")[2].partition("/")
    listed: list[Any] = []
    for folder in _folders(aws, log, prefix, past):
        pages = aws.client("s3").get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=bucket, Prefix=folder):
            listed += [_object(bucket, one) for one in page.get("Contents", ())]
            if len(listed) >= OBJECTS or not past.is_time_left:
                return {"objects": listed[:OBJECTS], "complete": False}
    return {"objects": listed, "complete": True}


def _folders(aws: Aws, log: Mapping[str, Any], prefix: str, past: Past) -> Iterator[str]:
    """Yield where a flow log puts the objects of each day.

    https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html
    """
    begin = f"{prefix.rstrip('/')}/AWSLogs" if prefix else "AWSLogs"
    hive = (log.get("DestinationOptions") or {}).get("HiveCompatiblePartitions")
    day = past.flows.date()
    while day <= past.until.date():
        if hive:
            place = f"aws-account-id={aws.account}/aws-service=vpcflowlogs/aws-region={aws.region}"
            yield f"{begin}/{place}/year={day:%Y}/month={day:%m}/day={day:%d}/"
        else:
            yield f"{begin}/{aws.account}/vpcflowlogs/{aws.region}/{day:%Y/%m/%d}/"
        day += timedelta(days=1)


def _object(bucket: str, one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uri": f"s3://{bucket}/{one['Key']}",
        "etag": one["ETag"],
        "bytes": one["Size"],
        "modified_at": one["LastModified"],
    }
