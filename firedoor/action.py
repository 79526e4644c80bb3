"""The contract of an action: plan, apply, verify, revert.

All four are synchronous and know nothing of Temporal. `plan` and `verify` only read. `apply` and
`revert` may run twice with one effect, and may make only the calls that the plan holds.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from firedoor.errors import PlanStale
from firedoor.model.action import Barrier, Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import (
    CallRecord,
    Change,
    Check,
    Plan,
    Proof,
    Receipt,
    Target,
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """The IAM actions that each of the four needs; least-privilege policies are made from them."""

    plan: tuple[str, ...]
    apply: tuple[str, ...] = ()
    verify: tuple[str, ...] = ()
    revert: tuple[str, ...] = ()


class NoParams(Model):
    """The parameters of an action that has none."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One capability. Its id is the path of its module below `activities`: `aws.isolate_instance`.

    `plan(target, params, cloud)` returns one plan for each thing that the step concerns: mostly
    one, but an address is blocked in each network ACL on its own lease. An empty tuple says that
    there is nothing to do. The first line of its docstring says what the action does, wherever
    actions are listed.
    """

    nature: Nature
    kinds: frozenset[Kind]
    plan: Callable[[Target, Any, Any], tuple[Plan, ...]]
    apply: Callable[[Plan, Any], Receipt]
    verify: Callable[[Plan, Any], Proof] | None = None
    revert: Callable[[Plan, Any], Receipt] | None = None
    params: type[Model] = NoParams
    permissions: Permissions
    barrier: Barrier = Barrier.STARTED
    # Effects that a runbook must order before it, by the kind of what it acts on.
    evidence_first: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    techniques: tuple[str, ...] = ()  # MITRE ATT&CK that it answers
    countermeasures: tuple[str, ...] = ()  # MITRE D3FEND
    function: str = "RS.MI"  # NIST CSF 2.0 category

    @property
    def summary(self) -> str:
        """What the action does, in a sentence."""
        return (self.plan.__doc__ or "").partition("\n")[0]


State = Mapping[tuple[str, str], JsonValue]
"""(resource, attribute) to the value that was just read."""


def outstanding(plan: Plan, now: State) -> tuple[Change, ...]:
    """Return the changes of a plan that are still to be made, given the state now.

    `now` maps (resource, attribute) to its value. A value that is already the planned one was set
    by an earlier attempt of this plan. Any third value means that somebody else was here: the
    approval was for another state, and PlanStale is raised before anything is done.
    """
    left = []
    for change in plan.changes:
        value = now.get((change.resource, change.attribute))
        if value == change.after:
            continue
        if value != change.before:
            raise PlanStale(
                f"{change.resource} {change.attribute} is {value}, was {change.before} when planned"
            )
        left.append(change)
    return tuple(left)


def restorable(plan: Plan, now: State) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Return the changes to take back, in reverse order, and what to leave alone, with the reason.

    Only what still is as we set it is ours to take back.
    """
    ours, left = [], []
    for change in reversed(plan.changes):
        value = now.get((change.resource, change.attribute))
        if value == change.after:
            ours.append(change)
        elif value != change.before:
            left.append(f"{change.resource} {change.attribute} was changed since, to {value}")
    return tuple(ours), tuple(left)


def receipt(plan: Plan, made: Iterable[CallRecord] = (), **members: Any) -> Receipt:
    """Return the receipt of a plan as of now, with the calls that were made for it."""
    return Receipt(plan_digest=plan.digest, at=datetime.now(UTC), calls=tuple(made), **members)


def proof(plan: Plan, checks: Iterable[Check], **members: Any) -> Proof:
    """Return the proof of a plan as of now: proven if all checks are ok, else drifted.

    A `verdict` among the members is the one that counts.
    """
    checks = tuple(checks)
    verdict = Verdict.PROVEN if all(check.ok for check in checks) else Verdict.DRIFTED
    judged = {"verdict": verdict, **members}
    return Proof(plan_digest=plan.digest, at=datetime.now(UTC), checks=checks, **judged)
