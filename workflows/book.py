"""What is known of an incident while it runs: its findings, its steps, and all that was said."""

from datetime import datetime
from typing import Any

from temporalio import workflow

from firedoor.approvals.judge import Case, counted, electorate, waits
from firedoor.approvals.quorum import Electorate
from firedoor.model.action import Nature
from firedoor.model.decision import Proposal
from firedoor.model.finding import Principal, Resource, Severity, severity_named
from firedoor.model.incident import (
    Entry,
    Incident,
    Opening,
    Status,
    StepRecord,
    StepState,
    assess,
)
from firedoor.model.warrant import Warrant
from firedoor.model.word import Decision, Ratification
from workflows import visibility


class Book:
    """Keeps the record, and tells the server's lists and logs of every change of it."""

    def __init__(self, opening: Opening) -> None:
        carried, arrival = opening.carried, opening.arrival
        self.id = workflow.info().workflow_id
        self.run = workflow.info().first_execution_run_id
        self.subject = arrival.finding.subject
        self.requester = carried.requester if carried else arrival.requester
        self.policy = carried.policy if carried else arrival.policy
        self.policy_digest = self.policy.digest
        self.opened_at = carried.opened_at if carried else workflow.now()
        self.closed_at: datetime | None = None
        self.findings = {f.id: f for f in carried.findings} if carried else {}
        self.runbooks = list(carried.runbooks) if carried else []
        self.steps = {s.key: s for s in carried.steps} if carried else {}
        self.timeline = list(carried.timeline) if carried else []
        self.stopped = carried.stopped if carried else ()
        self.refused = carried.refused if carried else 0
        self.spent = carried.spent if carried else ()
        self._published: tuple[Any, ...] = ()

    # Writing

    def set(self, key: str, **changes: Any) -> StepRecord:
        """Change members of a step."""
        self.steps[key] = self.steps[key].model_copy(update=changes)
        self.publish()
        return self.steps[key]

    def end(self, key: str, state: StepState, why: str = "", **changes: Any) -> None:
        """Bring a step to rest, and say so."""
        self.set(key, state=state, reason=why, ended_at=workflow.now(), **changes)
        self.tell(f"step.{state}", key, why)

    def tell(self, event: str, step: str = "", detail: str = "") -> None:
        """Write a line of the timeline, and of the log."""
        self.timeline.append(Entry(at=workflow.now(), event=event, step=step, detail=detail))
        workflow.logger.info(event, extra={"incident": self.id, "step": step, "detail": detail})

    def publish(self) -> None:
        """Tell the server's lists and its web page how the incident stands, if that changed."""
        status = self.status()
        types = sorted({finding.type for finding in self.findings.values()})
        severity = max(finding.severity for finding in self.findings.values())
        awaiting = any(waits(step) for step in self.steps.values())
        published = (status, types, severity, awaiting, tuple(self.runbooks))
        if published == self._published:
            return
        self._published = published
        workflow.upsert_search_attributes(
            visibility.updates(status, self.subject, self.runbooks, types, severity, awaiting)
        )
        lines = [f"- `{s.key}` {s.state} {s.reason}" for s in self.steps.values()]
        workflow.set_current_details("\n".join([f"**{status}**", "", *lines]))

    # Reading

    def incident(self) -> Incident:
        """Return the incident as it stands."""
        return Incident(
            id=self.id,
            run=self.run,
            status=self.status(),
            subject=self.subject,
            requester=self.requester,
            opened_at=self.opened_at,
            closed_at=self.closed_at,
            findings=tuple(self.findings.values()),
            runbooks=tuple(self.runbooks),
            policy=self.policy,
            steps=tuple(self.steps.values()),
            timeline=tuple(self.timeline),
            stopped=self.stopped,
            refused=self.refused,
            spent=self.spent,
        )

    def status(self) -> Status:
        """Return how the incident stands."""
        if self.findings and all(finding.sample for finding in self.findings.values()):
            return Status.SAMPLE
        if self.closed_at is not None:
            return Status.CLOSED
        return assess(tuple(self.steps.values()))

    def severity(self) -> Severity:
        """Return how grave the gravest finding is."""
        return severity_named(max(finding.severity for finding in self.findings.values()))

    def case(self) -> Case:
        """Return what rulings depend on, as it is now."""
        return Case(
            incident=self.id,
            run=self.run,
            policy=self.policy,
            requester=self.requester,
            steps=tuple(self.steps.values()),
            spent=self.spent,
            now=workflow.now(),
        )

    def voters(self, key: str) -> Electorate:
        """Return who may vote on a step now."""
        return electorate(self.steps[key], self.policy, self.requester)

    def approver(self, key: str) -> str:
        """Return who approved the plan that is in force; nobody under standing authority."""
        record = self.steps[key]
        if record.standing:
            return ""
        return "+".join(counted(record, self.policy, self.requester).approved)

    def last_word(self, key: str) -> Decision | Ratification:
        """Return what settled a step."""
        return [vote.word for vote in self.steps[key].votes if vote.ruling.accepted][-1]

    def signed_off(self, key: str) -> str:
        """Return who signed a task off, and what they said."""
        if self.steps[key].capability.nature is not Nature.TASK:
            return ""
        last = self.last_word(key)
        return f"signed off by {last.by}: {last.reason}"

    def warrant(self, key: str, proposal: Proposal) -> Warrant:
        """Return by what right a step is carried out, for workers, who believe no workflow."""
        record, voters = self.steps[key], self.voters(key)
        return Warrant(
            run=self.run,
            policy=self.policy_digest,
            runbook=record.runbook_digest,
            severity=self.severity(),
            requesters=voters.requesters,
            tier=record.tier,
            owners=voters.owners,
            plans=tuple(plan.digest for plan in proposal.plans),
            term=proposal.term,
            votes=() if record.standing else tuple(v for v in record.votes if v.ruling.accepted),
        )

    def queue(self, subject: Resource | Principal) -> str:
        """Return the queue of the workers that may act on a subject; none means all."""
        return self.policy.account(subject.account, subject.region).task_queue or ""
