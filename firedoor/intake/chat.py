"""Chat as a way in for decisions: what people answer in Slack and Teams, brought to incidents.

A gateway, nothing more: it makes sure that the platform says who answered, and signs with a key of
its own that it was so. Whether the answer counts is for the incident to decide, under its policy.
"""

import asyncio
import html
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import structlog
from aiohttp import web

from firedoor.approvals import sshsig
from firedoor.errors import BadInput, FiredoorError
from firedoor.intake import _slack, _teams
from firedoor.intake._pressed import Malformed, Pressed, Untrusted
from firedoor.model.responder import Key, Roster
from firedoor.model.word import ChatRelay, Decision, Relayed, Signed, signable, signed_by
from firedoor.settings import Settings

COUNTS_FOR: Final = timedelta(minutes=10)
"""For how long an answer counts: long enough to be brought, too short to be kept."""

LARGEST: Final = 1 << 20  # bytes; Slack sends the whole message along
PATIENCE: Final = 2.0  # seconds to deliver: Slack gives up after three, Teams after five
TO_READ: Final = 5.0  # seconds for a request to arrive
TO_TELL: Final = aiohttp.ClientTimeout(total=10)
HOOKS: Final = ("https://hooks.slack.com/", "https://hooks.slack-gov.com/")
"""Where Slack wants to be told what became of a press, and nowhere else does it come from us."""

log = structlog.get_logger()

Sign = Callable[[bytes], str]
"""Signs a message with the gateway's SSH key; returns armoured text."""

Deliver = Callable[[Signed[Decision]], Awaitable[object]]
"""Returns when the incident has the word; raises if not. May be called twice for one word."""

Read = Callable[[Mapping[str, str], bytes, bytes, datetime], Pressed]


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """Who brings the answers, and by what it knows the platforms and the people."""

    name: str
    sign: Sign
    roster: Roster
    slack: bytes | None = field(default=None, repr=False)
    teams: bytes | None = field(default=None, repr=False)
    hooks: tuple[str, ...] = HOOKS


def gateway(given: Settings, roster: Roster, sign: Sign) -> Gateway:
    """Return the gateway that the settings speak of.

    Raises `BadInput` if they know no platform, or the roster does not know the gateway or its key.
    """
    slack, teams = given.slack_signing_secret, given.teams_secret
    if not slack and not teams:
        either = "FIREDOOR_SLACK_SIGNING_SECRET or FIREDOOR_TEAMS_SECRET"
        raise BadInput("settings", "FIREDOOR_CHAT", f"needs {either}")
    known = roster.gateways.get(given.gateway or "")
    if given.gateway is None or known is None:
        named = ", ".join(roster.gateways) or "none"
        expected = f"expected a gateway of those who may decide ({named})"
        raise BadInput("FIREDOOR_GATEWAY", given.gateway or "", expected)
    public = sshsig.verify(sign(b"probe"), b"probe").public
    if all(key.public != public for key in known.keys):
        mend = f"is no key of {given.gateway} in allowed_signers"
        raise BadInput("FIREDOOR_GATEWAY_KEY", Key(public=public).fingerprint, mend)
    return Gateway(
        name=given.gateway,
        sign=sign,
        roster=roster,
        slack=slack.get_secret_value().encode() if slack else None,
        teams=_teams.key(teams.get_secret_value()) if teams else None,
    )


