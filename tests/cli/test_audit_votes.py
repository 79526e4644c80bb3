"""What people said, checked again years later: by Firedoor without a server, and by ssh-keygen."""

import base64
import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from temporalio.client import Client

from activities import warden
from firedoor.approvals import sshsig, sts
from firedoor.lab.server import EmulatedAws
from firedoor.model.approval import Rule
from firedoor.model.base import digest
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, Released, Status
from firedoor.model.responder import Gateway, Roster
from firedoor.model.runbook import Approval
from firedoor.model.warden import warden_id
from firedoor.model.word import (
    Answer,
    ChatRelay,
    Decision,
    Means,
    Order,
    Relayed,
    Signed,
    signable,
    signed_by,
)
from firedoor.testing import (
    World,
    close,
    decision,
    finding,
    instance,
    instruction,
    key_of,
    private_key,
    release,
    responder,
    signed,
    step,
)
from worker.client import deliver

Cli = Callable[..., Awaitable[Any]]
Until = Callable[[str, Callable[[Incident], bool]], Awaitable[Incident]]

HISTORIES = Path(__file__).parent.parent / "histories"
NOWHERE = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
FAR = datetime(2100, 1, 1, tzinfo=UTC)


@pytest_asyncio.fixture
async def history(client: Client, world: World, room: str, until: Until, tmp_path: Path) -> Path:
    """The file of an incident in which a forger, chat, alice and bob spoke, in this order."""
    people = {
        "alice": responder("alice"),
        "bob": responder("bob", slack="U1", keys=(key_of("bob", valid_before=FAR),)),
    }
    known_to = Roster(people=people, gateways={"chat": Gateway(keys=(key_of("chat"),))})
    rule = Rule(id="two", quorum=2, accepts=(Means.SSH, Means.CHAT), excludes=())
    close_it = step("close", "close_door", approval=Approval.ASK)
    about = finding(subject=instance(room))
    arrival = world.arrival(about, close_it, roster=known_to, approvals=(rule,))
    id = (await deliver(client, arrival)).incident
    asking = await until(id, lambda known: known.status is Status.AWAITING_APPROVAL)
    handle, (record,) = client.get_workflow_handle(id), asking.steps

    word = decision(asking, record).word
    await handle.execute_update("decide", signed(word, "mallory"), result_type=Ruling)
    await handle.signal("vote", {"no": "word"})
    await handle.signal("vote", relayed(decision(asking, record, by="bob").word))
    await handle.execute_update("decide", decision(asking, record), result_type=Ruling)
    await until(id, lambda known: known.status is Status.CONTAINED)
    given = release(asking, "close", by="bob", reason="it is over")
    await handle.execute_update("release", given, result_type=Released)
    await handle.execute_update("close", close(asking), result_type=Ruling)
    await handle.result()
    return await export(client, id, tmp_path / "history.json")


async def export(client: Client, id: str, file: Path) -> Path:
    file.write_text((await client.get_workflow_handle(id).fetch_history()).to_json())
    return file


def relayed(word: Decision) -> Signed[Decision]:
    """Return a word that the gateway brings from Slack."""
    what = Relayed(word=word, gateway="chat", platform="slack", user="U1")
    signature = sshsig.sign(private_key("chat"), signable(what))
    relay = ChatRelay(gateway="chat", platform="slack", user="U1", signature=signature)
    return signed_by(word, relay)


def payloads(attributes: Any) -> Iterator[dict[str, Any]]:
    """Yield the payloads in the attributes of an event, wherever they are."""
    for name, value in attributes.items() if isinstance(attributes, dict) else ():
        if name == "payloads":
            yield from value
        else:
            yield from payloads(value)


def alter(file: Path, event: str, change: Callable[[Any], bool]) -> None:
    """Change what the first event of a kind holds for which the change says that it did."""
    history = json.loads(file.read_text())
    for one in history["events"]:
        for payload in payloads(one.get(event, {})):
            held = json.loads(base64.b64decode(payload["data"]))
            if change(held):
                payload["data"] = base64.b64encode(json.dumps(held).encode()).decode()
                file.write_text(json.dumps(history))
                return
    raise AssertionError(f"nothing to change in any {event}")


def verify(directory: Path, number: str, who: str, at: str = "") -> bool:
    """Ask ssh-keygen whether a word that was written is that of somebody, now or at a time."""
    when = ("-O", f"verify-time={at}") if at else ()
    with (directory / f"{number}.json").open() as word:
        asked = subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-n", "firedoor", "-f", "allowed_signers",
             "-I", who, "-s", f"{number}.sig", *when],
            stdin=word, cwd=directory, capture_output=True, text=True,
        )  # fmt: skip
    return asked.returncode == 0


