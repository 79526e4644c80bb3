"""The documentation says what is so."""

import re
from pathlib import Path

import pytest

from firedoor.cli.main import PLACES
from firedoor.settings import Settings

HOUSE = Path(__file__).parent.parent
PAGES = sorted([*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md")])


@pytest.mark.parametrize("command", PLACES)
def test_the_readme_knows_every_command(command: str) -> None:
    table = re.findall(r"^\| (`.*?) \|", (HOUSE / "README.md").read_text(), re.MULTILINE)
    named = {name for row in table for name in re.findall(r"`([a-z]+)", row)}

    assert command in named


def test_the_guide_lists_exactly_the_settings_that_there_are() -> None:
    guide = (HOUSE / "docs/guides/running.md").read_text()
    listed = re.findall(r"^\| `FIREDOOR_([A-Z_]+)`", guide, re.MULTILINE)

    assert [name.lower() for name in listed] == list(Settings.model_fields)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_a_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
