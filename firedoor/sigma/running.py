"""Sigma rules over the calls and logins that are kept, and the findings that their matches are."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa

from firedoor import detecting
from firedoor.detection import About, Detection
from firedoor.lake.duck import Duck
from firedoor.lake.portable import literal
from firedoor.log_source import DAY
from firedoor.model.finding import Finding, Side
from firedoor.sigma import flat
from firedoor.sigma.backend import Columns, sql
from firedoor.sigma.fields import Log
from firedoor.sigma.reading import Rule

EVENT: Final = (
    "time", "cloud", "account", "region", "source", "event_id", "service", "operation",
    "actor_type", "actor", "actor_id", "credential", "src_ip", "src_name", "user_agent", "status",
    "resource",
)  # fmt: skip
"""The columns of `api_activity` that a match tells."""
OF_LOGINS: Final = {
    "operation": "activity", "actor_type": "user_type", "actor": "user_name",
    "actor_id": "user_id", "credential": "CAST(NULL AS VARCHAR)",
    "src_name": "CAST(NULL AS VARCHAR)",
}  # fmt: skip
"""What stands for those of them that `authentication` has by another name, or not at all."""
TOLD: Final = {
    "api_activity": ", ".join(EVENT),
    "authentication": ", ".join(f"{OF_LOGINS.get(name, name)} AS {name}" for name in EVENT),
}
LOOKED_AT: Final = (
    f"SELECT {TOLD['api_activity']}, error, message, raw FROM api_activity",  # noqa: S608
    f"SELECT {TOLD['authentication']}, raw FROM authentication",  # noqa: S608
)
"""All that is looked at, as queries, for those who read only what queries ask for."""
AT_ONCE: Final = 50_000
"""How many records are decoded at once."""
OFTEN: Final = 0.02
"""The part of all events from which on a rule is about many."""
MINUTE: Final = 60_000
# Events are counted as one where these are equal, so that a finding of a million stays small.
ALIKE: Final = (
    "cloud", "account", "region", "actor_type", "actor", "src_ip", "credential", "service",
    "operation",
)  # fmt: skip


@dataclass(frozen=True)
class Match:
    """A rule, and an event that it matches."""

    rule: Rule
    event: Mapping[str, Any]
    """By the names of `EVENT`."""


def run(rules: Iterable[Rule], engine: Duck, since_ms: int, until_ms: int) -> Iterator[Match]:
    """Yield what rules match in a time, which begins with the first and ends before the second.

    Only events of which some rule may be fulfilled are read, a part of the time after another.
    """
    of_log: dict[Log, list[Rule]] = {}
    for rule in rules:
        of_log.setdefault(rule.log, []).append(rule)
    with Duck() as duck:
        for log, of_it in of_log.items():
            for group in _groups(log, of_it, engine, since_ms, until_ms):
                for events in _events(log, group, engine, since_ms, until_ms):
                    yield from _matches(group, log, events, duck)


def matched(
    rules: Sequence[Rule], log: Log, raws: Iterable[bytes | str], duck: Duck
) -> Iterator[tuple[Rule, list[int]]]:
    """Yield rules of one log with the records that they match, by their number from 0."""
    columns = Columns()
    conditions = {rule.id: sql(rule.sigma, columns) for rule in rules}
    table, lists = flat.table(raws, log, columns)
    if lists:
        columns = Columns(lists, columns.names)
        conditions = {rule.id: sql(rule.sigma, columns) for rule in rules}
    duck.put({"flat": table})
    for rule in rules:
        if rows := asked(conditions[rule.id], duck):
            yield rule, rows


def asked(condition: str, duck: Duck) -> list[int]:
    """Return the rows of the flat table that fulfil a condition, in order."""
    # One question for each rule, as DuckDB answers many that are narrow sooner than one with all.
    answer = duck.ask(f"SELECT {flat.ROW} FROM flat WHERE {condition}")  # noqa: S608  of literals
    return sorted(answer[flat.ROW].to_pylist())


def findings(rules: Iterable[Rule], engine: Duck, since_ms: int, until_ms: int) -> list[Finding]:
    """Return what rules find: what one rule matches of one principal on one day is one finding."""
    rows: dict[Rule, dict[tuple[Any, ...], dict[str, Any]]] = {}
    for match in run(rules, engine, since_ms, until_ms):
        event = match.event
        key = (event["time"] // DAY, *(event[name] for name in ALIKE))
        seen = {"count": 0, "first_seen": event["time"], "last_seen": event["time"], **event}
        row = rows.setdefault(match.rule, {}).setdefault(key, seen)
        row["count"] += 1
        row["first_seen"] = min(row["first_seen"], event["time"])
        row["last_seen"] = max(row["last_seen"], event["time"])
    return [
        finding
        for rule, counted in rows.items()
        for finding in detecting.grouped(
            f"sigma/{rule.id}", _detection(rule), [row | _told(row) for row in counted.values()]
        )
    ]


def _matches(rules: Sequence[Rule], log: Log, events: pa.Table, duck: Duck) -> Iterator[Match]:
    raws = events["raw"].cast(pa.binary()).to_pylist()
    told = events.select(EVENT)
    for rule, rows in matched(rules, log, raws, duck):
        for event in told.take(rows).to_pylist():
            yield Match(rule, event)


def _groups(
    log: Log, rules: Sequence[Rule], engine: Duck, since_ms: int, until_ms: int
) -> list[list[Rule]]:
    """Return the rules in groups, for each of which events are read.

    Most rules are about a few events. One that is not gets a group of its own, so that of all its
    events only the fields are read that it asks for.
    """
    needed = list(dict.fromkeys(rule.needed for rule in rules))
    counts = ", ".join(
        f"sum(CASE WHEN {one} THEN 1 ELSE 0 END) AS needed_{number}"
        for number, one in enumerate(needed)
    )
    [told] = engine.ask(
        f"SELECT count(*) AS events, {counts} FROM {log.relation}"  # noqa: S608  of literals
        f" WHERE time >= {since_ms} AND time < {until_ms} AND {_of(log)}"
    ).to_pylist()
    often = max(told["events"] * OFTEN, AT_ONCE / 10)
    groups: dict[str, list[Rule]] = {}
    for rule in rules:
        count = told[f"needed_{needed.index(rule.needed)}"] or 0
        groups.setdefault(rule.needed if count > often else "", []).append(rule)
    return [*groups.values()]


def _of(log: Log) -> str:
    return f"source = {literal(log.source)} AND raw IS NOT NULL"


def _events(
    log: Log, rules: Sequence[Rule], engine: Duck, since_ms: int, until_ms: int
) -> Iterator[pa.Table]:
    """Yield the events of which some rule may be fulfilled, as many at once as fit."""
    may = " OR ".join(dict.fromkeys(rule.needed for rule in rules))
    wanted = f"{_of(log)} AND ({may})"
    for first, end in _parts(log, wanted, engine, since_ms, until_ms):
        yield engine.ask(
            f"SELECT {TOLD[log.relation]}, raw FROM {log.relation}"  # noqa: S608  of literals
            f" WHERE time >= {first} AND time < {end} AND {wanted} ORDER BY time, event_id"
        )


def _parts(
    log: Log, wanted: str, engine: Duck, since_ms: int, until_ms: int
) -> Iterator[tuple[int, int]]:
    """Yield parts of a time that hold no more events than fit, or are a minute."""
    answer = engine.ask(
        f"SELECT floor(time / {MINUTE}.0e0) AS minute, count(*) AS events"  # noqa: S608
        f" FROM {log.relation} WHERE time >= {since_ms} AND time < {until_ms} AND {wanted}"
        " GROUP BY 1 ORDER BY 1"
    )
    first, held = None, 0
    for minute, events in zip(*answer.to_pydict().values(), strict=True):
        begin = max(since_ms, int(minute) * MINUTE)
        if first is None:
            first = begin
        elif held + events > AT_ONCE:
            yield first, begin
            first, held = begin, 0
        held += events
    if first is not None:
        yield first, until_ms


def _detection(rule: Rule) -> Detection:
    name = "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z0-9]+", rule.title))
    return Detection(
        title=rule.title,
        description=rule.description,
        type=f"{rule.purpose}:IAMUser/{name or 'Sigma'}",
        severity=rule.severity,
        techniques=rule.techniques,
        about=About.PRINCIPAL,
        side=Side.ACTOR,
        window=timedelta(milliseconds=DAY),
        sql="",
        summary="{told}",
    )


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what happened, and from which address."""
    where = f" of {row['service']}" if row["service"] else ""
    origin = row["src_ip"] or row["src_name"]
    from_ = f" from {origin}" if origin else ""
    times = f", {row['count']} times" if row["count"] > 1 else ""
    return {
        "told": f"{row['operation']}{where}{from_}{times}",
        "remote_ip": row["src_ip"],
    }
