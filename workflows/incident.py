"""The incident: one subject, all findings about it, and the steps that its runbooks call for."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

from firedoor.approvals.judge import (
    chosen,
    may_close,
    may_release,
    rule_for,
    unratified,
)
from firedoor.approvals.reopening import OPEN_AGAIN, reopening
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
from firedoor.model.decision import Proposal, Ruling
from firedoor.model.finding import Principal, Resource
from firedoor.model.incident import (
    MOVING,
    SUCCEEDED,
    Arrival,
    Capability,
    Incident,
    Opening,
    Order,
    Released,
    Status,
    StepRecord,
    StepState,
    Work,
    doubts,
    state_of,
)
from firedoor.model.message import Occasion
from firedoor.model.plan import Plan, Proof, Receipt, Target, Verdict
from firedoor.model.policy import Autonomy
from firedoor.model.runbook import Approval, Step
from firedoor.model.warrant import Reopening
from firedoor.model.word import (
    Close,
    Decision,
    Ratification,
    Release,
    Signed,
    Voucher,
)
from firedoor.triage import free_key, steps_for
from workflows.book import Book
from workflows.bulletin import Bulletin
from workflows.calls import (
    PATIENCE,
    PATIENCE_TO_FOLLOW,
    PATIENCE_TO_REVERT,
    call,
    kind,
    reason,
)
from workflows.voices import Voices

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
        self._book = Book(opening)
        self._voices = Voices(self._book)
        self._bulletin = Bulletin(self._book)
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by step
        self._reminders: dict[str, asyncio.Task[None]] = {}  # of what is to be ratified, by step
        self._went_on = 0  # how often waiting incidents were told to go on
        self._close: Close | None = None

    @workflow.run
    async def run(self, opening: Opening) -> Incident:
        """Take every step that the findings call for, then watch until a person closes it."""
        if opening.carried is None:
            self._book.tell("policy.pinned", detail=self._book.policy_digest)
            self._receive(opening.arrival)
        self._go_on()
        while not self._is_over():
            await self._next_turn()
            self._raise_bugs()
            if self._is_full():
                workflow.continue_as_new(
                    Opening(arrival=opening.arrival, carried=self._book.incident())
                )
        self._book.closed_at = workflow.now()
        self._book.publish()
        return self._book.incident()

    # Messages

    @workflow.signal(description="A finding about this subject")
    async def arrive(self, arrival: Arrival) -> None:
        """Join a finding to the incident; repeats are harmless."""
        self._receive(arrival)

    @workflow.update(description="Approve or deny the plan of a step")
    async def decide(self, said: Signed[Decision]) -> Ruling:
        """Rule on a vote. Refused votes are accepted as messages, so that they are on record."""
        return await self._voices.vote(said)

    @workflow.signal(description="Approve or deny, without waiting for the answer")
    async def vote(self, said: RawValue) -> None:
        """Rule on a vote that chat or automation brings, if a flood leaves the time.

        It comes unread: to read thousands at once takes longer than a turn may last.
        """
        if vote := self._voices.read(said):
            await self._voices.vote(vote)

    @workflow.update(description="Approve or deny what was done under standing authority")
    async def ratify(self, said: Signed[Ratification]) -> Ruling:
        """Rule on a vote about what was done already."""
        return await self._voices.vote(said)

    @workflow.update(description="Let containments go")
    async def release(self, said: Signed[Release]) -> Released:
        """Give the leases of some or all steps back, and answer when that is done."""
        return await self._release(said)

    @workflow.update(description="End the incident")
    async def close(self, said: Signed[Close]) -> Ruling:
        """End the incident, if nothing is held and nothing under way."""
        voucher = await self._voices.vouched(said)
        ruling = may_close(said, self._book.case(), voucher)
        self._voices.hear("incident.closed" if ruling.accepted else "close.refused", said, ruling)
        if ruling.accepted:
            self._close = said.word
        return ruling

    @decide.validator
    def _may_decide(self, said: Signed[Decision]) -> None:
        self._voices.stop_floods(said)

    @ratify.validator
    def _may_ratify(self, said: Signed[Ratification]) -> None:
        self._voices.stop_floods(said)

    @release.validator
    def _may_release(self, said: Signed[Release]) -> None:
        self._voices.stop_floods(said)

    @close.validator
    def _may_close(self, said: Signed[Close]) -> None:
        self._voices.stop_floods(said)

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
        return self._book.incident()

    # Findings

    def _receive(self, arrival: Arrival) -> None:
        """Join a finding, and start the steps that it calls for."""
        finding = arrival.finding
        known = self._book.findings.get(finding.id)
        if known is not None and known.updated_at >= finding.updated_at:
            return
        self._book.findings[finding.id] = finding
        event = "finding.arrived" if known is None else "finding.repeated"
        self._book.tell(
            event, detail=f"{finding.type}, severity {finding.severity:g}, seen {finding.count}x"
        )
        self._close = None  # what arrives while a person closes must not be lost
        if finding.sample:
            self._book.tell("finding.sample", detail="a sample finding never acts")
        else:
            self._start_steps(arrival)
        self._book.publish()

    def _start_steps(self, arrival: Arrival) -> None:
        if arrival.runbook.id not in self._book.runbooks:
            self._book.runbooks.append(arrival.runbook.id)
            detail = f"{arrival.runbook.id} {arrival.runbook.digest}"
            self._book.tell("runbook.started", detail=detail)
        for record in steps_for(arrival, tuple(self._book.steps.values())):
            if record.key in self._book.steps:
                self._book.set(record.key, needs=record.needs)
                waits = ", ".join(record.needs) or "nothing"
                self._book.tell("step.hurried", record.key, f"it waits for {waits}")
            else:
                self._begin(record.model_copy(update={"requester": arrival.requester}))

    def _begin(self, record: StepRecord) -> None:
        """Add a step, and take it."""
        self._book.steps[record.key] = record
        self._tasks[record.key] = asyncio.create_task(self._take(record.key))

    def _go_on(self) -> None:
        """Take up what an earlier run left: steps that wait, and reminders."""
        for record in self._book.steps.values():
            if record.state in MOVING and record.key not in self._tasks:
                self._tasks[record.key] = asyncio.create_task(self._take(record.key))
            if unratified(record) and record.key not in self._reminders:
                self._reminders[record.key] = asyncio.create_task(self._remind(record.key))

    # One step

    async def _take(self, key: str) -> None:
        """Plan, ask, apply and verify one step; from the start again if the plan went stale."""
        try:
            fresh = self._book.steps[key].state is StepState.WAITING
            if fresh and not await self._is_its_turn(key):
                return
            for _ in range(MOST_PLANS):
                proposal = await self._plan(key)
                if proposal is None or not await self._is_allowed(key, proposal):
                    return
                await self._evidence_is_safe(key)
                if await self._apply(key, proposal):
                    return
            self._book.end(
                key, StepState.FAILED, f"the target changed after each of {MOST_PLANS} plans"
            )
        except ActivityError as error:
            if kind(error) == "HeldBack":  # and the incident was cancelled while it waited
                self._book.end(key, StepState.SKIPPED, CANCELLED)
            else:
                self._book.end(key, StepState.FAILED, reason(error))

    async def _is_its_turn(self, key: str) -> bool:
        """Wait for what it needs to come about; what did not is a reason to skip it.

        Evidence is waited for later: meanwhile the plan can be made, and people can read it.
        """
        needs = [need for need in self._book.steps[key].needs if not self._is_evidence(need)]
        await workflow.wait_condition(
            lambda: all(self._book.steps[need].state not in MOVING for need in needs)
        )
        for need in (self._book.steps[n] for n in needs):
            if need.state not in SUCCEEDED:
                self._book.end(key, StepState.SKIPPED, f"needs {need.key}, which is {need.state}")
                return False
        return True

    async def _evidence_is_safe(self, key: str) -> None:
        """Wait until the evidence that it needs is started, or has failed: that stops nothing."""
        await workflow.wait_condition(
            lambda: all(
                _lets_on(self._book.steps[need])
                for need in self._book.steps[key].needs  # looked up anew: they can become fewer
                if self._is_evidence(need)
            )
        )

    def _is_evidence(self, key: str) -> bool:
        return self._book.steps[key].capability.nature is Nature.EVIDENCE

    async def _plan(self, key: str) -> Proposal | None:
        """Return what to put to a person, or None if there is nothing to do or it is forbidden."""
        if self._book.steps[key].state is StepState.ASKING:  # since before this run
            return self._book.steps[key].proposal
        record = self._book.set(key, state=StepState.PLANNING, reason="")
        if not record.subjects:
            self._book.end(key, StepState.DONE, f"the finding names no {record.step.on}")
            return None
        if record.capability.nature is Nature.RELEASE:
            planned = [self._plan_opening(record)]
        else:
            planned = await asyncio.gather(*(self._plan_for(record, s) for s in record.subjects))
        plans = tuple(plan for plans in planned for plan in plans)
        for plan in plans:
            for refusal in plan.refusals:
                self._book.tell("plan.refused", key, f"{plan.summary}: {refusal}")
        good = tuple(plan for plan in plans if not plan.refusals)
        proposal = Proposal(step=key, plans=good, term=_term(record.step, good))
        if not plans:
            self._book.end(key, StepState.DONE, "there is nothing to do")
            return None
        if not good:
            refusals = "; ".join(r for plan in plans for r in plan.refusals)
            gone = all(plan.gone for plan in plans)
            self._book.end(key, StepState.GONE if gone else StepState.REFUSED, refusals)
            self._set_tasks(record, plans)
            return None
        self._book.set(key, proposal=proposal, plan_digest=proposal.digest, tier=0)
        self._book.tell("step.planned", key, "; ".join(plan.summary for plan in proposal.plans))
        return proposal

    async def _plan_for(self, record: StepRecord, subject: Resource | Principal) -> list[Plan]:
        target = Target(
            subject=subject,
            incident=self._book.id,
            step=record.key,
            at=workflow.now(),
            spared=self._book.policy.protected.principals,
        )
        return await call(
            f"{record.capability.action}.plan",
            Order(target=target, params=record.params, policy=self._book.policy),
            list[Plan],
            PATIENCE[record.capability.nature],
            f"{record.key}: plan",
            self._book.queue(subject),
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
        record = self._book.steps[key]
        changes = _is_theirs(record) or any(plan.calls for plan in proposal.plans)
        autonomy = self._autonomy(record)
        asked = record.state is StepState.ASKING  # since before this run, so nothing overtakes that
        if changes and autonomy is Autonomy.SHADOW:
            self._book.end(key, StepState.SHADOWED, f"{record.runbook} only plans in this account")
            return False
        if not changes:
            self._book.tell("step.authorised", key, "nothing has to be changed")
        elif not asked and autonomy is Autonomy.AUTO and (by := self._authority(record)):
            self._book.tell("step.authorised", key, by)
            self._book.set(key, standing=record.capability.nature is Nature.CONTAINMENT)
        elif not await self._ask(key):
            return False
        self._set_tasks(record, proposal.plans)
        self._book.set(key, state=StepState.APPLYING)
        return True

    def _authority(self, record: StepRecord) -> str:
        """Return by what standing authority nobody has to be asked before, or nothing."""
        if _is_theirs(record):
            return ""
        if record.step.approval is Approval.AUTO:
            return f"by runbook {record.runbook}"
        rule, severity = rule_for(record, self._book.policy), self._book.severity()
        if rule.standing and severity in rule.standing.severities:
            return f"by rule {rule.id}, as the severity is {severity}"
        return ""

    def _autonomy(self, record: StepRecord) -> Autonomy:
        """Return how far the step may go by itself: as its most restricted subject allows."""
        found = {
            self._book.policy.autonomy_of(record.runbook, subject.account, subject.region)
            for subject in record.subjects
        }
        return next(a for a in Autonomy if a in found)

    async def _ask(self, key: str) -> bool:
        """Wait for a decision on the plan, tier by tier of the escalation; silence is no."""
        record = self._book.steps[key]
        lengths = rule_for(record, self._book.policy).waits(record.step.deadline)
        for tier in range(record.tier, len(lengths)):
            if self._book.steps[key].state is not StepState.ASKING or tier > record.tier:
                self._request(key, tier, lengths[tier])
            deadline = self._book.steps[key].deadline or workflow.now()
            with suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._book.steps[key].state is not StepState.ASKING,
                    timeout=max(deadline - workflow.now(), timedelta(0)),
                    timeout_summary=f"{key}: deadline",
                )
                return self._book.steps[key].state is StepState.APPLYING
        why = f"nobody decided within {sum(lengths, timedelta(0))}"
        self._book.end(key, StepState.EXPIRED, why)
        self._bulletin.announce(Occasion.EXPIRED, key, f"{why}, which is no")
        return False

    def _request(self, key: str, tier: int, within: timedelta) -> None:
        """Ask for a decision; from the second time on, others than before."""
        rule = rule_for(self._book.steps[key], self._book.policy)
        deadline = workflow.now() + within
        self._book.set(key, state=StepState.ASKING, deadline=deadline, tier=tier, standing=False)
        if tier == 0:
            self._book.tell("approval.requested", key, f"within {within}, by rule {rule.id}")
            self._bulletin.announce(Occasion.ASKED, key)
        else:
            to = ", ".join(rule.escalation[tier - 1].to)
            self._book.tell("approval.escalated", key, f"to {to}, within {within}")
            self._bulletin.announce(Occasion.ESCALATED, key, f"Nobody has decided; {to} may, too.")

    async def _apply(self, key: str, proposal: Proposal) -> bool:
        """Bring the effect about; False asks for a new plan."""
        if key in self._book.stopped:
            self._book.end(key, StepState.SKIPPED, CANCELLED)
            return True
        match self._book.steps[key].capability.nature:
            case Nature.CONTAINMENT:
                return await self._contain(key, proposal)
            case Nature.EVIDENCE:
                await self._preserve(key, proposal)
            case Nature.RECORD | Nature.TASK:
                receipts = await self._apply_each(key, proposal)
                if self._book.steps[key].capability.nature is Nature.RECORD:
                    occasion = Occasion(str(self._book.steps[key].params.get("occasion", "told")))
                    self._bulletin.announce(occasion, key, _words(proposal))
                self._book.end(key, StepState.DONE, self._book.signed_off(key), receipts=receipts)
            case Nature.RELEASE:
                await self._open_again(key)
        return True

    async def _contain(self, key: str, proposal: Proposal) -> bool:
        """Claim the lease of every plan; those that were granted stay held if others are stale."""
        record, patience = self._book.steps[key], PATIENCE[Nature.CONTAINMENT]
        claims = [
            Claim(
                incident=self._book.id,
                step=key,
                plan=plan,
                by=self._book.approver(key),
                warrant=self._book.warrant(key, proposal),
                term=proposal.term,
                queue=self._book.queue(plan.target.subject),
            )
            for plan in proposal.plans
        ]
        # On record before the attempt: what is never answered may be held all the same.
        leases = dict.fromkeys((*record.leases, *(containment_id(c.plan) for c in claims)))
        self._book.set(key, leases=tuple(leases))
        grants = await asyncio.gather(*(self._claim(key, claim, patience) for claim in claims))
        held = [grant.lease for grant in grants if _holds(grant, self._book.id, key)]
        for grant in grants:
            if grant.lease not in held:
                del leases[grant.lease.id]
        proofs = tuple(lease.proof for lease in held if lease.proof is not None)
        receipts = tuple(receipt for lease in held for receipt in lease.receipts)
        self._book.set(key, leases=tuple(leases), proofs=proofs, receipts=receipts)
        if stale := [g.reason for g in grants if g.kind is GrantKind.STALE]:
            self._book.tell("plan.stale", key, "; ".join(stale))
            return False
        if failed := [g.reason for g in grants if g.kind is GrantKind.FAILED]:
            self._book.end(key, StepState.FAILED, "; ".join(failed))
        elif any(grant.kind is GrantKind.HELD_BACK for grant in grants):
            self._book.end(key, StepState.SKIPPED, CANCELLED)
        else:
            self._book.end(key, state_of(proofs), doubts(proofs))
            self._ask_afterwards(key)
        self._raise_alarm(record, proofs)
        return True

    def _ask_afterwards(self, key: str) -> None:
        """Ask people to speak on what was done under standing authority."""
        if not unratified(self._book.steps[key]):
            return
        self._remember_to_ratify(key)
        self._bulletin.announce(Occasion.RATIFY, key)
        self._reminders[key] = asyncio.create_task(self._remind(key))

    def _remember_to_ratify(self, key: str) -> None:
        standing = rule_for(self._book.steps[key], self._book.policy).standing
        within = standing.ratify_within if standing else TIME_TO_RATIFY
        self._book.set(key, ratify_by=workflow.now() + within)
        self._book.tell("ratification.requested", key, f"within {within}")

    async def _remind(self, key: str) -> None:
        """Ask again and again until what was done is ratified, or is not."""
        while unratified(self._book.steps[key]):
            until = self._book.steps[key].ratify_by or workflow.now()
            try:
                await workflow.wait_condition(
                    lambda: not unratified(self._book.steps[key]),
                    timeout=max(until - workflow.now(), timedelta(0)),
                    timeout_summary=f"{key}: ratify",
                )
            except TimeoutError:
                self._remember_to_ratify(key)
                self._bulletin.announce(Occasion.RATIFY, key, "This is overdue.")

    async def _claim(self, key: str, claim: Claim, patience: timedelta) -> Grant:
        """Claim a lease; while changes are held back, wait and claim it again."""
        pause = FIRST_RETRY
        while True:
            grant = await call("containment.claim", claim, Grant, patience, f"{key}: claim")
            if grant.kind is not GrantKind.HELD_BACK:
                return grant
            pause = await self._held_back(key, grant.reason, pause)
            if key in self._book.stopped:
                return grant
            claim = claim.model_copy(update={"attempt": claim.attempt + 1})

    async def _held_back(self, key: str, why: str, pause: timedelta) -> timedelta:
        """Wait until changes may be tried again, and return how long to wait the next time."""
        state, went_on = self._book.steps[key].state, self._went_on
        self._book.set(key, state=StepState.HELD_BACK, reason=why)
        self._book.tell("step.held_back", key, why)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._went_on != went_on or key in self._book.stopped,
                timeout=pause,
                timeout_summary=f"{key}: held back",
            )
        self._book.set(key, state=state, reason="")
        return min(2 * pause, LAST_RETRY)

    async def _preserve(self, key: str, proposal: Proposal) -> None:
        """Start the evidence, let the steps that need it go on, and follow it to its end."""
        receipts = await self._apply_each(key, proposal)
        evidence = tuple(item for receipt in receipts for item in receipt.evidence)
        self._book.set(
            key, state=StepState.STARTED, receipts=receipts, evidence=evidence, reason=""
        )
        what = [item.name for item in evidence] or [plan.summary for plan in proposal.plans]
        self._book.tell("evidence.started", key, ", ".join(what))
        proofs = tuple(await asyncio.gather(*(self._follow(key, plan) for plan in proposal.plans)))
        found = {item.uri: item for proof in proofs for item in proof.evidence}
        kept = {item.uri: item for item in evidence} | found
        self._book.end(
            key, state_of(proofs), doubts(proofs), proofs=proofs, evidence=tuple(kept.values())
        )

    async def _follow(self, key: str, plan: Plan) -> Proof:
        """Look at evidence in the making until it is there or has failed.

        Between looks it is applied again: what has to wait for an earlier part, as a copy waits for
        its snapshot, is done as soon as it can be.
        """
        pause, until = FIRST_LOOK, workflow.now() + EVIDENCE_PATIENCE
        work, queue = self._work(key, plan), self._book.queue(plan.target.subject)
        ends = self._book.steps[key].capability.barrier is Barrier.ENDED
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
                self._book.set(key, receipts=(*self._book.steps[key].receipts, receipt))

    async def _apply_each(self, key: str, proposal: Proposal) -> tuple[Receipt, ...]:
        patience = PATIENCE[self._book.steps[key].capability.nature]
        applied = (self._carry_out(key, plan, patience) for plan in proposal.plans)
        return tuple(await asyncio.gather(*applied))

    async def _carry_out(self, key: str, plan: Plan, patience: timedelta) -> Receipt:
        """Apply a plan that is no containment; while changes are held back, wait and try again."""
        pause, work = FIRST_RETRY, self._work(key, plan)
        what, queue = f"{key}: apply", self._book.queue(plan.target.subject)
        while True:
            try:
                return await call(f"{plan.action}.apply", work, Receipt, patience, what, queue)
            except ActivityError as error:
                if kind(error) != "HeldBack":
                    raise
                pause = await self._held_back(key, reason(error), pause)
                if key in self._book.stopped:
                    raise

    def _work(self, key: str, plan: Plan) -> Work:
        return Work(plan=plan, by=self._book.approver(key))

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
            key=free_key(f"{record.key}.{name}", tuple(self._book.steps.values())),
            runbook=record.runbook,
            runbook_digest=record.runbook_digest,
            requester=record.requester,
            step=step,
            capability=Capability(action=action, nature=nature, barrier=Barrier.STARTED),
            subjects=record.subjects[:1],
            params=params,
        )
        for other in self._book.steps.values():
            same = (other.capability, other.params) == (new.capability, new.params)
            if same and (nature is Nature.TASK or other.state in MOVING):
                return
        self._begin(new)

    async def _open_again(self, key: str) -> None:
        """Let go of what was held for its term, as a responder has just decided."""
        held, pause = self._held_for(key), FIRST_RETRY
        by, why = self._book.approver(key), self._book.last_word(key).reason
        while problem := _held_back_by(
            await self._let_go(self._book.steps[held.key], by, why, opener=key)
        ):
            pause = await self._held_back(key, problem, pause)
            if key in self._book.stopped:
                self._book.end(key, StepState.SKIPPED, CANCELLED)
                return
        self._book.end(key, StepState.DONE, f"{held.key} is {self._book.steps[held.key].state}")

    def _reopening(self, key: str, lease: str) -> Reopening | None:
        """Return by what right a lease is given back at the end of its term."""
        asked, held = self._book.steps[key].proposal, self._held_for(key).proposal
        if asked is None or held is None:
            return None
        plan = next((plan for plan in held.plans if containment_id(plan) == lease), None)
        opening = next((one for one in asked.plans if plan and one.lease == plan.lease), None)
        if plan is None or opening is None:
            return None
        warrant = self._book.warrant(key, asked)
        return Reopening(warrant=warrant, plan=plan, step=key, at=opening.target.at)

    def _held_for(self, key: str) -> StepRecord:
        """Return the step whose term is over, of the one that asks to open it again."""
        return self._book.steps[str(self._book.steps[key].params["opens"])]

    # People

    async def _release(self, said: Signed[Release]) -> Released:
        voucher = await self._voices.vouched(said)
        ruling = may_release(said, self._book.case(), voucher)
        self._voices.hear("release.asked" if ruling.accepted else "release.refused", said, ruling)
        if not ruling.accepted:
            return Released(ruling=ruling)
        release = said.word
        holding = [
            step for step in chosen(release, tuple(self._book.steps.values())) if step.leases
        ]
        by, why = said.word.by, said.word.reason
        answers = await asyncio.gather(
            *(self._let_go(step, by, why, said=said, voucher=voucher) for step in holding)
        )
        given_back = [one for answer in answers for one in answer if not one.problem]
        return Released(
            ruling=ruling,
            steps=tuple(self._book.steps[step.key] for step in holding),
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
                incident=self._book.id,
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
                self._book.end(record.key, StepState.FAILED, f"release: {reason(error)}")
                continue
            answers.append(returned)
            now = self._book.steps[record.key]
            self._book.set(record.key, receipts=(*now.receipts, *returned.receipts))
            if returned.held_back:
                self._book.tell("release.held_back", record.key, returned.problem)
                self._book.set(record.key, reason=f"not released: {returned.problem}")
                continue
            if returned.problem:
                self._book.end(record.key, StepState.FAILED, f"release: {returned.problem}")
                continue
            self._book.set(record.key, leases=tuple(held for held in now.leases if held != lease))
        if not self._book.steps[record.key].leases:
            self._book.end(record.key, StepState.RELEASED, f"{by}: {why}")
        return answers

    # Containments

    def _take_note(self, notice: Notice) -> None:
        record = self._book.steps.get(notice.step)
        if record is None or notice.lease not in record.leases:
            return
        if notice.term_is_over:
            self._book.tell("containment.term_over", record.key, notice.lease)
            self._ask_to_open(record)
        if notice.proof is None:
            return
        digest = notice.proof.plan_digest
        others = tuple(proof for proof in record.proofs if proof.plan_digest != digest)
        proofs = (*others, notice.proof)
        self._book.set(record.key, proofs=proofs)
        if record.state in SUCCEEDED:
            self._book.end(record.key, state_of(proofs), doubts(proofs))
        self._raise_alarm(record, (notice.proof,))

    # The end

    def _is_over(self) -> bool:
        """Whether a person closed it, or it was only a try-out, and nothing is left to answer."""
        wanted = self._close is not None or self._book.status() is Status.SAMPLE
        return wanted and self._is_at_rest()

    def _is_at_rest(self) -> bool:
        return not self._under_way() and workflow.all_handlers_finished()

    def _under_way(self) -> list[str]:
        return [key for key, task in self._tasks.items() if not task.done()]

    def _is_full(self) -> bool:
        """Whether the history is long, and nothing is under way that a new run cannot take up."""
        return (
            workflow.info().is_continue_as_new_suggested()
            and all(self._book.steps[key].state in TAKEN_UP for key in self._under_way())
            and all(task.done() for task in self._bulletin.under_way)
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
        self._book.tell("incident.cancelled", detail=why)
        self._book.stopped = tuple(s.key for s in self._book.steps.values() if s.state in MOVING)
        for step in tuple(self._book.steps.values()):
            if step.state is StepState.ASKING:
                self._book.end(step.key, StepState.SKIPPED, CANCELLED)

    def _raise_bugs(self) -> None:
        """Let an error in our own code stop the workflow task, where operators see it."""
        for task in self._all_tasks():
            if _broken(task):
                task.result()
        self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}
        self._bulletin.under_way = [task for task in self._bulletin.under_way if not task.done()]

    def _all_tasks(self) -> list[asyncio.Task[None]]:
        return [*self._tasks.values(), *self._reminders.values(), *self._bulletin.under_way]


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


def _words(proposal: Proposal) -> str:
    """Return what the runbook wants people to be told."""
    said = [str(plan.params.get("message", plan.summary)) for plan in proposal.plans]
    return "\n".join(said)
