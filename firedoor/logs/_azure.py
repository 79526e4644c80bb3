"""What the logs of Azure have in common: times, ids of resources, addresses with their ports."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)


def milliseconds(text: str) -> int:
    """Return the epoch milliseconds of an ISO time; one without a zone is in UTC."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - EPOCH) // MILLISECOND


def first_time(*texts: str) -> int:
    """Return the milliseconds of the first time that is there; raises `ValueError` if none is."""
    for text in texts:
        if text:
            return milliseconds(text)
    raise ValueError("expected a time")


@lru_cache(maxsize=1 << 12)
def subscription(resource_id: str) -> str | None:
    """Return the subscription, or for Entra ID the tenant, that the id of a resource names."""
    parts = resource_id.lower().split("/")
    if len(parts) > 2 and parts[1] in ("subscriptions", "tenants"):
        return parts[2]
    return None


def same(resource_id: str) -> str | None:
    """Return an id in lower case: Azure writes one id in several ways, and takes them as one."""
    return resource_id.lower() or None


def said(text: str) -> str | None:
    """Return a text, or None where it says that there is nothing."""
    return None if text in ("", "-") else text


@lru_cache(maxsize=1 << 14)
def endpoint(text: str) -> tuple[str | None, int | None]:
    """Return the address and the port of `address`, `address:port` or `[address]:port`.

    What is no address is None.
    """
    for address, port in _readings(text.strip()):
        if _is_address(address):
            return address, int(port) if port.isdecimal() else None
    return None, None


def address(text: str) -> str | None:
    """Return the address of an endpoint, or None if there is none."""
    return endpoint(text)[0]


def _readings(text: str) -> Iterator[tuple[str, str]]:
    yield text, ""
    host, _, port = text.rpartition(":")
    yield host, port
    yield text.strip("[]"), ""
    yield host.strip("[]"), port


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
