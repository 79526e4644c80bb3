"""Google Cloud VPC flow logs, of subnets and of the newer configurations.

https://cloud.google.com/vpc/docs/about-flow-logs-records names the fields. A flow is packets that
went one way, sampled, and says nothing of whether a firewall let them pass.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from firedoor.log_source import Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs import _gcp
from firedoor.logs._values import address, since_epoch
from firedoor.relations import NETWORK_ACTIVITY

LOGS: Final = ("compute.googleapis.com/vpc_flows", "networkmanagement.googleapis.com/vpc_flows")
DIRECTIONS: Final = {
    "SRC": "Outbound",
    "DEST": "Inbound",
    "SRC_GATEWAY": "Inbound",  # it came in by a tunnel or an attachment
    "DEST_GATEWAY": "Outbound",
}


class Payload(msgspec.Struct, frozen=True):
    """One flow, and who reports it."""

    connection: _gcp.Connection
    reporter: str
    bytes_sent: _gcp.Count | None = None
    packets_sent: _gcp.Count | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    src_instance: _gcp.Instance | None = None
    dest_instance: _gcp.Instance | None = None
    src_vpc: _gcp.Vpc | None = None
    dest_vpc: _gcp.Vpc | None = None


class Entry(_gcp.LogEntry, frozen=True, kw_only=True):
    """An entry of these logs."""

    json_payload: Payload


class Flow(NamedTuple):
    """A flow as its reporter sees it."""

    entry: Entry
    payload: Payload
    instance: _gcp.Instance
    vpc: _gcp.Vpc


def recognises(sample: Sample) -> bool:
    """Tell these entries by the name of their log."""
    return _gcp.logged(sample) in LOGS


def parse(piece: Piece) -> Parsed:
    """Return the flows, each once: the one that a second side reports is passed over."""
    columns = {
        **_gcp.common(piece, "gcp_vpc_flow", lambda row: row.entry),
        "time": _began,
        "region": lambda row: _region(row) or piece.place.region,
        "end_time": lambda row: row.payload.end_time and since_epoch(row.payload.end_time),
        "src_ip": lambda row: address(row.payload.connection.src_ip),
        "src_port": lambda row: int(row.payload.connection.src_port),
        "dst_ip": lambda row: address(row.payload.connection.dest_ip),
        "dst_port": lambda row: int(row.payload.connection.dest_port),
        "protocol": lambda row: _gcp.whole(row.payload.connection.protocol),
        "direction": lambda row: DIRECTIONS[row.payload.reporter],
        "packets": lambda row: _gcp.whole(row.payload.packets_sent),
        "bytes": lambda row: _gcp.whole(row.payload.bytes_sent),
        "resource": lambda row: row.instance.vm_name or None,
        "network": lambda row: row.vpc.vpc_name or None,
        "subnet": lambda row: row.vpc.subnetwork_name or None,
    }
    return records(Entry, Into(NETWORK_ACTIVITY, columns, _flows))(piece)


SOURCE = LogSource(
    title="Google Cloud VPC flow logs",
    relations=(NETWORK_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _flows(entry: Entry) -> Iterator[Flow]:
    _gcp.require(entry, *LOGS)
    flow = entry.json_payload
    if flow.reporter not in DIRECTIONS:
        raise ValueError(f"jsonPayload.reporter: expected SRC or DEST, not {flow.reporter}")
    if _is_repeat(flow):
        return
    if flow.reporter.startswith("SRC"):
        instance, vpc = flow.src_instance, flow.src_vpc
    else:
        instance, vpc = flow.dest_instance, flow.dest_vpc
    yield Flow(entry, flow, instance or _gcp.Instance(), vpc or _gcp.Vpc())


def _is_repeat(flow: Payload) -> bool:
    """Tell a report of what another end, which is of Google's networks too, reports itself.

    The sender's report counts. A gateway counts only where no machine of ours is at that end.
    """
    sent_by_us = flow.src_instance is not None or flow.src_vpc is not None
    got_by_us = flow.dest_instance is not None or flow.dest_vpc is not None
    match flow.reporter:
        case "DEST" | "DEST_GATEWAY":
            return sent_by_us
        case "SRC_GATEWAY":
            return got_by_us
    return False


def _began(row: Flow) -> int:
    flow = row.payload
    return since_epoch(flow.start_time or flow.end_time or row.entry.timestamp)


def _region(row: Flow) -> Any:
    """Return the region of the reporter; the resource's, which may be global, where it is none."""
    return row.instance.region or row.vpc.subnetwork_region or _gcp.region(row.entry)
