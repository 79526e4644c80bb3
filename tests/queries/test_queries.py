"""Saved queries are portable, answer, and mend what the originals of four of them get wrong."""

import re
from typing import Any

import pytest
import sqlglot

from firedoor import detecting
from firedoor.detections._examples import (
    CALL,
    DENIED,
    INBOUND,
    LOGIN,
    OUTBOUND,
    QUERY,
    REQUEST,
    TIME,
    each,
)
from firedoor.discovery import find
from firedoor.lake import portable
from firedoor.lake.duck import Duck
from firedoor.lake.engine import addresses
from firedoor.saved_query import SavedQuery

QUERIES = find("firedoor.queries", SavedQuery)
GIGABYTE = 1_000_000_000


def ask(id_: str, relation: str, rows: Any, **params: Any) -> list[dict[str, Any]]:
    """Return the answer of a query over rows, for the time until the last of them."""
    query = QUERIES[id_]
    bounds = {"since": TIME - 86_400_000, "until": TIME + 1}
    with Duck() as duck:
        duck.put(detecting.tables({relation: rows}))
        found: list[dict[str, Any]] = duck.ask(
            query.sql, query.params | params | bounds
        ).to_pylist()
        keys = (row[name] for row in found for name in row if name.endswith("_key"))
        texts = addresses(keys, query.sql, duck, bounds)
    return [
        {f"{name[:3]}_ip": texts[row[name]] for name in row if name.endswith("_key")} | row
        for row in found
    ]


@pytest.mark.parametrize("id_", sorted(QUERIES))
def test_a_query_is_portable_and_names_its_parameters(id_: str) -> None:
    query = QUERIES[id_]

    portable.check(query.sql)

    assert portable.parameters(query.sql) == {"since", "until", *query.params}
    text = portable.bound(query.sql, {**query.params, "since": 1, "until": 2})
    assert sqlglot.parse(text, read="athena")
    assert query.title
    assert query.description.endswith(".")


@pytest.mark.parametrize("id_", sorted(QUERIES))
def test_a_query_is_ordered_by_all_that_it_is_grouped_by(id_: str) -> None:
    group = re.search(r"GROUP BY (.*)", QUERIES[id_].sql)
    order = re.search(r"ORDER BY (.*)", QUERIES[id_].sql)

    assert order
    ordered = {name.removesuffix(" DESC") for name in order[1].split(", ")}
    assert not group or {*group[1].split(", ")} <= ordered


@pytest.mark.parametrize("id_", sorted(QUERIES))
def test_a_query_answers_also_where_there_is_nothing(id_: str) -> None:
    assert ask(id_, "network_activity", [INBOUND | {"time": TIME - 86_400_001}]) == []


def test_rejected_traffic_counts_what_was_refused_and_cuts_ties_the_same_each_time() -> None:
    rows = (*each(DENIED, "dst_port", range(1, 151)), DENIED, INBOUND)

    found = ask("rejected_traffic", "network_activity", rows[::-1])

    assert len(found) == 100
    assert found[0]["dst_port"] == 1
    assert [row["dst_port"] for row in found] == list(range(1, 101))


def test_unusual_outbound_knows_every_private_network() -> None:
    much = OUTBOUND | {"bytes": 5 * GIGABYTE}
    inside = each(much, "dst_ip", ["172.20.9.9", "10.9.9.9", "192.168.1.1", "100.64.0.1"])
    inside6 = much | {"src_ip": "fd00::5", "dst_ip": "fd00::9"}

    found = ask("unusual_outbound", "network_activity", (*inside, inside6, much))

    assert [(row["dst_ip"], row["bytes"]) for row in found] == [("203.0.113.9", 5 * GIGABYTE)]


def test_suspicious_ssh_sees_who_is_let_in_to_try_passwords() -> None:
    ssh = INBOUND | {"dst_port": 22}
    tries = (ssh,) * 60 + (ssh | {"action": "Denied"},) * 41
    work = (ssh | {"src_ip": "198.51.100.8", "packets": 5000},) * 200

    found = ask("suspicious_ssh", "network_activity", tries + work)

    assert [(row["src_ip"], row["refused"], row["short"]) for row in found] == [
        ("198.51.100.7", 41, 60)
    ]


