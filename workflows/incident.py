"""The incident: one subject, all findings about it, and the steps that its runbooks call for."""

import asyncio
from contextlib import suppress
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
    Capability,
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
    Work,
    assess,
    doubts,
    state_of,
)
from firedoor.model.plan import Change, Plan, Proof, Receipt, Target, Verdict
from firedoor.model.policy import Autonomy
from firedoor.model.runbook import Approval, Step
from firedoor.triage import free_key, steps_for
from workflows import visibility
from workflows.calls import PATIENCE, PATIENCE_TO_FOLLOW, PATIENCE_TO_REVERT, call, kind, reason

# How often evidence that is still being made is looked at, and for how long.
FIRST_LOOK = timedelta(seconds=2)
LONGEST_PAUSE = timedelta(minutes=5)
LONGEST_PAUSE_TO_END = timedelta(seconds=30)  # where containment waits for the end
EVIDENCE_PATIENCE = timedelta(hours=24)

# How often a step is planned again because its target changed: people would be asked without end.
MOST_PLANS = 5

# How often what is held back is tried again without being told to.
FIRST_RETRY = timedelta(minutes=1)
LAST_RETRY = timedelta(minutes=15)

# How often a term doubles for what comes back: 12 h become 16 days.
MOST_DOUBLED = 5

OPEN_AGAIN = "containment.open_again"

