"""Microsoft Entra ID sign-in logs: of people, of applications, and of what signs in for people.

https://learn.microsoft.com/entra/identity/monitoring-health/reference-azure-monitor-sign-ins-log-schema
names the fields. Only the code 0 is a success; an interruption, as to ask for a second factor, is a
failure with its own code. The account is the tenant.
"""

from typing import Any, Final, Literal

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.relations import AUTHENTICATION

CATEGORIES: Final = {
    "SignInLogs": "",
    "NonInteractiveUserSignInLogs": "",
    "ServicePrincipalSignInLogs": "ServicePrincipal",
    "ManagedIdentitySignInLogs": "ManagedIdentity",
    "ADFSSignInLogs": "",
}
"""What signs in, where it is no user of some type."""
SUCCESS, FAILURE = "Success", "Failure"
MULTIPLE: Final = "multiFactorAuthentication"


class Status(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """How it went."""

    error_code: Number = None
    failure_reason: Text = None


class Properties(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What a record holds."""

    id: Text = None
    created_date_time: Text = None
    user_principal_name: Text = None
    user_id: Text = None
    user_type: Text = None
    service_principal_name: Text = None
    service_principal_id: Text = None
    app_display_name: Text = None
    resource_display_name: Text = None
    resource_tenant_id: Text = None
    ip_address: Text = None
    user_agent: Text = None
    authentication_requirement: Text = None
    status: Status | None = None


class Record(_azure.Diagnostic, kw_only=True, frozen=False):  # type: ignore[misc]
    """A sign-in; whoever reads it adds the text of it."""

    category: Literal[
        "SignInLogs",
        "NonInteractiveUserSignInLogs",
        "ServicePrincipalSignInLogs",
        "ManagedIdentitySignInLogs",
        "ADFSSignInLogs",
    ]
    tenant_id: Text = None
    caller_ip_address: Text = None
    identity: Any = None
    result_type: Number = None
    result_description: Text = None
    properties: Properties = Properties()
    raw: msgspec.Raw = msgspec.Raw()


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_signin",
    "activity": "Logon",
    "time": lambda row: _azure.first_time(row.properties.created_date_time, row.time),
    "account": lambda row: (
        _azure.subscription(row.resource_id) or row.tenant_id or row.properties.resource_tenant_id
    ),
    "event_id": lambda row: row.properties.id,
    "service": lambda row: row.properties.resource_display_name or row.properties.app_display_name,
    "user_type": lambda row: CATEGORIES[row.category] or row.properties.user_type,
    "user_name": lambda row: (
        row.properties.user_principal_name
        or row.properties.service_principal_name
        or (row.identity if isinstance(row.identity, str) else None)
    ),
    "user_id": lambda row: row.properties.user_id or row.properties.service_principal_id,
    "src_ip": lambda row: _azure.address(row.properties.ip_address or row.caller_ip_address),
    "user_agent": lambda row: row.properties.user_agent or None,
    "status": lambda row: SUCCESS if _succeeded(row) else FAILURE,
    "message": lambda row: None if _succeeded(row) else _why(row),
    "mfa": lambda row: _second_factor(row),
    "raw": lambda row: row.raw,
}


def recognises(sample: Sample) -> bool:
    """Tell a record by its category."""
    return sample.record.get("category") in [*CATEGORIES]


def parse(piece: Piece) -> Parsed:
    """Return the sign-ins."""
    return _azure.parse(piece, Record, AUTHENTICATION, COLUMNS)


SOURCE = LogSource(
    title="Microsoft Entra ID sign-in logs",
    relations=(AUTHENTICATION.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _code(record: Record) -> str:
    """Return the code of what happened; raises `ValueError` where there is none."""
    status = record.properties.status or Status()
    for code in (status.error_code, record.result_type):
        if code not in (None, ""):
            return str(code)
    raise ValueError("properties.status.errorCode: expected a code")


def _succeeded(record: Record) -> bool:
    return _code(record) in ("0", SUCCESS)


def _why(record: Record) -> str:
    """Return why a sign-in failed: the code, by which it is looked for, and what it says."""
    status = record.properties.status or Status()
    said = status.failure_reason or record.result_description
    return f"{_code(record)}: {said}" if said else _code(record)


def _second_factor(record: Record) -> bool | None:
    """Return whether a second factor was given, where it is told whether one was asked for."""
    if not record.properties.authentication_requirement:
        return None
    asked = record.properties.authentication_requirement == MULTIPLE
    return asked and _succeeded(record)
