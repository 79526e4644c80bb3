"""VPC flow logs: since when interfaces are dark, and whom they talked to."""

import gzip
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import islice
from typing import Any

from botocore.exceptions import BotoCoreError

from activities.aws import _network
from activities.aws._window import Window, in_force, pending, silent, stamp, unproven
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused
from firedoor.model.plan import Check
from firedoor.settings import settings

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NAME = "flow logs"

DELIVERY = timedelta(minutes=10)
"""By when a record is there, after the end of its interval; AWS promises nothing, and says so."""

LOOK_BACK = timedelta(hours=3)
"""How much of a containment that goes on for longer is read: its latest part."""

MOST_RECORDS = 200_000
"""Records of one interface, or in one bucket, that are read."""

MOST_OBJECTS = 500
"""Objects that are read from a bucket: a VPC's log has one or more each five minutes."""

MOST_BYTES = 25_000_000
"""What these may be together, compressed."""

UNSEEN = "DNS by the VPC's own resolver is in no flow log"
"""What passes all the same: https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-limitations.html."""

MOST_PEERS = 20

PERMISSIONS = (
    "ec2:DescribeFlowLogs",
    "ec2:DescribeNetworkInterfaces",
    "logs:FilterLogEvents",
    "s3:GetObject",
    "s3:ListBucket",
)

# Without these nothing can be said of an interface.
_NEEDED = ("interface-id", "srcaddr", "dstaddr", "start", "end", "action", "log-status")

# What packets pass, and what the log itself says of them; a line with anything else is no record.
_ACTIONS = {"ACCEPT", "REJECT", "-"}
_STATUSES = {"OK", "NODATA", "SKIPDATA"}

_AT_ONCE = 16  # objects that are in memory together

_JITTER = timedelta(minutes=2)  # by which intervals are apart, beyond their length
_PERIOD = timedelta(minutes=5)  # an object in a bucket holds the records that ended in one

_DEFAULT_FORMAT = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start"
    " end action log-status"
)


@dataclass(frozen=True)
class Record:
    """One line of a flow log: what was seen of one flow, or of nothing, in an interval."""

    interface: str
    source: Address | None
    destination: Address | None
    start: datetime
    end: datetime
    action: str
    status: str
    size: int = 0
    inward: bool | None = None  # if the log says so
    packet_source: Address | None = None
    packet_destination: Address | None = None

    def __str__(self) -> str:
        """Name the flow."""
        return f"{self.source} to {self.destination}"

    @property
    def accepted(self) -> bool:
        """Whether traffic passed."""
        return self.action == "ACCEPT"

    def touches(self, networks: Sequence[Network]) -> bool:
        """Return whether one of its ends is in one of these networks; without any, it does."""
        ends = (self.source, self.destination, self.packet_source, self.packet_destination)
        return not networks or any(end in net for end in ends if end for net in networks)

    def remote(self, own: Iterable[Network]) -> Address | None:
        """Return the end that is not ours; None if the record does not tell."""
        own = tuple(own)
        inward = self.inward
        if inward is None:
            ours = [
                any(end in net for net in own) for end in (self.source, self.destination) if end
            ]
            if ours not in ([True, False], [False, True]):
                return None
            inward = ours[1]
        if inward:
            return self.packet_source or self.source
        return self.packet_destination or self.destination


def dark(
    aws: Aws,
    interfaces: Sequence[str],
    since: datetime,
    now: datetime,
    *,
    remotes: Iterable[Network | Address] = (),
) -> Window:
    """Return since when no traffic passes the interfaces, as their flow logs have it.

    `since` is when it was planned; what counts begins when it was applied, if that is known. With
    `remotes`, only traffic with these counts. A time of which the logs say nothing is not dark.
    Never raises a `CloudError`: logs that cannot be read prove nothing.
    """
    networks = [ip_network(str(remote)) for remote in remotes]
    since, excused = in_force(aws, since)
    back = max(since, now - LOOK_BACK)
    try:
        chosen = _choose(aws, interfaces)
        if chosen.without or not chosen.sources:
            return unproven(NAME, "; ".join(chosen.without) or "there is no interface")
        found = _read(aws, chosen.sources, back, now)
    except (CloudError, Refused) as error:
        return unproven(NAME, str(error))
    interval = max(source.interval for source in chosen.sources)
    known = [_known(i, found, networks, back, interval + _JITTER) for i in interfaces]
    return _judged(known, excused, interval, now)


