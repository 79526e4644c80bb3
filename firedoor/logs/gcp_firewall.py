"""Google Cloud firewall logs: which rule let a connection pass, or did not.

https://cloud.google.com/firewall/docs/firewall-rules-logging names the fields. A connection is
logged once, when it is tried, without what it carried; where both ends have a rule that logs, each
says what its own rule did.
"""

from typing import Final

import msgspec

from firedoor.log_source import Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs import _gcp
from firedoor.logs._values import address
from firedoor.relations import NETWORK_ACTIVITY

LOG: Final = "compute.googleapis.com/firewall"
# What is intercepted goes on to be inspected: nothing is decided yet.
ACTIONS: Final = {"ALLOWED": "Allowed", "DENIED": "Denied", "INTERCEPTED": "Observed"}
DIRECTIONS: Final = {"INGRESS": "Inbound", "EGRESS": "Outbound"}


class Rule(msgspec.Struct, frozen=True):
    """The rule that decided."""

    reference: str = ""
    direction: str = ""


class Payload(msgspec.Struct, frozen=True):
    """One connection, and what was decided."""

    connection: _gcp.Connection
    disposition: str
    rule_details: Rule = Rule()
    instance: _gcp.Instance = _gcp.Instance()
    vpc: _gcp.Vpc = _gcp.Vpc()


class Entry(_gcp.LogEntry, frozen=True, kw_only=True):
    """An entry of this log."""

    json_payload: Payload


def recognises(sample: Sample) -> bool:
    """Tell these entries by the name of their log."""
    return _gcp.logged(sample) == LOG


def parse(piece: Piece) -> Parsed:
    """Return the connections."""
    columns = {
        **_gcp.common(piece, "gcp_firewall"),
        "region": lambda row: _region(row) or piece.place.region,
        "src_ip": lambda row: address(row.json_payload.connection.src_ip),
        "src_port": lambda row: int(row.json_payload.connection.src_port),
        "dst_ip": lambda row: address(row.json_payload.connection.dest_ip),
        "dst_port": lambda row: int(row.json_payload.connection.dest_port),
        "protocol": lambda row: _gcp.whole(row.json_payload.connection.protocol),
        "direction": lambda row: DIRECTIONS.get(row.json_payload.rule_details.direction),
        "action": lambda row: ACTIONS[row.json_payload.disposition],
        "resource": lambda row: row.json_payload.instance.vm_name or None,
        "network": lambda row: row.json_payload.vpc.vpc_name or None,
        "subnet": lambda row: row.json_payload.vpc.subnetwork_name or None,
        "rule": lambda row: row.json_payload.rule_details.reference or None,
    }
    return records(Entry, Into(NETWORK_ACTIVITY, columns, _connections))(piece)


SOURCE = LogSource(
    title="Google Cloud firewall logs",
    relations=(NETWORK_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _connections(entry: Entry) -> tuple[Entry, ...]:
    _gcp.require(entry, LOG)
    if entry.json_payload.disposition not in ACTIONS:
        told = entry.json_payload.disposition
        raise ValueError(f"jsonPayload.disposition: expected ALLOWED or DENIED, not {told}")
    return (entry,)


def _region(entry: Entry) -> str:
    return entry.json_payload.instance.region or _gcp.region(entry)
