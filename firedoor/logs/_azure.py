"""What the logs of Azure have in common: their records, times, ids, addresses and codes.

Azure writes one id in several ways, `/SUBSCRIPTIONS/...` and `/subscriptions/...`, and takes them
as one: ids of resources and subscriptions are in lower case here, whatever the log.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from firedoor.log_source import Into, Parsed, Piece, records
from firedoor.logs import _names, _values
from firedoor.relations import Relation

# https://www.iana.org/assignments/dns-parameters
RCODES: Final = {
    0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED",
    6: "YXDOMAIN", 7: "YXRRSET", 8: "NXRRSET", 9: "NOTAUTH", 10: "NOTZONE",
}  # fmt: skip
TYPES: Final = {
    1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 10: "NULL", 12: "PTR", 13: "HINFO", 15: "MX", 16: "TXT",
    28: "AAAA", 33: "SRV", 35: "NAPTR", 43: "DS", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 52: "TLSA",
    64: "SVCB", 65: "HTTPS", 99: "SPF", 252: "AXFR", 255: "ANY", 257: "CAA",
}  # fmt: skip

NOTHING: Final = (None, "", "-")
LAST_PORT: Final = 65535
LARGEST: Final = (1 << 63) - 1

Text = str | None
Number = int | float | str | None
"""A number as Azure writes it: as one, as a text, or as an empty text where there is none."""
Getter = Callable[[Any], Any]


class Diagnostic(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What the records of diagnostic settings have in common."""

    category: str
    resource_id: Text = None
    time: Text = None
    # Application gateways have their time under one of these.
    time_stamp: Text = None
    timestamp: Text = None
    location: Text = None

    def at(self) -> int:
        """Return its time; raises `ValueError` where it has none."""
        return first_time(self.time, self.time_stamp, self.timestamp)


def parse(
    piece: Piece,
    type_: type[Any],
    relation: Relation,
    columns: Mapping[str, Any],
    rows: Callable[[Any], Iterable[Any]] | None = None,
) -> Parsed:
    """Return rows of a relation; what a record does not say, the place of its object does."""
    place = piece.place
    account, region = columns["account"], columns.get("region", lambda _: None)
    known = {
        **columns,
        "cloud": "azure",
        "account": lambda row: account(row) or place.account or None,
        "region": lambda row: region(row) or place.region,
    }
    return records(type_, Into(relation, known, rows))(piece)


def names(hostname: Getter) -> dict[str, Getter]:
    """Return how to get the name that was asked for, and all that is known of it."""

    def known(column: str) -> Getter:
        return lambda row: getattr(_names.name(hostname(row)), column)

    return {column: known(column) for column in _names.Name._fields}


def first_time(*texts: Text) -> int:
    """Return the milliseconds of the first time that is there; raises `ValueError` if none is."""
    return _values.time_of(next(filter(None, texts), "nothing"), "time")


@lru_cache(maxsize=1 << 12)
def subscription(resource_id: Text) -> str | None:
    """Return the subscription, or for Entra ID the tenant, that the id of a resource names."""
    parts = (resource_id or "").lower().split("/")
    if len(parts) > 2 and parts[1] in ("subscriptions", "tenants"):
        return parts[2]
    return None


def same(resource_id: Text) -> str | None:
    """Return an id in lower case: Azure writes one id in several ways, and takes them as one."""
    return resource_id.lower() if resource_id else None


def said(text: Text) -> str | None:
    """Return a text, or None where it says that there is nothing."""
    return None if text in NOTHING else text


def integer(value: Number, member: str) -> int | None:
    """Return a whole number, or None where there is none; raises `ValueError`."""
    if value in NOTHING:
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        number = LARGEST + 1
    if abs(number) > LARGEST:
        raise ValueError(f"{member}: expected a whole number, not {str(value)[:40]}")
    return number


def port(value: Number) -> int | None:
    """Return a port, or None where it is none that there can be."""
    text = str(value)
    return int(text) if text.isdecimal() and int(text) <= LAST_PORT else None


def seconds(value: Number, member: str) -> float | None:
    """Return the milliseconds of a number of seconds, or None where there is none."""
    if value in NOTHING:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{member}: expected a number, not {value}")
    return round(number * 1000, 3)


def host(text: Text) -> str | None:
    """Return the name of a host in lower case, without its port."""
    text = text or ""
    name, colon, port = text.rpartition(":")
    bare = name if colon and port.isdecimal() and not name.endswith(":") else text
    return said(bare.lower().removesuffix("."))


class Url(NamedTuple):
    """The parts of the address of a request."""

    host: str
    path: str | None
    query: str | None


@lru_cache(maxsize=1 << 10)
def url(text: Text) -> Url:
    """Return the parts of `https://host:443/path?query`, or of a path alone, as they were sent."""
    text = text or ""
    scheme, is_whole, rest = text.partition("://")
    if not is_whole or "/" in scheme:
        scheme, rest = "", text
    before, mark, query = rest.partition("?")
    name, slash, path = before.partition("/") if scheme else ("", "", before)
    return Url(name, said(slash + path), said(query) if mark else None)


def word(text: Text) -> str | None:
    """Return a text in capitals."""
    return text.upper() if text else None


def code(value: Number, known: Mapping[int, str]) -> str | None:
    """Return the name of a code of DNS, which is given as a number or by its name."""
    text = "" if value is None else str(value)
    return known.get(int(text), text) if text.isdecimal() else text.upper() or None


def address(text: Text) -> str | None:
    """Return the address of an endpoint, or None if there is none."""
    return _values.endpoint(text)[0]