def peers(
    aws: Aws, interfaces: Sequence[str], since: datetime, now: datetime, *, most: int = MOST_PEERS
) -> tuple[Address, ...]:
    """Return whom the interfaces talked to, for each of them those with most bytes first.

    Never raises a `CloudError`: `watched` says why there are none to be had.
    """
    try:
        chosen = _choose(aws, interfaces)
        found = _read(aws, chosen.sources, since, now)
    except (CloudError, Refused):
        return ()
    ranked = [_ranked(interface, found)[:most] for interface in chosen.interfaces]
    return tuple(dict.fromkeys(address for one in ranked for address in one))


def watched(aws: Aws, interfaces: Sequence[str]) -> Check:
    """Return whether flow logs watch all of the interfaces, so that silence can be proven."""
    try:
        chosen = _choose(aws, interfaces)
    except CloudError as error:
        return Check(name=NAME, ok=False, detail=str(error))
    if chosen.without:
        return Check(name=NAME, ok=False, detail="; ".join(chosen.without))
    logs = ", ".join(f"{s.log['FlowLogId']} in {_destination(s.log)}" for s in chosen.sources)
    return Check(name=NAME, ok=True, detail=logs)


def parse(lines: Iterable[str], fields: Sequence[str]) -> Iterator[Record]:
    """Read the lines of a flow log by the names of its fields; what is no record is left out.

    Raises `Refused` if the log lacks a field without which it tells nothing.
    https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html
    """
    if missing := [name for name in _NEEDED if name not in fields]:
        raise Refused(f"they do not record {', '.join(missing)}")
    for line in lines:
        values = line.split()
        if len(values) < len(fields):
            continue
        record = _record(dict(zip(fields, values, strict=False)))
        if record:
            yield record


def fields(log_format: str | None) -> tuple[str, ...]:
    """Return the names of the fields in a format such as `${version} ${account-id}`."""
    plain = (log_format or _DEFAULT_FORMAT).replace("${", " ").replace("}", " ")
    return tuple(plain.split())


@dataclass(frozen=True)
class _Known:
    """What the logs know of an interface."""

    interface: str
    since: datetime  # nothing passed, and nothing is unknown, from here on
    until: datetime  # to here
    last: Record | None  # what passed last


