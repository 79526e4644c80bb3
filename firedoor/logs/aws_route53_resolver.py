"""Amazon Route 53 Resolver query logs: what machines in a VPC ask, and what DNS Firewall decides.

https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resolver-query-logs-format.html
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from firedoor.log_source import Getter, Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs._names import Name, name
from firedoor.logs._values import address, time_of
from firedoor.relations import DNS_ACTIVITY


class Answer(msgspec.Struct, gc=False, rename="pascal"):
    """One record of an answer."""

    rdata: str | None = None


class Ids(msgspec.Struct, gc=False):
    """Who asked."""

    instance: str | None = None
    resolver_endpoint: str | None = None
    resolver_network_interface: str | None = None


class Record(msgspec.Struct, gc=False):
    """A question."""

    query_name: str
    query_timestamp: str
    account_id: str | None = None
    region: str | None = None
    vpc_id: str | None = None
    query_type: str | None = None
    rcode: str | None = None
    answers: list[Answer] | Answer | None = None
    srcaddr: str | None = None
    srcport: str | int | None = None
    srcids: Ids | None = None
    transport: str | None = None
    firewall_rule_action: str | None = None
    firewall_rule_group_id: str | None = None
    firewall_domain_list_id: str | None = None
    # Worked out, and never in a record.
    name: Name = msgspec.field(default=Name(None), name="-name")


# Without a firewall, everything is allowed.
ACTIONS: Final[Mapping[str | None, str]] = {
    None: "Allowed",
    "ALLOW": "Allowed",
    "ALERT": "Observed",
    "BLOCK": "Denied",
}


def recognises(sample: Sample) -> bool:
    """Tell a question by the members that all of them have."""
    return {"query_name", "query_timestamp", "rcode", "srcaddr"} <= sample.record.keys()


def parse(piece: Piece) -> Parsed:
    """Return the questions with their answers."""
    place = piece.place
    columns: dict[str, Getter | str] = {
        **COLUMNS,
        "account": lambda record: record.account_id or place.account,
        "region": lambda record: record.region or place.region,
    }
    return records(Record, Into(DNS_ACTIVITY, columns, _named))(piece)


SOURCE = LogSource(
    title="Amazon Route 53 Resolver query logs",
    relations=(DNS_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _named(record: Record) -> Sequence[Record]:
    record.name = name(record.query_name)
    return (record,)


def _time(record: Record) -> int:
    return time_of(record.query_timestamp, "query_timestamp")


def _port(record: Record) -> int | None:
    try:
        return int(record.srcport) if record.srcport else None
    except ValueError as error:
        raise ValueError(f"srcport: expected a number, not {record.srcport}") from error


def _answers(record: Record) -> str | None:
    answers = [record.answers] if isinstance(record.answers, Answer) else record.answers or ()
    return ",".join(answer.rdata for answer in answers if answer.rdata) or None


def _asked_by(record: Record) -> str | None:
    ids = record.srcids or Ids()
    return ids.instance or ids.resolver_endpoint or ids.resolver_network_interface


COLUMNS: Final[Mapping[str, Getter | str]] = {
    "time": _time,
    "cloud": "aws",
    "source": "aws_route53_resolver",
    "src_ip": lambda record: address(record.srcaddr),
    "src_port": _port,
    **{column: attrgetter(f"name.{column}") for column in Name._fields},
    "type": attrgetter("query_type"),
    "rcode": attrgetter("rcode"),
    "answers": _answers,
    "protocol": attrgetter("transport"),
    "action": lambda record: ACTIONS.get(record.firewall_rule_action),
    "rule": lambda record: record.firewall_domain_list_id or record.firewall_rule_group_id,
    "resource": _asked_by,
    "network": attrgetter("vpc_id"),
}
