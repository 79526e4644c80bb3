"""Azure Front Door access logs: `FrontDoorAccessLog`, and `FrontdoorAccessLog` of the classic one.

https://learn.microsoft.com/azure/frontdoor/monitor-front-door-reference names the fields. All of
them are texts, and how long a request took is in seconds. What one of its points asked another for
is of a request that is logged already, and passed over.
"""

from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.logs._values import endpoint
from firedoor.relations import HTTP_ACTIVITY

CATEGORIES: Final = ("FrontDoorAccessLog", "FrontdoorAccessLog")


class Properties(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What a record holds."""

    tracking_reference: Text = None
    http_method: Text = None
    request_uri: Text = None
    request_bytes: Number = None
    response_bytes: Number = None
    user_agent: Text = None
    client_ip: Text = None
    client_port: Number = None
    client_country: Text = None
    client_fingerprint: Text = msgspec.field(name="clientJA4FingerPrint", default=None)
    time_taken: Number = None
    http_status_code: Number = None
    host_name: Text = None
    origin_ip: Text = None
    is_received_from_client: bool | str | None = True


class Record(_azure.Diagnostic, kw_only=True, frozen=True):
    """A request."""

    category: Literal["FrontDoorAccessLog", "FrontdoorAccessLog"]
    properties: Properties


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_front_door",
    "time": Record.at,
    "account": lambda row: _azure.subscription(row.resource_id),
    "region": lambda row: row.location,
    "resource": lambda row: _azure.same(row.resource_id),
    "src_ip": lambda row: _azure.address(row.properties.client_ip),
    "src_port": lambda row: _azure.port(row.properties.client_port),
    "dst_ip": lambda row: _azure.address(row.properties.origin_ip),
    "dst_port": lambda row: endpoint(row.properties.origin_ip)[1],
    "method": lambda row: _azure.said(row.properties.http_method),
    "host": lambda row: _azure.host(
        row.properties.host_name or _azure.url(row.properties.request_uri).host
    ),
    "path": lambda row: _azure.url(row.properties.request_uri).path,
    "query": lambda row: _azure.url(row.properties.request_uri).query,
    "user_agent": lambda row: _azure.said(row.properties.user_agent),
    "status": lambda row: _azure.integer(row.properties.http_status_code, "httpStatusCode"),
    "bytes_in": lambda row: _azure.integer(row.properties.request_bytes, "requestBytes"),
    "bytes_out": lambda row: _azure.integer(row.properties.response_bytes, "responseBytes"),
    "duration": lambda row: _azure.seconds(row.properties.time_taken, "timeTaken"),
    "country": lambda row: _country(row.properties.client_country),
    "fingerprint": lambda row: _azure.said(row.properties.client_fingerprint),
    "request_id": lambda row: _azure.said(row.properties.tracking_reference),
}


def recognises(sample: Sample) -> bool:
    """Tell a record by its category."""
    return sample.record.get("category") in CATEGORIES


def parse(piece: Piece) -> Parsed:
    """Return the requests of clients."""
    return _azure.parse(piece, Record, HTTP_ACTIVITY, COLUMNS, _requests)


SOURCE = LogSource(
    title="Azure Front Door access logs",
    relations=(HTTP_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _requests(record: Record) -> Iterator[Record]:
    if str(record.properties.is_received_from_client).lower() != "false":
        yield record


def _country(text: Text) -> str | None:
    """Return a country that is given by its two letters, and not by its name."""
    return text.upper() if text and len(text) == 2 else None
