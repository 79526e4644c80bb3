"""Detections at work: from SQL over logs to findings that go the same way as all others."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_address
from typing import Any, Final, Protocol

import pyarrow as pa

from firedoor.detection import About, Detection, Value
from firedoor.errors import BadInput
from firedoor.lake import portable
from firedoor.log_source import Piece, Place, table
from firedoor.model.finding import (
    Cloud,
    Finding,
    Kind,
    Principal,
    PrincipalType,
    Resource,
)
from firedoor.relations import RELATIONS

SOURCE: Final = "detections"
"""The finding source of our own findings."""


class Engine(Protocol):
    """What can be asked: DuckDB over what is kept here, or Athena over the same in the cloud."""

    def ask(self, sql: str, params: Mapping[str, Value] | None = None) -> pa.Table:
        """Return the answer to a query."""
        ...


def tables(rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, pa.Table]:
    """Return rows by relation as tables, what is not given being null.

    Keys and sides of addresses follow from their texts, `day` from `time`, as with what is read.
    """
    return {name: _table(name, [*given]) for name, given in rows.items()}


def matches(
    detection: Detection, engine: Engine, until: datetime, params: Mapping[str, Value] | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a detection's answer for the window that ends at `until`."""
    since = until - detection.window
    given: dict[str, Value] = {
        **detection.params,
        **(params or {}),
        "since": _ms(since),
        "until": _ms(until),
    }
    needed = portable.parameters(detection.sql)
    answer = engine.ask(detection.sql, {name: given[name] for name in needed if name in given})
    found: list[dict[str, Any]] = answer.to_pylist()
    return found


def findings(
    id_: str, detection: Detection, engine: Engine, until: datetime,
    params: Mapping[str, Value] | None = None,
) -> list[Finding]:  # fmt: skip
    """Return what a detection finds in the window that ends at `until`.

    All matches of one subject in one window are one finding, whose id is the same whenever it is
    looked for: a second look finds it again, and starts nothing.
    """
    rows = matches(detection, engine, until, params)
    texts = _texts(rows, detection, engine)
    return grouped(id_, detection, [row | _told(row, texts) for row in rows])


def grouped(id_: str, detection: Detection, rows: Iterable[dict[str, Any]]) -> list[Finding]:
    """Return the findings that matches are, with the texts of their addresses."""
    groups: dict[str, list[tuple[Resource | Principal, dict[str, Any]]]] = {}
    for row in rows:
        subject = _subject(row, detection.about)
        groups.setdefault(f"{subject.path}@{_bucket(row, detection)}", []).append((subject, row))
    return [_finding(id_, detection, group) for group in groups.values()]


def _finding(
    id_: str, detection: Detection, group: list[tuple[Resource | Principal, dict[str, Any]]]
) -> Finding:
    subject, first = group[0]
    rows = [row for _, row in group]
    seen, last = (
        min(row["first_seen"] for row in rows),
        max(row["last_seen"] for row in rows),
    )
    sentences = [detection.summary.format_map(row) for row in rows[:10]]
    more = [f"... and {len(rows) - 10} more"] if len(rows) > 10 else []
    name = f"{id_}|{subject.path}|{_bucket(first, detection)}"
    return Finding(
        id=f"firedoor/{hashlib.sha256(name.encode()).hexdigest()[:32]}",
        source=SOURCE,
        type=detection.type,
        title=detection.title,
        description="\n".join([*sentences, *more]),
        severity=detection.severity,
        cloud=subject.cloud,
        account=subject.account,
        region=subject.region,
        created_at=_instant(last),
        updated_at=_instant(last),
        first_seen=_instant(seen),
        last_seen=_instant(last),
        side=detection.side,
        subject=subject,
        addresses=_each(rows, "remote_ip", ip_address),
        local_addresses=_each(rows, "local_ip", ip_address),
        ports=_each(rows, "port", int),
        domains=_each(rows, "domain", str),
        access_keys=_each(rows, "credential", str),
        techniques=detection.techniques,
    )


