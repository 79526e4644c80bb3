"""What holds for every channel that posts: what is tried again, and that no secret gets out."""

import http.server
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from activities.records import _post
from firedoor.channel import Busy, Channel
from firedoor.discovery import find
from firedoor.errors import BadInput, FiredoorError, Refused, Unreachable
from firedoor.model.message import Message
from firedoor.settings import settings

CHANNELS = find("activities.records", Channel)

SECRET = "s3cr3tpath"
KEY = f"{SECRET}0000000000000000000000"
SIGNING = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

WAYS: dict[str, Callable[[str], dict[str, str]]] = {
    "slack": lambda url: {
        "slack_token": f"xoxb-{SECRET}",
        "slack_channel": "C012AB3CD",
        "slack_url": url,
    },
    "slack webhook": lambda url: {"slack_webhook": url},
    "teams": lambda url: {"teams_webhook": url},
    "pagerduty": lambda url: {"pagerduty_key": KEY, "pagerduty_url": url},
    "webhook": lambda url: {"notify_webhook": url, "notify_secret": SIGNING},
}

FINE = {
    "slack": b'{"ok": true, "ts": "1767268800.000100"}',
    "slack webhook": b"ok",
    "pagerduty": b'{"status": "success", "dedup_key": "incident"}',
}

each_way = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def deliver(way: str, use: Any, receiver: Any, message: Any) -> Callable[[], str]:
    use(**WAYS[way](receiver.url))
    channel = CHANNELS[way.split()[0]]
    channel.check()
    return lambda: channel.deliver(message()).answer


def caught(deliver: Callable[[], str], kind: type[FiredoorError]) -> FiredoorError:
    """Return the error, after a look at all that of it could be shown or kept."""
    with capture_logs() as logged, pytest.raises(FiredoorError) as found:
        deliver()
    shown = "".join(traceback.format_exception(found.value)) + repr(found.value) + str(logged)
    assert SECRET not in shown
    assert found.value.__cause__ is None
    assert type(found.value) is kind
    return found.value


@each_way
def test_every_way_to_post_is_tried(way: str) -> None:
    assert way.split()[0] in CHANNELS


@each_way
def test_too_many_is_tried_again_when_the_other_side_says(
    way: str, deliver: Any, receiver: Any
) -> None:
    receiver.answers((429, b""), (200, FINE.get(way, b"")), Retry_After="7")

    error = caught(deliver, Busy)
    answer = deliver()

    assert isinstance(error, Busy)
    assert error.retryable
    assert error.after == timedelta(seconds=7)
    assert answer
    assert [one.method for one in receiver.got] == ["POST", "POST"]


@each_way
@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_that_failed_is_tried_again(
    way: str, status: int, deliver: Any, receiver: Any
) -> None:
    receiver.answers((status, b""))

    error = caught(deliver, Unreachable)

    assert error.retryable
    assert f"127.0.0.1: HTTP {status}" in str(error)


@each_way
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413])
def test_what_is_refused_is_not_tried_again(
    way: str, status: int, deliver: Any, receiver: Any
) -> None:
    receiver.answers((status, f"no such thing as {receiver.url}".encode()))

    error = caught(deliver, Refused)

    assert not error.retryable
    assert str(error).endswith(f"127.0.0.1: HTTP {status}")


@each_way
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed_as_it_would_lose_the_message(
    way: str, status: int, deliver: Any, receiver: Any
) -> None:
    receiver.answers((status, b""), Location=f"/elsewhere/{SECRET}")

    error = caught(deliver, Refused)

    assert "redirects are not followed" in str(error)
    assert [one.method for one in receiver.got] == ["POST"]


@each_way
def test_server_that_is_slow_is_tried_again(
    way: str, deliver: Any, receiver: Any, impatient: None
) -> None:
    receiver.answers((200, FINE.get(way, b"")), after=1)

    error = caught(deliver, Unreachable)

    assert str(error).endswith("no answer in time")


@each_way
def test_server_that_is_not_there_is_tried_again(way: str, use: Any, message: Any) -> None:
    use(**WAYS[way](f"http://127.0.0.1:1/{SECRET}"))

    error = caught(lambda: CHANNELS[way.split()[0]].deliver(message()).answer, Unreachable)

    assert str(error).endswith("at 127.0.0.1: Connection refused")


