"""AWS VPC and transit gateway flow logs, versions 2 to 11: lines with a header, or in a format.

https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html and
https://docs.aws.amazon.com/vpc/latest/tgw/tgw-flow-logs.html name the fields. `version` is the
highest version among them, and no sign of their order.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from firedoor.log_source import (
    LogSource,
    Parsed,
    Piece,
    Refusal,
    Sample,
    Shape,
    table,
    translated,
)
from firedoor.logs._delimited import NUMBER, SMALL, WORD, Format, built
from firedoor.logs._values import is_address
from firedoor.relations import NETWORK_ACTIVITY

DEFAULT: Final = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start "
    "end action log-status"
)
GATEWAY: Final = (
    "version resource-type account-id tgw-id tgw-attachment-id tgw-src-vpc-account-id "
    "tgw-dst-vpc-account-id tgw-src-vpc-id tgw-dst-vpc-id tgw-src-subnet-id tgw-dst-subnet-id "
    "tgw-src-eni tgw-dst-eni tgw-src-az-id tgw-dst-az-id tgw-pair-attachment-id srcaddr dstaddr "
    "srcport dstport protocol packets bytes start end log-status type packets-lost-no-route "
    "packets-lost-blackhole packets-lost-mtu-exceeded packets-lost-ttl-expired tcp-flags region "
    "flow-direction pkt-src-aws-service pkt-dst-aws-service"
)
"""The default formats, of a VPC and of a transit gateway."""

STATUS: Final = "log-status"
# What each field is read as, and which column it fills where no field before it does.
FIELDS: Final[Mapping[str, tuple[str, pa.DataType]]] = {
    "account-id": ("account", WORD),
    "tgw-src-vpc-account-id": ("account", WORD),
    "region": ("region", WORD),
    "start": ("time", NUMBER),
    "end": ("end_time", NUMBER),
    "srcaddr": ("src_ip", WORD),
    "pkt-srcaddr": ("src_ip", WORD),
    "srcport": ("src_port", SMALL),
    "dstaddr": ("dst_ip", WORD),
    "pkt-dstaddr": ("dst_ip", WORD),
    "dstport": ("dst_port", SMALL),
    "protocol": ("protocol", SMALL),
    "tcp-flags": ("tcp_flags", SMALL),
    "flow-direction": ("direction", WORD),
    "action": ("action", WORD),
    "packets": ("packets", NUMBER),
    "bytes": ("bytes", NUMBER),
    "interface-id": ("interface", WORD),
    "tgw-src-eni": ("interface", WORD),
    "instance-id": ("resource", WORD),
    "resource-id": ("resource", WORD),
    "tgw-id": ("resource", WORD),
    "vpc-id": ("network", WORD),
    "tgw-src-vpc-id": ("network", WORD),
    "subnet-id": ("subnet", WORD),
    "tgw-src-subnet-id": ("subnet", WORD),
    "reject-reason": ("rule", WORD),
}
# The field that fills a column together with the first, where that says that there is none.
SECOND: Final = {"instance-id": "resource-id", "account-id": "tgw-src-vpc-account-id"}
ADDRESSES: Final[Sequence[str]] = ("srcaddr", "dstaddr", "pkt-srcaddr", "pkt-dstaddr")

LINE: Final = re.compile(
    rb"\d+ (\d{12}|unknown) (eni-\S+|-) \S+( \S+){9} (OK|NODATA|SKIPDATA)( \S+)*"
)
GATEWAY_LINE: Final = re.compile(rb"\d+ TransitGateway \d{12} tgw-\S+ \S+( \S+){25,}")
HEADER: Final = re.compile(rb"^[a-z -]*\b(?:pkt-)?srcaddr\b.*$", re.MULTILINE)


def recognises(sample: Sample) -> bool:
    """Tell flows by the names in their header or Parquet, or by their format."""
    if sample.columns:
        return {"srcaddr", "dstaddr", "log_status"} <= set(sample.columns)
    line = sample.line
    if "srcaddr" in sample.format and len(line.split()) >= len(sample.format.split()):
        return True
    return header(line) or bool(LINE.fullmatch(line) or GATEWAY_LINE.fullmatch(line))


def header(line: bytes) -> bool:
    """Tell a line that names the fields."""
    names = set(line.decode("ascii", "replace").split())
    return bool({"version", "srcaddr", "pkt-srcaddr"} & names) and len(names & FIELDS.keys()) > 1


def parse(piece: Piece) -> Parsed:
    """Return the flows; a line without data is passed over, one of lost data is counted."""
    if piece.table is not None:
        return _of_parquet(piece.table, piece)
    names = _fields(piece)
    whole = _of_lines(names, piece.lines, piece.first, piece)
    if not whole.refused or not HEADER.search(piece.lines):
        return whole
    parts = [_of_lines(*part, piece) for part in _parts(names, piece)]
    return Parsed(
        {
            NETWORK_ACTIVITY.name: pa.concat_tables(
                one.tables[NETWORK_ACTIVITY.name] for one in parts
            )
        },
        [refusal for one in parts for refusal in one.refused],
        sum(one.passed for one in parts),
        sum(one.lost for one in parts),
    )


SOURCE = LogSource(
    title="AWS VPC flow logs",
    relations=(NETWORK_ACTIVITY.name,),
    shape=Shape.LINES,
    recognises=recognises,
    header=header,
    parse=parse,
)


def _parts(names: tuple[str, ...], piece: Piece) -> Iterator[tuple[tuple[str, ...], bytes, int]]:
    """Yield the names of fields, the lines that have them, and the number of the first.

    Objects that were put together have a header within.
    """
    begin, first = 0, piece.first
    for within in HEADER.finditer(piece.lines):
        lines = piece.lines[begin : within.start()]
        yield names, lines, first
        begin, first = within.end() + 1, first + lines.count(b"\n") + 1
        names = _named(within[0].decode(errors="replace"))
    yield names, piece.lines[begin:], first


def _fields(piece: Piece) -> tuple[str, ...]:
    """Return the names of the fields, in their order."""
    if piece.header:
        return _named(piece.header.decode("utf-8", "replace"))
    if piece.place.format:
        return _named(piece.place.format)
    return _named(GATEWAY if GATEWAY_LINE.match(piece.lines.lstrip()) else DEFAULT)


def _named(format_: str) -> tuple[str, ...]:
    """Return the names in a header or in a format: `${version} ${account-id}`."""
    return tuple(name.strip("${}") for name in format_.split())


def _of_lines(names: tuple[str, ...], lines: bytes, first: int, piece: Piece) -> Parsed:
    time = "start" if "start" in names else "end"
    wanted = [name for name in FIELDS if name in names and _is_wanted(name, time, piece)]
    types = {name: FIELDS[name][1] for name in wanted} | {STATUS: WORD}
    if not {"start", "end"} & set(names):
        why = "a format without start and end tells no time"
        return Parsed(
            {NETWORK_ACTIVITY.name: _rows(pa.table({}), piece)}, [Refusal(first, why, lines)]
        )
    checks = {name: is_address for name in ADDRESSES if name in types}
    (rows, passed, lost), refused = built(
        lines, Format(names, types, checks=checks), partial(_flows, piece=piece), first
    )
    return Parsed({NETWORK_ACTIVITY.name: rows}, refused, passed, lost)


def _of_parquet(stored: pa.Table, piece: Piece) -> Parsed:
    """Return the flows of Parquet, where a hyphen in a name is an underscore."""
    names = {name: name.replace("_", "-") for name in stored.column_names}
    wanted = [name for name, field in names.items() if field in FIELDS or field == STATUS]
    flows = pa.table(
        {
            names[name]: _typed(stored[name], FIELDS.get(names[name], ("", WORD))[1])
            for name in wanted
        }
    )
    refused: list[Refusal] = []
    try:
        rows, passed, lost = _flows(flows, piece)
    except ValueError:
        flows, refused = _with_addresses(flows, piece.first)
        rows, passed, lost = _flows(flows, piece)
    return Parsed({NETWORK_ACTIVITY.name: rows}, refused, passed, lost)


def _typed(column: pa.ChunkedArray, type_: pa.DataType) -> pa.ChunkedArray:
    if type_ != WORD:
        return column.cast(type_)
    texts = column.cast(pa.string())
    return pc.if_else(pc.equal(texts, "-"), None, texts).dictionary_encode()


def _with_addresses(flows: pa.Table, first: int) -> tuple[pa.Table, list[Refusal]]:
    """Return the rows whose addresses are such, and the others as refused."""
    refused = {}
    for name in ADDRESSES:
        for row, text in enumerate(flows[name].to_pylist() if name in flows.column_names else ()):
            if text is not None and not is_address(text):
                refused[row] = Refusal(first + row, f"{name}: not {text[:40]}", text.encode())
    kept = flows.filter(pa.array([row not in refused for row in range(flows.num_rows)], pa.bool_()))
    # A dictionary still has the words of rows that are gone.
    columns = {
        name: kept[name].cast(pa.string()).dictionary_encode() if name in ADDRESSES else kept[name]
        for name in kept.column_names
    }
    return pa.table(columns), [refused[row] for row in sorted(refused)]


def _is_wanted(field: str, time: str, piece: Piece) -> bool:
    # A header within is told by its time, which is no number.
    return field == time or piece.wants(NETWORK_ACTIVITY, FIELDS[field][0])


def _flows(read: pa.Table, piece: Piece) -> tuple[pa.Table, int, int]:
    """Return the rows, how many lines say that there was nothing, and how many were lost."""
    flows, passed, lost = _with_data(read)
    return _rows(flows, piece), passed, lost


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


def _rows(flows: pa.Table, piece: Piece) -> pa.Table:
    found: dict[str, Any] = {"cloud": "aws", "source": "aws_vpc_flow"}
    for field, (column, _) in FIELDS.items():
        if field in flows.column_names and column not in found:
            found[column] = _first_told(flows, field)
    found.setdefault("time", found.get("end_time"))
    for time in ("time", "end_time"):
        if found.get(time) is not None:
            found[time] = pc.multiply(found[time], 1000)
    if "action" in found:
        found["action"] = translated(found["action"], {"ACCEPT": "Allowed", "REJECT": "Denied"})
    if "direction" in found:
        words = {"ingress": "Inbound", "egress": "Outbound"}
        found["direction"] = translated(found["direction"], words)
    if "account" in found:
        found["account"] = translated(found["account"], {"unknown": piece.place.account})
    found.setdefault("account", piece.place.account)
    found.setdefault("region", piece.place.region)
    return table(NETWORK_ACTIVITY, flows.num_rows, found, piece)


def _first_told(flows: pa.Table, field: str) -> pa.Array:
    """Return a column, with what another one says where it says nothing."""
    column = flows[field].combine_chunks()
    second = SECOND.get(field)
    if second in flows.column_names and column.null_count:
        texts = pc.coalesce(
            column.cast(pa.string()), flows[second].combine_chunks().cast(pa.string())
        )
        return texts.dictionary_encode()
    return column