# A task is work, not only a decision.
TIME_FOR_A_TASK = timedelta(days=1)

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
        self._went_on = 0  # how often waiting incidents were told to go on
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

    @workflow.signal(description="Changes that were held back may be tried again")
    async def go_on(self) -> None:
        """Try what was held back again, at once."""
        self._went_on += 1

    @workflow.signal(description="News of a containment that this incident holds")
    async def notice(self, notice: Notice) -> None:
        """Take note that a containment became proven or drifted, or that its term is over."""
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
            for _ in range(MOST_PLANS):
                proposal = await self._plan(key)
                if proposal is None or not await self._is_allowed(key, proposal):
                    return
                await self._evidence_is_safe(key)
                if await self._apply(key, proposal):
                    return
            self._end(key, StepState.FAILED, f"the target changed after each of {MOST_PLANS} plans")
        except ActivityError as error:
            if kind(error) == "HeldBack":  # and the incident was cancelled while it waited
                self._end(key, StepState.SKIPPED, CANCELLED)
            else:
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
        if record.capability.nature is Nature.RELEASE:
            planned = [self._plan_opening(record)]
        else:
            planned = await asyncio.gather(*(self._plan_for(record, s) for s in record.subjects))
        plans = tuple(plan for plans in planned for plan in plans)
        for plan in plans:
            for refusal in plan.refusals:
                self._tell("plan.refused", key, f"{plan.summary}: {refusal}")
        good = tuple(plan for plan in plans if not plan.refusals)
        proposal = Proposal(step=key, plans=good, term=_term(record.step, good))
        if not plans:
            self._end(key, StepState.DONE, "there is nothing to do")
            return None
        if not good:
            refusals = "; ".join(r for plan in plans for r in plan.refusals)
            gone = all(plan.gone for plan in plans)
            self._end(key, StepState.GONE if gone else StepState.REFUSED, refusals)
            self._set_tasks(record, plans)
            return None
        self._set(key, proposal=proposal, plan_digest=proposal.digest)
        self._tell("step.planned", key, "; ".join(plan.summary for plan in proposal.plans))
        return proposal

    async def _plan_for(self, record: StepRecord, subject: Resource | Principal) -> list[Plan]:
        target = Target(
            subject=subject,
            incident=self._id,
            step=record.key,
            at=workflow.now(),
            spared=self._policy.protected.principals,
        )
        return await call(
            f"{record.capability.action}.plan",
            Order(target=target, params=record.params, policy=self._policy),
            list[Plan],
            PATIENCE[record.capability.nature],
            f"{record.key}: plan",
            self._queue(subject),
        )

    def _plan_opening(self, record: StepRecord) -> list[Plan]:
        """Return what letting go of a held step does: its plans the other way round."""
        held = self._steps[str(record.params["opens"])]
        plans = held.proposal.plans if held.proposal and held.leases else ()
        return [
            Plan(
                action=OPEN_AGAIN,
                target=plan.target.model_copy(update={"step": record.key, "at": workflow.now()}),
                lease=plan.lease,
                summary=f"Its term is over: open again what {held.key} closed. {plan.summary}",
                changes=tuple(_reversed(change) for change in reversed(plan.changes)),
                calls=plan.undo,
                undo=plan.calls,
                lost=plan.lost,
            )
            for plan in plans
        ]

    async def _is_allowed(self, key: str, proposal: Proposal) -> bool:
        """Ask, unless the runbook gives standing authority or there is nothing to change.

        The policy can say that this runbook only plans in this account, or that it always asks.
        """
        record = self._steps[key]
        # A person's own decision, even where nothing of it is a call of ours.
        is_theirs = record.capability.nature in {Nature.TASK, Nature.RELEASE}
        changes = is_theirs or any(plan.calls for plan in proposal.plans)
        autonomy = self._autonomy(record)
        if changes and autonomy is Autonomy.SHADOW:
            self._end(key, StepState.SHADOWED, f"{record.runbook} only plans in this account")
            return False
        if not changes:
            self._tell("step.authorised", key, "nothing has to be changed")
        elif record.step.approval is Approval.AUTO and autonomy is Autonomy.AUTO:
            self._tell("step.authorised", key, f"by runbook {record.runbook}")
        elif not await self._ask(key):
            return False
        self._set_tasks(record, proposal.plans)
        self._set(key, state=StepState.APPLYING)
        return True

    def _autonomy(self, record: StepRecord) -> Autonomy:
        """Return how far the step may go by itself: as its most restricted subject allows."""
        found = {
            self._policy.autonomy_of(record.runbook, subject.account, subject.region)
            for subject in record.subjects
        }
        return next(a for a in Autonomy if a in found)

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
            case Nature.RECORD | Nature.TASK:
                receipts = await self._apply_each(key, proposal)
                self._end(key, StepState.DONE, self._said_by(key), receipts=receipts)
            case Nature.RELEASE:
                await self._open_again(key)
        return True

    async def _contain(self, key: str, proposal: Proposal) -> bool:
        """Claim the lease of every plan; those that were granted stay held if others are stale."""
        record, patience = self._steps[key], PATIENCE[Nature.CONTAINMENT]
        claims = [
            Claim(
                incident=self._id,
                step=key,
                plan=plan,
                by=self._approver(key),
                term=proposal.term,
                queue=self._queue(plan.target.subject),
            )
            for plan in proposal.plans
        ]
        # On record before the attempt: what is never answered may be held all the same.
        leases = dict.fromkeys((*record.leases, *(containment_id(c.plan) for c in claims)))
        self._set(key, leases=tuple(leases))
        grants = await asyncio.gather(*(self._claim(key, claim, patience) for claim in claims))
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
        elif any(grant.kind is GrantKind.HELD_BACK for grant in grants):
            self._end(key, StepState.SKIPPED, CANCELLED)
        else:
            self._end(key, state_of(proofs), doubts(proofs))
        self._raise_alarm(record, proofs)
        return True

    async def _claim(self, key: str, claim: Claim, patience: timedelta) -> Grant:
        """Claim a lease; while changes are held back, wait and claim it again."""
        pause = FIRST_RETRY
        while True:
            grant = await call("containment.claim", claim, Grant, patience, f"{key}: claim")
            if grant.kind is not GrantKind.HELD_BACK:
                return grant
            pause = await self._held_back(key, grant.reason, pause)
            if key in self._stopped:
                return grant
            claim = claim.model_copy(update={"attempt": claim.attempt + 1})

    async def _held_back(self, key: str, why: str, pause: timedelta) -> timedelta:
        """Wait until changes may be tried again, and return how long to wait the next time."""
        state, went_on = self._steps[key].state, self._went_on
        self._set(key, state=StepState.HELD_BACK, reason=why)
        self._tell("step.held_back", key, why)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._went_on != went_on or key in self._stopped,
                timeout=pause,
                timeout_summary=f"{key}: held back",
            )
        self._set(key, state=state, reason="")
        return min(2 * pause, LAST_RETRY)

    async def _preserve(self, key: str, proposal: Proposal) -> None:
        """Start the evidence, let the steps that need it go on, and follow it to its end."""
        receipts = await self._apply_each(key, proposal)
        evidence = tuple(item for receipt in receipts for item in receipt.evidence)
        self._set(key, state=StepState.STARTED, receipts=receipts, evidence=evidence, reason="")
        what = [item.name for item in evidence] or [plan.summary for plan in proposal.plans]
        self._tell("evidence.started", key, ", ".join(what))
        proofs = tuple(await asyncio.gather(*(self._follow(key, plan) for plan in proposal.plans)))
        found = {item.uri: item for proof in proofs for item in proof.evidence}
        kept = {item.uri: item for item in evidence} | found
        self._end(
            key, state_of(proofs), doubts(proofs), proofs=proofs, evidence=tuple(kept.values())
        )

    async def _follow(self, key: str, plan: Plan) -> Proof:
        """Look at evidence in the making until it is there or has failed.

        Between looks it is applied again: what has to wait for an earlier part, as a copy waits for
        its snapshot, is done as soon as it can be.
        """
        pause, until = FIRST_LOOK, workflow.now() + EVIDENCE_PATIENCE
        work, queue = self._work(key, plan), self._queue(plan.target.subject)
        ends = self._steps[key].capability.barrier is Barrier.ENDED
        longest = LONGEST_PAUSE_TO_END if ends else LONGEST_PAUSE
        while True:
            proof = await call(
                f"{plan.action}.verify", work, Proof, PATIENCE_TO_FOLLOW, f"{key}: verify", queue
            )
            if proof.verdict is not Verdict.PENDING or workflow.now() > until:
                return proof
            await workflow.sleep(pause, summary=f"{key}: under way")
            pause = min(2 * pause, longest)
            receipt = await self._carry_out(key, plan, PATIENCE_TO_FOLLOW)
            if receipt.calls:
                self._set(key, receipts=(*self._steps[key].receipts, receipt))

    async def _apply_each(self, key: str, proposal: Proposal) -> tuple[Receipt, ...]:
        patience = PATIENCE[self._steps[key].capability.nature]
        applied = (self._carry_out(key, plan, patience) for plan in proposal.plans)
        return tuple(await asyncio.gather(*applied))

    async def _carry_out(self, key: str, plan: Plan, patience: timedelta) -> Receipt:
        """Apply a plan that is no containment; while changes are held back, wait and try again."""
        pause, work = FIRST_RETRY, self._work(key, plan)
        what, queue = f"{key}: apply", self._queue(plan.target.subject)
        while True:
            try:
                return await call(f"{plan.action}.apply", work, Receipt, patience, what, queue)
            except ActivityError as error:
                if kind(error) != "HeldBack":
                    raise
                pause = await self._held_back(key, reason(error), pause)
                if key in self._stopped:
                    raise

    def _work(self, key: str, plan: Plan) -> Work:
        return Work(plan=plan, by=self._approver(key))

    def _approver(self, key: str) -> str:
        """Return who approved the plan that is in force; nobody under standing authority."""
        record = self._steps[key]
        for vote in reversed(record.votes):
            approves = vote.ruling.accepted and vote.decision.answer is Answer.APPROVE
            if approves and vote.decision.plan_digest == record.plan_digest:
                return vote.decision.responder
        return ""

    def _said_by(self, key: str) -> str:
        """Return who signed a task off, and what they said."""
        if self._steps[key].capability.nature is not Nature.TASK:
            return ""
        last = self._steps[key].votes[-1].decision
        return f"signed off by {last.responder}: {last.reason}"

    def _queue(self, subject: Resource | Principal) -> str:
        """Return the queue of the workers that may act on a subject."""
        return self._policy.account(subject.account, subject.region).task_queue or ""

    # Steps that others call for

    def _set_tasks(self, record: StepRecord, plans: tuple[Plan, ...]) -> None:
        """Give to people what no call of ours can do, each once."""
        for what in dict.fromkeys(task for plan in plans for task in plan.tasks):
            self._follow_up(
                record, "task", "records.task", Nature.TASK, {"what": what}, TIME_FOR_A_TASK
            )

    def _raise_alarm(self, record: StepRecord, proofs: tuple[Proof, ...]) -> None:
        """Tell people that what was contained is so no longer; `record` is that of before."""
        drifted = tuple(proof for proof in proofs if proof.verdict is Verdict.DRIFTED)
        if not drifted:
            return
        was = "proven" if record.state is StepState.PROVEN else "done"
        message = f"DRIFT: {record.key} was {was} and is undone by somebody: {doubts(drifted)}"
        self._follow_up(record, "alarm", "records.notify", Nature.RECORD, {"message": message})

    def _ask_to_open(self, record: StepRecord) -> None:
        """Ask whether to let go of what was held for its term, and tell people that it is asked."""
        self._follow_up(record, "open", OPEN_AGAIN, Nature.RELEASE, {"opens": record.key})
        message = f"TERM OVER: {record.key} is held until somebody decides to open it again"
        self._follow_up(record, "term", "records.notify", Nature.RECORD, {"message": message})

    def _follow_up(
        self,
        record: StepRecord,
        name: str,
        action: str,
        nature: Nature,
        params: dict[str, Any],
        deadline: timedelta | None = None,
    ) -> None:
        """Add a step that another one calls for, unless the same is there and not at rest."""
        approval = Approval.AUTO if nature is Nature.RECORD else Approval.ASK
        step = Step(
            id=f"{record.step.id}_{name}",
            do=action.partition(".")[2],
            approval=approval,
            deadline=deadline or record.step.deadline,
        )
        new = StepRecord(
            key=free_key(f"{record.key}.{name}", tuple(self._steps.values())),
            runbook=record.runbook,
            step=step,
            capability=Capability(action=action, nature=nature, barrier=Barrier.STARTED),
            subjects=record.subjects[:1],
            params=params,
        )
        for other in self._steps.values():
            same = (other.capability, other.params) == (new.capability, new.params)
            if same and (nature is Nature.TASK or other.state in MOVING):
                return
        self._steps[new.key] = new
        self._tasks.append(asyncio.create_task(self._take(new.key)))

    async def _open_again(self, key: str) -> None:
        """Let go of what was held for its term, as a responder has just decided."""
        held = self._steps[str(self._steps[key].params["opens"])]
        decision = self._steps[key].votes[-1].decision
        release = Release(by=decision.responder, reason=decision.reason, steps=(held.key,))
        pause = FIRST_RETRY
        while why := _held_back_by(await self._let_go(self._steps[held.key], release)):
            pause = await self._held_back(key, why, pause)
            if key in self._stopped:
                self._end(key, StepState.SKIPPED, CANCELLED)
                return
        self._end(key, StepState.DONE, f"{held.key} is {self._steps[held.key].state}")

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
        answers = await asyncio.gather(*(self._let_go(step, release) for step in holding))
        given_back = [one for answer in answers for one in answer if not one.problem]
        return Released(
            ruling=ruling,
            steps=tuple(self._steps[step.key] for step in holding),
            still_held=tuple(h.incident for one in given_back for h in one.lease.holders),
        )

    async def _let_go(self, record: StepRecord, release: Release) -> list[Returned]:
        """Give the leases of a step back; return the answers."""
        answers: list[Returned] = []
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
            answers.append(returned)
            now = self._steps[record.key]
            self._set(record.key, receipts=(*now.receipts, *returned.receipts))
            if returned.held_back:
                self._tell("release.held_back", record.key, returned.problem)
                self._set(record.key, reason=f"not released: {returned.problem}")
                continue
            if returned.problem:
                self._end(record.key, StepState.FAILED, f"release: {returned.problem}")
                continue
            self._set(record.key, leases=tuple(held for held in now.leases if held != lease))
        if not self._steps[record.key].leases:
            self._end(record.key, StepState.RELEASED, f"{release.by}: {release.reason}")
        return answers

    # Containments

    def _take_note(self, notice: Notice) -> None:
        record = self._steps.get(notice.step)
        if record is None or notice.lease not in record.leases:
            return
        if notice.term_is_over:
            self._tell("containment.term_over", record.key, notice.lease)
            self._ask_to_open(record)
        if notice.proof is None:
            return
        digest = notice.proof.plan_digest
        others = tuple(proof for proof in record.proofs if proof.plan_digest != digest)
        proofs = (*others, notice.proof)
        self._set(record.key, proofs=proofs)
        if record.state in SUCCEEDED:
            self._end(record.key, state_of(proofs), doubts(proofs))
        self._raise_alarm(record, (notice.proof,))

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


