"""The turns of a workflow: how long one may take, and how a message waits for it."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

# How long a workflow task may be with a worker before another one gets it: the time in which
# incidents and containments go on after a worker was killed.
TASK_TIMEOUT = timedelta(seconds=4)

# How long a message waits for the turn of a workflow that is under way.
TURN = 0.02
TURNS = 250


async def at_rest(workflow: WorkflowHandle[Any, Any]) -> None:
    """Wait until no task of a workflow is pending, before a message is sent to it.

    When a worker was killed, a task may wait for it while another worker answers a query from the
    same history. A message that comes in between is then applied in another order than the one
    that is recorded, and the history does not replay (temporalio 1.35).
    """
    for _ in range(TURNS):
        try:
            description = await workflow.describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return
        if not description.raw_description.HasField("pending_workflow_task"):
            return
        await asyncio.sleep(TURN)
