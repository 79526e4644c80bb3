"""AWS VPC flow logs, versions 2 to 11: lines with a header, in a configured format or the default.

https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html names the fields. `version`
is the highest version among them, and no sign of their order.
"""

import re
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape, table, translated
from firedoor.logs import _delimited
from firedoor.relations import NETWORK_ACTIVITY

DEFAULT: Final = [
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
]

WORD, NUMBER, SMALL = pa.dictionary(pa.int32(), pa.string()), pa.int64(), pa.int32()
# What is read of each field, and which column it fills.
FIELDS: Final[dict[str, tuple[str, pa.DataType]]] = {
    "account-id": ("account", WORD),
    "region": ("region", WORD),
    "start": ("time", NUMBER),
    "end": ("end_time", NUMBER),
    "srcaddr": ("src_ip", WORD),
    "srcport": ("src_port", SMALL),
    "dstaddr": ("dst_ip", WORD),
    "dstport": ("dst_port", SMALL),
    "protocol": ("protocol", SMALL),
    "tcp-flags": ("tcp_flags", SMALL),
    "flow-direction": ("direction", WORD),
    "action": ("action", WORD),
    "packets": ("packets", NUMBER),
    "bytes": ("bytes", NUMBER),
    "interface-id": ("interface", WORD),
    "instance-id": ("resource", WORD),
    "vpc-id": ("network", WORD),
    "subnet-id": ("subnet", WORD),
    "reject-reason": ("rule", WORD),
}
STATUS: Final = "log-status"
LINE: Final = re.compile(rb"\d+ (\d{12}|unknown) (eni-\S+|-) \S+( \S+){9} (OK|NODATA|SKIPDATA)")


def recognises(sample: Sample) -> bool:
    """Tell lines of flows by the names in their header, or by the default format."""
    if sample.columns:
        return {"srcaddr", "dstaddr", "log_status"} <= set(sample.columns)
    return header(sample.line) or LINE.fullmatch(sample.line) is not None


def header(line: bytes) -> bool:
    """Tell a line that names the fields."""
    names = set(line.decode("ascii", "replace").split())
    return bool({"version", "srcaddr", "pkt-srcaddr"} & names) and len(names & FIELDS.keys()) > 1


def parse(piece: Piece) -> Parsed:
    """Return the flows; a line without data is passed over, one of lost data is counted."""
    if piece.table is not None:
        read, refused = _renamed(piece.table), []
    else:
        fields = _fields(piece)
        types = {field: FIELDS[field][1] for field in fields if _is_wanted(field, piece)}
        read, refused = _delimited.read(
            piece.lines, fields, types | {STATUS: WORD}, first=piece.first
        )
    flows, passed, lost = _with_data(read)
    rows = table(NETWORK_ACTIVITY, flows.num_rows, _columns(flows, piece), piece)
    return Parsed({NETWORK_ACTIVITY.name: rows}, refused, passed, lost)


SOURCE = LogSource(
    title="AWS VPC flow logs",
    relations=(NETWORK_ACTIVITY.name,),
    shape=Shape.LINES,
    recognises=recognises,
    header=header,
    parse=parse,
)


def _fields(piece: Piece) -> list[str]:
    """Return the names of the fields, in their order."""
    if piece.header:
        return piece.header.decode("utf-8", "replace").split()
    if piece.place.format:
        return [name.strip("${}") for name in piece.place.format.split()]
    return DEFAULT


def _is_wanted(field: str, piece: Piece) -> bool:
    return field in FIELDS and piece.wants(NETWORK_ACTIVITY, FIELDS[field][0])


def _renamed(read: pa.Table) -> pa.Table:
    """Return the columns of Parquet under the names of fields: there a hyphen is an underscore."""
    return read.rename_columns([name.replace("_", "-") for name in read.column_names])


def _with_data(read: pa.Table) -> tuple[pa.Table, int, int]:
    """Return the rows that are flows, how many say that there was none, and how many were lost."""
    if STATUS not in read.column_names:
        return read, 0, 0
    status = read[STATUS]
    flowing = pc.fill_null(pc.equal(status, "OK"), True)
    if pc.all(flowing).as_py() is not False:
        return read, 0, 0
    flows = read.filter(flowing)
    lost = pc.sum(pc.equal(status, "SKIPDATA")).as_py() or 0
    return flows, read.num_rows - flows.num_rows - lost, lost


def _columns(flows: pa.Table, piece: Piece) -> dict[str, Any]:
    found: dict[str, Any] = {
        column: flows[field].combine_chunks()
        for field, (column, _) in FIELDS.items()
        if field in flows.column_names
    }
    found |= {"cloud": "aws", "source": "aws_vpc_flow"}
    for time in ("time", "end_time"):
        if time in found:
            found[time] = pc.multiply(found[time].cast(NUMBER), 1000)
    if "action" in found:
        found["action"] = translated(found["action"], {"ACCEPT": "Allowed", "REJECT": "Denied"})
    if "direction" in found:
        words = {"ingress": "Inbound", "egress": "Outbound"}
        found["direction"] = translated(found["direction"], words)
    if "account" in found:
        found["account"] = translated(found["account"], {"unknown": piece.place.account})
    found.setdefault("account", piece.place.account)
    found.setdefault("region", piece.place.region)
    return found
