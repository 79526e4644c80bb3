"""Runbooks on the command line."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from firedoor.lab import findings
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws

Cli = Callable[..., Awaitable[Any]]

MISSPELT = """\
id: test
title: Test
when:
  types: ["Recon:EC2/*"]
steps:
  - id: isolate
    do: isolate_instanc
"""


TELLING = """\
id: test
title: Test
when:
  types: [Other:X]
steps:
  - id: tell
    do: notify
    approval: auto
"""


@pytest.fixture
def misspelt(tmp_path: Path) -> Path:
    file = tmp_path / "test.yaml"
    file.write_text(MISSPELT)
    return file


async def test_shipped_runbooks_have_no_problems(cli: Cli) -> None:
    ended = await cli("runbooks", "lint")

    assert ended == (0, "", "")


async def test_problem_names_the_line_the_step_and_what_mends_it(cli: Cli, misspelt: Path) -> None:
    ended = await cli("runbooks", "lint", str(misspelt))

    assert (ended.status, ended.err) == (1, "firedoor: 1 problem in runbooks\n")
    assert ended.out.startswith(f"{misspelt}:7: step isolate: unknown effect isolate_instanc: ")
    assert "isolate_instance" in ended.out


async def test_problems_are_a_json_array(cli: Cli, misspelt: Path) -> None:
    ended = await cli("runbooks", "lint", "--json", str(misspelt))

    assert [(p["line"], p["step"]) for p in ended.document] == [(7, "isolate")]


@pytest.fixture
def rival() -> str:
    """A runbook that answers what an installed one answers, as exactly."""
    return TELLING.replace("Other:X", '"UnauthorizedAccess:EC2/SSHBruteForce"')


async def test_tie_with_an_installed_runbook_is_a_problem(
    cli: Cli, tmp_path: Path, rival: str
) -> None:
    file = tmp_path / "test.yaml"
    file.write_text(rival)

    ended = await cli("runbooks", "lint", str(file))

    assert (ended.status, ended.err) == (1, "firedoor: 1 problem in runbooks\n")
    assert ended.out.startswith(f"{file}:4: `UnauthorizedAccess:EC2/SSHBruteForce` matches as ")
    assert "brute_force.yaml" in ended.out


async def test_file_stands_for_the_installed_one_of_its_name(
    cli: Cli, tmp_path: Path, rival: str
) -> None:
    file = tmp_path / "brute_force.yaml"
    file.write_text(rival.replace("id: test", "id: brute_force"))

    ended = await cli("runbooks", "lint", str(file))

    assert ended == (0, "", "")


async def test_our_own_runbooks_are_checked_with_the_installed_ones(
    cli: Cli, tmp_path: Path, rival: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "test.yaml").write_text(rival)

    ended = await cli("runbooks", "lint", FIREDOOR_RUNBOOKS=str(own))

    assert (ended.status, ended.err) == (1, "firedoor: 1 problem in runbooks\n")


async def test_file_that_is_not_there_is_bad_input(cli: Cli) -> None:
    ended = await cli("runbooks", "lint", "nowhere.yaml")

    expected = "firedoor: nowhere.yaml: it cannot be read: No such file or directory\n"
    assert ended == (2, "", expected)


async def test_list_and_show_agree(cli: Cli) -> None:
    listed = await cli("runbooks", "list", "--json")
    shown = await cli("runbooks", "show", "default", "--json")

    document = shown.document
    actions = document.pop("actions")
    assert document in listed.document
    assert list(actions) == [step["id"] for step in document["steps"]]


async def test_show_says_what_each_action_does_and_answers(cli: Cli) -> None:
    text = await cli("runbooks", "show", "compromised_instance")
    shown = await cli("runbooks", "show", "compromised_instance", "--json")

    (isolate,) = shown.document["actions"]["isolate"]
    assert (isolate["action"], isolate["nature"]) == ("aws.isolate_instance", "containment")
    assert f"aws.isolate_instance: {isolate['summary']}\n" in text.out
    assert (
        f"ATT&CK {', '.join(isolate['techniques'])};"
        f" D3FEND {', '.join(isolate['countermeasures'])}; CSF {isolate['function']}\n"
    ) in text.out


async def test_show_says_how_long_a_block_holds_what_people_do_and_what_is_given_up(
    cli: Cli,
) -> None:
    shown = await cli("runbooks", "show", "instance_doing_harm")

    (heads,) = (line.split() for line in shown.out.splitlines() if line.startswith("STEP"))
    (block,) = (line.split() for line in shown.out.splitlines() if line.startswith("block  "))
    assert heads[-2:] == ["DEADLINE", "TERM"]
    assert block[-4:] == ["30", "min", "12", "h"]
    assert "\n  Find out what left, or whom it attacked\n" in shown.out
    assert "\n  gives up capture_memory: harm is done each minute" in shown.out


async def test_unknown_runbook_is_refused(cli: Cli) -> None:
    ended = await cli("runbooks", "show", "nothing")

    assert (ended.status, ended.out) == (1, "")
    assert (
        ended.err == "firedoor: there is no runbook nothing; `firedoor runbooks list` lists them\n"
    )


async def test_simulation_plans_and_changes_nothing(
    cli: Cli, scene: Scene, lab: EmulatedAws, tmp_path: Path
) -> None:
    file = tmp_path / "finding.json"
    file.write_text(json.dumps(findings.ssh_brute_force(scene)))
    before = _entries(scene)

    ended = await cli("runbooks", "simulate", str(file), "--json", **lab.environment)

    (simulation,) = ended.document
    plans = {each["step"]["key"]: each["plans"] for each in simulation["steps"]}
    operations = [call["operation"] for call in plans["block"][0]["calls"]]
    assert (ended.status, simulation["runbook"]["id"]) == (0, "brute_force")
    assert operations == ["CreateNetworkAclEntry", "CreateNetworkAclEntry"]
    assert _entries(scene) == before


def _entries(scene: Scene) -> Any:
    ec2 = boto3.client("ec2")
    return ec2.describe_network_acls(NetworkAclIds=[scene.public_acl_id])["NetworkAcls"][0][
        "Entries"
    ]
