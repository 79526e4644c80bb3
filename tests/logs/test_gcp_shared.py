"""Every log of Google Cloud among the samples at hand is read: so many rows, so many refused."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Place

SHARED = Path(__file__).parents[3] / "shared" / "data"
FOLDERS = ("gcp-vpcflow", "gcp-dns", "gcp-audit", "gcp-lb", "gcp-armor", "panther-tests/gcp_*")
AUDIT = "cloudaudit.googleapis.com%2F"
TIME = "2018-04-03T13:48:40Z"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared samples are not here")


def entries() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every entry with its file; a test of a rule holds the entry that it is about."""
    files = sorted(file for folder in FOLDERS for file in SHARED.glob(f"{folder}/**/*.json*"))
    for file in files:
        name = file.relative_to(SHARED).as_posix()
        if file.suffix == ".jsonl":
            for line in file.read_text().splitlines():
                yield name, json.loads(line)
        elif name.startswith("panther-tests/"):
            for test in json.loads(file.read_text())["tests"]:
                yield name, test["log"]
        else:
            yield name, json.loads(file.read_text())


def read(content: bytes) -> tuple[str | None, Counter[str], list[str]]:
    """Return the source, how many rows there are by relation, and why others are refused."""
    rows: Counter[str] = Counter()
    refused: list[str] = []
    reading = Reading(io.BytesIO(content), Place("entries.jsonl"))
    for parsed in reading:
        rows.update({relation: table.num_rows for relation, table in parsed.tables.items()})
        refused += [one.reason for one in parsed.refused]
    return reading.source, rows, refused


def lines(found: list[dict[str, Any]]) -> bytes:
    """Return entries as a sink writes them."""
    return "".join(json.dumps(one) + "\n" for one in found).encode()


def is_audit(entry: dict[str, Any]) -> bool:
    """Tell an entry of an audit log that has what every one has."""
    payload = entry.get("protoPayload")
    return (
        isinstance(payload, dict)
        and ("methodName" in payload or "serviceName" in payload)
        and AUDIT in entry.get("logName", AUDIT)
    )


def is_whole(entry: dict[str, Any]) -> bool:
    """Tell an entry of which nothing was cut out or blackened."""
    metadata = entry.get("protoPayload", {}).get("requestMetadata", {})
    return "timestamp" in entry and isinstance(metadata, dict)


def is_end(entry: dict[str, Any]) -> bool:
    """Tell the end of an operation whose beginning is another entry."""
    operation = entry.get("operation", {})
    return bool(operation.get("last")) and not operation.get("first")


def is_request(entry: dict[str, Any]) -> bool:
    """Tell a request at a load balancer."""
    return entry.get("resource", {}).get("type") == "http_load_balancer"


def test_calls_are_read_once_each() -> None:
    found = [entry for _, entry in entries() if is_audit(entry)]
    whole = [entry for entry in found if is_whole(entry)]

    source, rows, refused = read(lines(found))

    assert source == "gcp_audit"
    assert len(whole) > 150
    assert rows["api_activity"] == sum(not is_end(entry) for entry in whole)
    assert rows["authentication"] == 2
    assert len(refused) == len(found) - len(whole)
    assert {reason.partition(" - ")[0] for reason in refused} == {
        "Expected `object`, got `str`",
        "Object missing required field `timestamp`",
    }


def test_requests_are_read_whoever_looked_at_them() -> None:
    found = [entry for _, entry in entries() if "httpRequest" in entry and is_request(entry)]
    whole = [entry for entry in found if is_whole(entry)]

    _, rows, refused = read(lines(found))

    assert rows == {"http_activity": len(whole)}
    assert len(whole) == 8
    assert len(refused) == len(found) - len(whole)


def test_questions_are_read() -> None:
    found = [entry for name, entry in entries() if name.startswith("gcp-dns")]

    assert read(lines(found)) == ("gcp_dns", {"dns_activity": len(found)}, [])


def test_flows_are_read_once_each() -> None:
    log = "projects/example-project/logs/compute.googleapis.com%2Fvpc_flows"
    found: list[dict[str, Any]] = [
        one if "jsonPayload" in one else {"logName": log, "timestamp": TIME, "jsonPayload": one}
        for name, one in entries()
        if name.startswith("gcp-vpcflow")
    ]
    sent = [one["jsonPayload"] for one in found if one["jsonPayload"]["reporter"] == "SRC"]
    # The one that the receiver reports comes from the Internet.
    assert len(found) == len(sent) + 1

    assert read(lines(found)) == ("gcp_vpc_flow", {"network_activity": len(found)}, [])


def test_all_of_them_may_be_in_one_object() -> None:
    found = [entry for _, entry in entries()]
    known = [entry for entry in found if is_audit(entry) and is_whole(entry)]

    _, rows, _ = read(lines(found))
    listed = read(json.dumps(found, indent=2).encode())[1]

    assert rows == listed
    assert rows == {
        "api_activity": sum(not is_end(entry) for entry in known),
        "authentication": 2,
        "http_activity": 8,
        "dns_activity": 2,
        "network_activity": 1,
    }
