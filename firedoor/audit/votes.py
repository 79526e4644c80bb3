"""Every word that a history holds, with its proof checked once more; no server is asked.

What a workflow checked at the time is checked with what its own history has: the people and keys of
the first finding's policy, the clock of the task that ruled, and what an identity provider or AWS
is on record to have answered.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field
from temporalio.client import WorkflowHistory

from firedoor import allowed_signers
from firedoor.approvals import sshsig
from firedoor.approvals.hearing import NotTheirs, speaker
from firedoor.approvals.sshsig import BadSignature
from firedoor.audit._events import INCIDENT, WARDEN, Brought, Record
from firedoor.model.base import Model, UtcDatetime
from firedoor.model.responder import Gateway, Key, Responder, Roster
from firedoor.model.word import (
    ChatRelay,
    Decision,
    Instruction,
    Means,
    Ratification,
    Relayed,
    Release,
    Signed,
    SshSignature,
    Word,
    signable,
)

TAKEN = "whose key this is, only the worker that heard it knew"
UNSEEN = "what the worker was answered is not in this history"
ONCE = "AWS was asked once, and cannot be asked again"


class Spoken(Model):
    """One word of one person, and what came of it."""

    event: int = Field(description="the event that brought it; 1, if an earlier run heard it")
    at: UtcDatetime = Field(description="when it came")
    by: str = ""
    kind: str = Field(default="", description="as `decision`, `release` or `instruction`")
    step: str = Field(default="", description="none means all of the incident")
    answer: str = Field(default="", description="approve, deny, pause or resume")
    reason: str = ""
    means: str = ""
    key: str = Field(
        default="", description="fingerprint of the key, or who it was to an issuer or to AWS"
    )
    problem: str = Field(default="", description="why the proof is not good")
    doubt: str = Field(default="", description="what cannot be checked from this history alone")
    accepted: bool | None = Field(default=None, description="none, if that is not on record")
    ruling: str = Field(default="", description="why it was refused, or what it replaced")
    digest: str = Field(default="", description="of the word with its proof")
    nonce: str = ""
    signer: str = Field(default="", description="whose SSH key: the person's, or a gateway's")
    signed: str = Field(default="", description="the canonical JSON that this key signed")
    signature: str = Field(default="", description="as `ssh-keygen -Y sign` writes it")

    @property
    def breaks(self) -> bool:
        """Whether it counted, and its proof is not good."""
        return self.accepted is True and bool(self.problem)


class Hearing(Model):
    """All that was said to one run of one workflow."""

    workflow: str
    run: str
    policy: str = Field(default="", description="digest of the policy that it was pinned to")
    allowed_signers: str = Field(default="", description="the keys, as `ssh-keygen` reads them")
    words: tuple[Spoken, ...] = ()


def hear(history: WorkflowHistory, signers: Roster | None = None) -> Hearing:
    """Return every word in a history, with its proof checked again.

    `signers` have the keys to check with instead of those that the history itself pins. Raises
    `ValueError` if the history is not of a version that this code can read.
    """
    record = Record(history)
    policy = (record.opening.carried or record.opening.arrival).policy if record.opening else None
    roster = _roster(policy.roster if policy else None, signers)
    words = (_spoken(brought, record, history.workflow_id, roster) for brought in record.brought())
    return Hearing(
        workflow=history.workflow_id,
        run=record.run,
        policy=policy.digest if policy else "",
        allowed_signers="".join(_lines(roster)) if roster else "",
        words=tuple(_each_once(words)),
    )


def keys_in(text: str, file: str) -> Roster:
    """Return the keys of an `allowed_signers` file, by name.

    Raises `ValueError` with the first line that cannot be read.
    """
    entries, problems = allowed_signers.read(text, file)
    if problems:
        raise ValueError(str(problems[0]))
    keys = dict[str, tuple[Key, ...]]()
    for entry in entries:
        for name in () if entry.passed_over else entry.names:
            keys[name] = (*keys.get(name, ()), entry.key)
    return Roster(people={name: Responder(keys=held) for name, held in keys.items()})


def _roster(pinned: Roster | None, signers: Roster | None) -> Roster | None:
    """Return who could speak, with the keys to check with; a warden pins nobody."""
    if pinned is None or signers is None:
        return signers or pinned
    keys = {name: person.keys for name, person in signers.people.items()}
    people = {
        name: person.model_copy(update={"keys": keys.get(name, ())})
        for name, person in pinned.people.items()
    }
    gateways = {
        name: gateway.model_copy(update={"keys": keys.get(name, ())})
        for name, gateway in pinned.gateways.items()
    }
    return pinned.model_copy(update={"people": people, "gateways": gateways})


def _spoken(brought: Brought, record: Record, workflow: str, roster: Roster | None) -> Spoken:
    told: dict[str, Any] = {"event": brought.event, "at": brought.at}
    if brought.ruling is not None:
        told |= {"accepted": brought.ruling.accepted, "ruling": brought.ruling.reason}
    said = brought.said
    if said is None:
        return Spoken(problem="it is no signed word", **told)
    run = record.first_run if record.kind == INCIDENT else ""
    if (said.word.incident, said.word.run) != (workflow, run):
        problem, doubt = f"it was said to {said.word.incident} run {said.word.run}", ""
    elif record.kind == WARDEN and said.attestation.means is not Means.SSH:
        problem, doubt = "", UNSEEN
    else:
        problem, doubt = _checked(said, brought, roster)
    signer, signed, signature = _by_key(said)
    vouched = brought.voucher.identity if brought.voucher else ""
    return Spoken(
        **told,
        **_about(said.word),
        means=said.attestation.means,
        key=_fingerprint(signed, signature) if signature else vouched,
        problem=problem,
        doubt=doubt,
        digest=said.digest,
        signer=signer,
        signed=signed.decode(),
        signature=signature,
    )


def _checked(said: Signed[Any], brought: Brought, roster: Roster | None) -> tuple[str, str]:
    """Return why a proof is not good, and what cannot be checked here."""
    try:
        speaker(said, roster or _taken_at_its_word(said), brought.now, brought.voucher)
    except NotTheirs as why:
        return str(why), ""
    if said.attestation.means is Means.STS:
        return "", ONCE
    return "", "" if roster else TAKEN


def _about(word: Word) -> dict[str, Any]:
    """Return what a word says, in the members that are the same for all."""
    told = {"by": word.by, "kind": getattr(word, "kind", ""), "reason": word.reason}
    match word:
        case Decision() | Ratification():
            told |= {"step": word.step, "answer": word.answer}
        case Release():
            told |= {"step": ", ".join(word.steps)}
        case Instruction():
            told |= {"answer": word.order}
    return {**told, "nonce": word.nonce}


def _by_key(said: Signed[Any]) -> tuple[str, bytes, str]:
    """Return whose SSH key signed, the bytes that it signed, and the signature; or nothing."""
    word, proof = said.word, said.attestation
    match proof:
        case SshSignature():
            return word.by, signable(word), proof.signature
        case ChatRelay() if isinstance(word, Decision):
            relayed = Relayed(
                word=word, gateway=proof.gateway, platform=proof.platform, user=proof.user
            )
            return proof.gateway, signable(relayed), proof.signature
    return "", b"", ""


def _fingerprint(signed: bytes, signature: str) -> str:
    """Return the name of the key that made a signature, if that is one of these bytes."""
    try:
        return Key(public=sshsig.verify(signature, signed).public).fingerprint
    except BadSignature:
        return ""


def _taken_at_its_word(said: Signed[Any]) -> Roster:
    """Return a roster in which whoever signed is whom they name: then all else is checked."""
    _, signed, signature = _by_key(said)
    try:
        person = Responder(keys=(Key(public=sshsig.verify(signature, signed).public),))
    except BadSignature:
        person = Responder()
    return Roster(people={said.word.by: person})


def _each_once(words: Iterable[Spoken]) -> Iterator[Spoken]:
    """Yield the words, and say so of one that counted under the nonce of another of theirs."""
    spent = dict[tuple[str, str], str]()
    for one in words:
        if one.accepted and spent.setdefault((one.by, one.nonce), one.digest) != one.digest:
            yield one.model_copy(update={"problem": "another word has counted under its nonce"})
        else:
            yield one


def _lines(roster: Roster) -> Iterator[str]:
    """Yield the lines of `allowed_signers` for people and gateways.

    A name or a key that such a file cannot hold has none, so that `ssh-keygen` finds nobody.
    """
    holders: tuple[tuple[str, Responder | Gateway], ...] = (
        *roster.people.items(),
        *roster.gateways.items(),
    )
    for name, holder in holders:
        for key in holder.keys:
            ends = (("valid-after", key.valid_after), ("valid-before", key.valid_before))
            times = "".join(f',{what}="{at:%Y%m%d%H%M%SZ}"' for what, at in ends if at)
            line = f'{name} namespaces="{sshsig.NAMESPACE}"{times} {key.public}'
            entries, _ = allowed_signers.read(line, "")
            if [(entry.names, entry.key) for entry in entries] == [((name,), key)]:
                yield f"{line}\n"
