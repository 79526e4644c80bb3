"""What all commands share when they speak: JSON for programs, or text for people.

Names, tags and reasons can come from whoever attacks the account, so no character of them that
could act on a terminal reaches it: text is cleaned here, and JSON is plain ASCII.
"""

import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from firedoor.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

INTERRUPTED = 130  # as shells have it: 128 and the number of SIGINT
WIDE = 1000
"""How wide a line may be where there is no terminal: one row stays one line."""


def console(*, stderr: bool = False) -> "Console":
    """Return a console for people: coloured on a terminal, plain text elsewhere."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDE
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def show(renderable: "RenderableType", *, stderr: bool = False) -> None:
    """Print something for people; without a terminal, no line ends in blanks."""
    out = console(stderr=stderr)
    if out.is_terminal:
        out.print(renderable)
        return
    with out.capture() as captured:
        out.print(renderable)
    lines = [text.rstrip() for text in captured.get().rstrip().splitlines()]
    out.file.write("".join(f"{text}\n" for text in lines))
    out.file.flush()


def document(value: Any) -> None:
    """Print one JSON document: indented on a terminal, on one line elsewhere."""
    _write(json.dumps(_plain(value), indent=2 if sys.stdout.isatty() else None))


def record(value: Any) -> None:
    """Print one of several JSON documents, on a line of its own."""
    _write(json.dumps(_plain(value)))


def line(text: str) -> None:
    """Print one line for people."""
    _write(clean(text))


def complain(text: str) -> None:
    """Say something on standard error that does not end the command."""
    sys.stderr.write(f"firedoor: {one_line(text)}\n")


def one_line(text: str) -> str:
    """Return a text of any length and origin as one line that cannot act on a terminal."""
    return clean(" ".join(text.split()))


def clean(text: str) -> str:
    """Return a text in which control and direction characters are spelled out, not obeyed."""
    return "".join(c if _is_harmless(c) else _spelled(c) for c in text)


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on standard error what is being waited for, if somebody is looking."""
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(what):
        yield


def can_ask() -> bool:
    """Whether there is a person to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str) -> bool:
    """Ask a person, who says no by saying nothing."""
    with _interruptible():
        return typer.confirm(clean(question), default=False, err=True)


def need_reason(reason: str | None, *, asking: bool) -> str:
    """Return the reason that was given, or ask for it; raises `BadInput` if nobody can be asked."""
    if reason is None and asking:
        with _interruptible():
            reason = str(typer.prompt("Reason", err=True))
    if reason is None or not reason.strip():
        raise BadInput("--reason", "", "say why; it is kept with the incident")
    return reason


def need_consent(*, yes: bool, reason: str | None) -> bool:
    """Return whether to ask; raises `BadInput` without a terminal, unless all is said already."""
    if can_ask():
        return not yes
    if not yes or reason is None:
        raise BadInput("no terminal to ask on", "", "give --yes and --reason")
    return False


def _write(text: str) -> None:
    """Write a line at once, so that who reads a stream of them need not wait."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _is_harmless(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _plain(value: Any) -> Any:
    """Return a value as what JSON knows."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, dict):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, UUID | timedelta):
        return str(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [_plain(member) for member in value]
    return value


@contextmanager
def _interruptible() -> Iterator[None]:
    """End with the status of an interrupted program where a person breaks a question off."""
    try:
        yield
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
