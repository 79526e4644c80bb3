"""Decisions on the command line, on a real server."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from firedoor.model.incident import Incident, Status, StepRecord, StepState
from firedoor.model.runbook import Approval
from firedoor.model.word import SshSignature
from firedoor.testing import RESPONDER, World, decision, finding, instance, lay_out, roster, step
from worker.client import deliver

Cli = Callable[..., Awaitable[Any]]
Until = Callable[[str, Callable[[Incident], bool]], Awaitable[Incident]]


async def read(client: Client, incident: str) -> Incident:
    known: Incident = await client.get_workflow_handle(incident).query(
        "incident", result_type=Incident
    )
    return known


async def step_of(client: Client, incident: str) -> StepRecord:
    return (await read(client, incident)).steps[0]


async def test_approval_is_bound_to_what_was_shown(
    cli: Cli, until: Until, incident: str, world: World, room: str
) -> None:
    ended = await cli("approve", room, "--yes", "--reason", "hostile")

    (record,) = (await until(incident, lambda known: known.status is Status.CONTAINED)).steps
    (vote,) = record.votes
    assert (ended.status, ended.out.splitlines()[-1], ended.err) == (0, "close: approved", "")
    assert (record.state, world.doors[room]) == (StepState.PROVEN, "closed")
    assert (vote.word.plan_digest, vote.word.reason) == (record.plan_digest, "hostile")
    assert isinstance(vote.said.attestation, SshSignature)
    assert record.plan_digest in ended.out


async def test_denied_step_changes_nothing(
    cli: Cli, client: Client, incident: str, world: World
) -> None:
    ended = await cli("deny", incident, "close", "--yes", "--reason", "ours", "--json")

    (told,) = ended.document
    assert (ended.status, told["answer"], told["accepted"]) == (0, "deny", True)
    assert ((await step_of(client, incident)).state, world.calls) == (StepState.DENIED, [])


async def test_json_keeps_standard_output_to_itself(cli: Cli, incident: str) -> None:
    ended = await cli("approve", incident, "--yes", "--reason", "hostile", "--json")

    assert ended.document[0]["step"] == "close"
    assert "+ closed" in ended.err


async def test_stranger_sends_nothing(cli: Cli, client: Client, incident: str) -> None:
    ended = await cli(
        "approve", incident, "--yes", "--reason", "let me", FIREDOOR_RESPONDER="mallory"
    )

    refusal = "FIREDOOR_RESPONDER: mallory: is not among those who may decide here: alice"
    assert (ended.status, ended.err) == (2, f"firedoor: {refusal}\n")
    assert (await step_of(client, incident)).votes == ()


async def test_refused_vote_says_why_and_is_on_record(
    cli: Cli, client: Client, incident: str
) -> None:
    known = await read(client, incident)
    stale = decision(known, known.steps[0], plan_digest="0" * 64)
    await client.get_workflow_handle(incident).execute_update("decide", stale, id=stale.digest)
    denied = await cli("show", incident, "--plan")

    assert "refused: the plan has changed" in denied.out


async def test_other_digest_brings_no_vote(cli: Cli, client: Client, incident: str) -> None:
    digest = (await step_of(client, incident)).plan_digest

    wrong = await cli("approve", incident, "--yes", "--reason", "x", "--digest", "0" * 64)
    after = await step_of(client, incident)
    right = await cli("approve", incident, "--yes", "--reason", "x", "--digest", digest)

    assert (wrong.status, after.votes, right.status) == (1, (), 0)
    assert f"close {digest}" in wrong.err


async def test_nothing_is_asked_without_a_terminal(cli: Cli, client: Client, incident: str) -> None:
    bare = await cli("approve", incident)
    unreasoned = await cli("approve", incident, "--yes")

    expected = (2, "", "firedoor: no terminal to ask on: give --yes and --reason\n")
    assert (bare, unreasoned) == (expected, expected)
    assert (await step_of(client, incident)).votes == ()


async def test_decided_step_cannot_be_decided_again(cli: Cli, incident: str) -> None:
    await cli("deny", incident, "--yes", "--reason", "ours")

    ended = await cli("approve", incident, "close", "--yes", "--reason", "after all")

    expected = f"firedoor: {incident}: step close is denied, and nothing waits for a decision\n"
    assert (ended.status, ended.out, ended.err) == (1, "", expected)


async def test_unknown_step_is_refused(cli: Cli, incident: str) -> None:
    ended = await cli("approve", incident, "nothing", "--yes", "--reason", "x")

    assert (ended.status, ended.err) == (1, f"firedoor: {incident} has no step nothing\n")


async def test_person_at_a_terminal_is_asked(
    at_terminal: Cli, until: Until, incident: str, world: World, room: str
) -> None:
    status, said = await at_terminal(b"y\n", "approve", room, "--reason", "hostile")

    assert status == 0, said
    await until(incident, lambda known: known.status is Status.CONTAINED)
    assert world.doors[room] == "closed"


async def test_enter_alone_is_no(
    at_terminal: Cli, client: Client, incident: str, room: str
) -> None:
    await at_terminal(b"\n", "approve", room, "--reason", "hostile")

    assert (await step_of(client, incident)).votes == ()


async def test_interrupt_at_the_question_ends_it_at_once(
    at_terminal: Cli, client: Client, incident: str, room: str
) -> None:
    status, _ = await at_terminal(b"\x03", "approve", room, "--reason", "hostile")

    assert status == 130
    assert (await step_of(client, incident)).votes == ()


async def test_pending_lists_what_waits_for_whoever_sits_here(
    cli: Cli, client: Client, incident: str, room: str
) -> None:
    record = await step_of(client, incident)

    listed, told = await cli("pending"), await cli("pending", "--json")

    (row,) = [line for line in listed.out.splitlines() if room in line]
    assert row.split()[1:4] == ["close", "decision", "alone"]
    (one,) = [one for one in told.document if one["incident"] == incident]
    assert (one["needed"], one["plan_digest"]) == (1, record.plan_digest)
    assert record.deadline is not None
    assert one["until"] == record.deadline.isoformat()


async def test_nothing_is_pending_after_the_vote(cli: Cli, incident: str, room: str) -> None:
    await cli("deny", incident, "--yes", "--reason", "ours")

    assert room not in (await cli("pending", "--all")).out


async def test_what_was_done_unasked_is_pending_until_it_is_ratified(
    cli: Cli, client: Client, until: Until, world: World, room: str
) -> None:
    unasked = world.arrival(finding(subject=instance(room)), step("close", "close_door"))
    delivery = await deliver(client, unasked)
    await until(delivery.incident, lambda known: known.status is Status.CONTAINED)
    before = await cli("pending")
    await cli("release", room, "--yes", "--reason", "over")
    early = await cli("close", room, "--reason", "over")

    ended = await cli("ratify", room, "--yes", "--reason", "right so")

    assert "ratification" in next(line for line in before.out.splitlines() if room in line)
    assert early.err.endswith("`firedoor ratify` it first\n")
    assert (ended.status, ended.out.splitlines()[-1]) == (0, "close: approved")
    assert room not in (await cli("pending", "--all")).out


async def test_how_many_more_have_to_approve_is_said(
    cli: Cli, client: Client, until: Until, world: World, room: str
) -> None:
    two = {"id": "two", "quorum": 2}
    team = {"roster": roster(RESPONDER, "bob"), "approvals": (two,)}
    close = step("close", "close_door", approval=Approval.ASK)
    await deliver(client, world.arrival(finding(subject=instance(room)), close, **team))

    ended = await cli("approve", room, "--yes", "--reason", "hostile")
    again = await cli("approve", room, "--yes", "--reason", "hostile")

    assert (ended.status, ended.out.splitlines()[-1]) == (0, "close: approved; 1 more needed")
    assert "may still vote: bob" in (await cli("show", room, "--plan")).out
    assert (again.status, again.err) == (1, "firedoor: the vote on close was refused\n")
    assert again.out.splitlines()[-1] == "close: refused: alice has voted so already"


async def test_agent_without_the_key_sends_nothing(
    cli: Cli, client: Client, incident: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    key = lay_out(other, "bob")

    ended = await cli("approve", incident, "--yes", "--reason", "x", FIREDOOR_KEY=str(key))

    assert ended.status == 2
    assert (ended.err.count("\n"), str(key) in ended.err) == (1, True)
    assert (await step_of(client, incident)).votes == ()


@pytest.mark.parametrize("reason", ["x" * 2001, "right \x1b[31mso"])
async def test_reason_that_cannot_be_signed_is_refused_in_a_line(
    cli: Cli, client: Client, incident: str, reason: str
) -> None:
    ended = await cli("approve", incident, "--yes", "--reason", reason)

    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith("firedoor: --reason: ")
    assert (await step_of(client, incident)).votes == ()
