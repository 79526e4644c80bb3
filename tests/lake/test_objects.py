"""What is read of objects: packed, cut, damaged, hostile, mixed, enveloped, and of growing ones."""

import base64
import bz2
import gzip
import io
import json
import lzma
import random
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from firedoor.errors import Unreadable
from firedoor.lake import envelopes, json_stream, objects
from firedoor.lake.objects import Reading
from firedoor.log_source import Place

SAMPLES = Path(__file__).parents[1] / "data" / "logs"
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


@pytest.mark.parametrize("at_once", [json_stream.AT_ONCE, 0], ids=["whole", "cut"])
def test_records_of_a_batch_are_no_more_than_a_piece(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "AT_ONCE", at_once)
    monkeypatch.setattr(json_stream, "PIECE", 1000)

    reading = Reading(io.BytesIO(blob(*range(1, 10))), Place("PT1H.json"))

    assert [table.num_rows for one in reading for table in one.tables.values()] == [3, 3, 3]


def line(port: int) -> bytes:
    """Return one line of a VPC flow log."""
    ends = f"192.0.2.1 198.51.100.1 49152 {port} 6 1 40 1704067200 1704067260"
    return f"2 123456789012 eni-0123456789abcdef0 {ends} ACCEPT OK\n".encode()


def entry(number: int, log: str = "requests", **more: Any) -> dict[str, Any]:
    """Return an entry of Google's logs: a request at a load balancer, unless something else."""
    request = {"requestMethod": "GET", "requestUrl": "https://example.com/", "status": number}
    return {
        "logName": f"projects/example-project/logs/{log}",
        "timestamp": "2026-01-31T10:00:00Z",
        "resource": {"type": "http_load_balancer", "labels": {}},
        "httpRequest": request | {"remoteIp": "192.0.2.1"},
        "jsonPayload": {},
    } | more


def guarded(number: int) -> dict[str, Any]:
    """Return a request that Cloud Armor has looked at."""
    policy = {"name": "web", "priority": 1, "outcome": "DENY"}
    return entry(number, jsonPayload={"enforcedSecurityPolicy": policy})


