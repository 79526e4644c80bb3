"""Attacks on approvals, on a real server: by who can write to it, and by responders gone bad."""

import asyncio
import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities import warden
from firedoor import testing as kit
from firedoor.approvals import sshsig
from firedoor.approvals.hearing import LONGEST, MOST_WORDS
from firedoor.approvals.judge import MOST_VOTES
from firedoor.approvals.sshsig import MAGIC, string
from firedoor.model.decision import Ruling
from firedoor.model.finding import Finding
from firedoor.model.incident import Incident, Released, Status, StepRecord, StepState
from firedoor.model.responder import Gateway, Responder, Roster
from firedoor.model.runbook import Approval
from firedoor.model.warden import Instructed, Warden, warden_id
from firedoor.model.word import (
    Answer,
    ChatRelay,
    Decision,
    Order,
    Relayed,
    Signed,
    SshSignature,
    StsRequest,
    signable,
    signed_by,
)
from firedoor.testing import World, finding, instance, key_of, lay_out, private_key, responder, step
from worker.actions import activities_of
from worker.catalogue import forget
from worker.client import ask, deliver
from worker.plugin import PLATFORM, SANDBOX, patient, workflows
from worker.server import program
from workflows import visibility
from workflows.voices import MOST_REFUSED

Handle = WorkflowHandle[object, Incident]
Forgery = Callable[[Incident, StepRecord], Signed[Any]]

YEAR = timedelta(days=365)
MANY = 10_000
DOOR = step("door", "close_door", approval=Approval.ASK)
ASK_ONE = {"id": "one", "excludes": (), "accepts": ("ssh", "chat")}
TEAM = Roster(
    people={
        "alice": responder("alice", slack="U1", keys=(key_of("alice"), key_of("alice's other"))),
        "bob": responder("bob", slack="U2"),
        "carol": Responder(keys=(key_of("carol", valid_before=datetime(2026, 1, 1, tzinfo=UTC)),)),
        "aws": Responder(arns=("arn:aws:*",)),
    },
    gateways={"chat": Gateway(keys=(key_of("gateway"),))},
)


@pytest.fixture
def fire() -> Finding:
    return finding(subject=instance(f"i-{uuid4().hex[:17]}"))


