"""Votes that are proven by others than the voter: an identity provider, AWS, or chat."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp
import boto3
import pytest
from aiohttp import web
from temporalio.client import Client, WorkflowHandle

from firedoor import evidence
from firedoor import testing as kit
from firedoor.approvals import sshsig, sts
from firedoor.approvals.hearing import question
from firedoor.channel import Choice
from firedoor.evidence import Pin
from firedoor.intake import chat
from firedoor.lab.identity_provider import IdentityProvider
from firedoor.lab.server import EmulatedAws
from firedoor.model.base import digest
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, Status, StepRecord, StepState
from firedoor.model.responder import Gateway, Issuer, Subject
from firedoor.model.runbook import Approval
from firedoor.model.warrant import Vouched
from firedoor.model.word import Answer, Attestation, Decision, OidcToken, signed_by
from firedoor.testing import World, finding, instance, responder, step
from worker.client import ask, bring, deliver

Handle = WorkflowHandle[object, Incident]

SLACK = b"8f742231b10e8888abcd99yyyzzz85a5"


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider() as running:
        yield running


class Serving:
    """Serve an application on a free port of loopback for as long as a block lasts."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def asked(client: Client, world: World, roster: Any, *means: str) -> Handle:
    fire = finding(subject=instance(f"i-{uuid4().hex[:17]}"))
    rule = {"id": "any", "accepts": means}
    door = step("door", "close_door", approval=Approval.ASK)
    delivery = await deliver(client, world.arrival(fire, door, roster=roster, approvals=(rule,)))
    return client.get_workflow_handle(delivery.incident, result_type=Incident)


async def until(handle: Handle, holds: Callable[[Incident], bool]) -> Incident:
    for _ in range(400):
        incident: Incident = await handle.query("incident", result_type=Incident)
        if holds(incident):
            return incident
        await asyncio.sleep(0.025)
    raise AssertionError(f"it stayed {incident.status}: {incident.timeline[-3:]}")


def asking(incident: Incident) -> bool:
    return incident.status is Status.AWAITING_APPROVAL


def door(incident: Incident) -> StepRecord:
    return incident.steps[0]


async def decide(handle: Handle, prove: Callable[[Decision], Attestation]) -> Ruling:
    incident = await until(handle, asking)
    word = kit.decision(incident, door(incident)).word
    said = signed_by(word, prove(word))
    return await ask(handle, "decide", said, Ruling, said.digest)


def known_to(issuer: Issuer) -> Any:
    alice = responder("alice", oidc=(Subject(issuer=issuer.issuer, subject="a-1"),))
    return kit.roster(alice=alice).model_copy(update={"issuers": (issuer,)})


async def test_identity_provider_vouches_for_a_vote(
    client: Client, world: World, provider: IdentityProvider
) -> None:
    issuer = provider.issuer
    handle = await asked(client, world, known_to(issuer), "oidc")

    ruling = await decide(handle, lambda word: provider.token(digest(word), sub="a-1"))

    assert ruling.accepted, ruling.reason
    contained = await until(handle, lambda i: door(i).state is StepState.PROVEN)
    (vote,) = door(contained).votes
    assert vote.voucher is not None
    assert (vote.means, vote.voucher.identity) == ("oidc", "a-1")
    # What the provider answered is where only workers write, for those that carry the vote out.
    asked_for = question(vote.said, known_to(issuer))
    kept = Vouched(question=digest(asked_for), voucher=vote.voucher)
    assert evidence.pinned(Pin.VOUCHER, digest(kept)) is not None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sub": "b-2"}, "is not alice"),
        ({"nonce": "0" * 64}, "its nonce is not this digest"),
        ({"exp": 1}, "has expired"),
    ],
)
async def test_token_of_somebody_else_or_for_something_else_is_refused(
    client: Client, world: World, provider: IdentityProvider, changed: dict[str, Any], why: str
) -> None:
    handle = await asked(client, world, known_to(provider.issuer), "oidc")

    def prove(word: Decision) -> OidcToken:
        return provider.token(**{"nonce": digest(word), "sub": "a-1", **changed})

    ruling = await decide(handle, prove)

    assert not ruling.accepted
    assert why in ruling.reason
    assert world.doors == {}