@dataclass(frozen=True)
class _Source:
    """A flow log, and the interfaces that are looked up in it."""

    log: Mapping[str, Any]
    interfaces: tuple[str, ...]

    @property
    def interval(self) -> timedelta:
        """Over how long it sums up."""
        return timedelta(seconds=self.log.get("MaxAggregationInterval", 600))

    def read(self, aws: Aws, since: datetime, now: datetime) -> list[Record]:
        """Read the records of the interfaces that ended in a time."""
        kind = self.log.get("LogDestinationType", "cloud-watch-logs")
        try:
            if kind == "s3":
                found = self._from_bucket(aws, since, now)
            else:
                found = self._from_log_group(aws, since, now)
            records = list(islice(found, MOST_RECORDS + 1))
        except (CloudError, Refused) as error:
            raise Refused(
                f"{self.log['FlowLogId']} in {_destination(self.log)}: {error}"
            ) from error
        if len(records) > MOST_RECORDS:
            raise Refused(f"{self.log['FlowLogId']} has more than {MOST_RECORDS} records to read")
        return [r for r in records if r.interface in self.interfaces and r.end > since]

    def _from_log_group(self, aws: Aws, since: datetime, now: datetime) -> Iterator[Record]:
        names = fields(self.log.get("LogFormat"))
        for interface in self.interfaces:
            pages = (
                aws.client("logs")
                .get_paginator("filter_log_events")
                .paginate(
                    logGroupName=_log_group(self.log),
                    logStreamNamePrefix=interface,
                    # An event has the time at which its record begins.
                    startTime=_milliseconds(since - self.interval - _JITTER),
                    endTime=_milliseconds(now),
                )
            )
            yield from parse((e["message"] for page in pages for e in page["events"]), names)

    def _from_bucket(self, aws: Aws, since: datetime, now: datetime) -> Iterator[Record]:
        options = self.log.get("DestinationOptions") or {}
        if options.get("FileFormat", "plain-text") != "plain-text":
            raise Refused(f"it is written as {options['FileFormat']}, which is not read here")
        bucket, _, prefix = _destination(self.log).partition("/")
        objects = [
            entry
            for start in _prefixes(aws, self.log, prefix, since, now)
            for entry in aws.pages("s3", "ListObjectsV2", "Contents", Bucket=bucket, Prefix=start)
            if _begins(entry["Key"]) > since - _PERIOD
        ]
        size = sum(entry["Size"] for entry in objects)
        if len(objects) > MOST_OBJECTS or size > MOST_BYTES:
            raise Refused(f"{len(objects)} objects of {size} bytes are too many to read")
        for start in range(0, len(objects), _AT_ONCE):
            some = objects[start : start + _AT_ONCE]
            for body in aws.together(*(partial(_body, aws, bucket, o["Key"]) for o in some)):
                yield from _lines(body, self.interfaces)


@dataclass(frozen=True)
class _Chosen:
    """The flow logs to read, the interfaces as described, and why some have no log."""

    sources: tuple[_Source, ...]
    interfaces: tuple[dict[str, Any], ...]
    without: tuple[str, ...]


def _choose(aws: Aws, interfaces: Sequence[str]) -> _Chosen:
    """Choose one flow log for each interface."""
    described = _network.by_filter(
        aws, "DescribeNetworkInterfaces", "network-interface-id", interfaces
    )
    where = {i["NetworkInterfaceId"]: (i["SubnetId"], i["VpcId"]) for i in described}
    resources = {id for own, around in where.items() for id in (own, *around)}
    filters = [{"Name": "resource-id", "Values": sorted(resources)}]
    logs = aws.pages("ec2", "DescribeFlowLogs", "FlowLogs", Filter=filters) if resources else []
    of_log: dict[str, list[str]] = {}
    without = []
    for interface in interfaces:
        try:
            log = _best(interface, where.get(interface), logs)
        except Refused as error:
            without.append(str(error))
        else:
            of_log.setdefault(log["FlowLogId"], []).append(interface)
    by_id = {log["FlowLogId"]: log for log in logs}
    sources = tuple(_Source(by_id[id], tuple(own)) for id, own in of_log.items())
    return _Chosen(sources, tuple(described), tuple(without))


