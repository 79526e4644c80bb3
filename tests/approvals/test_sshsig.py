"""Signatures with SSH keys: ours are good to ssh-keygen, and those of ssh-keygen to us."""

import base64
import subprocess
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from firedoor.approvals import sshsig
from firedoor.approvals.sshsig import (
    BEGIN,
    END,
    LONGEST,
    BadKey,
    BadSignature,
    PrivateKey,
    armoured,
    covered,
    parse_public,
    public_blob,
    sign,
    string,
    verify,
)
from firedoor.lab.security_keys import SecurityKey, security_key

MESSAGE = b'{"answer":"approve","incident":"aws/123456789012"}'
KINDS = ("ed25519", "rsa-2048", "rsa-3072", "ecdsa-256", "ecdsa-384", "ecdsa-521")
SECURITY_KEYS = ("sk-ed25519", "sk-ecdsa")
NO_TOUCH = 0x00
CURVES = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "521": ec.SECP521R1()}


@cache
def key(kind: str) -> PrivateKey:
    name, _, size = kind.partition("-")
    if name == "rsa":
        return rsa.generate_private_key(65537, int(size))
    return ec.generate_private_key(CURVES[size]) if size else Ed25519PrivateKey.generate()


@cache
def hardware(kind: str) -> SecurityKey:
    return SecurityKey(key("ecdsa-256")) if kind == "sk-ecdsa" else security_key()


def public(blob: bytes) -> str:
    kind = blob[4 : 4 + int.from_bytes(blob[:4])].decode()
    return f"{kind} {base64.b64encode(blob).decode()}"


def keygen(*arguments: object, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, check=False, timeout=60)


def is_good_to_keygen(signature: str, by: str, where: Path, message: bytes = MESSAGE) -> bool:
    signers, file = where / "allowed_signers", where / "signature"
    signers.write_text(f'alice namespaces="firedoor" {by}\n')
    file.write_text(signature, newline="")
    words = ("-Y", "verify", "-f", signers, "-I", "alice", "-n", "firedoor", "-s", file)
    return keygen(*words, given=message).returncode == 0


def signed_by_keygen(kind: str, where: Path, *options: str, namespace: str = "firedoor") -> str:
    """Return what ssh-keygen makes of the message, with a new key `where/key` of a kind."""
    name, _, size = kind.partition("-")
    sized = ("-b", size) if size else ()
    made = keygen("-q", "-t", name, *sized, "-N", "", "-C", "", "-f", where / "key")
    words = ("-Y", "sign", "-f", where / "key", "-n", namespace, *options)
    signed = keygen(*words, given=MESSAGE)
    assert (made.returncode, signed.returncode) == (0, 0), signed.stderr
    return signed.stdout.decode()


def blob_of(signature: str) -> bytes:
    return base64.b64decode("".join(signature.splitlines()[1:-1]))


def text_of(blob: bytes) -> str:
    return f"{BEGIN}\n{base64.b64encode(blob).decode()}\n{END}\n"


def rsa_signature(signer: rsa.RSAPrivateKey, algorithm: str) -> str:
    """Return a signature with a hash of its own, as an agent could bring it."""
    hashing = {"ssh-rsa": SHA1(), "rsa-sha2-256": SHA256()}[algorithm]
    raw = signer.sign(covered(MESSAGE), padding.PKCS1v15(), hashing)
    return armoured(public_blob(signer), string(algorithm.encode()) + string(raw))


@pytest.mark.parametrize("kind", KINDS)
def test_our_signature_is_good_to_us_and_to_keygen(kind: str, tmp_path: Path) -> None:
    signature, by = sign(key(kind), MESSAGE), public(public_blob(key(kind)))

    assert verify(signature, MESSAGE) == (by, False)
    assert is_good_to_keygen(signature, by, tmp_path)
    assert not is_good_to_keygen(signature, by, tmp_path, MESSAGE + b" ")


