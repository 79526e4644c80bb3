"""Flow logs of Azure that are not as most are."""

import io
import json
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Parsed, Place
from firedoor.logs import _azure_flows

NETWORK = (
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/web/providers/"
    "Microsoft.Network/virtualNetworks/web-vnet"
)
GOOD = "1704067200000,203.0.113.5,10.0.0.4,44931,443,6,I,E,NX,2,120,0,0"


def record(*tuples: Any) -> dict[str, Any]:
    """Return a record of virtual network flows."""
    groups = [{"rule": "UserRule_web", "flowTuples": tuples}]
    return {
        "category": "FlowLogFlowEvent",
        "macAddress": "000D3A000001",
        "targetResourceID": NETWORK,
        "flowRecords": {"flows": [{"flowGroups": groups}]},
    }


def read(*records: Any, wanted: dict[str, frozenset[str]] | None = None) -> list[Parsed]:
    """Return what an object of records holds."""
    content = json.dumps({"records": records}).encode()
    return list(Reading(io.BytesIO(content), Place("PT1H.json"), wanted=wanted))


def rows(parsed: list[Parsed]) -> list[dict[str, Any]]:
    """Return the rows of what was parsed."""
    return [row for one in parsed for table in one.tables.values() for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("1704067200000,203.0.113.5,10.0.0.4,44931", "5 columns, expected 14"),
        (GOOD.replace("44931", "http"), "src_port: expected a whole number, not http"),
        (GOOD.replace("1704067200000", ""), "time: expected one"),
        (GOOD.replace("1704067200000", "1704067200000000000"), "time: expected one"),
        (GOOD.replace("1704067200000", "170406720000000000"), "time: expected one"),
    ],
    ids=["short", "no port", "no time", "no number", "nanoseconds"],
)
def test_tuple_that_is_bad_is_refused_alone(bad: str, reason: str) -> None:
    parsed = read(record(GOOD), record(bad, GOOD))

    assert [row["time"] for row in rows(parsed)] == [1704067200000, 1704067200000]
    [refused] = [one for each in parsed for one in each.refused]
    assert (refused.number, refused.text.decode()) == (2, bad)
    assert refused.reason.startswith(reason)


def test_record_of_many_tuples_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    tuples = [GOOD.replace("44931", str(port)) for port in (1, 2, 3, 4, 5)]
    monkeypatch.setattr(_azure_flows, "AT_ONCE", 2)

    parsed = read(record(*tuples), record(GOOD, "bad"), record(GOOD))

    assert [row["src_port"] for row in rows(parsed)] == [1, 2, 3, 4, 5, 44931, 44931]
    assert [(one.number, one.text) for each in parsed for one in each.refused] == [(2, b"bad")]


def test_what_is_no_address_is_null_and_the_packets_count() -> None:
    [row] = rows(read(record(GOOD.replace("203.0.113.5", "999.0.113.5"))))

    assert (row["src_ip"], row["src_key"], row["dst_ip"]) == (None, None, "10.0.0.4")
    assert row["bytes"] == 120


def test_word_that_means_nothing_is_null() -> None:
    [row] = rows(read(record(GOOD.replace(",I,E,", ",?,?,"))))

    assert (row["direction"], row["action"]) == (None, None)


def test_column_of_a_later_version_is_left_out() -> None:
    assert rows(read(record(GOOD + ",9"))) == rows(read(record(GOOD)))


def test_record_of_the_older_log_is_read_beside() -> None:
    old = {
        "category": "NetworkSecurityGroupFlowEvent",
        "resourceId": NETWORK.replace("virtualNetworks/web-vnet", "networkSecurityGroups/web"),
        "properties": {
            "Version": 2,
            "flows": [
                {
                    "rule": "UserRule_web",
                    "flows": [
                        {
                            "mac": "000D3A000001",
                            "flowTuples": ["1704067200,192.0.2.1,10.0.0.4,1,2,T,I,A,E,1,60,0,0"],
                        }
                    ],
                }
            ],
        },
    }

    parsed = read(record(GOOD), old)

    assert [row["source"] for row in rows(parsed)] == ["azure_vnet_flow", "azure_nsg_flow"]
    assert [one.refused for one in parsed] == [[], []]


def test_record_that_is_damaged_is_refused() -> None:
    [parsed] = read(record(GOOD), record(7))

    assert len(rows([parsed])) == 1
    assert [(one.number, one.reason.partition(" - ")[0]) for one in parsed.refused] == [
        (2, "Expected `str`, got `int`")
    ]


def test_only_what_is_asked_for_is_made() -> None:
    wanted = {"network_activity": frozenset({"day", "dst_port"})}

    [row] = rows(read(record(GOOD), wanted=wanted))

    assert {"day": row["day"], "dst_port": row["dst_port"]} == {
        "day": "2024-01-01",
        "dst_port": 443,
    }
    assert "bytes" not in row


def test_nothing_is_made_where_another_relation_is_asked_for() -> None:
    assert rows(read(record(GOOD), wanted={"dns_activity": frozenset({"time"})})) == []
