"""A POST over HTTP: sent once, answered within a bound, never redirected, and silent on secrets."""

import ipaddress
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import IO, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import SecretStr

from firedoor.channel import Busy
from firedoor.errors import BadInput, Refused, Unreachable

TIMEOUT = 10.0
"""Seconds for connecting, for each part of the answer's head, and for its body."""

LARGEST = 64 * 1024
"""Bytes of an answer that are read."""

SHORTEST_WAIT, LONGEST_WAIT = timedelta(seconds=1), timedelta(minutes=15)
"""How long the other side may make us wait: people are waiting for the message."""

LATER = frozenset({408, 425, 429})
"""Too slow, too early, too many: the only refusals that a repeat can mend."""

PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class Address:
    """Where something is posted. Only its host may be shown: with many services it is a secret."""

    url: str = field(repr=False)
    host: str


def address(value: str | SecretStr | None, setting: str, *, tls: bool = True) -> Address:
    """Return the address that a setting holds; with `tls`, one of https unless it is loopback.

    Raises `BadInput` naming the setting.
    """
    url = secret(value, setting, "a URL of https")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise BadInput("settings", setting, "a URL of https") from None
    if not host or parts.scheme not in {"http", "https"}:
        raise BadInput("settings", setting, "a URL of https")
    if parts.username is not None or parts.password is not None:
        raise BadInput("settings", setting, "a URL without a user and a password in it")
    if tls and parts.scheme != "https" and not is_loopback(host):
        raise BadInput("settings", setting, "a URL of https, as what is sent is not for everybody")
    return Address(url, host)


def secret(value: str | SecretStr | None, setting: str, expected: str) -> str:
    """Return what a setting holds; raises `BadInput` naming it if it is not there or unusable."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if not text:
        raise BadInput("settings", setting, f"not set; expected {expected}")
    if not PRINTABLE.fullmatch(text):  # a line end in it would end a header, too
        raise BadInput("settings", setting, f"expected {expected}, in ASCII and without blanks")
    return text


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, so that nobody can listen on the way."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def post(
    who: str,
    to: Address,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    explain: Callable[[bytes], str] = lambda _: "",
) -> bytes:
    """Post JSON, and return the answer's body, of which `LARGEST` bytes are read.

    Raises `Busy` where the other side wants it later, `Unreachable` where it failed (5xx) or does
    not answer, and `Refused` for every other answer but 2xx, which no repeat would change;
    `explain` picks from the body of a refusal what may be shown.
    """
    usual = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "firedoor"}
    request = Request(to.url, body, {**usual, **(headers or {})}, method="POST")  # noqa: S310 - checked
    # What is raised here has no cause, as the text of that may hold the whole address.
    try:
        with build_opener(_StayHere).open(request, timeout=TIMEOUT) as answer:
            return _read(answer)
    except HTTPError as error:
        raise _refusal(f"{who} at {to.host}: HTTP {error.code}", error, explain) from None
    except (OSError, HTTPException) as error:
        raise Unreachable(f"{who} at {to.host}: {_reason(error)}") from None


class _StayHere(HTTPRedirectHandler):
    """Follows no redirect: a POST would arrive elsewhere as a GET, without its body."""

    def redirect_request(
        self,
        req: Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        """Make the redirect the error that it is."""
        return


class _Readable(Protocol):
    def read1(self, n: int = -1, /) -> bytes: ...


def _read(answer: _Readable) -> bytes:
    """Read a body as far as it comes in time: drop by drop it could go on for ever."""
    body, until = b"", time.monotonic() + TIMEOUT
    while len(body) < LARGEST and time.monotonic() < until:
        part = answer.read1(LARGEST - len(body))
        if not part:
            break
        body += part
    return body


def _refusal(
    said: str, error: HTTPError, explain: Callable[[bytes], str]
) -> Busy | Unreachable | Refused:
    if error.code in LATER or error.code >= 500:
        after = _wait(error.headers.get("Retry-After"))
        return Busy(said, after) if error.code in LATER or after else Unreachable(said)
    if 300 <= error.code < 400:
        return Refused(f"{said}: redirects are not followed; set the address that it leads to")
    body = b""
    with suppress(OSError, HTTPException):
        body = _read(error)
    reason = explain(body)
    return Refused(f"{said}: {reason}" if reason else said)


def _wait(said: str | None) -> timedelta | None:
    """Read Retry-After, which is seconds or a date (RFC 9110, section 10.2.3)."""
    if not said:
        return None
    if re.fullmatch(r"[0-9]{1,9}", said):
        wait = timedelta(seconds=int(said))
    else:
        try:
            wait = parsedate_to_datetime(said).astimezone(UTC) - datetime.now(UTC)
        except (ValueError, OverflowError):
            return None
    return min(max(wait, SHORTEST_WAIT), LONGEST_WAIT)


def _reason(error: Exception) -> str:
    """Return why there is no answer, in words that hold no address."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__
