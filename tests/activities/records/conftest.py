"""Receivers that really listen, and a message for them."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from activities.records import _post
from firedoor.model.finding import Severity
from firedoor.model.message import Addressee, Message, Occasion
from firedoor.settings import settings
from firedoor.testing import NOW

SECRET = "s3cr3tpath"
"""Part of every address and token here: it must show up nowhere."""


@dataclass(frozen=True)
class Got:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Says:
    """What a receiver answers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0  # seconds


class Receiver(ThreadingHTTPServer):
    """Keeps what is posted to it, and answers as it was told, in the end always the same."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[Got] = []
        self.says = [Says()]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/{SECRET}"

    def answers(self, *says: tuple[int, bytes], after: float = 0, **headers: str) -> None:
        """Answer these, one after the other, and the last of them from then on."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.says = [Says(status, body, named, after) for status, body in says]

    @property
    def only(self) -> Got:
        (one,) = self.got
        return one


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.got.append(Got(self.command, self.path, headers, body))
        says = self.server.says.pop(0) if len(self.server.says) > 1 else self.server.says[0]
        time.sleep(says.after)
        self.send_response(says.status)
        for key, value in says.headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(says.body)))
        self.end_headers()
        with suppress(BrokenPipeError):  # of one who did not wait for it
            self.wfile.write(says.body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Use:
    """Sets settings of this process."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def __call__(self, **values: str) -> None:
        for name, value in values.items():
            self._patch.setenv(f"FIREDOOR_{name.upper()}", value)
        settings.cache_clear()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Use]:
    for name in [name for name in os.environ if name.startswith("FIREDOOR_")]:
        monkeypatch.delenv(name)
    made = Use(monkeypatch)
    made(home=str(tmp_path))
    yield made
    settings.cache_clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait long for an answer."""
    monkeypatch.setattr(_post, "TIMEOUT", 0.2)


INCIDENT = "incident/aws/123456789012/us-east-1/instance/i-0aaaaaaaaaaaaaaaa"
DIGEST = "5f" * 32

SAID = (
    "It talks to a command and control server.",
    "Move i-0aaaaaaaaaaaaaaaa into the quarantine group.",
    "12 clients of the shop lose it.",
    "Open connections.",
    INCIDENT,
    DIGEST,
    "2026-01-01 13:00:00 UTC",
    f"firedoor approve {INCIDENT} isolate",
)


@pytest.fixture
def message() -> Callable[..., Message]:
    """Return a plan that waits for a decision; any member can be set."""
    return _message


@pytest.fixture
def said() -> tuple[str, ...]:
    """What of it people must be told by every channel."""
    return SAID


def _message(**members: object) -> Message:
    values: dict[str, object] = {
        "id": "isolate/asked/1",
        "occasion": Occasion.ASKED,
        "at": NOW,
        "incident": INCIDENT,
        "run": "0198a1b2-0000-7000-8000-000000000000",
        "step": "isolate",
        "subject": "aws/123456789012/us-east-1/instance/i-0aaaaaaaaaaaaaaaa",
        "severity": Severity.HIGH,
        "title": "Decide on isolate: i-0aaaaaaaaaaaaaaaa",
        "text": "It talks to a command and control server.",
        "plans": ("Move i-0aaaaaaaaaaaaaaaa into the quarantine group.",),
        "blast_radius": ("12 clients of the shop lose it.",),
        "lost": ("Open connections.",),
        "plan_digest": DIGEST,
        "deadline": "2026-01-01T13:00:00Z",
        "how": f"firedoor approve {INCIDENT} isolate",
        "to": (
            Addressee(
                name="alice",
                email="alice@example.com",
                slack="U012AB3CD",
                teams="0f8fad5b-d9cb-469f-a165-70867728950e",
            ),
        ),
    }
    return Message.model_validate(values | members)