async def test_every_word_is_told_with_its_proof_and_its_ruling(cli: Cli, history: Path) -> None:
    ended = await cli("audit", "votes", "--json", str(history), **NOWHERE)

    assert (ended.status, ended.err) == (0, "")
    (heard,) = ended.document
    told = ("by", "kind", "step", "answer", "means", "accepted")
    assert [tuple(word[name] for name in told) for word in heard["words"]] == [
        ("alice", "decision", "close", "approve", "ssh", False),
        ("", "", "", "", "", False),
        ("bob", "decision", "close", "approve", "chat", True),
        ("alice", "decision", "close", "approve", "ssh", True),
        ("bob", "release", "close", "", "ssh", True),
        ("alice", "close", "", "", "ssh", True),
    ]
    assert [word["key"] for word in heard["words"]] == [
        key_of(name).fingerprint if name else ""
        for name in ("mallory", "", "chat", "alice", "bob", "alice")
    ]
    assert [word["problem"] for word in heard["words"]] == [
        f"{key_of('mallory').fingerprint} is no key of alice",
        "it is no signed word",
        *[""] * 4,
    ]


async def test_what_people_read_has_a_row_for_each_word(cli: Cli, history: Path) -> None:
    ended = await cli("audit", "votes", str(history), **NOWHERE)

    head, columns, forged, _, _, approved, *_ = ended.out.splitlines()
    assert head.startswith("incident/aws/123456789012/us-east-1/instance/i-")
    assert columns.split() == [
        "TIME", "WHO", "KIND", "STEP", "ANSWER", "MEANS", "KEY", "PROOF", "RULING",
    ]  # fmt: skip
    stranger = f"{key_of('mallory').fingerprint} is no key of alice"
    assert forged.endswith(f"{stranger}  refused: {stranger}")
    assert approved.split()[-3:] == [key_of("alice").fingerprint, "good", "accepted"]


async def test_words_of_every_recorded_history_are_good_for_ever(cli: Cli) -> None:
    recorded = sorted(str(file) for file in HISTORIES.glob("*.json"))

    ended = await cli("audit", "votes", "--json", *recorded, **NOWHERE)

    words = [word for heard in ended.document for word in heard["words"]]
    assert (ended.status, ended.err) == (0, "")
    assert {word["kind"] for word in words if word["accepted"]} == {
        "decision", "ratification", "release", "close", "instruction",
    }  # fmt: skip


async def test_ssh_keygen_alone_tells_good_words_from_bad(
    cli: Cli, history: Path, tmp_path: Path
) -> None:
    ended = await cli("audit", "votes", str(history), "--directory", str(tmp_path / "out"))

    assert (ended.status, ended.err) == (0, "")
    (place,) = (tmp_path / "out").iterdir()
    assert sorted(file.name for file in place.iterdir()) == [
        *[f"{number}.{kind}" for number in ("001", "003", "004", "005", "006")
          for kind in ("json", "sig")],
        "allowed_signers",
    ]  # fmt: skip
    spoken = {"001": "alice", "003": "chat", "004": "alice", "005": "bob", "006": "alice"}
    good = {number: verify(place, number, who) for number, who in spoken.items()}
    assert good == {"001": False, "003": True, "004": True, "005": True, "006": True}
    assert not verify(place, "004", "bob")
    assert verify(place, "005", "bob", "20991231Z")
    assert not verify(place, "005", "bob", "21000102Z")

    word = json.loads((place / "004.json").read_text())
    (place / "004.json").write_text(json.dumps({**word, "answer": "deny"}))
    assert not verify(place, "004", "alice")


async def test_word_that_was_altered_in_the_history_is_found(
    cli: Cli, history: Path, tmp_path: Path
) -> None:
    def other_reason(held: Any) -> bool:
        bobs: bool = held["word"]["by"] == "bob"
        held["word"]["reason"] = "I was told to"
        return bobs

    alter(history, "workflowExecutionUpdateAcceptedEventAttributes", other_reason)

    ended = await cli("audit", "votes", "--json", str(history), "--directory", str(tmp_path / "o"))

    (heard,) = ended.document
    assert ended.status == 1
    assert ended.err == "firedoor: 1 of 6 words counted, and their proof is not good\n"
    assert heard["words"][4]["problem"].startswith("the signature is not good: ")
    (place,) = (tmp_path / "o").iterdir()
    assert not verify(place, "005", "bob")


