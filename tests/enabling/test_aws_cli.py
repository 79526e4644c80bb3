"""The commands that are shown for AWS, run by its own CLI: they do it, and take it back.

They take half a minute, and run where TESTS_WITH_TOOLS is set.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from firedoor.discovery import find
from firedoor.switch import Switch

pytestmark = [
    pytest.mark.fetches,
    pytest.mark.slow,
    pytest.mark.skipif("TESTS_WITH_TOOLS" not in os.environ, reason="TESTS_WITH_TOOLS is not set"),
]

CLI = "awscli==1.46.3"
SWITCHES = {id_: one for id_, one in find("firedoor.enabling", Switch).items() if one.apply}
# moto lacks the standards of Security Hub, and taking query logging back.
BOTH_WAYS = sorted(SWITCHES.keys() - {"aws_security_hub", "aws_dns"})


@pytest.fixture(scope="module")
def shell() -> Any:
    """Run a command with the AWS CLI, in an environment of its own that uvx fetches."""
    ours = Path(__file__).parents[2] / ".uv" / "bin" / "uvx"
    uvx = str(ours) if ours.exists() else shutil.which("uvx")
    assert uvx is not None, "there is no uvx"
    fetch = [uvx, "--quiet", "--from", CLI, "which", "aws"]
    found = subprocess.run(fetch, capture_output=True, text=True)
    assert found.returncode == 0, f"{CLI} cannot be installed: {found.stderr.strip()[-200:]}"
    folder = str(Path(found.stdout.strip()).parent)

    def run(command: str) -> str:
        path = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, env={**os.environ, **path}
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    return run


@pytest.mark.parametrize("id_", BOTH_WAYS)
def test_the_commands_do_it_and_take_it_back(served: Any, shell: Any, id_: str) -> None:
    steps = SWITCHES[id_].plan(served.order)

    for step in steps:
        for command in step.commands:
            shell(command)
    assert [step.done for step in SWITCHES[id_].plan(served.order) if not step.done] == []

    for step in reversed(steps):
        for command in step.undo:
            assert '"Unsuccessful": [\n' not in shell(command)
    again = SWITCHES[id_].plan(served.order)
    assert [(s.title, len(s.calls)) for s in again] == [(s.title, len(s.calls)) for s in steps]


def test_the_commands_put_each_vpc_to_the_configuration_made_before(
    account: Any, shell: Any
) -> None:
    for step in SWITCHES["aws_dns"].plan(account.order):
        for command in step.commands:
            shell(command)

    assert all(step.done for step in SWITCHES["aws_dns"].plan(account.order))
