"""Azure virtual network flow logs, version 4: what passed the interfaces of a virtual network.

https://learn.microsoft.com/azure/network-watcher/vnet-flow-logs-overview names the fields. Unlike
NSG flow logs, their time is in milliseconds, a protocol is its number, and what was denied is told
by the state of the flow. A tuple counts what came since the one before it.
"""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure, _azure_flows
from firedoor.logs._azure import Text
from firedoor.relations import NETWORK_ACTIVITY

NETWORK, NIC = "/virtualnetworks/", "/networkinterfaces/"
CATEGORY: Final = "FlowLogFlowEvent"
MEANING: Final = _azure_flows.Meaning(
    fields=(
        "time", "src_ip", "dst_ip", "src_port", "dst_port", "protocol", "direction", "action",
        "encryption", "packets", "bytes", "answer_packets", "answer_bytes",
    ),
    unit=1,
    # It begins, continues, ends; the fourth is that it was denied.
    actions={"B": "Allowed", "C": "Allowed", "E": "Allowed", "D": "Denied"},
    uncounted=("B", "D"),
)  # fmt: skip


class Rule(msgspec.Struct, rename="camel"):
    """What one rule decided."""

    rule: Text = None
    flow_tuples: list[str] = []


class Flows(msgspec.Struct, rename="camel"):
    """What the rules of one security group decided."""

    flow_groups: list[Rule] = []


class FlowRecords(msgspec.Struct, rename="camel"):
    """What a record holds."""

    flows: list[Flows]


class Record(msgspec.Struct, rename="camel"):
    """The flows of a minute."""

    category: Literal["FlowLogFlowEvent"]
    target: str = msgspec.field(name="targetResourceID")
    flow_records: FlowRecords
    mac_address: Text = None


def recognises(sample: Sample) -> bool:
    """Tell a record by its category."""
    return sample.record.get("category") == CATEGORY


def parse(piece: Piece) -> Parsed:
    """Return the packets of each tuple, and those of the answers."""
    return _azure_flows.parse(piece, Record, _groups, MEANING, "azure_vnet_flow")


SOURCE = LogSource(
    title="Azure virtual network flow logs",
    relations=(NETWORK_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _groups(number: int, record: Record) -> Iterator[_azure_flows.Group]:
    target = record.target.lower()
    network, in_network, _ = target.partition("/subnets/")
    for flows in record.flow_records.flows:
        for rule in flows.flow_groups:
            yield _azure_flows.Group(
                number=number,
                tuples=rule.flow_tuples,
                account=_azure.subscription(target),
                interface=target if NIC in target else _azure.said(record.mac_address),
                resource=target or None,
                network=network if NETWORK in target else None,
                subnet=target if in_network else None,
                rule=_azure.said(rule.rule),
            )
