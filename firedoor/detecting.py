"""Detections at work: from SQL over logs to findings that go the same way as all others."""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, Final

import pyarrow as pa
import structlog

from firedoor.detection import About, Detection, Value
from firedoor.errors import BadInput
from firedoor.lake import portable
from firedoor.lake.engine import Engine, addresses
from firedoor.log_source import Piece, Place, table
from firedoor.model.finding import (
    GLOBAL,
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
SHOWN: Final = 10
"""How many matches of a subject a finding describes."""

log = structlog.get_logger()


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
        "earlier": _ms(since - detection.history),
        "since": _ms(since),
        "until": _ms(until),
    }
    needed = portable.parameters(detection.sql)
    answer = engine.ask(detection.sql, {name: given[name] for name in needed if name in given})
    return [{name: _plain(value) for name, value in row.items()} for row in answer.to_pylist()]


def findings(
    id_: str, detection: Detection, engine: Engine, until: datetime,
    params: Mapping[str, Value] | None = None,
) -> list[Finding]:  # fmt: skip
    """Return what a detection finds in the window that ends at `until`.

    All matches of one subject in one window are one finding, whose id is the same whenever it is
    looked for: a second look finds it again, and starts nothing. Windows are counted from 1970 on;
    what goes on over the end of one is another finding of the same subject in the next.
    """
    rows = matches(detection, engine, until, params)
    window = {"since": _ms(until - detection.reach), "until": _ms(until)}
    keys = (row.get(name) for row in rows for name in ("remote_key", "local_key"))
    texts = addresses(keys, detection.sql, engine, window)
    return grouped(id_, detection, [row | _told(row, texts) for row in rows])


def grouped(id_: str, detection: Detection, rows: Iterable[dict[str, Any]]) -> list[Finding]:
    """Return the findings that matches are, with the texts of their addresses."""
    groups: dict[tuple[str, int], list[tuple[Resource | Principal, dict[str, Any]]]] = {}
    machines = any(relation in detection.sql for relation in MACHINES)
    for row in _placed(id_, rows):
        subject = _subject(row, detection.about, machines=machines)
        groups.setdefault((subject.path, _bucket(row, detection)), []).append((subject, row))
    return [_finding(id_, detection, group) for group in groups.values()]