@pytest.mark.parametrize(
    ("said", "after"),
    [
        ("0", 1),
        ("60", 60),
        ("99999", 15 * 60),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 15 * 60),
        ("Thu, 01 Jan 2015 00:00:00 GMT", 1),
    ],
)
def test_wait_is_what_was_said_within_bounds(
    said: str, after: int, use: Any, receiver: Any, message: Any
) -> None:
    use(**WAYS["webhook"](receiver.url))
    receiver.answers((503, b""), Retry_After=said)

    error = caught(lambda: CHANNELS["webhook"].deliver(message()).answer, Busy)

    assert isinstance(error, Busy)
    assert error.after == timedelta(seconds=after)


@pytest.mark.parametrize("said", ["soon", "-1", "9" * 40, "Thu, 99 Foo 2099"])
def test_wait_that_cannot_be_read_is_none(said: str, use: Any, receiver: Any, message: Any) -> None:
    use(**WAYS["webhook"](receiver.url))
    receiver.answers((429, b""), Retry_After=said)

    error = caught(lambda: CHANNELS["webhook"].deliver(message()).answer, Busy)

    assert isinstance(error, Busy)
    assert error.after is None


class _Drop(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        for _ in range(200):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def dripping() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Drop) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_answer_that_comes_drop_by_drop_holds_nothing_up(
    dripping: str, use: Any, message: Any, impatient: None
) -> None:
    use(**WAYS["webhook"](dripping))
    begun = time.monotonic()

    CHANNELS["webhook"].deliver(message())

    assert time.monotonic() - begun < 2


ADDRESSES = {
    "slack_webhook": "slack",
    "slack_url": "slack",
    "teams_webhook": "teams",
    "pagerduty_url": "pagerduty",
    "notify_webhook": "webhook",
}


@pytest.mark.parametrize("setting", ADDRESSES)
@pytest.mark.parametrize(
    "url",
    [
        f"file:///etc/{SECRET}",
        f"ftp://example.com/{SECRET}",
        "http://",
        "nonsense",
        f"https://[{SECRET}",
        f"https://example.com:port/{SECRET}",
        f"https://user:{SECRET}@example.com/",
        f"https://example.com/{SECRET}\u00e9",
        f"https://example.com/{SECRET} or",
    ],
)
def test_address_that_cannot_be_used_is_named_and_not_shown(
    setting: str, url: str, use: Any, message: Any
) -> None:
    channel = ADDRESSES[setting]
    if setting != "slack_webhook":
        use(**WAYS[channel]("https://example.com/"))
    use(**{setting: url})

    with pytest.raises(BadInput, match=f"FIREDOOR_{setting.upper()}") as found:
        CHANNELS[channel].check()

    assert SECRET not in "".join(traceback.format_exception(found.value))


@pytest.mark.parametrize("setting", ["slack_webhook", "slack_url", "teams_webhook"])
def test_what_is_a_secret_goes_over_tls_only(setting: str, use: Any) -> None:
    channel = ADDRESSES[setting]
    if setting != "slack_webhook":
        use(**WAYS[channel]("https://example.com/"))
    use(**{setting: "http://example.com/"})

    with pytest.raises(BadInput, match=f"FIREDOOR_{setting.upper()}: a URL of https"):
        CHANNELS[channel].check()


@pytest.mark.parametrize("name", CHANNELS)
def test_channel_that_is_not_set_up_says_which_setting_it_needs(
    name: str, use: Any, message: Callable[..., Message]
) -> None:
    channel = CHANNELS[name]

    with pytest.raises(BadInput, match="FIREDOOR_") as found:
        channel.check()
    with pytest.raises(BadInput):
        channel.deliver(message())

    assert found.value.where in channel.setting


@each_way
def test_channel_of_which_only_a_part_is_set_up_is_begun(way: str, use: Any) -> None:
    channel = CHANNELS[way.split()[0]]
    assert not channel.is_begun

    for name, value in WAYS[way]("https://example.com/").items():
        if not name.endswith("_url"):
            use(**{name: value})
            assert channel.is_begun


def test_settings_show_no_secret(use: Any) -> None:
    for way in WAYS.values():
        use(**way(f"https://example.com/{SECRET}"))
    use(smtp=f"smtp://user:{SECRET}@example.com", slack_url="", pagerduty_url="")

    assert SECRET not in repr(settings())
    assert SECRET not in str(settings().model_dump())


def test_address_shows_its_host_only() -> None:
    to = _post.address(f"https://example.com/{SECRET}", "FIREDOOR_NOTIFY_WEBHOOK")

    assert SECRET not in repr(to)
    assert to.host == "example.com"
