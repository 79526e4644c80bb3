"""Security keys made of software, and an SSH agent that holds keys: for tests and the demo."""

import hashlib
import socketserver
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firedoor.approvals.sshsig import SK_ECDSA, SK_ED25519, TOUCHED, armoured, covered, string

APPLICATION = b"ssh:"


class SecurityKey(NamedTuple):
    """What a security key would do, without one: good for nothing but trying things out."""

    private: Ed25519PrivateKey | ec.EllipticCurvePrivateKey

    @property
    def blob(self) -> bytes:
        """The public half in SSH's own form."""
        match self.private:
            case Ed25519PrivateKey() as key:
                point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
                return b"".join(map(string, (SK_ED25519.encode(), point, APPLICATION)))
            case key:
                form = Encoding.X962, PublicFormat.UncompressedPoint
                point = key.public_key().public_bytes(*form)
                parts = (SK_ECDSA.encode(), b"nistp256", point, APPLICATION)
                return b"".join(map(string, parts))

    def raw(self, data: bytes, flags: int = TOUCHED, counter: int = 7) -> bytes:
        """Return a signature over bytes in SSH's own form, with what the key says of it."""
        said = bytes([flags]) + counter.to_bytes(4)
        digests = hashlib.sha256(APPLICATION).digest(), hashlib.sha256(data).digest()
        signed = digests[0] + said + digests[1]
        match self.private:
            case Ed25519PrivateKey() as key:
                return string(SK_ED25519.encode()) + string(key.sign(signed)) + said
            case key:
                pair = decode_dss_signature(key.sign(signed, ec.ECDSA(SHA256())))
                written = b"".join(string(n.to_bytes(n.bit_length() // 8 + 1)) for n in pair)
                return string(SK_ECDSA.encode()) + string(written) + said

    def sign(self, message: bytes, flags: int = TOUCHED) -> str:
        """Return a signature over a message, as text."""
        return armoured(self.blob, self.raw(covered(message), flags))


def security_key() -> SecurityKey:
    """Return a new Ed25519 security key."""
    return SecurityKey(Ed25519PrivateKey.generate())


class Agent(socketserver.ThreadingUnixStreamServer):
    """An SSH agent on a socket, which holds keys by their public halves.

    draft-ietf-sshm-ssh-agent. What it holds are functions that sign bytes in SSH's own form.
    """

    daemon_threads = True

    def __init__(self, socket: Path, keys: Mapping[bytes, Callable[[bytes], bytes]]) -> None:
        super().__init__(str(socket), _Conversation)
        self.keys = dict(keys)

    def __enter__(self) -> "Agent":
        """Start to answer."""
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer no more."""
        self.shutdown()
        self.server_close()


class _Conversation(socketserver.StreamRequestHandler):
    """Answers one program for as long as that asks."""

    server: Agent

    def handle(self) -> None:
        while head := self.rfile.read(4):
            request = self.rfile.read(int.from_bytes(head))
            self.wfile.write(string(self._answer(request)))

    def _answer(self, request: bytes) -> bytes:
        keys = self.server.keys
        if request[:1] == b"\x0b":
            listed = b"".join(string(blob) + string(b"software") for blob in keys)
            return b"\x0c" + len(keys).to_bytes(4) + listed
        if request[:1] == b"\x0d":
            blob, rest = _taken(request[1:])
            if blob in keys:
                return b"\x0e" + string(keys[blob](_taken(rest)[0]))
        return b"\x05"


def _taken(data: bytes) -> tuple[bytes, bytes]:
    end = 4 + int.from_bytes(data[:4])
    return data[4:end], data[end:]