def text(*records: Any) -> bytes:
    """Return JSON lines."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


class Read:
    """What an object held, to its end or until it could not be read."""

    def __init__(self, content: bytes | Any, **options: Any) -> None:
        stream = io.BytesIO(content) if isinstance(content, bytes) else content
        self.reading = Reading(stream, Place("object"), **options)
        self.rows: list[dict[str, Any]] = []
        self.refused: list[tuple[int, bytes]] = []
        self.parts = 0
        self.error = ""
        try:
            for parsed in self.reading:
                self.parts += 1
                self.rows += [row for one in parsed.tables.values() for row in one.to_pylist()]
                self.refused += [(one.number, one.text) for one in parsed.refused]
        except Unreadable as error:
            self.error = str(error)

    def all(self, column: str) -> list[Any]:
        """Return a column of all rows."""
        return [row[column] for row in self.rows]


def test_lines_before_the_end_of_a_truncated_gzip_are_kept() -> None:
    content = b"".join(map(line, range(1, 20_000)))
    packed = gzip.compress(content)

    found = Read(packed[: len(packed) // 2])

    ports = found.all("dst_port")
    assert len(ports) > 5_000
    assert ports == list(range(1, len(ports) + 1))
    assert found.error.startswith("object: byte ")
    assert found.error.endswith("unpacked: expected gzip: it ends too early")


def test_records_before_the_end_of_a_truncated_gzip_are_kept() -> None:
    content = text(*map(entry, range(1, 20_000)))
    packed = gzip.compress(content)

    found = Read(packed[: len(packed) // 2])

    statuses = found.all("status")
    assert len(statuses) > 5_000
    assert statuses == list(range(1, len(statuses) + 1))
    assert found.refused == []
    assert found.error.endswith("unpacked: expected gzip: it ends too early")


def test_lines_before_damage_in_a_gzip_are_kept() -> None:
    packed = bytearray(gzip.compress(b"".join(map(line, range(1, 20_000)))))
    packed[-8:-4] = b"\0\0\0\0"  # its checksum, which tells no more than that something is wrong

    found = Read(bytes(packed))

    ports = found.all("dst_port")
    assert len(ports) > 19_000
    assert ports == list(range(1, len(ports) + 1))
    assert found.error.endswith("unpacked: expected gzip: it is damaged")


def test_gzip_of_several_members_is_read_to_its_end() -> None:
    found = Read(gzip.compress(line(1) + line(2)) + gzip.compress(line(3)))

    assert (found.all("dst_port"), found.error) == ([1, 2, 3], "")


def test_what_unpacks_to_too_much_is_not_read_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "HOSTILE_SIZE", 1 << 20)
    monkeypatch.setattr(objects, "HOSTILE_RATIO", 100)
    monkeypatch.setattr(objects, "BLOCK", 1 << 20)

    found = Read(gzip.compress(bytes(8 << 20)))

    assert found.error.endswith("expected a log: it unpacks to more than 100 times its size")


def test_what_is_packed_well_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "HOSTILE_SIZE", 1 << 20)

    found = Read(gzip.compress(line(1) * 20_000))

    assert (len(found.rows), found.error) == (20_000, "")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04" + bytes(20), "a zip archive"),
        (bz2.compress(b"x"), "packed with bzip2"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "packed with zstd"),
        (lzma.compress(b"x"), "packed with xz"),
    ],
)
def test_other_packing_is_named(content: bytes, what: str) -> None:
    assert Read(content).error == f"object: expected text, gzip or Parquet, not {what}"


def test_zip_archive_is_named() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("flows.log", line(1))

    assert "a zip archive" in Read(packed.getvalue()).error


def test_line_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LONGEST", 1000)
    monkeypatch.setattr(objects, "BLOCK", 500)

    found = Read(line(1) + b"x" * 5_000 + b"\n" + line(2))

    assert found.all("dst_port") == [1, 2]
    assert [number for number, _ in found.refused] == [2]


def test_record_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "LONGEST", 1000)
    monkeypatch.setattr(objects, "BLOCK", 500)
    monkeypatch.setattr(json_stream, "AT_ONCE", 500)

    found = Read(text(entry(1), entry(2, filler="x" * 5_000), entry(3)))

    assert found.all("status") == [1, 3]
    assert [number for number, _ in found.refused] == [2]


def test_record_that_is_longer_than_many_blocks_is_refused_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "LONGEST", 1000)
    monkeypatch.setattr(objects, "BLOCK", 500)
    monkeypatch.setattr(json_stream, "AT_ONCE", 500)
    document = {"Records": [entry(1), entry(2, filler="x" * 20_000)]}

    found = Read(text(document, entry(3)))

    assert found.all("status") == [1, 3]
    assert [number for number, _ in found.refused] == [2]


class Endless(io.RawIOBase):
    """A stream of many bytes, of which few are held."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._left = self._left or next(self._parts, b"")
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


