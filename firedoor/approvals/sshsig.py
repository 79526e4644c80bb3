"""Signatures with SSH keys over messages, as `ssh-keygen -Y` makes and checks them.

Pure: workflows check signatures with it, and every replay checks them again.
https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.u2f (keys in security keys)
"""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_ssh_public_key,
)

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


class Signer(NamedTuple):
    """Whose signature it is."""

    public: str
    """Type and base64 of the public key, as in a .pub file."""
    touched: bool
    """Whether a security key made it, and somebody touched that to say yes."""


def verify(armoured: str, message: bytes) -> Signer:
    """Return which key has signed a message.

    Whether that key is anybody's is for the caller to know. Raises `BadSignature`.
    """
    blob = _dearmoured(armoured)
    try:
        fields = _Reader(blob)
        if fields.take(len(MAGIC)) != MAGIC or fields.number() != VERSION:
            raise BadSignature("not an SSH signature of version 1")
        public, namespace, reserved = fields.string(), fields.text(), fields.string()
        hashing, signature = fields.text(), fields.string()
        fields.end()
        if namespace != NAMESPACE:
            raise BadSignature(f"made for {namespace!r}, not for {NAMESPACE!r}")
        if hashing not in HASHES:
            raise BadSignature(f"made with the hash {hashing!r}")
        covered = _covered(message, hashing, reserved)
        kind, touched = _check(public, signature, covered)
    except InvalidSignature as error:
        raise BadSignature("it is not the signature of this message") from error
    except (UnsupportedAlgorithm, UnicodeDecodeError, _Truncated, ValueError) as error:
        if isinstance(error, BadSignature):
            raise
        raise BadSignature(f"it cannot be read: {error}") from error
    return Signer(f"{kind} {base64.b64encode(public).decode()}", touched)


def covered(message: bytes) -> bytes:
    """Return the bytes that a key, for one in an agent, has to sign for a message."""
    return _covered(message, "sha512", b"")


def armoured(public: bytes, signature: bytes) -> str:
    """Return a signature over `covered` as text: `public` and `signature` in SSH's own form."""
    parts = (public, NAMESPACE.encode(), b"", b"sha512", signature)
    blob = MAGIC + VERSION.to_bytes(4) + b"".join(map(string, parts))
    text = base64.b64encode(blob).decode()
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join([BEGIN, *lines, END, ""])


def sign(key: PrivateKey, message: bytes) -> str:
    """Return the signature of a private key over a message, as text."""
    data = covered(message)
    match key:
        case Ed25519PrivateKey():
            kind, raw = "ssh-ed25519", key.sign(data)
        case RSAPrivateKey():
            kind, raw = "rsa-sha2-512", key.sign(data, padding.PKCS1v15(), SHA512())
        case _:
            kind = f"ecdsa-sha2-nistp{key.curve.key_size}"
            pair = decode_dss_signature(key.sign(data, ec.ECDSA(CURVES[kind][1])))
            raw = b"".join(map(_mpint, pair))
    return armoured(public_blob(key), string(kind.encode()) + string(raw))


def public_blob(key: PrivateKey) -> bytes:
    """Return the public half of a key, in SSH's own form."""
    text = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(text.split()[1])


def string(value: bytes) -> bytes:
    """Return bytes with their length before them (RFC 4251, section 5)."""
    return len(value).to_bytes(4) + value


class _Truncated(Exception):
    """A field is longer than what is left, or something is left over."""

    def __str__(self) -> str:
        """Say so."""
        return "it ends too soon, or goes on too long"


class _Reader:
    """Takes the fields of RFC 4251, section 5, one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise _Truncated
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self) -> int:
        return int.from_bytes(self.take(4))

    def string(self) -> bytes:
        return self.take(self.number())

    def text(self) -> str:
        return self.string().decode("ascii")

    def end(self) -> None:
        if self._at != len(self._data):
            raise _Truncated


def _dearmoured(text: str) -> bytes:
    if len(text) > LONGEST:
        raise BadSignature("too long for a signature")
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != BEGIN or lines[-1] != END:
        raise BadSignature(f"expected text from {BEGIN} to {END}")
    try:
        return base64.b64decode("".join(lines[1:-1]), validate=True)
    except binascii.Error as error:
        raise BadSignature("between its first and last line it is not base64") from error


def _covered(message: bytes, hashing: str, reserved: bytes) -> bytes:
    parts = (NAMESPACE.encode(), reserved, hashing.encode(), HASHES[hashing](message))
    return MAGIC + b"".join(map(string, parts))


def _check(public: bytes, signature: bytes, data: bytes) -> tuple[str, bool]:
    """Check a signature by a key of any type; return the type, and whether it was touched."""
    kind = _Reader(public).text()
    fields = _Reader(signature)
    algorithm, raw = fields.text(), fields.string()
    touched = False
    if kind in (SK_ED25519, SK_ECDSA) and algorithm == kind:
        touched = _by_security_key(kind, public, raw, fields, data)
    else:
        match _loaded(kind, public):
            case Ed25519PublicKey() as key if algorithm == kind:
                key.verify(raw, data)
            case EllipticCurvePublicKey() as key if algorithm == kind:
                _ecdsa(key, raw, data, CURVES[kind][1])
            case RSAPublicKey() as key if algorithm in RSA_HASHES:
                if key.key_size < LEAST_RSA_BITS:
                    raise BadSignature(f"an RSA key of {key.key_size} bits is too short")
                key.verify(raw, data, padding.PKCS1v15(), RSA_HASHES[algorithm])
            case _:
                raise BadSignature(f"{algorithm} by a key of type {kind} is not taken")
    fields.end()
    return kind, touched


def _by_security_key(kind: str, public: bytes, raw: bytes, signature: _Reader, data: bytes) -> bool:
    """Check what a security key has signed: also what it is used for, how, and how often."""
    flags, counter = signature.take(1), signature.take(4)
    fields = _Reader(public)
    fields.text()
    if kind == SK_ED25519:
        point, application = fields.string(), fields.string()
        fields.end()
        signed = _by_device(application, flags, counter, data)
        Ed25519PublicKey.from_public_bytes(point).verify(raw, signed)
    else:
        fields.text()  # the curve, which the type says already
        point, application = fields.string(), fields.string()
        fields.end()
        signed = _by_device(application, flags, counter, data)
        key = EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        _ecdsa(key, raw, signed, SHA256())
    return bool(flags[0] & TOUCHED)


def _by_device(application: bytes, flags: bytes, counter: bytes, data: bytes) -> bytes:
    return HASHES["sha256"](application) + flags + counter + HASHES["sha256"](data)


def _loaded(kind: str, public: bytes) -> object:
    return load_ssh_public_key(f"{kind} {base64.b64encode(public).decode()}".encode())


def _ecdsa(key: EllipticCurvePublicKey, raw: bytes, data: bytes, hashing: HashAlgorithm) -> None:
    pair = _Reader(raw)
    r, s = (int.from_bytes(pair.string()) for _ in range(2))
    pair.end()
    key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashing))


def _mpint(number: int) -> bytes:
    """Return a positive number as RFC 4251 has it: with a zero before a first bit that is one."""
    return string(number.to_bytes(number.bit_length() // 8 + 1))
