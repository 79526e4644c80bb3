"""Values as the logs of several clouds write them: times, addresses, addresses with ports."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)


@lru_cache(maxsize=1 << 14)
def milliseconds(text: str) -> int:
    """Return the epoch milliseconds of an ISO time; one without a zone is in UTC."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - EPOCH) // MILLISECOND


@lru_cache(maxsize=1 << 14)
def address(text: str | None) -> str | None:
    """Return a text if it is an IP address."""
    try:
        ip_address(text or "")
    except ValueError:
        return None
    return text


@lru_cache(maxsize=1 << 14)
def endpoint(text: str) -> tuple[str | None, int | None]:
    """Return the address and the port of `192.0.2.1:80`, `[2001:db8::1]:80`; None for neither."""
    host, _, port = text.rpartition(":")
    return address(host.strip("[]")), int(port) if port.isdecimal() else None
