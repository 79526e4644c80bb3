"""Evaluation of IAM policies, as far as incident response needs it.

Modelled: Effect, Action, NotAction, Resource, NotResource, permissions boundaries, and the
operators of conditions below, with `IfExists`. Not modelled: service control policies, session
policies, resource policies, `ForAllValues` and `ForAnyValue`, policy variables. A condition with an
operator that is not modelled does not hold.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

Policy = dict[str, Any]


class Decision(StrEnum):
    """The words of IAM's policy simulator."""

    ALLOWED = "allowed"
    EXPLICIT_DENY = "explicitDeny"
    IMPLICIT_DENY = "implicitDeny"


def decide(
    policies: Iterable[Policy],
    boundary: Policy | None,
    action: str,
    resource: str | None,
    context: dict[str, str],
) -> Decision:
    """Decide on an action as AWS does: a deny wins, and without an allow the answer is no.

    A resource of `None` is not known: every allow is taken to mean it, of the denials only those of
    all resources are.
    """
    effects = [_effects(policy, action, resource, context) for policy in policies]
    limit = _effects(boundary, action, resource, context) if boundary else {"Allow"}
    if any("Deny" in e for e in [*effects, limit]):
        return Decision.EXPLICIT_DENY
    if any("Allow" in e for e in effects) and "Allow" in limit:
        return Decision.ALLOWED
    return Decision.IMPLICIT_DENY


def _effects(
    policy: Policy, action: str, resource: str | None, context: dict[str, str]
) -> set[str]:
    return {
        str(s["Effect"])
        for s in _many(policy["Statement"])
        if _names(s, "Action", action.lower(), lower=True)
        and _means(s, resource)
        and all(
            _holds(operator, key, _many(wanted), context)
            for operator, keys in s.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    }


def _names(statement: Policy, element: str, value: str, *, lower: bool = False) -> bool:
    negated = f"Not{element}" in statement
    patterns = _many(statement[f"Not{element}" if negated else element])
    return negated != any(_like(value, p.lower() if lower else p) for p in patterns)


def _means(statement: Policy, resource: str | None) -> bool:
    if resource is not None:
        return _names(statement, "Resource", resource)
    return statement["Effect"] == "Allow" or "*" in _many(statement.get("Resource", []))


def _holds(operator: str, key: str, wanted: list[Any], context: dict[str, str]) -> bool:
    values = {name.lower(): value for name, value in context.items()}
    value = values.get(key.lower())
    if operator == "Null":
        return (value is None) == (str(wanted[0]).lower() == "true")
    base, if_exists = re.subn("IfExists$", "", operator)
    if value is None:
        # Of a missing key a negated condition holds, and so does any that says IfExists.
        return bool(if_exists) or "Not" in base
    compare = _OPERATORS.get(base)
    if compare is None:
        return False
    if "Not" in base:
        return all(compare(value, str(w)) for w in wanted)
    return any(compare(value, str(w)) for w in wanted)


def _like(value: str, pattern: str) -> bool:
    # Only * and ? are wild in IAM; fnmatch would also read brackets.
    return fnmatchcase(value, pattern.replace("[", "[[]"))


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _inside(value: str, wanted: str) -> bool:
    return ip_address(value) in ip_network(wanted, strict=False)


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda v, w: v == w,
    "StringNotEquals": lambda v, w: v != w,
    "StringEqualsIgnoreCase": lambda v, w: v.lower() == w.lower(),
    "StringLike": _like,
    "StringNotLike": lambda v, w: not _like(v, w),
    "ArnEquals": _like,
    "ArnLike": _like,
    "ArnNotEquals": lambda v, w: not _like(v, w),
    "ArnNotLike": lambda v, w: not _like(v, w),
    "Bool": lambda v, w: v.lower() == w.lower(),
    "DateEquals": lambda v, w: _instant(v) == _instant(w),
    "DateNotEquals": lambda v, w: _instant(v) != _instant(w),
    "DateLessThan": lambda v, w: _instant(v) < _instant(w),
    "DateLessThanEquals": lambda v, w: _instant(v) <= _instant(w),
    "DateGreaterThan": lambda v, w: _instant(v) > _instant(w),
    "DateGreaterThanEquals": lambda v, w: _instant(v) >= _instant(w),
    "IpAddress": _inside,
    "NotIpAddress": lambda v, w: not _inside(v, w),
}
