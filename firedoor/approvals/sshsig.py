"""Signatures with SSH keys over messages, as `ssh-keygen -Y` makes and checks them.

Pure: workflows check signatures with it, and every replay checks them again. What is said of a bad
one is in our own words, since those of a library change with it and would be another history.
https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.u2f (keys in security keys)
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    RSAPublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

NAMESPACE: Final = "firedoor"
"""What our signatures are for: a signature for git or for a file never counts as a decision."""

MAGIC = b"SSHSIG"
VERSION = 1
HASHES: Mapping[str, Callable[[bytes], bytes]] = {
    "sha256": lambda message: hashlib.sha256(message).digest(),
    "sha512": lambda message: hashlib.sha512(message).digest(),
}
BEGIN, END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
LONGEST = 16_384  # characters; an RSA signature with 16,384 bits is shorter
LEAST_RSA_BITS = 2048

TOUCHED = 0x01  # the flag by which a security key says that somebody was there

ED25519: Final = "ssh-ed25519"
RSA: Final = "ssh-rsa"
CURVES: Mapping[str, tuple[ec.EllipticCurve, HashAlgorithm]] = {
    "ecdsa-sha2-nistp256": (ec.SECP256R1(), SHA256()),
    "ecdsa-sha2-nistp384": (ec.SECP384R1(), SHA384()),
    "ecdsa-sha2-nistp521": (ec.SECP521R1(), SHA512()),
}
RSA_HASHES: Mapping[str, HashAlgorithm] = {"rsa-sha2-256": SHA256(), "rsa-sha2-512": SHA512()}
SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
SK_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"

PrivateKey = Ed25519PrivateKey | RSAPrivateKey | ec.EllipticCurvePrivateKey


class BadSignature(ValueError):
    """What was brought is no signature of that message in our namespace; says why."""


class BadKey(BadSignature):
    """A public key is of a type that we do not take, too short, or damaged; says which."""


class Signer(NamedTuple):
    """Whose signature it is."""

    public: str
    """Type and base64 of the public key, as in a .pub file."""
    touched: bool
    """Whether a security key made it, and somebody touched that to say yes."""


class PublicKey(NamedTuple):
    """A public key that is taken."""

    kind: str
    """The type of SSH key, for one `ssh-ed25519`."""
    key: Ed25519PublicKey | RSAPublicKey | EllipticCurvePublicKey
    application: bytes | None
    """What a security key made it for, for one `ssh:`; None if it is in none."""


class Reader:
    """Takes the fields of RFC 4251, section 5, one after the other.

    Raises `BadSignature` where there are none, or none of that kind.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """Return so many bytes."""
        if self._at + size > len(self._data):
            raise BadSignature("it ends too soon")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self) -> int:
        """Return a number of 32 bits."""
        return int.from_bytes(self.take(4))

    def string(self) -> bytes:
        """Return bytes that have their length before them."""
        return self.take(self.number())

    def text(self) -> str:
        """Return a name, which is ASCII."""
        value = self.string()
        if not value.isascii():
            raise BadSignature("a name in it is not ASCII")
        return value.decode("ascii")

    def mpint(self) -> int:
        """Return a number of any size that is not negative."""
        value = self.string()
        if value and value[0] & 0x80:
            raise BadSignature("a number in it is negative")
        return int.from_bytes(value)

    def end(self) -> None:
        """Require that nothing is left."""
        if self._at != len(self._data):
            raise BadSignature("it goes on too long")


def verify(armoured: str, message: bytes) -> Signer:
    """Return which key has signed a message.

    Whether that key is anybody's is for the caller to know. Raises `BadSignature`.
    """
    fields = Reader(_dearmoured(armoured))
    if fields.take(len(MAGIC)) != MAGIC or fields.number() != VERSION:
        raise BadSignature("it is not an SSH signature of version 1")
    public, namespace, reserved = fields.string(), fields.text(), fields.string()
    hashing, signature = fields.text(), fields.string()
    fields.end()
    if namespace != NAMESPACE:
        raise BadSignature(f"it was made for {_shown(namespace)}, not for {NAMESPACE}")
    if reserved:  # ssh-keygen leaves it out of what is signed, so anybody could fill it
        raise BadSignature("its reserved field is not empty")
    if hashing not in HASHES:
        raise BadSignature(f"it was made with the hash {_shown(hashing)}")
    known = parse_public(public)
    try:
        touched = _check(known, signature, _covered(message, hashing))
    except InvalidSignature as error:
        raise BadSignature("it is not the signature of this message by its key") from error
    return Signer(f"{known.kind} {base64.b64encode(public).decode()}", touched)


def covered(message: bytes) -> bytes:
    """Return the bytes that a key, for one in an agent, has to sign for a message."""
    return _covered(message, "sha512")


def armoured(public: bytes, signature: bytes) -> str:
    """Return a signature over `covered` as text: `public` and `signature` in SSH's own form."""
    parts = (public, NAMESPACE.encode(), b"", b"sha512", signature)
    blob = MAGIC + VERSION.to_bytes(4) + b"".join(map(string, parts))
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([BEGIN, *lines, END, ""])


def sign(key: PrivateKey, message: bytes) -> str:
    """Return the signature of a private key over a message, as text."""
    public, data = public_blob(key), covered(message)
    kind = Reader(public).text()
    match key:
        case Ed25519PrivateKey():
            raw = key.sign(data)
        case RSAPrivateKey():
            kind, raw = "rsa-sha2-512", key.sign(data, padding.PKCS1v15(), SHA512())
        case _:
            pair = decode_dss_signature(key.sign(data, ec.ECDSA(CURVES[kind][1])))
            raw = b"".join(map(_mpint, pair))
    return armoured(public, string(kind.encode()) + string(raw))


