"""Slack, in Block Kit: by a bot, whose messages may have buttons, or by an incoming webhook.

https://docs.slack.dev/reference/methods/chat.postMessage
https://docs.slack.dev/reference/block-kit/blocks
"""

import html
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from activities.records._post import Address, address, post, secret
from activities.records._words import (
    Passage,
    facts,
    headline,
    how,
    one_line,
    passages,
    shortened,
)
from firedoor.channel import Busy, Channel, Choice
from firedoor.errors import BadInput, Refused
from firedoor.model.message import Delivered, Message
from firedoor.settings import settings

TOKEN = "FIREDOOR_SLACK_TOKEN"  # noqa: S105 - the name of it
ROOM = "FIREDOOR_SLACK_CHANNEL"
URL = "FIREDOOR_SLACK_URL"
WEBHOOK = "FIREDOOR_SLACK_WEBHOOK"

HEADER = 150
SECTION = 3000
FIELD = 2000
VALUE = 2000
FALLBACK = 3000
"""The longest that Slack takes, in characters; of a fallback it takes more than anybody reads."""

REASON = 1000
"""Characters of a reason."""

MENTIONS = 50
"""People who are called by name, so that a section holds them."""

MEMBER = re.compile(r"[UW][A-Z0-9]{2,20}")
ERROR = re.compile(r"[a-z_]{1,60}")

PASSING = frozenset(
    {"fatal_error", "internal_error", "ratelimited", "request_timeout", "service_unavailable"}
)
"""Errors that are Slack's own, and pass."""

MENDS: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"),
        (TOKEN, "Slack does not take it (any more)"),
    ),
    "missing_scope": (TOKEN, "the app needs the scope chat:write"),
    "channel_not_found": (ROOM, "the bot sees no such channel: expected an id, as in C012AB3CD"),
    "is_archived": (ROOM, "the channel is archived"),
    "not_in_channel": (ROOM, "invite the bot to the channel"),
}
"""Errors that a setting causes: which, and what is wrong with it."""

Sender = Callable[[Message], str]


def deliver(message: Message) -> Delivered:
    """Post the message, with buttons if a decision in chat would count.

    Slack knows no repeats: where its answer was lost, the message can be there twice.
    """
    return Delivered(channel="slack", answer=_sender()(message))


def check() -> None:
    """Raise `BadInput` unless there are a token and a channel, or the address of a webhook."""
    _sender()


CHANNEL = Channel(deliver=deliver, check=check, setting=f"{TOKEN} and {ROOM}, or {WEBHOOK}")


def _sender() -> Sender:
    given = settings()
    if given.slack_token is None and given.slack_webhook is not None:
        to = address(given.slack_webhook, WEBHOOK)
        return lambda message: _by_webhook(to, message)
    token = secret(given.slack_token, TOKEN, f"a bot token, xoxb-…; or else {WEBHOOK}")
    room = secret(given.slack_channel, ROOM, "the id of a channel, as in C012AB3CD")
    to = address(given.slack_url, URL)
    return lambda message: _by_bot(to, token, room, message)


def _by_webhook(to: Address, message: Message) -> str:
    body = json.dumps(_content(message, None)).encode()
    return _code(post("slack", to, body, explain=_code).strip())


def _by_bot(to: Address, token: str, room: str, message: Message) -> str:
    content = {"channel": room, **_content(message, Choice.of(message))}
    content |= {"unfurl_links": False, "unfurl_media": False}
    body = json.dumps(content).encode()
    answer = post("slack", to, body, {"Authorization": f"Bearer {token}"})
    try:
        said = json.loads(answer)
    except ValueError:
        raise Refused(f"slack at {to.host}: the answer is not JSON; check {URL}") from None
    if not isinstance(said, dict) or said.get("ok") is not True:
        raise _error(_code(str(said.get("error", "")).encode()) if isinstance(said, dict) else "")
    return one_line(str(said.get("ts", "")))[:40]


def _code(body: bytes) -> str:
    """Return the code that Slack answered, if it is one."""
    text = body.decode(errors="replace").strip()
    return text if ERROR.fullmatch(text) else ""


def _error(code: str) -> Busy | BadInput | Refused:
    if code in PASSING:
        return Busy(f"slack: {code}")
    if code in MENDS:
        setting, mend = MENDS[code]
        return BadInput("settings", setting, f"{mend} ({code})")
    return Refused(f"slack: {code or 'an answer without a reason'}")


def _content(message: Message, choice: Choice | None) -> dict[str, Any]:
    title = headline(message)
    return {
        "text": _escaped(title, FALLBACK),
        "blocks": [
            {"type": "header", "text": _text(title, HEADER)},
            *([_section(title)] if len(_escaped(title, SECTION)) > HEADER else []),
            *_mentions(message),
            *(_section(_titled(part)) for part in passages(message)),
            {
                "type": "section",
                "fields": [
                    _text(f"{key}\n{value}", FIELD) for key, value in facts(message).items()
                ],
            },
            *([_section(f"To decide:\n{command}")] if (command := how(message)) else []),
            *(_buttons(choice) if choice else []),
        ],
    }


def _titled(part: Passage) -> str:
    return "\n".join((part.heading, *(f"• {line}" for line in part.lines)))


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _text(text, SECTION)}


def _text(text: str, longest: int) -> dict[str, Any]:
    # Of plain text nothing is bold, a link or a mention, whatever it says.
    return {"type": "plain_text", "emoji": False, "text": _escaped(text, longest)}


def _escaped(text: str, longest: int) -> str:
    """Escape what Slack itself reads in text, and cut it without cutting an escape apart."""
    kept = shortened(text, longest)
    while len(escaped := html.escape(kept, quote=False)) > longest:
        kept = shortened(kept, len(kept) - max(1, (len(escaped) - longest) // 5))
    return escaped


def _mentions(message: Message) -> list[dict[str, Any]]:
    ids = [one.slack for one in message.to if one.slack and MEMBER.fullmatch(one.slack)]
    if not ids:
        return []
    called = " ".join(f"<@{id}>" for id in ids[:MENTIONS])
    return [{"type": "section", "text": {"type": "mrkdwn", "text": called}}]


def _buttons(choice: Choice) -> list[dict[str, Any]]:
    value = json.dumps(choice.model_dump(), separators=(",", ":"))
    if len(value) > VALUE:
        return []  # the command is there
    field = {"type": "plain_text_input", "action_id": "reason", "max_length": REASON}
    return [
        {
            "type": "input",
            "block_id": "reason",
            "label": {"type": "plain_text", "text": "Reason"},
            "element": field,
        },
        {
            "type": "actions",
            "block_id": "decision",
            "elements": [
                _button("approve", "Approve", "primary", value),
                _button("deny", "Deny", "danger", value),
            ],
        },
    ]


def _button(action: str, label: str, style: str, value: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": label}
    return {
        "type": "button",
        "action_id": action,
        "text": text,
        "style": style,
        "value": value,
    }
