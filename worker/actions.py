"""Actions as activities: `aws.isolate_instance` becomes `aws.isolate_instance.plan` and so on."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.containment import with_history
from activities.heartbeat import beating
from activities.warden import admit
from firedoor import guard
from firedoor.action import Action
from firedoor.approvals import warrants
from firedoor.approvals.warrants import Archive, Unwarranted
from firedoor.cloud import aws
from firedoor.cloud.roles import Role, by_settings
from firedoor.discovery import find
from firedoor.errors import BadInput
from firedoor.model.action import Nature
from firedoor.model.containment import containment_id
from firedoor.model.incident import Order, Work
from firedoor.model.plan import Failure, Plan, Proof, Receipt, Target
from firedoor.model.policy import Policy
from firedoor.model.warden import Change
from firedoor.model.warrant import Reopening, Undoing, Warrant
from firedoor.settings import settings
from worker.archive import ARCHIVE
from worker.catalogue import policy
from worker.performing import perform as in_thread

T = TypeVar("T")

log = structlog.get_logger()

# Each action reads with several threads of its own; more actions at once only slow one another.
THREADS = ThreadPoolExecutor(16, thread_name_prefix="action")


@cache
def activities() -> tuple[Callable[..., Any], ...]:
    """Return the activities of all actions, found by discovery."""
    return activities_of(find("activities", Action))


def activities_of(
    actions: Mapping[str, Action], archive: Archive = ARCHIVE
) -> tuple[Callable[..., Any], ...]:
    """Return the activities of these actions.

    `archive` knows the policies and runbooks that a plan may be carried out under.
    """
    return tuple(made for id, action in actions.items() for made in _of(id, action, archive))


def _of(id: str, action: Action, archive: Archive) -> list[Callable[..., Any]]:
    is_held = action.nature is Nature.CONTAINMENT

    @activity.defn(name=f"{id}.plan")
    async def plan(order: Order) -> list[Plan]:
        plans = await _perform(order.target, lambda: plan_all(id, action, order))
        if not is_held:
            return plans
        return [await with_history(activity.client(), plan) for plan in plans]

    async def perform(work: Work, phase: Callable[[Plan, Any], T]) -> T:
        target = work.plan.target
        return await _perform(
            target, lambda: phase(work.plan, _cloud(id, target, work.by, work.applied))
        )

    @activity.defn(name=f"{id}.apply")
    async def apply(work: Work) -> Receipt:
        if work.plan.calls:
            if is_held:
                await _require_right(id, work, archive, undoing=False)
            await _admitted(work.plan, lease=containment_id(work.plan) if is_held else "")
        return await perform(work, action.apply)

    @activity.defn(name=f"{id}.verify")
    async def verify(work: Work) -> Proof:
        return await perform(work, action.verify)  # type: ignore[arg-type]

    @activity.defn(name=f"{id}.revert")
    async def revert(work: Work) -> Receipt:
        if work.plan.calls or work.plan.undo:
            await _require_right(id, work, archive, undoing=True)
            await _admitted(work.plan, lease=containment_id(work.plan), gives_back=True)
        return await perform(work, action.revert)  # type: ignore[arg-type]

    return [
        plan,
        apply,
        *([verify] if action.verify else []),
        *([revert] if action.revert else []),
    ]


async def _require_right(id: str, work: Work, archive: Archive, *, undoing: bool) -> None:
    """Refuse what nobody has a right to: a workflow is not believed that people want it."""
    try:
        await asyncio.to_thread(_check_right, id, work, archive, undoing=undoing)
    except Unwarranted as why:
        target = work.plan.target
        log.error("warrant.missing", incident=target.incident, step=target.step, why=str(why))
        raise ApplicationError(
            f"no warrant: {why}",
            Failure(attempt=activity.info().attempt),
            type="Unwarranted",
            non_retryable=True,
        ) from why


def _check_right(id: str, work: Work, archive: Archive, *, undoing: bool) -> None:
    plan, now = work.plan, datetime.now(UTC)
    if plan.action != id:
        raise Unwarranted(f"the plan is one of {plan.action}")
    match work.right:
        case Warrant() as right if not undoing:
            warrants.require_warrant(right, plan, archive, now)
        case Undoing() as right if undoing:
            warrants.require_undoing(right, plan, archive, now)
        case Reopening() as right if undoing:
            warrants.require_reopening(right, plan, archive, now)
        case _:
            raise Unwarranted("nobody has said that it may be done")


async def _admitted(plan: Plan, **change: Any) -> None:
    """Ask the warden whether a change may be made now.

    The answer is asked for before each attempt, so that a pause also stops what is tried again.
    """
    subject = plan.target.subject
    where = f"{subject.account}/{subject.region}"  # fleets have the same names in many accounts
    asked = Change(
        incident=plan.target.incident,
        digest=plan.digest,
        fleets={f"{where}/{name}": size for name, size in plan.touched.fleets.items()},
        limits=policy().limits,
        **change,
    )
    ruling = await beating(admit(activity.client(), settings().task_queue, asked))
    if not ruling.accepted:
        raise ApplicationError(
            ruling.reason,
            Failure(attempt=activity.info().attempt),
            type="HeldBack",
            non_retryable=True,
            category=ApplicationErrorCategory.BENIGN,
        )


def plan_all(id: str, action: Action, order: Order) -> list[Plan]:
    """Plan for all that a step concerns, and let the guard rails look at what was planned."""
    try:
        params = action.params.model_validate(order.params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"parameters of {id}", where, first["msg"]) from error
    cloud = _cloud(id, order.target)
    if cloud is not None:
        cloud = cloud.sparing(order.policy.protected.networks)
    plans = list(action.plan(order.target, params, cloud))
    if action.nature is not Nature.CONTAINMENT:
        return plans  # what only looks and tells can harm nothing that is protected
    return [_guarded(plan, order.policy, cloud.identity if cloud else "") for plan in plans]


def _guarded(plan: Plan, policy: Policy, identity: str) -> Plan:
    refusals = (*plan.refusals, *guard.refusals(plan, policy, identity))
    return plan.model_copy(update={"refusals": refusals})


def _cloud(id: str, target: Target, by: str = "", applied: datetime | None = None) -> Any:
    """Return the clients that an action of this id works with; records need none."""
    if not id.startswith("aws."):
        return None
    subject = target.subject
    cloud = aws.connect(
        subject.account, subject.region, incident=target.incident, by=by, roles=_role
    )
    return cloud.after(applied)


def _role(account: str, region: str) -> Role | None:
    """Return the role to assume in an account: the policy may name another than the settings."""
    said, usual = policy().account(account, region), by_settings(account, region)
    name = said.role or (usual.name if usual else None)
    if name is None:
        return None
    return Role(name, said.external_id or (usual.external_id if usual else None))


async def _perform(target: Target, work: Callable[[], T]) -> T:
    return await in_thread(THREADS, target.incident, target.step, work)
