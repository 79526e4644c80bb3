"""Azure Application Gateway access logs, of gateways of version 1 and 2.

https://learn.microsoft.com/azure/application-gateway/monitor-application-gateway-reference names
the fields. Version 1 tells how long a request took in whole milliseconds, version 2 in seconds;
only version 2 gives requests an id.
"""

from typing import Any, Final, Literal

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.logs._values import endpoint
from firedoor.relations import HTTP_ACTIVITY

CATEGORY: Final = "ApplicationGatewayAccessLog"
# What version 1 adds to the query of the client.
ADDED, ROUTED = "X-AzureApplicationGateway-", "SERVER-ROUTED="


class Properties(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What a record holds."""

    client_ip: Text = msgspec.field(name="clientIP", default=None)
    client_port: Number = None
    http_method: Text = None
    original_request_uri_with_args: Text = None
    request_uri: Text = None
    request_query: Text = None
    user_agent: Text = None
    http_status: Number = None
    received_bytes: Number = None
    sent_bytes: Number = None
    time_taken: Number = None
    transaction_id: Text = None
    server_routed: Text = None
    host: Text = None
    original_host: Text = None


class Record(_azure.Diagnostic, kw_only=True, frozen=True):
    """A request."""

    category: Literal["ApplicationGatewayAccessLog"]
    properties: Properties


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_app_gateway",
    "time": Record.at,
    "account": lambda row: _azure.subscription(row.resource_id),
    "region": lambda row: row.location,
    "resource": lambda row: _azure.same(row.resource_id),
    "src_ip": lambda row: _azure.address(row.properties.client_ip),
    "src_port": lambda row: _azure.port(row.properties.client_port),
    "dst_ip": lambda row: _azure.address(_server(row.properties)),
    "dst_port": lambda row: endpoint(_server(row.properties))[1],
    "method": lambda row: _azure.said(row.properties.http_method),
    "host": lambda row: _azure.host(row.properties.original_host or row.properties.host),
    "path": lambda row: _uri(row.properties)[0],
    "query": lambda row: _uri(row.properties)[1],
    "user_agent": lambda row: _azure.said(row.properties.user_agent),
    "status": lambda row: _azure.integer(row.properties.http_status, "httpStatus"),
    "bytes_in": lambda row: _azure.integer(row.properties.received_bytes, "receivedBytes"),
    "bytes_out": lambda row: _azure.integer(row.properties.sent_bytes, "sentBytes"),
    "duration": lambda row: _duration(row.properties),
    "request_id": lambda row: _azure.said(row.properties.transaction_id),
}


def recognises(sample: Sample) -> bool:
    """Tell a record by its category."""
    return sample.record.get("category") == CATEGORY


def parse(piece: Piece) -> Parsed:
    """Return the requests."""
    return _azure.parse(piece, Record, HTTP_ACTIVITY, COLUMNS)


SOURCE = LogSource(
    title="Azure Application Gateway access logs",
    relations=(HTTP_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _uri(told: Properties) -> tuple[str | None, str | None]:
    """Return the path and the query as they were sent, before a rule rewrote them."""
    path, _, query = (told.original_request_uri_with_args or told.request_uri or "").partition("?")
    query = query or (told.request_query or "").partition(ADDED)[0].removesuffix("&")
    return _azure.said(path), _azure.said(query)


def _server(told: Properties) -> str:
    """Return who served a request, which version 1 tells in the query."""
    if told.server_routed:
        return told.server_routed
    return (told.request_query or "").partition(ROUTED)[2].partition("&")[0]


def _duration(told: Properties) -> float | None:
    if isinstance(told.time_taken, int) and not told.transaction_id:
        return float(told.time_taken)
    return _azure.seconds(told.time_taken, "timeTaken")
