"""What one layer of the network contributes to the plan that blocks one address in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from firedoor.model.plan import Call, Change, Check


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The part of a plan that is made by the layer; `before` tells the layer what it needs."""

    lease: str
    places: str
    before: dict[str, JsonValue]
    changes: tuple[Change, ...] = ()
    calls: tuple[Call, ...] = ()
    undo: tuple[Call, ...] = ()
    blast_radius: tuple[str, ...] = ()
    preflight: tuple[Check, ...] = ()
    lost: tuple[str, ...] = ()
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
