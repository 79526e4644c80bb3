"""Values as the logs of several clouds write them: times, addresses, addresses with ports."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ENDPOINT: Final = r"^\[?(?P<address>[0-9a-fA-F.:]+?)\]?:(?P<port>[0-9]{1,5})$"
TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.]\d{1,6})?Z?", re.ASCII)
MILLISECOND: Final = timedelta(milliseconds=1)


@lru_cache(maxsize=1 << 14)
def milliseconds(text: str) -> int:
    """Return the epoch milliseconds of an ISO time; raises `ValueError`."""
    return since_epoch(datetime.fromisoformat(text))


def since_epoch(time: datetime) -> int:
    """Return the epoch milliseconds of a time; one without a zone is in UTC."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND


def time_of(text: str, member: str) -> int:
    """Return the epoch milliseconds of an ISO time; raises `ValueError` that names its member."""
    try:
        return milliseconds(text)
    except ValueError:
        raise ValueError(f"{member}: expected a time, not {text[:40]}") from None


@lru_cache(maxsize=1 << 14)
def address(text: str | None) -> str | None:
    """Return a text if it is an IP address."""
    try:
        ip_address(text or "")
    except ValueError:
        return None
    return text


def is_address(text: str) -> bool:
    """Tell a text that is an IP address."""
    return address(text) is not None


def is_time(text: str) -> bool:
    """Tell an ISO time in UTC, as `times` reads it."""
    if not TIME.fullmatch(text):
        return False
    try:
        return milliseconds(text) >= 0
    except ValueError:
        return False


def times(texts: pa.Array) -> pa.Array:
    """Return the epoch milliseconds of ISO times in UTC, with or without a `Z`.

    Raises `ValueError` if one is none.
    """
    finest = pc.utf8_rtrim(texts, "Z").cast(pa.timestamp("us"))
    return pc.divide(finest.cast(pa.int64()), 1000)


def endpoints(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return addresses and ports of `192.0.2.1:80` or `[2001:db8::1]:80`, null of anything else."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if pa.types.is_dictionary(texts.type):
        hosts, ports = endpoints(texts.dictionary)
        return hosts.take(texts.indices), ports.take(texts.indices)
    found = pc.extract_regex(texts, ENDPOINT)
    hosts = pc.struct_field(found, "address").dictionary_encode()
    known = pa.array([address(host) for host in hosts.dictionary.to_pylist()], pa.string())
    addresses = known.take(hosts.indices).dictionary_encode()
    return addresses, pc.struct_field(found, "port").cast(pa.int32())


@lru_cache(maxsize=1 << 14)
def endpoint(text: str | None) -> tuple[str | None, int | None]:
    """Return the address and the port of `192.0.2.1:80`, `[2001:db8::1]:80`, or of one alone.

    Of what is no address, both are None.
    """
    for host, port in _readings((text or "").strip()):
        if address(host):
            return host, int(port) if port.isdecimal() else None
    return None, None


def _readings(text: str) -> Iterator[tuple[str, str]]:
    yield text, ""
    host, _, port = text.rpartition(":")
    yield host, port
    yield text.strip("[]"), ""
    yield host.strip("[]"), port
