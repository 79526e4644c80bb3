"""Every log source reads its own samples into the rows that are written beside them."""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from firedoor.discovery import find
from firedoor.lake.json_stream import Stream
from firedoor.lake.objects import Reading
from firedoor.log_source import ARROW, LogSource, Place, Sample, Shape
from firedoor.relations import RELATIONS

DATA = Path(__file__).parents[1] / "data" / "logs"
SOURCES = find("firedoor.logs", LogSource)
SAMPLES = sorted(
    file.relative_to(DATA).as_posix()
    for file in DATA.glob("*/*")
    if file.suffix != ".rows" and file.is_file()
)


def rows(file: Path, **place: str) -> tuple[str | None, list[dict[str, Any]]]:
    """Return the source that reads a file, and its rows without what is null."""
    with file.open("rb") as stream:
        reading = Reading(stream, Place(file.name, **place))
        found = [
            {"relation": relation} | {k: v for k, v in row.items() if v is not None}
            for parsed in reading
            for relation, table in parsed.tables.items()
            for row in table.to_pylist()
        ]
    return reading.source, found


@pytest.mark.parametrize("sample", SAMPLES)
def test_sample_is_read_into_its_rows(sample: str) -> None:
    file = DATA / sample
    expected = [json.loads(line) for line in Path(f"{file}.rows").read_text().splitlines()]

    source, found = rows(file)

    assert source == file.parent.name
    assert found == expected


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_source_has_a_sample(source: str) -> None:
    assert any(sample.startswith(f"{source}/") for sample in SAMPLES)


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_source_fills_the_relations_that_it_names(source: str) -> None:
    files = [DATA / sample for sample in SAMPLES if sample.startswith(f"{source}/")]

    filled = {row["relation"] for file in files for row in rows(file)[1]}

    assert filled == set(SOURCES[source].relations)


@pytest.mark.parametrize("sample", SAMPLES)
def test_tables_are_of_their_relation(sample: str) -> None:
    with (DATA / sample).open("rb") as stream:
        for parsed in Reading(stream, Place(sample)):
            for name, table in parsed.tables.items():
                columns = {c.name: ARROW[c.type] for c in RELATIONS[name].columns}
                assert {field.name: field.type for field in table.schema} == columns


@pytest.mark.parametrize("sample", SAMPLES)
def test_row_says_where_it_is_from(sample: str) -> None:
    source, found = rows(DATA / sample, account="123456789012")

    for row in found:
        assert row["source"] == source
        assert {"time", "day", "cloud", "account"} <= row.keys()


@pytest.mark.parametrize("sample", SAMPLES)
def test_column_is_the_same_whatever_else_is_wanted(sample: str) -> None:
    def columns(wanted: dict[str, frozenset[str]] | None) -> dict[tuple[str, str], list[Any]]:
        found: dict[tuple[str, str], list[Any]] = {}
        with (DATA / sample).open("rb") as stream:
            for parsed in Reading(stream, Place(sample), wanted=wanted):
                for relation, table in parsed.tables.items():
                    for name in table.column_names:
                        found.setdefault((relation, name), []).extend(table[name].to_pylist())
        return found

    everything = columns(None)
    for part in range(5):
        wanted = {
            name: frozenset(column.name for column in relation.columns[part::5])
            for name, relation in RELATIONS.items()
        }
        found = columns(wanted)

        asked = {(name, column) for name, those in wanted.items() for column in those}
        assert {key: found[key] for key in asked & everything.keys()} == {
            key: everything[key] for key in asked & everything.keys()
        }


# What a time looks like, in records as in lines: ISO, or epoch seconds or milliseconds.
ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.]\d+)?(?:Z|[+-]\d\d:\d\d)?")
EPOCH = re.compile(r"(?<![\w.:-])\d{10}(?:\d{3})?(?:[.]\d+)?(?![\w.:-])")
NO_TIMES = ("60000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "now")
ODD: tuple[Any, ...] = (
    None,
    [],
    {},
    [None],
    [{}],
    {"a": {"a": [1]}},
    1,
    -1.5,
    10**30,
    True,
    "",
    "x",
)


def events(source: str) -> Iterator[tuple[str, list[str]]]:
    """Yield for each sample what comes before its first event, and the events, as texts."""
    for sample in SAMPLES:
        content = (DATA / sample).read_bytes()
        if not sample.startswith(f"{source}/") or content.startswith((b"\x1f\x8b", b"PAR1")):
            continue
        if SOURCES[source].shape is Shape.RECORDS:
            batches = Stream(iter([content]), 1 << 25).batches(1000)
            yield "", [json.dumps(msgspec.json.decode(raw)) for one in batches for raw in one.raws]
        elif not content.startswith(b"{"):
            lines = content.decode(errors="replace").splitlines()
            header = [lines.pop(0)] if SOURCES[source].header(lines[0].encode()) else []
            yield "\n".join([*header, ""]), lines


def wrong_times(text: str) -> Iterator[list[str]]:
    """Yield for each time in an event the event with wrong ones in its place."""
    for found in ISO.finditer(text):
        before, after = text[: found.start()], text[found.end() :]
        yield [f"{before}{wrong}{after}" for wrong in NO_TIMES]
    for found in EPOCH.finditer(text):
        before, after = text[: found.start()], text[found.end() :]
        # In a finer unit it is in the year 50,000 and later.
        finer = found[0].replace(".", "") + "000" * (2 if len(found[0]) == 10 else 1)
        yield [f"{before}{wrong}{after}" for wrong in (finer, f"-{found[0]}", "9" * 25)]


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_event_with_a_wrong_time_is_refused_alone(source: str) -> None:
    def read(before: str, *texts: str) -> tuple[list[dict[str, Any]], int]:
        content = (before + "".join(f"{text}\n" for text in texts)).encode()
        parsed = list(Reading(io.BytesIO(content), Place("object"), source=source))
        found = [row for p in parsed for t in p.tables.values() for row in t.to_pylist()]
        return found, sum(len(one.refused) for one in parsed)

    refused_all = False
    for before, texts in events(source):
        good = next((text for text in texts if read(before, text)[0]), None)
        for wrong in wrong_times(good) if good else ():
            expected, _ = read(before, good)

            found, refused = read(before, good, *wrong, good)

            assert all(found.count(row) >= 2 * expected.count(row) for row in expected)
            assert all(0 <= row["time"] < 253_402_300_800_000 for row in found)
            refused_all |= refused == len(wrong)
    assert refused_all


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_nothing_is_too_odd_to_be_asked_about(source: str) -> None:
    lines = (b"", b"-", b"\xff\x00", b" " * 99, b"{", b'"', b"1 2 3 4 5 6 7 8 9 10 11 12 13 14")
    samples = [Sample("object", line) for line in lines]
    for other in SOURCES:
        for _, texts in events(other):
            for text in texts[:2]:
                samples.append(Sample("object", text.encode()))
                if SOURCES[other].shape is Shape.RECORDS:
                    samples += [Sample("object", b"", one) for one in _oddities(json.loads(text))]
    samples += [Sample("object", columns=columns) for columns in ((), ("",), ("a", "a"))]

    for sample in samples:
        assert SOURCES[source].recognises(sample) in (True, False)


def _oddities(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a record with something odd in the place of each member, and of each one below it."""
    for name, value in record.items():
        for odd in ODD:
            yield record | {name: odd}
            if isinstance(value, dict):
                yield from (record | {name: value | {below: odd}} for below in value)
