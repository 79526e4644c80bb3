"""A message in words: the same for every channel, bounded, and with nothing in it that could act.

Names, tags and titles come from accounts that are under attack. What of them could act on whoever
reads it, such as an escape sequence or a change of the writing's direction, is spelled out here;
the markup of a service is for the channel to defuse.
"""

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from firedoor.model.message import Message

MOST = 20
"""How many plans, or things that are hit, are listed: who needs more reads the record."""

LONGEST = 600
"""How many characters one of them may have."""


class Passage(NamedTuple):
    """A part of a message with its heading."""

    heading: str
    lines: tuple[str, ...]


def headline(message: Message) -> str:
    """Return why people are told, and of what, as one line."""
    return one_line(message.title)


def passages(message: Message) -> tuple[Passage, ...]:
    """Return what a message says beyond its headline, most important first."""
    parts = (
        Passage("What to know", _paragraphs(message.text)),
        Passage("Plan", _listed(message.plans)),
        Passage("Blast radius", _listed(message.blast_radius)),
        Passage("Undo cannot bring back", _listed(message.lost)),
    )
    return tuple(
        Passage(part.heading, tuple(shortened(line, LONGEST) for line in part.lines))
        for part in parts
        if part.lines
    )


def facts(message: Message) -> dict[str, str]:
    """Return what identifies a message and bounds a decision; none of it may be left out."""
    deadline = message.deadline
    said = {
        "Incident": message.incident,
        "Step": message.step,
        "Subject": message.subject,
        "Severity": message.severity,
        "Decide until": f"{deadline:%Y-%m-%d %H:%M:%S} UTC" if deadline else "",
        "Plan digest": message.plan_digest,
    }
    return {name: one_line(value) for name, value in said.items() if value}


def how(message: Message) -> str:
    """Return the command that decides, as one line, or nothing where nothing is to be decided."""
    return one_line(message.how)


def plain(message: Message) -> str:
    """Return all of a message as plain text, for what knows no markup."""
    parts = [
        headline(message),
        *("\n  ".join((f"{part.heading}:", *part.lines)) for part in passages(message)),
        "\n".join(f"{key}: {value}" for key, value in facts(message).items()),
    ]
    if command := how(message):
        parts.append(f"To decide:\n  {command}")
    return "\n\n".join(parts) + "\n"


def name(text: str) -> str:
    """Return a name of 64 hex digits for an id that has characters which a service cannot take."""
    return hashlib.sha256(text.encode()).hexdigest()


def clean(text: str) -> str:
    """Return a text whose control and direction characters are spelled out, but for line ends."""
    lines = text.replace("\r\n", "\n").replace("\t", " ").split("\n")
    return "\n".join("".join(map(_spelled, line)) for line in lines)


def one_line(text: str) -> str:
    """Return a text as one line that cannot act."""
    return clean(" ".join(text.split()))


def shortened(text: str, longest: int) -> str:
    """Return a text with no more than so many characters; one that was cut says so."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _paragraphs(text: str) -> tuple[str, ...]:
    lines = text.splitlines()
    shown = tuple(clean(_head(line)) for line in lines[:MOST])
    return shown if len(lines) <= MOST else (*shown, "… and more: see the incident")


def _listed(sentences: Sequence[str]) -> tuple[str, ...]:
    shown = sentences if len(sentences) <= MOST else sentences[: MOST - 1]
    lines = tuple(clean(_head(" ".join(sentence.split()))) for sentence in shown)
    rest = len(sentences) - len(shown)
    return (*lines, f"… and {rest} more: see the incident") if rest else lines


def _head(line: str) -> str:
    """Return what of a line can be shown: what nobody sees need not be cleaned."""
    return line[: LONGEST + 1]


def _spelled(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
