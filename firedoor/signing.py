"""How a responder's word is signed on this machine: by the SSH agent, or with a file of a key."""

import base64
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from firedoor import ssh_agent
from firedoor.allowed_signers import public_key
from firedoor.approvals.sshsig import (
    BadSignature,
    PrivateKey,
    Reader,
    armoured,
    covered,
    parse_public,
    public_blob,
    sign,
    verify,
)
from firedoor.errors import BadInput
from firedoor.model.responder import HARDWARE, Key

WHAT = "key"  # what a complaint is about

FINGERPRINT = "SHA256:"
DEFAULTS = ("id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk")
LARGEST = 64 * 1024  # bytes of a file of a key

MAGIC = b"openssh-key-v1\0"
BEGIN, END = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"

Passphrase = Callable[[Path], str]
"""Asks a person for the passphrase of a file."""


class SigningKey(Protocol):
    """The private half of one of a responder's keys, wherever it is."""

    @property
    def public(self) -> str:
        """Type and base64 of the public half."""

    @property
    def is_hardware(self) -> bool:
        """Whether somebody has to touch a security key for each signature."""

    def describe(self) -> str:
        """Return which key it is, and where, in a few words."""

    def sign(self, message: bytes) -> str:
        """Return a signature over a message as text. Raises `BadInput` if it cannot be made."""


class FileKey(NamedTuple):
    """A private key from a file."""

    file: Path
    private: PrivateKey

    @property
    def public(self) -> str:
        """Type and base64 of the public half."""
        return _written(public_blob(self.private))

    @property
    def is_hardware(self) -> bool:
        """Whether somebody has to touch a security key."""
        return False

    def describe(self) -> str:
        """Return which key it is, and where."""
        return f"{Key(public=self.public).fingerprint} of {self.file}"

    def sign(self, message: bytes) -> str:
        """Return a signature over a message as text."""
        return sign(self.private, message)


class AgentKey(NamedTuple):
    """A key that an agent holds."""

    agent: str
    blob: bytes
    comment: str

    @property
    def public(self) -> str:
        """Type and base64 of the public half."""
        return _written(self.blob)

    @property
    def is_hardware(self) -> bool:
        """Whether somebody has to touch a security key."""
        return self.public.startswith(HARDWARE)

    def describe(self) -> str:
        """Return which key it is, and where."""
        named = f" ({self.comment})" if self.comment else ""
        return f"{Key(public=self.public).fingerprint}{named} in the agent"

    def sign(self, message: bytes) -> str:
        """Return a signature over a message as text, when the agent has made a good one."""
        made = armoured(self.blob, ssh_agent.sign(self.agent, self.blob, covered(message)))
        try:
            verify(made, message)
        except BadSignature as error:
            why = f"the agent made no good signature: {error}"
            raise BadInput(WHAT, self.describe(), why) from error
        return made


def find(
    keys: tuple[Key, ...],
    wanted: str | None,
    *,
    hardware: bool = False,
    passphrase: Passphrase | None = None,
    places: Iterable[Path] = (),
) -> SigningKey:
    """Return the private half of one of a responder's registered keys.

    `wanted` is a file of a private key, a .pub file, or a fingerprint; without it, the first key
    that the agent holds is taken, or else that in one of `places` or the usual files. With
    `hardware` only security keys are looked for, if one is registered. Raises `BadInput` with what
    to do.
    """
    if not keys:
        raise BadInput(WHAT, "", "none is registered for you: see `firedoor responders add --help`")
    if wanted is None:
        secured = tuple(key for key in keys if key.is_hardware) if hardware else ()
        return _first(secured or keys, [*places, *_usual_files()], passphrase)
    if wanted.startswith(FINGERPRINT):
        return _fingerprinted(keys, wanted, [*places, *_usual_files()], passphrase)
    return _named(keys, Path(wanted).expanduser(), passphrase)


def load_private(file: Path, passphrase: Passphrase | None = None) -> PrivateKey:
    """Return the private key in a file, in the form of OpenSSH or of PEM.

    `passphrase` is called if the file has one. Raises `BadInput` with what to do.
    """
    text = _read(file, secret=True)
    public, encrypted = _outside(text)
    if public and _kind(public).startswith(HARDWARE):
        raise BadInput(WHAT, str(file), f"its other half is in a security key: ssh-add {file}")
    password = None
    if encrypted:
        if passphrase is None:
            what = f"it has a passphrase, and nobody can be asked for it: ssh-add {file}"
            raise BadInput(WHAT, str(file), what)
        password = passphrase(file).encode()
    read = load_ssh_private_key if BEGIN in text else load_pem_private_key
    try:
        private = read(text, password)
        if not isinstance(private, Ed25519PrivateKey | RSAPrivateKey | EllipticCurvePrivateKey):
            raise UnsupportedAlgorithm("type")
        parse_public(public_blob(private))
    except BadSignature as error:
        raise BadInput(WHAT, str(file), f"{error}: make one with ssh-keygen -t ed25519") from error
    except UnsupportedAlgorithm as error:
        what = "it is of a type that is not taken: make one with ssh-keygen -t ed25519"
        raise BadInput(WHAT, str(file), what) from error
    except (TypeError, ValueError) as error:
        wrong = "wrong passphrase, or a damaged file"
        what = wrong if encrypted else "it is no private key, or a damaged one"
        raise BadInput(WHAT, str(file), what) from error
    return private


