"""PagerDuty, which wakes people up: one alert for each step that waits for them.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from activities.records._post import Address, address, post, secret
from activities.records._words import facts, headline, how, name, one_line, passages, shortened
from firedoor.channel import Channel
from firedoor.errors import BadInput
from firedoor.model.finding import Severity
from firedoor.model.message import Delivered, Message, Occasion
from firedoor.settings import settings

KEY = "FIREDOOR_PAGERDUTY_KEY"
URL = "FIREDOOR_PAGERDUTY_URL"

SUMMARY = 1024
DEDUP_KEY = 255
"""The longest that PagerDuty takes, in characters."""

SEVERITIES: Mapping[Severity, str] = {
    Severity.CRITICAL: "critical",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "info",
    Severity.INFORMATIONAL: "info",
}

ASKING = frozenset({Occasion.ASKED, Occasion.ESCALATED, Occasion.EXPIRED})
"""Of one alert: that nobody has answered is no news of another kind."""


def deliver(message: Message) -> Delivered:
    """Trigger an alert, or add to the open one about the same step.

    A repeat adds to the alert, and wakes nobody a second time.
    """
    to, key = _target()

    def explain(body: bytes) -> str:
        return _explained(body).replace(key, "…")

    answer = post("pagerduty", to, json.dumps(_event(message, key)).encode(), explain=explain)
    said = _members(answer).get("dedup_key", "")
    return Delivered(channel="pagerduty", answer=shortened(one_line(str(said)), DEDUP_KEY))


def check() -> None:
    """Raise `BadInput` unless there is a key."""
    _target()


CHANNEL = Channel(deliver=deliver, check=check, setting=KEY)


def _target() -> tuple[Address, str]:
    expected = "the integration key of Events API v2, 32 letters and digits"
    key = secret(settings().pagerduty_key, KEY, expected)
    if not re.fullmatch(r"[0-9A-Za-z]{32}", key):
        raise BadInput("settings", KEY, f"expected {expected}")
    return address(settings().pagerduty_url, URL), key


def _event(message: Message, key: str) -> dict[str, Any]:
    details: dict[str, Any] = {part.heading: list(part.lines) for part in passages(message)}
    if command := how(message):
        details["To decide"] = command
    return {
        "routing_key": key,
        "event_action": "trigger",
        "dedup_key": _dedup_key(message),
        "client": "Firedoor",
        "payload": {
            "summary": shortened(headline(message), SUMMARY),
            "source": one_line(message.subject),
            "severity": SEVERITIES[message.severity],
            "timestamp": message.at.isoformat(),
            "component": one_line(message.step) or None,
            "group": one_line(message.incident),
            "class": message.occasion.value,
            "custom_details": details | facts(message),
        },
    }


def _dedup_key(message: Message) -> str:
    # An alarm about what a step holds must not vanish in the open alert that asked for the step.
    kind = "" if message.occasion in ASKING else f" {message.occasion}"
    step = f"#{message.step}" if message.step else ""
    key = one_line(f"{message.incident}{step}{kind}")
    return key if len(key) <= DEDUP_KEY else name(key)


def _explained(body: bytes) -> str:
    errors = _members(body).get("errors")
    return shortened(one_line("; ".join(map(str, errors))), 200) if isinstance(errors, list) else ""


def _members(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
