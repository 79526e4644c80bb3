"""The incident: one subject, all findings about it, and the steps that its runbooks call for."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from firedoor import telling
from firedoor.approvals.hearing import NobodyAsked, NotTheirs, needs_voucher, question, remember
from firedoor.approvals.judge import (
    Case,
    chosen,
    counted,
    electorate,
    heard,
    judge,
    may_close,
    may_release,
    rule_for,
    unratified,
    waits,
)
from firedoor.approvals.reopening import OPEN_AGAIN, reopening
from firedoor.model.action import Barrier, Nature
from firedoor.model.base import canonical
from firedoor.model.containment import (
    Claim,
    Grant,
    GrantKind,
    Notice,
    Return,
    Returned,
    containment_id,
)
from firedoor.model.decision import Proposal, Ruling, Vote
from firedoor.model.finding import Principal, Resource, Severity, severity_named
from firedoor.model.incident import (
    MOVING,
    SUCCEEDED,
    Arrival,
    Capability,
    Entry,
    Incident,
    Opening,
    Order,
    Released,
    Status,
    StepRecord,
    StepState,
    Work,
    assess,
    doubts,
    state_of,
)
from firedoor.model.message import Delivered, Message, Occasion
from firedoor.model.plan import Plan, Proof, Receipt, Target, Verdict
from firedoor.model.policy import Autonomy
from firedoor.model.runbook import Approval, Step
from firedoor.model.warrant import Reopening, Warrant
from firedoor.model.word import (
    Close,
    Decision,
    Ratification,
    Release,
    Signed,
    Voucher,
)
from firedoor.triage import free_key, steps_for
from workflows import visibility
from workflows.calls import (
    PATIENCE,
    PATIENCE_TO_ASK,
    PATIENCE_TO_DELIVER,
    PATIENCE_TO_FOLLOW,
    PATIENCE_TO_REVERT,
    call,
    kind,
    reason,
)

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

# A task is work, not only a decision.
TIME_FOR_A_TASK = timedelta(days=1)

TIME_TO_RATIFY = timedelta(days=1)

# Where steps stand still, so that another run of the incident can take them up as they are.
TAKEN_UP = frozenset({StepState.WAITING, StepState.ASKING})

CANCELLED = "the incident was cancelled"

# How many refused words are kept whole. Who floods an incident with more must not fill its history:
# then only words are taken that are somebody's, and the others are counted.
MOST_REFUSED = 50
LONGEST_REFUSED = 8192  # bytes
TOO_MANY = Voucher(problem="too many words were refused here: sign with an SSH key")

# How many words by signal are looked at in one turn during a flood: a turn that takes seconds is
# taken for a deadlock, and would be tried again for ever. Updates are let in by the server, few at
# a time, so that they come through.
MOST_AT_ONCE = 200


@workflow.defn(name="Incident")
class IncidentWorkflow:
    """Respond to the findings about one subject, until a person closes the incident.

    Signals: `arrive` brings a finding, `vote` a decision, `notice` news of a containment.
    Updates: `decide`, `ratify`, `release` and `close` are a person's signed word, and answer at
    once or when it is done.
    Query: `incident` is all that is known.
    """

    @workflow.init
    def __init__(self, opening: Opening) -> None:
        carried = opening.carried
        self._id = workflow.info().workflow_id
        self._run = workflow.info().first_execution_run_id
        self._requester = carried.requester if carried else opening.arrival.requester
        self._policy = carried.policy if carried else opening.arrival.policy
        self._policy_digest = self._policy.digest
        self._subject = opening.arrival.finding.subject
        self._opened_at = carried.opened_at if carried else workflow.now()
        self._findings = {f.id: f for f in carried.findings} if carried else {}
        self._runbooks = list(carried.runbooks) if carried else []
        self._steps = {s.key: s for s in carried.steps} if carried else {}
        self._timeline = list(carried.timeline) if carried else []
        self._went_on = 0  # how often waiting incidents were told to go on
        self._stopped: tuple[str, ...] = ()  # steps that a cancellation found on their way
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by step
        self._reminders: dict[str, asyncio.Task[None]] = {}  # of what is to be ratified, by step
        self._messages: list[asyncio.Task[None]] = []  # on their way to people
        self._refused = carried.refused if carried else 0
        self._spent = carried.spent if carried else ()
        self._asked_whose = 0  # words of which others are asked at this time whose they are
        self._turn = workflow.now()
        self._at_once = 0  # words by signal in this turn, during a flood
        self._close: Close | None = None
        self._closed_at: datetime | None = None
        self._published: tuple[Any, ...] = ()

    @workflow.run
    async def run(self, opening: Opening) -> Incident:
        """Take every step that the findings call for, then watch until a person closes it."""
        if opening.carried is None:
            self._tell("policy.pinned", detail=self._policy_digest)
            self._receive(opening.arrival)
        self._go_on()
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
    async def decide(self, said: Signed[Decision]) -> Ruling:
        """Rule on a vote. Refused votes are accepted as messages, so that they are on record."""
        return await self._vote(said)

    @workflow.signal(description="Approve or deny, without waiting for the answer")
    async def vote(self, said: RawValue) -> None:
        """Rule on a vote that chat or automation brings, if a flood leaves the time.

        It comes unread: to read thousands at once takes longer than a turn may last.
        """
        if not self._is_swamped() and (vote := _read(said)):
            await self._vote(vote)

    @workflow.update(description="Approve or deny what was done under standing authority")
    async def ratify(self, said: Signed[Ratification]) -> Ruling:
        """Rule on a vote about what was done already."""
        return await self._vote(said)

    @workflow.update(description="Let containments go")
    async def release(self, said: Signed[Release]) -> Released:
        """Give the leases of some or all steps back, and answer when that is done."""
        return await self._release(said)

    @workflow.update(description="End the incident")
    async def close(self, said: Signed[Close]) -> Ruling:
        """End the incident, if nothing is held and nothing under way."""
        ruling = may_close(said, self._case(), await self._vouched(said))
        self._hear("incident.closed" if ruling.accepted else "close.refused", said, ruling)
        if ruling.accepted:
            self._close = said.word
        return ruling

    @decide.validator
    def _may_decide(self, said: Signed[Decision]) -> None:
        self._stop_floods(said)

    @ratify.validator
    def _may_ratify(self, said: Signed[Ratification]) -> None:
        self._stop_floods(said)

    @release.validator
    def _may_release(self, said: Signed[Release]) -> None:
        self._stop_floods(said)

    @close.validator
    def _may_close(self, said: Signed[Close]) -> None:
        self._stop_floods(said)

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
            run=self._run,
            status=self._status(),
            subject=self._subject,
            requester=self._requester,
            opened_at=self._opened_at,
            closed_at=self._closed_at,
            findings=tuple(self._findings.values()),
            runbooks=tuple(self._runbooks),
            policy=self._policy,
            steps=tuple(self._steps.values()),
            timeline=tuple(self._timeline),
            refused=self._refused,
            spent=self._spent,
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
            if record.key in self._steps:
                self._set(record.key, needs=record.needs)
                waits = ", ".join(record.needs) or "nothing"
                self._tell("step.hurried", record.key, f"it waits for {waits}")
            else:
                self._begin(record.model_copy(update={"requester": arrival.requester}))

    def _begin(self, record: StepRecord) -> None:
        """Add a step, and take it."""
        self._steps[record.key] = record
        self._tasks[record.key] = asyncio.create_task(self._take(record.key))

    def _go_on(self) -> None:
        """Take up what an earlier run left: steps that wait, and reminders."""
        for record in self._steps.values():
            if record.state in MOVING and record.key not in self._tasks:
                self._tasks[record.key] = asyncio.create_task(self._take(record.key))
            if unratified(record) and record.key not in self._reminders:
                self._reminders[record.key] = asyncio.create_task(self._remind(record.key))

    # One step

    async def _take(self, key: str) -> None:
        """Plan, ask, apply and verify one step; from the start again if the plan went stale."""
        try:
            fresh = self._steps[key].state is StepState.WAITING
            if fresh and not await self._is_its_turn(key):
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
        await workflow.wait_condition(
            lambda: all(
                _lets_on(self._steps[need])
                for need in self._steps[key].needs  # looked up anew: they can become fewer
                if self._is_evidence(need)
            )
        )

    def _is_evidence(self, key: str) -> bool:
        return self._steps[key].capability.nature is Nature.EVIDENCE

    async def _plan(self, key: str) -> Proposal | None:
        """Return what to put to a person, or None if there is nothing to do or it is forbidden."""
        if self._steps[key].state is StepState.ASKING:  # since before this run
            return self._steps[key].proposal
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
        self._set(key, proposal=proposal, plan_digest=proposal.digest, tier=0)
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
        held = self._held_for(record.key)
        plans = held.proposal.plans if held.proposal and held.leases else ()
        return [reopening(plan, record.key, workflow.now()) for plan in plans]

    async def _is_allowed(self, key: str, proposal: Proposal) -> bool:
        """Ask, unless the runbook gives standing authority or there is nothing to change.

        The policy can say that this runbook only plans in this account, or that it always asks.
        """
        record = self._steps[key]
        changes = _is_theirs(record) or any(plan.calls for plan in proposal.plans)
        autonomy = self._autonomy(record)
        asked = record.state is StepState.ASKING  # since before this run, so nothing overtakes that
        if changes and autonomy is Autonomy.SHADOW:
            self._end(key, StepState.SHADOWED, f"{record.runbook} only plans in this account")
            return False
        if not changes:
            self._tell("step.authorised", key, "nothing has to be changed")
        elif not asked and autonomy is Autonomy.AUTO and (by := self._authority(record)):
            self._tell("step.authorised", key, by)
            self._set(key, standing=record.capability.nature is Nature.CONTAINMENT)
        elif not await self._ask(key):
            return False
        self._set_tasks(record, proposal.plans)
        self._set(key, state=StepState.APPLYING)
        return True

    def _authority(self, record: StepRecord) -> str:
        """Return by what standing authority nobody has to be asked before, or nothing."""
        if _is_theirs(record):
            return ""
        if record.step.approval is Approval.AUTO:
            return f"by runbook {record.runbook}"
        rule, severity = rule_for(record, self._policy), self._severity()
        if rule.standing and severity in rule.standing.severities:
            return f"by rule {rule.id}, as the severity is {severity}"
        return ""

    def _autonomy(self, record: StepRecord) -> Autonomy:
        """Return how far the step may go by itself: as its most restricted subject allows."""
        found = {
            self._policy.autonomy_of(record.runbook, subject.account, subject.region)
            for subject in record.subjects
        }
        return next(a for a in Autonomy if a in found)

    async def _ask(self, key: str) -> bool:
        """Wait for a decision on the plan, tier by tier of the escalation; silence is no."""
        record = self._steps[key]
        lengths = rule_for(record, self._policy).waits(record.step.deadline)
        for tier in range(record.tier, len(lengths)):
            if self._steps[key].state is not StepState.ASKING or tier > record.tier:
                self._request(key, tier, lengths[tier])
            deadline = self._steps[key].deadline or workflow.now()
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._steps[key].state is not StepState.ASKING,
                    timeout=max(deadline - workflow.now(), timedelta(0)),
                    timeout_summary=f"{key}: deadline",
                )
                return self._steps[key].state is StepState.APPLYING
        why = f"nobody decided within {sum(lengths, timedelta(0))}"
        self._end(key, StepState.EXPIRED, why)
        self._announce(Occasion.EXPIRED, key, f"{why}, which is no")
        return False

    def _request(self, key: str, tier: int, within: timedelta) -> None:
        """Ask for a decision; from the second time on, others than before."""
        rule = rule_for(self._steps[key], self._policy)
        deadline = workflow.now() + within
        self._set(key, state=StepState.ASKING, deadline=deadline, tier=tier, standing=False)
        if tier == 0:
            self._tell("approval.requested", key, f"within {within}, by rule {rule.id}")
            self._announce(Occasion.ASKED, key)
        else:
            to = ", ".join(rule.escalation[tier - 1].to)
            self._tell("approval.escalated", key, f"to {to}, within {within}")
            self._announce(Occasion.ESCALATED, key, f"Nobody has decided; {to} may, too.")

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
                if self._steps[key].capability.nature is Nature.RECORD:
                    occasion = Occasion(str(self._steps[key].params.get("occasion", "told")))
                    self._announce(occasion, key, _words(proposal))
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
                warrant=self._warrant(key, proposal),
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
            self._ask_afterwards(key)
        self._raise_alarm(record, proofs)
        return True

    def _ask_afterwards(self, key: str) -> None:
        """Ask people to speak on what was done under standing authority."""
        if not unratified(self._steps[key]):
            return
        self._remember_to_ratify(key)
        self._announce(Occasion.RATIFY, key)
        self._reminders[key] = asyncio.create_task(self._remind(key))

    def _remember_to_ratify(self, key: str) -> None:
        standing = rule_for(self._steps[key], self._policy).standing
        within = standing.ratify_within if standing else TIME_TO_RATIFY
        self._set(key, ratify_by=workflow.now() + within)
        self._tell("ratification.requested", key, f"within {within}")

    async def _remind(self, key: str) -> None:
        """Ask again and again until what was done is ratified, or is not."""
        while unratified(self._steps[key]):
            until = self._steps[key].ratify_by or workflow.now()
            try:
                await workflow.wait_condition(
                    lambda: not unratified(self._steps[key]),
                    timeout=max(until - workflow.now(), timedelta(0)),
                    timeout_summary=f"{key}: ratify",
                )
            except TimeoutError:
                self._remember_to_ratify(key)
                self._announce(Occasion.RATIFY, key, "This is overdue.")

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

    def _warrant(self, key: str, proposal: Proposal) -> Warrant:
        """Return by what right a step is carried out, for workers, who believe no workflow."""
        record = self._steps[key]
        voters = electorate(record, self._policy, self._requester)
        return Warrant(
            run=self._run,
            policy=self._policy_digest,
            runbook=record.runbook_digest,
            severity=self._severity(),
            requesters=voters.requesters,
            tier=record.tier,
            owners=voters.owners,
            plans=tuple(plan.digest for plan in proposal.plans),
            term=proposal.term,
            votes=() if record.standing else tuple(v for v in record.votes if v.ruling.accepted),
        )

    def _work(self, key: str, plan: Plan) -> Work:
        return Work(plan=plan, by=self._approver(key))

    def _approver(self, key: str) -> str:
        """Return who approved the plan that is in force; nobody under standing authority."""
        record = self._steps[key]
        if record.standing:
            return ""
        return "+".join(counted(record, self._policy, self._requester).approved)

    def _said_by(self, key: str) -> str:
        """Return who signed a task off, and what they said."""
        if self._steps[key].capability.nature is not Nature.TASK:
            return ""
        last = self._last_word(key)
        return f"signed off by {last.by}: {last.reason}"

    def _last_word(self, key: str) -> Decision | Ratification:
        """Return what settled a step."""
        return [vote.word for vote in self._steps[key].votes if vote.ruling.accepted][-1]

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
        params = {"message": message, "occasion": Occasion.ALARM}
        self._follow_up(record, "alarm", "records.notify", Nature.RECORD, params)

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
            runbook_digest=record.runbook_digest,
            requester=record.requester,
            step=step,
            capability=Capability(action=action, nature=nature, barrier=Barrier.STARTED),
            subjects=record.subjects[:1],
            params=params,
        )
        for other in self._steps.values():
            same = (other.capability, other.params) == (new.capability, new.params)
            if same and (nature is Nature.TASK or other.state in MOVING):
                return
        self._begin(new)

    async def _open_again(self, key: str) -> None:
        """Let go of what was held for its term, as a responder has just decided."""
        held, pause = self._held_for(key), FIRST_RETRY
        by, why = self._approver(key), self._last_word(key).reason
        while problem := _held_back_by(
            await self._let_go(self._steps[held.key], by, why, opener=key)
        ):
            pause = await self._held_back(key, problem, pause)
            if key in self._stopped:
                self._end(key, StepState.SKIPPED, CANCELLED)
                return
        self._end(key, StepState.DONE, f"{held.key} is {self._steps[held.key].state}")

    def _reopening(self, key: str, lease: str) -> Reopening | None:
        """Return by what right a lease is given back at the end of its term."""
        asked, held = self._steps[key].proposal, self._held_for(key).proposal
        if asked is None or held is None:
            return None
        plan = next((plan for plan in held.plans if containment_id(plan) == lease), None)
        opening = next((one for one in asked.plans if plan and one.lease == plan.lease), None)
        if plan is None or opening is None:
            return None
        warrant = self._warrant(key, asked)
        return Reopening(warrant=warrant, plan=plan, step=key, at=opening.target.at)

    def _held_for(self, key: str) -> StepRecord:
        """Return the step whose term is over, of the one that asks to open it again."""
        return self._steps[str(self._steps[key].params["opens"])]

    # People

    def _case(self) -> Case:
        return Case(
            incident=self._id,
            run=self._run,
            policy=self._policy,
            requester=self._requester,
            steps=tuple(self._steps.values()),
            spent=self._spent,
            now=workflow.now(),
        )

    async def _vouched(self, said: Signed[Any]) -> Voucher | None:
        """Ask those who alone can tell whose word it is, if nothing else speaks against it."""
        if not needs_voucher(said):
            return None
        try:
            heard(said, self._case())
        except NobodyAsked:
            pass
        except NotTheirs:
            return None  # and the ruling will say so
        # Those under way count, too: many at once must not become many activities.
        if self._refused + self._asked_whose >= MOST_REFUSED:
            return TOO_MANY
        about = question(said, self._policy.roster)
        self._asked_whose += 1
        try:
            return await call("approvals.attest", about, Voucher, PATIENCE_TO_ASK, "whose word")
        except ActivityError as error:
            return Voucher(problem=reason(error))
        finally:
            self._asked_whose -= 1

    def _stop_floods(self, said: Signed[Any]) -> None:
        """Refuse without a trace what is nobody's word, once enough of that is on record."""
        if self._refused < MOST_REFUSED:
            return
        try:
            heard(said, self._case(), TOO_MANY)
        except NotTheirs as why:
            raise ApplicationError(f"refused: {why}", type="Refused") from why

    def _is_swamped(self) -> bool:
        """Whether too many words came at once for all to be looked at; then this one is counted."""
        if self._refused < MOST_REFUSED:
            return False
        if self._turn != workflow.now():
            self._turn, self._at_once = workflow.now(), 0
        self._at_once += 1
        if self._at_once <= MOST_AT_ONCE:
            return False
        self._refused += 1
        return True

    async def _vote(self, said: Signed[Any]) -> Ruling:
        """Rule on a decision or a ratification, and do as it says once enough have said so."""
        voucher = await self._vouched(said)
        word = said.word
        record = self._steps.get(word.step)
        for vote in record.votes if record else ():
            if vote.ruling.accepted and vote.said == said:
                return vote.ruling  # the same vote, brought a second time
        ruling, who = judge(said, self._case(), voucher)
        event = f"vote.{word.answer}" if ruling.accepted else "vote.refused"
        kept = self._hear(event, said, ruling, theirs=who is not None)
        if kept and record is not None:
            vote = Vote(
                said=said,
                ruling=ruling,
                received_at=workflow.now(),
                means=said.attestation.means,
                hardware=who is not None and who.hardware,
                voucher=voucher,
            )
            self._set(record.key, votes=(*record.votes, vote))
        if ruling.accepted:
            self._count(word.step)
        return ruling

    def _count(self, key: str) -> None:
        """Go on with a step, or end it, if the votes on it suffice."""
        record = self._steps[key]
        tally = counted(record, self._policy, self._requester)
        last = record.votes[-1].word
        if record.standing:
            if tally.ended or tally.reached:
                self._set(key, ratified=tally.reached)
                self._tell("step.ratified" if tally.reached else "step.disowned", key, last.reason)
        elif tally.ended:
            self._end(key, StepState.DENIED, f"{last.by}: {last.reason}")
        elif tally.reached:
            self._set(key, state=StepState.APPLYING)

    def _hear(self, event: str, said: Signed[Any], ruling: Ruling, *, theirs: bool = False) -> bool:
        """Put a word on record, unless it is one refused word of too many.

        `theirs` says that whoever it names has said it, though it is refused. Returns whether the
        word may be kept whole.
        """
        word = said.word
        if ruling.accepted or theirs:
            self._spent = remember(self._spent, word, workflow.now())
        if not ruling.accepted:
            self._refused += 1
            if self._refused > MOST_REFUSED:
                return False
        why = f" ({'' if ruling.accepted else 'refused: '}{ruling.reason})" if ruling.reason else ""
        self._tell(event, getattr(word, "step", ""), f"{word.by}: {word.reason}{why}")
        if not ruling.accepted and self._refused == MOST_REFUSED:
            self._tell("words.flood", detail="further refused words are only counted")
        return ruling.accepted or len(canonical(said)) <= LONGEST_REFUSED

    async def _release(self, said: Signed[Release]) -> Released:
        voucher = await self._vouched(said)
        ruling = may_release(said, self._case(), voucher)
        self._hear("release.asked" if ruling.accepted else "release.refused", said, ruling)
        if not ruling.accepted:
            return Released(ruling=ruling)
        release = said.word
        holding = [step for step in chosen(release, tuple(self._steps.values())) if step.leases]
        by, why = said.word.by, said.word.reason
        answers = await asyncio.gather(
            *(self._let_go(step, by, why, said=said, voucher=voucher) for step in holding)
        )
        given_back = [one for answer in answers for one in answer if not one.problem]
        return Released(
            ruling=ruling,
            steps=tuple(self._steps[step.key] for step in holding),
            still_held=tuple(h.incident for one in given_back for h in one.lease.holders),
        )

    async def _let_go(
        self,
        record: StepRecord,
        by: str,
        why: str,
        *,
        said: Signed[Release] | None = None,
        voucher: Voucher | None = None,
        opener: str = "",
    ) -> list[Returned]:
        """Give the leases of a step back; return the answers.

        `opener` is the step that asked for it at the end of its term.
        """
        answers: list[Returned] = []
        for lease in record.leases:
            back = Return(
                lease=lease,
                incident=self._id,
                step=record.key,
                by=by,
                reason=why,
                said=said,
                voucher=voucher,
                reopening=self._reopening(opener, lease) if opener else None,
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
            self._end(record.key, StepState.RELEASED, f"{by}: {why}")
        return answers

    def _announce(self, occasion: Occasion, key: str, text: str = "") -> None:
        """Tell people, by every channel that the policy names; nothing waits for that."""
        message = self._message(occasion, key, text)
        for name, route in self._policy.channels.items():
            if route.carries(message):
                self._messages.append(asyncio.create_task(self._deliver(name, message)))

    async def _deliver(self, channel: str, message: Message) -> None:
        """Bring a message; that it does not arrive decides nothing, and is on record."""
        what = f"{message.step}: {message.occasion} by {channel}"
        try:
            done = await call(
                f"records.{channel}.deliver", message, Delivered, PATIENCE_TO_DELIVER, what
            )
        except ActivityError as error:
            self._tell("message.failed", message.step, f"{channel}: {reason(error)}")
        else:
            self._tell("message.delivered", message.step, f"{channel}: {done.answer}")

    def _message(self, occasion: Occasion, key: str, text: str) -> Message:
        record = self._steps[key]
        return telling.message(
            record,
            occasion,
            text,
            id=str(workflow.uuid4()),
            at=workflow.now(),
            incident=self._id,
            run=self._run,
            subject=self._subject.path,
            severity=self._severity(),
            voters=electorate(record, self._policy, self._requester),
        )

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

    def _severity(self) -> Severity:
        return severity_named(max(finding.severity for finding in self._findings.values()))

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
        awaiting = any(waits(step) for step in self._steps.values())
        published = (status, types, severity, awaiting, tuple(self._runbooks))
        if published == self._published:
            return
        self._published = published
        workflow.upsert_search_attributes(
            visibility.updates(status, self._subject, self._runbooks, types, severity, awaiting)
        )
        lines = [f"- `{s.key}` {s.state} {s.reason}" for s in self._steps.values()]
        workflow.set_current_details("\n".join([f"**{status}**", "", *lines]))

    # The end

    def _is_over(self) -> bool:
        """Whether a person closed it, or it was only a try-out, and nothing is left to answer."""
        wanted = self._close is not None or self._status() is Status.SAMPLE
        return wanted and self._is_at_rest()

    def _is_at_rest(self) -> bool:
        return not self._under_way() and workflow.all_handlers_finished()

    def _under_way(self) -> list[str]:
        return [key for key, task in self._tasks.items() if not task.done()]

    def _is_full(self) -> bool:
        """Whether the history is long, and nothing is under way that a new run cannot take up."""
        return (
            workflow.info().is_continue_as_new_suggested()
            and all(self._steps[key].state in TAKEN_UP for key in self._under_way())
            and all(task.done() for task in self._messages)
            and workflow.all_handlers_finished()
        )

    async def _next_turn(self) -> None:
        try:
            await workflow.wait_condition(
                lambda: self._is_over() or self._is_full() or any(map(_broken, self._all_tasks()))
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
        for task in self._all_tasks():
            if _broken(task):
                task.result()
        self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}
        self._messages = [task for task in self._messages if not task.done()]

    def _all_tasks(self) -> list[asyncio.Task[None]]:
        return [*self._tasks.values(), *self._reminders.values(), *self._messages]


def _is_theirs(record: StepRecord) -> bool:
    """Whether it is a person's own decision, even where nothing of it is a call of ours."""
    return record.capability.nature in {Nature.TASK, Nature.RELEASE}


def _term(step: Step, plans: tuple[Plan, ...]) -> timedelta | None:
    """Return how long to hold: longer each time that the same comes back."""
    if step.term is None:
        return None
    times = max((plan.held_before for plan in plans), default=0)
    return step.term * (1 << min(times, MOST_DOUBLED))


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


def _read(said: RawValue) -> Signed[Decision] | None:
    """Return a vote, or None if it is none."""
    converter = workflow.payload_converter()
    try:
        vote: Signed[Decision] = converter.from_payload(said.payload, Signed[Decision])
    except (KeyError, RuntimeError, ValueError):
        workflow.logger.warning("vote.unreadable")
        return None
    return vote


def _words(proposal: Proposal) -> str:
    """Return what the runbook wants people to be told."""
    said = [str(plan.params.get("message", plan.summary)) for plan in proposal.plans]
    return "\n".join(said)