@pytest.mark.parametrize("hashing", ["sha512", "sha256"])
@pytest.mark.parametrize("kind", KINDS)
def test_signature_of_keygen_is_good_to_us(kind: str, hashing: str, tmp_path: Path) -> None:
    signature = signed_by_keygen(kind, tmp_path, "-O", f"hashalg={hashing}")

    by = verify(signature, MESSAGE)

    assert by == (" ".join((tmp_path / "key.pub").read_text().split()[:2]), False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_made_by_keygen_signs_what_keygen_checks(kind: str, tmp_path: Path) -> None:
    theirs = signed_by_keygen(kind, tmp_path)
    loaded = load_ssh_private_key((tmp_path / "key").read_bytes(), None)

    ours = sign(loaded, MESSAGE)

    assert verify(ours, MESSAGE) == verify(theirs, MESSAGE)
    assert is_good_to_keygen(ours, verify(ours, MESSAGE).public, tmp_path)


@pytest.mark.parametrize("kind", SECURITY_KEYS)
@pytest.mark.parametrize("flags", [0x01, 0x05])  # 0x04: a PIN was asked for as well
def test_security_key_says_that_it_was_touched(kind: str, flags: int, tmp_path: Path) -> None:
    signature, by = hardware(kind).sign(MESSAGE, flags), public(hardware(kind).blob)

    assert verify(signature, MESSAGE) == (by, True)
    assert is_good_to_keygen(signature, by, tmp_path)


@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_security_key_that_nobody_touched_is_known_as_such(kind: str) -> None:
    signature = hardware(kind).sign(MESSAGE, NO_TOUCH)

    assert not verify(signature, MESSAGE).touched


@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_touch_cannot_be_written_in_afterwards(kind: str, tmp_path: Path) -> None:
    untouched = blob_of(hardware(kind).sign(MESSAGE, NO_TOUCH))
    forged = text_of(untouched[:-5] + b"\x01" + untouched[-4:])

    with pytest.raises(BadSignature, match="not the signature of this message"):
        verify(forged, MESSAGE)
    assert not is_good_to_keygen(forged, public(hardware(kind).blob), tmp_path)


def test_both_hashes_of_rsa_are_taken(tmp_path: Path) -> None:
    signature = rsa_signature(key("rsa-2048"), "rsa-sha2-256")

    by = verify(signature, MESSAGE)

    assert is_good_to_keygen(signature, by.public, tmp_path)


def test_rsa_signature_without_its_zeros_is_taken_as_keygen_takes_it(tmp_path: Path) -> None:
    signer, number = key("rsa-2048"), 0
    raw = b"\1"
    while raw[0]:  # one in 256 begins with a zero
        number += 1
        message = str(number).encode()
        raw = sshsig.Reader(blob_of(sign(signer, message))[-256:]).take(256)
    short = armoured(public_blob(signer), string(b"rsa-sha2-512") + string(raw.lstrip(b"\0")))

    by = verify(short, message)

    assert is_good_to_keygen(short, by.public, tmp_path, message)


@pytest.mark.parametrize("kind", [*KINDS, *SECURITY_KEYS])
def test_altered_message_is_refused(kind: str) -> None:
    signer = hardware(kind) if kind in SECURITY_KEYS else None
    signature = signer.sign(MESSAGE) if signer else sign(key(kind), MESSAGE)

    with pytest.raises(BadSignature, match="not the signature of this message"):
        verify(signature, MESSAGE.replace(b"approve", b"deny"))


def test_signature_for_something_else_is_refused(tmp_path: Path) -> None:
    signature = signed_by_keygen("ed25519", tmp_path, namespace="git")

    with pytest.raises(BadSignature, match="made for 'git', not for firedoor"):
        verify(signature, MESSAGE)


def test_sha1_is_refused() -> None:
    signature = rsa_signature(key("rsa-2048"), "ssh-rsa")

    with pytest.raises(BadSignature, match="a signature with 'ssh-rsa' by a key of type ssh-rsa"):
        verify(signature, MESSAGE)


def test_short_rsa_key_is_refused(tmp_path: Path) -> None:
    signature = signed_by_keygen("rsa-1024", tmp_path)

    with pytest.raises(BadKey, match="an RSA key of 1024 bits is too short"):
        verify(signature, MESSAGE)


def test_dsa_is_refused() -> None:
    blob = b"".join(map(string, (b"ssh-dss", b"\1" * 128, b"\1" * 20, b"\1" * 128, b"\1" * 128)))
    signature = armoured(blob, string(b"ssh-dss") + string(b"\1" * 40))

    with pytest.raises(BadKey, match="a key of type 'ssh-dss' is not taken"):
        verify(signature, MESSAGE)


def test_certificate_is_refused(tmp_path: Path) -> None:
    signed_by_keygen("ed25519", tmp_path)
    keygen("-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ca")
    keygen("-q", "-s", tmp_path / "ca", "-I", "alice", "-n", "alice", tmp_path / "key.pub")
    blob = base64.b64decode((tmp_path / "key-cert.pub").read_text().split()[1])

    with pytest.raises(BadKey, match=r"'ssh-ed25519-cert-v01@openssh\.com' is not taken"):
        parse_public(blob)


def test_key_in_another_form_is_refused() -> None:
    short, full = b"\x02" + bytes(32), public_blob(key("rsa-2048"))
    compressed = b"".join(map(string, (b"ecdsa-sha2-nistp256", b"nistp256", short)))
    padded = full[:18] + b"\0" + full[18:]  # 65537 with a zero before it
    padded = padded[:11] + (4).to_bytes(4) + b"\0" + full[15:]

    for blob in (compressed, padded, full + b"\0"):
        with pytest.raises(BadKey, match="the key is damaged"):
            parse_public(blob)


def test_reserved_field_is_no_place_to_hide_something() -> None:
    signer = Ed25519PrivateKey.generate()
    parts = b"firedoor", b"hidden", b"sha512", sshsig.HASHES["sha512"](MESSAGE)
    raw = signer.sign(b"SSHSIG" + b"".join(map(string, parts)))
    fields = public_blob(signer), *parts[:3], string(b"ssh-ed25519") + string(raw)
    blob = b"SSHSIG" + (1).to_bytes(4) + b"".join(map(string, fields))

    with pytest.raises(BadSignature, match="its reserved field is not empty"):
        verify(text_of(blob), MESSAGE)


def test_negative_numbers_are_refused_as_keygen_refuses_them(tmp_path: Path) -> None:
    signer = key("ecdsa-256")
    number, r = 0, b""
    while len(r) != 33:  # every other one needs a zero before its first bit
        number += 1
        message = str(number).encode()
        fields = sshsig.Reader(blob_of(sign(signer, message)))
        fields.take(10)
        signature = [fields.string() for _ in range(5)][-1]
        outer = sshsig.Reader(signature)
        outer.string()
        pair = sshsig.Reader(outer.string())
        r, s = pair.string(), pair.string()
    raw = string(r[1:]) + string(s)
    negative = armoured(public_blob(signer), string(b"ecdsa-sha2-nistp256") + string(raw))

    with pytest.raises(BadSignature, match="a number in it is negative"):
        verify(negative, message)
    assert not is_good_to_keygen(negative, public(public_blob(signer)), tmp_path, message)


@pytest.mark.parametrize("kind", ["ed25519", "rsa-2048", "ecdsa-384", *SECURITY_KEYS])
def test_signature_cut_anywhere_is_refused(kind: str) -> None:
    signer = hardware(kind) if kind in SECURITY_KEYS else None
    whole = blob_of(signer.sign(MESSAGE) if signer else sign(key(kind), MESSAGE))

    for end in range(len(whole)):
        with pytest.raises(BadSignature):
            verify(text_of(whole[:end]), MESSAGE)
    with pytest.raises(BadSignature, match="it goes on too long"):
        verify(text_of(whole + b"\0"), MESSAGE)


def test_a_bit_that_is_turned_anywhere_spoils_it() -> None:
    whole = blob_of(sign(key("ed25519"), MESSAGE))

    for place in range(len(whole) * 8):
        turned = bytearray(whole)
        turned[place // 8] ^= 1 << place % 8
        with pytest.raises(BadSignature):
            verify(text_of(bytes(turned)), MESSAGE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected text from"),
        (f"{BEGIN}\n{END}\n", "expected text from"),
        (f"{BEGIN}\nU1NIU0lH\n", "expected text from"),
        (f"{BEGIN}\nU1NI U0lH\n{END}", "it is not base64"),
        (f"{BEGIN}\n\u00e9\n{END}", "it is not base64"),
        (f"{BEGIN}\nU1NI\u2028U0lH\n{END}", "it is not base64"),
        (f"{BEGIN}\n\ud800\n{END}", "it is not base64"),
        (f"{BEGIN}\nU1NIU0lH\n{END}", "it ends too soon"),
        (text_of(b"SSHSIG" + (2).to_bytes(4)), "it is not an SSH signature of version 1"),
        (text_of(b"GITSIG" + (1).to_bytes(4)), "it is not an SSH signature of version 1"),
        (f"{BEGIN}\n{'A' * LONGEST}\n{END}", "too long"),
    ],
)
def test_armour_without_a_signature_is_refused(text: str, expected: str) -> None:
    with pytest.raises(BadSignature, match=expected):
        verify(text, MESSAGE)


def test_armour_with_ends_of_lines_of_windows_is_read() -> None:
    signature = sign(key("ed25519"), MESSAGE).replace("\n", "\r\n")

    assert verify(signature, MESSAGE).public.startswith("ssh-ed25519 ")


def test_what_a_stranger_writes_is_said_shortly_and_harmlessly() -> None:
    blob = (
        b"SSHSIG" + (1).to_bytes(4) + b"".join(map(string, (b"", b"\x1b[2J" * 900, b"", b"", b"")))
    )

    with pytest.raises(BadSignature) as caught:
        verify(text_of(blob), MESSAGE)

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


GOOD = [blob_of(sign(key(kind), MESSAGE)) for kind in ("ed25519", "rsa-2048", "ecdsa-521")] + [
    blob_of(hardware(kind).sign(MESSAGE)) for kind in SECURITY_KEYS
]


@given(
    st.text() | st.text(alphabet="AB=+/\n\r -", max_size=200).map(lambda t: f"{BEGIN}\n{t}\n{END}")
)
def test_any_text_is_a_signature_or_bad(text: str) -> None:
    with pytest.raises(BadSignature):
        verify(text, MESSAGE)


@settings(max_examples=300)
@given(st.data())
def test_any_damage_is_a_bad_signature_and_nothing_else(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(GOOD))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 8)))
    damaged = whole[:start] + data.draw(st.binary(max_size=8)) + whole[end:]

    if damaged != whole:
        with suppress(BadSignature):
            # ECDSA alone has room: zeros that ssh-keygen passes over as well.
            assert verify(text_of(damaged), MESSAGE).public.startswith(("ecdsa", "sk-ecdsa"))


PARTS = st.lists(
    st.binary(max_size=40)
    | st.sampled_from([b"ssh-ed25519", b"ssh-rsa", b"nistp256", sshsig.SK_ECDSA.encode(), b"ssh:"]),
    max_size=5,
).map(lambda parts: b"".join(map(string, parts)))


@given(PARTS, PARTS)
def test_fields_that_make_no_sense_are_a_bad_signature(blob: bytes, signature: bytes) -> None:
    with pytest.raises(BadSignature):
        verify(armoured(blob, signature), MESSAGE)
