"""Microsoft Entra ID audit logs: changes to users, groups, roles, applications and policies.

https://learn.microsoft.com/entra/identity/monitoring-health/reference-azure-monitor-audit-log-schema
names the fields. The account is the tenant. Names of operations are in words, and some have a dash
or spaces that no keyboard writes: here they have those of a keyboard.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Text
from firedoor.relations import API_ACTIVITY

# Some services name their own category instead of that of the log.
CATEGORIES: Final = ("AuditLogs", "Policy")
OWN: Final = ("loggedByService", "initiatedBy", "activityDisplayName")
"""What is in the properties of this log, and not of others that call themselves `AuditLogs`."""
SUCCESS, FAILURE = "Success", "Failure"
STATUSES: Final = {
    "success": SUCCESS,
    "failure": FAILURE,
    "failed": FAILURE,
    "timeout": FAILURE,
    "clienterror": FAILURE,
}
USER, APPLICATION = "User", "ServicePrincipal"
DENIED: Final = ("authorization_requestdenied", "insufficient privileges", "unauthorized")
DASHES: Final = str.maketrans({"\u2013": "-", "\u2014": "-"})


class User(msgspec.Struct, rename="camel", frozen=True):
    """A person who did it."""

    id: Text = None
    display_name: Text = None
    user_principal_name: Text = None
    ip_address: Text = None


class Application(msgspec.Struct, rename="camel", frozen=True):
    """An application that did it by itself."""

    app_id: Text = None
    display_name: Text = None
    service_principal_id: Text = None
    service_principal_name: Text = None
    ip_address: Text = None


class Initiator(msgspec.Struct, frozen=True):
    """Who did it: the one or the other."""

    user: User | None = None
    app: Application | None = None


class Target(msgspec.Struct, rename="camel", frozen=True):
    """What it was done to."""

    id: Text = None
    display_name: Text = None
    user_principal_name: Text = None


class Detail(msgspec.Struct, frozen=True):
    """What else is told, by a name."""

    key: Text = None
    value: Any = None


class Properties(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What a record holds."""

    id: Text = None
    activity_date_time: Text = None
    activity_display_name: Text = None
    logged_by_service: Text = None
    operation_type: Text = None
    result: Text = None
    result_reason: Text = None
    initiated_by: Initiator | None = None
    target_resources: list[Target] | None = None
    additional_details: list[Detail] | None = None
    user_agent: Text = None


class Written(msgspec.Struct, rename="camel", frozen=True):
    """What it was done to, as it was written, with what was changed."""

    target_resources: msgspec.Raw = msgspec.Raw()


class Whole(msgspec.Struct, frozen=True):
    """A record of which nothing else is looked at."""

    properties: Written


class Record(_azure.Diagnostic, kw_only=True, frozen=False):  # type: ignore[misc]
    """A change; whoever reads it adds the text of it."""

    operation_name: Text = None
    tenant_id: Text = None
    caller_ip_address: Text = None
    identity: Any = None
    result: Text = None
    result_description: Text = None
    properties: Properties
    raw: msgspec.Raw = msgspec.Raw()

    @property
    def by(self) -> User | Application | None:
        """Return who did it, where it is told."""
        initiator = self.properties.initiated_by or Initiator()
        return initiator.user or initiator.app


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_audit",
    "time": lambda row: _azure.first_time(row.properties.activity_date_time, row.time),
    "account": lambda row: _azure.same(row.tenant_id) or _azure.subscription(row.resource_id),
    "region": lambda row: row.location,
    "event_id": lambda row: row.properties.id or None,
    "service": lambda row: row.properties.logged_by_service or None,
    "operation": lambda row: _operation(row),
    "actor_type": lambda row: _actor_type(row.by),
    "actor": lambda row: _actor(row),
    "actor_id": lambda row: _actor_id(row.by),
    "src_ip": lambda row: _source(row),
    "user_agent": lambda row: row.properties.user_agent or _detail(row, "User-Agent"),
    "status": lambda row: STATUSES.get(_result(row)),
    "message": lambda row: _why(row) if _failed(row) else None,
    "denied": lambda row: _failed(row) and any(one in str(_why(row)).lower() for one in DENIED),
    "read_only": False,
    "resource": lambda row: _target(row),
    "request": lambda row: _written(row.raw),
    "raw": lambda row: row.raw,
}


def recognises(sample: Sample) -> bool:
    """Tell a record by its category, and by what only this log has."""
    properties = sample.record.get("properties")
    return (
        sample.record.get("category") in CATEGORIES
        and isinstance(properties, dict)
        and any(name in properties for name in OWN)
    )


def parse(piece: Piece) -> Parsed:
    """Return the changes."""
    return _azure.parse(piece, Record, API_ACTIVITY, COLUMNS, _changes)


SOURCE = LogSource(
    title="Microsoft Entra ID audit logs",
    relations=(API_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)

_whole: Final = msgspec.json.Decoder(Whole).decode


def _changes(record: Record) -> Iterator[Record]:
    if record.category not in CATEGORIES:
        raise ValueError(f"category: expected AuditLogs, not {record.category[:40]}")
    told = record.properties
    if not (told.logged_by_service or told.initiated_by or told.activity_display_name):
        raise ValueError(f"properties: expected one of {', '.join(OWN)}")
    if not _operation(record):
        raise ValueError("operationName: expected a text")
    yield record


def _operation(record: Record) -> str | None:
    name = record.operation_name or record.properties.activity_display_name or ""
    return " ".join(name.translate(DASHES).split()) or None


def _actor_type(by: User | Application | None) -> str | None:
    if by is None:
        return None
    return USER if isinstance(by, User) else APPLICATION


def _actor(record: Record) -> str | None:
    match record.by:
        case User() as user if user.user_principal_name or user.display_name:
            return user.user_principal_name or user.display_name
        case Application() as app if app.display_name or app.service_principal_name:
            return app.display_name or app.service_principal_name
    return record.identity or None if isinstance(record.identity, str) else None


def _actor_id(by: User | Application | None) -> str | None:
    match by:
        case User():
            return by.id or None
        case Application():
            return by.service_principal_id or by.app_id or None
    return None


def _source(record: Record) -> str | None:
    """Return the address of who did it; that of the record may be one of Microsoft's."""
    own = record.by.ip_address if record.by else None
    told = (own, _detail(record, "ipaddr"), record.caller_ip_address)
    return next(filter(None, map(_azure.address, told)), None)


def _detail(record: Record, name: str) -> str | None:
    """Return a detail by its name."""
    values = (one.value for one in record.properties.additional_details or () if one.key == name)
    return next((value for value in values if value and isinstance(value, str)), None)


def _result(record: Record) -> str:
    return (record.properties.result or record.result or "").lower()


def _failed(record: Record) -> bool:
    return STATUSES.get(_result(record)) == FAILURE


def _why(record: Record) -> str | None:
    return record.properties.result_reason or record.result_description or None


def _target(record: Record) -> str | None:
    """Return the first thing that it was done to, by the name that people know it by."""
    for target in record.properties.target_resources or ():
        if name := target.user_principal_name or target.display_name or target.id:
            return name
    return None


def _written(raw: msgspec.Raw) -> msgspec.Raw:
    return _whole(raw).properties.target_resources
