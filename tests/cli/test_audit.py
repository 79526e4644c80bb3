"""Replaying histories on the command line."""

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

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


async def test_history_of_the_server_is_kept_and_replays_from_its_file(
    cli: Cli, incident: str, tmp_path: Path
) -> None:
    directory = tmp_path / "kept"

    asked = await cli("audit", "replay", incident, "--save", str(directory))

    (file,) = directory.iterdir()
    again = await cli("audit", "replay", str(file), TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (file.name, asked.status) == (f"{incident.replace('/', '_')}.json", 0)
    assert again == (0, asked.out, "")


async def test_history_that_is_kept_is_not_written_over(
    cli: Cli, incident: str, tmp_path: Path
) -> None:
    file = tmp_path / f"{incident.replace('/', '_')}.json"
    file.write_text("kept")

    ended = await cli("audit", "replay", incident, "--save", str(tmp_path))

    assert ended == (2, "", f"firedoor: {file}: file exists\n")
    assert file.read_text() == "kept"


async def test_containment_is_replayed(cli: Cli, incident: str, client: Client) -> None:
    await cli("approve", incident, "--yes", "--reason", "hostile")
    known: Any = {}
    while not (known.get("steps") and known["steps"][0]["leases"]):
        known = (await cli("show", incident, "--json")).document

    ended = await cli("audit", "replay", known["steps"][0]["leases"][0])

    assert ended.status == 0, ended
    assert ended.out.startswith("containment/")


async def test_unknown_incident_is_refused(cli: Cli, incident: str) -> None:
    ended = await cli("audit", "replay", f"{incident}-other")

    assert (ended.status, ended.out) == (1, "")
    assert ended.err == f"firedoor: there is neither a file nor an incident {incident}-other\n"
