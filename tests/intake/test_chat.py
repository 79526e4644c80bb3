"""Chat: what a platform has signed is brought as somebody's word, and nothing else is.

Requests have the form that Slack and Teams publish, over real HTTP on loopback. Neither was asked.
"""

import asyncio
import base64
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from firedoor.approvals import sshsig
from firedoor.approvals.hearing import NotTheirs, Speaker, speaker
from firedoor.errors import BadInput, Unreachable
from firedoor.intake import chat
from firedoor.model.responder import Gateway, Key, Responder, Roster
from firedoor.model.word import (
    Answer,
    ChatRelay,
    Decision,
    Means,
    Relayed,
    Signed,
    signable,
)
from firedoor.settings import Settings

SLACK_SECRET = b"8f742231b10e8888abcd99yyyzzz85a5"
TEAMS_SECRET = b"a shared key of thirty-two bytes"
KEY = Ed25519PrivateKey.generate()
ALICE_ON_SLACK, ALICE_ON_TEAMS = "U012AB3CD", "8b0ecf2e-8f6a-4a1c-9a52-5d8d7e8f9a01"
CHOICE = {
    "incident": "aws/123456789012/us-east-1/instance/i-0123456789abcdef0",
    "run": "0197f2a4-6f2e-7c3b-8d21-3f5f6a7b8c9d",
    "step": "isolate",
    "plan_digest": "c" * 64,
}


def sign(message: bytes) -> str:
    return sshsig.sign(KEY, message)


PUBLIC = sshsig.verify(sign(b""), b"").public
ROSTER = Roster(
    people={
        "alice": Responder(slack=ALICE_ON_SLACK, teams=ALICE_ON_TEAMS),
        "twin": Responder(slack="UTWIN"),
        "other twin": Responder(slack="UTWIN"),
        "bob": Responder(),
    },
    gateways={"chat": Gateway(keys=(Key(public=PUBLIC),))},
)
GATEWAY = chat.Gateway(
    name="chat", sign=sign, roster=ROSTER, slack=SLACK_SECRET, teams=TEAMS_SECRET
)


@dataclass
class Desk:
    """The server under test, what it brought, and how it fails to bring it."""

    url: str = ""
    brought: list[Signed[Decision]] = field(default_factory=list)
    fails: Exception | None = None
    lasts: float = 0

    async def deliver(self, word: Signed[Decision]) -> None:
        await asyncio.sleep(self.lasts)
        if self.fails:
            raise self.fails
        self.brought.append(word)

    async def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/{path}", data=body, headers=headers) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else text


