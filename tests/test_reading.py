"""What a file, a pipe or a message may hold."""

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firedoor.discovery import find
from firedoor.errors import NotAFinding
from firedoor.model.finding import Finding
from firedoor.reading import parse, read
from firedoor.source import Source

FIXTURES = Path(__file__).parent / "data" / "guardduty"
TARGET = json.loads((FIXTURES / "ssh_brute_force_target.json").read_text())
ACTOR = json.loads((FIXTURES / "ssh_brute_force_actor.json").read_text())
IDS = [TARGET["detail"]["id"], ACTOR["detail"]["id"]]

FORMS: dict[str, tuple[str, list[str]]] = {
    "one document": (json.dumps(TARGET), IDS[:1]),
    "one document over many lines": (json.dumps(TARGET, indent=2), IDS[:1]),
    "one line": (json.dumps(TARGET) + "\n", IDS[:1]),
    "a list": (json.dumps([TARGET, ACTOR]), IDS),
    "a list over many lines": (json.dumps([TARGET, ACTOR], indent=2), IDS),
    "JSON lines": (json.dumps(TARGET) + "\n" + json.dumps(ACTOR) + "\n", IDS),
    "JSON lines with empty ones": (f"\n{json.dumps(TARGET)}\r\n\n{json.dumps(ACTOR)}\n\n", IDS),
    "an answer of the API": (json.dumps({"Findings": [TARGET["detail"], ACTOR["detail"]]}), IDS),
    "an answer in camelCase": (json.dumps({"findings": [TARGET["detail"]]}), IDS[:1]),
    "with a byte order mark": ("\ufeff" + json.dumps(TARGET), IDS[:1]),
    "with a line separator inside a text": (
        json.dumps(TARGET) + "\n" + json.dumps(ACTOR | {"id": "a\u2028b\x85c"}, ensure_ascii=False),
        IDS,
    ),
}
PACKINGS: dict[str, Callable[[str], str | bytes]] = {
    "text": lambda text: text,
    "bytes": str.encode,
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip in two members": lambda text: (
        gzip.compress(text[:9].encode()) + gzip.compress(text[9:].encode())
    ),
}


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
@pytest.mark.parametrize(("text", "ids"), FORMS.values(), ids=FORMS)
def test_findings_are_read_from(
    text: str, ids: list[str], pack: Callable[[str], str | bytes]
) -> None:
    assert [finding.id for finding in read(pack(text), "findings")] == ids


NO_ID = TARGET | {"detail": TARGET["detail"] | {"id": None}}

NO_FINDING = "expected a finding of Amazon GuardDuty or AWS Shield or AWS WAF"
MISTAKES: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "f.json: expected a finding, but it is empty"),
    "only space": (" \n ", "f.json: expected a finding, but it is empty"),
    "no JSON": ("hello", "f.json: line 1 column 1: expected JSON"),
    "no JSON over many lines": ("a\nb\n", "f.json: line 1 column 1: expected JSON"),
    "JSON that ends too soon": ('{\n"a": 1', "f.json: line 2 column 7: expected JSON"),
    "a broken line": (json.dumps(TARGET) + "\n{", "f.json:2: line 1 column 2: expected JSON"),
    "too deep": ("[" * 100_000, "f.json: expected JSON with less nesting and shorter numbers"),
    "a number too long": (
        "9" * 5000, "f.json: expected JSON with less nesting and shorter numbers",
    ),
    "no UTF-8": (b'{"a": "\xff"}', "f.json: byte 7: expected UTF-8"),
    "half a gzip": (
        gzip.compress(json.dumps(TARGET).encode())[:-9],
        "f.json: expected gzip, but it is damaged",
    ),
    "no gzip after all": (b"\x1f\x8bxyz", "f.json: expected gzip, but it is damaged"),
    "an object of another kind": ('{"a": 1}', f"f.json: {NO_FINDING}"),
    "a number": ("7", f"f.json: {NO_FINDING}"),
    "an element that is none": (
        json.dumps([TARGET, 7]), f"f.json: [1]: {NO_FINDING}",
    ),
    "a list in a list": ("[[]]", f"f.json: [0]: {NO_FINDING}"),
    "an event without id": (json.dumps(NO_ID), "f.json: detail.id: expected, but missing"),
    "an element without id": (
        json.dumps([TARGET, NO_ID]), "f.json: [1]: detail.id: expected, but missing",
    ),
    "an answer without id": (
        json.dumps({"Findings": [NO_ID["detail"]]}),
        "f.json: Findings[0]: id: expected, but missing",
    ),
    "a line without id": (
        f"{json.dumps(TARGET)}\n{json.dumps(NO_ID)}", "f.json:2: detail.id: expected, but missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line(content: str | bytes, expected: str) -> None:
    with pytest.raises(NotAFinding) as caught:
        list(read(content, "f.json"))

    assert str(caught.value) == expected


def test_findings_before_a_broken_line_are_read() -> None:
    reading = read(json.dumps(TARGET) + "\n{", "f.json")

    assert next(reading).id == IDS[0]
    with pytest.raises(NotAFinding):
        next(reading)


def test_a_source_is_found_by_its_file() -> None:
    assert set(find("firedoor.findings", Source)) == {"guardduty", "shield"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def is_answered(
    reading: Callable[[Any, str], Iterable[Finding]], document: Any, count: int
) -> bool:
    """Tell whether there are as many findings, or else one line that says why there are none."""
    try:
        return len(tuple(reading(document, "anything"))) == count
    except NotAFinding as error:
        return "\n" not in str(error)


@settings(deadline=None)  # a busy machine is no mistake of ours
@given(JSON)
def test_any_json_is_findings_or_is_said_not_to_be(document: Any) -> None:
    assert is_answered(parse, document, 0)


@settings(deadline=None)
@given(st.text() | st.binary())
def test_any_content_is_findings_or_is_said_not_to_be(content: str | bytes) -> None:
    assert is_answered(read, content, 0)


WHOLE = [json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json"))]


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    found = [at] if at else []
    for key, value in inner if isinstance(document, dict | list) else ():
        found += places(value, (*at, key)) if isinstance(value, dict | list) else [(*at, key)]
    return found


@settings(deadline=None)
@given(st.data())
def test_a_finding_with_anything_in_any_place_is_read_or_refused(data: st.DataObject) -> None:
    document = json.loads(json.dumps(data.draw(st.sampled_from(WHOLE))))
    *parents, last = data.draw(st.sampled_from(places(document)))
    parent = document
    for key in parents:
        parent = parent[key]
    parent[last] = data.draw(JSON)

    assert is_answered(parse, document, 1)


@pytest.mark.parametrize("nothing", ["[]", '{"Findings": []}'])
def test_empty_list_is_no_finding(nothing: str) -> None:
    with pytest.raises(NotAFinding, match="the list is empty"):
        tuple(read(nothing, "empty.json"))
