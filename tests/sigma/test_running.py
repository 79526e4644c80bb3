"""Sigma rules over events that are kept: what the SQL matches is what the rules mean."""

import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sigma.collection import SigmaCollection
from sigma.conditions import ConditionFieldEqualsValueExpression, ConditionItem
from sigma.rule import SigmaRule
from sigma.types import SigmaExpansion, SigmaString

from firedoor import detecting
from firedoor.errors import Unreadable
from firedoor.lake import portable
from firedoor.lake.duck import Duck
from firedoor.lake.objects import Reading
from firedoor.log_source import DAY, Place
from firedoor.sigma import flat, oracle, running
from firedoor.sigma.backend import Columns, sql
from firedoor.sigma.fields import LOGS, Log
from firedoor.sigma.reading import Rule, read

NOON = 1_780_012_800_000
RECORD = {
    "eventSource": "cloudtrail.amazonaws.com", "eventName": "DeleteTrail",
    "userIdentity": {"type": "IAMUser"},
}  # fmt: skip
EVENT = {
    "time": NOON, "cloud": "aws", "account": "123456789012", "region": "eu-central-1",
    "source": "aws_cloudtrail", "service": "cloudtrail.amazonaws.com", "operation": "DeleteTrail",
    "actor_type": "IAMUser", "actor": "alice", "src_ip": "198.51.100.7",
    "credential": "AKIAIOSFODNN7EXAMPLE", "raw": json.dumps(RECORD),
}  # fmt: skip
RULE = """
title: Trail deleted
id: 4db60cc0-36fb-42b7-9b58-a5b53019fb74
tags: [attack.stealth, attack.t1562.008]
logsource: {product: aws, service: cloudtrail}
detection:
    selection: {eventSource: CloudTrail.amazonaws.com, eventName: deletetrail}
    filter: {requestParameters.test: true}
    condition: selection and not filter
level: high
"""


@pytest.fixture
def rules(tmp_path: Path) -> tuple[Rule, ...]:
    (tmp_path / "trail.yml").write_text(RULE)
    return read(tmp_path).rules


def engine(*events: dict[str, Any]) -> Duck:
    """Return an engine over calls."""
    duck = Duck()
    duck.put(detecting.tables({"api_activity": events}))
    return duck


def test_match_tells_rule_and_event(rules: tuple[Rule, ...]) -> None:
    others = [
        EVENT | {"source": "azure_activity"},
        EVENT | {"operation": "StopLogging", "raw": json.dumps(RECORD | {"eventName": "Stop"})},
        EVENT | {"raw": json.dumps(RECORD | {"requestParameters": {"test": "true"}})},
        EVENT | {"raw": None},
    ]
    with engine(EVENT, *others) as duck:
        [match] = running.run(rules, duck, NOON, NOON + 1)

    assert match.rule is rules[0]
    assert match.event == {name: EVENT.get(name) for name in running.EVENT}


def test_time_begins_with_the_first_and_ends_before_the_second(rules: tuple[Rule, ...]) -> None:
    with engine(*(EVENT | {"time": NOON + n} for n in range(4))) as duck:
        found = [
            match.event["time"] - NOON for match in running.run(rules, duck, NOON + 1, NOON + 3)
        ]

    assert found == [1, 2]


def test_parts_hold_every_event_once(
    rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "AT_ONCE", 3)
    times = sorted(random.Random(1).choices(range(NOON, NOON + 600_000), k=40))
    with engine(*(EVENT | {"time": time} for time in times)) as duck:
        found = [match.event["time"] for match in running.run(rules, duck, 0, 1 << 60)]

    assert found == times


def test_rule_about_most_events_is_matched_as_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "AT_ONCE", 10)
    (tmp_path / "trail.yml").write_text(RULE)
    often = RULE.replace("4db6", "5db6").replace("{eventSource: CloudTrail.amazonaws.com, ", "{")
    (tmp_path / "often.yml").write_text(often.replace("eventName: deletetrail", "eventName: Get"))
    rules = read(tmp_path).rules
    get = EVENT | {"operation": "Get", "raw": json.dumps(RECORD | {"eventName": "Get"})}
    with engine(EVENT, *[get] * 20) as duck:
        found = [match.rule.file for match in running.run(rules, duck, 0, 1 << 60)]
        groups = running._groups(rules[0].log, rules, duck, 0, 1 << 60)

    assert sorted(found) == ["often.yml"] * 20 + ["trail.yml"]
    assert [[rule.file for rule in group] for group in groups] == [["often.yml"], ["trail.yml"]]


