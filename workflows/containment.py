"""The containment: a lease on one effect on one target, and the only writer of that target."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from firedoor.model.action import Nature
from firedoor.model.containment import (
    Claim,
    Grant,
    GrantKind,
    Holder,
    Holding,
    Lease,
    LeaseState,
    Notice,
    Return,
    Returned,
)
from firedoor.model.incident import Work
from firedoor.model.plan import Check, Plan, Proof, Receipt, Verdict
from firedoor.model.warrant import Right, Undoing
from workflows.calls import (
    PATIENCE,
    PATIENCE_TO_REVERT,
    PATIENCE_TO_VERIFY,
    call,
    failure,
    kind,
    reason,
)

T = TypeVar("T")

# How soon it looks again while reading back does not confirm the effect, and how often afterwards.
FIRST_LOOK = timedelta(seconds=2)
WATCH = timedelta(minutes=15)

# How a claim is answered whose plan could not be applied for such an error; else it failed. What
# does not exist any more makes the plan as stale as what was changed.
ANSWERS = {
    "HeldBack": GrantKind.HELD_BACK,
    "NotFound": GrantKind.STALE,
    "PlanStale": GrantKind.STALE,
}


@workflow.defn(name="Containment")
class ContainmentWorkflow:
    """Hold one effect on one target for as long as anybody needs it.

    Updates: `acquire` brings the effect about for the first holder, `give_back` takes it back with
    the last one. Query: `lease`.
    """

    @workflow.init
    def __init__(self, holding: Holding) -> None:
        lease = holding.carried or Lease(id=holding.id, state=LeaseState.OPEN)
        self._id = holding.id
        self._state = lease.state
        self._holders = list(lease.holders)
        self._applied = list(lease.applied)
        self._receipts = list(lease.receipts)
        self._proof = lease.proof
        self._queue = lease.queue
        self._claimed = holding.carried is not None
        self._doubts = 0  # how often in a row reading back did not confirm the effect
        self._next_look = workflow.now() + WATCH
        self._lock = asyncio.Lock()

    @workflow.run
    async def run(self, holding: Holding) -> Lease:  # noqa: ARG002
        """Watch the effect until nobody holds it any more."""
        while not self._claimed or not self._is_idle():
            await self._until(lambda: self._claimed and self._is_idle())
        while not self._is_over():
            await self._next_turn()
            if self._is_full():
                workflow.continue_as_new(Holding(id=self._id, carried=self.lease()))
        return self.lease()

    # Messages

    @workflow.update(description="Hold the effect for a step of an incident")
    async def acquire(self, claim: Claim) -> Grant:
        """Bring the effect about if need be, and count the claimant among the holders."""
        async with self._lock:
            self._claimed = True
            return await self._grant(claim)

    @workflow.update(description="Let the effect go")
    async def give_back(self, back: Return) -> Returned:
        """Strike the holder off; with the last one the effect is taken back."""
        async with self._lock:
            return await self._take_back(back)

    @workflow.query(description="Who holds it, and what was done for it")
    def lease(self) -> Lease:
        """Return the lease as it stands."""
        return Lease(
            id=self._id,
            state=self._state,
            holders=tuple(self._holders),
            applied=tuple(self._applied),
            receipts=tuple(self._receipts),
            proof=self._proof,
            queue=self._queue,
        )

    # Holding

    async def _grant(self, claim: Claim) -> Grant:
        plan = claim.plan
        self._queue = claim.queue
        if plan.changes or not self._applied:
            # Even if it was done for another holder: apply looks first, and somebody may have
            # changed it since.
            patience = PATIENCE[Nature.CONTAINMENT]
            try:
                right = claim.warrant
                receipt = await self._act("apply", plan, Receipt, patience, claim.by, right)
            except ActivityError as error:
                return self._not_applied(claim, error)
            if not any(plan.changes == applied.changes for applied in self._applied):
                self._applied.append(plan)
            self._receipts.append(receipt)
        self._state = LeaseState.HELD
        self._hold(claim)
        await self._verify()
        return Grant(kind=GrantKind.GRANTED, lease=self.lease())

    def _not_applied(self, claim: Claim, error: ActivityError) -> Grant:
        """Record that applying failed; what may have taken effect stays ours to take back."""
        if kind(error) == "Unwarranted":  # whoever sent this, it is nobody's to hold
            return Grant(kind=GrantKind.FAILED, lease=self.lease(), reason=reason(error))
        failed, answer = failure(error), ANSWERS.get(kind(error), GrantKind.FAILED)
        if answer is GrantKind.FAILED or not failed.changed_nothing:
            self._applied.append(claim.plan)
            if failed.made:
                digest = claim.plan.digest
                self._receipts.append(
                    Receipt(plan_digest=digest, at=workflow.now(), calls=failed.made)
                )
            self._hold(claim)
            self._state = LeaseState.FAILED
        return Grant(kind=answer, lease=self.lease(), reason=reason(error))

    def _hold(self, claim: Claim) -> None:
        who = (claim.incident, claim.step)
        if who not in [(holder.incident, holder.step) for holder in self._holders]:
            now = workflow.now()
            holder = Holder(
                incident=claim.incident,
                step=claim.step,
                since=now,
                by=claim.by,
                term=claim.term,
                until=now + claim.term if claim.term else None,
                plan=claim.plan,
                warrant=claim.warrant,
            )
            self._holders.append(holder)

    async def _act(
        self,
        phase: str,
        plan: Plan,
        result: type[T],
        patience: timedelta,
        by: str = "",
        right: Right | None = None,
    ) -> T:
        """Have workers that may act there do one phase of a plan."""
        work = Work(plan=plan, by=by, right=right, applied=self._applied_at(plan))
        return await call(
            f"{plan.action}.{phase}", work, result, patience, phase, queue=self._queue
        )

    def _applied_at(self, plan: Plan) -> datetime | None:
        """Return when the plan was last carried out, as far as anything had to be done for it."""
        done = (r.at for r in self._receipts if r.plan_digest == plan.digest and r.calls)
        return max(done, default=None)

    # Watching

    async def _verify(self) -> None:
        """Read back every plan that is in force; the proof is that of the worst."""
        try:
            proofs = [
                await self._act("verify", plan, Proof, PATIENCE_TO_VERIFY) for plan in self._applied
            ]
        except ActivityError as error:
            workflow.logger.warning("containment.unverified", extra={"reason": reason(error)})
            proofs = [_unread(plan, reason(error)) for plan in self._applied]
        self._proof = min(proofs, key=_rank)
        self._doubts = 0 if self._proof.verdict is Verdict.PROVEN else self._doubts + 1
        doubtful = min(FIRST_LOOK * 2 ** min(self._doubts, 10) / 2, WATCH)
        self._next_look = workflow.now() + (doubtful if self._doubts else WATCH)

    async def _look_again(self) -> None:
        """Read back, and tell the holders if the verdict changed."""
        if not self._applied:  # taken back while this turn waited for the lock
            self._next_look = workflow.now() + WATCH
            return
        before = self._proof
        await self._verify()
        if before is None or self._proof is None or before.verdict is self._proof.verdict:
            return
        for holder in self._holders:
            await self._tell(holder, proof=self._proof)

    async def _end_terms(self) -> None:
        """Tell those whose term is over, and tell them again after as long if nothing comes."""
        for index, holder in enumerate(self._holders):
            if holder.until is None or holder.term is None or holder.until > workflow.now():
                continue
            until = workflow.now() + holder.term
            self._holders[index] = holder.model_copy(update={"until": until})
            await self._tell(holder, term_is_over=True)

    async def _tell(self, holder: Holder, **news: Any) -> None:
        incident = workflow.get_external_workflow_handle(holder.incident)
        try:
            await incident.signal("notice", Notice(lease=self._id, step=holder.step, **news))
        except ApplicationError as error:  # it is no longer there to be told
            workflow.logger.warning("holder.unreachable", extra={"reason": error.message})

    # Letting go

    async def _take_back(self, back: Return) -> Returned:
        holders = self._holders
        self._holders = [
            h for h in self._holders if (h.incident, h.step) != (back.incident, back.step)
        ]
        receipts: list[Receipt] = []
        while self._applied and not self._holders:
            plan = self._applied[-1]
            try:
                receipt = await self._act(
                    "revert", plan, Receipt, PATIENCE_TO_REVERT, back.by, _right(back, holders)
                )
            except ActivityError as error:
                self._holders = holders  # what was not undone is held as before
                held_back = kind(error) == "HeldBack"
                if not held_back and kind(error) != "Unwarranted":
                    self._state = LeaseState.FAILED
                return Returned(
                    lease=self.lease(),
                    receipts=tuple(receipts),
                    problem=reason(error),
                    held_back=held_back,
                )
            self._applied.pop()
            receipts.append(receipt)
        if not self._holders:
            self._state = LeaseState.OPEN
        return Returned(lease=self.lease(), receipts=tuple(receipts))

    # The turns of the watch

    async def _next_turn(self) -> None:
        """Wait until there is something to do, or until it is time to look again."""
        due = self._due()
        try:
            await self._until(
                lambda: self._is_over() or self._is_full() or self._due() != due,
                max(due - workflow.now(), timedelta(0)),
            )
        except TimeoutError:
            async with self._lock:
                await self._end_terms()
                if workflow.now() >= self._next_look:
                    await self._look_again()

    async def _until(self, holds: Callable[[], bool], within: timedelta | None = None) -> None:
        """Wait; cancelling from outside does not drop what is held, so it ends nothing."""
        try:
            await workflow.wait_condition(holds, timeout=within, timeout_summary="next look")
        except asyncio.CancelledError:
            if workflow.cancellation_reason() is None:
                raise
            workflow.logger.warning("containment.not_cancelled")

    def _due(self) -> datetime:
        """When to look again, or the first term ends."""
        return min([self._next_look, *(h.until for h in self._holders if h.until)])

    def _is_over(self) -> bool:
        return not self._holders and not self._applied and self._is_idle()

    def _is_full(self) -> bool:
        return workflow.info().is_continue_as_new_suggested() and self._is_idle()

    def _is_idle(self) -> bool:
        return not self._lock.locked() and workflow.all_handlers_finished()


def _right(back: Return, holders: list[Holder]) -> Right | None:
    """Return by what right a holder lets go: what people said, and by what right it held."""
    if back.reopening is not None:
        return back.reopening
    mine = [h for h in holders if (h.incident, h.step) == (back.incident, back.step)]
    if back.said is None or not mine or mine[0].warrant is None:
        return None
    return Undoing(warrant=mine[0].warrant, plan=mine[0].plan, said=back.said, voucher=back.voucher)


# From bad to good: the proof of a lease is that of its worst plan.
_RANKS = (Verdict.DRIFTED, Verdict.UNPROVEN, Verdict.PENDING, Verdict.PROVEN)


def _rank(proof: Proof) -> int:
    return _RANKS.index(proof.verdict)


def _unread(plan: Plan, why: str) -> Proof:
    check = Check(name="read back", ok=False, detail=why)
    return Proof(
        plan_digest=plan.digest, at=workflow.now(), verdict=Verdict.UNPROVEN, checks=(check,)
    )
