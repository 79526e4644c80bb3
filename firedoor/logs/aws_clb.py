"""Access logs of AWS Classic Load Balancers.

https://docs.aws.amazon.com/elasticloadbalancing/latest/classic/access-log-collection.html
"""

import re
from functools import partial
from typing import Any, Final

import pyarrow as pa

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape, table
from firedoor.logs import _elb
from firedoor.logs._delimited import NUMBER, REAL, SMALL, TEXT, WORD, Format, built
from firedoor.logs._values import is_time
from firedoor.relations import HTTP_ACTIVITY

FORMAT: Final = Format(
    (
        "time", "elb", "client", "target", "request_time", "target_time", "response_time",
        "status", "target_status", "received", "sent", "request", "user_agent", "cipher",
        "protocol",
    ),
    {
        "time": TEXT, "elb": WORD, "client": TEXT, "target": WORD, "request_time": REAL,
        "target_time": REAL, "response_time": REAL, "status": SMALL, "received": NUMBER,
        "sent": NUMBER, "request": WORD, "user_agent": WORD,
    },
    least=12,
    quoted=True,
    checks={"time": is_time},
)  # fmt: skip
LINE: Final = re.compile(
    rb"\d{4}-\d\d-\d\dT\S+ [^/ ]+ \S+:\d+ \S+ (-?[\d.]+ ){3}(\d+|-) (\d+|-) \d+ \d+ \".*"
)


def recognises(sample: Sample) -> bool:
    """Tell a request by the shape of its line."""
    return LINE.fullmatch(sample.line) is not None


def parse(piece: Piece) -> Parsed:
    """Return the requests; of a TCP listener's connections there are only addresses and sizes."""
    rows, refused = built(piece.lines, FORMAT, partial(_rows, piece=piece), piece.first)
    return Parsed({HTTP_ACTIVITY.name: rows}, refused)


SOURCE = LogSource(
    title="AWS Classic Load Balancer access logs",
    relations=(HTTP_ACTIVITY.name,),
    shape=Shape.LINES,
    recognises=recognises,
    parse=parse,
)


def _rows(read: pa.Table, piece: Piece) -> pa.Table:
    columns: dict[str, Any] = {
        **_elb.requests(read),
        "account": piece.place.account,
        "region": piece.place.region,
        "source": "aws_clb",
        "action": "Allowed",
    }
    return table(HTTP_ACTIVITY, read.num_rows, columns, piece)