async def test_aws_vouches_for_a_vote(client: Client, world: World, lab: EmulatedAws) -> None:
    alice = responder("alice", arns=("arn:aws:sts::123456789012:*",))
    handle = await asked(client, world, kit.roster(alice=alice), "sts")

    ruling = await decide(handle, lambda word: sts.make(boto3.Session(), "us-east-1", digest(word)))

    assert ruling.accepted, ruling.reason
    contained = await until(handle, lambda i: door(i).state is StepState.PROVEN)
    assert door(contained).votes[0].means == "sts"


async def test_request_that_was_signed_for_another_word_is_refused(
    client: Client, world: World, lab: EmulatedAws
) -> None:
    alice = responder("alice", arns=("arn:aws:sts::123456789012:*",))
    handle = await asked(client, world, kit.roster(alice=alice), "sts")

    ruling = await decide(handle, lambda _: sts.make(boto3.Session(), "us-east-1", "0" * 64))

    assert not ruling.accepted
    assert world.doors == {}


def in_slack() -> Any:
    alice = responder("alice", slack="U012AB3CD")
    gateway = Gateway(keys=(kit.key_of("chat"),))
    return kit.roster(alice=alice).model_copy(update={"gateways": {"chat": gateway}})


async def press(client: Client, choice: Choice, user: str = "U012AB3CD") -> int:
    """Press `approve` in Slack: the gateway hears of it, and brings it to the incident."""
    roster = in_slack()
    sign = partial(sshsig.sign, kit.private_key("chat"))
    gateway = chat.Gateway(name="chat", sign=sign, roster=roster, slack=SLACK, hooks=())
    now = time.time()
    button = {
        "action_id": "approve",
        "value": choice.model_dump_json(),
        "action_ts": f"{now:.6f}",
    }
    payload = {
        "type": "block_actions",
        "user": {"id": user, "team_id": "T061EG9R6"},
        "state": {"values": {"reason": {"reason": {"value": "seen it"}}}},
        "actions": [button],
    }
    body = urlencode({"payload": json.dumps(payload)}).encode()
    sent = str(int(now))
    mac = hmac.new(SLACK, b"v0:" + sent.encode() + b":" + body, "sha256").hexdigest()
    headers = {
        "X-Slack-Request-Timestamp": sent,
        "X-Slack-Signature": f"v0={mac}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    async with (
        Serving(chat.application(gateway, partial(bring, client))) as url,
        aiohttp.ClientSession() as session,
        session.post(f"{url}/slack", data=body, headers=headers) as answer,
    ):
        return answer.status


def choice_on(incident: Incident) -> Choice:
    return Choice(
        incident=incident.id,
        run=incident.run,
        step="door",
        plan_digest=door(incident).plan_digest,
    )


async def test_button_in_slack_counts_where_the_rule_lets_chat_decide(
    client: Client, world: World
) -> None:
    handle = await asked(client, world, in_slack(), "ssh", "chat")
    incident = await until(handle, asking)

    assert await press(client, choice_on(incident)) == 200

    contained = await until(handle, lambda i: door(i).state is StepState.PROVEN)
    (vote,) = door(contained).votes
    assert (vote.word.by, vote.means, vote.word.reason) == ("alice", "chat", "seen it")


@pytest.mark.parametrize(
    ("means", "user", "why"),
    [
        (("ssh",), "U012AB3CD", "chat does not count for this, only ssh"),
        (("chat",), "U0MALLORY", "U0MALLORY is not a responder under this incident's policy"),
    ],
)
async def test_button_in_slack_decides_nothing_else(
    client: Client, world: World, means: tuple[str, ...], user: str, why: str
) -> None:
    handle = await asked(client, world, in_slack(), *means)
    incident = await until(handle, asking)

    assert await press(client, choice_on(incident), user) == 200

    refused = await until(handle, lambda i: bool(door(i).votes))
    assert [vote.ruling.reason for vote in door(refused).votes] == [why]
    assert door(refused).votes[0].word.answer is Answer.APPROVE
    assert world.doors == {}
