"""The two messages that an incident sends to a containment."""

from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.client import WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from firedoor.model.base import digest
from firedoor.model.containment import (
    Claim,
    Grant,
    Holding,
    Lease,
    LeaseState,
    Return,
    Returned,
    containment_id,
)

TASK_TIMEOUT = timedelta(seconds=4)


@activity.defn(name="containment.claim")
async def claim(claim: Claim) -> Grant:
    """Acquire the lease that a plan is about; start its containment if nobody holds it yet."""
    lease = containment_id(claim.plan)
    start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        "Containment",
        Holding(id=lease),
        id=lease,
        task_queue=activity.info().task_queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        task_timeout=TASK_TIMEOUT,
        static_summary=claim.plan.summary,
    )
    # The id makes a repeat of this activity the same update, with the same answer.
    grant: Grant = await activity.client().execute_update_with_start_workflow(
        "acquire", claim, start_workflow_operation=start, id=digest(claim), result_type=Grant
    )
    return grant


@activity.defn(name="containment.give_back")
async def give_back(back: Return) -> Returned:
    """Return a lease; the containment reverts its effect if nobody else holds it."""
    containment = activity.client().get_workflow_handle(back.lease)
    try:
        returned: Returned = await containment.execute_update(
            "give_back", back, id=_unique(back), result_type=Returned
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return Returned(lease=Lease(id=back.lease, state=LeaseState.OPEN))  # nobody holds it
    return returned


def _unique(back: Return) -> str:
    """One id for all attempts of this activity, another for the next release of the same lease."""
    info = activity.info()
    return f"{digest(back)}/{info.workflow_run_id}/{info.activity_id}"