async def serving(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    runner, made.url = await serving(chat.application(GATEWAY, made.deliver))
    yield made
    await runner.cleanup()


# Slack


def pressed(at: float | None = None, **changed: Any) -> dict[str, Any]:
    """Return what Slack says when a button is pressed."""
    ts = f"{time.time() if at is None else at:.6f}"
    return {
        "type": "block_actions",
        "user": {
            "id": ALICE_ON_SLACK,
            "username": "alice",
            "name": "alice",
            "team_id": "T061EG9R6",
        },
        "api_app_id": "A02",
        "token": "9s8d9as89d8as9d8as989",
        "container": {
            "type": "message",
            "message_ts": "1548261231.000200",
            "channel_id": "CBR2V3XEX",
            "is_ephemeral": False,
        },
        "trigger_id": "12321423423.333649436676.d8c1bb837935619ccad0f624c448ffb3",
        "team": {"id": "T061EG9R6", "domain": "example"},
        "enterprise": None,
        "is_enterprise_install": False,
        "channel": {"id": "CBR2V3XEX", "name": "incidents"},
        "message": {"type": "message", "bot_id": "BAH5CA16Z", "text": "…", "ts": "1548261231.0002"},
        "state": {
            "values": {"reason": {"reason": {"type": "plain_text_input", "value": "it is."}}}
        },
        "response_url": "https://hooks.slack.com/actions/T061EG9R6/1/x",
        "actions": [
            {
                "action_id": "approve",
                "block_id": "decision",
                "text": {"type": "plain_text", "text": "Approve", "emoji": True},
                "value": json.dumps(CHOICE),
                "style": "primary",
                "type": "button",
                "action_ts": ts,
            }
        ],
        **changed,
    }


def action(**changed: Any) -> list[dict[str, Any]]:
    return [{**pressed()["actions"][0], **changed}]


def form(payload: Any) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()


def by_slack(body: bytes, secret: bytes = SLACK_SECRET, at: float | None = None) -> dict[str, str]:
    """Return the headers by which Slack signs a body."""
    sent = str(int(time.time() if at is None else at))
    mac = hmac.new(secret, b"v0:" + sent.encode() + b":" + body, "sha256").hexdigest()
    return {
        "X-Slack-Request-Timestamp": sent,
        "X-Slack-Signature": f"v0={mac}",
        "Content-Type": "application/x-www-form-urlencoded",
    }


async def from_slack(desk: Desk, payload: Any, **signed: Any) -> tuple[int, Any]:
    body = form(payload)
    return await desk.post("slack", body, by_slack(body, **signed))


async def test_a_press_in_slack_is_brought_as_the_word_of_whoever_pressed(desk: Desk) -> None:
    at = round(time.time(), 6)
    status, told = await from_slack(desk, pressed(at))

    (said,) = desk.brought
    word = said.word
    assert status == 200
    assert "firedoor show aws/123456789012" in told["text"]
    assert told["response_type"] == "ephemeral"
    assert {name: getattr(word, name) for name in CHOICE} == CHOICE
    assert (word.by, word.answer, word.reason) == ("alice", Answer.APPROVE, "it is.")
    assert abs(word.at.timestamp() - at) < 0.001
    assert word.expires_at - word.at == timedelta(minutes=10)


async def test_the_gateway_signs_who_said_what(desk: Desk) -> None:
    await from_slack(desk, pressed())

    (said,) = desk.brought
    relay = said.attestation
    assert isinstance(relay, ChatRelay)
    relayed = Relayed(word=said.word, gateway="chat", platform="slack", user=ALICE_ON_SLACK)
    assert sshsig.verify(relay.signature, signable(relayed)).public == PUBLIC
    assert (relay.gateway, relay.platform, relay.user) == ("chat", "slack", ALICE_ON_SLACK)


async def test_an_incident_hears_whoever_is_known_on_the_platform(desk: Desk) -> None:
    await from_slack(desk, pressed())
    await from_teams(desk, spoken())

    heard = [speaker(said, ROSTER, datetime.now(UTC)) for said in desk.brought]
    assert heard == [Speaker("alice", Means.CHAT)] * 2


async def test_a_no_in_slack_is_a_no(desk: Desk) -> None:
    await from_slack(desk, pressed(actions=action(action_id="deny"), state=None))

    (said,) = desk.brought
    assert (said.word.answer, said.word.reason) == (Answer.DENY, "")


async def test_a_second_delivery_is_the_same_word(desk: Desk) -> None:
    payload = pressed()
    body = form(payload)
    headers = by_slack(body)

    await desk.post("slack", body, headers)
    await desk.post("slack", body, headers)  # the very same request, replayed
    await from_slack(desk, {**payload, "trigger_id": "another"}, at=time.time() + 2)

    assert len(desk.brought) == 3
    assert len({said.digest for said in desk.brought}) == 1


async def test_two_presses_are_two_words(desk: Desk) -> None:
    now = time.time()
    await from_slack(desk, pressed(now))
    await from_slack(desk, pressed(now + 1))

    assert len({said.word.nonce for said in desk.brought}) == 2


@pytest.mark.parametrize("user", ["USTRANGER", "UTWIN", "alice"])
async def test_whoever_is_not_one_known_person_speaks_under_the_platforms_id(
    desk: Desk, user: str
) -> None:
    status, _ = await from_slack(desk, pressed(user={"id": user, "team_id": "T1"}))

    (said,) = desk.brought
    assert (status, said.word.by) == (200, user)
    assert isinstance(said.attestation, ChatRelay)
    assert said.attestation.user == user
    with pytest.raises(NotTheirs):
        speaker(said, ROSTER, datetime.now(UTC))


async def refused(desk: Desk, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """Return the status and the logged reason of a request that must not be brought."""
    with capture_logs() as logs:
        status, _ = await desk.post(path, body, headers)
    assert desk.brought == []
    (entry,) = logs
    assert (entry["event"], entry["status"], entry["platform"]) == ("chat.refused", status, path)
    secrets = (SLACK_SECRET.decode(), TEAMS_SECRET.decode(), "it is.", "hooks.slack.com")
    assert not any(secret in json.dumps(entry) for secret in secrets)
    return status, entry["reason"]


async def test_a_request_with_another_secret_is_refused(desk: Desk) -> None:
    body = form(pressed())

    assert await refused(desk, "slack", body, by_slack(body, b"guessed")) == (
        401,
        "it is not signed with FIREDOOR_SLACK_SIGNING_SECRET",
    )


async def test_an_altered_body_is_refused(desk: Desk) -> None:
    headers = by_slack(form(pressed()))
    altered = form(pressed(actions=action(action_id="deny")))

    status, reason = await refused(desk, "slack", altered, headers)

    assert (status, reason[:16]) == (401, "it is not signed")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"X-Slack-Signature": ""}, "it is not signed"),
        ({"X-Slack-Signature": "v0="}, "it is not signed"),
        ({"X-Slack-Signature": "v0=ümlaut"}, "it is not signed"),
        ({"X-Slack-Request-Timestamp": "1"}, "it is not signed"),
        ({"X-Slack-Request-Timestamp": "now"}, "it has no time"),
        ({"X-Slack-Request-Timestamp": "1" * 30}, "it has no time"),
        ({"X-Slack-Request-Timestamp": ""}, "it has no time"),
    ],
)
async def test_a_request_that_slack_did_not_sign_is_refused(
    desk: Desk, changed: dict[str, str], reason: str
) -> None:
    body = form(pressed())

    status, said = await refused(desk, "slack", body, by_slack(body) | changed)

    assert (status, said[: len(reason)]) == (401, reason)


