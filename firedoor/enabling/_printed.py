"""What the switches of Azure and Google Cloud share, whose commands are printed, not applied."""

import re
from collections.abc import Sequence

from firedoor.errors import BadInput
from firedoor.switch import Order, Step

_SUBSCRIPTION = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_STORAGE = re.compile(
    r"/subscriptions/[^/\s']+/resourceGroups/[^/\s']+/providers/Microsoft\.Storage"
    r"/storageAccounts/[a-z0-9]{3,24}",
    re.IGNORECASE,
)
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_BUCKET = re.compile(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/?")
# What an id, a name or a resource id is made of; a shell takes it as it is.
_PLAIN = re.compile(r"[\w./()-]+")


def step(
    title: str, commands: Sequence[str], undo: Sequence[str], cost: str = "", note: str = ""
) -> Step:
    """Return a step whose commands are printed."""
    return Step(title=title, commands=tuple(commands), undo=tuple(undo), cost=cost, note=note)


def subscription(order: Order) -> str:
    """Return the subscription; raises `BadInput`."""
    return _matching(_SUBSCRIPTION, "subscription", order.account, "its id")


def storage(order: Order) -> str:
    """Return the resource id of the storage account that logs go to; raises `BadInput`."""
    expected = "/subscriptions/…/resourceGroups/…/providers/Microsoft.Storage/storageAccounts/…"
    return _matching(_STORAGE, "destination", order.destination, expected)


def location(order: Order) -> str:
    """Return the location of Azure; raises `BadInput`."""
    return _matching(re.compile("[a-z0-9]+"), "location", order.region, "one as westeurope")


def project(order: Order) -> str:
    """Return the project; raises `BadInput`."""
    return _matching(_PROJECT, "project", order.account, "its id")


def organization(order: Order) -> str:
    """Return the number of the organization; raises `BadInput`."""
    return _matching(re.compile(r"\d+"), "organization", order.organization, "its number")


def bucket(order: Order) -> str:
    """Return the name of the bucket that logs go to; raises `BadInput`."""
    return _matching(_BUCKET, "destination", order.destination, "gs://bucket")[5:].rstrip("/")


def only(order: Order) -> tuple[str, ...]:
    """Return what is meant, if not all; raises `BadInput` for what a shell would take apart."""
    return tuple(_matching(_PLAIN, "name", one, "an id or a name") for one in order.only)


def _matching(pattern: re.Pattern[str], what: str, given: str, expected: str) -> str:
    if not pattern.fullmatch(given):
        raise BadInput(what, given or "none", f"expected {expected}")
    return given