@pytest.fixture(params=["update", "signal"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def started(
    client: Client, world: World, fire: Finding, *steps: Any, requester: str = "", **rule: Any
) -> Handle:
    members = {"roster": TEAM, "approvals": ({**ASK_ONE, **rule},)}
    arrival = world.arrival(fire, *(steps or (DOOR,)), requester=requester, **members)
    delivery = await deliver(client, arrival)
    return client.get_workflow_handle(delivery.incident, result_type=Incident)


async def now(handle: Handle) -> Incident:
    incident: Incident = await handle.query("incident", result_type=Incident)
    return incident


async def until(handle: Handle, holds: Callable[[Incident], bool]) -> Incident:
    for _ in range(800):
        if holds(incident := await now(handle)):
            return incident
        await asyncio.sleep(0.025)
    raise AssertionError(f"it stayed {incident.status}: {incident.timeline[-5:]}")


def asking(incident: Incident) -> bool:
    return incident.status is Status.AWAITING_APPROVAL


def at_rest(incident: Incident) -> bool:
    return all(s.ended_at is not None for s in incident.steps)


def door(incident: Incident) -> StepRecord:
    return next(s for s in incident.steps if s.key == "door")


async def bring(handle: Handle, said: Signed[Any], way: str = "update") -> Ruling:
    """Bring a vote, and return the ruling: by signal, as it is on record."""
    if way == "update":
        return await ask(handle, "decide", said, Ruling, uuid4().hex)
    before = await now(handle)
    await handle.signal("vote", said)
    after = await until(handle, lambda i: len(i.timeline) > len(before.timeline))
    for vote in reversed([vote for record in after.steps for vote in record.votes]):
        if vote.said == said:
            return vote.ruling
    (entry,) = after.timeline[len(before.timeline) :]
    return Ruling(accepted=entry.event != "vote.refused", reason=entry.detail)


async def approve(handle: Handle, by: str = "alice", **members: object) -> Ruling:
    incident = await now(handle)
    return await bring(handle, kit.decision(incident, door(incident), by=by, **members))


async def is_unharmed(handle: Handle, world: World, fire: Finding) -> None:
    """Require that nothing was done, and that a true vote still counts at once."""
    still = await now(handle)
    assert door(still).state is StepState.ASKING
    assert world.calls == []
    assert (await approve(handle)).accepted
    await until(handle, at_rest)
    assert world.calls == [f"close {fire.subject.id}"]


# Forgeries


def altered(incident: Incident, record: StepRecord) -> Signed[Any]:
    said = kit.decision(incident, record, Answer.DENY)
    word = said.word.model_copy(update={"answer": Answer.APPROVE})
    return signed_by(word, said.attestation)


def by_key(key: str, **members: object) -> Forgery:
    return lambda incident, record: kit.signed(kit.decision(incident, record, **members).word, key)


def with_members(**members: object) -> Forgery:
    def forge(incident: Incident, record: StepRecord) -> Signed[Any]:
        word = kit.decision(incident, record).word
        return kit.signed(word.model_validate({**word.model_dump(), **members}))

    return forge


def of_another_kind(incident: Incident, record: StepRecord) -> Signed[Any]:
    return signed_by(
        kit.decision(incident, record).word, kit.ratification(incident, record).attestation
    )


def for_git(incident: Incident, record: StepRecord) -> Signed[Any]:
    word = kit.decision(incident, record).word
    key, hashed = private_key("alice"), hashlib.sha512(signable(word)).digest()
    covered = MAGIC + b"".join(map(string, (b"git", b"", b"sha512", hashed)))
    signature = string(b"ssh-ed25519") + string(key.sign(covered))
    parts = (sshsig.public_blob(key), b"git", b"", b"sha512", signature)
    text = base64.b64encode(MAGIC + b"\0\0\0\1" + b"".join(map(string, parts))).decode()
    armour = "\n".join([sshsig.BEGIN, text, sshsig.END])
    return signed_by(word, SshSignature(signature=armour))


def relayed(user: str, key: str = "gateway", **members: object) -> Forgery:
    def forge(incident: Incident, record: StepRecord) -> Signed[Any]:
        word = kit.decision(incident, record, **members).word
        content = Relayed(word=word, gateway="chat", platform="slack", user=user)
        signature = sshsig.sign(private_key(key), signable(content))
        relay = ChatRelay(gateway="chat", platform="slack", user=user, signature=signature)
        return signed_by(word, relay)

    return forge


def relay_as_signature(incident: Incident, record: StepRecord) -> Signed[Any]:
    relay: Any = relayed("U1", "alice")(incident, record)
    return signed_by(relay.word, SshSignature(signature=relay.attestation.signature))


def since(**members: timedelta) -> Forgery:
    """Return a vote whose times are so far from now."""

    def forge(incident: Incident, record: StepRecord) -> Signed[Any]:
        at = datetime.now(UTC)
        return kit.decision(incident, record, **{name: at + members[name] for name in members})

    return forge


FORGERIES: dict[str, tuple[Forgery, str]] = {
    "signature of an altered word": (altered, "not the signature of this message"),
    "other step": (with_members(step="window"), "no step window"),
    "other incident": (with_members(incident="incident/y"), "it is about incident/y"),
    "other run": (with_members(run=str(uuid4())), "this is run"),
    "other plan": (with_members(plan_digest="0" * 64), "the plan has changed: it is "),
    "stranger's key": (by_key("mallory"), "is no key of alice"),
    "another responder's key": (by_key("bob"), "is no key of alice"),
    "stranger": (with_members(by="mallory"), "mallory is not a responder"),
    "other kind of word": (of_another_kind, "not the signature of this message"),
    "namespace git": (for_git, "it was made for 'git'"),
    "dated ahead": (
        since(at=timedelta(minutes=5), expires_at=timedelta(minutes=9)), "set that clock"
    ),
    "expired": (since(at=timedelta(hours=-1), expires_at=timedelta(seconds=-1)), "say it again"),
    "expiry in a year": (since(at=-LONGEST, expires_at=YEAR), "say it again"),
    "revoked key": (with_members(by="carol"), "counted until 2026-01-01"),
    "gateway's own key": (by_key("gateway"), "is no key of alice"),
    "relay with a person's key": (relayed("U1", "alice"), "is no key of chat"),
    "relay of another's id": (relayed("U2"), "U2 on slack is not alice"),
    "relay of a stranger's id": (relayed("U3"), "U3 on slack is not alice"),
    "relay as a signature": (relay_as_signature, "not the signature of this message"),
    "proof by AWS that nobody has": (
        lambda incident, record: signed_by(
            kit.decision(incident, record, by="aws").word,
            StsRequest(url="https://sts.example.com/", headers={}),
        ),
        "not for an endpoint of AWS STS",
    ),
}  # fmt: skip


async def test_no_forgery_counts_and_each_is_on_record(
    client: Client, world: World, fire: Finding, way: str
) -> None:
    handle = await started(client, world, fire)
    incident = await until(handle, asking)

    for name, (forge, why) in FORGERIES.items():
        ruling = await bring(handle, forge(incident, door(incident)), way)
        assert (name, ruling.accepted) == (name, False)
        assert why in ruling.reason, name

    seen = await now(handle)
    refused = [entry for entry in seen.timeline if entry.event == "vote.refused"]
    assert seen.refused == len(refused) == len(FORGERIES)
    assert all("(refused: " in entry.detail for entry in refused)
    await is_unharmed(handle, world, fire)


async def test_true_word_brought_again_gets_the_same_answer_and_counts_once(
    client: Client, world: World, fire: Finding
) -> None:
    handle = await started(client, world, fire, quorum=2)
    incident = await until(handle, asking)
    said = kit.decision(incident, door(incident))

    answers = [await bring(handle, said) for _ in range(3)]  # as three updates
    for _ in range(3):
        await handle.signal("vote", said)

    assert answers == [Ruling(accepted=True, needed=1)] * 3
    assert await bring(handle, said) == answers[0]
    after = await now(handle)
    assert [vote.said for vote in door(after).votes] == [said]
    assert (door(after).state, after.refused, world.calls) == (StepState.ASKING, 0, [])


async def test_true_signature_in_another_armour_is_no_second_vote(
    client: Client, world: World, fire: Finding, way: str
) -> None:
    handle = await started(client, world, fire, quorum=2)
    incident = await until(handle, asking)
    said: Any = kit.decision(incident, door(incident))
    other = SshSignature(signature=said.attestation.signature.replace("\n", "\r\n"))
    await bring(handle, said)

    again = await bring(handle, signed_by(said.word, other), way)

    assert not again.accepted
    assert "it was said already: a word counts once" in again.reason


async def test_stolen_nonce_is_not_used_up_by_who_stole_it(
    client: Client, world: World, fire: Finding, way: str
) -> None:
    handle = await started(client, world, fire, quorum=3)
    incident = await until(handle, asking)
    true = kit.decision(incident, door(incident), nonce="n")
    forged = kit.signed(true.word, "mallory")
    bobs = kit.decision(incident, door(incident), by="bob", nonce="n")

    assert not (await bring(handle, forged, way)).accepted
    assert (await bring(handle, bobs, way)).accepted  # a responder gone bad has seen it
    assert (await bring(handle, true, way)).accepted


async def test_nonce_is_for_one_word_of_its_person_also_if_that_was_refused(
    client: Client, world: World, fire: Finding, way: str
) -> None:
    handle = await started(client, world, fire, quorum=2, denials=2)
    incident = await until(handle, asking)
    refused = kit.decision(incident, door(incident), plan_digest="0" * 64, nonce="n")
    another = kit.decision(incident, door(incident), nonce="n")

    assert "the plan has changed" in (await bring(handle, refused, way)).reason
    assert "it was said already" in (await bring(handle, another, way)).reason


# Responders gone bad


@pytest.mark.parametrize("forge", [
    with_members(), by_key("alice's other"), relayed("U1"),
], ids=["own key", "second key", "chat"])  # fmt: skip
async def test_requester_does_not_approve_by_any_key_or_means(
    client: Client, world: World, fire: Finding, way: str, forge: Forgery
) -> None:
    handle = await started(client, world, fire, requester="Alice", excludes=("requester",))
    incident = await until(handle, asking)

    ruling = await bring(handle, forge(incident, door(incident)), way)

    assert not ruling.accepted
    assert "alice has asked for this" in ruling.reason
    assert world.calls == []
    assert (await approve(handle, "bob")).accepted


async def test_who_asks_for_more_later_does_not_approve_that(
    client: Client, world: World, fire: Finding
) -> None:
    photo = step("photo", "photograph")
    handle = await started(client, world, fire, photo, excludes=("requester",))
    await until(handle, at_rest)
    graver = fire.model_copy(update={"id": "f-2"})
    await started(client, world, graver, DOOR, requester="alice", excludes=("requester",))
    await until(handle, asking)

    assert "alice has asked for this" in (await approve(handle)).reason
    assert (await approve(handle, "bob")).accepted


async def test_vote_after_the_deadline_is_refused(
    clocks: WorkflowEnvironment, client: Client, world: World, fire: Finding, way: str
) -> None:
    handle = await started(client, world, fire)
    incident = await until(handle, asking)
    late = kit.decision(incident, door(incident), expires_at=datetime.now(UTC) + YEAR)
    await clocks.fast_forward(handle, timedelta(minutes=16))
    await until(handle, at_rest)

    ruling = await bring(handle, late, way)

    assert not ruling.accepted
    assert "it is expired" in ruling.reason
    assert world.calls == []


async def test_pinned_policy_says_who_may_vote_whoever_was_removed_or_added_since(
    client: Client, world: World, fire: Finding, tmp_path: Path
) -> None:
    handle = await started(client, world, fire, quorum=2)
    await until(handle, asking)

    lay_out(tmp_path, "dora")  # today there is nobody else
    forget()

    assert "dora is not a responder" in (await approve(handle, "dora")).reason
    assert (await approve(handle, "alice")).accepted
    assert (await approve(handle, "bob")).accepted
    await until(handle, at_rest)
    assert world.calls == [f"close {fire.subject.id}"]


# Words in the place of others


async def test_signature_of_a_vote_neither_ratifies_nor_releases_nor_closes(
    client: Client, world: World, fire: Finding
) -> None:
    held = step("door", "close_door")
    handle = await started(client, world, fire, held)
    incident = await until(handle, at_rest)
    vote = kit.decision(incident, door(incident))
    words: dict[str, Signed[Any]] = {
        "ratify": kit.ratification(incident, door(incident)),
        "release": kit.release(incident),
        "close": kit.close(incident),
    }

    for update, true in words.items():
        answer: Any = Released if update == "release" else Ruling
        word = true.word.model_copy(update={"nonce": vote.word.nonce})
        forged = signed_by(word, vote.attestation)
        got = await ask(handle, update, forged, answer, uuid4().hex)
        ruling = got.ruling if isinstance(got, Released) else got
        assert "not the signature of this message" in ruling.reason, update
    assert world.doors == {fire.subject.id: "closed"}


@pytest.mark.parametrize("update", ["ratify", "release", "close"])
async def test_chat_neither_ratifies_nor_releases_nor_closes(
    client: Client, world: World, fire: Finding, update: str
) -> None:
    handle = await started(client, world, fire, step("door", "close_door"))
    incident = await until(handle, at_rest)
    relay = relayed("U1")(incident, door(incident)).attestation
    words: dict[str, Signed[Any]] = {
        "ratify": kit.ratification(incident, door(incident)),
        "release": kit.release(incident),
        "close": kit.close(incident),
    }
    word = words[update].word
    answer: Any = Released if update == "release" else Ruling

    got = await ask(handle, update, signed_by(word, relay), answer, uuid4().hex)

    ruling = got.ruling if isinstance(got, Released) else got
    assert ruling.reason == "only decisions are said in chat"
    assert (await now(handle)).refused == 1


@pytest.mark.parametrize("change", [
    {"reason": "x" * 100_000}, {"reason": "\x1b[2J"}, {"by": "a\nb"}, {"nonce": "n" * 1000},
    {"at": "0001-01-01T00:00:00+23:59"}, {"expires_at": "9999-12-31T23:59:59-23:59"},
    {"at": "2026-01-01T00:00:00"}, {"reason": "\ud800"}, {"more": 1},
], ids=lambda change: "/".join(change))  # fmt: skip
async def test_what_is_no_word_is_dropped_and_wedges_nothing(
    client: Client, world: World, fire: Finding, change: dict[str, Any]
) -> None:
    handle = await started(client, world, fire)
    incident = await until(handle, asking)
    said = json.loads(kit.decision(incident, door(incident)).model_dump_json())
    said["word"] |= change
    sent = raw(json.dumps(said))

    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("decide", sent)
    await handle.signal("vote", sent)

    assert (await now(handle)).refused == 0
    await is_unharmed(handle, world, fire)


def raw(text: str) -> RawValue:
    """Return JSON that goes over the wire as it is."""
    return RawValue(Payload(metadata={"encoding": b"json/plain"}, data=text.encode()))


# What is said to the whole installation


async def instruct(client: Client, queue: str, said: Signed[Any]) -> Instructed:
    return await warden.instruct(client, queue, said)


async def test_instruction_that_is_nobodys_or_not_for_here_pauses_nothing(
    client: Client, task_queue: str
) -> None:
    def pause(key: str = "", **members: object) -> Signed[Any]:
        said = kit.instruction(task_queue, Order.PAUSE, **{"reason": "a storm", **members})
        return kit.signed(said.word, key)

    at = datetime.now(UTC)
    relay = ChatRelay(gateway="chat", platform="slack", user="U1", signature="")
    refused = {
        "is no key of alice": pause("mallory"),
        "mallory is not a responder": pause(by="mallory"),
        "it is about warden/elsewhere": pause(incident="warden/elsewhere"),
        "say it again": pause(at=at - LONGEST, expires_at=at + YEAR),
        "set that clock": pause(at=at + timedelta(minutes=5), expires_at=at + YEAR),
        "it needs a reason": pause(reason=" "),
        "only decisions are said in chat": signed_by(pause().word, relay),
    }

    for why, said in refused.items():
        told = await instruct(client, task_queue, said)
        assert why in told.ruling.reason
        assert told.warden.paused is None


async def test_instruction_is_heard_once(client: Client, task_queue: str) -> None:
    pause = kit.instruction(task_queue, Order.PAUSE, "a storm")
    resume = kit.instruction(task_queue, Order.RESUME, "over")
    assert (await instruct(client, task_queue, pause)).ruling.accepted
    assert (await instruct(client, task_queue, resume)).ruling.accepted

    handle = client.get_workflow_handle(warden_id(task_queue))
    again = await ask(handle, "instruct", pause, Instructed, uuid4().hex)

    assert again.ruling.reason == "it was said already: a word counts once"
    assert (await handle.query("warden", result_type=Warden)).paused is None


# Floods


@pytest_asyncio.fixture(scope="module")
async def short_lived() -> AsyncIterator[WorkflowEnvironment]:
    """A server that wants a new run after a few hundred events instead of some thousands."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(program()),
        data_converter=pydantic_data_converter,
        search_attributes=visibility.ALL,
        dev_server_log_level="error",
        dev_server_extra_args=[
            "--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=500",
        ],
    ) as env:  # fmt: skip
        yield env


@pytest_asyncio.fixture
async def crowd(
    short_lived: WorkflowEnvironment, world: World, task_queue: str
) -> AsyncIterator[Client]:
    """A client of that server, with a worker that keeps workflows in mind."""
    keeping = Worker(
        short_lived.client,
        task_queue=task_queue,
        workflows=workflows(),
        activities=[*activities_of(world.actions, world.archive), *PLATFORM],
        workflow_runner=SANDBOX,
    )
    async with patient(keeping):
        yield short_lived.client


def refused(count: int) -> Callable[[Incident], bool]:
    return lambda incident: incident.refused == count


def bad_votes(incident: Incident, count: int, **members: object) -> list[Signed[Decision]]:
    """Return forged votes, each another one, and as long as can be."""
    template = kit.decision(incident, door(incident), reason="x" * 2000, **members)
    forged = template.attestation
    return [
        signed_by(template.word.model_copy(update={"nonce": f"bad {n}"}), forged)
        for n in range(count)
    ]


FLOOD = """
import asyncio, json, sys
from collections import Counter
from temporalio.api.common.v1 import Payload
from temporalio.client import Client
from temporalio.common import RawValue

async def main(address, incident, way, at_once):
    client = await Client.connect(address)
    handle = client.get_workflow_handle(incident)
    gate = asyncio.Semaphore(int(at_once))

    async def send(line):
        said = RawValue(Payload(metadata={"encoding": b"json/plain"}, data=line))
        async with gate:
            try:
                if way == "signal":
                    await handle.signal("vote", said)
                else:
                    await handle.execute_update("decide", said)
            except Exception as error:
                return type(error).__name__
            return "taken"

    answers = await asyncio.gather(*map(send, sys.stdin.buffer.read().splitlines()))
    print(json.dumps(Counter(answers)))

asyncio.run(main(*sys.argv[1:]))
"""


async def flood(handle: Handle, client: Client, votes: list[Signed[Any]], way: str) -> Any:
    """Let another process bring votes as fast as it can; return which answers it got, how often."""
    address, at_once = client.service_client.config.target_host, {"update": "10", "signal": "20"}
    flooding = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FLOOD, address, handle.id, way, at_once[way],
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    lines = b"\n".join(vote.model_dump_json().encode() for vote in votes)
    answers, _ = await flooding.communicate(lines)
    return json.loads(answers)


async def size(handle: Handle) -> int:
    """Return how many bytes the answer to a query has."""
    answer = await handle.query("incident", result_type=RawValue)
    return len(answer.payload.data)


async def events(handle: Handle) -> list[int]:
    """Return how many events the latest run has."""
    return [event.event_type for event in (await handle.fetch_history()).events]


@pytest.mark.slow
async def test_flood_of_bad_votes_by_update_leaves_little_and_stops_no_true_one(
    crowd: Client, world: World, fire: Finding
) -> None:
    handle = await started(crowd, world, fire)
    incident = await until(handle, asking)
    votes = bad_votes(incident, MANY)
    for said in votes[:MOST_REFUSED]:
        assert not (await bring(handle, said)).accepted
    before, large = await events(handle), await size(handle)

    answers = await flood(handle, crowd, votes[MOST_REFUSED:], "update")

    assert answers == {"WorkflowUpdateFailedError": MANY - MOST_REFUSED}

    after = await now(handle)
    assert (after.refused, len(door(after).votes)) == (MOST_REFUSED, MOST_REFUSED)
    assert await events(handle) == before
    assert await size(handle) == large < 500_000
    await is_unharmed(handle, world, fire)


@pytest.mark.slow
async def test_flood_of_bad_votes_by_signal_leaves_little_and_stops_no_true_one(
    crowd: Client, world: World, fire: Finding
) -> None:
    rule: dict[str, Any] = {
        "escalation": [{"to": ["nobody"], "within": "1h"}],
        "standing": {"severities": ["critical"]},
    }
    handle = await started(crowd, world, fire, **rule)
    incident = await until(handle, asking)
    asked = door(incident)

    sent = await flood(handle, crowd, bad_votes(incident, MANY), "signal")
    assert sent["taken"] >= MANY - 1  # the server takes so many in a run, and the finding was one
    after = await until(handle, refused(sent["taken"]))

    assert len(door(after).votes) == MOST_REFUSED
    assert await size(handle) < 500_000
    latest = await handle.describe()
    assert latest.run_id != incident.run  # the history began anew, and everything was carried over
    assert latest.history_length < MANY
    assert (door(after).deadline, door(after).tier) == (asked.deadline, asked.tier)
    await is_unharmed(handle, world, fire)


async def test_mind_that_changes_without_end_fills_no_history(
    crowd: Client, world: World, fire: Finding
) -> None:
    handle = await started(crowd, world, fire, quorum=2, denials=2)
    await until(handle, asking)

    for n in range(MOST_WORDS + MOST_REFUSED):
        incident = await now(handle)
        answer = (Answer.APPROVE, Answer.DENY)[n % 2]
        said = kit.decision(incident, door(incident), answer)
        try:
            await bring(handle, said)
        except WorkflowUpdateFailedError:
            break

    assert n == MOST_WORDS
    wavered = door(await now(handle)).votes
    assert sum(vote.ruling.accepted for vote in wavered) == MOST_VOTES
    assert len(wavered) == MOST_VOTES + MOST_REFUSED
    assert (await approve(handle, "bob")).accepted
