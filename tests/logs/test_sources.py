"""Every log source reads its own samples into the rows that are written beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from firedoor.discovery import find
from firedoor.lake.objects import Reading
from firedoor.log_source import ARROW, LogSource, Place
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