@pytest.mark.parametrize("off", [-310, 310])
async def test_a_request_of_another_time_is_refused(desk: Desk, off: int) -> None:
    body = form(pressed())

    status, reason = await refused(desk, "slack", body, by_slack(body, at=time.time() + off))

    assert (status, "counts for 0:05:00 only" in reason) == (401, True)


@pytest.mark.parametrize("off", [-310, 310])
async def test_an_old_press_in_a_new_request_is_refused(desk: Desk, off: int) -> None:
    body = form(pressed(time.time() + off))

    assert (await refused(desk, "slack", body, by_slack(body)))[0] == 401


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"type": "view_submission"}, "payload: "),
        (pressed(type="view_submission"), "payload: type"),
        (pressed(actions=action(action_id="approve_all")), "payload: actions.0.action_id"),
        (pressed(actions=[]), "payload: actions"),
        (pressed(actions=action() * 2), "payload: actions"),
        (pressed(actions=action(value="not json")), "value of the button"),
        (pressed(actions=action(value="{}")), "value of the button: incident"),
        (
            pressed(actions=action(value=json.dumps({**CHOICE, "by": "bob"}))),
            "value of the button: by",
        ),
        (pressed(actions=action(value="x" * 2001)), "payload: actions.0.value"),
        (pressed(actions=action(action_ts="yesterday")), "payload: actions.0.action_ts"),
        (pressed(user={}), "payload: user.id"),
        (pressed(user=None), "payload: user"),
        (
            pressed(state={"values": {"b": {"reason": {"value": "x" * 2001}}}}),
            "the reason is longer than 2000",
        ),
        ([], "payload: "),
        ("x" * 20, "payload: "),
    ],
)
async def test_what_is_no_press_of_a_button_of_ours_is_refused(
    desk: Desk, payload: Any, reason: str
) -> None:
    body = form(payload)

    status, said = await refused(desk, "slack", body, by_slack(body))

    assert (status, said[: len(reason)]) == (400, reason)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"payload", b"payload=1&payload=2", b"payload=\xff", b"other=1"]
)
async def test_what_is_no_form_is_refused(desk: Desk, body: bytes) -> None:
    status, reason = await refused(desk, "slack", body, by_slack(body))

    assert (status, reason) == (400, "expected one form field, payload")


