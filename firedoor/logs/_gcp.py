"""What the entries of Google Cloud Logging have in common, whatever the log.

https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final
from urllib.parse import unquote

import msgspec

from firedoor.log_source import Piece, Sample
from firedoor.logs._values import since_epoch

# Protocol buffers in JSON: integers of 64 bits are texts, and a client that knows none has floats.
Count = int | float | Annotated[str, msgspec.Meta(pattern=r"^\d{1,18}$")]
Port = int | float

ZONE: Final = re.compile(r"-[a-z]$")


class Resource(msgspec.Struct, frozen=True):
    """What the entry is of."""

    type: str = ""
    labels: Mapping[str, str] = {}


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every entry has; each log adds its payload."""

    timestamp: datetime
    log_name: str = ""
    insert_id: str = ""
    resource: Resource = Resource()


class Connection(msgspec.Struct, frozen=True):
    """The two ends of a flow, as VPC flow logs and firewall logs write them."""

    src_ip: str = ""
    dest_ip: str = ""
    src_port: Port = 0
    dest_port: Port = 0
    protocol: Port | None = None


class Instance(msgspec.Struct, frozen=True):
    """A virtual machine."""

    vm_name: str = ""
    region: str = ""


class Vpc(msgspec.Struct, frozen=True):
    """A network, and the part of it."""

    vpc_name: str = ""
    subnetwork_name: str = ""
    subnetwork_region: str = ""


@lru_cache(maxsize=1 << 12)
def log_id(log_name: str) -> str:
    """Return which log a name is of: `dns.googleapis.com/dns_queries`, whoever's it is."""
    return unquote(log_name.rpartition("/logs/")[2])


def logged(sample: Sample) -> str:
    """Return the id of the log that a sample says it is of, or nothing."""
    name = sample.record.get("logName")
    return log_id(name) if isinstance(name, str) else ""


def require(entry: LogEntry, *logs: str) -> None:
    """Raise `ValueError` for an entry of another log, so that it is given to whose it is."""
    if log_id(entry.log_name) not in logs:
        raise ValueError(f"logName: expected {' or '.join(logs)}, not {entry.log_name}")


def whole(number: Count | None) -> int | None:
    """Return a number that may be written as text or with a fraction."""
    return None if number is None else int(number)


def account(entry: LogEntry) -> str:
    """Return the project of an entry; the organization, folder or billing account if it has none.

    The resource says it by its id. The name of a log holds whose log it is.
    """
    return entry.resource.labels.get("project_id") or _owner(entry.log_name)


def region(entry: LogEntry) -> str:
    """Return the region of an entry's resource; a zone is in one."""
    labels = entry.resource.labels
    return region_of(labels.get("location") or labels.get("region") or labels.get("zone") or "")


@lru_cache(maxsize=1 << 10)
def region_of(location: str) -> str:
    """Return the region of a location, which may be a zone: `europe-west1-c`."""
    return ZONE.sub("", location)


def common(
    piece: Piece, source: str, entry: Callable[[Any], LogEntry] = lambda row: row
) -> dict[str, Any]:
    """Return how the columns that every relation has are got from a row, which holds an entry."""
    place = piece.place
    return {
        "time": lambda row: since_epoch(entry(row).timestamp),
        "cloud": "gcp",
        "account": lambda row: account(entry(row)) or place.account,
        "region": lambda row: region(entry(row)) or place.region,
        "source": source,
    }


@lru_cache(maxsize=1 << 10)
def _owner(log_name: str) -> str:
    return log_name.partition("/logs/")[0].rpartition("/")[2] if "/logs/" in log_name else ""