def load_public(file: Path) -> tuple[str, str]:
    """Return the key in a .pub file, as type and base64, and its comment.

    Raises `BadInput` with what to do; a private key is not even looked at.
    """
    text = _read(file)
    if b"PRIVATE KEY" in text:
        what = "that is a private key, which is nobody else's business: name its .pub file"
        raise BadInput(WHAT, str(file), what)
    words = text.decode(errors="replace").strip().split(None, 2)
    if len(words) < 2 or "\n" in text.decode(errors="replace").strip():
        raise BadInput(WHAT, str(file), "expected one line with type and base64 of a public key")
    try:
        public = public_key(words[0], words[1])
    except BadSignature as error:
        raise BadInput(WHAT, str(file), f"{error}: make one with ssh-keygen -t ed25519") from error
    comment = " ".join("".join(words[2:]).split())
    return public, comment if comment.isprintable() else ""


def _first(
    keys: tuple[Key, ...], files: Iterable[Path], passphrase: Passphrase | None
) -> SigningKey:
    """Return the first of the keys that the agent holds, or else that is in one of the files.

    An agent that does not answer matters only where there is no file either.
    """
    trouble = None
    try:
        if held := _in_agent(keys):
            return held
    except BadInput as error:
        trouble = error
    if kept := _in_files(keys, files, passphrase):
        return kept
    if trouble:
        raise trouble
    yours = ", ".join(key.fingerprint for key in keys)
    raise BadInput(WHAT, yours, f"{_nowhere()} nor in ~/.ssh: ssh-add it, or set FIREDOOR_KEY")


def _fingerprinted(
    keys: tuple[Key, ...], wanted: str, files: Iterable[Path], passphrase: Passphrase | None
) -> SigningKey:
    meant = tuple(key for key in keys if key.fingerprint == wanted)
    if not meant:
        yours = ", ".join(key.fingerprint for key in keys)
        raise BadInput(WHAT, wanted, f"it is not registered for you; these are: {yours}")
    return _first(meant, files, passphrase)


def _named(keys: tuple[Key, ...], file: Path, passphrase: Passphrase | None) -> SigningKey:
    """Return the key that a file of its private or public half names."""
    if file.suffix == ".pub":
        public, _ = load_public(file)
        meant = _registered(keys, public, file)
        found = _in_agent(meant) or _in_files(meant, [file.with_suffix("")], passphrase)
        if found is None:
            what = f"its other half is {_nowhere()} nor beside it: ssh-add it"
            raise BadInput(WHAT, str(file), what)
        return found
    blob, encrypted = _outside(_read(file, secret=True))
    if blob is not None:
        meant = _registered(keys, _written(blob), file)
        # What the agent holds needs neither a passphrase nor this file.
        apart = encrypted or _kind(blob).startswith(HARDWARE)
        if apart and ssh_agent.place() and (found := _in_agent(meant)):
            return found
    private = load_private(file, passphrase)
    _registered(keys, _written(public_blob(private)), file)
    return FileKey(file, private)


def _registered(keys: tuple[Key, ...], public: str, file: Path) -> tuple[Key, ...]:
    meant = tuple(key for key in keys if key.public == public)
    if not meant:
        yours = ", ".join(key.fingerprint for key in keys)
        what = f"{Key(public=public).fingerprint} is not registered for you; these are: {yours}"
        raise BadInput(WHAT, str(file), what)
    return meant


def _in_agent(keys: tuple[Key, ...]) -> AgentKey | None:
    agent = ssh_agent.place()
    if agent is None:
        return None
    held = {identity.blob: identity.comment for identity in ssh_agent.identities(agent)}
    blobs = (base64.b64decode(key.public.split()[1]) for key in keys)
    return next((AgentKey(agent, blob, held[blob]) for blob in blobs if blob in held), None)


def _in_files(
    keys: tuple[Key, ...], files: Iterable[Path], passphrase: Passphrase | None
) -> FileKey | None:
    wanted = {key.public for key in keys}
    for file in files:
        if _public_half(file) in wanted:
            return FileKey(file, load_private(file, passphrase))
    return None


def _usual_files() -> list[Path]:
    return [Path.home() / ".ssh" / name for name in DEFAULTS]


def _public_half(file: Path) -> str | None:
    """Return the public half of a private key in a file, if it says that without a passphrase."""
    try:
        blob, _ = _outside(_read(file))
        if blob is not None:
            return _written(blob)
        return load_public(file.with_name(f"{file.name}.pub"))[0]
    except BadInput:
        return None


def _outside(text: bytes) -> tuple[bytes | None, bool]:
    """Return what a private key says without a passphrase: its public half, and if it has one.

    https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
    """
    start, end = text.find(BEGIN), text.find(END)
    if start < 0 or end < start:
        return None, b"ENCRYPTED" in text
    try:
        fields = Reader(base64.b64decode(text[start + len(BEGIN) : end]))
        if fields.take(len(MAGIC)) != MAGIC:
            return None, False
        cipher, _, _, _ = fields.text(), fields.string(), fields.string(), fields.number()
        blob = fields.string()
        _kind(blob)
    except ValueError:  # a damaged file; whoever loads it says so
        return None, False
    return blob, cipher != "none"


def _read(file: Path, *, secret: bool = False) -> bytes:
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read(LARGEST + 1)
    except OSError as error:
        raise BadInput(WHAT, str(file), f"it cannot be read: {error.strerror}") from error
    if len(text) > LARGEST:
        raise BadInput(WHAT, str(file), "it is too long for a key")
    # As ssh has it: what others can read is no secret of its owner.
    if secret and status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) & 0o077:
        raise BadInput(WHAT, str(file), f"others have rights on it: chmod 600 {file}")
    return text


def _nowhere() -> str:
    if ssh_agent.place() is None:
        return "not in an agent, as SSH_AUTH_SOCK names none,"
    return "neither in the agent"


def _kind(blob: bytes) -> str:
    return Reader(blob).text()


def _written(blob: bytes) -> str:
    return f"{_kind(blob)} {base64.b64encode(blob).decode()}"
