"""The guide for authors of runbooks says what is so."""

import re
from pathlib import Path

import pytest

from firedoor.action import Action
from firedoor.discovery import find
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.runbook import FACTS, Runbook, Step, When

GUIDE = (Path(__file__).parents[2] / "docs/guides/runbooks.md").read_text()


def rows(head: str) -> list[tuple[str, ...]]:
    """The cells of the table below a heading or with a head."""
    lines = GUIDE.partition(head)[2].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
    return table


@pytest.mark.parametrize(
    ("head", "model"), [("`when`\n", When), ("## The file", Runbook), ("## The steps", Step)]
)
def test_the_guide_has_every_member(head: str, model: type[Model]) -> None:
    members = [field.alias or name for name, field in model.model_fields.items()]

    assert sorted(row[0].strip("`") for row in rows(head)) == sorted(members)


def test_the_guide_has_every_fact_and_every_kind() -> None:
    kinds = GUIDE.partition("Kinds are ")[2].partition("\n")[0]

    assert [row[0].strip("`$") for row in rows("### What the finding says")] == [*FACTS]
    assert re.findall(r"`(\w+)`", kinds) == [*Kind]


def test_the_guide_says_which_evidence_comes_first() -> None:
    actions = find("activities", Action)

    said = {
        (effect.strip("`"), kind.strip("`"), *sorted(re.findall(r"\w+", wants)))
        for effect, kind, wants in rows("## Evidence first")
    }

    assert said == {
        (id.partition(".")[2], kind.value, *sorted(effects))
        for id, action in actions.items()
        for kind, effects in action.evidence_first.items()
    }
