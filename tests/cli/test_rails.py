"""Pausing all changes on the command line, on a real server."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.client import Client

from activities import warden
from firedoor.model.incident import Incident, Status
from firedoor.model.word import Order
from firedoor.testing import RESPONDER, World, instruction

Cli = Callable[..., Awaitable[Any]]
Until = Callable[[str, Callable[[Incident], bool]], Awaitable[Incident]]


async def test_pause_holds_a_change_back_and_resume_lets_it_go_on(
    cli: Cli, incident: str, until: Until, world: World, room: str
) -> None:
    paused = await cli("pause", "--yes", "--reason", "a storm of false alarms")
    assert (paused.status, paused.err) == (0, "")
    assert paused.out.startswith("All changes are paused by alice since ")
    await cli("approve", incident, "--yes", "--reason", "hostile")
    await until(incident, lambda known: known.status is Status.HELD_BACK)
    shown = await cli("rails")
    assert shown.out.endswith(f"waits: {incident}\n")
    assert world.doors == {}

    resumed = await cli("resume", "--yes", "--reason", "checked")
    assert (resumed.status, resumed.out.partition("\n")[0]) == (0, "Changes go on.")
    await until(incident, lambda known: known.status is Status.CONTAINED)
    assert world.doors[room] == "closed"


async def test_rails_can_be_read_before_there_was_any_change(cli: Cli, client: Client) -> None:
    read = await cli("rails", "--json")

    assert (read.status, read.document["paused"], read.document["held"]) == (0, None, [])


async def test_who_is_no_responder_cannot_resume(cli: Cli, client: Client, tmp_path: Any) -> None:
    ended = await cli("resume", "--yes", "--reason", "x", FIREDOOR_RESPONDER="bob")

    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        "firedoor: FIREDOOR_RESPONDER: bob: is not among those who may decide here: alice\n"
    )


async def test_instruction_that_nobody_signed_changes_nothing(cli: Cli, client: Client) -> None:
    queue = os.environ["FIREDOOR_TASK_QUEUE"]
    said = instruction(queue, Order.PAUSE, "let me", by="mallory")
    forged = said.model_copy(update={"word": said.word.model_copy(update={"by": RESPONDER})})

    answer = await warden.instruct(client, queue, forged)

    assert answer.ruling.reason.startswith("the signature is not good")
    assert (await cli("rails")).out.startswith("Changes go on.")


async def test_instruction_counts_once(cli: Cli, client: Client) -> None:
    queue = os.environ["FIREDOOR_TASK_QUEUE"]
    stop = instruction(queue, Order.PAUSE, "a storm")
    await warden.instruct(client, queue, stop)
    await warden.instruct(client, queue, instruction(queue, Order.RESUME, "over"))

    again = await warden.instruct(client, queue, stop)

    assert (again.ruling.accepted, again.warden.paused) == (False, None)


async def test_pause_needs_a_reason_and_a_person(cli: Cli) -> None:
    first, second = await asyncio.gather(cli("pause"), cli("resume", "--yes"))

    assert [ended.status for ended in (first, second)] == [2, 2]
