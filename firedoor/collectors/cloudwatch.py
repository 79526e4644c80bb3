"""Log groups of CloudWatch Logs, an hour of one at a time: `cloudwatch://NAME` or an ARN.

The name of a group may begin with a slash: `cloudwatch:///aws/route53/example.com`.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, BinaryIO, Final

from firedoor.collector import Blob, Collector
from firedoor.collectors._stream import chunks
from firedoor.errors import BadInput, CloudError, NotFound

SCHEME: Final = "cloudwatch://"
SLICE: Final = timedelta(hours=1)
LATE: Final = timedelta(hours=2)
"""How long after its end an hour may still get events; until then it is read again each time."""
PAUSES: Final = (0.2, 1.0, 4.0)
"""How long is waited, in seconds, before a read that was refused for now is tried again."""
SETTLED: Final = "settled"
"""The version of an hour that gets no more events."""

_ARN = re.compile(
    r"arn:aws[\w-]*:logs:(?P<region>[\w-]+):(?P<account>\d{12}):log-group:(?P<name>[\w./#-]+)"
    r"(?::\*)?(?:@(?P<hour>[\dT:-]+Z))?"
)
_NAME = re.compile(r"[\w./#-]{1,512}")
_HOUR = "%Y-%m-%dT%H:%MZ"


def takes(url: str) -> bool:
    """Return whether it is a log group."""
    return url.startswith(SCHEME) or bool(re.match(r"arn:aws[\w-]*:logs:", url))


def blobs(url: str, since: datetime | None) -> Iterator[Blob]:
    """Yield the hours of a log group from its first event on, or from `since` on.

    Raises `BadInput`, `CloudError` or `Unreachable`.
    """
    group = _group(url)
    first = since or _first(group)
    return hours(group, first, datetime.now(UTC)) if first else iter(())


def hours(group: dict[str, Any], since: datetime | None, now: datetime) -> Iterator[Blob]:
    """Yield the hours of a log group, as DescribeLogGroups says it, until now.

    An hour that may still get events has another version each time.
    """
    arn = group["arn"].removesuffix(":*")
    found = _ARN.fullmatch(arn)
    assert found is not None  # noqa: S101
    # Events may be older than their group: as old as two weeks.
    oldest = _time(group["creationTime"]) - timedelta(days=14)
    if days := group.get("retentionInDays"):
        oldest = max(oldest, now - timedelta(days=days))
    if since:
        oldest = max(oldest, since.astimezone(UTC) - LATE)
    start = oldest.replace(minute=0, second=0, microsecond=0)
    while start < now:
        end = start + SLICE
        open_still = end + LATE > now
        yield Blob(
            name=f"{arn}@{start.strftime(_HOUR)}",
            version=now.isoformat(timespec="seconds") if open_still else SETTLED,
            size=0,
            # Then its last event came, at the latest.
            modified=min(end + LATE, now),
            account=found["account"],
            region=found["region"],
        )
        start = end


def open_(blob: Blob, offset: int) -> BinaryIO:
    """Return a stream of envelopes, as a subscription delivers them; none where nothing was logged.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html
    """
    return chunks(_envelopes(blob.name), offset)


COLLECTOR = Collector(title="CloudWatch Logs", takes=takes, blobs=blobs, open=open_)


def _group(url: str) -> dict[str, Any]:
    """Return a log group as AWS describes it."""
    found = _ARN.fullmatch(url)
    name = found["name"] if found else url.removeprefix(SCHEME)
    if not _NAME.fullmatch(name):
        raise BadInput("logs", url, "expected cloudwatch://NAME, or the ARN of a log group")
    describe = _client(found).describe_log_groups
    more: dict[str, str] = {}
    while True:
        page = _patiently(partial(describe, logGroupNamePrefix=name, **more), "DescribeLogGroups")
        for group in page["logGroups"]:
            if group["logGroupName"] == name:
                return dict(group)
        if not page.get("nextToken"):
            raise NotFound("ResourceNotFoundException", f"no log group {name}", "DescribeLogGroups")
        more["nextToken"] = page["nextToken"]


def _first(group: dict[str, Any]) -> datetime | None:
    """Return when the first event of a log group was, or None if there is none."""
    found = _ARN.fullmatch(group["arn"])
    filter_ = _client(found).filter_log_events
    wanted: dict[str, Any] = {"logGroupName": group["logGroupName"], "limit": 1}
    while True:
        page = _patiently(partial(filter_, **wanted), "FilterLogEvents")
        if page["events"]:
            return _time(page["events"][0]["timestamp"])
        if not page.get("nextToken"):
            return None
        wanted["nextToken"] = page["nextToken"]


def _client(found: re.Match[str] | None) -> Any:
    from firedoor.cloud import asking  # the SDK takes a quarter of a second

    return asking.client("logs", *(found.group("account", "region") if found else ()))


def _patiently(read: Callable[[], dict[str, Any]], what: str) -> dict[str, Any]:
    """Return an answer; what was refused for now is asked again. Few calls a second are allowed."""
    from firedoor.cloud.asking import asked

    for pause in PAUSES:
        try:
            return asked(read, what)
        except CloudError as error:
            if not error.retryable:
                raise
        time.sleep(pause)
    return asked(read, what)


def _envelopes(name: str) -> Iterator[bytes]:
    found = _ARN.fullmatch(name)
    if found is None or not found["hour"]:
        raise BadInput("logs", name, "expected an hour of a log group")
    filter_ = _client(found).filter_log_events
    start = datetime.strptime(found["hour"], _HOUR).replace(tzinfo=UTC)
    wanted: dict[str, Any] = {
        "logGroupName": found["name"],
        "startTime": _milliseconds(start),
        "endTime": _milliseconds(start + SLICE) - 1,  # what has this very time is still meant
    }
    while True:
        page = _patiently(partial(filter_, **wanted), "FilterLogEvents")
        if page["events"]:
            yield _envelope(found, page["events"])
        if not page.get("nextToken"):
            return
        wanted["nextToken"] = page["nextToken"]


def _envelope(found: re.Match[str], events: list[dict[str, Any]]) -> bytes:
    envelope = {
        "messageType": "DATA_MESSAGE",
        "owner": found["account"],
        "logGroup": found["name"],
        "logEvents": [
            {"id": e["eventId"], "timestamp": e["timestamp"], "message": e["message"]}
            for e in events
        ],
    }
    return json.dumps(envelope).encode() + b"\n"


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
