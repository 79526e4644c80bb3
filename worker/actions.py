"""Actions as activities: `aws.isolate_instance` becomes `aws.isolate_instance.plan` and so on."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.heartbeat import beating
from firedoor import guard, telemetry
from firedoor.action import Action
from firedoor.cloud import aws
from firedoor.discovery import find
from firedoor.errors import BadInput, FiredoorError, Throttled, Unavailable
from firedoor.model.action import Nature
from firedoor.model.finding import Principal, Resource
from firedoor.model.incident import Order
from firedoor.model.plan import Failure, Plan, Target
from firedoor.model.policy import Policy

T = TypeVar("T")

log = structlog.get_logger()

# Each action reads with several threads of its own; more actions at once only slow one another.
THREADS = ThreadPoolExecutor(16, thread_name_prefix="action")


@cache
def activities() -> tuple[Callable[..., Any], ...]:
    """Return the activities of all actions, found by discovery."""
    return activities_of(find("activities", Action))


def activities_of(actions: Mapping[str, Action]) -> tuple[Callable[..., Any], ...]:
    """Return the activities of these actions."""
    return tuple(made for id, action in actions.items() for made in _of(id, action))


def _of(id: str, action: Action) -> list[Callable[..., Any]]:
    @activity.defn(name=f"{id}.plan")
    async def plan(order: Order) -> list[Plan]:
        return await _perform(order.target, lambda: plan_all(id, action, order))

    phases = {"apply": action.apply, "verify": action.verify, "revert": action.revert}
    return [plan, *(_phase(id, name, work) for name, work in phases.items() if work is not None)]


def _phase(id: str, name: str, work: Callable[[Plan, Any], Any]) -> Callable[..., Any]:
    @activity.defn(name=f"{id}.{name}")
    async def perform(plan: Plan) -> Any:
        return await _perform(plan.target, lambda: work(plan, _cloud(id, plan.target.subject)))

    return perform


def plan_all(id: str, action: Action, order: Order) -> list[Plan]:
    """Plan for all that a step concerns, and let the guard rails look at what was planned."""
    try:
        params = action.params.model_validate(order.params)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"parameters of {id}", where, first["msg"]) from error
    cloud = _cloud(id, order.target.subject)
    plans = list(action.plan(order.target, params, cloud))
    if action.nature is not Nature.CONTAINMENT:
        return plans  # what only looks and tells can harm nothing that is protected
    return [_guarded(plan, order.policy, cloud.identity if cloud else "") for plan in plans]


def _guarded(plan: Plan, policy: Policy, identity: str) -> Plan:
    refusals = (*plan.refusals, *guard.refusals(plan, policy, identity))
    return plan.model_copy(update={"refusals": refusals})


def _cloud(id: str, subject: Resource | Principal) -> Any:
    """Return the clients that an action of this id works with; records need none."""
    return aws.connect(subject.account, subject.region) if id.startswith("aws.") else None


async def _perform(target: Target, work: Callable[[], T]) -> T:
    """Run an action's function in a thread, with a heartbeat, and translate its errors."""
    with telemetry.bind(incident=target.incident, step=target.step):
        context = copy_context()
    loop = asyncio.get_running_loop()
    try:
        return await beating(loop.run_in_executor(THREADS, context.run, work))
    except FiredoorError as error:
        raise _failure(error) from error
    except Exception as bug:
        # Trying again does not mend our own code, and a person waits: the step fails at once.
        log.exception("action.broken", incident=target.incident, step=target.step)
        failed = Failure(attempt=activity.info().attempt)
        told = f"{type(bug).__name__}: {bug}"
        raise ApplicationError(told, failed, type="Bug", non_retryable=True) from bug


def _failure(error: FiredoorError) -> ApplicationError:
    later = isinstance(error, Throttled | Unavailable)
    return ApplicationError(
        str(error),
        Failure(attempt=activity.info().attempt, made=error.made),
        type=type(error).__name__,
        non_retryable=not error.retryable,
        category=ApplicationErrorCategory.BENIGN if later else ApplicationErrorCategory.UNSPECIFIED,
    )