def _placed(id_: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of clouds that we know: of others nothing can be found out or contained."""
    rows = [*rows]
    if strange := [str(row["cloud"]) for row in rows if row["cloud"] not in CLOUDS]:
        clouds = sorted({*strange})
        log.warning("match.dropped", detection=id_, clouds=clouds, count=len(strange))
    return [row for row in rows if row["cloud"] in CLOUDS]


def _finding(
    id_: str, detection: Detection, group: list[tuple[Resource | Principal, dict[str, Any]]]
) -> Finding:
    subject, first = group[0]
    # Engines answer in any order, and a finding reads the same each time.
    rows = sorted((row for _, row in group), key=_order)
    seen, last = (
        min(row["first_seen"] for row in rows),
        max(row["last_seen"] for row in rows),
    )
    sentences = [detection.summary.format_map(_said(row)) for row in rows[:SHOWN]]
    more = [f"... and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
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
        count=max(1, sum(row.get("count") or 1 for row in rows)),
        side=detection.side,
        subject=subject,
        addresses=_each(rows, "remote_ip", ip_address),
        local_addresses=_each(rows, "local_ip", ip_address),
        ports=_each(rows, "port", int),
        domains=_each(rows, "domain", str),
        access_keys=_each(rows, "credential", str),
        techniques=detection.techniques,
    )


def _subject(row: Mapping[str, Any], about: About, *, machines: bool) -> Resource | Principal:
    cloud, account = Cloud(row["cloud"]), str(row["account"] or "unknown")
    place = {"cloud": cloud, "account": account, "region": row["region"] or GLOBAL}
    match about:
        case About.ACCOUNT:
            return Resource.model_validate(place | {"kind": Kind.ACCOUNT, "id": account})
        case About.PRINCIPAL:
            return _principal(row, cloud, account)
    for column in ("resource", "interface", "network"):
        if name := row.get(column):
            instance = column == "resource" and _instance(name, cloud, machines=machines)
            known = {"kind": Kind.INSTANCE, "id": instance} if instance else {"id": name}
            return Resource.model_validate(place | {"kind": Kind.OTHER} | known)
    id_ = row.get("local_ip") or account
    return Resource.model_validate(place | {"kind": Kind.OTHER, "id": id_})


def _principal(row: Mapping[str, Any], cloud: Cloud, account: str) -> Principal:
    type_ = PRINCIPALS.get(str(row.get("actor_type")).lower(), PrincipalType.UNKNOWN)
    name = "root" if type_ is PrincipalType.ROOT else row.get("actor") or "unknown"
    # Who comes from another account can only be contained there.
    home = row.get("actor_account") or account
    return Principal(cloud=cloud, account=home, id=f"{type_}/{name}", type=type_, name=name)


CLOUDS: Final = frozenset(cloud.value for cloud in Cloud)
MACHINES: Final = frozenset({"network_activity", "dns_activity"})
"""The relations whose `resource` is the machine that sent or asked, where it is told."""
# By what the logs of the clouds call the type of who acted, in lower case.
PRINCIPALS: Final = {
    "root": PrincipalType.ROOT,
    "iamuser": PrincipalType.USER,
    "assumedrole": PrincipalType.ROLE,
    "role": PrincipalType.ROLE,
    "federateduser": PrincipalType.FEDERATED,
    "samluser": PrincipalType.FEDERATED,
    "webidentityuser": PrincipalType.FEDERATED,
    "identitycenteruser": PrincipalType.FEDERATED,
    "awsservice": PrincipalType.SERVICE,
    "awsaccount": PrincipalType.ACCOUNT,
    "user": PrincipalType.USER,
    "member": PrincipalType.USER,
    "guest": PrincipalType.USER,
    "application": PrincipalType.SERVICE,
    "serviceprincipal": PrincipalType.SERVICE,
    "managedidentity": PrincipalType.SERVICE,
    "serviceaccount": PrincipalType.SERVICE,
    "principal": PrincipalType.FEDERATED,
    "principalset": PrincipalType.FEDERATED,
}


def _instance(name: str, cloud: Cloud, *, machines: bool) -> str:
    """Return the id of an instance, or nothing where a resource is none."""
    match cloud:
        case Cloud.AWS:
            id_ = name.rpartition(":instance/")[2]
            return id_ if id_.startswith("i-") else ""
        case Cloud.AZURE:
            return name if "/virtualmachines/" in name.lower() else ""
        case Cloud.GCP:
            # Others have instances, too: those of machines lie in zones.
            path = "/zones/" in name and "/instances/" in name
            return name if path or (machines and "/" not in name) else ""


def _told(row: Mapping[str, Any], texts: Mapping[int, str]) -> dict[str, str]:
    """Return the texts of the addresses of a row."""
    told = {}
    for name in ("remote", "local"):
        number = row.get(f"{name}_key")
        if number is not None:
            told[f"{name}_ip"] = texts.get(number) or ""
        elif f"{name}_key" in row:
            told[f"{name}_ip"] = ""
    return told


def _each(rows: list[dict[str, Any]], column: str, as_: Any) -> tuple[Any, ...]:
    # Port 0 is what stands where there are none.
    values = dict.fromkeys(row[column] for row in rows if row.get(column))
    return tuple(as_(value) for value in values)


def _bucket(row: Mapping[str, Any], detection: Detection) -> int:
    """Return which window a match is counted for: that of its last sight."""
    window = int(detection.window.total_seconds() * 1000)
    return int(row["last_seen"]) // window


def _said(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "unknown" if value in (None, "") else value for name, value in row.items()}


def _order(row: Mapping[str, Any]) -> tuple[int, str]:
    return int(row["first_seen"]), str(sorted(row.items(), key=lambda item: item[0]))


def _plain(value: Any) -> Any:
    """Return a whole number as one: DuckDB adds them up in a wider type than Athena."""
    return int(value) if isinstance(value, Decimal) else value


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
    columns = {name: values for name, values in columns.items() if values.null_count < len(rows)}
    return table(relation, len(rows), columns, Piece(Place(name)))