async def run(address: str, gateway: Gateway, deliver: Deliver, stop: asyncio.Event) -> None:
    """Bring answers from chat until `stop` is set.

    Raises `BadInput` if the address, host:port, is none, or taken.
    """
    host, port = _host_and_port(address)
    runner = web.AppRunner(application(gateway, deliver), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise BadInput("FIREDOOR_CHAT", address, str(error)) from error
        log.info("chat.opened", address=address)
        await stop.wait()
    finally:
        await runner.cleanup()
    log.info("chat.left", address=address)


def application(gateway: Gateway, deliver: Deliver) -> web.Application:
    """Return what serves `/slack` and `/teams`, as far as there is a secret for them."""
    desk = _Desk(gateway, deliver)
    app = web.Application(client_max_size=LARGEST)
    app.router.add_post("/slack", desk.slack)
    app.router.add_post("/teams", desk.teams)
    app.on_cleanup.append(desk.finish)
    return app


def said(pressed: Pressed, gateway: Gateway) -> Signed[Decision]:
    """Return an answer as the word of whoever gave it, with the gateway's signature.

    Somebody whom the roster does not know speaks under the platform's id, and is refused for it.
    """
    word = Decision(
        **pressed.choice.model_dump(),
        by=_name(pressed, gateway.roster),
        answer=pressed.answer,
        reason=pressed.reason,
        at=pressed.at,
        expires_at=pressed.at + COUNTS_FOR,
        nonce=pressed.nonce,
    )
    relayed = Relayed(word=word, gateway=gateway.name, platform=pressed.platform, user=pressed.user)
    proof = ChatRelay(
        gateway=gateway.name,
        platform=pressed.platform,
        user=pressed.user,
        signature=gateway.sign(signable(relayed)),
    )
    return signed_by(word, proof)


class _Desk:
    """Takes requests, and remembers whom it still has to tell."""

    def __init__(self, gateway: Gateway, deliver: Deliver) -> None:
        self._gateway = gateway
        self._deliver = deliver
        self._telling: set[asyncio.Task[None]] = set()

    async def slack(self, request: web.Request) -> web.Response:
        """Answer Slack, and the person as Slack wants it: by an address that is good for that."""
        status, text, pressed = await self._taken(request, _slack.read, self._gateway.slack)
        told = {"response_type": "ephemeral", "replace_original": False, "text": text}
        if pressed and pressed.tell.startswith(self._gateway.hooks):
            task = asyncio.create_task(_tell(pressed.tell, told))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        return web.json_response(told, status=status)

    async def teams(self, request: web.Request) -> web.Response:
        """Answer Teams with a message, which it shows below the person's own."""
        status, text, _ = await self._taken(request, _teams.read, self._gateway.teams)
        return web.json_response({"type": "message", "text": text}, status=status)

    async def finish(self, _: web.Application) -> None:
        """Tell those who are still to be told."""
        await asyncio.gather(*self._telling)

    async def _taken(
        self, request: web.Request, read: Read, secret: bytes | None
    ) -> tuple[int, str, Pressed | None]:
        """Bring what a request says, and return the status and what to tell whom."""
        if not secret:
            raise web.HTTPNotFound
        try:
            async with asyncio.timeout(TO_READ):
                body = await request.read()
            pressed = read(request.headers, body, secret, datetime.now(UTC))
        except web.HTTPRequestEntityTooLarge:
            return self._refused(request, 413, f"it is longer than {LARGEST} bytes")
        except TimeoutError:
            return self._refused(request, 408, "it did not arrive in time")
        except Untrusted as reason:
            return self._refused(request, 401, str(reason))
        except Malformed as reason:
            return self._refused(request, 400, str(reason))
        return *await self._brought(pressed), pressed

    def _refused(self, request: web.Request, status: int, reason: str) -> tuple[int, str, None]:
        log.warning("chat.refused", platform=request.path[1:], status=status, reason=reason)
        return status, f"Refused: {reason}.", None

    async def _brought(self, pressed: Pressed) -> tuple[int, str]:
        choice = pressed.choice
        what = {"incident": choice.incident, "step": choice.step, "user": pressed.user}
        show = f"`firedoor show {html.escape(choice.incident, quote=False)}`"
        try:
            async with asyncio.timeout(PATIENCE):
                await self._deliver(said(pressed, self._gateway))
        except Exception as error:  # whatever it was, the person must not believe it arrived
            known = isinstance(error, FiredoorError | TimeoutError)
            reason = str(error) or type(error).__name__
            log.error("chat.not_brought", **what, error=reason, exc_info=not known)
            return 503, f"This may not have arrived. Look with {show}, or decide with the command."
        log.info("chat.brought", **what)
        return 200, f"Brought: {pressed.answer}. See {show} for the ruling."


async def _tell(url: str, told: Mapping[str, object]) -> None:
    parts = urlsplit(url)
    # aiohttp could look itself, but would look for logins in ~/.netrc too, and send them along.
    proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    try:
        async with (
            aiohttp.ClientSession(timeout=TO_TELL) as session,
            session.post(url, json=told, proxy=proxy, allow_redirects=False) as answer,
        ):
            problem = "" if answer.ok else f"HTTP {answer.status}"
    except (aiohttp.ClientError, TimeoutError) as error:
        problem = type(error).__name__  # its text may hold the address, which is a secret
    if problem:
        log.warning("chat.not_told", error=problem)


def _name(pressed: Pressed, roster: Roster) -> str:
    """Return who has this id on the platform; one that two people have is nobody's."""
    names = [
        name
        for name, person in roster.people.items()
        if pressed.user == (person.slack if pressed.platform == "slack" else person.teams)
    ]
    return names[0] if len(names) == 1 else pressed.user


def _host_and_port(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:]+)\]|([^:/\s]+)):([0-9]{1,5})", address)
    if found is None or int(found[3]) > 65535:
        raise BadInput("FIREDOOR_CHAT", address, "expected host:port, as in 127.0.0.1:8321")
    return found[1] or found[2], int(found[3])
