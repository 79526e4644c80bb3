"""The metadata service of an instance, which hands out the credentials of its role."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call, members
from activities.aws._window import Window, pending
from firedoor.action import State
from firedoor.model.plan import Call, Change

ATTRIBUTE = "metadata service"

_OFF: dict[str, JsonValue] = {"HttpEndpoint": "disabled"}
_MEMBERS = (
    "HttpEndpoint",
    "HttpTokens",
    "HttpPutResponseHopLimit",
    "HttpProtocolIpv6",
    "InstanceMetadataTags",
)

SOON = timedelta(minutes=1)
"""How long EC2 may take to apply it; it names no time itself."""


def look(case: Case) -> Look:
    """Turn the service off, so that no further credentials are handed out."""
    before = options(case.instance or {})
    if before in ({}, _OFF):
        return Look()
    return Look(
        changes=(Change(resource=case.id, attribute=ATTRIBUTE, before=before, after=_OFF),),
        blast_radius=(
            "What runs on it and takes credentials from instance metadata, such as the SSM agent,"
            " stops when those it has end: capture memory first",
        ),
    )


def options(instance: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return how the service is set; of one that is off nothing else counts."""
    found = instance.get("MetadataOptions") or {}
    if found.get("HttpEndpoint") == "disabled":
        return _OFF
    return {name: found[name] for name in _MEMBERS if name in found}


def applying(case: Case, at: datetime) -> tuple[Window, ...]:
    """Return the window in which EC2 is still applying it: `pending` before `applied`."""
    found = (case.instance or {}).get("MetadataOptions") or {}
    if found.get("State") != "pending":
        return ()
    return (pending(ATTRIBUTE, "EC2 is still applying it", at, at + SOON),)


def now(case: Case, changes: Sequence[Change]) -> State:
    """Read how the service is set."""
    return {(c.resource, c.attribute): options(case.instance or {}) for c in changes}


def make(change: Change) -> tuple[Call, ...]:
    """Turn it off; further options are not accepted with that, and stay as they are."""
    return _set(change.resource, change.after)


def undo(change: Change) -> tuple[Call, ...]:
    """Turn it on, with the tokens and the hop limit that it had."""
    return _set(change.resource, change.before)


PART = Part(
    name="turn instance metadata off",
    owns=lambda change: change.attribute == ATTRIBUTE,
    look=look,
    now=now,
    make=make,
    undo=undo,
)


def _set(instance: str, value: JsonValue) -> tuple[Call, ...]:
    return call("ec2", "ModifyInstanceMetadataOptions", InstanceId=instance, **members(value))
