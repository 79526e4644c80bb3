"""What somebody has said in chat, once it is certain that their platform brings it."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from firedoor.channel import Choice
from firedoor.model.word import Answer

FRESH: Final = timedelta(minutes=5)
"""How old a request may be, or how far its clock ahead: what Slack recommends against replays."""

LONGEST_REASON = 2000  # characters


class Untrusted(ValueError):
    """A request that the platform has not signed, or not lately; says why."""


class Malformed(ValueError):
    """A request of the platform that is not an answer to one of our messages; says why."""


@dataclass(frozen=True, kw_only=True)
class Pressed:
    """Somebody's answer, and where they can be told what became of it."""

    platform: Literal["slack", "teams"]
    user: str
    choice: Choice
    answer: Answer
    reason: str
    at: datetime
    nonce: str
    tell: str = ""


def nonce(*delivery: str) -> str:
    """Return the same for every delivery of the same answer, and for no other."""
    return hashlib.sha256(json.dumps(delivery).encode()).hexdigest()


def check_fresh(at: datetime, now: datetime) -> None:
    """Raise `Untrusted` for what may be a replay."""
    if abs(now - at) > FRESH:
        raise Untrusted(f"it is of {at:%Y-%m-%d %H:%M:%SZ}, and counts for {FRESH} only")


def checked_reason(reason: str | None) -> str:
    """Return a reason that is no longer than the record should hold."""
    said = (reason or "").strip()
    if len(said) > LONGEST_REASON:
        raise Malformed(f"the reason is longer than {LONGEST_REASON} characters")
    return said
