"""Amazon Route 53 query logs of public hosted zones: what resolvers of the Internet ask for.

https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/query-logs.html
"""

import re
from functools import partial
from typing import Final

import pyarrow as pa

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape, table
from firedoor.logs._delimited import TEXT, WORD, Format, built
from firedoor.logs._names import named
from firedoor.logs._values import is_address, is_time, times
from firedoor.relations import DNS_ACTIVITY

FORMAT: Final = Format(
    (
        "version", "time", "zone", "name", "type", "rcode", "protocol", "edge", "resolver",
        "client_subnet",
    ),
    {
        "time": TEXT, "zone": WORD, "name": WORD, "type": WORD, "rcode": WORD, "protocol": WORD,
        "resolver": WORD,
    },
    checks={"time": is_time, "resolver": is_address},
)  # fmt: skip
LINE: Final = re.compile(
    rb"\d\.\d \d{4}-\d\d-\d\dT\S+Z Z[A-Z0-9]+ \S+ \S+ \S+ (UDP|TCP) \S+ \S+ \S+"
)


def recognises(sample: Sample) -> bool:
    """Tell a question by the shape of its line."""
    return LINE.fullmatch(sample.line) is not None


def parse(piece: Piece) -> Parsed:
    """Return the questions; what was answered is not logged."""
    rows, refused = built(piece.lines, FORMAT, partial(_rows, piece=piece), piece.first)
    return Parsed({DNS_ACTIVITY.name: rows}, refused)


SOURCE = LogSource(
    title="Amazon Route 53 query logs of public zones",
    relations=(DNS_ACTIVITY.name,),
    shape=Shape.LINES,
    recognises=recognises,
    parse=parse,
)


def _rows(read: pa.Table, piece: Piece) -> pa.Table:
    columns = {
        "time": times(read["time"]),
        "cloud": "aws",
        "account": piece.place.account,
        "region": piece.place.region,
        "source": "aws_route53_public",
        "src_ip": read["resolver"],
        "type": read["type"],
        "rcode": read["rcode"],
        "protocol": read["protocol"],
        "action": "Allowed",
        "resource": read["zone"],
    } | named(read["name"])
    return table(DNS_ACTIVITY, read.num_rows, columns, piece)