def test_finding_tells_what_was_matched(rules: tuple[Rule, ...]) -> None:
    with engine(EVENT, EVENT | {"time": NOON + 1000}) as duck:
        [finding] = running.findings(rules, duck, 0, 1 << 60)

    assert finding.title == "Trail deleted"
    assert finding.type == "Stealth:IAMUser/TrailDeleted"
    assert (finding.severity, finding.techniques) == (8, ("T1562.008",))
    assert finding.subject.path == "aws/123456789012/global/principal/user/alice"
    assert finding.first_seen == datetime.fromtimestamp(NOON / 1000, UTC)
    assert (finding.last_seen - finding.first_seen).total_seconds() == 1
    assert finding.access_keys == ("AKIAIOSFODNN7EXAMPLE",)
    assert [str(address) for address in finding.addresses] == ["198.51.100.7"]
    assert finding.description == (
        "DeleteTrail of cloudtrail.amazonaws.com from 198.51.100.7, 2 times"
    )


def test_one_rule_one_principal_one_day_is_one_finding(rules: tuple[Rule, ...]) -> None:
    events = [
        EVENT,
        EVENT | {"time": NOON + 1, "operation": "deleteTRAIL"},
        EVENT | {"time": NOON + DAY},
        EVENT | {"actor": "bob"},
        EVENT | {"account": "210987654321"},
    ]
    with engine(*events) as duck:
        first = {finding.id for finding in running.findings(rules, duck, 0, 1 << 60)}
        second = {finding.id for finding in running.findings(rules, duck, NOON, 1 << 60)}

    assert len(first) == 4
    assert second == first


def test_columns_that_rules_look_at_are_told() -> None:
    looked_at = {
        relation: names
        for query in running.LOOKED_AT
        for relation, names in portable.columns(query).items()
    }
    told = {running.OF_LOGINS.get(name, name) for name in running.EVENT}

    assert {*running.EVENT, "raw"} <= looked_at["api_activity"]
    assert {name for name in told if "(" not in name} | {"raw"} <= looked_at["authentication"]
    for log in LOGS.values():
        assert {*log.columns.values()} <= looked_at[log.relation]


def test_nothing_kept_nothing_found(rules: tuple[Rule, ...]) -> None:
    with Duck() as duck:
        assert running.findings(rules, duck, 0, 1 << 60) == []


def test_record_that_cannot_be_decoded_keeps_no_other_from_being_matched(
    rules: tuple[Rule, ...],
) -> None:
    odd = json.dumps(RECORD)[:-1]
    raws = [
        odd + ', "errorCode": "\\ud800"}', odd + ', "x": 1e999}', odd + ', "x": ' + "[" * 3000,
        "no JSON", json.dumps(RECORD),
    ]  # fmt: skip
    with engine(*(EVENT | {"event_id": str(n), "raw": raw} for n, raw in enumerate(raws))) as duck:
        found = [match.event["event_id"] for match in running.run(rules, duck, 0, 1 << 60)]

    assert {"0", "1", "4"} <= {*found}


# Every rule of others, and whatever records may be made of what it names.

GENERIC = Log("any")


def _syntax() -> list[SigmaRule]:
    folder = Path(__file__).parents[3] / "shared" / "data" / "sigma-cloud-rules"
    files = sorted(folder.rglob("*.yml"))
    rules = [SigmaCollection.from_yaml(file.read_text()).rules[0] for file in files]
    return [rule for rule in rules if isinstance(rule, SigmaRule) and not _expands(rule)]


