"""Log groups as places of logs, in the emulated AWS."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firedoor import collecting
from firedoor.cloud.aws import Aws, own
from firedoor.collectors import cloudwatch
from firedoor.errors import BadInput, NotFound
from firedoor.lake.objects import Reading
from firedoor.log_source import Place

GROUP = "/aws/vpc/flow"
ARN = f"arn:aws:logs:us-east-1:123456789012:log-group:{GROUP}"
NOW = datetime.now(UTC)
CREATED = datetime(2026, 1, 31, 12, 30, tzinfo=UTC)


@pytest.fixture
def logs(aws: Aws) -> Any:
    client = own("logs")
    client.create_log_group(logGroupName=GROUP)
    client.create_log_group(logGroupName=f"{GROUP}-other")
    client.create_log_stream(logGroupName=GROUP, logStreamName="eni-1-all")
    return client


def put(logs: Any, *events: tuple[datetime, str]) -> None:
    said = [{"timestamp": int(at.timestamp() * 1000), "message": what} for at, what in events]
    logs.put_log_events(logGroupName=GROUP, logStreamName="eni-1-all", logEvents=said)


def group(**more: Any) -> dict[str, Any]:
    return {"arn": f"{ARN}:*", "creationTime": int(CREATED.timestamp() * 1000), **more}


def hours(now: datetime, since: datetime | None = None, **more: Any) -> dict[str, str]:
    found = cloudwatch.hours(group(**more), since, now)
    return {blob.name.removeprefix(f"{ARN}@"): blob.version for blob in found}


def test_hours_begin_where_events_can_be() -> None:
    now = CREATED + timedelta(days=1)

    assert next(iter(hours(now))) == "2026-01-17T12:00Z"  # two weeks before the group
    assert next(iter(hours(now, retentionInDays=1))) == "2026-01-31T12:00Z"


def test_an_hour_that_may_still_get_events_changes_its_version() -> None:
    now = CREATED.replace(minute=15)
    before = hours(now, now - timedelta(hours=3))
    after = hours(now + timedelta(minutes=5), now - timedelta(hours=3))

    assert list(before) == [f"2026-01-31T{hour:02}:00Z" for hour in range(7, 13)]
    assert [before[hour] == after[hour] for hour in before] == [True] * 3 + [False] * 3
    assert {before[hour] for hour in list(before)[:3]} == {cloudwatch.SETTLED}


def test_since_leaves_out_the_hours_that_were_settled_then() -> None:
    now = CREATED.replace(minute=0)

    assert list(hours(now, now)) == ["2026-01-31T10:00Z", "2026-01-31T11:00Z"]


def test_hours_begin_with_the_first_event(logs: Any) -> None:
    assert list(collecting.blobs(ARN)) == []

    put(logs, (NOW - timedelta(hours=5), "first"), (NOW, "last"))

    start = NOW - timedelta(hours=5) - cloudwatch.LATE
    assert next(collecting.blobs(ARN)).name == f"{ARN}@{start:%Y-%m-%dT%H:00Z}"


def test_account_and_region_are_told_by_the_arn(logs: Any) -> None:
    put(logs, (NOW, "x"))

    blob = next(collecting.blobs(f"cloudwatch://{GROUP}"))

    assert (blob.account, blob.region) == ("123456789012", "us-east-1")


def test_a_name_and_an_arn_mean_the_same(logs: Any) -> None:
    by_name = [blob.name for blob in collecting.blobs(f"cloudwatch://{GROUP}", NOW)]
    by_arn = [blob.name for blob in collecting.blobs(f"{ARN}:*", NOW)]

    assert by_name == by_arn
    assert len(by_name) in (3, 4)


def test_each_event_is_in_the_hour_of_its_time(logs: Any) -> None:
    start = (NOW - timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
    end = start + timedelta(hours=1)
    put(logs, (start, "first"), (end - timedelta(milliseconds=1), "last"), (end, "next"))

    found = {}
    for blob in collecting.blobs(f"cloudwatch://{GROUP}", NOW):
        with collecting.open_(blob) as stream:
            said = [json.loads(line) for line in stream]
        found[blob.name[-17:]] = [e["message"] for one in said for e in one["logEvents"]]

    assert found[start.strftime("%Y-%m-%dT%H:%MZ")] == ["first", "last"]
    assert found[end.strftime("%Y-%m-%dT%H:%MZ")] == ["next"]


def test_an_hour_reads_as_what_was_logged(logs: Any) -> None:
    at = int(NOW.timestamp())
    line = f"2 123456789012 eni-1 192.0.2.1 10.0.0.1 40000 22 6 3 180 {at} {at} REJECT OK"
    put(logs, *((NOW, line) for _ in range(12)))

    (blob,) = (b for b in collecting.blobs(ARN, NOW) if NOW.strftime("@%Y-%m-%dT%H:") in b.name)
    with collecting.open_(blob) as stream:
        rows = [one.tables["network_activity"] for one in Reading(stream, Place(blob.name))]

    assert sum(table.num_rows for table in rows) == 12
    assert rows[0]["account"].to_pylist()[0] == "123456789012"


def test_an_hour_is_read_from_an_offset(logs: Any) -> None:
    put(logs, (NOW, "x"))
    (blob,) = (b for b in collecting.blobs(ARN, NOW) if NOW.strftime("@%Y-%m-%dT%H:") in b.name)

    with collecting.open_(blob) as whole, collecting.open_(blob, 20) as rest:
        assert whole.read()[20:] == rest.read()


def test_errors_are_ours(logs: Any) -> None:
    with pytest.raises(NotFound, match=r"no log group /aws/vpc$"):
        list(collecting.blobs("cloudwatch:///aws/vpc"))
    with pytest.raises(BadInput, match="expected cloudwatch://NAME"):
        list(collecting.blobs("cloudwatch://a b"))
