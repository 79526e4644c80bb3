"""What the events of one history say was brought to a workflow, and how it was ruled on."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from firedoor.model.base import digest
from firedoor.model.decision import Ruling, Vote
from firedoor.model.incident import Incident, Opening, Released
from firedoor.model.warden import Instructed
from firedoor.model.word import (
    Close,
    Decision,
    Instruction,
    Question,
    Ratification,
    Release,
    Signed,
    Voucher,
)

T = TypeVar("T", bound=BaseModel)

Answer = Released | Instructed

UPDATES: Mapping[str, type[Signed[Any]]] = {
    "decide": Signed[Decision],
    "ratify": Signed[Ratification],
    "release": Signed[Release],
    "close": Signed[Close],
    "instruct": Signed[Instruction],
}
"""What people say, by the name of the message."""

ANSWERS: Mapping[str, type[Answer]] = {"release": Released, "instruct": Instructed}
"""What is answered to it, if that is more than a ruling."""

SIGNAL = "vote"
ATTEST = "approvals.attest"
INCIDENT, WARDEN = "Incident", "Warden"


class Brought(NamedTuple):
    """A word as it came, and how it was ruled on."""

    event: int
    """The event that brought it; 1, if an earlier run heard it."""
    at: datetime
    now: datetime
    """The workflow's clock as it ruled."""
    said: Signed[Any] | None
    """Nothing, if what came is no signed word."""
    ruling: Ruling | None
    """Nothing, if it is not on record."""
    voucher: Voucher | None


class _Asked(NamedTuple):
    """A question whose word something is, with what came of it."""

    event: int
    question: Question
    answered: int
    voucher: Voucher


class Record:
    """One run of a workflow, as its history tells it.

    Raises `ValueError` if it is not of a version that this code can read.
    """

    def __init__(self, history: WorkflowHistory) -> None:
        self._events = list(history.events)
        started = self._events[0].workflow_execution_started_event_attributes
        self.kind = started.workflow_type.name
        self.run = started.original_execution_run_id
        self.first_run = started.first_execution_run_id
        """The run that words name: an incident whose history grows long goes on as another one."""
        self.opening: Opening | None = None
        if self.kind == INCIDENT:
            self.opening = _value(started.input.payloads, Opening)
        self._times = {event.event_id: _time(event) for event in self._events}
        # Only tasks that came to their end moved the workflow, and its clock.
        self._tasks = [
            (event.event_id, event.workflow_task_completed_event_attributes.started_event_id)
            for event in self._events
            if event.HasField("workflow_task_completed_event_attributes")
        ]
        self._asked = list(_answers(self._events))
        self._left = _left(self._events[-1]) if self.kind == INCIDENT else None

    def brought(self) -> Iterator[Brought]:
        """Yield the votes that an earlier run heard, then the words that this one did."""
        for vote in _votes(self.opening.carried if self.opening else None):
            at = vote.received_at
            yield Brought(1, at, at, vote.said, vote.ruling, vote.voucher)
        if self.kind not in (INCIDENT, WARDEN):
            return
        for event in self._events:
            if event.HasField("workflow_execution_update_accepted_event_attributes"):
                sent = event.workflow_execution_update_accepted_event_attributes.accepted_request
                if sent.input.name in UPDATES:
                    yield self._update(event, sent.input.name, sent.input.args.payloads)
            elif event.HasField("workflow_execution_signaled_event_attributes"):
                signal = event.workflow_execution_signaled_event_attributes
                if signal.signal_name == SIGNAL:
                    yield self._signal(event, signal.input.payloads)

    def _update(self, event: HistoryEvent, name: str, payloads: Sequence[Payload]) -> Brought:
        said = _value(payloads, UPDATES[name])
        asked = self._answer(event.event_id, said)
        before = [started for done, started in self._tasks if done < event.event_id]
        now = self._times[before[-1]] if before else _time(event)
        return Brought(
            event=event.event_id,
            at=_time(event),
            now=self._after(asked.answered, now) if asked else now,
            said=said,
            ruling=self._answered(event.event_id, name),
            voucher=asked.voucher if asked else None,
        )

    def _signal(self, event: HistoryEvent, payloads: Sequence[Payload]) -> Brought:
        """Return a vote that nobody was answered; its ruling is among the votes at the end."""
        said = _vote(payloads)
        asked = self._answer(event.event_id, said) if said else None
        return Brought(
            event=event.event_id,
            at=_time(event),
            now=self._after(asked.answered if asked else event.event_id, _time(event)),
            said=said,
            ruling=self._recorded(said),
            voucher=asked.voucher if asked else None,
        )

    def _after(self, event: int, otherwise: datetime) -> datetime:
        """Return the clock of the first task that began after an event."""
        found = (self._times[started] for _, started in self._tasks if started > event)
        return next(found, otherwise)

    def _answer(self, event: int, said: Signed[Any]) -> _Asked | None:
        """Return what came of asking whose word it is; each answer is for one message."""
        about = (digest(said.word), said.attestation)
        for asked in self._asked:
            if asked.event > event and (asked.question.digest, asked.question.attestation) == about:
                self._asked.remove(asked)
                return asked
        return None

    def _answered(self, event: int, name: str) -> Ruling | None:
        """Return the answer to an update."""
        for other in self._events:
            completed = other.workflow_execution_update_completed_event_attributes
            if completed.accepted_event_id != event:
                continue
            if completed.outcome.HasField("failure"):
                return Ruling(accepted=False, reason=completed.outcome.failure.message)
            given = completed.outcome.success.payloads
            kind = ANSWERS.get(name)
            return _value(given, kind).ruling if kind else _value(given, Ruling)
        return None

    def _recorded(self, said: Signed[Any] | None) -> Ruling | None:
        if said is None:  # the workflow could not read it either, and passed it over
            return Ruling(accepted=False, reason="passed over")
        if self._left is None:
            return None
        found = [vote.ruling for vote in _votes(self._left) if vote.said.digest == said.digest]
        if not found:
            return Ruling(accepted=False, reason="it is not among the votes that are kept")
        return next((ruling for ruling in found if ruling.accepted), found[-1])


