"""Replaying histories on the command line."""

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Awaitable[Any]]
HISTORIES = Path(__file__).parent.parent / "histories"
DENIED = HISTORIES / "denied_step_ends_the_steps_that_need_it.incident.json"


@pytest.fixture
def altered(tmp_path: Path) -> Path:
    """A history in which one activity was asked for something else than the code asks for."""
    history = json.loads(DENIED.read_text())
    scheduled = next(
        event["activityTaskScheduledEventAttributes"]
        for event in history["events"]
        if "activityTaskScheduledEventAttributes" in event
    )
    (payload,) = scheduled["input"]["payloads"]
    order = json.loads(base64.b64decode(payload["data"]))
    order["target"]["subject"]["id"] = "i-0bbbbbbbbbbbbbbbb"
    payload["data"] = base64.b64encode(json.dumps(order).encode()).decode()
    file = tmp_path / "altered.json"
    file.write_text(json.dumps(history))
    return file


async def test_recorded_history_is_what_the_code_decides(cli: Cli) -> None:
    ended = await cli("audit", "replay", str(DENIED))

    assert (ended.status, ended.err) == (0, "")
    assert ": the code decides the same, " in ended.out


async def test_altered_argument_is_found(cli: Cli, altered: Path) -> None:
    ended = await cli("audit", "replay", "--json", str(DENIED), str(altered))

    assert (ended.status, [one["ok"] for one in ended.document]) == (1, [True, False])
    assert "was recorded with other arguments" in ended.document[1]["differences"][0]
    assert ended.err == "firedoor: 1 of 2 histories are not what the code decides\n"


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"events": []}', "no JSON", "\udcff"])
async def test_file_that_is_no_history_is_bad_input(cli: Cli, tmp_path: Path, content: str) -> None:
    file = tmp_path / "history.json"
    file.write_bytes(content.encode(errors="surrogateescape"))

    ended = await cli("audit", "replay", str(file))

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"firedoor: {file}: expected an exported history: ")


async def test_incident_on_the_server_is_replayed(cli: Cli, incident: str) -> None:
    ended = await cli("audit", "replay", incident)

    assert ended.status == 0, ended
    assert ended.out.startswith(f"{incident}: the code decides the same, ")


async def test_unknown_incident_is_refused(cli: Cli, incident: str) -> None:
    ended = await cli("audit", "replay", f"{incident}-other")

    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"firedoor: there is neither a file nor an incident {incident}-other\n"
