"""The warden: what every change asks before it is made, and where people pause all of them."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from firedoor.approvals import limits
from firedoor.approvals.hearing import NotTheirs, remember, require_new
from firedoor.model.decision import Ruling
from firedoor.model.warden import Admission, Changes, Instructed, Rulings, Warden
from firedoor.model.word import Instruction, Order, Signed
from workflows.calls import PATIENCE_TO_ASK, call, reason


@workflow.defn(name="Warden")
class WardenWorkflow:
    """Count what is contained, hold back what is above the limits, and everything while paused.

    Updates: `admit` is a change's, `instruct` a person's signed word. Query: `warden`.
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

    @workflow.update(description="Stop every change, or let them go on")
    async def instruct(self, said: Signed[Instruction]) -> Instructed:
        """Do as a responder says; who is one today, the worker knows."""
        word, ruling = said.word, await self._heard(said)
        try:
            require_new(word, self._warden.spent)  # not before: it may come twice meanwhile
        except NotTheirs as why:
            ruling = Ruling(accepted=False, reason=str(why))
        if ruling.accepted:
            spent = remember(self._warden.spent, word, workflow.now())
            self._warden = self._warden.model_copy(update={"spent": spent})
        if not ruling.accepted:
            workflow.logger.warning("instruction.refused", extra={"reason": ruling.reason})
        elif word.order is Order.PAUSE:
            self._warden = limits.pause(self._warden, word, workflow.now())
            workflow.logger.warning("changes.paused", extra=_told(word))
        else:
            await self._resume(word)
        return Instructed(ruling=ruling, warden=self._warden)

    async def _heard(self, said: Signed[Instruction]) -> Ruling:
        if said.word.incident != workflow.info().workflow_id:
            return Ruling(accepted=False, reason=f"it is about {said.word.incident}")
        try:
            return await call("approvals.hear", said, Ruling, PATIENCE_TO_ASK, "whose word")
        except ActivityError as error:
            return Ruling(accepted=False, reason=reason(error))

    async def _resume(self, word: Instruction) -> None:
        """Let changes through again, and tell the incidents that wait."""
        waiting = self._warden.waiting
        self._warden = limits.resume(self._warden, word)
        workflow.logger.warning("changes.resumed", extra=_told(word))
        for incident in waiting:
            try:
                await workflow.get_external_workflow_handle(incident).signal("go_on")
            except ApplicationError as error:  # it is no longer there to be told
                workflow.logger.warning("waiting.unreachable", extra={"reason": error.message})

    @workflow.query(description="Whether it is paused, and what is contained")
    def warden(self) -> Warden:
        """Return how the guard rails that count stand."""
        return self._warden

    def _is_full(self) -> bool:
        suggested = workflow.info().is_continue_as_new_suggested()
        return suggested and workflow.all_handlers_finished()


def _told(word: Instruction) -> dict[str, object]:
    return word.model_dump(mode="json", include={"by", "reason", "beyond"})
