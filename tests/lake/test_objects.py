"""What is read of objects that grow while they are read."""

import io
import json
from typing import Any

import pytest

from firedoor.lake import json_stream
from firedoor.lake.objects import Reading
from firedoor.log_source import Place

NSG = (
    "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000001/RESOURCEGROUPS/WEB/PROVIDERS/"
    "MICROSOFT.NETWORK/NETWORKSECURITYGROUPS/WEB-NSG"
)


def flow(port: int) -> dict[str, Any]:
    """Return the record of one flow."""
    tuples = [f"1704067200,192.0.2.1,198.51.100.1,49152,{port},T,I,A"]
    flows = [{"rule": "UserRule_web", "flows": [{"mac": "000D3A000001", "flowTuples": tuples}]}]
    return {
        "time": "2024-01-01T00:00:06.8944384Z",
        "category": "NetworkSecurityGroupFlowEvent",
        "resourceId": NSG,
        "properties": {"Version": 1, "flows": flows},
    }


def blob(*ports: int) -> bytes:
    """Return a blob as Azure appends to it: the brackets at its end stay behind what is new."""
    return b'{"records":[' + b",".join(json.dumps(flow(port)).encode() for port in ports) + b"]}"


def read(content: bytes, *, resumed: bool = False) -> tuple[list[int], int, int]:
    """Return the ports that were read, how many were refused, and how far it was read."""
    reading = Reading(io.BytesIO(content), Place("PT1H.json"), resumed=resumed)
    parsed = list(reading)
    tables = [table for one in parsed for table in one.tables.values()]
    ports = [port for table in tables for port in table["dst_port"].to_pylist()]
    return ports, sum(len(one.refused) for one in parsed), reading.consumed


def test_record_that_is_not_whole_waits() -> None:
    whole = blob(80, 443)
    cut = whole[: -len(json.dumps(flow(443))) + 40]

    ports, refused, consumed = read(cut)

    assert (ports, refused) == ([80], 0)
    assert cut[:consumed] == blob(80)[:-2]


def test_list_without_its_end_is_read() -> None:
    content = blob(80, 443)[:-2]

    assert read(content) == ([80, 443], 0, len(content))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_blob_that_grew_is_read_from_where_it_ended(mark: bytes) -> None:
    before, after = mark + blob(80), mark + blob(80, 443)

    first, _, consumed = read(before)
    second, refused, _ = read(after[consumed:], resumed=True)

    assert (first, second, refused) == ([80], [443], 0)


def test_lines_of_lists_that_grew_are_read_from_where_they_ended() -> None:
    before, after = blob(80) + b"\n", blob(80) + b"\n" + blob(443, 444) + b"\n"

    _, _, consumed = read(before)
    ports, refused, _ = read(after[consumed:], resumed=True)

    assert (ports, refused) == ([443, 444], 0)


def test_records_of_a_batch_are_no_more_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "AT_ONCE", 1000)

    reading = Reading(io.BytesIO(blob(*range(1, 10))), Place("PT1H.json"))

    assert [table.num_rows for one in reading for table in one.tables.values()] == [3, 3, 3]
