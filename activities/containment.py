"""The two messages that an incident sends to a containment."""

from typing import Any

from temporalio import activity
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.heartbeat import beating
from activities.turns import TASK_TIMEOUT, at_rest
from activities.warden import withdraw
from firedoor import telemetry
from firedoor.model.base import digest
from firedoor.model.containment import (
    Claim,
    Grant,
    GrantKind,
    Holding,
    Lease,
    LeaseState,
    Return,
    Returned,
    containment_id,
)
from firedoor.model.plan import Plan

# Where nothing is held any more, because all of it was given back.
ENDED_WELL = {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CONTINUED_AS_NEW}


@activity.defn(name="containment.claim")
async def claim(claim: Claim) -> Grant:
    """Acquire the lease that a plan is about; start its containment if nobody holds it yet.

    What turned out to be stale, and is held by nobody, counts for no limit.
    """
    lease, queue = containment_id(claim.plan), activity.info().task_queue
    client = activity.client()
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "Containment",
        Holding(id=lease),
        id=lease,
        task_queue=queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        task_timeout=TASK_TIMEOUT,
        static_summary=claim.plan.summary,
    )
    with telemetry.bind(incident=claim.incident, step=claim.step):
        await at_rest(client.get_workflow_handle(lease))
        # The id makes a repeat of this activity the same update, with the same answer.
        grant: Grant = await beating(
            client.execute_update_with_start_workflow(
                "acquire",
                claim,
                start_workflow_operation=start,
                id=digest(claim),
                result_type=Grant,
            )
        )
        if grant.kind is GrantKind.STALE and not grant.lease.applied:
            await withdraw(client, queue, lease, claim.incident)
    return grant


@activity.defn(name="containment.give_back")
async def give_back(back: Return) -> Returned:
    """Return a lease; the containment reverts its effect if nobody else holds it."""
    containment = activity.client().get_workflow_handle(back.lease)
    with telemetry.bind(incident=back.incident, step=back.step):
        await at_rest(containment)
        try:
            update = containment.execute_update(
                "give_back", back, id=_unique(back), result_type=Returned
            )
            returned: Returned = await beating(update)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return await _of_one_that_ended(containment)
    return returned


async def with_history(client: Client, plan: Plan) -> Plan:
    """Return a plan that says who holds the same already, and how often it was held before."""
    lease = containment_id(plan)
    if plan.refusals:
        return plan
    named = lease.replace("'", "''")
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{named}'")]
    ended = [run.run_id for run in runs if run.status is WorkflowExecutionStatus.COMPLETED]
    held_before = [run for run in ended if await _was_held(client, lease, run)]
    update: dict[str, Any] = {"held_before": len(held_before)}
    if WorkflowExecutionStatus.RUNNING in {run.status for run in runs}:
        containment = client.get_workflow_handle(lease)
        await at_rest(containment)
        held: Lease = await containment.query("lease", result_type=Lease)
        others = [h.incident for h in held.holders if h.incident != plan.target.incident]
        if others:
            told = f"Held already by {', '.join(others)}: it opens when the last of them lets go"
            update["blast_radius"] = (*plan.blast_radius, told)
    return plan.model_copy(update=update)


async def _was_held(client: Client, lease: str, run: str) -> bool:
    """Tell whether a run that ended held anything: one whose claim was stale or had to wait not."""
    of_run = client.get_workflow_handle(lease, run_id=run, result_type=Lease)
    return bool((await of_run.result(follow_runs=False)).receipts)


async def _of_one_that_ended(containment: WorkflowHandle[Any, Any]) -> Returned:
    """Say what is left of a containment that does not run: nothing, unless it was forced to end."""
    try:
        status = (await containment.describe()).status
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        status = WorkflowExecutionStatus.COMPLETED  # it never began, or ended long ago
    if status in ENDED_WELL:
        return Returned(lease=Lease(id=containment.id, state=LeaseState.OPEN))
    how = status.name.lower() if status else "lost"
    return Returned(
        lease=Lease(id=containment.id, state=LeaseState.FAILED),
        problem=f"{containment.id} was {how} from outside, and what it changed is still there: "
        "undo it by hand, as the plan's undo says",
    )


def _unique(back: Return) -> str:
    """One id for all attempts of this activity, another for the next release of the same lease."""
    info = activity.info()
    return f"{digest(back)}/{info.workflow_run_id}/{info.activity_id}"
