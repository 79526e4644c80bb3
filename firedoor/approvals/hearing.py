"""Whose word it is that an incident hears: pure, so that every replay comes to the same answer."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from firedoor.approvals import oidc, sshsig
from firedoor.approvals.sshsig import BadSignature
from firedoor.model.base import digest
from firedoor.model.pattern import fits
from firedoor.model.responder import Key, Responder, Roster
from firedoor.model.word import (
    ChatRelay,
    Decision,
    Heard,
    Means,
    OidcToken,
    Question,
    Relayed,
    Signed,
    SshSignature,
    StsRequest,
    Voucher,
    Word,
    signable,
)

SKEW = timedelta(minutes=2)
"""How far a person's clock may be ahead of the server's."""

LONGEST = timedelta(hours=24)
"""How long a word may count at most, whatever it says itself."""

MOST_WORDS = 100
"""How many words of one person that still count are heard; who says more is out of their mind,
or out of their key."""


class NotTheirs(Exception):
    """A word that is not shown to be that of whom it names; says why."""


class NobodyAsked(NotTheirs):
    """A word of which others have to tell whose it is; nothing else speaks against it so far."""


class Speaker(NamedTuple):
    """Who has spoken, and how sure that is."""

    name: str
    means: Means
    hardware: bool = False


def speaker(
    said: Signed[Any], roster: Roster, now: datetime, voucher: Voucher | None = None
) -> Speaker:
    """Return who has said a word.

    `voucher` is what others answered where a proof cannot be checked alone. Raises `NotTheirs`.
    """
    word, attestation = said.word, said.attestation
    _timely(word, now)
    person = roster.people.get(word.by)
    if person is None:
        raise NotTheirs(f"{word.by} is not a responder under this incident's policy")
    match attestation:
        case SshSignature():
            key = _signed(attestation.signature, signable(word), person.keys, word.by, now)
            return Speaker(word.by, Means.SSH, key)
        case ChatRelay():
            _relayed(word, attestation, person, roster, now)
        case OidcToken():
            _by_issuer(word, attestation, person, roster, now, _vouched(voucher))
        case StsRequest():
            _by_aws(word, person, _vouched(voucher))
    return Speaker(word.by, attestation.means)


def needs_voucher(said: Signed[Any]) -> bool:
    """Tell whether somebody else has to be asked whose word it is."""
    return isinstance(said.attestation, OidcToken | StsRequest)


def question(said: Signed[Any], roster: Roster) -> Question:
    """Return what to ask about a word of which others have to tell whose it is."""
    return Question(attestation=said.attestation, digest=digest(said.word), issuers=roster.issuers)


def require_new(word: Word, spent: Iterable[Heard]) -> None:
    """Refuse a word that was heard before, and all words of who has said too many.

    A nonce is one person's: another one cannot use it up. Raises `NotTheirs`.
    """
    theirs = [one.nonce for one in spent if one.by == word.by]
    if word.nonce in theirs:
        raise NotTheirs("it was said already: a word counts once")
    if len(theirs) >= MOST_WORDS:
        raise NotTheirs(f"{word.by} has said {len(theirs)} words here: somebody else has to speak")


def remember(spent: Iterable[Heard], word: Word, now: datetime) -> tuple[Heard, ...]:
    """Return which words must not be heard again, this one among them, without those too old."""
    kept = (one for one in spent if one.until + SKEW > now)  # clocks of workers differ, too
    return (*kept, Heard(by=word.by, nonce=word.nonce, until=_until(word)))


def _until(word: Word) -> datetime:
    return min(word.expires_at, word.at + LONGEST)


def _timely(word: Word, now: datetime) -> None:
    if word.at > now + SKEW:
        raise NotTheirs(
            f"it is dated {word.at:%Y-%m-%d %H:%M:%SZ}, and it is {now:%H:%M:%SZ}: set that clock"
        )
    if now >= (until := _until(word)):
        raise NotTheirs(f"it counted until {until:%Y-%m-%d %H:%M:%SZ} only: say it again")


def _signed(
    signature: str, message: bytes, keys: tuple[Key, ...], whose: str, now: datetime
) -> bool:
    """Require a signature by one of the keys; return whether a touch of hardware made it."""
    try:
        by = sshsig.verify(signature, message)
    except BadSignature as error:
        raise NotTheirs(f"the signature is not good: {error}") from error
    key = next((key for key in keys if key.public == by.public), None)
    if key is None:
        raise NotTheirs(f"{Key(public=by.public).fingerprint} is no key of {whose}")
    if key.valid_after is not None and now < key.valid_after:
        raise NotTheirs(f"{key.fingerprint} counts from {key.valid_after:%Y-%m-%d %H:%M:%SZ} on")
    if key.valid_before is not None and now >= key.valid_before:
        raise NotTheirs(f"{key.fingerprint} counted until {key.valid_before:%Y-%m-%d %H:%M:%SZ}")
    return by.touched


# How a platform's id of a person is found in the roster.
_IDS: dict[str, Callable[[Responder], str | None]] = {
    "slack": lambda person: person.slack,
    "teams": lambda person: person.teams,
}


def _relayed(
    word: Word, relay: ChatRelay, person: Responder, roster: Roster, now: datetime
) -> None:
    if not isinstance(word, Decision):
        raise NotTheirs("only decisions are said in chat")
    gateway = roster.gateways.get(relay.gateway)
    if gateway is None:
        raise NotTheirs(f"{relay.gateway} is not a gateway under this incident's policy")
    if _IDS[relay.platform](person) != relay.user:
        raise NotTheirs(f"{relay.user} on {relay.platform} is not {word.by}")
    relayed = Relayed.model_validate(
        {"word": word, **relay.model_dump(include={"gateway", "platform", "user"})}
    )
    _signed(relay.signature, signable(relayed), gateway.keys, relay.gateway, now)


def _by_issuer(
    word: Word,
    proof: OidcToken,
    person: Responder,
    roster: Roster,
    now: datetime,
    voucher: Voucher,
) -> None:
    """Check the token once more, with the key that the issuer has named."""
    try:
        issuer = oidc.issuer_of(proof.token, roster.issuers)
        subject = oidc.verify(proof.token, voucher.key, issuer, digest(word), now)
    except ValueError as error:
        raise NotTheirs(f"the token is not good: {error}") from error
    if not any((one.issuer, one.subject) == (issuer.issuer, subject) for one in person.oidc):
        raise NotTheirs(f"{subject} of {issuer.issuer} is not {word.by} under this policy")


def _by_aws(word: Word, person: Responder, voucher: Voucher) -> None:
    if not any(fits(pattern, voucher.identity) for pattern in person.arns):
        raise NotTheirs(f"{voucher.identity} is not {word.by} under this incident's policy")


def _vouched(voucher: Voucher | None) -> Voucher:
    if voucher is None:
        raise NobodyAsked("nobody was asked whose word it is")
    if voucher.problem:
        raise NotTheirs(voucher.problem)
    return voucher
