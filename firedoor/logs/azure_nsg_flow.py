"""Azure NSG flow logs, versions 1 and 2: what a network security group let pass, and what not.

https://learn.microsoft.com/azure/network-watcher/nsg-flow-logs-overview names the fields. Their
time is in seconds. A tuple of version 2 counts what came since the one before it, so the rows of a
connection add up; the one that says that a connection began counts nothing.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure, _azure_flows
from firedoor.logs._azure import Text
from firedoor.relations import NETWORK_ACTIVITY

LACKING_IN_VERSION_1: Final = ",,,,,"
CATEGORY: Final = "NetworkSecurityGroupFlowEvent"
MEANING: Final = _azure_flows.Meaning(
    fields=(
        "time", "src_ip", "dst_ip", "src_port", "dst_port", "protocol", "direction", "action",
        # Version 2:
        "state", "packets", "bytes", "answer_packets", "answer_bytes",
    ),
    unit=1000,
    actions={"A": "Allowed", "D": "Denied"},
    protocols={"T": 6, "U": 17},
)  # fmt: skip


class Flows(msgspec.Struct, rename="camel"):
    """What passed one network interface."""

    mac: Text = None
    flow_tuples: list[str] = []


class Rule(msgspec.Struct, rename="camel"):
    """What one rule decided."""

    rule: Text = None
    flows: list[Flows] = []


class Properties(msgspec.Struct, rename="camel"):
    """What a record holds."""

    flows: list[Rule]
    version: int = msgspec.field(name="Version", default=1)


class Record(msgspec.Struct, rename="camel"):
    """The flows of a minute."""

    category: Literal["NetworkSecurityGroupFlowEvent"]
    resource_id: str
    properties: Properties


def recognises(sample: Sample) -> bool:
    """Tell a record by its category."""
    return sample.record.get("category") == CATEGORY


def parse(piece: Piece) -> Parsed:
    """Return the packets of each tuple, and those of the answers."""
    return _azure_flows.parse(piece, Record, _groups, MEANING, "azure_nsg_flow")


SOURCE = LogSource(
    title="Azure NSG flow logs",
    relations=(NETWORK_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _groups(number: int, record: Record) -> Iterator[_azure_flows.Group]:
    for rule in record.properties.flows:
        for flows in rule.flows:
            yield _azure_flows.Group(
                number=number,
                tuples=flows.flow_tuples,
                lacking=LACKING_IN_VERSION_1 if record.properties.version < 2 else "",
                account=_azure.subscription(record.resource_id),
                interface=_azure.said(flows.mac),
                resource=_azure.same(record.resource_id),
                rule=_azure.said(rule.rule),
            )
