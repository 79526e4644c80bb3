"""The table of commands, and how commands end."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from firedoor import __version__
from firedoor.cli.main import PLACES, STATUSES, app, load
from firedoor.errors import (
    BadInput,
    FiredoorError,
    NotAFinding,
    PlanStale,
    Refused,
    Unavailable,
    Unreachable,
)

Cli = Callable[..., Awaitable[Any]]


def commands() -> Iterator[tuple[str, ...]]:
    """Yield every command as it is typed, those of groups too."""
    for name in PLACES:
        yield (name,)
        for inner in getattr(load(name), "commands", {}):
            yield (name, inner)


ALL = list(commands())


def found(command: tuple[str, ...]) -> Any:
    loaded = load(command[0])
    for inner in command[1:]:
        loaded = loaded.commands[inner]
    return loaded


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(app, [*command, "--help"])

    assert ended.exit_code == 0
    assert found(command).help.partition("\n")[0] in " ".join(ended.output.split())


@pytest.mark.parametrize("name", PLACES)
def test_list_of_commands_says_what_the_command_says_itself(name: str) -> None:
    assert found((name,)).help.partition("\n")[0] == PLACES[name].help


@pytest.mark.parametrize(
    "command", [c for c in ALL if not hasattr(found(c), "commands")], ids=" ".join
)
def test_every_command_speaks_json(command: tuple[str, ...]) -> None:
    options = [option for parameter in found(command).params for option in parameter.opts]

    assert "--json" in options


def test_help_lists_every_command_and_the_exit_statuses() -> None:
    ended = CliRunner().invoke(app, ["--help"])

    listed = [
        line.split()[0] for line in ended.output.partition("Commands:")[2].splitlines() if line
    ]
    assert listed[: len(PLACES)] == list(PLACES)
    assert " ".join(STATUSES.split()) in " ".join(ended.output.split())


def test_help_loads_no_command_and_no_sdk() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from firedoor.cli import main;"
        "CliRunner().invoke(main.app, ['--help']);"
        "print(*sorted(m for m in sys.modules if m in ('temporalio', 'boto3', 'pydantic', 'rich')"
        " or m.startswith('firedoor.cli.')))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.split() == ["firedoor.cli.main"]


def test_version_is_the_packages() -> None:
    ended = CliRunner().invoke(app, ["--version"])

    assert (ended.exit_code, ended.output) == (0, f"firedoor {__version__}\n")


def test_misspelt_command_is_answered_with_the_nearest() -> None:
    ended = CliRunner().invoke(app, ["aprove"])

    assert ended.exit_code == 2
    assert "'approve'" in ended.output


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Refused("no"), 1),
        (PlanStale("changed"), 1),
        (FiredoorError("other"), 1),
        (BadInput("file", "line 1", "expected JSON"), 2),
        (NotAFinding("file", "", "expected a finding"), 2),
        (Unreachable("nobody there"), 3),
        (Unavailable("500", "later", "RunInstances"), 3),
    ],
)
def test_exit_status_tells_what_kind_of_error_it_was(error: FiredoorError, expected: int) -> None:
    assert error.exit_status == expected


def test_asking_for_a_decision_loads_nothing_that_draws_while_it_waits() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from firedoor.cli import main;"
        "CliRunner().invoke(main.app, ['approve', '--help']);"
        "print('firedoor.cli.decisions' in sys.modules, 'rich.live' in sys.modules)"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert loaded.stdout.split() == ["True", "False"]


async def test_each_problem_of_an_error_has_a_line_of_its_own(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("id: bad\ntitel: x\n")

    ended = await cli("runbooks", "list", FIREDOOR_RUNBOOKS=str(tmp_path))

    lines = ended.err.splitlines()
    assert (ended.status, ended.out, len(lines)) == (2, "", 3)
    assert all(line.startswith(f"firedoor: {tmp_path}/bad.yaml:") for line in lines)


async def test_worker_as_a_module_tells_an_error_in_one_line_too(cli: Cli) -> None:
    def run(**environment: str) -> Any:
        return subprocess.run(
            [sys.executable, "-P", "-m", "worker"],
            capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, **environment},
        )  # fmt: skip

    nobody = await asyncio.to_thread(run)
    nowhere = await asyncio.to_thread(run, FIREDOOR_CONFIG="/nowhere.toml")

    expected = "firedoor: no Temporal server answers at 127.0.0.1:1\n"
    assert (nobody.returncode, nobody.stderr) == (3, expected)
    expected = "firedoor: FIREDOOR_CONFIG: /nowhere.toml: no such file\n"
    assert (nowhere.returncode, nowhere.stderr) == (2, expected)


async def test_error_is_told_in_one_line_without_a_traceback(cli: Cli) -> None:
    ended = await cli("incidents")

    assert ended == (3, "", "firedoor: no Temporal server answers at 127.0.0.1:1\n")


async def test_broken_setting_is_bad_input(cli: Cli) -> None:
    ended = await cli("incidents", FIREDOOR_CONFIG="/nowhere.toml")

    assert ended == (2, "", "firedoor: FIREDOOR_CONFIG: /nowhere.toml: no such file\n")