def public_blob(key: PrivateKey) -> bytes:
    """Return the public half of a key, in SSH's own form.

    Raises `ValueError` if the key is on a curve that SSH has not.
    """
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def parse_public(blob: bytes) -> PublicKey:
    """Return a public key in SSH's own form, if it is one that we take.

    Certificates, DSA and short RSA keys are none. Each key has one form only. Raises `BadKey`.
    """
    try:
        fields = Reader(blob)
        kind = fields.text()
        known = _public(kind, fields)
        fields.end()
    except BadKey:
        raise
    except (BadSignature, UnsupportedAlgorithm, ValueError) as error:
        raise BadKey("the key is damaged") from error
    return known


def string(value: bytes) -> bytes:
    """Return bytes with their length before them (RFC 4251, section 5)."""
    return len(value).to_bytes(4) + value


def _dearmoured(text: str) -> bytes:
    if len(text) > LONGEST:
        raise BadSignature("it is too long for a signature")
    lines = text.strip(" \t\r\n").replace("\r\n", "\n").split("\n")
    if len(lines) < 3 or lines[0] != BEGIN or lines[-1] != END:
        raise BadSignature(f"expected text from {BEGIN} to {END}")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except ValueError as error:
        raise BadSignature("between its first and last line it is not base64") from error


def _covered(message: bytes, hashing: str) -> bytes:
    parts = (NAMESPACE.encode(), b"", hashing.encode(), HASHES[hashing](message))
    return MAGIC + b"".join(map(string, parts))


def _public(kind: str, fields: Reader) -> PublicKey:
    """Read the rest of a public key of a type."""
    if kind == ED25519:
        return PublicKey(kind, Ed25519PublicKey.from_public_bytes(fields.string()), None)
    if kind == SK_ED25519:
        point = fields.string()
        return PublicKey(kind, Ed25519PublicKey.from_public_bytes(point), fields.string())
    if kind in CURVES:
        return PublicKey(kind, _point(kind, fields), None)
    if kind == SK_ECDSA:
        key = _point("ecdsa-sha2-nistp256", fields)
        return PublicKey(kind, key, fields.string())
    if kind == RSA:
        exponent, modulus = _minimal(fields), _minimal(fields)
        if modulus.bit_length() < LEAST_RSA_BITS:
            raise BadKey(f"an RSA key of {modulus.bit_length()} bits is too short")
        return PublicKey(kind, RSAPublicNumbers(exponent, modulus).public_key(), None)
    raise BadKey(f"a key of type {_shown(kind)} is not taken")


def _point(kind: str, fields: Reader) -> EllipticCurvePublicKey:
    curve, point = fields.text(), fields.string()
    # SSH writes points in full only; another form would be another name of the same key.
    if not kind.endswith(f"-{curve}") or point[:1] != b"\x04":
        raise BadKey("the key is damaged")
    return EllipticCurvePublicKey.from_encoded_point(CURVES[kind][0], point)


def _minimal(fields: Reader) -> int:
    """Read a number in the one form that RFC 4251 allows."""
    written = fields.string()
    number = int.from_bytes(written)
    if string(written) != _mpint(number):
        raise BadKey("the key is damaged")
    return number


def _check(public: PublicKey, signature: bytes, data: bytes) -> bool:
    """Check a signature by a key of any type; return whether a security key was touched for it."""
    fields = Reader(signature)
    algorithm, raw = fields.text(), fields.string()
    if algorithm not in (RSA_HASHES if public.kind == RSA else (public.kind,)):
        what = f"{_shown(algorithm)} by a key of type {public.kind}"
        raise BadSignature(f"a signature with {what} is not taken")
    touched = False
    if public.application is not None:
        flags, counter = fields.take(1), fields.take(4)
        # What a security key signs says too what it is used for, how, and how often.
        application, message = map(HASHES["sha256"], (public.application, data))
        data = application + flags + counter + message
        touched = bool(flags[0] & TOUCHED)
    fields.end()
    match public.key:
        case Ed25519PublicKey() as key:
            key.verify(raw, data)
        case RSAPublicKey() as key:
            # Signers exist that leave out zeros at the beginning; ssh-keygen puts them back too.
            whole = raw.rjust((key.key_size + 7) // 8, b"\0")
            key.verify(whole, data, padding.PKCS1v15(), RSA_HASHES[algorithm])
        case EllipticCurvePublicKey() as key:
            kind = "ecdsa-sha2-nistp256" if public.kind == SK_ECDSA else public.kind
            _ecdsa(key, raw, data, CURVES[kind][1])
    return touched


def _ecdsa(key: EllipticCurvePublicKey, raw: bytes, data: bytes, hashing: HashAlgorithm) -> None:
    pair = Reader(raw)
    r, s = pair.mpint(), pair.mpint()
    pair.end()
    key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashing))


def _mpint(number: int) -> bytes:
    """Return a positive number as RFC 4251 has it: with a zero before a first bit that is one."""
    return string(number.to_bytes(number.bit_length() // 8 + 1))


def _shown(name: str) -> str:
    """Return what a stranger wrote, short and without characters that could act on a terminal."""
    return repr(name if len(name) <= 60 else f"{name[:60]}...")