@pytest.mark.parametrize("path", ["slack", "teams"])
async def test_a_body_that_is_too_large_is_refused(desk: Desk, path: str) -> None:
    body = b"x" * (chat.LARGEST + 1)

    assert (await refused(desk, path, body, by_slack(body)))[0] == 413


async def test_a_get_and_other_paths_are_nothing_here(desk: Desk) -> None:
    async with aiohttp.ClientSession() as session:
        for path, status in (("slack", 405), ("teams", 405), ("", 404), ("slack/x", 404)):
            async with session.get(f"{desk.url}/{path}") as answer:
                assert answer.status == status


async def test_a_platform_without_a_secret_is_not_served() -> None:
    made = Desk()
    runner, made.url = await serving(
        chat.application(replace(GATEWAY, slack=None, teams=b""), made.deliver)
    )

    assert (await from_slack(made, pressed(), secret=b"x"))[0] == 404
    assert (await from_teams(made, spoken(), secret=b"x"))[0] == 404
    assert made.brought == []
    await runner.cleanup()


# What the person is told


@pytest.mark.parametrize(
    ("fails", "lasts"), [(Unreachable("no server"), 0), (OSError("x"), 0), (None, 3)]
)
async def test_what_does_not_arrive_is_not_said_to_have_arrived(
    desk: Desk, fails: Exception | None, lasts: float
) -> None:
    desk.fails, desk.lasts = fails, lasts
    began = time.monotonic()

    with capture_logs() as logs:
        status, told = await from_slack(desk, pressed())

    assert (status, told["text"][:30]) == (503, "This may not have arrived. Loo")
    assert time.monotonic() - began < 3
    assert [entry["event"] for entry in logs] == ["chat.not_brought"]


async def test_the_person_is_told_by_the_address_that_slack_gives() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()

    async def hook(request: web.Request) -> web.Response:
        told.put_nowait(await request.json())
        return web.Response(text="ok")

    hooks = web.Application()
    hooks.router.add_post("/actions", hook)
    listening, address = await serving(hooks)
    made = Desk()
    runner, made.url = await serving(
        chat.application(replace(GATEWAY, hooks=(f"{address}/",)), made.deliver)
    )

    await from_slack(made, pressed(response_url=f"{address}/actions"))
    heard = await asyncio.wait_for(told.get(), 5)
    # Somewhere else, though it begins alike.
    elsewhere = f"{address}@{address.removeprefix('http://')}/actions"
    await from_slack(made, pressed(response_url=elsewhere))
    await runner.cleanup()  # waits for whoever is still to be told
    await listening.cleanup()

    assert heard["text"].startswith("Brought: approve.")
    assert (heard["response_type"], heard["replace_original"]) == ("ephemeral", False)
    assert told.empty()
    assert len(made.brought) == 2


# Teams


def spoken(at: datetime | None = None, **changed: Any) -> dict[str, Any]:
    """Return what Teams sends when somebody mentions an outgoing webhook."""
    words = " ".join(("approve", *CHOICE.values(), "it &amp; all&nbsp;is."))
    return {
        "type": "message",
        "id": "1485983408511",
        # Seven digits, as .NET writes them.
        "timestamp": f"{at or datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z",
        "localTimestamp": "2026-03-01T16:57:01.9450000+02:00",
        "serviceUrl": "https://smba.trafficmanager.net/amer/",
        "channelId": "msteams",
        "from": {"id": "29:1XJKJMvc", "name": "Alice", "aadObjectId": ALICE_ON_TEAMS},
        "conversation": {
            "isGroup": True,
            "conversationType": "channel",
            "id": "19:253b1f341670408fb6fe51050b6e5ceb@thread.skype;messageid=1485983194839",
        },
        "text": f"<at>Firedoor</at> {words}\n",
        "textFormat": "plain",
        "attachments": [{"contentType": "text/html", "content": "<div>…</div>"}],
        "entities": [{"type": "clientInfo", "locale": "en-US"}],
        "channelData": {"teamsChannelId": "19:2@thread.skype", "tenant": {"id": "72f988bf"}},
        **changed,
    }


