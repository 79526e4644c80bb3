"""The documentation says what is so."""

import re
from pathlib import Path

import pytest

from firedoor import policies, runbooks
from firedoor.action import Action
from firedoor.channel import Channel
from firedoor.cli.main import PLACES, load
from firedoor.discovery import find
from firedoor.model.approval import Rule
from firedoor.model.incident import StepState
from firedoor.model.policy import Protected
from firedoor.settings import Settings

HOUSE = Path(__file__).parent.parent
PAGES = sorted([*HOUSE.glob("*.md"), *HOUSE.glob("docs/**/*.md")])

PROSE = "\n".join(page.read_text() for page in PAGES)
EXAMPLES = sorted(set(re.findall(r"^\$ (firedoor [^#|\n]*?) *(?:#.*|2>.*)?$", PROSE, re.MULTILINE)))
PLACED = ("activities", "firedoor", "tests", "worker", "workflows")
SOURCES = ("activities", "firedoor", "worker", "workflows")
LOGGED = r'\blog(?:ger)?\.(?:info|warning|error|exception)\(\s*"([a-z_.]+)"'
YAML = re.findall(r"^```yaml\n(.*?)^```", PROSE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", PLACES)
def test_the_readme_knows_every_command(command: str) -> None:
    table = re.findall(r"^\| (`.*?) \|", (HOUSE / "README.md").read_text(), re.MULTILINE)
    named = {name for row in table for name in re.findall(r"`([a-z]+)", row)}

    assert command in named


def test_the_guide_lists_exactly_the_settings_that_there_are() -> None:
    guide = (HOUSE / "docs/guides/running.md").read_text()
    listed = re.findall(r"^\| `FIREDOOR_([A-Z0-9_]+)`", guide, re.MULTILINE)

    assert [name.lower() for name in listed] == list(Settings.model_fields)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_command_with_options_that_it_has(example: str) -> None:
    name, *words = example.split()[1:]
    command = load(name)
    if hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}

    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("text", [text for text in YAML if text.startswith("approvals:")])
def test_an_example_of_a_policy_can_be_used(text: str) -> None:
    policy = policies.parse(text, "policy.yaml")

    assert policy.approvals
    assert set(policy.channels) <= set(find("activities.records", Channel))


def test_an_example_of_a_policy_protects_by_every_means_that_there_is() -> None:
    (text,) = [text for text in YAML if "\nprotected:" in text]

    said = policies.parse(text, "policy.yaml").model_dump(exclude_defaults=True)
    assert set(said["protected"]) == set(Protected.model_fields)


def test_the_guide_knows_every_member_of_a_rule() -> None:
    guide = (HOUSE / "docs/guides/approvals.md").read_text().partition("## Rules")[2]
    table = guide.partition("## Voting")[0]

    assert re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE) == list(Rule.model_fields)


def test_the_guide_shows_every_member_of_a_rule_in_use() -> None:
    (text,) = [text for text in YAML if text.startswith("approvals:") and "protected:" not in text]

    rules = policies.parse(text, "policy.yaml").approvals
    assert {member for rule in rules for member in rule.model_fields_set} == set(Rule.model_fields)


def test_the_map_of_contributing_names_files_that_there_are() -> None:
    drawn = (HOUSE / "CONTRIBUTING.md").read_text().partition("```\n")[2].partition("```")[0]
    names = {path.name for place in PLACED for path in (HOUSE / place).rglob("*.py")}

    assert set(re.findall(r"\b([a-z_]+\.py)\b", drawn)) <= names


def test_the_guide_lists_every_event_of_the_log() -> None:
    sources = [file for place in SOURCES for file in (HOUSE / place).rglob("*.py")]
    logged = {event for file in sources for event in re.findall(LOGGED, file.read_text())}
    guide = (HOUSE / "docs/guides/running.md").read_text()

    assert {"action.broken", "message.stays"} <= logged
    assert {event for event in logged if f"`{event}`" not in guide} == set()


def test_the_guide_for_responders_knows_every_state_of_a_step() -> None:
    guide = (HOUSE / "docs/guides/responding.md").read_text()

    assert re.findall(r"^\| `([a-z ]+)` \|", guide, re.MULTILINE) == [*StepState]


@pytest.mark.parametrize("text", [text for text in YAML if text.startswith("id:")])
def test_an_example_of_a_runbook_can_be_used(text: str) -> None:
    name = text.partition("\n")[0].removeprefix("id: ")

    assert runbooks.lint(text, f"{name}.yaml", find("activities", Action)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(HOUSE)))
def test_a_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []
