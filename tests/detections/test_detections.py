"""What holds for every detection: its examples, its SQL, and what its rows are made into."""

from datetime import UTC, datetime

import pytest

from firedoor import detecting
from firedoor.detection import Detection, Example
from firedoor.discovery import find
from firedoor.lake import portable
from firedoor.lake.duck import Duck

DETECTIONS = find("firedoor.detections", Detection)
EXAMPLES = [
    pytest.param(id_, example, id=f"{id_}: {example.name}")
    for id_, detection in DETECTIONS.items()
    for example in detection.examples
]


def until(example: Example) -> datetime:
    """Return the instant after the last row of an example."""
    last = max(row["time"] for rows in example.rows.values() for row in rows)
    return datetime.fromtimestamp(last / 1000 + 1, UTC)


@pytest.mark.parametrize(("id_", "example"), EXAMPLES)
def test_example_matches_or_does_not(id_: str, example: Example) -> None:
    with Duck() as duck:
        duck.put(detecting.tables(example.rows))
        matched = detecting.matches(DETECTIONS[id_], duck, until(example))
        found = detecting.findings(id_, DETECTIONS[id_], duck, until(example))

    assert len(matched) == example.matches
    assert bool(found) == bool(example.matches)


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_detection_has_examples_of_both_kinds(id_: str) -> None:
    assert {bool(example.matches) for example in DETECTIONS[id_].examples} == {True, False}


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_sql_is_portable(id_: str) -> None:
    portable.check(DETECTIONS[id_].sql)


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_parameters_are_those_of_the_sql(id_: str) -> None:
    detection = DETECTIONS[id_]

    named = portable.parameters(detection.sql)

    assert named - {"since", "until"} == detection.params.keys()
    assert {"since", "until"} <= named
