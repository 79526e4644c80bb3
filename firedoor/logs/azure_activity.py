"""Azure activity logs: calls to the resource manager, in each form in which they are exported.

These are the records of diagnostic settings, answers of the REST API or of the Python SDK, and rows
of the table `AzureActivity`. https://learn.microsoft.com/azure/azure-monitor/platform/activity-log-schema
names the fields.

One call is several records with one correlation id: that it started, that it was accepted, and how
it ended. Only the last is the call; the others are passed over, and so is what nobody called: the
health of services, alerts, recommendations. Names of operations are in lower case, as each form,
and often each record, writes them in its own way.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.relations import API_ACTIVITY

# Write, Delete and Action were the categories until 2019.
CALLS: Final = ("Administrative", "Policy", "Write", "Delete", "Action")
OTHERS: Final = (
    "Security", "ServiceHealth", "ResourceHealth", "Alert", "Autoscale", "Recommendation",
)  # fmt: skip
TABLE: Final = "AzureActivity"
SUCCESS, FAILURE = "Success", "Failure"
STATUSES: Final = {
    "success": SUCCESS,
    "succeeded": SUCCESS,
    "failure": FAILURE,
    "failed": FAILURE,
    "canceled": FAILURE,
}
UNFINISHED: Final = ("start", "started", "accept", "accepted", "inprogress", "running")
DENIALS: Final = ("401", "403", "unauthorized", "forbidden")
DENIED: Final = "authorizationfailed"
USER, APPLICATION = "User", "ServicePrincipal"
TYPES: Final = {"user": USER, "app": APPLICATION}

SOAP: Final = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/"
ENTRA: Final = "http://schemas.microsoft.com/identity/claims/"
METHODS: Final = "http://schemas.microsoft.com/claims/authnmethodsreferences"
NAMES: Final = (f"{SOAP}upn", "upn", f"{SOAP}name", f"{SOAP}emailaddress", "name", "appid")


class Line(msgspec.Struct):
    """An event in any of its forms."""

    raw: msgspec.Raw = msgspec.Raw(b"")


class Value(msgspec.Struct, frozen=True):
    """A value that has a name in the reader's language beside it."""

    value: Text = None


class Record(_azure.Diagnostic, kw_only=True, frozen=True):
    """A record of diagnostic settings."""

    operation_name: str | Value
    result_type: Text = None
    result_signature: Number = None
    caller_ip_address: Text = None
    tenant_id: Text = None
    identity: Any = None
    properties: Any = None


class Answer(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """An event as the REST API answers it."""

    event_timestamp: str
    operation_name: Value
    category: Value | None = None
    status: Value | None = None
    sub_status: Value | None = None
    resource_id: Text = None
    subscription_id: Text = None
    tenant_id: Text = None
    event_data_id: Text = None
    caller: Text = None
    claims: dict[str, Any] | None = None
    http_request: dict[str, Any] | None = None
    properties: Any = None


class Row(msgspec.Struct, rename="pascal", kw_only=True, frozen=True):
    """A row of the table."""

    time_generated: str
    operation_name_value: str
    category_value: Text = None
    activity_status_value: Text = None
    activity_substatus_value: Text = None
    resource_id: Text = msgspec.field(name="_ResourceId", default=None)
    subscription_id: Text = None
    event_data_id: Text = None
    caller: Text = None
    caller_ip_address: Text = None
    claims: Any = None
    properties: Any = None


@dataclass(frozen=True)
class Event:
    """What every form says."""

    raw: msgspec.Raw
    time: Text
    category: str
    operation: str
    status: str
    substatus: str
    resource_id: Text
    claims: Mapping[str, Any]
    properties: Mapping[str, Any]
    address: Text
    account: Text
    event_id: Text = None
    caller: Text = None
    region: Text = None


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_activity",
    "time": lambda event: _azure.first_time(event.time),
    "account": lambda event: _azure.subscription(event.resource_id) or _azure.same(event.account),
    "region": lambda event: event.region,
    "event_id": lambda event: event.event_id or None,
    "service": lambda event: event.operation.lower().partition("/")[0] or None,
    "operation": lambda event: event.operation.lower(),
    "actor_type": lambda event: _actor_type(event),
    "actor": lambda event: _actor(event),
    "actor_id": lambda event: _word(event.claims.get(f"{ENTRA}objectidentifier")),
    "actor_account": lambda event: _word(event.claims.get(f"{ENTRA}tenantid")),
    "credential": lambda event: _word(event.claims.get("uti")),
    "src_ip": lambda event: _azure.address(event.address or _word(event.claims.get("ipaddr"))),
    "status": lambda event: STATUSES.get(event.status.lower()),
    "error": lambda event: _error(event)[0],
    "message": lambda event: _error(event)[1],
    "denied": lambda event: _is_denied(event),
    "read_only": lambda event: event.operation.lower().endswith("/read"),
    "mfa": lambda event: _second_factor(event),
    "resource": lambda event: _azure.same(event.resource_id),
    "request": lambda event: _text(event.properties.get("requestbody")),
    "response": lambda event: _text(event.properties.get("responseBody")),
    "raw": lambda event: event.raw,
}


