"""The SSH agent, asked over its socket which keys it holds, and to sign with them.

https://datatracker.ietf.org/doc/draft-ietf-sshm-ssh-agent/
"""

import os
import socket
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from firedoor.approvals.sshsig import RSA, BadSignature, Reader, string
from firedoor.errors import BadInput

VARIABLE = "SSH_AUTH_SOCK"

FAILURE = 5
REQUEST_IDENTITIES, IDENTITIES = 11, 12
SIGN_REQUEST, SIGNED = 13, 14
RSA_SHA2_512 = 4  # the flag without which RSA keys sign with SHA-1

LARGEST = 256 * 1024  # bytes of an answer, as in OpenSSH
SOON = 10.0  # seconds, for what needs nobody
PATIENCE = 90.0  # seconds, for somebody to touch a security key, or to say yes to the agent

T = TypeVar("T")


class Identity(NamedTuple):
    """A key that an agent holds."""

    blob: bytes
    """The public half in SSH's own form."""
    comment: str


def place() -> str | None:
    """Return where the agent of this process listens, if it has one."""
    return os.environ.get(VARIABLE) or None


def identities(at: str) -> tuple[Identity, ...]:
    """Return the keys that an agent holds. Raises `BadInput` if it does not answer."""

    def listed(answer: Reader) -> tuple[Identity, ...]:
        # One after the other: the number that it says itself is not to be trusted.
        count = answer.number()
        found = list[Identity]()
        while len(found) < count:
            found.append(Identity(answer.string(), answer.string().decode(errors="replace")))
        return tuple(found)

    request = bytes([REQUEST_IDENTITIES])
    return _asked(at, request, IDENTITIES, listed, SOON)


def sign(at: str, blob: bytes, data: bytes) -> bytes:
    """Return an agent's signature over bytes, in SSH's own form.

    Waits for somebody to touch a security key. Raises `BadInput` if the agent will not.
    """
    flags = RSA_SHA2_512 if Reader(blob).text() == RSA else 0
    request = bytes([SIGN_REQUEST]) + string(blob) + string(data) + flags.to_bytes(4)
    return _asked(at, request, SIGNED, Reader.string, PATIENCE)


def _asked(
    at: str, request: bytes, expected: int, read: Callable[[Reader], T], patience: float
) -> T:
    """Ask once, on a connection of its own, and read an answer of the kind that is expected."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(patience)
            line.connect(at)
            line.sendall(string(request))
            answer = _answer(line, at)
    except TimeoutError as error:
        raise BadInput(VARIABLE, at, f"no answer within {patience:.0f} seconds") from error
    except OSError as error:
        what = f"the agent cannot be asked: {error.strerror or error}; start one with ssh-agent"
        raise BadInput(VARIABLE, at, what) from error
    if answer[0] == FAILURE:
        raise BadInput(VARIABLE, at, "the agent refuses: is it locked, or was the key not touched?")
    if answer[0] != expected:
        raise BadInput(VARIABLE, at, f"answer {answer[0]} is none of an SSH agent")
    try:
        return read(Reader(answer[1:]))
    except BadSignature as error:
        raise BadInput(VARIABLE, at, f"the agent's answer is damaged: {error}") from error


def _answer(line: socket.socket, at: str) -> bytes:
    size = int.from_bytes(_exactly(line, 4, at))
    if not 0 < size <= LARGEST:
        raise BadInput(VARIABLE, at, f"an answer of {size} bytes is none of an SSH agent")
    return _exactly(line, size, at)


def _exactly(line: socket.socket, size: int, at: str) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = line.recv(size - len(received))
        if not part:
            raise BadInput(VARIABLE, at, "the agent hung up")
        received += part
    return bytes(received)
