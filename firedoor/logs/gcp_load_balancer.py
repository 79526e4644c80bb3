"""Google Cloud load balancer logs: requests without a security policy, and connections.

Requests with one are `gcp_armor`. Connections are those of proxy and passthrough network load
balancers: https://cloud.google.com/load-balancing/docs/tcp/tcp-ssl-proxy-logging-monitoring
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from firedoor.log_source import Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs import _gcp, _gcp_balancing
from firedoor.logs._gcp_balancing import CONNECTIONS, Connection, Entry
from firedoor.logs._values import address, since_epoch
from firedoor.relations import HTTP_ACTIVITY, NETWORK_ACTIVITY

NAME: Final = "gcp_load_balancer"


class Way(NamedTuple):
    """One way of a connection: what the client sent, or what it got."""

    entry: Entry
    answer: bool
    packets: _gcp.Count | None
    bytes: _gcp.Count | None


def recognises(sample: Sample) -> bool:
    """Tell requests that have no policy, and connections by the name of their log."""
    if _gcp_balancing.is_request(sample):
        return not _gcp_balancing.has_policy(sample)
    return _gcp.logged(sample) in CONNECTIONS


def parse(piece: Piece) -> Parsed:
    """Return the requests, and of connections either way."""
    network = {
        **_gcp.common(piece, NAME, lambda row: row.entry),
        "time": _began,
        "end_time": _ended,
        "src_ip": lambda row: address(_ends(row)[0]),
        "src_port": lambda row: int(_ends(row)[1]),
        "dst_ip": lambda row: address(_ends(row)[2]),
        "dst_port": lambda row: int(_ends(row)[3]),
        "protocol": lambda row: _gcp.whole(_connection(row.entry).protocol),
        "direction": lambda row: "Outbound" if row.answer else "Inbound",
        "action": lambda row: _gcp_balancing.verdict(row.entry.json_payload)[0],
        "rule": lambda row: _gcp_balancing.verdict(row.entry.json_payload)[1],
        "packets": lambda row: _gcp.whole(row.packets),
        "bytes": lambda row: _gcp.whole(row.bytes),
        "resource": lambda row: _gcp_balancing.balancer(row.entry.resource.labels),
    }
    http = _gcp_balancing.request_columns(piece, NAME)
    return records(
        Entry, Into(HTTP_ACTIVITY, http, _requests), Into(NETWORK_ACTIVITY, network, _ways)
    )(piece)


SOURCE = LogSource(
    title="Google Cloud load balancer logs",
    relations=(HTTP_ACTIVITY.name, NETWORK_ACTIVITY.name),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _requests(entry: Entry) -> tuple[Entry, ...]:
    if _is_connection(entry):
        return ()
    _gcp_balancing.require_request(entry, policy=False)
    return (entry,)


def _ways(entry: Entry) -> Iterator[Way]:
    """Yield what the client sent, and what it got if it got anything."""
    if not _is_connection(entry):
        return
    _connection(entry)
    told = entry.json_payload
    sent = _first(told.server_bytes_received, told.bytes_received)
    got = _first(told.server_bytes_sent, told.bytes_sent)
    yield Way(entry, False, told.packets_received, sent)
    if _gcp.whole(got):
        yield Way(entry, True, told.packets_sent, got)


def _is_connection(entry: Entry) -> bool:
    return _gcp.log_id(entry.log_name) in CONNECTIONS


def _connection(entry: Entry) -> Connection:
    if entry.json_payload.connection is None:
        raise ValueError("jsonPayload.connection: expected a connection")
    return entry.json_payload.connection


def _first(*counts: _gcp.Count | None) -> _gcp.Count | None:
    return next((count for count in counts if count is not None), None)


def _ends(way: Way) -> tuple[str, _gcp.Port, str, _gcp.Port]:
    """Return address and port of the sender, then of the receiver."""
    told = _connection(way.entry)
    client, server = (told.client_ip, told.client_port), (told.server_ip, told.server_port)
    return (*server, *client) if way.answer else (*client, *server)


def _began(way: Way) -> int:
    return since_epoch(way.entry.json_payload.start_time or way.entry.timestamp)


def _ended(way: Way) -> int | None:
    end = way.entry.json_payload.end_time
    return None if end is None else since_epoch(end)
