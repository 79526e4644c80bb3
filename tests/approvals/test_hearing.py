"""Whose word it is: what is theirs is heard, and whatever an attacker could bring is not."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import OKPAlgorithm
from pydantic import ValidationError

from firedoor.approvals import sshsig
from firedoor.approvals.hearing import (
    LONGEST,
    MOST_WORDS,
    SKEW,
    NobodyAsked,
    NotTheirs,
    Speaker,
    remember,
    require_new,
    speaker,
)
from firedoor.lab.security_keys import security_key
from firedoor.model.base import digest
from firedoor.model.responder import Gateway, Issuer, Key, Responder, Roster, Subject
from firedoor.model.word import (
    Answer,
    ChatRelay,
    Close,
    Decision,
    Heard,
    Instruction,
    Means,
    OidcToken,
    Ratification,
    Relayed,
    Release,
    Signed,
    SshSignature,
    StsRequest,
    Voucher,
    signable,
    signed_by,
)
from firedoor.testing import NOW, key_of, private_key, responder, roster, signed

MINUTE = timedelta(minutes=1)
ISSUER = Issuer(issuer="https://id.example.com", audience="firedoor")
PROVIDER = Ed25519PrivateKey.generate()
ARN = "arn:aws:sts::123456789012:assumed-role/Responder/alice"
HARD = security_key()
PEOPLE = Roster(
    people={
        "alice": responder(
            "alice",
            slack="U012ALICE",
            teams="0f0f",
            arns=(ARN,),
            oidc=(Subject(issuer=ISSUER.issuer, subject="alice@idp"),),
        ),
        "bob": responder("bob", slack="U012BOB"),
    },
    gateways={"chat": Gateway(keys=(key_of("the gateway"),))},
    issuers=(ISSUER,),
)


def word(kind: type[Any] = Decision, **members: object) -> Any:
    about: dict[type[Any], dict[str, object]] = {
        Decision: {"step": "door", "plan_digest": "a" * 64, "answer": Answer.APPROVE},
        Ratification: {"step": "door", "plan_digest": "a" * 64, "answer": Answer.APPROVE},
        Instruction: {"order": "pause"},
    }
    values: dict[str, object] = {
        "incident": "incident/x",
        "run": "r",
        "by": "alice",
        "reason": "seen it",
        "at": NOW,
        "expires_at": NOW + 10 * MINUTE,
        "nonce": "1",
        **about.get(kind, {}),
        **members,
    }
    return kind.model_validate(values)


def hear(
    said: Signed[Any], people: Roster = PEOPLE, now: datetime = NOW, voucher: Voucher | None = None
) -> Speaker:
    return speaker(said, people, now, voucher)


def refusal(said: Signed[Any], *more: Any, **named: Any) -> str:
    with pytest.raises(NotTheirs) as caught:
        hear(said, *more, **named)
    return str(caught.value)


def with_signature_of(said: Signed[Any], other: Any) -> Signed[Any]:
    """Return another word under the signature of the first."""
    return signed_by(other, said.attestation)


def test_word_that_the_person_has_signed_is_theirs() -> None:
    assert hear(signed(word())) == Speaker("alice", Means.SSH, hardware=False)


@pytest.mark.parametrize("altered", [
    {"incident": "incident/y"}, {"run": "r2"}, {"step": "window"}, {"plan_digest": "b" * 64},
    {"answer": Answer.DENY}, {"reason": "seen that"}, {"nonce": "2"}, {"by": "bob"},
    {"at": NOW - MINUTE}, {"expires_at": NOW + 11 * MINUTE},
])  # fmt: skip
def test_signature_is_for_every_member_of_the_word(altered: dict[str, Any]) -> None:
    said = signed(word())
    changed = with_signature_of(said, said.word.model_copy(update=altered))

    assert refusal(changed) == (
        "the signature is not good: it is not the signature of this message by its key"
    )


@pytest.mark.parametrize("kind", [Ratification, Release, Close])
def test_signature_of_one_kind_of_word_is_none_of_another(kind: type[Any]) -> None:
    assert "not the signature of this" in refusal(with_signature_of(signed(word()), word(kind)))
    assert "not the signature of this" in refusal(with_signature_of(signed(word(kind)), word()))


def test_name_of_one_under_the_key_of_another_is_refused() -> None:
    said = signed(word(), "mallory")

    assert refusal(said) == f"{key_of('mallory').fingerprint} is no key of alice"
    assert refusal(signed(word(), "bob")) == f"{key_of('bob').fingerprint} is no key of alice"


def test_stranger_is_no_responder_even_with_a_good_signature() -> None:
    assert refusal(signed(word(by="mallory"))) == (
        "mallory is not a responder under this incident's policy"
    )


def test_gateway_is_nobody_by_itself() -> None:
    assert "is no key of alice" in refusal(signed(word(), "the gateway"))
    assert "not a responder" in refusal(signed(word(by="chat"), "the gateway"))


def test_signature_for_git_is_none_for_us(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sshsig, "NAMESPACE", "git")
        for_git = signed(word())

    assert refusal(for_git) == (
        "the signature is not good: it was made for 'git', not for firedoor"
    )


def test_word_that_is_dated_ahead_is_refused_but_for_a_little_skew() -> None:
    assert hear(signed(word(at=NOW + SKEW)))
    ahead = signed(word(at=NOW + SKEW + timedelta(seconds=1)))

    assert refusal(ahead).endswith("and it is 12:00:00Z: set that clock")


def test_word_counts_until_it_expires_and_not_at_that_time() -> None:
    said = signed(word())

    assert hear(said, now=NOW + 10 * MINUTE - timedelta(microseconds=1))
    assert refusal(said, now=NOW + 10 * MINUTE) == (
        "it counted until 2026-01-01 12:10:00Z only: say it again"
    )


def test_expiry_in_a_year_is_one_tomorrow() -> None:
    said = signed(word(expires_at=NOW + timedelta(days=365)))

    assert hear(said, now=NOW + LONGEST - MINUTE)
    assert refusal(said, now=NOW + LONGEST) == (
        "it counted until 2026-01-02 12:00:00Z only: say it again"
    )


def test_revoked_key_does_not_count_and_the_other_one_does() -> None:
    gone, kept = key_of("alice", valid_before=NOW), key_of("alice's other")
    people = roster(alice=Responder(keys=(gone, kept)))

    assert hear(signed(word()), people, NOW - MINUTE)
    assert refusal(signed(word()), people) == (
        f"{gone.fingerprint} counted until 2026-01-01 12:00:00Z"
    )
    assert hear(signed(word(), "alice's other"), people)


def test_key_counts_from_its_first_day_on() -> None:
    people = roster(alice=Responder(keys=(key_of("alice", valid_after=NOW),)))

    assert hear(signed(word()), people)
    assert "counts from 2026-01-01 12:00:00Z on" in refusal(
        signed(word(at=NOW - MINUTE)), people, NOW - MINUTE
    )


def test_date_of_the_word_does_not_revive_a_revoked_key() -> None:
    people = roster(alice=Responder(keys=(key_of("alice", valid_before=NOW),)))
    dated_back = signed(word(at=NOW - 5 * MINUTE, expires_at=NOW + MINUTE))

    assert "counted until" in refusal(dated_back, people)


def test_only_a_security_key_that_was_touched_is_known_as_such() -> None:
    key = sshsig.verify(HARD.sign(b""), b"").public
    people = roster(alice=Responder(keys=(Key(public=key),)))
    message = signable(word())

    assert hear(signed_by(word(), SshSignature(signature=HARD.sign(message))), people).hardware
    untouched = signed_by(word(), SshSignature(signature=HARD.sign(message, flags=0)))
    assert not hear(untouched, people).hardware


# Chat


def relayed(
    said: Any, user: str, key: str = "the gateway", about: Any = None, **members: str
) -> Signed[Any]:
    """Return a word that a gateway brings; `about` is what it has signed, if that is different."""
    values: dict[str, str] = {"gateway": "chat", "platform": "slack", "user": user, **members}
    content = about or Relayed.model_validate({"word": said, **values})
    signature = sshsig.sign(private_key(key), signable(content))
    return signed_by(said, ChatRelay.model_validate({**values, "signature": signature}))


def test_gateway_brings_the_word_of_whom_it_knows() -> None:
    assert hear(relayed(word(), "U012ALICE")) == Speaker("alice", Means.CHAT)
    assert hear(relayed(word(), "0f0f", platform="teams")) == Speaker("alice", Means.CHAT)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (relayed(word(), "U012BOB"), "U012BOB on slack is not alice"),
        (relayed(word(), "U012ALICE", platform="teams"), "U012ALICE on teams is not alice"),
        (relayed(word(by="bob"), "None", platform="teams"), "None on teams is not bob"),
        (relayed(word(), "U012ALICE", key="alice"), "is no key of chat"),
        (relayed(word(), "U012ALICE", key="mallory"), "is no key of chat"),
        (relayed(word(), "U012ALICE", gateway="else"), "else is not a gateway"),
    ],
    ids=["another's id", "other platform", "no id", "a person's key", "a stranger's key", "gate"],
)
def test_relay_that_is_not_as_mapped_is_refused(said: Signed[Any], why: str) -> None:
    assert why in refusal(said)


def test_relay_of_one_persons_word_is_none_of_another_persons() -> None:
    of_bob = Relayed(word=word(by="bob"), gateway="chat", platform="slack", user="U012BOB")

    assert "not the signature of this" in refusal(relayed(word(), "U012ALICE", about=of_bob))


def test_relay_and_signature_are_not_each_other() -> None:
    relay: Any = relayed(word(), "U012ALICE").attestation
    own: Any = signed(word(), "the gateway").attestation
    as_ssh = signed_by(word(), SshSignature(signature=relay.signature))
    as_chat = relay.model_copy(update={"signature": own.signature})

    assert "not the signature of this" in refusal(as_ssh)
    assert "not the signature of this" in refusal(signed_by(word(), as_chat))


@pytest.mark.parametrize("kind", [Ratification, Release, Close, Instruction])
def test_only_decisions_are_said_in_chat(kind: type[Any]) -> None:
    said = signed_by(word(kind), relayed(word(), "U012ALICE").attestation)

    assert refusal(said) == "only decisions are said in chat"


# Those who vouch


def by_token(said: Any, *, nonce: str = "", sub: str = "alice@idp") -> Signed[Any]:
    at = NOW.timestamp()
    claims = {
        "iss": ISSUER.issuer, "aud": ISSUER.audience, "sub": sub, "nonce": nonce or digest(said),
        "iat": at, "exp": at + 300,
    }  # fmt: skip
    token = jwt.encode(claims, PROVIDER, "EdDSA", {"kid": "1"})
    return signed_by(said, OidcToken(token=token))


def jwk(key: Ed25519PrivateKey = PROVIDER) -> str:
    public = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    public.pop("key_ops", None)
    return json.dumps({**public, "kid": "1", "use": "sig"})


def by_aws(said: Any) -> Signed[Any]:
    return signed_by(said, StsRequest(url="https://sts.us-east-1.amazonaws.com/", headers={}))


def test_token_for_this_word_counts_with_the_issuers_key() -> None:
    assert hear(by_token(word()), voucher=Voucher(identity="x", key=jwk())) == Speaker(
        "alice", Means.OIDC
    )


def test_token_is_checked_again_whatever_the_voucher_says() -> None:
    other = Voucher(identity="alice@idp", key=jwk(Ed25519PrivateKey.generate()))
    good = Voucher(identity="alice@idp", key=jwk())

    assert "not signed with the issuer's key" in refusal(by_token(word()), voucher=other)
    assert "another word" in refusal(by_token(word(), nonce="0" * 64), voucher=good)
    assert "is not alice" in refusal(by_token(word(), sub="bob@idp"), voucher=good)
    assert "is not bob" in refusal(by_token(word(by="bob")), voucher=good)


def test_caller_that_aws_names_has_to_be_the_persons() -> None:
    assert hear(by_aws(word()), voucher=Voucher(identity=ARN)) == Speaker("alice", Means.STS)
    other = Voucher(identity=ARN.replace("alice", "bob"))
    assert "is not alice" in refusal(by_aws(word()), voucher=other)
    assert "is not bob" in refusal(by_aws(word(by="bob")), voucher=Voucher(identity=ARN))


@pytest.mark.parametrize("said", [by_token(word()), by_aws(word())], ids=["oidc", "sts"])
def test_nobody_vouches_unless_asked(said: Signed[Any]) -> None:
    with pytest.raises(NobodyAsked):
        hear(said)
    assert refusal(said, voucher=Voucher(problem="they are silent")) == "they are silent"


def test_voucher_is_no_help_to_a_signature() -> None:
    assert "is no key of alice" in refusal(signed(word(), "mallory"), voucher=Voucher(identity=ARN))


# Once


def heard(words: Iterable[Any]) -> tuple[Heard, ...]:
    spent: tuple[Heard, ...] = ()
    for one in words:
        spent = remember(spent, one, NOW)
    return spent


def test_word_is_new_once() -> None:
    require_new(word(), ())
    with pytest.raises(NotTheirs, match="a word counts once"):
        require_new(word(reason="another one"), heard([word()]))


def test_nobody_uses_up_the_nonce_of_another() -> None:
    require_new(word(by="alice"), heard([word(by="bob")]))


def test_words_are_kept_in_mind_until_no_repeat_of_them_counts() -> None:
    short, long = word(nonce="s"), word(nonce="l", expires_at=NOW + timedelta(days=365))

    for later in (10 * MINUTE, LONGEST, LONGEST + 2 * SKEW):
        kept = {one.nonce for one in remember(heard([short, long]), word(nonce="n"), NOW + later)}
        for said in (short, long):
            with_proof = signed(said)
            if said.nonce not in kept:
                assert "it counted until" in refusal(with_proof, now=NOW + later)
    assert kept == {"n"}


def test_who_says_too_much_is_not_heard_and_stops_nobody_else() -> None:
    spent = heard(word(nonce=str(n)) for n in range(MOST_WORDS))

    with pytest.raises(NotTheirs, match="somebody else has to speak"):
        require_new(word(nonce="new"), spent)
    require_new(word(by="bob", nonce="new"), spent)


# What is no word at all


@pytest.mark.parametrize(
    "members",
    [
        {"reason": "x" * 2001},
        {"reason": "\x1b[2J"},
        {"reason": "approve \u202eton"},
        {"by": "alice\n"},
        {"by": "a" * 1001},
        {"nonce": "n" * 65},
        {"at": "2026-01-01T12:00:00"},
        {"at": "0001-01-01T00:00:00+23:59"},
        {"expires_at": "9999-12-31T23:59:59-23:59"},
    ],
    ids=str,
)
def test_what_could_do_harm_by_being_said_is_no_word(members: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        word(**members)


def test_reason_may_have_lines_and_any_script() -> None:
    assert hear(signed(word(reason="Gesehen: 見た\n\tund geprüft ✓")))


def test_number_that_canonical_json_cannot_say_is_no_word() -> None:
    with pytest.raises(ValidationError):
        word(Instruction, beyond=2**60)


TEXT = st.text(max_size=40)
OTHER = word(nonce="of another word")
PROOFS = st.one_of(
    st.builds(SshSignature, signature=TEXT),
    st.builds(OidcToken, token=TEXT),
    st.just(StsRequest(url="https://x/", headers={"a": "b"})),
    st.sampled_from([said.attestation for said in (relayed(OTHER, "U012ALICE"), signed(OTHER))]),
    st.builds(OidcToken, token=st.just(by_token(OTHER).attestation.token)),  # type: ignore[union-attr]
)


@given(
    kind=st.sampled_from([Decision, Ratification, Release, Close, Instruction]),
    proof=PROOFS,
    by=st.sampled_from(["alice", "bob", "mallory", ""]),
    at=st.one_of(st.just(NOW), st.datetimes(timezones=st.just(NOW.tzinfo))),
    voucher=st.one_of(st.none(), st.builds(Voucher, identity=TEXT, key=st.just(jwk()) | TEXT)),
)
def test_anything_that_is_a_word_is_somebodys_or_not_and_nothing_else(
    kind: type[Any], proof: Any, by: str, at: datetime, voucher: Voucher | None
) -> None:
    said = signed_by(word(kind, by=by, at=at, expires_at=max(at, NOW + MINUTE)), proof)

    # Any other error would stop the incident for good, as every replay would meet it again.
    with pytest.raises(NotTheirs):
        hear(said, voucher=voucher)