def _named(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a condition with their values; a keyword has no field."""
    if isinstance(node, ConditionItem):
        for one in node.args:
            yield from _named(one)
    elif node is not None:
        values = node.value.values if isinstance(node.value, SigmaExpansion) else [node.value]
        for value in values:
            is_field = isinstance(node, ConditionFieldEqualsValueExpression)
            yield (node.field if is_field else "message"), value


def _expands(rule: SigmaRule) -> bool:
    return any(
        isinstance(value, SigmaString) and value.contains_placeholder()
        for one in rule.detection.parsed_condition
        for _, value in _named(one.parsed)
    )


SYNTAX = _syntax()


@st.composite
def records(draw: st.DrawFn, rule: SigmaRule) -> dict[str, Any]:
    """Return a record with what a rule names, or something like it, or nothing."""
    named: dict[str, list[str]] = {}
    for condition in rule.detection.parsed_condition:
        for field, value in _named(condition.parsed):
            named.setdefault(field, []).append(str(value).replace("\\", ""))
    record: dict[str, Any] = {}
    for field, texts in sorted(named.items()):
        text = st.sampled_from([*texts, "", "other"]).map(lambda t: t.replace("*", "x"))
        near = st.one_of(
            text,
            st.builds(lambda t, how: how(t), text, st.sampled_from([str.upper, str.lower])),
            st.builds(lambda a, t, b: f"{a}{t}{b}", st.sampled_from(["", "x", "'", "%"]), text,
                      st.sampled_from(["", "_", "\n", "é"])),
        )  # fmt: skip
        scalar = st.one_of(near, near, st.none(), st.booleans(), st.sampled_from([0, 50053, 1.5]))
        value = st.one_of(scalar, scalar, st.lists(scalar, max_size=2), st.just({"deep": "other"}))
        _put(record, field.split("."), draw(value))
    return record


def _put(record: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = record.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        record = inner
    record.setdefault(path[-1], value)


@pytest.mark.skipif(not SYNTAX, reason="the samples of others are not here")
@settings(max_examples=200, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_sql_matches_what_the_rule_means(data: st.DataObject, duck: Duck) -> None:
    rule = data.draw(st.sampled_from(SYNTAX), label="rule")
    given_ = data.draw(st.lists(records(rule), min_size=1, max_size=6), label="records")
    columns = Columns()
    sql(rule, columns)
    table, lists = flat.table([json.dumps(one) for one in given_], GENERIC, columns)
    duck.put({"flat": table})

    found = running.asked(sql(rule, Columns(lists, columns.names)), duck)

    assert found == [n for n, one in enumerate(given_) if oracle.matches(rule, GENERIC, one)]


def _kept(folders: list[Path], relation: str = "api_activity") -> pa.Table:
    tables = []
    for file in sorted(file for folder in folders for file in folder.rglob("*.json*")):
        try:
            parsed = list(Reading(io.BytesIO(_content(file)), Place(file.name)))
        except Unreadable:
            continue  # not of a log of ours
        tables += [one.tables[relation] for one in parsed if relation in one.tables]
    table = pa.concat_tables(tables)
    numbers = pa.array([str(number) for number in range(table.num_rows)])
    return table.set_column(table.schema.get_field_index("event_id"), "event_id", numbers)


def _content(file: Path) -> bytes:
    """Return a file of events; of tests of Panther, the events that they are about."""
    if "panther-tests" not in file.parts:
        return file.read_bytes()
    tests = json.loads(file.read_bytes())["tests"]
    return b"".join(json.dumps(test["log"]).encode() + b"\n" for test in tests)


def test_every_shared_rule_matches_of_every_shared_event_what_it_means(
    shared: Path, shared_rules: tuple[Rule, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several groups of rules, and several parts of the time.
    monkeypatch.setattr(running, "AT_ONCE", 100)
    entra = "panther-tests/azure_signin_rules"
    folders = ["stratus-detonation", "aws-cloudtrail", "gcp-audit", "azure-activity", entra]
    kept = {
        "api_activity": _kept([shared / folder for folder in folders]),
        "authentication": _kept([shared / entra], "authentication"),
    }

    with Duck() as duck:
        duck.put(kept)
        found = [
            (match.rule.title, int(match.event["event_id"]))
            for match in running.run(shared_rules, duck, 0, 1 << 60)
        ]

    expected = [
        (rule.title, number)
        for relation, table in kept.items()
        for number, event in enumerate(table.select(["source", "raw"]).to_pylist())
        for rule in shared_rules
        if (rule.log.relation, rule.log.source) == (relation, event["source"])
        and oracle.matches(rule.sigma, rule.log, json.loads(event["raw"]))
    ]
    assert sorted(found) == sorted(expected)
    titles = {title for title, _ in found}
    assert {"AWS Successful Console Login Without MFA", "Account Lockout"} <= titles
    assert len(titles) >= 22


def test_columns_hold_what_fields_of_the_record_do(shared: Path) -> None:
    kept = _kept(
        [shared / folder for folder in ("stratus-detonation", "aws-cloudtrail", "gcp-audit")]
    )
    logs = {log.source: log for log in LOGS.values() if log.columns}

    for event in kept.to_pylist():
        record = json.loads(event["raw"])
        log = logs[event["source"]]
        for field, column in log.columns.items():
            texts = log.getter(field)(record)
            assert texts in ((), ("",), (event[column],))
