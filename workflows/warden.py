"""The warden: what every change asks before it is made, and where people pause all of them."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from firedoor.approvals import limits
from firedoor.model.warden import Admission, Changes, Instruction, Rulings, Warden


@workflow.defn(name="Warden")
class WardenWorkflow:
    """Count what is contained, hold back what is above the limits, and everything while paused.

    Updates: `admit` is a change's, `pause` and `resume` are a person's. Query: `warden`.
    """

    @workflow.init
    def __init__(self, admission: Admission) -> None:
        self._warden = admission.carried

    @workflow.run
    async def run(self, admission: Admission) -> None:  # noqa: ARG002
        """Stand there for ever."""
        while True:
            try:
                await workflow.wait_condition(self._is_full)
            except asyncio.CancelledError:
                if workflow.cancellation_reason() is None:
                    raise
                workflow.logger.warning("warden.not_cancelled")
                continue
            workflow.continue_as_new(Admission(carried=self._warden))

    @workflow.update(description="Ask whether changes may be made now")
    def admit(self, asked: Changes) -> Rulings:
        """Admit each change, or say why it has to wait."""
        rulings = []
        for change in asked.changes:
            self._warden, ruling = limits.admit(self._warden, change, workflow.now())
            rulings.append(ruling)
        return Rulings(rulings=tuple(rulings))

    @workflow.update(description="Stop every change from now on")
    def pause(self, instruction: Instruction) -> Warden:
        """Let no change through until somebody resumes."""
        self._warden = limits.pause(self._warden, instruction, workflow.now())
        workflow.logger.warning("changes.paused", extra=instruction.model_dump())
        return self._warden

    @workflow.update(description="Let changes through again")
    async def resume(self, instruction: Instruction) -> Warden:
        """Let changes through again, and tell the incidents that wait."""
        waiting = self._warden.waiting
        self._warden = limits.resume(self._warden, instruction)
        workflow.logger.warning("changes.resumed", extra=instruction.model_dump())
        for incident in waiting:
            try:
                await workflow.get_external_workflow_handle(incident).signal("go_on")
            except ApplicationError as error:  # it is no longer there to be told
                workflow.logger.warning("waiting.unreachable", extra={"reason": error.message})
        return self._warden

    @workflow.query(description="Whether it is paused, and what is contained")
    def warden(self) -> Warden:
        """Return how the guard rails that count stand."""
        return self._warden

    def _is_full(self) -> bool:
        suggested = workflow.info().is_continue_as_new_suggested()
        return suggested and workflow.all_handlers_finished()