async def test_ruling_that_was_altered_to_let_a_forged_word_count_is_found(
    cli: Cli, history: Path
) -> None:
    def accept(held: Any) -> bool:
        refused: bool = held.get("accepted") is False
        held["accepted"] = True
        return refused

    alter(history, "workflowExecutionUpdateCompletedEventAttributes", accept)

    ended = await cli("audit", "votes", str(history))

    assert ended.status == 1
    assert ended.err == "firedoor: 1 of 6 words counted, and their proof is not good\n"


async def test_word_from_another_incident_is_found(cli: Cli, history: Path) -> None:
    def elsewhere(held: Any) -> bool:
        held["arrival"]["finding"]["title"] = "another one"
        return True

    alter(history, "workflowExecutionStartedEventAttributes", elsewhere)
    text = json.loads(history.read_text())
    started = text["events"][0]["workflowExecutionStartedEventAttributes"]
    started["firstExecutionRunId"] = "00000000-0000-0000-0000-000000000000"
    history.write_text(json.dumps(text))

    ended = await cli("audit", "votes", "--json", str(history))

    said = {word["problem"].partition(" run ")[0] for word in ended.document[0]["words"][2:]}
    assert (ended.status, said) == (1, {f"it was said to {ended.document[0]['workflow']}"})


async def test_keys_that_an_auditor_kept_take_the_place_of_those_in_the_history(
    cli: Cli, history: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("".join(f"{who} {key_of(who).public}\n" for who in ("alice", "bob", "chat")))
    others = tmp_path / "others"
    others.write_text(kept.read_text().replace(key_of("bob").public, key_of("eve").public))

    same = await cli("audit", "votes", str(history), "--signers", str(kept))
    other = await cli("audit", "votes", str(history), "--signers", str(others))

    assert (same.status, same.err) == (0, "")
    assert other.err == "firedoor: 1 of 6 words counted, and their proof is not good\n"


async def test_history_that_is_laid_out_is_not_written_over(
    cli: Cli, history: Path, tmp_path: Path
) -> None:
    again = ("audit", "votes", str(history), "--directory", str(tmp_path / "out"))
    await cli(*again)

    ended = await cli(*again)

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.endswith("/allowed_signers: file exists\n")


@pytest.mark.parametrize("member", ["policy", "finding"])
async def test_history_of_another_version_is_bad_input(
    cli: Cli, history: Path, member: str
) -> None:
    def older(held: Any) -> bool:
        held["arrival"][member] = {"responders": ["alice"]}
        return True

    alter(history, "workflowExecutionStartedEventAttributes", older)

    ended = await cli("audit", "votes", str(history))

    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith(f"firedoor: {history}: expected a history of this version: ")
    assert ended.err.count("\n") == 1


async def test_incident_on_the_server_is_heard_while_it_is_open(
    cli: Cli, incident: str, client: Client, until: Until
) -> None:
    known = await until(incident, lambda known: known.status is Status.AWAITING_APPROVAL)
    denied = decision(known, known.steps[0], Answer.DENY)
    await client.get_workflow_handle(incident).signal("vote", denied)

    ended = await cli("audit", "votes", "--json", incident)

    (word,) = ended.document[0]["words"]
    assert (ended.status, word["answer"], word["problem"]) == (0, "deny", "")
    assert word["accepted"] is None


async def test_what_aws_said_whose_word_it_is_is_checked_as_it_is_on_record(
    cli: Cli, lab: EmulatedAws, client: Client, world: World, room: str, until: Until,
    tmp_path: Path,
) -> None:  # fmt: skip
    session = boto3.Session()
    arn = session.client("sts").get_caller_identity()["Arn"]
    rule = Rule(id="any", accepts=(Means.STS,), excludes=())
    known_to = Roster(people={"alice": responder("alice", arns=(arn,))})
    ask, about = step("close", "close_door", approval=Approval.ASK), finding(subject=instance(room))
    arrival = world.arrival(about, ask, roster=known_to, approvals=(rule,))
    id = (await deliver(client, arrival)).incident
    asking = await until(id, lambda known: known.status is Status.AWAITING_APPROVAL)
    word = decision(asking, asking.steps[0]).word
    proof = sts.make(session, "us-east-1", digest(word))
    told: Ruling = await client.get_workflow_handle(id).execute_update(
        "decide", signed_by(word, proof), result_type=Ruling
    )
    file = await export(client, id, tmp_path / "history.json")

    good = await cli("audit", "votes", "--json", str(file), **NOWHERE)
    alter(file, "activityTaskCompletedEventAttributes", _says_mallory)
    bad = await cli("audit", "votes", "--json", str(file), **NOWHERE)

    assert told.accepted, told
    (heard,) = good.document[0]["words"]
    assert (good.status, heard["means"], heard["key"]) == (0, "sts", arn)
    assert heard["doubt"] == "AWS was asked once, and cannot be asked again"
    assert bad.status == 1
    assert bad.document[0]["words"][0]["problem"].endswith("under this incident's policy")


def _says_mallory(held: Any) -> bool:
    if "identity" not in held:
        return False
    held["identity"] = "arn:aws:iam::123456789012:user/mallory"
    return True


async def test_who_stopped_all_changes_is_heard_too(
    cli: Cli, client: Client, tmp_path: Path
) -> None:
    queue = os.environ["FIREDOOR_TASK_QUEUE"]
    await warden.instruct(client, queue, instruction(queue, Order.PAUSE, "a storm"))
    word = instruction(queue, Order.RESUME, "let me").word
    await warden.instruct(client, queue, signed(word, "mallory"))
    file = await export(client, warden_id(queue), tmp_path / "warden.json")
    kept = tmp_path / "kept"
    kept.write_text(f"alice {key_of('alice').public}\n")

    alone = await cli("audit", "votes", "--json", str(file), **NOWHERE)
    with_keys = await cli("audit", "votes", "--json", str(file), "--signers", str(kept), **NOWHERE)

    told = ("kind", "answer", "accepted", "problem", "doubt")
    doubt = "whose key this is, only the worker that heard it knew"
    assert [[word[name] for name in told] for word in alone.document[0]["words"]] == [
        ["instruction", "pause", True, "", doubt],
        ["instruction", "resume", False, "", doubt],
    ]
    assert [word["problem"] for word in with_keys.document[0]["words"]] == [
        "",
        f"{key_of('mallory').fingerprint} is no key of alice",
    ]
    assert (alone.status, with_keys.status) == (0, 0)


async def test_word_that_was_brought_after_its_time_is_found(cli: Cli, history: Path) -> None:
    told = json.loads(history.read_text())
    for event in told["events"]:
        later = datetime.fromisoformat(event["eventTime"]) + timedelta(minutes=11)
        event["eventTime"] = f"{later:%Y-%m-%dT%H:%M:%S.%fZ}"
    history.write_text(json.dumps(told))

    ended = await cli("audit", "votes", "--json", str(history))

    problems = [word["problem"] for word in ended.document[0]["words"] if word["accepted"]]
    assert ended.status == 1
    assert all(problem.startswith("it counted until ") for problem in problems), problems


async def test_votes_that_an_earlier_run_heard_are_told_by_the_next(
    cli: Cli, history: Path
) -> None:
    told = json.loads(history.read_text())
    ((result,),) = [
        event["workflowExecutionCompletedEventAttributes"]["result"]["payloads"]
        for event in told["events"]
        if "workflowExecutionCompletedEventAttributes" in event
    ]

    def carry(held: Any) -> bool:
        held["carried"] = json.loads(base64.b64decode(result["data"]))
        return True

    alter(history, "workflowExecutionStartedEventAttributes", carry)
    told = json.loads(history.read_text())
    history.write_text(json.dumps({**told, "events": told["events"][:1]}))

    ended = await cli("audit", "votes", "--json", str(history))

    assert (ended.status, ended.err) == (0, "")
    assert [
        (word["event"], word["by"], word["means"], word["accepted"], bool(word["problem"]))
        for word in ended.document[0]["words"]
    ] == [
        (1, "alice", "ssh", False, True),
        (1, "bob", "chat", True, False),
        (1, "alice", "ssh", True, False),
    ]


async def test_second_word_under_one_nonce_is_found(
    cli: Cli, incident: str, client: Client, until: Until, tmp_path: Path
) -> None:
    known = await until(incident, lambda known: known.status is Status.AWAITING_APPROVAL)
    handle = client.get_workflow_handle(incident)
    denied = decision(known, known.steps[0], Answer.DENY, nonce="once")
    await handle.execute_update("decide", denied, result_type=Ruling)
    again = await handle.execute_update("close", close(known, nonce="once"), result_type=Ruling)
    file = await export(client, incident, tmp_path / "history.json")

    def accept(held: Any) -> bool:
        refused: bool = held["accepted"] is False
        held["accepted"] = True
        return refused

    alter(file, "workflowExecutionUpdateCompletedEventAttributes", accept)

    ended = await cli("audit", "votes", "--json", str(file))

    assert again.reason == "it was said already: a word counts once"
    assert [word["problem"] for word in ended.document[0]["words"]] == [
        "",
        "another word has counted under its nonce",
    ]
    assert ended.status == 1