def by_teams(body: bytes, secret: bytes = TEAMS_SECRET) -> dict[str, str]:
    mac = base64.b64encode(hmac.new(secret, body, "sha256").digest()).decode()
    return {"Authorization": f"HMAC {mac}", "Content-Type": "application/json; charset=utf-8"}


async def from_teams(desk: Desk, activity: Any, **signed: Any) -> tuple[int, Any]:
    body = json.dumps(activity).encode()
    return await desk.post("teams", body, by_teams(body, **signed))


async def test_words_in_teams_are_brought_as_the_word_of_whoever_said_them(desk: Desk) -> None:
    at = datetime.now(UTC)
    status, told = await from_teams(desk, spoken(at))

    (said,) = desk.brought
    word = said.word
    relay = said.attestation
    assert (status, told["type"]) == (200, "message")
    assert "firedoor show aws/123456789012" in told["text"]
    assert {name: getattr(word, name) for name in CHOICE} == CHOICE
    assert (word.by, word.answer, word.reason) == ("alice", Answer.APPROVE, "it & all is.")
    assert (word.at, word.expires_at) == (at, at + timedelta(minutes=10))
    assert isinstance(relay, ChatRelay)
    relayed = Relayed(word=word, gateway="chat", platform="teams", user=ALICE_ON_TEAMS)
    assert sshsig.verify(relay.signature, signable(relayed)).public == PUBLIC


async def test_a_button_of_a_card_in_teams_is_brought_too(desk: Desk) -> None:
    value = {**CHOICE, "answer": "deny", "reason": "no."}
    status, _ = await from_teams(desk, spoken(text="", value=value))

    (said,) = desk.brought
    assert status == 200
    assert (said.word.answer, said.word.reason) == (Answer.DENY, "no.")
    assert said.word.plan_digest == CHOICE["plan_digest"]


async def test_a_second_delivery_by_teams_is_the_same_word(desk: Desk) -> None:
    activity = spoken()

    await from_teams(desk, activity)
    await from_teams(desk, activity)
    await from_teams(desk, {**activity, "id": "1485983408512"})

    first, second, third = desk.brought
    assert first.digest == second.digest
    assert first.word.nonce != third.word.nonce


async def test_a_stranger_in_teams_speaks_under_the_platforms_id(desk: Desk) -> None:
    await from_teams(desk, spoken(**{"from": {"id": "29:1", "aadObjectId": ALICE_ON_SLACK}}))

    (said,) = desk.brought
    assert said.word.by == ALICE_ON_SLACK


async def test_a_message_that_teams_did_not_sign_is_refused(desk: Desk) -> None:
    body = json.dumps(spoken()).encode()
    altered = body.replace(b"approve", b"deny")
    reason = "it is not signed with FIREDOOR_TEAMS_SECRET"

    assert await refused(desk, "teams", body, by_teams(body, b"guessed")) == (401, reason)
    assert await refused(desk, "teams", altered, by_teams(body)) == (401, reason)
    assert await refused(desk, "teams", body, {}) == (401, reason)
    assert await refused(desk, "teams", body, {"Authorization": "HMAC ü"}) == (401, reason)
    assert await refused(desk, "teams", body, {"Authorization": "Bearer x"}) == (401, reason)