def recognises(sample: Sample) -> bool:
    """Tell an event by its category and operation, in each of its forms."""
    record = sample.record
    operation = record.get("operationName", record.get("operation_name"))
    if isinstance(operation, dict):
        return True
    if "OperationNameValue" in record:
        return bool(record.get("Type", TABLE) == TABLE)
    # Entra ID has a category `Policy` too, but writes operations in words.
    return record.get("category") in (*CALLS, *OTHERS) and "/" in str(operation)


def parse(piece: Piece) -> Parsed:
    """Return the calls, each as it ended."""
    return _azure.parse(piece, Line, API_ACTIVITY, COLUMNS, _calls)


SOURCE = LogSource(
    title="Azure activity logs",
    relations=(API_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _calls(line: Line) -> Iterator[Event]:
    event = _event(line.raw)
    if event.category not in (*CALLS, *OTHERS):
        raise ValueError(f"category: expected one of {', '.join(CALLS)}, not {event.category}")
    if "/" not in event.operation:
        raise ValueError(f"operationName: expected PROVIDER/..., not {event.operation[:40]}")
    if event.category in CALLS and event.status.lower() not in UNFINISHED:
        yield event


def _event(raw: msgspec.Raw) -> Event:
    record = msgspec.json.decode(raw, type=dict[str, Any])
    if "OperationNameValue" in record:
        return _of_row(raw, msgspec.convert(record, Row))
    if "event_timestamp" in record:
        return _of_answer(raw, msgspec.convert(_camel(record), Answer))
    if "eventTimestamp" in record:
        return _of_answer(raw, msgspec.convert(record, Answer))
    return _of_record(raw, msgspec.convert(record, Record))


def _of_record(raw: msgspec.Raw, told: Record) -> Event:
    identity, properties = _object(told.identity), _object(told.properties)
    name = told.operation_name
    # `Failed.Forbidden`, or the status of HTTP.
    substatus = str(told.result_signature or "").rpartition(".")[2]
    return Event(
        raw=raw,
        time=told.time,
        category=told.category,
        operation=name if isinstance(name, str) else _value(name),
        status=told.result_type or "",
        substatus=substatus,
        resource_id=told.resource_id,
        claims=_object(identity.get("claims")),
        properties=properties,
        address=told.caller_ip_address,
        account=told.tenant_id,
        event_id=_word(properties.get("eventDataId")),
        caller=_word(properties.get("caller")),
        region=told.location,
    )


def _of_answer(raw: msgspec.Raw, told: Answer) -> Event:
    request = told.http_request or {}
    return Event(
        raw=raw,
        time=told.event_timestamp,
        category=_value(told.category),
        operation=_value(told.operation_name),
        status=_value(told.status),
        substatus=_value(told.sub_status),
        resource_id=told.resource_id,
        claims=told.claims or {},
        properties=_object(told.properties),
        address=_word(request.get("clientIpAddress") or request.get("client_ip_address")),
        account=told.subscription_id or told.tenant_id,
        event_id=told.event_data_id,
        caller=told.caller,
    )


def _of_row(raw: msgspec.Raw, told: Row) -> Event:
    return Event(
        raw=raw,
        time=told.time_generated,
        category=told.category_value or "",
        operation=told.operation_name_value,
        status=told.activity_status_value or "",
        substatus=told.activity_substatus_value or "",
        resource_id=told.resource_id,
        claims=_object(told.claims),
        properties=_object(told.properties),
        address=told.caller_ip_address,
        account=told.subscription_id,
        event_id=told.event_data_id,
        caller=told.caller,
    )


def _value(named: Value | None) -> str:
    return named.value or "" if named else ""


def _camel(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the Python SDK says, by the names of the REST API."""
    return {
        first + "".join(word.capitalize() for word in words): value
        for (first, *words), value in ((name.split("_"), one) for name, one in record.items())
    }


def _object(value: Any) -> dict[str, Any]:
    """Return an object, which tables hold as a text of JSON."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str | None:
    """Return a text, or None where what should be one is none."""
    return value or None if isinstance(value, str) else None


def _text(value: Any) -> str | None:
    """Return a value as JSON; a text is JSON as it is."""
    if value is None or isinstance(value, str):
        return value or None
    return msgspec.json.encode(value).decode()


def _actor(event: Event) -> str | None:
    if event.caller:
        return event.caller
    names = (_word(event.claims.get(name)) for name in NAMES)
    return next(filter(None, names), None)


def _actor_type(event: Event) -> str | None:
    if known := TYPES.get(_word(event.claims.get("idtyp")) or ""):
        return known
    if "@" in (_actor(event) or ""):
        return USER
    return APPLICATION if event.claims.get("appid") else None


def _error(event: Event) -> tuple[str | None, str | None]:
    """Return the code of a failure and what it says."""
    if STATUSES.get(event.status.lower()) != FAILURE:
        return None, None
    message = event.properties.get("statusMessage")
    error = _object(_object(message).get("error")) or _object(message)
    code = error.get("code") or event.properties.get("statusCode") or event.substatus
    return _text(code), _text(error.get("message") or message)


def _is_denied(event: Event) -> bool:
    if STATUSES.get(event.status.lower()) != FAILURE:
        return False
    codes = (event.substatus, event.properties.get("statusCode"), _error(event)[0])
    said = [str(code).lower() for code in codes if code]
    return any(code in DENIALS or DENIED in code for code in said)


def _second_factor(event: Event) -> bool | None:
    methods = event.claims.get(METHODS)
    return None if methods is None else "mfa" in str(methods).split(",")
