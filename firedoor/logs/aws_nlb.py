"""Access logs of AWS Network Load Balancers: the connections of TLS listeners.

https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-access-logs.html
"""

import re
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape, table
from firedoor.logs import _elb
from firedoor.logs._delimited import NUMBER, TEXT, WORD, Format, built
from firedoor.logs._values import endpoints, is_time, times
from firedoor.relations import NETWORK_ACTIVITY

FORMAT: Final = Format(
    (
        "type", "version", "time", "elb", "listener", "client", "destination", "connection_time",
        "handshake_time", "received", "sent", "alert", "certificate", "serial", "cipher",
        "protocol", "group", "domain", "alpn_fe", "alpn_be", "alpn_client", "created",
    ),
    {
        "time": TEXT, "elb": WORD, "client": TEXT, "destination": WORD, "received": NUMBER,
        "sent": NUMBER, "certificate": WORD, "created": TEXT,
    },
    least=16,
    checks={"time": is_time, "created": is_time},
)  # fmt: skip
LINE: Final = re.compile(rb"tls \d\.\d \d{4}-\d\d-\d\dT\S+ net/\S+ \S+ \S+:\d+ .*")
TCP: Final = 6


def recognises(sample: Sample) -> bool:
    """Tell a connection by the shape of its line."""
    return LINE.fullmatch(sample.line) is not None


def parse(piece: Piece) -> Parsed:
    """Return what the client sent, and what it was sent."""
    rows, refused = built(piece.lines, FORMAT, partial(_rows, piece=piece), piece.first)
    return Parsed({NETWORK_ACTIVITY.name: rows}, refused)


SOURCE = LogSource(
    title="AWS Network Load Balancer access logs",
    relations=(NETWORK_ACTIVITY.name,),
    shape=Shape.LINES,
    recognises=recognises,
    parse=parse,
)


def _rows(read: pa.Table, piece: Piece) -> pa.Table:
    answered = read.filter(pc.fill_null(pc.greater(read["sent"], 0), False))
    return pa.concat_tables(
        [
            _one_way(read, ("client", "destination"), "received", "Inbound", piece),
            _one_way(answered, ("destination", "client"), "sent", "Outbound", piece),
        ]
    )


def _one_way(
    read: pa.Table, ends: tuple[str, str], counted: str, direction: str, piece: Piece
) -> pa.Table:
    src_ip, src_port = endpoints(read[ends[0]])
    dst_ip, dst_port = endpoints(read[ends[1]])
    # A line is written when a connection ends.
    ended = times(read["time"])
    columns: dict[str, Any] = {
        "time": pc.coalesce(times(read["created"]), ended),
        "end_time": ended,
        "cloud": "aws",
        **_elb.placed(read["certificate"], piece.place.account, piece.place.region),
        "source": "aws_nlb",
        "src_ip": src_ip,
        "src_port": src_port,
        "dst_ip": dst_ip,
        "dst_port": dst_port,
        "protocol": TCP,
        "direction": direction,
        "action": "Allowed",
        "bytes": read[counted],
        "resource": read["elb"],
    }
    return table(NETWORK_ACTIVITY, read.num_rows, columns, piece)
