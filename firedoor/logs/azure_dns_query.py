"""Azure DNS security policy logs: `DnsResponse` records, and rows of the table `DNSQueryLogs`.

https://learn.microsoft.com/azure/azure-monitor/reference/tables/dnsquerylogs names the columns. A
rule that only alerts has let the question pass: it observed.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.relations import DNS_ACTIVITY

CATEGORY, TABLE = "DnsResponse", "DNSQueryLogs"
NO_MATCH: Final = "nomatch"
ACTIONS: Final = {
    "allow": "Allowed",
    NO_MATCH: "Allowed",
    "alert": "Observed",
    "block": "Denied",
    "deny": "Denied",
}


class Properties(msgspec.Struct, kw_only=True, frozen=True):
    """A question in a record."""

    region: Text = None
    virtual_network_id: Text = msgspec.field(name="vnet_id", default=None)
    query_name: Text = None
    query_type: Number = None
    response_code: Number = None
    answer: Any = None
    source_ip_address: Text = msgspec.field(name="srcipaddr", default=None)
    source_port: Number = msgspec.field(name="srcport", default=None)
    transport: Text = None
    resolver_policy_id: Text = msgspec.field(name="resolverpolicy_id", default=None)
    resolver_policy_rule_action: Text = msgspec.field(
        name="resolverpolicy_rule_action", default=None
    )
    resolver_policy_domain_list_id: Text = msgspec.field(
        name="resolverpolicy_domain_list_id", default=None
    )


class Record(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """A record of diagnostic settings, or a row of the table, which holds the question itself."""

    category: Text = msgspec.field(name="category", default=None)
    time: Text = msgspec.field(name="time", default=None)
    resource_id: Text = msgspec.field(name="resourceId", default=None)
    properties: Properties | None = msgspec.field(name="properties", default=None)
    time_generated: Text = None
    row_resource_id: Text = msgspec.field(name="_ResourceId", default=None)
    region: Text = None
    virtual_network_id: Text = None
    query_name: Text = None
    query_type: Number = None
    response_code: Number = None
    answer: Any = None
    source_ip_address: Text = None
    source_port: Number = None
    transport: Text = None
    resolver_policy_id: Text = None
    resolver_policy_rule_action: Text = None
    resolver_policy_domain_list_id: Text = None


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_dns_query",
    "time": lambda row: _azure.first_time(row[0].time, row[0].time_generated),
    "account": lambda row: _azure.subscription(_resource(row[0])),
    "region": lambda row: row[1].region,
    "resource": lambda row: _azure.same(_resource(row[0])),
    "src_ip": lambda row: _azure.address(row[1].source_ip_address),
    "src_port": lambda row: _azure.port(row[1].source_port),
    "type": lambda row: _azure.code(row[1].query_type, _azure.TYPES),
    "rcode": lambda row: _azure.code(row[1].response_code, _azure.RCODES),
    "answers": lambda row: _answers(row[1].answer),
    "protocol": lambda row: _azure.word(row[1].transport),
    "action": lambda row: ACTIONS.get(_azure.same(row[1].resolver_policy_rule_action) or ""),
    "rule": lambda row: _rule(row[1]),
    "network": lambda row: _azure.same(row[1].virtual_network_id),
    **_azure.names(lambda row: row[1].query_name),
}


def recognises(sample: Sample) -> bool:
    """Tell a record by its category, and a row by its table."""
    return sample.record.get("category") == CATEGORY or sample.record.get("Type") == TABLE


def parse(piece: Piece) -> Parsed:
    """Return the questions, with what the policy did about them."""
    return _azure.parse(piece, Record, DNS_ACTIVITY, COLUMNS, _queries)


SOURCE = LogSource(
    title="Azure DNS security policy logs",
    relations=(DNS_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _queries(record: Record) -> Iterator[tuple[Record, Any]]:
    if record.properties is not None and record.category == CATEGORY:
        yield record, record.properties
    elif record.query_name and not record.category:
        yield record, record
    else:
        raise ValueError(f"category: expected {CATEGORY}, with properties")


def _rule(query: Any) -> str | None:
    """Return the list of names that decided, or the policy where none is told."""
    if _azure.same(query.resolver_policy_rule_action) == NO_MATCH:
        return None
    return _azure.same(query.resolver_policy_domain_list_id or query.resolver_policy_id)


def _answers(answers: Any) -> str | None:
    """Return the data of answers, which a table holds as a text of JSON."""
    if isinstance(answers, str) and answers:
        try:
            answers = msgspec.json.decode(answers)
        except msgspec.DecodeError:
            raise ValueError(f"Answer: expected JSON, not {answers[:40]}") from None
    listed = answers if isinstance(answers, list) else []
    told = [answer.get("RData") for answer in listed if isinstance(answer, dict)]
    return ",".join(str(data) for data in told if data) or None


def _resource(record: Record) -> Text:
    return record.resource_id or record.row_resource_id