def test_large_transfers_sees_what_leaves_in_small_parts() -> None:
    slowly = (OUTBOUND | {"bytes": 900_000},) * 2000
    little = (OUTBOUND | {"dst_ip": "203.0.113.10", "bytes": GIGABYTE},)

    found = ask("large_transfers", "network_activity", slowly + little)

    assert [(row["dst_ip"], row["bytes"], row["largest"]) for row in found] == [
        ("203.0.113.9", 1_800_000_000, 900_000)
    ]


def test_top_talkers_come_with_what_left() -> None:
    rows = (OUTBOUND | {"bytes": 10}, OUTBOUND | {"dst_ip": "10.0.1.9", "bytes": 5}, INBOUND)

    found = ask("top_talkers", "network_activity", rows)

    assert [(row["src_ip"], row["bytes"], row["bytes_outside"]) for row in found] == [
        ("198.51.100.7", 4000, 0),
        ("10.0.1.5", 15, 10),
    ]


def test_an_address_is_found_on_both_sides() -> None:
    rows = (INBOUND, OUTBOUND, OUTBOUND | {"dst_ip": "198.51.100.7"})

    found = ask("talked_to", "network_activity", rows, address="198.51.100.7")

    assert [(row["src_ip"], row["dst_ip"]) for row in found] == [
        ("10.0.1.5", "198.51.100.7"),
        ("198.51.100.7", "10.0.1.5"),
    ]


def test_an_ipv6_address_is_found_by_its_text() -> None:
    rows = (INBOUND | {"src_ip": "2001:db8::7", "dst_ip": "fd00::5"}, INBOUND)

    found = ask("talked_to", "network_activity", rows, address="2001:db8::7")

    assert [row["dst_ip"] for row in found] == ["fd00::5"]


def test_calls_are_found_by_principal_and_by_credential() -> None:
    rows = (CALL, CALL | {"actor": "bob", "credential": "AKIAI44QH8DHBEXAMPLE"})

    of_actor = ask("calls_of_principal", "api_activity", rows, actor="bob")
    of_key = ask("calls_of_credential", "api_activity", rows)

    assert [row["credential"] for row in of_actor] == ["AKIAI44QH8DHBEXAMPLE"]
    assert [(row["actor"], row["calls"], row["denied"]) for row in of_key] == [("app", 1, 0)]


def test_denied_calls_are_counted_by_principal() -> None:
    denied = CALL | {"denied": True, "status": "Failure"}

    found = ask("denied_calls", "api_activity", (CALL, denied, denied))

    assert [(row["actor"], row["operation"], row["calls"]) for row in found] == [
        ("app", "DescribeInstances", 2)
    ]


def test_dns_is_found_by_host_and_by_domain() -> None:
    rows = (QUERY, QUERY | {"hostname": "a.example.com"}, QUERY | {"src_ip": "10.0.1.6"})

    of_host = ask("dns_of_host", "dns_activity", rows)
    of_domain = ask("who_asked_for", "dns_activity", rows)

    assert [(row["domain"], row["names"], row["queries"]) for row in of_host] == [
        ("example.com", 2, 2)
    ]
    assert [(row["src_ip"], row["queries"]) for row in of_domain] == [
        ("10.0.1.5", 2),
        ("10.0.1.6", 1),
    ]


def test_logins_tell_whether_a_second_factor_was_always_used() -> None:
    rows = (LOGIN, LOGIN | {"mfa": False}, LOGIN | {"status": "Failure"})

    found = ask("logins", "authentication", rows)

    assert [(row["succeeded"], row["failed"], row["always_mfa"]) for row in found] == [
        (2, 1, False)
    ]


def test_requests_are_counted_by_client() -> None:
    rows = (REQUEST, REQUEST | {"status": 404, "path": "/x"}, REQUEST | {"status": 502})

    found = ask("requests_by_client", "http_activity", rows)

    assert [(row["requests"], row["paths"], row["refused"], row["failed"]) for row in found] == [
        (3, 2, 1, 1)
    ]
