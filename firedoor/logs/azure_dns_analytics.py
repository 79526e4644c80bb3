"""Windows DNS Analytics: rows of the table `DnsEvents`, which DNS servers on Windows fill.

https://learn.microsoft.com/azure/azure-monitor/reference/tables/dnsevents names the columns. The
solution is retired, and its table still kept. Only a `LookupQuery` is a question.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.relations import DNS_ACTIVITY

TABLE: Final = "DnsEvents"
MEMBERS: Final = {"ClientIP", "QueryType", "ResultCode", "SubType", "TimeGenerated"}


class Row(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """A row of the table."""

    time_generated: str
    sub_type: str
    computer: Text = None
    client_ip: Text = msgspec.field(name="ClientIP", default=None)
    name: Text = None
    query_type: Number = None
    result_code: Number = None
    ip_addresses: Text = msgspec.field(name="IPAddresses", default=None)
    resource_id: Text = msgspec.field(name="_ResourceId", default=None)
    subscription_id: Text = msgspec.field(name="_SubscriptionId", default=None)


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_dns_analytics",
    "time": lambda row: _azure.first_time(row.time_generated),
    "account": lambda row: _azure.same(row.subscription_id) or _azure.subscription(row.resource_id),
    "resource": lambda row: _azure.same(row.resource_id or row.computer),
    "src_ip": lambda row: _azure.address(row.client_ip),
    "type": lambda row: _azure.code(row.query_type, _azure.TYPES),
    "rcode": lambda row: _azure.code(row.result_code, _azure.RCODES),
    "answers": lambda row: (row.ip_addresses or "").replace(" ", "") or None,
    **_azure.names(lambda row: row.name),
}


def recognises(sample: Sample) -> bool:
    """Tell a row by its table, or by its columns where that is not exported."""
    return sample.record.get("Type", TABLE) == TABLE and sample.record.keys() >= MEMBERS


def parse(piece: Piece) -> Parsed:
    """Return the questions; other events of a DNS server are passed over."""
    return _azure.parse(piece, Row, DNS_ACTIVITY, COLUMNS, _queries)


SOURCE = LogSource(
    title="Windows DNS Analytics",
    relations=(DNS_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _queries(row: Row) -> Iterator[Row]:
    if row.sub_type == "LookupQuery":
        yield row
