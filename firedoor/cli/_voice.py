"""A responder's word: what is said at this terminal, with the proof of whose it is."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from firedoor.cli._keys import signed, signing_key
from firedoor.cli.output import progress
from firedoor.errors import BadInput
from firedoor.model.base import digest
from firedoor.model.incident import Incident
from firedoor.model.responder import Roster
from firedoor.model.word import (
    Attestation,
    Means,
    OidcToken,
    Signed,
    SshSignature,
    Word,
    signable,
    signed_by,
)
from firedoor.settings import settings

W = TypeVar("W", bound=Word)

SHORT = "expected a few words, without characters that could act on a terminal"
SAID = {"reason": ("--reason", SHORT), "by": ("FIREDOOR_RESPONDER", SHORT)}
"""Where what is said comes from, and what it has to be."""

COUNTS_FOR = timedelta(minutes=10)
"""For how long a word can be brought: long enough for a slow server, too short to be kept."""

Proof = Annotated[
    Means,
    typer.Option("--proof", help="How to prove who you are: ssh, oidc or sts.", show_default=True),
]


def word(kind: type[W], incident: Incident, reason: str, **members: Any) -> W:
    """Return what whoever sits here says to an incident.

    Raises `BadInput` if it cannot be said, for one because the reason is a novel.
    """
    return made(kind, incident.id, incident.run, reason, **members)


def made(kind: type[W], incident: str, run: str, reason: str, **members: Any) -> W:
    """Return a word of now, of whoever sits here."""
    now = datetime.now(UTC)
    values = {
        "incident": incident,
        "run": run,
        "by": settings().responder,
        "reason": reason,
        "at": now,
        "expires_at": now + COUNTS_FOR,
        "nonce": secrets.token_hex(16),
    }
    try:
        return kind.model_validate(values | members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where, expected = SAID.get(str(first["loc"][0]), (f"--{first['loc'][0]}", first["msg"]))
        raise BadInput(where, "", expected) from error


def say(said: W, roster: Roster, proof: Means = Means.SSH, *, hardware: bool = False) -> Signed[W]:
    """Return a word with the proof of whose it is.

    Raises `BadInput` if this terminal cannot give one; nothing has been sent then.
    """
    attestation = _attestation(said, roster, proof, hardware=hardware)
    return signed_by(said, attestation)


def _attestation(said: Word, roster: Roster, proof: Means, *, hardware: bool) -> Attestation:
    match proof:
        case Means.SSH:
            return _signature(said, roster, hardware=hardware)
        case Means.OIDC:
            from firedoor.approvals import identity_provider

            with progress("waiting for a token of the identity provider"):
                return OidcToken(
                    token=identity_provider.obtain(settings().oidc_command, digest(said))
                )
        case Means.STS:
            import boto3

            from firedoor.approvals import sts

            session = boto3.Session()
            return sts.make(session, session.region_name or "us-east-1", digest(said))
        case Means.CHAT:
            raise BadInput("--proof", "chat", "expected ssh, oidc or sts: chat has its own buttons")


def _signature(said: Word, roster: Roster, *, hardware: bool) -> SshSignature:
    person = roster.people.get(said.by)
    if person is None:
        known = ", ".join(roster.people) or "nobody"
        raise BadInput(
            "FIREDOOR_RESPONDER", said.by, f"is not among those who may decide here: {known}"
        )
    key = signing_key(person.keys, hardware=hardware)
    return SshSignature(signature=signed(key, signable(said)))
