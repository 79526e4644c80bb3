"""Which of our logs a Sigma rule is about, and where in a record the fields stand that it names.

A field is looked up in the record as it was logged, `raw`. Where a column of the relation holds the
same, the column is what events are chosen by before any record is decoded.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from firedoor.relations import API_ACTIVITY, AUTHENTICATION

Getter = Callable[[Any], Sequence[str]]
"""Return the values of a field in a decoded record: none, one, or those of a list."""
Path = tuple[str, ...]

ANYWHERE: Final = ""
"""The field of a value that is looked for anywhere in a record: a keyword."""


@dataclass(frozen=True, eq=False)
class Log:
    """A log of ours that rules can be about."""

    source: str
    """The log source that reads it: `aws_cloudtrail`."""
    relation: str = API_ACTIVITY.name
    """The relation that keeps its records."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """The columns of the relation that hold a field, where the record has it, by its name."""
    getters: Mapping[str, Getter] = field(default_factory=dict)
    """How to get what stands elsewhere than its name says, by that name in lower case."""
    named: Callable[[str], str] = lambda name: name
    """What a field is called in the record."""
    any_case: bool = False
    """Whether the log is written in more than one case: `resourceId`, `ResourceId`."""
    below: str = ""
    """The member in which fields stand that are not in the record itself."""

    def members(self, names: Iterable[str]) -> frozenset[str] | None:
        """Return the members of a record in which fields stand; None where it may be any."""
        if self.any_case or self.getters or ANYWHERE in names:
            return None
        return frozenset(self.named(name).partition(".")[0] for name in names)

    def getter(self, name: str) -> Getter:
        """Return how to get the values of a field."""
        if name == ANYWHERE:
            return everything
        if known := self.getters.get(name.lower()):
            return known
        path = tuple(self.named(name).split("."))
        if self.below:
            return _first(name, f"{self.below}.{name}")
        if self.any_case:
            return lambda record: values(record, path, any_case=True)
        return _straight(path)


def values(value: Any, path: Path, *, any_case: bool = False) -> tuple[str, ...]:
    """Return the texts at a path, looking into every element of a list on the way.

    What is null, or not there, has none. An object at the end is its JSON.
    """
    if value is None:
        return ()
    if isinstance(value, list):
        return tuple(text for one in value for text in values(one, path, any_case=any_case))
    if not path:
        return (_text(value),)
    if not isinstance(value, dict):
        return ()
    member = value.get(path[0])
    if member is None and any_case:
        wanted = path[0].lower()
        member = next((one for key, one in value.items() if key.lower() == wanted), None)
    return values(member, path[1:], any_case=any_case)


def _straight(path: Path) -> Getter:
    """Return `values` for a path, quicker where there is no list on the way."""

    def get(record: Any) -> Sequence[str]:
        value = record
        for depth, key in enumerate(path):
            if type(value) is not dict:
                return values(value, path[depth:])
            value = value.get(key)
        return (value,) if type(value) is str else values(value, ())

    return get


def everything(record: Any) -> tuple[str, ...]:
    """Return every value in a record, and its JSON, where the names of members stand too."""
    return (_json(record), *_leaves(record))


def folded(text: str) -> str:
    """Return a text in lower case as DuckDB writes it: letter for letter."""
    return text.lower() if text.isascii() else "".join(one.lower()[0] for one in text)


def log_of(product: str | None, service: str | None, category: str | None) -> Log | None:
    """Return the log that a rule is about, by its `logsource`; None where we read none such."""
    if category:
        return None
    return LOGS.get(((product or "").lower(), (service or "").lower()))


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float() if math.isfinite(value) and value.is_integer():
            return str(int(value))
        case dict():
            return _json(value)
    return str(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case None:
            return
        case dict():
            for one in value.values():
                yield from _leaves(one)
        case list():
            for one in value:
                yield from _leaves(one)
        case _:
            yield _text(value)


def _first(*names: str) -> Getter:
    """Return what gets the first of several paths at which there is something."""
    paths = [tuple(name.split(".")) for name in names]

    def get(record: Any) -> Sequence[str]:
        found = (values(record, path, any_case=True) for path in paths)
        return next((texts for texts in found if texts), ())

    return get


def _provider(record: Any) -> Sequence[str]:
    """Return the resource provider, which operations begin with: `Microsoft.Compute/...`."""
    told = _first("resourceProviderName.value", "resourceProviderValue", "resourceProvider")(record)
    return told or [text.partition("/")[0] for text in _OPERATION(record)]


_OPERATION: Final = _first("operationName.value", "operationNameValue", "operationName")
_STATUS: Final = _first("status.value", "activityStatusValue", "resultType")
_CATEGORY: Final = _first("category.value", "categoryValue", "category")
# By the names of the event hub, of the REST API, and of the table AzureActivity alike.
_AZURE: Final[Mapping[str, Getter]] = {
    "operationname": _OPERATION,
    "operationnamevalue": _OPERATION,
    "category": _CATEGORY,
    "categoryvalue": _CATEGORY,
    "resourceprovidervalue": _provider,
    "resourceid": _first("resourceId", "_ResourceId"),
    "status": _STATUS,
    "activitystatusvalue": _STATUS,
    "calleripaddress": _first("callerIpAddress", "httpRequest.clientIpAddress"),
}

_CODE: Final = _first("properties.status.errorCode", "resultType")
_REASON: Final = _first("resultDescription", "properties.status.failureReason")
_PROTOCOL: Final = _first("properties.authenticationProtocol")


def _outcome(record: Any) -> Sequence[str]:
    """Return how a sign-in ended, in the words of the portal."""
    return ["Success" if code in ("0", "Success") else "Failure" for code in _CODE(record)]


def _sign_in_message(record: Any) -> Sequence[str]:
    """Return what the portal says of a sign-in: why it failed, and how it was made."""
    protocol = [_spaced(text) for text in _PROTOCOL(record)]
    return [*_first("properties.message")(record), *_REASON(record), *protocol]


def _spaced(text: str) -> str:
    """Return a name in words, as the portal shows it: `device Code` for `deviceCode`."""
    return re.sub("(?<=[a-z])(?=[A-Z])", " ", text)


def _networks(record: Any) -> Sequence[str]:
    """Return the named locations as the table holds them: a text, `[]` where there are none."""
    properties = record.get("properties") if isinstance(record, dict) else None
    told = properties if isinstance(properties, dict) else {}
    networks = {name.lower(): value for name, value in told.items()}.get("networklocationdetails")
    if networks is None:
        return ()
    return [networks if isinstance(networks, str) else _json(networks)]


# By the names of the event hub, of the table SigninLogs, and of the portal.
_SIGN_INS: Final[Mapping[str, Getter]] = {
    "resulttype": _CODE,
    "resultdescription": _REASON,
    "status": _outcome,
    "properties.message": _sign_in_message,
    "networklocationdetails": _networks,
}

_CHANGE: Final = _first("operationName", "properties.activityDisplayName")
_NAMED: Final = _first("properties.activityDisplayName", "operationName")
_RESULT: Final = _first("properties.result", "result")
_RESULT_REASON: Final = _first("properties.resultReason", "resultDescription")
_TARGET_TYPE: Final = _first("properties.targetResources.type")


def _change_message(record: Any) -> Sequence[str]:
    """Return what the portal says of a change: its name."""
    return _first("properties.message")(record) or [
        *dict.fromkeys((*_CHANGE(record), *_NAMED(record)))
    ]


def _change_status(record: Any) -> Sequence[str]:
    """Return how a change ended, and why."""
    return [*_RESULT(record), *_RESULT_REASON(record)]


def _target_type(record: Any) -> Sequence[str]:
    """Return the types of what was changed, as they are logged and as the portal shows them."""
    told = _TARGET_TYPE(record)
    return [*dict.fromkeys((*told, *map(_spaced, told)))]


def _additional(record: Any) -> Sequence[str]:
    """Return the additional detail that the portal calls additional info."""
    return [
        text
        for one in _members(record, ("properties", "additionalDetails"))
        if isinstance(one, dict)
        and re.sub(r"\W", "", str(one.get("key"))).lower() == "additionalinfo"
        for text in values(one, ("value",))
    ]


# By the names of the event hub, of the table AuditLogs, and of the portal.
_CHANGES: Final[Mapping[str, Getter]] = {
    "operationname": _CHANGE,
    "activitydisplayname": _NAMED,
    "activitytype": _NAMED,
    "properties.message": _change_message,
    "category": _first("properties.category", "category"),
    "status": _change_status,
    "result": _RESULT,
    "resultdescription": _RESULT_REASON,
    "failure_status_reason": _RESULT_REASON,
    "targetresources.type": _target_type,
    "additionaldetails.additionalinfo": _additional,
}


def _beats(name: str) -> str:
    """Return the name in an entry of what Elastic calls `gcp.audit.method_name`."""
    own = name.removeprefix("gcp.audit.")
    if own == name:
        return name.removeprefix("data.")
    return "protoPayload." + re.sub("_([a-z])", lambda found: found[1].upper(), own)


def _new_value(record: Any) -> Sequence[str]:
    """Return the parameter NEW_VALUE of an event of Google Workspace."""
    entry = record if isinstance(record, dict) else {}
    parameters = _members(entry, ("protoPayload", "metadata", "event", "parameter"))
    return [
        text
        for one in parameters
        if isinstance(one, dict) and one.get("name") == "NEW_VALUE"
        for text in values(one, ("value",))
    ]


def _members(value: Any, path: Path) -> Iterator[Any]:
    """Return what stands at a path, looking into lists."""
    if isinstance(value, list):
        for one in value:
            yield from _members(one, path)
    elif not path:
        yield value
    elif isinstance(value, dict):
        yield from _members(value.get(path[0]), path[1:])


_CLOUDTRAIL: Final = Log(
    "aws_cloudtrail",
    columns={
        "eventName": "operation",
        "eventSource": "service",
        "userAgent": "user_agent",
        "userIdentity.type": "actor_type",
        "userIdentity.arn": "actor_id",
        "errorCode": "error",
        "errorMessage": "message",
    },
)
_ACTIVITY: Final = Log("azure_activity", getters=_AZURE, any_case=True)
_SIGN_IN: Final = Log(
    "azure_signin",
    relation=AUTHENTICATION.name,
    getters=_SIGN_INS,
    any_case=True,
    below="properties",
)
_DIRECTORY: Final = Log("azure_audit", getters=_CHANGES, any_case=True, below="properties")
_AUDIT: Final = Log(
    "gcp_audit",
    columns={
        "gcp.audit.method_name": "operation",
        "gcp.audit.service_name": "service",
        "protoPayload.methodName": "operation",
        "protoPayload.serviceName": "service",
    },
    named=_beats,
)
_WORKSPACE: Final = Log(
    "gcp_audit",
    columns={"eventService": "service", "protoPayload.serviceName": "service"},
    getters={
        "eventservice": _first("protoPayload.serviceName"),
        "eventname": _first("protoPayload.metadata.event.eventName"),
        "new_value": _new_value,
    },
)

LOGS: Final[Mapping[tuple[str, str], Log]] = {
    ("aws", "cloudtrail"): _CLOUDTRAIL,
    ("azure", "activitylogs"): _ACTIVITY,
    ("azure", "signinlogs"): _SIGN_IN,
    ("azure", "auditlogs"): _DIRECTORY,
    ("gcp", "gcp.audit"): _AUDIT,
    ("gcp", "google_workspace.admin"): _WORKSPACE,
    ("gcp", "google_workspace.login"): _WORKSPACE,
}
"""The logs by the `product` and `service` of a rule."""
