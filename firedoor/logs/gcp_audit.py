"""Google Cloud audit logs: admin activity, data access, system events and denials by policy.

https://cloud.google.com/logging/docs/reference/audit/auditlog/rest/Shared.Types/AuditLog

An operation that takes long is logged when it begins and again when it ends. One call is one row:
the beginning. The end is passed over, unless the operation failed, which only the end says.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from firedoor.log_source import Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs import _gcp
from firedoor.logs._values import address
from firedoor.relations import API_ACTIVITY, AUTHENTICATION

LOGS: Final = tuple(
    f"cloudaudit.googleapis.com/{log}"
    for log in ("activity", "data_access", "system_event", "policy")
)
NAME: Final = "gcp_audit"
# What was cut out of an entry to be shown or kept may come without the name of its log.
NAMELESS: Final = ""
PERMISSION_DENIED: Final = 7
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
CODES: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED",
    "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
# Logins of Google Workspace.
SERVICE: Final = "login.googleapis.com"
OUTCOMES: Final = {"login_success": "Success", "login_failure": "Failure"}
FAILED: Final = "google.login.LoginService.loginFailure"
# How Workspace names a password, or that nothing was asked; whatever else it asks is a factor more.
FIRST_FACTORS: Final = {"password", "none", "login_location"}


class Status(msgspec.Struct, frozen=True):
    """How it ended; without a code, well."""

    code: int = 0
    message: str = ""


class Caller(msgspec.Struct, frozen=True, rename="camel"):
    """Who called."""

    principal_email: str = ""
    principal_subject: str = ""
    service_account_key_name: str = ""


class Authorization(msgspec.Struct, frozen=True, rename="camel"):
    """One permission that was needed."""

    permission_type: str = ""


class RequestMetadata(msgspec.Struct, frozen=True, rename="camel"):
    """Where the call came from."""

    caller_ip: str = ""
    caller_supplied_user_agent: str = ""


class Parameter(msgspec.Struct, frozen=True, rename="camel"):
    """A parameter of an event of Google Workspace."""

    name: str = ""
    value: str = ""
    bool_value: bool | None = None
    multi_str_value: Sequence[str] = ()


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """An event of Google Workspace."""

    event_name: str = ""
    parameter: Sequence[Parameter] = ()


class Metadata(msgspec.Struct, frozen=True):
    """What Google Workspace adds to a record of the audit log."""

    event: Sequence[Event] = ()


class Audit(msgspec.Struct, frozen=True, rename="camel"):
    """A record of the audit log."""

    service_name: str = ""
    method_name: str = ""
    resource_name: str = ""
    status: Status = Status()
    authentication_info: Caller = Caller()
    authorization_info: Sequence[Authorization] = ()
    request_metadata: RequestMetadata = RequestMetadata()
    request: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    metadata: msgspec.Raw = msgspec.Raw()


class Operation(msgspec.Struct, frozen=True):
    """Which entry of an operation this is."""

    first: bool = False
    last: bool = False


class Entry(_gcp.LogEntry, frozen=False, kw_only=True):  # type: ignore[misc]
    """An entry of these logs; whoever reads it adds the text of it."""

    proto_payload: Audit
    operation: Operation = Operation()
    raw: msgspec.Raw = msgspec.Raw()


class Login(NamedTuple):
    """An event of a login."""

    entry: Entry
    event: Event


def recognises(sample: Sample) -> bool:
    """Tell these entries by the name of their log, and by their payload."""
    payload = sample.record.get("protoPayload")
    return (
        isinstance(payload, dict)
        and _gcp.logged(sample) in (*LOGS, NAMELESS)
        and ("methodName" in payload or "serviceName" in payload)
    )


def parse(piece: Piece) -> Parsed:
    """Return the calls, and what are logins of Google Workspace as such too."""
    calls = Into(API_ACTIVITY, _of_calls(piece), _calls)
    logins = Into(AUTHENTICATION, _of_logins(piece), _logins)
    return records(Entry, calls, logins)(piece)


SOURCE = LogSource(
    title="Google Cloud audit logs",
    relations=(API_ACTIVITY.name, AUTHENTICATION.name),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)

_metadata: Final = msgspec.json.Decoder(Metadata).decode


def _calls(entry: Entry) -> tuple[Entry, ...]:
    _gcp.require(entry, *LOGS, NAMELESS)
    operation = entry.operation
    ended_well = operation.last and not operation.first and not entry.proto_payload.status.code
    return () if ended_well else (entry,)


def _logins(entry: Entry) -> Iterator[Login]:
    audit = entry.proto_payload
    if audit.service_name == SERVICE and len(audit.metadata):
        for event in _metadata(audit.metadata).event:
            if event.event_name in OUTCOMES:
                yield Login(entry, event)


def _of_calls(piece: Piece) -> dict[str, Any]:
    """Return how the columns of `api_activity` are got from an entry."""
    return {
        **_gcp.common(piece, NAME),
        "event_id": lambda row: row.insert_id or None,
        "service": lambda row: row.proto_payload.service_name or None,
        "operation": lambda row: row.proto_payload.method_name or None,
        "actor_type": lambda row: _type(row.proto_payload),
        "actor": lambda row: _caller(row.proto_payload),
        "actor_id": lambda row: _caller(row.proto_payload),
        "actor_account": lambda row: _project(row.proto_payload),
        "credential": lambda row: _key(row.proto_payload),
        "src_ip": lambda row: address(row.proto_payload.request_metadata.caller_ip),
        "src_name": lambda row: _source_name(row.proto_payload),
        "user_agent": lambda row: (
            row.proto_payload.request_metadata.caller_supplied_user_agent or None
        ),
        "status": lambda row: "Failure" if _failed(row.proto_payload) else "Success",
        "error": lambda row: _error(row.proto_payload.status),
        "message": lambda row: row.proto_payload.status.message or None,
        "denied": lambda row: row.proto_payload.status.code == PERMISSION_DENIED,
        "read_only": _only_reads,
        "resource": lambda row: row.proto_payload.resource_name or None,
        "request": lambda row: row.proto_payload.request,
        "response": lambda row: row.proto_payload.response,
        "raw": lambda row: row.raw,
    }


def _of_logins(piece: Piece) -> dict[str, Any]:
    """Return how the columns of `authentication` are got from a login."""
    return {
        **_gcp.common(piece, NAME, lambda row: row.entry),
        "event_id": lambda row: row.entry.insert_id or None,
        "activity": "Logon",
        "service": SERVICE,
        "user_type": lambda row: _type(row.entry.proto_payload),
        "user_name": lambda row: _caller(row.entry.proto_payload),
        "user_id": lambda row: _caller(row.entry.proto_payload),
        "src_ip": lambda row: address(row.entry.proto_payload.request_metadata.caller_ip),
        "user_agent": lambda row: (
            row.entry.proto_payload.request_metadata.caller_supplied_user_agent or None
        ),
        "status": lambda row: OUTCOMES[row.event.event_name],
        "message": _why,
        "mfa": lambda row: _had_second_factor(row.event),
        "raw": lambda row: row.entry.raw,
    }


def _caller(audit: Audit) -> str | None:
    """Return the e-mail of who called, or else the subject: of federated people, a path."""
    caller = audit.authentication_info
    return caller.principal_email or caller.principal_subject or None


def _type(audit: Audit) -> str | None:
    """Return what type of caller it is, with the word that a policy has for it."""
    caller = audit.authentication_info
    if caller.principal_email.endswith(".gserviceaccount.com"):
        return "serviceAccount"
    kind, colon, _ = caller.principal_subject.partition(":")
    return kind if colon else ("user" if caller.principal_email else None)


def _project(audit: Audit) -> str | None:
    """Return the project of a service account."""
    domain = audit.authentication_info.principal_email.rpartition("@")[2]
    project = domain.removesuffix(".iam.gserviceaccount.com")
    return None if project == domain else project


def _key(audit: Audit) -> str | None:
    return audit.authentication_info.service_account_key_name.rpartition("/")[2] or None


def _source_name(audit: Audit) -> str | None:
    """Return what stands instead of an address: `private`, `gce-internal-ip`."""
    told = audit.request_metadata.caller_ip
    return None if address(told) else told or None


def _failed(audit: Audit) -> bool:
    """Return whether a call failed; Workspace logs without a status that a login did."""
    return audit.status.code != 0 or audit.method_name == FAILED


def _error(status: Status) -> str | None:
    if not status.code:
        return None
    return CODES[status.code] if 0 < status.code < len(CODES) else str(status.code)


def _only_reads(call: Entry) -> bool | None:
    """Return whether a call could only read, as far as its log or its permissions say."""
    kinds = {one.permission_type for one in call.proto_payload.authorization_info} - {""}
    if kinds:
        return all(kind.endswith("_READ") for kind in kinds)
    log = _gcp.log_id(call.log_name).rpartition("/")[2]
    return False if log in ("activity", "system_event") else None


def _had_second_factor(event: Event) -> bool | None:
    told = {one.name: one for one in event.parameter}
    if (second := told.get("is_second_factor")) and second.bool_value is not None:
        return second.bool_value
    if (asked := told.get("login_challenge_method")) is None:
        return None
    return bool({*asked.multi_str_value, asked.value} - FIRST_FACTORS - {""})


def _why(login: Login) -> str | None:
    told = {one.name: one.value for one in login.event.parameter}
    return told.get("login_failure_type") or login.entry.proto_payload.status.message or None
