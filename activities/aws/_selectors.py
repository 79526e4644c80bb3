"""What Kubernetes selects: label selectors, and the network policies that add up for one pod."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Labels = Mapping[str, str]

INGRESS, EGRESS = "Ingress", "Egress"


def matches(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Tell whether a label selector selects labels; an empty one selects all.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
    """
    exact = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in exact.items()) and all(
        _holds(test, labels) for test in selector.get("matchExpressions") or ()
    )


def keys(selector: Mapping[str, Any], labels: Labels) -> set[str]:
    """Return the labels without any one of which a selector that matches them would not match."""
    exact = set(selector.get("matchLabels") or {})
    tests = selector.get("matchExpressions") or ()
    needed = {test["key"] for test in tests if test["operator"] in {"In", "Exists"}}
    return (exact | needed) & labels.keys()


def allowing(
    policies: Iterable[Mapping[str, Any]], labels: Labels
) -> list[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """Return the network policies that let traffic through for a pod, each with the directions.

    Policies add up: what one of them allows, no other denies.
    https://kubernetes.io/docs/concepts/services-networking/network-policies/#the-two-sorts-of-pod-isolation
    """
    return [
        (policy, directions)
        for policy in policies
        if matches(policy["spec"].get("podSelector") or {}, labels)
        and (directions := _allowed(policy["spec"]))
    ]


def to_strip(
    selectors: Sequence[Mapping[str, Any]], labels: Labels, kept: Iterable[str] = ()
) -> set[str]:
    """Return the labels to take away so that these selectors do not match any more, if that can be.

    A selector may match all the same: one that is empty, or that wants a label to be absent.
    """
    found = (keys(one, labels) for one in selectors if matches(one, labels))
    return set().union(*found) - set(kept)


def _allowed(spec: Mapping[str, Any]) -> tuple[str, ...]:
    default = [INGRESS, EGRESS] if spec.get("egress") else [INGRESS]
    types = spec.get("policyTypes") or default
    rules = {INGRESS: spec.get("ingress"), EGRESS: spec.get("egress")}
    return tuple(direction for direction in types if rules.get(direction))


def _holds(test: Mapping[str, Any], labels: Labels) -> bool:
    value = labels.get(test["key"])
    match test["operator"]:
        case "In":
            return value in (test.get("values") or ())
        case "NotIn":
            return value not in (test.get("values") or ())
        case "Exists":
            return value is not None
        case _:
            return value is None
