"""The incident: one subject, all findings about it, and the steps that its runbooks call for."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

from firedoor.approvals.judge import chosen, judge, may_close, may_release
from firedoor.model.action import Barrier, Nature
from firedoor.model.containment import (
    Claim,
    Grant,
    GrantKind,
    Notice,
    Return,
    Returned,
    containment_id,
)
from firedoor.model.decision import Answer, Decision, Proposal, Ruling, Vote
from firedoor.model.finding import Principal, Resource
from firedoor.model.incident import (
    MOVING,
    SUCCEEDED,
    Arrival,
    Close,
    Entry,
    Incident,
    Opening,
    Order,
    Release,
    Released,
    Status,
    StepRecord,
    StepState,
    assess,
    doubts,
    state_of,
)
from firedoor.model.plan import Plan, Proof, Receipt, Target, Verdict
from firedoor.model.runbook import Approval
from firedoor.triage import steps_for
from workflows import visibility
from workflows.calls import PATIENCE, PATIENCE_TO_FOLLOW, PATIENCE_TO_REVERT, call, reason

# How often evidence that is still being made is looked at, and for how long.
FIRST_LOOK = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=5)
EVIDENCE_PATIENCE = timedelta(hours=24)

CANCELLED = "the incident was cancelled"


@workflow.defn(name="Incident")
class IncidentWorkflow:
    """Respond to the findings about one subject, until a person closes the incident.

    Signals: `arrive` brings a finding, `vote` a decision, `notice` news of a containment.
    Updates: `decide`, `release` and `close` are a person's, and answer at once or when it is done.
    Query: `incident` is all that is known.
    """

    @workflow.init
    def __init__(self, opening: Opening) -> None:
        carried = opening.carried
        self._id = workflow.info().workflow_id
        self._policy = carried.policy if carried else opening.arrival.policy
        self._subject = opening.arrival.finding.subject
        self._opened_at = carried.opened_at if carried else workflow.now()
        self._findings = {f.id: f for f in carried.findings} if carried else {}
        self._runbooks = list(carried.runbooks) if carried else []
        self._steps = {s.key: s for s in carried.steps} if carried else {}
        self._timeline = list(carried.timeline) if carried else []
        self._stopped: tuple[str, ...] = ()  # steps that a cancellation found on their way
        self._tasks: list[asyncio.Task[None]] = []
        self._close: Close | None = None
        self._closed_at: datetime | None = None
        self._published: tuple[Any, ...] = ()

    @workflow.run
    async def run(self, opening: Opening) -> Incident:
        """Take every step that the findings call for, then watch until a person closes it."""
        if opening.carried is None:
            self._receive(opening.arrival)
        while not self._is_over():
            await self._next_turn()
            self._raise_bugs()
            if self._is_full():
                workflow.continue_as_new(Opening(arrival=opening.arrival, carried=self.incident()))
        self._closed_at = workflow.now()
        self._publish()
        return self.incident()

    # Messages

    @workflow.signal(description="A finding about this subject")
    async def arrive(self, arrival: Arrival) -> None:
        """Join a finding to the incident; repeats are harmless."""
        self._receive(arrival)

    @workflow.update(description="Approve or deny the plan of a step")
    async def decide(self, decision: Decision) -> Ruling:
        """Rule on a vote. Refused votes are accepted as messages, so that they are on record."""
        return self._vote(decision)

    @workflow.signal(description="Approve or deny, without waiting for the answer")
    async def vote(self, decision: Decision) -> None:
        """Rule on a vote that chat or automation brings."""
        self._vote(decision)

    @workflow.update(description="Let containments go")
    async def release(self, release: Release) -> Released:
        """Give the leases of some or all steps back, and answer when that is done."""
        return await self._release(release)

    @workflow.update(description="End the incident")
    async def close(self, close: Close) -> Ruling:
        """End the incident, if nothing is held and nothing under way."""
        ruling = may_close(close, self._policy, tuple(self._steps.values()))
        self._tell(
            "incident.closed" if ruling.accepted else "close.refused", detail=_said(close, ruling)
        )
        if ruling.accepted:
            self._close = close
        return ruling

    @workflow.signal(description="News of a containment that this incident holds")
    async def notice(self, notice: Notice) -> None:
        """Take note that a containment became proven, or drifted."""
        self._take_note(notice)

    @workflow.query(description="All that is known")
    def incident(self) -> Incident:
        """Return the incident as it stands."""
        return Incident(
            id=self._id,
            status=self._status(),
            subject=self._subject,
            opened_at=self._opened_at,
            closed_at=self._closed_at,
            findings=tuple(self._findings.values()),
            runbooks=tuple(self._runbooks),
            policy=self._policy,
            steps=tuple(self._steps.values()),
            timeline=tuple(self._timeline),
        )

    # Findings

    def _receive(self, arrival: Arrival) -> None:
        """Join a finding, and start the steps that it calls for."""
        finding = arrival.finding
        known = self._findings.get(finding.id)
        if known is not None and known.updated_at >= finding.updated_at:
            return
        self._findings[finding.id] = finding
        event = "finding.arrived" if known is None else "finding.repeated"
        self._tell(
            event, detail=f"{finding.type}, severity {finding.severity:g}, seen {finding.count}x"
        )
        self._close = None  # what arrives while a person closes must not be lost
        if finding.sample:
            self._tell("finding.sample", detail="a sample finding never acts")
        else:
            self._start_steps(arrival)
        self._publish()

    def _start_steps(self, arrival: Arrival) -> None:
        if arrival.runbook.id not in self._runbooks:
            self._runbooks.append(arrival.runbook.id)
            detail = f"{arrival.runbook.id} {arrival.runbook.digest}"
            self._tell("runbook.started", detail=detail)
        for record in steps_for(arrival, tuple(self._steps.values())):
            self._steps[record.key] = record
            self._tasks.append(asyncio.create_task(self._take(record.key)))

    # One step

    async def _take(self, key: str) -> None:
        """Plan, ask, apply and verify one step; from the start again if the plan went stale."""
        try:
            if not await self._is_its_turn(key):
                return
            while True:
                proposal = await self._plan(key)
                if proposal is None or not await self._is_allowed(key, proposal):
                    return
                await self._evidence_is_safe(key)
                if await self._apply(key, proposal):
                    return
        except ActivityError as error:
            self._end(key, StepState.FAILED, reason(error))

    async def _is_its_turn(self, key: str) -> bool:
        """Wait for what it needs to come about; what did not is a reason to skip it.

        Evidence is waited for later: meanwhile the plan can be made, and people can read it.
        """
        needs = [need for need in self._steps[key].needs if not self._is_evidence(need)]
        await workflow.wait_condition(
            lambda: all(self._steps[need].state not in MOVING for need in needs)
        )
        for need in (self._steps[n] for n in needs):
            if need.state not in SUCCEEDED:
                self._end(key, StepState.SKIPPED, f"needs {need.key}, which is {need.state}")
                return False
        return True

    async def _evidence_is_safe(self, key: str) -> None:
        """Wait until the evidence that it needs is started, or has failed: that stops nothing."""
        needs = [need for need in self._steps[key].needs if self._is_evidence(need)]
        await workflow.wait_condition(lambda: all(_lets_on(self._steps[need]) for need in needs))

    def _is_evidence(self, key: str) -> bool:
        return self._steps[key].capability.nature is Nature.EVIDENCE

    async def _plan(self, key: str) -> Proposal | None:
        """Return what to put to a person, or None if there is nothing to do or it is forbidden."""
        record = self._set(key, state=StepState.PLANNING, reason="")
        if not record.subjects:
            self._end(key, StepState.DONE, f"the finding names no {record.step.on}")
            return None
        planned = await asyncio.gather(*(self._plan_for(record, s) for s in record.subjects))
        plans = tuple(plan for plans in planned for plan in plans)
        for plan in plans:
            for refusal in plan.refusals:
                self._tell("plan.refused", key, f"{plan.summary}: {refusal}")
        proposal = Proposal(step=key, plans=tuple(plan for plan in plans if not plan.refusals))
        if not plans:
            self._end(key, StepState.DONE, "there is nothing to do")
            return None
        if not proposal.plans:
            refusals = "; ".join(r for plan in plans for r in plan.refusals)
            self._end(key, StepState.REFUSED, refusals)
            return None
        self._set(key, proposal=proposal, plan_digest=proposal.digest)
        self._tell("step.planned", key, "; ".join(plan.summary for plan in proposal.plans))
        return proposal

    async def _plan_for(self, record: StepRecord, subject: Resource | Principal) -> list[Plan]:
        target = Target(subject=subject, incident=self._id, step=record.key, at=workflow.now())
        return await call(
            f"{record.capability.action}.plan",
            Order(target=target, params=record.params, policy=self._policy),
            list[Plan],
            PATIENCE[record.capability.nature],
            f"{record.key}: plan",
        )

    async def _is_allowed(self, key: str, proposal: Proposal) -> bool:
        """Ask, unless the runbook gives standing authority or there is nothing to change."""
        record = self._steps[key]
        if record.step.approval is Approval.AUTO:
            self._tell("step.authorised", key, f"by runbook {record.runbook}")
        elif not any(plan.calls for plan in proposal.plans):
            self._tell("step.authorised", key, "nothing has to be changed")
        elif not await self._ask(key):
            return False
        self._set(key, state=StepState.APPLYING)
        return True

    async def _ask(self, key: str) -> bool:
        """Wait for a responder's decision on the plan; silence is no."""
        deadline = self._steps[key].step.deadline
        self._set(key, state=StepState.ASKING, deadline=workflow.now() + deadline)
        self._tell("approval.requested", key, f"within {deadline}")
        try:
            await workflow.wait_condition(
                lambda: self._steps[key].state is not StepState.ASKING,
                timeout=deadline,
                timeout_summary=f"{key}: deadline",
            )
        except TimeoutError:
            self._end(key, StepState.EXPIRED, f"nobody decided within {deadline}")
        return self._steps[key].state is StepState.APPLYING

    async def _apply(self, key: str, proposal: Proposal) -> bool:
        """Bring the effect about; False asks for a new plan."""
        if key in self._stopped:
            self._end(key, StepState.SKIPPED, CANCELLED)
            return True
        match self._steps[key].capability.nature:
            case Nature.CONTAINMENT:
                return await self._contain(key, proposal)
            case Nature.EVIDENCE:
                await self._preserve(key, proposal)
            case Nature.RECORD:
                receipts = await self._apply_each(key, proposal)
                self._end(key, StepState.DONE, receipts=receipts)
        return True

    async def _contain(self, key: str, proposal: Proposal) -> bool:
        """Claim the lease of every plan; those that were granted stay held if others are stale."""
        record, patience = self._steps[key], PATIENCE[Nature.CONTAINMENT]
        claims = [Claim(incident=self._id, step=key, plan=plan) for plan in proposal.plans]
        # On record before the attempt: what is never answered may be held all the same.
        leases = dict.fromkeys((*record.leases, *(containment_id(c.plan) for c in claims)))
        self._set(key, leases=tuple(leases))
        grants = await asyncio.gather(
            *(
                call("containment.claim", claim, Grant, patience, f"{key}: claim")
                for claim in claims
            )
        )
        held = [grant.lease for grant in grants if _holds(grant, self._id, key)]
        for grant in grants:
            if grant.lease not in held:
                del leases[grant.lease.id]
        proofs = tuple(lease.proof for lease in held if lease.proof is not None)
        receipts = tuple(receipt for lease in held for receipt in lease.receipts)
        self._set(key, leases=tuple(leases), proofs=proofs, receipts=receipts)
        if stale := [g.reason for g in grants if g.kind is GrantKind.STALE]:
            self._tell("plan.stale", key, "; ".join(stale))
            return False
        if failed := [g.reason for g in grants if g.kind is GrantKind.FAILED]:
            self._end(key, StepState.FAILED, "; ".join(failed))
        else:
            self._end(key, state_of(proofs), doubts(proofs))
        return True

    async def _preserve(self, key: str, proposal: Proposal) -> None:
        """Start the evidence, let the steps that need it go on, and follow it to its end."""
        receipts = await self._apply_each(key, proposal)
        evidence = tuple(item for receipt in receipts for item in receipt.evidence)
        self._set(key, state=StepState.STARTED, receipts=receipts, evidence=evidence)
        what = [item.name for item in evidence] or [plan.summary for plan in proposal.plans]
        self._tell("evidence.started", key, ", ".join(what))
        proofs = tuple(await asyncio.gather(*(self._follow(key, plan) for plan in proposal.plans)))
        found = {item.uri: item for proof in proofs for item in proof.evidence}
        kept = {item.uri: item for item in evidence} | found
        self._end(
            key, state_of(proofs), doubts(proofs), proofs=proofs, evidence=tuple(kept.values())
        )

    async def _follow(self, key: str, plan: Plan) -> Proof:
        """Look at evidence in the making until it is there or has failed."""
        pause, until = FIRST_LOOK, workflow.now() + EVIDENCE_PATIENCE
        while True:
            proof = await call(
                f"{plan.action}.verify", plan, Proof, PATIENCE_TO_FOLLOW, f"{key}: verify"
            )
            if proof.verdict is not Verdict.PENDING or workflow.now() > until:
                return proof
            await workflow.sleep(pause, summary=f"{key}: under way")
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _apply_each(self, key: str, proposal: Proposal) -> tuple[Receipt, ...]:
        patience = PATIENCE[self._steps[key].capability.nature]
        return tuple(
            await asyncio.gather(
                *(
                    call(f"{plan.action}.apply", plan, Receipt, patience, f"{key}: apply")
                    for plan in proposal.plans
                )
            )
        )

    # People

    def _vote(self, decision: Decision) -> Ruling:
        record = self._steps.get(decision.step)
        if record is not None:
            for vote in record.votes:
                if vote.decision.nonce == decision.nonce:
                    return vote.ruling  # the same vote, brought a second time
        ruling = judge(record, decision, self._policy, workflow.now())
        event = f"vote.{decision.answer}" if ruling.accepted else "vote.refused"
        self._tell(event, decision.step, _said(decision, ruling))
        if record is None:
            return ruling
        vote = Vote(decision=decision, ruling=ruling, received_at=workflow.now())
        self._set(record.key, votes=(*record.votes, vote))
        if ruling.accepted and decision.answer is Answer.APPROVE:
            self._set(record.key, state=StepState.APPLYING)
        elif ruling.accepted:
            self._end(record.key, StepState.DENIED, f"{decision.responder}: {decision.reason}")
        return ruling

    async def _release(self, release: Release) -> Released:
        ruling = may_release(release, self._policy, tuple(self._steps.values()))
        self._tell(
            "release.asked" if ruling.accepted else "release.refused", detail=_said(release, ruling)
        )
        if not ruling.accepted:
            return Released(ruling=ruling)
        holding = [step for step in chosen(release, tuple(self._steps.values())) if step.leases]
        still_held = await asyncio.gather(*(self._let_go(step, release) for step in holding))
        return Released(
            ruling=ruling,
            steps=tuple(self._steps[step.key] for step in holding),
            still_held=tuple(incident for others in still_held for incident in others),
        )

    async def _let_go(self, record: StepRecord, release: Release) -> list[str]:
        """Give the leases of a step back; return the incidents that hold them still."""
        others: list[str] = []
        for lease in record.leases:
            back = Return(
                lease=lease,
                incident=self._id,
                step=record.key,
                by=release.by,
                reason=release.reason,
            )
            try:
                returned = await call(
                    "containment.give_back",
                    back,
                    Returned,
                    PATIENCE_TO_REVERT,
                    f"{record.key}: release",
                )
            except ActivityError as error:
                self._end(record.key, StepState.FAILED, f"release: {reason(error)}")
                continue
            now = self._steps[record.key]
            self._set(record.key, receipts=(*now.receipts, *returned.receipts))
            if returned.problem:
                self._end(record.key, StepState.FAILED, f"release: {returned.problem}")
                continue
            self._set(record.key, leases=tuple(held for held in now.leases if held != lease))
            others += [holder.incident for holder in returned.lease.holders]
        if not self._steps[record.key].leases:
            self._end(record.key, StepState.RELEASED, f"{release.by}: {release.reason}")
        return others

    # Containments

    def _take_note(self, notice: Notice) -> None:
        record = self._steps.get(notice.step)
        if record is None or notice.lease not in record.leases:
            return
        digest = notice.proof.plan_digest
        others = tuple(proof for proof in record.proofs if proof.plan_digest != digest)
        proofs = (*others, notice.proof)
        self._set(record.key, proofs=proofs)
        if record.state in SUCCEEDED:
            self._end(record.key, state_of(proofs), doubts(proofs))

    # Book-keeping

    def _set(self, key: str, **changes: Any) -> StepRecord:
        self._steps[key] = self._steps[key].model_copy(update=changes)
        self._publish()
        return self._steps[key]

    def _end(self, key: str, state: StepState, why: str = "", **changes: Any) -> None:
        """Bring a step to rest, and say so."""
        self._set(key, state=state, reason=why, ended_at=workflow.now(), **changes)
        self._tell(f"step.{state}", key, why)

    def _tell(self, event: str, step: str = "", detail: str = "") -> None:
        """Write a line of the timeline, and of the log."""
        self._timeline.append(Entry(at=workflow.now(), event=event, step=step, detail=detail))
        workflow.logger.info(event, extra={"incident": self._id, "step": step, "detail": detail})

    def _status(self) -> Status:
        if self._findings and all(finding.sample for finding in self._findings.values()):
            return Status.SAMPLE
        if self._closed_at is not None:
            return Status.CLOSED
        return assess(tuple(self._steps.values()))

    def _publish(self) -> None:
        """Tell the server's lists and its web page how the incident stands, if that changed."""
        status = self._status()
        types = sorted({finding.type for finding in self._findings.values()})
        severity = max(finding.severity for finding in self._findings.values())
        published = (status, types, severity, tuple(self._runbooks))
        if published == self._published:
            return
        self._published = published
        workflow.upsert_search_attributes(
            visibility.updates(status, self._subject, self._runbooks, types, severity)
        )
        lines = [f"- `{s.key}` {s.state} {s.reason}" for s in self._steps.values()]
        workflow.set_current_details("\n".join([f"**{status}**", "", *lines]))

    # The end

    def _is_over(self) -> bool:
        """Whether a person closed it, or it was only a try-out, and nothing is left to answer."""
        wanted = self._close is not None or self._status() is Status.SAMPLE
        return wanted and self._is_at_rest()

    def _is_at_rest(self) -> bool:
        return all(task.done() for task in self._tasks) and workflow.all_handlers_finished()

    def _is_full(self) -> bool:
        return workflow.info().is_continue_as_new_suggested() and self._is_at_rest()

    async def _next_turn(self) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._is_over() or self._is_full() or any(_broken(t) for t in self._tasks)
            )
        except asyncio.CancelledError:
            # Cancelling from outside must not drop what is held. Steps that are not applied yet are
            # skipped; the incident stays until a person releases and closes it.
            if workflow.cancellation_reason() is None:
                raise
            self._stop(workflow.cancellation_reason() or "")

    def _stop(self, why: str) -> None:
        """Let no step that is on its way be applied; what comes later is another matter."""
        self._tell("incident.cancelled", detail=why)
        self._stopped = tuple(s.key for s in self._steps.values() if s.state in MOVING)
        for step in tuple(self._steps.values()):
            if step.state is StepState.ASKING:
                self._end(step.key, StepState.SKIPPED, CANCELLED)

    def _raise_bugs(self) -> None:
        """Let an error in our own code stop the workflow task, where operators see it."""
        for task in self._tasks:
            if _broken(task):
                task.result()
        self._tasks = [task for task in self._tasks if not task.done()]


def _broken(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _lets_on(evidence: StepRecord) -> bool:
    """Whether the steps that need this evidence may be applied."""
    started = evidence.state is StepState.STARTED
    return (
        started and evidence.capability.barrier is Barrier.STARTED
    ) or evidence.state not in MOVING


def _holds(grant: Grant, incident: str, step: str) -> bool:
    return any((h.incident, h.step) == (incident, step) for h in grant.lease.holders)


def _said(message: Decision | Release | Close, ruling: Ruling) -> str:
    who = message.responder if isinstance(message, Decision) else message.by
    return f"{who}: {message.reason}" + (f" (refused: {ruling.reason})" if ruling.reason else "")
