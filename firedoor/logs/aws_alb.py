"""Access logs of AWS Application Load Balancers, of 22 columns and more.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html
"""

import re
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape, table
from firedoor.logs import _elb
from firedoor.logs._delimited import NUMBER, REAL, SMALL, TEXT, WORD, Format, built
from firedoor.logs._values import is_time
from firedoor.relations import HTTP_ACTIVITY

FORMAT: Final = Format(
    (
        "type", "time", "elb", "client", "target", "request_time", "target_time", "response_time",
        "status", "target_status", "received", "sent", "request", "user_agent", "cipher",
        "protocol", "target_group", "trace_id", "domain", "certificate", "priority", "created",
        "actions", "redirect", "error", "targets", "target_statuses", "classification", "reason",
        "conn_trace_id",
    ),
    {
        "time": TEXT, "elb": WORD, "client": TEXT, "target": WORD, "request_time": REAL,
        "target_time": REAL, "response_time": REAL, "status": SMALL, "received": NUMBER,
        "sent": NUMBER, "request": WORD, "user_agent": WORD, "target_group": WORD,
        "trace_id": TEXT, "priority": WORD, "actions": WORD,
    },
    least=22,
    quoted=True,
    checks={"time": is_time},
)  # fmt: skip
LINE: Final = re.compile(
    rb"(https?|h2|grpcs?|wss?) \d{4}-\d\d-\d\dT\S+ app/\S+ \S+ \S+ (-?[\d.]+ ){3}\S+ \S+ \d+ \d+ .*"
)


def recognises(sample: Sample) -> bool:
    """Tell a request by the shape of its line."""
    return LINE.fullmatch(sample.line) is not None


def parse(piece: Piece) -> Parsed:
    """Return the requests."""
    rows, refused = built(piece.lines, FORMAT, partial(_rows, piece=piece), piece.first)
    return Parsed({HTTP_ACTIVITY.name: rows}, refused)


SOURCE = LogSource(
    title="AWS Application Load Balancer access logs",
    relations=(HTTP_ACTIVITY.name,),
    shape=Shape.LINES,
    recognises=recognises,
    parse=parse,
)


def _rows(read: pa.Table, piece: Piece) -> pa.Table:
    columns: dict[str, Any] = {
        **_elb.requests(read),
        **_elb.placed(read["target_group"], piece.place.account, piece.place.region),
        "source": "aws_alb",
        "action": _actions(read["actions"]),
        "rule": read["priority"],
        "request_id": read["trace_id"],
    }
    return table(HTTP_ACTIVITY, read.num_rows, columns, piece)


def _actions(executed: pa.ChunkedArray) -> pa.Array:
    """Return what was decided: where a firewall was the last that was asked, it refused."""
    refused = pc.fill_null(pc.equal(executed.cast(pa.string()), "waf"), False)
    return pc.if_else(refused, "Denied", "Allowed").dictionary_encode()
