"""What a person says to an incident: for one run of it, for a while, and never without a proof.

A word is canonical JSON (RFC 8785), and the proof is bound to exactly these bytes. It is what
`ssh-keygen -Y verify` checks, so that neither Firedoor nor a server is needed to check it.
All members are short, and none can act on a terminal: strangers can send words, too.
"""

from enum import StrEnum
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints

from firedoor.model.base import Model, UtcDatetime, canonical, digest
from firedoor.model.responder import Issuer

# Control characters act on terminals, and those that turn the direction of writing hide what is
# said.
_HIDDEN = r"\x7f-\x9f\u202a-\u202e\u2066-\u2069"
Line = Annotated[str, StringConstraints(max_length=1000, pattern=rf"^[^\x00-\x1f{_HIDDEN}]*$")]
Lines = Annotated[
    str, StringConstraints(max_length=2000, pattern=rf"^[^\x00-\x08\x0b-\x1f{_HIDDEN}]*$")
]
Armoured = Annotated[str, StringConstraints(max_length=16_384)]


class Answer(StrEnum):
    """Yes or no."""

    APPROVE = "approve"
    DENY = "deny"


class Word(Model):
    """What all words have."""

    incident: Line
    run: Line = Field(description="the incident's first run id: an id is used again, a run is not")
    by: Line
    reason: Lines
    at: UtcDatetime
    expires_at: UtcDatetime = Field(description="after it the word counts no longer")
    nonce: Annotated[Line, StringConstraints(max_length=64)] = Field(
        description="makes the word unique; a repeat of it is the same word"
    )


class Decision(Word):
    """A yes or no to the plans of one step, before they are carried out."""

    kind: Literal["decision"] = "decision"
    step: Line
    plan_digest: Line = Field(description="the digest of the proposal that was shown")
    answer: Answer


class Ratification(Word):
    """A yes or no to what was done under standing authority, afterwards."""

    kind: Literal["ratification"] = "ratification"
    step: Line
    plan_digest: Line = Field(description="the digest of the proposal that was carried out")
    answer: Answer


class Release(Word):
    """Containments are to be let go."""

    kind: Literal["release"] = "release"
    steps: tuple[Line, ...] = Field(default=(), max_length=1000, description="keys; none means all")


class Close(Word):
    """The incident is to end."""

    kind: Literal["close"] = "close"


class Order(StrEnum):
    """What becomes of all changes."""

    PAUSE = "pause"
    RESUME = "resume"


class Instruction(Word):
    """All changes are to stop, or may go on; said to the warden, which has no runs."""

    kind: Literal["instruction"] = "instruction"
    order: Order
    beyond: int = Field(
        default=0, ge=0, le=10_000, description="containments above the limits to let through"
    )


class Heard(Model):
    """A word that was heard: none that the same person says may have its nonce again."""

    by: str
    nonce: str
    until: UtcDatetime = Field(description="when the word counts no longer, so that no repeat does")


class Means(StrEnum):
    """How somebody proves that a word is theirs."""

    SSH = "ssh"
    OIDC = "oidc"
    STS = "sts"
    CHAT = "chat"


class SshSignature(Model):
    """A signature with the person's own SSH key, in the namespace `firedoor`.

    https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
    """

    means: Literal[Means.SSH] = Means.SSH
    signature: Armoured = Field(description="armoured, as `ssh-keygen -Y sign` writes it")


class OidcToken(Model):
    """An ID token of an identity provider whose `nonce` is the word's digest."""

    means: Literal[Means.OIDC] = Means.OIDC
    token: Armoured


class StsRequest(Model):
    """A signed, unsent GetCallerIdentity request with the word's digest among the signed headers.

    AWS itself says who signed it. The signature is good for 15 minutes.
    """

    means: Literal[Means.STS] = Means.STS
    url: Line
    headers: dict[Line, Armoured] = Field(max_length=16)


class ChatRelay(Model):
    """A gateway's signature, with its own SSH key, that a person in chat said the word."""

    means: Literal[Means.CHAT] = Means.CHAT
    gateway: Line
    platform: Literal["slack", "teams"]
    user: Line = Field(description="the person's id on that platform")
    signature: Armoured = Field(description="armoured, over the canonical JSON of `Relayed`")


Attestation = Annotated[
    SshSignature | OidcToken | StsRequest | ChatRelay, Field(discriminator="means")
]

W = TypeVar("W", bound=Word)


class Signed(Model, Generic[W]):
    """A word with the proof of whose it is."""

    word: W
    attestation: Attestation

    @property
    def digest(self) -> str:
        """The name of the word with its proof: a repeat has the same."""
        return digest(self)


class Relayed(Model):
    """What a gateway signs."""

    word: Decision
    gateway: str
    platform: Literal["slack", "teams"]
    user: str


class Question(Model):
    """Whose word is it? Asked of those who alone can tell."""

    attestation: Attestation
    digest: str = Field(description="of the word that the proof has to be bound to")
    issuers: tuple[Issuer, ...] = ()


class Voucher(Model):
    """What somebody else said when a worker asked them whose word it is: an issuer, or AWS."""

    identity: str = Field(default="", description="`sub` of the token, or the caller's ARN")
    key: str = Field(default="", description="the issuer's public key, a JWK, to check again")
    problem: str = Field(default="", description="why nobody vouches for it")


def signed_by(word: W, attestation: Attestation) -> Signed[W]:
    """Return a word with its proof."""
    kind: Any = Signed[type(word)]  # type: ignore[misc]
    signed: Signed[W] = kind(word=word, attestation=attestation)
    return signed


def signable(word: Word | Relayed) -> bytes:
    """Return the bytes that are signed."""
    return canonical(word)
