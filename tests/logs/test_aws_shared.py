"""Every log of AWS that is at hand is read: so many rows, so many refused, and why."""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Place

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the samples are not at hand")


def read(content: bytes, name: str = "object") -> tuple[str | None, Counter[str], list[str]]:
    """Return the source of an object, its rows by relation, and why some were refused."""
    reading = Reading(io.BytesIO(content), Place(name))
    rows: Counter[str] = Counter()
    refused: list[str] = []
    for parsed in reading:
        rows.update({relation: table.num_rows for relation, table in parsed.tables.items()})
        refused += [one.reason for one in parsed.refused]
    return reading.source, rows, refused


def files(*patterns: str) -> list[Any]:
    """Return the files of patterns, as parameters."""
    found = sorted(file for pattern in patterns for file in DATA.glob(pattern))
    return [pytest.param(file, id=file.relative_to(DATA).as_posix()) for file in found]


def lines(records: Iterable[Any]) -> bytes:
    """Return records as JSON lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def walked(value: Any, *members: str) -> Iterator[dict[str, Any]]:
    """Yield the objects that have all of these members, wherever they stand in a document."""
    if isinstance(value, dict):
        if set(members) <= value.keys():
            yield value
        else:
            for inner in value.values():
                yield from walked(inner, *members)
    elif isinstance(value, list):
        for inner in value:
            yield from walked(inner, *members)


@pytest.mark.parametrize(
    "file",
    files(
        "aws-cloudtrail/trailscraper/*.json",
        "aws-cloudtrail/c7n/*.json",
        "aws-cloudtrail/opensearch-catalog/raw-sample.json",
        "cloudtrail-attacks/invictus/*.json",
        "stratus-detonation/stratus/*.json",
    ),
)
def test_trail_is_read_whole(file: Path) -> None:
    content = file.read_bytes()
    if b'"eventTime"' not in content:
        pytest.skip("it is an excerpt without a time")
    expected = list(walked(json.loads(content), "eventName", "eventTime"))

    source, rows, refused = read(content)

    assert (source, rows["api_activity"], refused) == ("aws_cloudtrail", len(expected), [])
    assert expected


def test_packed_trail_is_read_as_the_unpacked_one() -> None:
    [packed] = DATA.glob("aws-cloudtrail/trailscraper/*.gz")

    assert read(packed.read_bytes()) == read(packed.with_suffix("").read_bytes())


def test_lookup_of_events_is_read() -> None:
    [file] = DATA.glob("aws-cloudtrail/plaso/*.jsonl")

    assert read(file.read_bytes()) == (
        "aws_cloudtrail",
        {"api_activity": len(file.read_text().splitlines())},
        [],
    )


@pytest.mark.parametrize(
    "file", files("aws-cloudtrail/opensearch-catalog/samples.json", "cloudtrail-attacks/*/*.jsonl")
)
def test_events_within_other_documents_are_read(file: Path) -> None:
    text = file.read_text()
    documents = json.loads(text) if file.suffix == ".json" else map(json.loads, text.splitlines())
    events = list(walked(list(documents), "eventName", "userIdentity"))

    source, rows, refused = read(lines(events))

    assert (source, rows["api_activity"], refused) == ("aws_cloudtrail", len(events), [])
    assert rows["authentication"] == sum(
        event["eventSource"] in ("signin.amazonaws.com", "sts.amazonaws.com")
        and event["eventName"] not in ("GetCallerIdentity", "PasswordUpdated")
        for event in events
    )


def test_examples_of_rules_are_read_but_those_without_a_time() -> None:
    [file] = DATA.glob("aws-cloudtrail/panther-analysis/*.jsonl")
    times = [json.loads(line).get("eventTime", "") for line in file.read_text().splitlines()]
    timed = [time for time in times if time[:2] == "20"]

    source, rows, refused = read(file.read_bytes())

    assert (source, rows["api_activity"]) == ("aws_cloudtrail", len(timed))
    assert Counter(reason.partition(":")[0] for reason in refused) == {
        "eventTime": len(times) - len(timed)
    }


def test_trail_in_a_subscription_of_cloudwatch_is_read() -> None:
    [file] = DATA.glob("aws-envelopes/datadog/cloudwatch_log_cloudtrail.json")
    events = json.loads(file.read_text())["logEvents"]

    assert read(file.read_bytes()) == ("aws_cloudtrail", {"api_activity": len(events)}, [])


def test_flows_of_two_formats_are_read() -> None:
    found = {
        file.name: read(file.read_bytes()) for file in DATA.glob("aws-vpcflow/flowlogs-reader/*")
    }

    assert found == {
        "v2_default.log": ("aws_vpc_flow", {"network_activity": 3}, []),
        "v3_header_custom_order.log": ("aws_vpc_flow", {"network_activity": 2}, []),
        "v5_header_custom_order.log": (
            "aws_vpc_flow",
            {"network_activity": 2},
            ["2 columns, expected 29"],
        ),
    }


def test_flows_within_documents_are_read() -> None:
    [file] = DATA.glob("aws-vpcflow/opensearch-catalog/*.json")
    bodies = [one["body"] for one in walked(json.loads(file.read_text()), "body")]

    source, rows, refused = read("".join(f"{body}\n" for body in bodies).encode())

    told = sum(not body.endswith("NODATA") for body in bodies)
    assert (source, rows["network_activity"], refused) == ("aws_vpc_flow", told, [])


def test_flows_in_a_subscription_of_cloudwatch_are_read() -> None:
    [file] = DATA.glob("aws-envelopes/newrelic/entry_vpc_flow_logs.json")

    assert read(file.read_bytes()) == ("aws_vpc_flow", {"network_activity": 0}, [])


def test_requests_at_balancers_are_read() -> None:
    [raw] = DATA.glob("aws-alb/opensearch-catalog/raw.log")
    [cases] = DATA.glob("aws-alb/dynatrace/*.json")
    inputs = [case["input"] for case in json.loads(cases.read_text())]

    assert read(raw.read_bytes()) == (
        "aws_alb",
        {"http_activity": len(raw.read_bytes().splitlines())},
        [],
    )
    assert [read(line.encode()) for line in inputs] == [
        ("aws_alb" if "app/" in line else "aws_clb", {"http_activity": 1}, []) for line in inputs
    ]


def test_connections_at_balancers_are_read_in_both_directions() -> None:
    [file] = DATA.glob("aws-nlb/otel/*.log")

    assert read(file.read_bytes()) == ("aws_nlb", {"network_activity": 2}, [])


def test_requests_at_firewalls_are_read() -> None:
    [raw] = DATA.glob("aws-waf/opensearch-catalog/raw.log")
    [cases] = DATA.glob("aws-waf/dynatrace/*.json")
    inputs = [case["input"] for case in json.loads(cases.read_text())]
    [examples] = DATA.glob("aws-waf/panther-analysis/*.jsonl")

    for content in (raw.read_bytes(), lines(inputs), examples.read_bytes()):
        count = len(content.splitlines())
        assert read(content) == ("aws_waf", {"http_activity": count}, [])


def test_questions_are_read() -> None:
    [file] = DATA.glob("aws-route53-resolver/panther-analysis/*.jsonl")
    questions = [line for line in file.read_bytes().splitlines() if b'"query_timestamp"' in line]

    assert read(b"\n".join(questions)) == (
        "aws_route53_resolver",
        {"dns_activity": len(questions)},
        [],
    )
