"""Azure Firewall DNS proxy logs: `AzureFirewallDnsProxy`, a text, and `AZFWDnsQuery`, structured.

https://learn.microsoft.com/azure/firewall/monitor-firewall-reference names the fields. That a
question could not be passed on is a text of its own beside the question, and passed over.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.logs._values import endpoint
from firedoor.relations import DNS_ACTIVITY

TEXT, STRUCTURED = "AzureFirewallDnsProxy", "AZFWDnsQuery"
# client, id, type, class, name, protocol, size, DNSSEC, buffer, code, flags, size, duration
MESSAGE: Final = re.compile(
    r"\s*DNS Request: (?P<client>\S+) \S+ \d+ (?P<type>\S+) \S+ (?P<name>\S+) (?P<protocol>\S+)"
    r" \d+ \S+ \d+ (?P<code>\S+)"
)
ERROR: Final = re.compile(r"\s*Error: ")


class Query(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """A question."""

    source_ip: Text = None
    source_port: Number = None
    query_name: Text = None
    query_type: Text = None
    response_code: Text = None
    protocol: Text = None


class Properties(Query, frozen=True):
    """What a record holds: a text, or a question."""

    msg: Text = msgspec.field(name="msg", default=None)


class Record(Query, kw_only=True, frozen=True):
    """A record of diagnostic settings, or a row of the table `AZFWDnsQuery`."""

    category: Text = msgspec.field(name="category", default=None)
    time: Text = msgspec.field(name="time", default=None)
    resource_id: Text = msgspec.field(name="resourceId", default=None)
    properties: Properties | None = msgspec.field(name="properties", default=None)
    table: Text = msgspec.field(name="Type", default=None)
    time_generated: Text = None
    row_resource_id: Text = msgspec.field(name="_ResourceId", default=None)


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_firewall_dns",
    "time": lambda row: _azure.first_time(row[0].time, row[0].time_generated),
    "account": lambda row: _azure.subscription(_resource(row[0])),
    "resource": lambda row: _azure.same(_resource(row[0])),
    "src_ip": lambda row: _azure.address(row[1].source_ip),
    "src_port": lambda row: _azure.port(row[1].source_port),
    "type": lambda row: _azure.code(row[1].query_type, _azure.TYPES),
    "rcode": lambda row: _azure.code(row[1].response_code, _azure.RCODES),
    "protocol": lambda row: _azure.word(row[1].protocol),
    **_azure.names(lambda row: row[1].query_name),
}


def recognises(sample: Sample) -> bool:
    """Tell a record by its category, and a row by its table."""
    record = sample.record
    return record.get("category") in (TEXT, STRUCTURED) or record.get("Type") == STRUCTURED


def parse(piece: Piece) -> Parsed:
    """Return the questions; who could not be answered is told by the code."""
    return _azure.parse(piece, Record, DNS_ACTIVITY, COLUMNS, _queries)


SOURCE = LogSource(
    title="Azure Firewall DNS proxy logs",
    relations=(DNS_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _queries(record: Record) -> Iterator[tuple[Record, Query]]:
    if record.table == STRUCTURED:
        yield record, record
    elif record.properties is None or record.category not in (TEXT, STRUCTURED):
        raise ValueError(f"category: expected {TEXT} or {STRUCTURED}, with properties")
    elif record.category == STRUCTURED:
        yield record, record.properties
    elif not ERROR.match(record.properties.msg or ""):
        yield record, _of_text(record.properties.msg or "")


def _of_text(text: str) -> Query:
    found = MESSAGE.match(text)
    if found is None:
        raise ValueError("properties.msg: expected DNS Request: CLIENT - ID TYPE CLASS NAME ...")
    address, port = endpoint(found["client"])
    return Query(
        source_ip=address,
        source_port=port,
        query_name=found["name"],
        query_type=found["type"],
        response_code=found["code"],
        protocol=found["protocol"],
    )


def _resource(record: Record) -> Text:
    return record.resource_id or record.row_resource_id