def _best(
    interface: str, around: tuple[str, str] | None, logs: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    if around is None:
        raise Refused(f"{interface} does not exist any more")
    logs = [log for log in logs if log["ResourceId"] in (interface, *around)]
    usable = [log for log in logs if not _useless(log, logs)]
    if usable:  # what is in CloudWatch Logs comes sooner, and is less to read
        return min(usable, key=lambda log: log.get("LogDestinationType") == "s3")
    if not logs:
        raise Refused(f"no flow log watches {interface}")
    reasons = "; ".join(f"{log['FlowLogId']} {_useless(log, logs)}" for log in logs)
    raise Refused(f"no flow log of {interface} can be used: {reasons}")


def _useless(log: Mapping[str, Any], logs: Sequence[Mapping[str, Any]]) -> str:
    """Return why one of an interface's flow logs tells nothing; nothing if it does."""
    kind = log.get("LogDestinationType", "cloud-watch-logs")
    missing = [name for name in _NEEDED if name not in fields(log.get("LogFormat"))]
    if log.get("FlowLogStatus", "ACTIVE") != "ACTIVE":
        return f"is {log['FlowLogStatus']}"
    if log.get("DeliverLogsStatus") == "FAILED":
        return f"cannot be delivered: {log.get('DeliverLogsErrorMessage') or 'FAILED'}"
    if log["TrafficType"] == "REJECT":
        return "records only what is rejected"
    if kind not in ("cloud-watch-logs", "s3"):
        return f"goes to {kind}, which cannot be read back"
    if missing:
        return f"does not record {', '.join(missing)}"
    if mixed := _mixed_with(log, logs):
        return f"writes to the same stream as {', '.join(mixed)}, whose records are others"
    return ""


def _mixed_with(log: Mapping[str, Any], logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the logs whose records stand between those of another, and look like its own.

    An interface has one stream in a log group, whichever logs write there. A log that does not
    deliver any more would seem to live by the records of one that sees only what is rejected.
    https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-cwl.html
    """
    if log.get("LogDestinationType") == "s3":  # where the name of an object says of which log it is
        return []
    return [
        other["FlowLogId"]
        for other in logs
        if other["FlowLogId"] != log["FlowLogId"]
        and other.get("LogDestinationType", "cloud-watch-logs") == "cloud-watch-logs"
        and _log_group(other) == _log_group(log)
        and (
            other["TrafficType"] != log["TrafficType"]
            or fields(other.get("LogFormat")) != fields(log.get("LogFormat"))
        )
    ]


def _read(aws: Aws, sources: Iterable[_Source], since: datetime, now: datetime) -> list[Record]:
    reads = (partial(source.read, aws, since, now) for source in sources)
    return [record for records in aws.together(*reads) for record in records]


def _known(
    interface: str,
    records: Iterable[Record],
    remotes: Sequence[Network],
    since: datetime,
    tolerance: timedelta,
) -> _Known:
    """Sum up what the records say of an interface: silence without gaps, and what passed last."""
    own = sorted((r for r in records if r.interface == interface), key=lambda r: r.start)
    dark = until = since
    for record in own:
        if record.start > until + tolerance:
            dark = record.start
        if record.status == "SKIPDATA":
            dark = max(dark, record.end)
        until = max(until, record.end)
    passed = [r for r in own if r.accepted and r.touches(remotes)]
    last = max(passed, key=lambda r: r.end, default=None)
    return _Known(interface, max(dark, last.end) if last else dark, until, last)


def _judged(
    known: Sequence[_Known], excused: datetime, interval: timedelta, now: datetime
) -> Window:
    window = settings().proof_window_network
    dark, until = max(k.since for k in known), min(k.until for k in known)
    passed = max((k.last for k in known if k.last), key=lambda r: r.end, default=None)
    seen = f"; last {passed} until {stamp(passed.end)}" if passed else ""
    late = window + interval + DELIVERY
    due = dark + late
    # Records of one interval come one by one, so those that are there may be followed by others.
    if now >= due and until >= dark + window and until >= now - late:
        more = "at least " if dark == now - LOOK_BACK else ""  # what was before is not read
        why = f"dark {more}since {stamp(dark)}, known until {stamp(until)}{seen}; {UNSEEN}"
        return silent(NAME, why, dark)
    if passed and passed.end > max(excused, now - late):
        return unproven(NAME, f"traffic still passes{seen}", dark)
    if now < due:
        return pending(NAME, f"dark since {stamp(dark)}{seen}", dark, due)
    quiet = ", ".join(k.interface for k in known if k.until == until)
    return unproven(NAME, f"nothing is recorded of {quiet} after {stamp(until)}{seen}", dark)


def _ranked(interface: Mapping[str, Any], records: Iterable[Record]) -> list[Address]:
    blocks = [
        *_network.addresses(interface),
        *(prefix["Ipv4Prefix"] for prefix in interface.get("Ipv4Prefixes") or ()),
        *(prefix["Ipv6Prefix"] for prefix in interface.get("Ipv6Prefixes") or ()),
    ]
    own = [ip_network(block) for block in blocks]
    sizes: Counter[Address] = Counter()
    for record in records:
        if record.interface != interface["NetworkInterfaceId"] or not record.accepted:
            continue
        if remote := record.remote(own):
            sizes[remote] += record.size
    return [address for address, _ in sizes.most_common()]


def _record(values: Mapping[str, str]) -> Record | None:
    """Make a record of named values, in which `-` says that there is none."""
    try:
        return Record(
            interface=values["interface-id"],
            source=_address(values["srcaddr"]),
            destination=_address(values["dstaddr"]),
            start=datetime.fromtimestamp(int(values["start"]), UTC),
            end=datetime.fromtimestamp(int(values["end"]), UTC),
            action=_one_of(_ACTIONS, values["action"]),
            status=_one_of(_STATUSES, values["log-status"]),
            size=int(values.get("bytes", "-").replace("-", "0")),
            inward={"ingress": True, "egress": False}.get(values.get("flow-direction", "-")),
            packet_source=_address(values.get("pkt-srcaddr", "-")),
            packet_destination=_address(values.get("pkt-dstaddr", "-")),
        )
    except (ValueError, OverflowError):
        return None  # the end of an object can be cut off


def _one_of(known: Collection[str], text: str) -> str:
    if text not in known:
        raise ValueError(text)
    return text


def _address(text: str) -> Address | None:
    return None if text == "-" else ip_address(text)


def _prefixes(
    aws: Aws, log: Mapping[str, Any], prefix: str, since: datetime, now: datetime
) -> Iterator[str]:
    """Yield how the keys of a log's objects begin, for each day or hour that is concerned.

    https://docs.aws.amazon.com/vpc/latest/userguide/flow-logs-s3-path.html
    """
    options = log.get("DestinationOptions") or {}
    hourly, hive = options.get("PerHourPartition"), options.get("HiveCompatiblePartitions")
    step = timedelta(hours=1) if hourly else timedelta(days=1)
    root = f"{prefix.strip('/')}/AWSLogs".lstrip("/")
    if hive:
        root += f"/aws-account-id={aws.account}/aws-service=vpcflowlogs/aws-region={aws.region}"
        form = "/year=%Y/month=%m/day=%d" + ("/hour=%H" if hourly else "")
    else:
        root += f"/{aws.account}/vpcflowlogs/{aws.region}"
        form = "/%Y/%m/%d" + ("/%H" if hourly else "")
    name = f"{aws.account}_vpcflowlogs_{aws.region}_{log['FlowLogId']}_"
    at = (since - _PERIOD).replace(minute=0, second=0, microsecond=0)
    if not hourly:
        at = at.replace(hour=0)
    while at <= now:
        yield f"{root}{at:{form}}/{name}"
        at += step


def _begins(key: str) -> datetime:
    """Return when the period of an object begins, which is in its name: …_20260102T1620Z_hash."""
    try:
        return datetime.strptime(key.rsplit("_", 2)[1], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return datetime.max.replace(tzinfo=UTC)  # to be on the safe side, it is read


def _body(aws: Aws, bucket: str, key: str) -> bytes:
    answer = aws.client("s3").get_object(Bucket=bucket, Key=key)
    try:
        return bytes(answer["Body"].read())
    except BotoCoreError as error:  # the connection ended after the answer had begun
        raise Refused(f"{key} could not be read: {error}") from error


def _lines(body: bytes, interfaces: Sequence[str]) -> Iterator[Record]:
    """Read an object; the line at its head says what the fields are."""
    try:
        text = gzip.decompress(body).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise Refused(f"an object is no compressed text: {error}") from error
    head, *lines = text.splitlines() or [""]
    yield from parse((ln for ln in lines if any(i in ln for i in interfaces)), head.split())


def _destination(log: Mapping[str, Any]) -> str:
    """Return the bucket and prefix, or the log group."""
    if log.get("LogDestinationType") == "s3":
        return str(log["LogDestination"]).split(":::", 1)[-1]
    return _log_group(log)


def _log_group(log: Mapping[str, Any]) -> str:
    if name := log.get("LogGroupName"):
        return str(name)
    return str(log["LogDestination"]).split(":log-group:", 1)[-1].removesuffix(":*")


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