def test_line_that_does_not_end_is_not_held() -> None:
    filler = b"x" * (1 << 20)

    def parts() -> Iterator[bytes]:
        yield line(1)
        yield from (filler for _ in range(100))
        yield b"\n" + line(2)

    tracemalloc.start()
    found = Read(Endless(parts()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found.all("dst_port") == [1, 2]
    assert len(found.refused) == 1
    assert peak < 4 * objects.LONGEST


def test_document_that_is_cut_says_so() -> None:
    whole = json.dumps([entry(1), entry(2), entry(3)]).encode()

    found = Read(whole[:-40])

    assert found.all("status") == [1, 2]
    assert found.reading.unfinished == "it ends within a record"
    assert whole[found.reading.consumed :].lstrip(b", ").startswith(b"{")


def test_document_without_a_whole_record_is_unreadable() -> None:
    assert Read(b'{"logName": "projects/').error == "object: expected JSON: it ends within a record"


def test_cut_list_is_read_on_from_where_it_ended() -> None:
    whole = json.dumps([entry(number) for number in range(1, 51)]).encode()

    for cut in range(300, len(whole), 333):
        first = Read(whole[:cut])
        second = Read(whole[first.reading.consumed :], resumed=True)

        assert first.all("status") + second.all("status") == list(range(1, 51))
        assert first.refused + second.refused == []


@pytest.mark.parametrize("at_once", [1 << 20, 500], ids=["at once", "in blocks"])
@pytest.mark.parametrize(
    "content",
    [
        b"".join(json.dumps(entry(n)).encode() for n in (1, 2, 3)),
        b"\n".join(json.dumps(entry(n), indent=2).encode() for n in (1, 2, 3)),
        json.dumps([entry(n) for n in (1, 2, 3)], indent=2).encode(),
        json.dumps({"entries": [entry(n) for n in (1, 2, 3)]}).encode(),
        text([entry(1), entry(2)], [entry(3)]),
        b'{"entries":[' + json.dumps(entry(1)).encode() + b"]}"
        + json.dumps({"entries": [entry(2), entry(3)]}).encode(),
        b"\xef\xbb\xbf" + text(entry(1), entry(2), entry(3)),
        b"\n\n" + text(entry(1)) + b"\n" + text(entry(2), entry(3)).rstrip(),
        text(entry(1), entry(2), entry(3)).replace(b"\n", b"\r\n"),
    ],
    ids=[
        "one after another", "printed prettily", "list printed prettily", "list in an object",
        "lines of lists", "objects of lists", "byte order mark", "blank lines", "lines of Windows",
    ],
)  # fmt: skip
def test_json_is_read_however_it_stands(
    content: bytes, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "AT_ONCE", at_once)
    monkeypatch.setattr(objects, "BLOCK", at_once)

    found = Read(content)

    assert (found.all("status"), found.refused, found.error) == ([1, 2, 3], [], "")


@pytest.mark.parametrize("bad", [b'{"logName": "pro\n', b"not JSON\n", b"{]}\n", b'"text"\n'])
def test_line_that_is_no_record_is_refused_alone(bad: bytes) -> None:
    found = Read(text(entry(1), entry(2)) + bad + text(entry(3)))

    assert found.all("status") == [1, 2, 3]
    assert found.refused == [(3, bad.strip())]


def test_json_that_is_nested_deeply_is_refused_alone() -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n"

    found = Read(text(entry(1)) + deep + text(entry(2)))

    assert found.all("status") == [1, 2]
    assert len(found.refused) == 1


def test_string_that_does_not_end_is_looked_at_once() -> None:
    # Were each mark in it looked at as the beginning of another, this would take hours.
    found = Read(b'[{"a":"' + b'\\"' * 1_000_000)

    assert found.reading.unfinished == "it ends within a record"


def test_mixed_records_go_to_whose_they_are() -> None:
    found = Read(text(*(one(n) for n in range(1, 500) for one in (entry, guarded))))

    assert sorted(found.all("status")) == sorted([*range(1, 500), *range(1, 500)])
    assert {row["source"]: row["action"] for row in found.rows} == {
        "gcp_load_balancer": None,
        "gcp_armor": "Denied",
    }
    # One table for each source, and not for each record.
    assert (found.parts, found.refused) == (2, [])


def test_no_record_has_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    table = pa.table

    def counted(*arguments: Any, **named: Any) -> pa.Table:
        built.append(1)
        return table(*arguments, **named)

    monkeypatch.setattr(pa, "table", counted)
    mixed = [one(n) for n in range(1, 500) for one in (entry, guarded)]
    # The status is not a number of 32 bits: seen when the table is built, and looked for by halves.
    found = Read(text(*mixed, entry(1 << 40), *mixed))

    assert (len(found.rows), len(found.refused)) == (4 * 499, 1)
    assert len(built) < 40


def test_unknown_records_among_known_ones_are_refused() -> None:
    other = entry(0, "syslog", httpRequest=None)

    found = Read(text(other, entry(1), other, guarded(2)))

    assert found.all("status") == [1, 2]
    assert [number for number, _ in found.refused] == [1, 3]


def test_damaged_stranger_keeps_its_number() -> None:
    damaged = guarded(3) | {"timestamp": "yesterday"}

    found = Read(text(entry(1), guarded(2), entry(2), damaged))

    assert found.all("status") == [1, 2, 2]
    assert [number for number, _ in found.refused] == [4]


def wrapped(content: bytes, number: int = 1) -> dict[str, Any]:
    """Return a message of Pub/Sub."""
    data = base64.b64encode(content).decode()
    return {"message": {"data": data, "messageId": str(number)}, "subscription": "logs"}


def test_enveloped_records_are_parsed_together() -> None:
    found = Read(text(*(wrapped(text(entry(n))) for n in range(1, 300))))

    assert found.all("status") == list(range(1, 300))
    assert found.parts == 1


def test_envelopes_may_be_in_envelopes() -> None:
    inner = text(wrapped(gzip.compress(text(entry(1), guarded(2)))))

    assert Read(text(wrapped(inner))).all("status") == [1, 2]


def test_envelope_may_hold_gzip_of_several_members() -> None:
    packed = gzip.compress(text(entry(1))) + gzip.compress(text(entry(2)))

    assert Read(text(wrapped(packed))).all("status") == [1, 2]


def test_envelope_of_a_truncated_gzip_is_refused() -> None:
    cut = gzip.compress(text(entry(2), entry(3)))[:-20]

    found = Read(text(entry(1), wrapped(cut), entry(4)))

    assert found.all("status") == [1, 4]
    assert [number for number, _ in found.refused] == [2]


def test_envelope_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelopes, "LARGEST", 1 << 20)

    found = Read(text(entry(1), wrapped(gzip.compress(bytes(8 << 20))), entry(2)))

    assert found.all("status") == [1, 2]
    assert [number for number, _ in found.refused] == [2]


def test_unknown_text_in_an_envelope_is_refused_among_known_records() -> None:
    found = Read(text(wrapped(b"a line of something"), wrapped(text(entry(1))), wrapped(line(80))))

    assert {row["source"] for row in found.rows} == {"aws_vpc_flow", "gcp_load_balancer"}
    assert [text for _, text in found.refused] == [b"a line of something\n"]
    assert found.error == ""


def test_envelopes_of_nothing_that_is_known_are_unreadable() -> None:
    error = Read(text(wrapped(b"a line of something"))).error

    assert error == "object: expected a log that we know: name its format with --format"


def test_line_that_is_not_text_is_refused_alone() -> None:
    found = Read(line(1) + b"2 123456789012 \xff\xfe\n" + line(2))

    assert (found.all("dst_port"), len(found.refused)) == ([1, 2], 1)


def test_line_that_a_source_has_not_foreseen_is_refused_alone() -> None:
    far = line(3).replace(b"1704067200", b"9" * 17)

    found = Read(line(1) + line(2) + far + line(4))

    assert found.all("dst_port") == [1, 2, 4]
    assert [(number, text.strip()) for number, text in found.refused] == [(3, far.strip())]


@pytest.mark.parametrize("event", [{}, {"id": "1"}, "text", None])
def test_envelope_that_is_not_as_it_should_be_is_refused(event: Any) -> None:
    damaged = {"messageType": "DATA_MESSAGE", "logEvents": [event]}

    found = Read(text(entry(1), damaged, entry(2)))

    assert found.all("status") == [1, 2]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return an object as no log is: bytes lost, doubled, changed or thrown in."""
    found = bytearray(content)
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(5):
            case 0:
                found[at : at + 1] = chance.randbytes(1)
            case 1:
                del found[at : at + chance.randrange(1, 30)]
            case 2:
                found[at:at] = bytes(chance.choices(b'{}[]",:\n\\0 19-', k=3))
            case 3:
                found = found[:at]
            case 4:
                start = chance.randrange(len(found) + 1)
                found[at:at] = found[start : start + chance.randrange(1, 400)]
    packed = gzip.compress(found) if chance.random() < 0.1 else bytes(found)
    return packed[: chance.randrange(len(packed) + 1)] if chance.random() < 0.1 else packed


def test_damage_of_any_kind_is_answered() -> None:
    chance = random.Random(20260131)
    samples = [file for file in sorted(SAMPLES.glob("*/*")) if file.suffix != ".rows"]

    for _ in range(400):
        # It does not raise what it has no answer to.
        Read(damaged(chance.choice(samples).read_bytes(), chance))


@pytest.mark.parametrize("content", [b"", b"\n \n", gzip.compress(b"")])
def test_object_may_be_empty(content: bytes) -> None:
    found = Read(content)

    assert (found.rows, found.refused, found.error) == ([], [], "")


def test_object_may_be_a_header() -> None:
    found = Read(b"version account-id interface-id srcaddr dstaddr\n")

    assert (found.rows, found.refused, found.error) == ([], [], "")
    assert found.reading.source == "aws_vpc_flow"


def test_lines_may_begin_with_a_byte_order_mark() -> None:
    assert Read(b"\xef\xbb\xbf" + line(80)).all("dst_port") == [80]


def test_unknown_format_is_answered_with_those_that_are_known() -> None:
    error = Read(line(80), source="nosuch").error

    assert error.startswith("object: expected a format, not nosuch: one of aws_")
    assert "gcp_dns" in error
    assert "\n" not in error


def test_format_of_another_shape_is_refused() -> None:
    assert Read(line(80), source="gcp_dns").error == (
        "object: expected records, as gcp_dns has them"
    )
    assert Read(text(entry(1)), source="aws_vpc_flow").error == (
        "object: expected lines, as aws_vpc_flow has them"
    )


@pytest.mark.parametrize(
    "content", [bytes(range(256)) * 100, b"\xff" * 5_000, b"PAR1" + bytes(100), b"{}", b"[1, 2]"]
)
def test_what_is_no_log_is_unreadable(content: bytes) -> None:
    found = Read(content)

    assert found.rows == []
    assert found.error.startswith("object: expected ")
    assert "\n" not in found.error
