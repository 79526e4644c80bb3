"""What holds for all members of a kind, and for the house as a whole."""

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from firedoor import errors
from firedoor.action import Action
from firedoor.discovery import find, modules
from firedoor.model.action import Nature
from firedoor.source import Source

HOUSE = Path(__file__).parent.parent
PACKAGES = ("activities", "firedoor", "runbooks", "worker", "workflows")
PROJECT: dict[str, Any] = tomllib.loads((HOUSE / "pyproject.toml").read_text())
ACTIONS = find("activities", Action)
SOURCES = find("firedoor.findings", Source)
CONTAINMENTS = {id: a for id, a in ACTIONS.items() if a.nature is Nature.CONTAINMENT}

each_action = pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())
each_containment = pytest.mark.parametrize("action", CONTAINMENTS.values(), ids=CONTAINMENTS.keys())


def test_there_are_actions_and_sources_to_hold_rules_about() -> None:
    assert {"aws.isolate_instance", "aws.block_address"} <= ACTIONS.keys()
    assert "guardduty" in SOURCES


@each_action
def test_an_action_says_in_one_imperative_sentence_what_it_does(action: Action) -> None:
    assert re.fullmatch(r"[A-Z][a-z]*[a-rt-z] .*\.", action.summary)


@each_action
def test_an_action_names_the_permissions_that_it_needs(action: Action) -> None:
    named = action.permissions
    everything = (*named.plan, *named.apply, *named.verify, *named.revert)

    assert all(re.fullmatch(r"[a-z0-9-]+:[A-Z][A-Za-z0-9]+", name) for name in everything)
    assert everything or action.nature in {Nature.RECORD, Nature.TASK}
    assert bool(named.verify) <= bool(action.verify)
    assert bool(named.revert) <= bool(action.revert)


@each_action
def test_an_action_has_at_least_one_kind_of_subject(action: Action) -> None:
    assert action.kinds


@each_action
def test_tags_are_ids_of_their_catalogues(action: Action) -> None:
    assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", id) for id in action.techniques)
    assert all(re.fullmatch(r"D3-[A-Z]{2,5}", id) for id in action.countermeasures)
    assert re.fullmatch(r"(GV|ID|PR|DE|RS|RC)\.[A-Z]{2}", action.function)


@each_containment
def test_a_containment_can_be_proven_and_taken_back(action: Action) -> None:
    assert action.verify is not None
    assert action.revert is not None
    assert all((action.permissions.plan, action.permissions.apply, action.permissions.verify))
    assert action.permissions.revert


@each_containment
def test_a_containment_says_what_it_answers_and_with_what(action: Action) -> None:
    assert action.techniques
    assert action.countermeasures


@each_action
def test_what_preserves_or_tells_is_never_taken_back(action: Action) -> None:
    assert action.nature is Nature.CONTAINMENT or action.revert is None


@pytest.mark.parametrize("id", ACTIONS)
def test_an_action_has_a_test_of_its_own(id: str) -> None:
    cloud, name = id.split(".")

    assert (HOUSE / "tests" / "activities" / cloud / f"test_{name}.py").is_file()


@pytest.mark.parametrize("id", SOURCES)
def test_a_finding_source_has_a_test_of_its_own(id: str) -> None:
    assert (HOUSE / "tests" / "findings" / f"test_{id}.py").is_file()


@pytest.mark.parametrize("name", PACKAGES)
def test_no_dependency_claims_our_import_name(name: str) -> None:
    assert set(packages_distributions().get(name, [])) <= {"firedoor"}


def test_every_module_of_the_product_stands_in_one_layer() -> None:
    contract = PROJECT["tool"]["importlinter"]["contracts"][0]
    layers = [re.sub(r"[()]", "", name) for row in contract["layers"] for name in row.split(" | ")]
    standing = {".".join(name.split(".")[:2]) for name in modules("firedoor")}

    assert {name for name in standing if not name.startswith("firedoor._")} == {
        name for name in layers if name.startswith("firedoor.")
    }


def test_the_error_tree_that_is_drawn_is_the_tree() -> None:
    def names(kind: type[BaseException]) -> set[str]:
        return {kind.__name__}.union(*map(names, kind.__subclasses__()))

    drawn = set(re.findall(r"[A-Z][A-Za-z]+(?=\s|$)", (errors.__doc__ or "").partition("\n\n")[2]))

    assert {n for n in names(errors.FiredoorError) if hasattr(errors, n)} == drawn


@pytest.mark.parametrize("name", ["uv", "runtime", "dev"])
def test_requirements_are_pinned_and_hashed_and_name_no_host(name: str) -> None:
    text = (HOUSE / "requirements" / f"{name}.txt").read_text()
    pinned = re.findall(r"^([a-z0-9][a-z0-9.-]*)==", text, re.MULTILINE)
    blocks = re.split(r"\n(?=[a-z0-9])", text.strip())

    assert "//" not in text
    assert len(blocks) == len(pinned)
    assert all("--hash=sha256:" in block for block in blocks)


def test_every_direct_dependency_is_pinned() -> None:
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    runtime = [*project["dependencies"], *project["optional-dependencies"]["lab"]]

    assert _names(runtime) <= _pinned("runtime")
    assert _names([*runtime, *groups["dev"]]) <= _pinned("dev")


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ;]", text)[0].lower() for text in requirements}


def _pinned(name: str) -> set[str]:
    text = (HOUSE / "requirements" / f"{name}.txt").read_text()
    return set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", text, re.MULTILINE))
