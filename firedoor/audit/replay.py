"""Replaying a history: does our code, given the same events, give the same commands?

Temporal's own replay compares the kinds and the order of commands, not what they say: a history in
which an activity's argument was altered passes it. So the arguments are compared here as well.
"""

import re
from collections.abc import Sequence
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import (
    Interceptor,
    Replayer,
    SignalExternalWorkflowInput,
    StartActivityInput,
    UnsandboxedWorkflowRunner,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

from firedoor.model.base import Model

CONVERTER = pydantic_data_converter


class Replay(Model):
    """What came of replaying one history."""

    workflow: str
    events: int
    builds: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the code decides today what it decided then."""
        return not self.differences


async def replay(history: WorkflowHistory, workflows: Sequence[type]) -> Replay:
    """Replay a history with these workflow classes: its commands, and what they say.

    Compared are the kinds and the order of all commands, and the arguments of activities and of
    signals to other workflows.

    Needs no server. The history must carry its real workflow id.
    """
    commands = _Commands()
    replayer = Replayer(
        workflows=list(workflows),
        data_converter=CONVERTER,
        # The sandbox gives each run classes of its own: arguments could not be compared in it.
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[commands],
    )
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    if result.replay_failure:
        differences = [_told(result.replay_failure)]
    else:
        recorded = [event for event in history.events if _command(event)]
        differences = _compare(recorded, commands.seen)
    return Replay(
        workflow=history.workflow_id,
        events=len(history.events),
        builds=_builds(history.events),
        differences=tuple(differences),
    )


def parse(text: str, name: str) -> WorkflowHistory:
    """Read an exported history (JSON); its workflow id is in its first event."""
    history = WorkflowHistory.from_json(name, text)
    started = history.events[0].workflow_execution_started_event_attributes
    return WorkflowHistory(workflow_id=started.workflow_id, events=history.events)


class _Commands(Interceptor):
    """Keeps what the workflow code asked for, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[Payload]]] = []

    def add(self, name: str, arguments: Sequence[Any]) -> None:
        self.seen.append((name, CONVERTER.payload_converter.to_payloads(arguments)))

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002, ARG002
    ) -> type[WorkflowInboundInterceptor]:
        commands = self

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002
                commands.add(input.activity, input.args)
                return super().start_activity(input)

            async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:  # noqa: A002
                commands.add(input.signal, input.args)
                await super().signal_external_workflow(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        return Inbound


def _command(event: HistoryEvent) -> tuple[str, Sequence[Payload]] | None:
    """Return the name and arguments of the command that an event records, if it records one."""
    match event.WhichOneof("attributes"):
        case "activity_task_scheduled_event_attributes":
            scheduled = event.activity_task_scheduled_event_attributes
            return scheduled.activity_type.name, scheduled.input.payloads
        case "signal_external_workflow_execution_initiated_event_attributes":
            signal = event.signal_external_workflow_execution_initiated_event_attributes
            return signal.signal_name, signal.input.payloads
    return None


def _compare(recorded: Sequence[HistoryEvent], asked: list[tuple[str, list[Payload]]]) -> list[str]:
    differences = []
    for number, event in enumerate(recorded):
        command = _command(event)
        if number >= len(asked) or command is None:
            differences.append(f"event {event.event_id}: the code does not ask for this")
            continue
        name, arguments = command
        now, wanted = asked[number]
        if name != now:
            differences.append(f"event {event.event_id}: recorded {name}, the code asks for {now}")
        elif [p.data for p in arguments] != [p.data for p in wanted]:
            differences.append(f"event {event.event_id}: {name} was recorded with other arguments")
    return differences


def _told(failure: Exception) -> str:
    """Return the sentence in which the engine says what differs, out of all that it prints."""
    sentence = re.search(r'message: "(.+?)", source:', str(failure))
    return sentence[1] if sentence else str(failure)


def _builds(events: Sequence[HistoryEvent]) -> tuple[str, ...]:
    """Return the builds that decided, in the order in which they first did."""
    stamped = [
        event.workflow_task_completed_event_attributes.worker_version.build_id
        or event.workflow_task_completed_event_attributes.deployment_version.build_id
        for event in events
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    return tuple(dict.fromkeys(build for build in stamped if build))
