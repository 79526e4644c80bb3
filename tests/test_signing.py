"""Signing on this machine: with files as ssh-keygen writes them, and with a real ssh-agent."""

import base64
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from firedoor import signing, ssh_agent
from firedoor.approvals.sshsig import verify
from firedoor.errors import BadInput
from firedoor.lab.security_keys import Agent, SecurityKey, security_key
from firedoor.model.responder import Key

MESSAGE = b'{"answer":"approve"}'
KINDS = (("ed25519",), ("rsa", "-b", "2048"), ("ecdsa", "-b", "256"), ("ecdsa", "-b", "521"))
SECRET = "a passphrase"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home without keys, on a machine without an agent."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir(0o700)
    return tmp_path


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A real ssh-agent that holds nothing."""
    at = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", at], stdout=subprocess.DEVNULL)
    try:
        until = monotonic() + 20
        while not at.exists():
            assert process.poll() is None, "ssh-agent ended"
            assert monotonic() < until, "ssh-agent does not listen"
            sleep(0.01)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(at))
        yield str(at)
    finally:
        process.terminate()
        process.wait(10)


def make(file: Path, *kind: str, passphrase: str = "") -> Key:
    """Let ssh-keygen make a key."""
    words = ["-q", "-t", *(kind or ("ed25519",)), "-N", passphrase, "-C", "alice@laptop"]
    subprocess.run(["ssh-keygen", *words, "-f", file], check=True, timeout=60)
    return Key(public=" ".join(file.with_name(f"{file.name}.pub").read_text().split()[:2]))


def add(file: Path) -> None:
    subprocess.run(["ssh-add", "-q", file], check=True, capture_output=True, timeout=60)


def hold(key: SecurityKey) -> Key:
    return Key(public=f"sk-ssh-ed25519@openssh.com {base64.b64encode(key.blob).decode()}")


def signs(found: signing.SigningKey, key: Key, *, touched: bool = False) -> bool:
    return found.public == key.public and verify(found.sign(MESSAGE), MESSAGE) == (
        key.public,
        touched,
    )


@pytest.mark.parametrize("kind", KINDS, ids="".join)
def test_key_in_the_agent_signs(kind: tuple[str, ...], agent: str, home: Path) -> None:
    key, other = make(home / "key", *kind), make(home / "other")
    add(home / "other")
    add(home / "key")
    (home / "key").unlink()

    found = signing.find((key,), None)

    assert signs(found, key)
    assert found.describe() == f"{key.fingerprint} (alice@laptop) in the agent"
    assert signs(signing.find((key, other), other.fingerprint), other)
    assert signs(signing.find((key,), str(home / "key.pub")), key)


def test_first_registered_key_that_the_agent_holds_is_taken(agent: str, home: Path) -> None:
    keys = tuple(make(home / name) for name in ("one", "two", "three"))
    for name in ("three", "two"):
        add(home / name)

    found = signing.find(keys, None)

    assert signs(found, keys[1])


@pytest.mark.parametrize("name", ["id_ed25519", "id_ecdsa", "id_rsa"])
def test_usual_files_are_looked_into_when_the_agent_has_none(
    name: str, agent: str, home: Path
) -> None:
    file = home / ".ssh" / name
    key = make(file, name.removeprefix("id_"))

    found = signing.find((key,), None)

    assert signs(found, key)
    assert found.describe() == f"{key.fingerprint} of {file}"


def test_other_places_are_looked_into_as_well(home: Path) -> None:
    key, file = make(home / "key"), home / "key"

    assert signs(signing.find((key,), None, places=(home / "none", file)), key)
    assert signs(signing.find((key,), key.fingerprint, places=(file,)), key)


def test_usual_file_of_another_key_is_not_taken(home: Path) -> None:
    make(home / ".ssh" / "id_ed25519")
    key = make(home / "key")

    with pytest.raises(BadInput) as caught:
        signing.find((key,), None)

    assert str(caught.value) == (
        f"key: {key.fingerprint}: not in an agent, as SSH_AUTH_SOCK names none, nor in ~/.ssh:"
        " ssh-add it, or set FIREDOOR_KEY"
    )


def test_agent_without_the_key_is_said(agent: str, home: Path) -> None:
    key = make(home / "key")

    for wanted, where in ((None, "nor in ~/.ssh"), (key.fingerprint, "nor in ~/.ssh")):
        with pytest.raises(BadInput, match=f"neither in the agent {where}: ssh-add it"):
            signing.find((key,), wanted)
    (home / "key").unlink()
    with pytest.raises(BadInput, match=r"key\.pub: its other half is neither in the agent nor"):
        signing.find((key,), str(home / "key.pub"))


def test_agent_that_does_not_answer_matters_only_without_a_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "nowhere"))
    key, other = make(home / ".ssh" / "id_ed25519"), make(home / "key")

    assert signs(signing.find((key,), None), key)
    with pytest.raises(BadInput, match=f"SSH_AUTH_SOCK: {home}/nowhere: the agent cannot be asked"):
        signing.find((other,), None)


@pytest.mark.parametrize("kind", KINDS, ids="".join)
def test_named_file_is_taken(kind: tuple[str, ...], home: Path) -> None:
    key = make(home / "key", *kind)

    assert signs(signing.find((key,), str(home / "key")), key)
    assert signs(signing.find((key,), "~/key"), key)
    assert signs(signing.find((key,), str(home / "key.pub")), key)


@pytest.mark.parametrize("kind", KINDS, ids="".join)
def test_passphrase_is_asked_for_once_with_the_name_of_the_file(
    kind: tuple[str, ...], home: Path
) -> None:
    key, asked = make(home / "key", *kind, passphrase=SECRET), list[Path]()

    def passphrase(file: Path) -> str:
        asked.append(file)
        return SECRET

    found = signing.find((key,), str(home / "key"), passphrase=passphrase)

    assert signs(found, key)
    assert asked == [home / "key"]


def test_wrong_passphrase_and_nobody_to_ask_are_said(home: Path) -> None:
    key, file = make(home / "key", passphrase=SECRET), home / "key"

    with pytest.raises(BadInput, match=f"key: {file}: wrong passphrase"):
        signing.find((key,), str(file), passphrase=lambda _: "wrong")
    with pytest.raises(
        BadInput, match=f"{file}: it has a passphrase, and nobody .* ssh-add {file}"
    ):
        signing.find((key,), str(file))


def test_agent_spares_the_passphrase(agent: str, home: Path) -> None:
    key, file = make(home / "key"), home / "key"
    add(file)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", SECRET, "-f", file], check=True)

    found = signing.find((key,), str(file))

    assert signs(found, key)


@pytest.mark.parametrize("encryption", [NoEncryption(), BestAvailableEncryption(b"secret")])
def test_key_in_pem_is_read(encryption: NoEncryption, home: Path) -> None:
    private, file = Ed25519PrivateKey.generate(), home / "key.pem"
    file.touch(0o600)
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    key = Key(public=signing.FileKey(file, private).public)

    found = signing.find((key,), str(file), passphrase=lambda _: "secret")

    assert signs(found, key)


def test_key_that_is_not_registered_is_said_before_a_passphrase_is_asked_for(home: Path) -> None:
    key, other = make(home / "key"), make(home / "other", passphrase=SECRET)

    for wanted in (str(home / "other"), str(home / "other.pub"), other.fingerprint):
        with pytest.raises(BadInput, match="not registered for you; these are: ") as caught:
            signing.find((key,), wanted, passphrase=lambda _: pytest.fail("asked"))
        assert other.fingerprint in str(caught.value)
        assert key.fingerprint in str(caught.value)


def test_nobody_without_a_key_signs() -> None:
    with pytest.raises(BadInput, match="key: none is registered for you: see `firedoor responders"):
        signing.find((), None)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_key_that_others_can_read_is_refused(mode: int, home: Path) -> None:
    key, file = make(home / "key"), home / "key"
    file.chmod(mode)

    with pytest.raises(BadInput, match=f"key: {file}: others have rights on it: chmod 600 {file}"):
        signing.find((key,), str(file))


def test_file_that_is_no_key_is_refused(home: Path) -> None:
    key, file = make(home / "key"), home / "file"
    file.touch(0o600)
    good = (home / "key").read_text()

    for text in ("", "nothing", good[:200], good.replace("A", "B"), "\0" * 100):
        file.write_text(text)
        with pytest.raises(BadInput, match=f"key: {file}: it is no private key, or a damaged one"):
            signing.find((key,), str(file))
    file.write_text("x" * 70_000)
    with pytest.raises(BadInput, match="it is too long for a key"):
        signing.find((key,), str(file))
    with pytest.raises(BadInput, match=f"key: {home}/none: it cannot be read: No such file"):
        signing.find((key,), str(home / "none"))


def test_short_rsa_key_is_refused(home: Path) -> None:
    make(home / "key", "rsa", "-b", "1024")

    with pytest.raises(BadInput, match=f"key: {home}/key: an RSA key of 1024 bits is too short"):
        signing.load_private(home / "key")


def test_public_half_is_read_with_its_comment(home: Path) -> None:
    key = make(home / "key")

    assert signing.load_public(home / "key.pub") == (key.public, "alice@laptop")


def test_private_key_is_never_taken_for_its_public_half(home: Path) -> None:
    make(home / "key")

    with pytest.raises(BadInput, match=f"key: {home}/key: that is a private key, .* its .pub file"):
        signing.load_public(home / "key")


@pytest.mark.parametrize("text", ["", "one", "ssh-ed25519 AAAA", "a b\nc d\n", "\ufffd"])
def test_what_is_no_public_key_is_refused(text: str, home: Path) -> None:
    (home / "key.pub").write_text(text)

    with pytest.raises(BadInput, match=f"key: {home}/key.pub: "):
        signing.load_public(home / "key.pub")


@pytest.fixture
def hardware(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Key, Key]]:
    """A key and a security key in an agent."""
    soft, hard = make(home / "key"), security_key()
    private = signing.load_private(home / "key")
    blob = base64.b64decode(soft.public.split()[1])

    def raw(data: bytes) -> bytes:
        assert isinstance(private, Ed25519PrivateKey)
        made = (b"ssh-ed25519", private.sign(data))
        return b"".join(len(part).to_bytes(4) + part for part in made)

    with Agent(home / "agent", {blob: raw, hard.blob: hard.raw}):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        yield soft, hold(hard)


def test_security_key_is_taken_when_asked_for(hardware: tuple[Key, Key]) -> None:
    soft, hard = hardware

    found = signing.find((soft, hard), None, hardware=True)

    assert signs(found, hard, touched=True)
    assert found.is_hardware
    assert signs(signing.find((soft, hard), None), soft)
    assert signs(signing.find((soft,), None, hardware=True), soft)


def test_security_key_that_is_not_plugged_in_is_not_replaced(hardware: tuple[Key, Key]) -> None:
    absent = hold(security_key())

    with pytest.raises(BadInput, match=r"neither in the agent nor in ~/\.ssh") as caught:
        signing.find((hardware[0], absent), None, hardware=True)
    assert absent.fingerprint in str(caught.value)


def test_file_of_a_security_key_belongs_into_the_agent(
    hardware: tuple[Key, Key], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = base64.b64decode(hardware[1].public.split()[1])
    parts = (b"none", b"none", b"")
    written = b"".join(len(part).to_bytes(4) + part for part in parts)
    whole = b"openssh-key-v1\0" + written + (1).to_bytes(4) + len(blob).to_bytes(4) + blob
    file = home / "id_ed25519_sk"
    file.touch(0o600)
    begin, end = "-----BEGIN OPENSSH PRIVATE KEY-----", "-----END OPENSSH PRIVATE KEY-----"
    file.write_text(f"{begin}\n{base64.b64encode(whole).decode()}\n{end}\n")

    assert signs(signing.find(hardware, str(file)), hardware[1], touched=True)
    monkeypatch.delenv("SSH_AUTH_SOCK")
    with pytest.raises(BadInput, match=f"its other half is in a security key: ssh-add {file}"):
        signing.find(hardware, str(file))


def test_signature_that_is_not_of_the_key_is_not_sent_on(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = security_key(), security_key()
    with Agent(home / "agent", {one.blob: other.raw}):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(home / "agent"))
        found = signing.find((hold(one),), None)

        with pytest.raises(BadInput, match="in the agent: the agent made no good signature: "):
            found.sign(MESSAGE)


def test_locked_agent_is_said(agent: str, home: Path) -> None:
    key = make(home / "key")
    add(home / "key")
    found = signing.find((key,), None)
    subprocess.run(["ssh-add", "-q", "-D"], check=True, capture_output=True)

    with pytest.raises(BadInput, match=f"SSH_AUTH_SOCK: {agent}: the agent refuses: is it locked"):
        found.sign(MESSAGE)


@contextmanager
def answering(at: Path, answer: bytes) -> Iterator[None]:
    """Answer whatever is asked on a socket, once, and hang up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(at))
        server.listen()

        def answer_once() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(answer)

        thread = threading.Thread(target=answer_once, daemon=True)
        thread.start()
        yield
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "the agent hung up"),
        (b"\0\0", "the agent hung up"),
        (b"\0\0\0\5\14", "the agent hung up"),
        (b"\0\0\0\0", "an answer of 0 bytes is none of an SSH agent"),
        (b"\xff" * 8, "an answer of 4294967295 bytes is none"),
        (b"SSH-2.0-OpenSSH\r\n", "an answer of 1397966893 bytes is none"),
        (b"\0\0\0\1\5", "the agent refuses"),
        (b"\0\0\0\1\6", "answer 6 is none of an SSH agent"),
        (b"\0\0\0\1\14", "the agent's answer is damaged: it ends too soon"),
        (b"\0\0\0\5\14\xff\xff\xff\xff", "the agent's answer is damaged: it ends too soon"),
    ],
)
def test_answer_that_is_none_of_an_agent_is_said(answer: bytes, expected: str, home: Path) -> None:
    with answering(home / "agent", answer), pytest.raises(BadInput, match=expected):
        ssh_agent.identities(str(home / "agent"))


def test_agent_that_says_nothing_is_not_waited_for_for_ever(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh_agent, "SOON", 0.1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(home / "agent"))
        server.listen()

        with pytest.raises(BadInput, match="no answer within 0 seconds"):
            ssh_agent.identities(str(home / "agent"))
