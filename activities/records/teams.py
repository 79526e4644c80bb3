"""Microsoft Teams: an Adaptive Card, posted by a workflow that waits for webhook requests.

https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
https://adaptivecards.io/explorer/
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from activities.records._post import address, post
from activities.records._words import (
    Passage,
    facts,
    headline,
    how,
    one_line,
    passages,
    shortened,
)
from firedoor.channel import Channel, Choice
from firedoor.errors import Refused
from firedoor.model.message import Addressee, Delivered, Message
from firedoor.settings import settings

WEBHOOK = "FIREDOOR_TEAMS_WEBHOOK"

LARGEST = 28 * 1024
"""Bytes that Teams takes as one message."""

LINES = (20, 10, 5, 2, 1)
LINE = 240
"""How many lines of a passage are shown, and how long each is, as space gets short."""

TITLE = 300
REASON = 1000
MENTIONS = 20
"""The longest title and reason, in characters, and how many people are called by name."""

VERSION = "1.4"
"""The newest that Teams shows everywhere, on telephones too."""

MEMBER = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def deliver(message: Message) -> Delivered:
    """Post a card, with buttons if a decision in chat would count.

    A workflow knows no repeats: where its answer was lost, the card can be there twice.
    """
    post("teams", address(settings().teams_webhook, WEBHOOK), _body(message))
    return Delivered(channel="teams", answer="accepted")


def check() -> None:
    """Raise `BadInput` unless there is the address of a workflow."""
    address(settings().teams_webhook, WEBHOOK)


CHANNEL = Channel(deliver=deliver, check=check, setting=WEBHOOK)


def _body(message: Message) -> bytes:
    """Return the message with as much of it as Teams takes; what decides is never left out."""
    for most in LINES:
        card = {
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": _card(message, most),
        }
        whole = {"type": "message", "attachments": [card]}
        body = json.dumps(whole, ensure_ascii=False).encode()
        if len(body) <= LARGEST:
            return body
    raise Refused(f"teams: what identifies the message has more than {LARGEST} bytes")


def _card(message: Message, most: int) -> dict[str, Any]:
    choice, people = Choice.of(message), _called(message)
    card: dict[str, Any] = {
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": VERSION,
        "fallbackText": shortened(headline(message), TITLE),
        "body": [
            _line(_run(shortened(headline(message), TITLE), size="Large", weight="Bolder")),
            *([_calling(people)] if people else []),
            *(line for part in passages(message) for line in _passage(part, most)),
            *(_line(_bold(f"{key}: "), _run(value)) for key, value in facts(message).items()),
            *([_line(_bold("To decide: "), _run(how(message)))] if message.how else []),
            *([_line(_bold("Or here: "), _run(_words(choice))), _reason()] if choice else []),
        ],
        "msteams": {"width": "Full", "entities": [_entity(one) for one in people]},
    }
    if choice:
        card["actions"] = [
            _button(choice, "approve", "Approve", "positive"),
            _button(choice, "deny", "Deny", "destructive"),
        ]
    return card


def _passage(part: Passage, most: int) -> Iterator[dict[str, Any]]:
    yield _line(_bold(part.heading))
    shown = part.lines if len(part.lines) <= most else part.lines[: most - 1]
    for line in shown:
        yield _line(_run(f"• {shortened(line, LINE)}"), spacing="Small")
    if rest := len(part.lines) - len(shown):
        yield _line(_run(f"… and {rest} more: see the incident"), spacing="Small")


def _line(*runs: dict[str, Any], spacing: str = "Default") -> dict[str, Any]:
    # A RichTextBlock reads no Markdown, so that a name cannot become a link.
    return {"type": "RichTextBlock", "inlines": list(runs), "spacing": spacing}


def _run(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **look}


def _bold(text: str) -> dict[str, Any]:
    return _run(text, weight="Bolder")


def _called(message: Message) -> list[Addressee]:
    known = (one for one in message.to if one.teams and MEMBER.fullmatch(one.teams))
    return list(known)[:MENTIONS]


def _calling(people: list[Addressee]) -> dict[str, Any]:
    # Only a TextBlock can mention somebody.
    text = " ".join(_at(one) for one in people)
    return {"type": "TextBlock", "text": text, "wrap": True}


def _at(one: Addressee) -> str:
    name = re.sub(r"[^\w .@-]|_", " ", one_line(one.name))
    return f"<at>{shortened(name, 60)}</at>"


def _entity(one: Addressee) -> dict[str, Any]:
    text = _at(one)
    who = {"id": one.teams, "name": text.removeprefix("<at>").removesuffix("</at>")}
    return {"type": "mention", "text": text, "mentioned": who}


def _words(choice: Choice) -> str:
    """Return how to answer in words: an outgoing webhook of Teams gets these, and no button."""
    which = f"{choice.incident} {choice.run} {choice.step} {choice.plan_digest}"
    return one_line(f"mention the webhook, then: approve {which} and your reason, or deny …")


def _reason() -> dict[str, Any]:
    return {
        "type": "Input.Text",
        "id": "reason",
        "label": "Reason",
        "isRequired": True,
        "errorMessage": "Say why; it is kept with the incident.",
        "isMultiline": True,
        "maxLength": REASON,
    }


def _button(choice: Choice, answer: str, title: str, style: str) -> dict[str, Any]:
    data = {**choice.model_dump(), "answer": answer}
    return {"type": "Action.Submit", "title": title, "style": style, "data": data}