@pytest.mark.parametrize("off", [-310, 310])
async def test_a_message_of_another_time_is_refused(desk: Desk, off: int) -> None:
    body = json.dumps(spoken(datetime.now(UTC) + timedelta(seconds=off))).encode()

    assert (await refused(desk, "teams", body, by_teams(body)))[0] == 401


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"text": "<at>Firedoor</at> approve"}, "expected: approve|deny INCIDENT"),
        ({"text": "<at>Firedoor</at> approves a b c d"}, "expected: approve|deny INCIDENT"),
        ({"text": ""}, "expected: approve|deny INCIDENT"),
        ({"text": f"approve {'x' * 501} b c d"}, "a word of it is too long"),
        ({"text": f"approve a b c d {'x' * 2001}"}, "the reason is longer than"),
        ({"value": {**CHOICE, "answer": "maybe"}}, "activity: value.answer"),
        ({"value": {"answer": "approve"}}, "activity: value.incident"),
        ({"from": {"id": "29:1"}}, "activity: from.aadObjectId"),
        ({"from": None}, "activity: from"),
        ({"id": ""}, "activity: id"),
        ({"timestamp": "2026-03-01T12:00:00"}, "activity: timestamp"),
        ({"timestamp": None}, "activity: timestamp"),
    ],
)
async def test_what_is_no_answer_is_refused(
    desk: Desk, changed: dict[str, Any], reason: str
) -> None:
    body = json.dumps(spoken(**changed)).encode()

    status, said = await refused(desk, "teams", body, by_teams(body))

    assert (status, said[: len(reason)]) == (400, reason)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff"])
async def test_what_is_no_activity_is_refused(desk: Desk, body: bytes) -> None:
    assert (await refused(desk, "teams", body, by_teams(body)))[0] == 400


# The settings


def given(**changed: Any) -> Settings:
    secrets = {"slack_signing_secret": "s", "teams_secret": base64.b64encode(TEAMS_SECRET)}
    return Settings(**{"gateway": "chat", **secrets, **changed})


def test_the_settings_say_which_gateway_it_is() -> None:
    made = chat.gateway(given(), ROSTER, sign)

    assert (made.name, made.slack, made.teams) == ("chat", b"s", TEAMS_SECRET)
    assert TEAMS_SECRET.decode() not in repr(made)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (
            {"slack_signing_secret": "", "teams_secret": None},
            "settings: FIREDOOR_CHAT: needs FIREDOOR_SLACK_SIGNING_SECRET or",
        ),
        ({"gateway": None}, "FIREDOOR_GATEWAY: expected a gateway of those"),
        ({"gateway": "other"}, r"FIREDOOR_GATEWAY: other: expected .*\(chat\)"),
        ({"teams_secret": "not base64"}, "settings: FIREDOOR_TEAMS_SECRET: expected the security"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        chat.gateway(given(**changed), ROSTER, sign)


def test_a_key_that_is_not_the_gateways_is_named() -> None:
    stranger = Ed25519PrivateKey.generate()

    with pytest.raises(BadInput, match=r"FIREDOOR_GATEWAY_KEY: SHA256:.*: is no key of chat"):
        chat.gateway(given(), ROSTER, lambda message: sshsig.sign(stranger, message))


async def test_it_serves_until_it_is_stopped() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Desk(url=f"http://127.0.0.1:{port}")
    stop = asyncio.Event()
    running = asyncio.create_task(chat.run(f"127.0.0.1:{port}", GATEWAY, made.deliver, stop))
    await asyncio.sleep(0.2)

    status, _ = await from_slack(made, pressed())
    stop.set()
    await running

    assert (status, len(made.brought)) == (200, 1)
    with pytest.raises(aiohttp.ClientError):
        await from_slack(made, pressed())


@pytest.mark.parametrize("address", ["8080", "host", ":8080", "host:99999", "a:b:1", "http://x:1"])
async def test_what_is_no_address_is_named(address: str) -> None:
    with pytest.raises(BadInput, match=r"FIREDOOR_CHAT: .*expected host:port"):
        await chat.run(address, GATEWAY, Desk().deliver, asyncio.Event())


async def test_an_address_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"

        with pytest.raises(BadInput, match=f"FIREDOOR_CHAT: {address}"):
            await chat.run(address, GATEWAY, Desk().deliver, asyncio.Event())