def _term(step: Step, plans: tuple[Plan, ...]) -> timedelta | None:
    """Return how long to hold: longer each time that the same comes back."""
    if step.term is None:
        return None
    times = max((plan.held_before for plan in plans), default=0)
    return step.term * (1 << min(times, MOST_DOUBLED))


def _reversed(change: Change) -> Change:
    return change.model_copy(update={"before": change.after, "after": change.before})


def _broken(task: asyncio.Task[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


def _lets_on(evidence: StepRecord) -> bool:
    """Whether the steps that need this evidence may be applied."""
    started = evidence.state is StepState.STARTED
    return (
        started and evidence.capability.barrier is Barrier.STARTED
    ) or evidence.state not in MOVING


def _held_back_by(answers: list[Returned]) -> str:
    """Say why what was to be let go of is held still, or nothing."""
    return next((answer.problem for answer in answers if answer.held_back), "")


def _holds(grant: Grant, incident: str, step: str) -> bool:
    return any((h.incident, h.step) == (incident, step) for h in grant.lease.holders)


def _said(message: Decision | Release | Close, ruling: Ruling) -> str:
    who = message.responder if isinstance(message, Decision) else message.by
    return f"{who}: {message.reason}" + (f" (refused: {ruling.reason})" if ruling.reason else "")
