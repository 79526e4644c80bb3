"""Telling people, against a receiver that really listens."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from activities.records import notify
from activities.records.notify import Params, apply
from firedoor.errors import BadInput, Unreachable
from firedoor.model.plan import Plan, Target
from firedoor.settings import settings
from firedoor.testing import NOW, instance


class Receiver(HTTPServer):
    """Keeps what is posted to it."""

    status = 200
    location = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/secret"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.headers["Content-Type"], json.loads(body)))
        self._answer()

    def do_GET(self) -> None:
        self.server.requests.append(("GET", None))
        self._answer()

    def _answer(self) -> None:
        self.send_response(self.server.status)
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", "0")
        self.end_headers()

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


@pytest.fixture(autouse=True)
def own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path))
    monkeypatch.delenv("FIREDOOR_NOTIFY_WEBHOOK", raising=False)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture
def webhook(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    use(receiver.url, monkeypatch)
    return receiver


def use(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREDOOR_NOTIFY_WEBHOOK", url)
    settings.cache_clear()


def planned(message: str = "") -> Plan:
    target = Target(subject=instance(), incident="incident/1", step="tell", at=NOW)
    (plan,) = notify.plan(target, Params(message=message), None)
    return plan


ABOUT = "incident/1: instance i-0aaaaaaaaaaaaaaaa in aws 123456789012 us-east-1"


def test_without_a_webhook_the_log_is_told() -> None:
    plan = planned("Call the owner.")

    with capture_logs() as lines:
        receipt = apply(plan, None)

    (line,) = lines
    assert (line["event"], line["incident"]) == ("incident.notified", "incident/1")
    assert line["text"] == f"{ABOUT}: Call the owner."
    assert receipt.created == {"log": "incident.notified"}


def test_webhook_is_told_in_json(webhook: Receiver) -> None:
    plan = planned()

    receipt = apply(plan, None)

    ((content_type, body),) = webhook.requests
    assert content_type == "application/json"
    assert body == {
        "id": plan.digest,
        "text": ABOUT,
        "incident": "incident/1",
        "step": "tell",
        "subject": "aws/123456789012/us-east-1/instance/i-0aaaaaaaaaaaaaaaa",
        "summary": plan.summary,
    }
    assert receipt.created["127.0.0.1"] == "HTTP 200"


def test_plan_names_the_webhook_without_its_secret(webhook: Receiver) -> None:
    plan = planned()

    assert plan.summary == "Tell log and 127.0.0.1 about instance i-0aaaaaaaaaaaaaaaa."
    assert "secret" not in plan.model_dump_json()
    assert plan.calls == ()


@pytest.mark.parametrize("status", [404, 503])
def test_webhook_that_refuses_is_tried_again_later(status: int, webhook: Receiver) -> None:
    plan = planned()
    webhook.status = status

    with pytest.raises(Unreachable, match=f"HTTP {status}") as caught:
        apply(plan, None)

    assert caught.value.retryable
    assert "secret" not in str(caught.value)


def test_webhook_that_is_not_there_is_tried_again_later(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("http://127.0.0.1:1/hook", monkeypatch)

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        apply(planned(), None)


def test_redirect_is_not_followed_as_it_would_lose_the_message(webhook: Receiver) -> None:
    webhook.status, webhook.location = 302, "/elsewhere"

    with pytest.raises(Unreachable, match="HTTP 302"):
        apply(planned(), None)

    assert [kind for kind, _ in webhook.requests] == ["application/json"]


@pytest.mark.parametrize("url", ["file:///etc/hosts", "ftp://example.com/", "http://", "nonsense"])
def test_only_the_web_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(url, monkeypatch)

    with pytest.raises(BadInput, match="notify_webhook"):
        planned()