def _value(payloads: Sequence[Payload], kind: type[T]) -> T:
    if not payloads:
        raise ValueError(f"there is no {kind.__name__} in it")
    return kind.model_validate_json(payloads[0].data)


def _vote(payloads: Sequence[Payload]) -> Signed[Decision] | None:
    """Return what a signal brought: anybody may send anything."""
    try:
        return _value(payloads, Signed[Decision])
    except (ValidationError, ValueError):
        return None


def _time(event: HistoryEvent) -> datetime:
    return event.event_time.ToDatetime(UTC)


def _answers(events: Sequence[HistoryEvent]) -> Iterator[_Asked]:
    """Yield each question whose word something is, once it was answered or given up."""
    questions: dict[int, Question] = {}
    for event in events:
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name == ATTEST:
            questions[event.event_id] = _value(scheduled.input.payloads, Question)
        for ended in (
            event.activity_task_completed_event_attributes,
            event.activity_task_failed_event_attributes,
            event.activity_task_timed_out_event_attributes,
        ):
            if question := questions.pop(ended.scheduled_event_id, None):
                voucher = _voucher(event)
                yield _Asked(ended.scheduled_event_id, question, event.event_id, voucher)


def _voucher(event: HistoryEvent) -> Voucher:
    if event.HasField("activity_task_completed_event_attributes"):
        return _value(event.activity_task_completed_event_attributes.result.payloads, Voucher)
    failed = event.activity_task_failed_event_attributes.failure.message
    return Voucher(problem=failed or "nobody answered in time")


def _left(last: HistoryEvent) -> Incident | None:
    """Return the incident as a run left it, if that has ended or goes on as another one."""
    if last.HasField("workflow_execution_completed_event_attributes"):
        ended = last.workflow_execution_completed_event_attributes
        return _value(ended.result.payloads, Incident) if ended.result.payloads else None
    if last.HasField("workflow_execution_continued_as_new_event_attributes"):
        goes_on = last.workflow_execution_continued_as_new_event_attributes
        return _value(goes_on.input.payloads, Opening).carried
    return None


def _votes(incident: Incident | None) -> Iterator[Vote]:
    for step in incident.steps if incident else ():
        yield from step.votes
