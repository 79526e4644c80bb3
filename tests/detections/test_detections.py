"""What holds for every detection: its examples, its SQL, and what its rows are made into."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlglot

from firedoor import detecting
from firedoor.detection import Detection, Example
from firedoor.discovery import find
from firedoor.lake import portable
from firedoor.lake.duck import Duck, empty
from firedoor.relations import RELATIONS

DETECTIONS = find("firedoor.detections", Detection)
EXAMPLES = [
    pytest.param(id_, example, id=f"{id_}: {example.name}")
    for id_, detection in DETECTIONS.items()
    for example in detection.examples
]


NOTHING = {name: empty(relation) for name, relation in RELATIONS.items()}


def until(example: Example) -> datetime:
    """Return the instant after the last row of an example."""
    last = max(row["time"] for rows in example.rows.values() for row in rows)
    return datetime.fromtimestamp(last / 1000 + 1, UTC)


@pytest.fixture(scope="module")
def duck() -> Iterator[Duck]:
    with Duck() as duck:
        yield duck


@pytest.mark.parametrize(("id_", "example"), EXAMPLES)
def test_example_matches_or_does_not(id_: str, example: Example, duck: Duck) -> None:
    duck.put(NOTHING | detecting.tables(example.rows))
    matched = detecting.matches(DETECTIONS[id_], duck, until(example))
    found = detecting.findings(id_, DETECTIONS[id_], duck, until(example))

    assert len(matched) == example.matches
    assert bool(found) == bool(example.matches)
    for finding in found:
        assert finding.subject.id
        assert not re.search("None|null|  ", finding.description)
        assert finding.first_seen <= finding.last_seen < until(example)


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_detection_has_examples_of_both_kinds(id_: str) -> None:
    assert {bool(example.matches) for example in DETECTIONS[id_].examples} == {True, False}


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_sql_is_portable(id_: str) -> None:
    detection = DETECTIONS[id_]

    portable.check(detection.sql)

    text = portable.bound(detection.sql, {**detection.params, "earlier": 1, "since": 2, "until": 3})
    assert sqlglot.parse(text, read="trino")
    assert sqlglot.parse(text, read="athena")


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_parameters_are_those_of_the_sql(id_: str) -> None:
    detection = DETECTIONS[id_]

    named = portable.parameters(detection.sql)

    assert named - {"earlier", "since", "until"} == detection.params.keys()
    assert {"since", "until"} <= named
    assert ("earlier" in named) is bool(detection.history)


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_type_is_of_the_grammar_of_guardduty_and_techniques_of_attack(id_: str) -> None:
    detection = DETECTIONS[id_]

    assert re.fullmatch(
        r"[A-Z]\w+:(Network|DNS|API|WebApp|IAMUser)/[A-Z]\w+(\.\w+)?", detection.type
    )
    assert detection.techniques
    assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", one) for one in detection.techniques)


def test_no_two_detections_have_a_title_or_a_type_in_common() -> None:
    for member in ("title", "type"):
        assert len({getattr(one, member) for one in DETECTIONS.values()}) == len(DETECTIONS)