def _subject(row: Mapping[str, Any], about: About) -> Resource | Principal:
    place = {
        "cloud": Cloud(row["cloud"]),
        "account": row["account"] or "unknown",
        "region": row["region"] or "global",
    }
    match about:
        case About.ACCOUNT:
            return Resource.model_validate(place | {"kind": Kind.ACCOUNT, "id": place["account"]})
        case About.PRINCIPAL:
            type_ = PRINCIPALS.get(row.get("actor_type") or "", PrincipalType.UNKNOWN)
            name = "root" if type_ is PrincipalType.ROOT else row.get("actor") or "unknown"
            return Principal(
                cloud=place["cloud"], account=place["account"], id=f"{type_}/{name}",
                type=type_, name=name,
            )  # fmt: skip
    for column in ("resource", "interface", "network"):
        if name := row.get(column):
            kind = Kind.INSTANCE if column == "resource" and _is_instance(name) else Kind.OTHER
            return Resource.model_validate(place | {"kind": kind, "id": name})
    id_ = row.get("local_ip") or place["account"]
    return Resource.model_validate(place | {"kind": Kind.OTHER, "id": id_})


# By what the logs of the clouds call the type of who acted.
PRINCIPALS: Final = {
    "Root": PrincipalType.ROOT,
    "IAMUser": PrincipalType.USER,
    "AssumedRole": PrincipalType.ROLE,
    "Role": PrincipalType.ROLE,
    "FederatedUser": PrincipalType.FEDERATED,
    "SAMLUser": PrincipalType.FEDERATED,
    "WebIdentityUser": PrincipalType.FEDERATED,
    "IdentityCenterUser": PrincipalType.FEDERATED,
    "AWSService": PrincipalType.SERVICE,
    "AWSAccount": PrincipalType.ACCOUNT,
    "User": PrincipalType.USER,
    "ServicePrincipal": PrincipalType.SERVICE,
    "serviceAccount": PrincipalType.SERVICE,
}


def _is_instance(name: str) -> bool:
    return name.startswith("i-") or "/virtualmachines/" in name.lower() or "/instances/" in name


def _texts(rows: list[dict[str, Any]], detection: Detection, engine: Engine) -> dict[int, str]:
    """Return the texts of IPv6 addresses, which their keys do not tell."""
    keys = {row.get(name) for row in rows for name in ("remote_key", "local_key")}
    unknown = sorted(one for one in keys if one is not None and one < 0)
    found: dict[int, str] = {}
    if not unknown:
        return found
    listed = ", ".join(map(str, unknown))
    for relation, columns in portable.columns(detection.sql).items():
        for side in ("src", "dst"):
            if f"{side}_key" in columns:
                sql = (
                    f"SELECT {side}_key AS key, any_value({side}_ip) AS ip FROM {relation}"  # noqa: S608
                    f" WHERE {side}_key IN ({listed}) GROUP BY {side}_key"
                )
                found |= {one["key"]: one["ip"] for one in engine.ask(sql).to_pylist()}
    return found


def _told(row: Mapping[str, Any], texts: Mapping[int, str]) -> dict[str, str]:
    """Return the texts of the addresses of a row."""
    told = {}
    for name in ("remote", "local"):
        number = row.get(f"{name}_key")
        if number is not None:
            text = str(IPv4Address(number)) if number >= 0 else texts.get(number, "")
            told[f"{name}_ip"] = text
    return told


def _each(rows: list[dict[str, Any]], column: str, as_: Any) -> tuple[Any, ...]:
    values = dict.fromkeys(row[column] for row in rows if row.get(column) not in (None, ""))
    return tuple(as_(value) for value in values)


def _bucket(row: Mapping[str, Any], detection: Detection) -> int:
    """Return which window a match is counted for: that of its last sight."""
    window = int(detection.window.total_seconds() * 1000)
    return int(row["last_seen"]) // window


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _table(name: str, rows: list[Mapping[str, Any]]) -> pa.Table:
    relation = RELATIONS[name]
    given = {column for row in rows for column in row}
    if unknown := given - {column.name for column in relation.columns}:
        raise BadInput(name, ", ".join(sorted(unknown)), "expected columns of the relation")
    columns = {column: pa.array([row.get(column) for row in rows]) for column in sorted(given)}
    return table(relation, len(rows), columns, Piece(Place(name)))
