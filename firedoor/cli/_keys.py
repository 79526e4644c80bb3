"""The key that this terminal signs with, and the waiting for somebody to touch it."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import typer

from firedoor import signing
from firedoor.approvals.lint import counts
from firedoor.cli.output import INTERRUPTED, can_ask, clean, progress
from firedoor.model.responder import Key
from firedoor.settings import settings
from firedoor.signing import SigningKey


def signing_key(keys: Iterable[Key], *, hardware: bool = False) -> SigningKey:
    """Return the private half of one of a responder's keys, as the settings or their agent say.

    Keys that do not count now are passed over while there are others. Asks for a passphrase, on a
    terminal only. Raises `BadInput` with what to do.
    """
    registered, now = tuple(keys), datetime.now(UTC)
    return signing.find(
        tuple(key for key in registered if counts(key, now)) or registered,
        settings().key,
        hardware=hardware,
        passphrase=_passphrase if can_ask() else None,
        places=(settings().data / "key",),  # which `firedoor up` has made
    )


def signed(key: SigningKey, message: bytes) -> str:
    """Return a signature over a message, and say so if somebody has to touch the key for it."""
    if not key.is_hardware:
        return key.sign(message)
    with progress("touch your security key"):
        return key.sign(message)


def _passphrase(file: Path) -> str:
    try:
        return str(typer.prompt(clean(f"Passphrase of {file}"), hide_input=True, err=True))
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
