"""Google Cloud DNS query logs: what machines ask, and names that are asked of public zones.

https://cloud.google.com/dns/docs/monitoring names the fields.
"""

from functools import partial
from typing import Any, Final

import msgspec

from firedoor.log_source import Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs import _gcp
from firedoor.logs._names import Name, name
from firedoor.logs._values import address
from firedoor.relations import DNS_ACTIVITY

LOG: Final = "dns.googleapis.com/dns_queries"
LONGEST: Final = 260
"""After how many characters the answers are cut; three dots follow."""


class Payload(msgspec.Struct, frozen=True, rename="camel"):
    """One question, and its answer."""

    query_name: str
    query_type: str = ""
    response_code: str = ""
    rdata: str = ""
    protocol: str = ""
    source_ip: str = msgspec.field(name="sourceIP", default="")
    source_network: str = ""
    # The number beside it has lost its last digits.
    vm_instance_id_string: str = ""
    vm_instance_name: str = ""


class Entry(_gcp.LogEntry, frozen=True, kw_only=True):
    """An entry of this log."""

    json_payload: Payload


def recognises(sample: Sample) -> bool:
    """Tell these entries by the name of their log."""
    return _gcp.logged(sample) == LOG


def parse(piece: Piece) -> Parsed:
    """Return the questions with their answers."""
    columns = {
        **_gcp.common(piece, "gcp_dns"),
        **{column: partial(_of_name, column) for column in Name._fields},
        "src_ip": lambda row: address(row.json_payload.source_ip),
        "type": lambda row: row.json_payload.query_type or None,
        "rcode": lambda row: row.json_payload.response_code or None,
        "answers": lambda row: _answers(row.json_payload.rdata),
        "protocol": lambda row: row.json_payload.protocol or None,
        "resource": _asked_by,
        "network": lambda row: row.json_payload.source_network or None,
    }
    return records(Entry, Into(DNS_ACTIVITY, columns, _questions))(piece)


SOURCE = LogSource(
    title="Google Cloud DNS query logs",
    relations=(DNS_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _questions(entry: Entry) -> tuple[Entry, ...]:
    _gcp.require(entry, LOG)
    return (entry,)


def _of_name(column: str, entry: Entry) -> Any:
    return getattr(name(entry.json_payload.query_name), column)


def _asked_by(entry: Entry) -> str | None:
    """Return the machine that asked, or else what was asked: a zone, a policy."""
    payload, labels = entry.json_payload, entry.resource.labels
    return (
        payload.vm_instance_id_string or payload.vm_instance_name or labels.get("target_name")
    ) or None


def _answers(rdata: str) -> str | None:
    """Return the answers of lines `name, TTL, class, type, answer`; one that is cut is none."""
    lines = rdata.split("\n")
    if len(rdata) > LONGEST and rdata.endswith("..."):
        lines.pop()
    return ",".join(line.split("\t")[4] for line in lines if line.count("\t") >= 4) or None
