"""Releasing containments on the command line, on a real server."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest_asyncio
from temporalio.client import Client

from firedoor.errors import AccessDenied
from firedoor.model.containment import Claim, Grant
from firedoor.model.incident import Incident, Status
from firedoor.testing import World

Cli = Callable[..., Awaitable[Any]]
Until = Callable[[str, Callable[[Incident], bool]], Awaitable[Incident]]


@pytest_asyncio.fixture
async def held(cli: Cli, incident: str, until: Until) -> str:
    """The id of an incident that holds a door closed."""
    ended = await cli("approve", incident, "--yes", "--reason", "hostile")
    assert ended.status == 0, ended.err
    await until(incident, lambda known: known.status is Status.CONTAINED)
    return incident


async def second_holder(client: Client, world: World, incident: str) -> str:
    """Let another incident claim the same door, as its own step would; return its id."""
    known: Incident = await client.get_workflow_handle(incident).query(
        "incident", result_type=Incident
    )
    assert known.steps[0].proposal is not None
    plan = known.steps[0].proposal.plans[0]
    elsewhere = plan.target.model_copy(update={"incident": "incident/other"})
    plan = plan.model_copy(update={"target": elsewhere})
    right = world.warrant(plan, "run")
    claim = Claim(incident="incident/other", step="close", plan=plan, warrant=right)
    lease = client.get_workflow_handle(known.steps[0].leases[0])
    await lease.execute_update("acquire", claim, result_type=Grant)
    return claim.incident


async def test_release_shows_what_it_undoes_and_what_it_did(
    cli: Cli, held: str, world: World, room: str
) -> None:
    ended = await cli("release", held, "--yes", "--reason", "all clear")

    assert (ended.status, ended.err, world.doors[room]) == (0, "", "open")
    assert "- closed\n" in ended.out
    assert "+ open\n" in ended.out
    assert "close: released alice: all clear\n" in ended.out
    assert "doors:Open  ok" in ended.out.partition("all clear")[2]


async def test_release_answers_programs_in_json(cli: Cli, held: str) -> None:
    ended = await cli("release", held, "close", "--yes", "--reason", "all clear", "--json")

    assert ended.document["ruling"]["accepted"] is True
    assert [record["state"] for record in ended.document["steps"]] == ["released"]


async def test_nothing_held_is_nothing_to_release(cli: Cli, incident: str) -> None:
    ended = await cli("release", incident, "--yes", "--reason", "x")

    assert ended == (1, "", f"firedoor: {incident}: nothing of this is held\n")


async def test_stranger_releases_nothing(cli: Cli, held: str, world: World, room: str) -> None:
    ended = await cli("release", held, "--yes", "--reason", "x", FIREDOOR_RESPONDER="mallory")

    assert (ended.status, world.doors[room]) == (2, "closed")
    assert ended.err.startswith("firedoor: FIREDOOR_RESPONDER: mallory: is not among those")


async def test_what_another_incident_holds_stays_and_is_told(
    cli: Cli, held: str, client: Client, world: World, room: str
) -> None:
    other = await second_holder(client, world, held)

    ended = await cli("release", held, "--yes", "--reason", "x")

    assert (ended.status, world.doors[room]) == (0, "closed")
    assert f"stays: step close of {other} holds it too" in ended.out
    assert f"still held by {other}\n" in ended.out


async def test_revert_that_fails_is_told(cli: Cli, held: str, world: World) -> None:
    world.trouble["revert"] = [AccessDenied("AccessDenied", "no", "Open")]

    ended = await cli("release", held, "--yes", "--reason", "x")

    assert (ended.status, ended.err) == (1, "firedoor: not all was undone: close\n")
    assert "close: failed release: Open: AccessDenied: no\n" in ended.out
