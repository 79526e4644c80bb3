"""Where fields stand in the logs of Azure: by the names of event hubs, tables and portals alike."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from firedoor.sigma._records import Getter, first, members, values, written


def _provider(record: Any) -> Sequence[str]:
    """Return the resource provider, which operations begin with: `Microsoft.Compute/...`."""
    told = first("resourceProviderName.value", "resourceProviderValue", "resourceProvider")(record)
    return told or [text.partition("/")[0] for text in _OPERATION(record)]


_OPERATION: Final = first("operationName.value", "operationNameValue", "operationName")
_STATUS: Final = first("status.value", "activityStatusValue", "resultType")
_CATEGORY: Final = first("category.value", "categoryValue", "category")
# By the names of the event hub, of the REST API, and of the table AzureActivity alike.
ACTIVITY: Final[Mapping[str, Getter]] = {
    "operationname": _OPERATION,
    "operationnamevalue": _OPERATION,
    "category": _CATEGORY,
    "categoryvalue": _CATEGORY,
    "resourceprovidervalue": _provider,
    "resourceid": first("resourceId", "_ResourceId"),
    "status": _STATUS,
    "activitystatusvalue": _STATUS,
    "calleripaddress": first("callerIpAddress", "httpRequest.clientIpAddress"),
}

_MESSAGE: Final = first("properties.message")
_CODE: Final = first("properties.status.errorCode", "resultType")
_REASON: Final = first("resultDescription", "properties.status.failureReason")
_PROTOCOL: Final = first("properties.authenticationProtocol")


def _outcome(record: Any) -> Sequence[str]:
    """Return how a sign-in ended, in the words of the portal."""
    return ["Success" if code in ("0", "Success") else "Failure" for code in _CODE(record)]


def _sign_in_message(record: Any) -> Sequence[str]:
    """Return what the portal says of a sign-in: why it failed, and how it was made."""
    protocol = [_spaced(text) for text in _PROTOCOL(record)]
    return [*_MESSAGE(record), *_REASON(record), *protocol]


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
    return [networks if isinstance(networks, str) else written(networks)]


# By the names of the event hub, of the table SigninLogs, and of the portal.
SIGN_INS: Final[Mapping[str, Getter]] = {
    "resulttype": _CODE,
    "resultdescription": _REASON,
    "status": _outcome,
    "properties.message": _sign_in_message,
    "networklocationdetails": _networks,
}

_CHANGE: Final = first("operationName", "properties.activityDisplayName")
_NAMED: Final = first("properties.activityDisplayName", "operationName")
_RESULT: Final = first("properties.result", "result")
_RESULT_REASON: Final = first("properties.resultReason", "resultDescription")
_TARGET_TYPE: Final = first("properties.targetResources.type")


def _change_message(record: Any) -> Sequence[str]:
    """Return what the portal says of a change: its name."""
    return _MESSAGE(record) or [*dict.fromkeys((*_CHANGE(record), *_NAMED(record)))]


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
        for one in members(record, ("properties", "additionalDetails"))
        if isinstance(one, dict)
        and re.sub(r"\W", "", str(one.get("key"))).lower() == "additionalinfo"
        for text in values(one, ("value",))
    ]


# By the names of the event hub, of the table AuditLogs, and of the portal.
CHANGES: Final[Mapping[str, Getter]] = {
    "operationname": _CHANGE,
    "activitydisplayname": _NAMED,
    "activitytype": _NAMED,
    "properties.message": _change_message,
    "category": first("properties.category", "category"),
    "status": _change_status,
    "result": _RESULT,
    "resultdescription": _RESULT_REASON,
    "failure_status_reason": _RESULT_REASON,
    "targetresources.type": _target_type,
    "additionaldetails.additionalinfo": _additional,
}
