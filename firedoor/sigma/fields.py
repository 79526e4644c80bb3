"""Which of our logs a Sigma rule is about, and where in a record the fields stand that it names.

A field is looked up in the record as it was logged, `raw`. Where a column of the relation holds the
same, the column is what events are chosen by before any record is decoded.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from firedoor.relations import API_ACTIVITY, AUTHENTICATION
from firedoor.sigma import _azure
from firedoor.sigma._records import Getter, everything, first, members, straight, values

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
            return first(name, f"{self.below}.{name}")
        if self.any_case:
            return lambda record: values(record, path, any_case=True)
        return straight(path)


def folded(text: str) -> str:
    """Return a text in lower case as DuckDB writes it: letter for letter."""
    return text.lower() if text.isascii() else "".join(one.lower()[0] for one in text)


def log_of(product: str | None, service: str | None, category: str | None) -> Log | None:
    """Return the log that a rule is about, by its `logsource`; None where we read none such."""
    if category:
        return None
    return LOGS.get(((product or "").lower(), (service or "").lower()))


def _beats(name: str) -> str:
    """Return the name in an entry of what Elastic calls `gcp.audit.method_name`."""
    own = name.removeprefix("gcp.audit.")
    if own == name:
        return name.removeprefix("data.")
    return "protoPayload." + re.sub("_([a-z])", lambda found: found[1].upper(), own)


def _new_value(record: Any) -> Sequence[str]:
    """Return the parameter NEW_VALUE of an event of Google Workspace."""
    entry = record if isinstance(record, dict) else {}
    parameters = members(entry, ("protoPayload", "metadata", "event", "parameter"))
    return [
        text
        for one in parameters
        if isinstance(one, dict) and one.get("name") == "NEW_VALUE"
        for text in values(one, ("value",))
    ]


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
_ACTIVITY: Final = Log("azure_activity", getters=_azure.ACTIVITY, any_case=True)
_SIGN_IN: Final = Log(
    "azure_signin",
    relation=AUTHENTICATION.name,
    getters=_azure.SIGN_INS,
    any_case=True,
    below="properties",
)
_DIRECTORY: Final = Log("azure_audit", getters=_azure.CHANGES, any_case=True, below="properties")
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
        "eventservice": first("protoPayload.serviceName"),
        "eventname": first("protoPayload.metadata.event.eventName"),
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
