"""A responder's desk for the demo: what people do with incidents, one thing after the other."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from firedoor.audit import replay as replays
from firedoor.audit.replay import Replay
from firedoor.cli import audit, remote
from firedoor.cli.decisions import decision_on
from firedoor.errors import Refused, Unreachable
from firedoor.model.base import Model
from firedoor.model.decision import Answer, Ruling
from firedoor.model.incident import Close, Incident, Release, Released, StepRecord
from firedoor.settings import settings
from worker.plugin import workflows

T = TypeVar("T")

PAUSE = 0.05  # seconds between two looks at an incident
PATIENCE = 30.0  # for what takes less than three


class Desk:
    """The connection to the server, for code that is not asynchronous, as it asks people.

    `require` raises if what does the work has ended, so that nobody waits for it in vain.
    """

    client: Client

    def __init__(self, require: Callable[[], None]) -> None:
        self._require = require
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Connect."""
        Runtime.set_default(remote.quiet(), error_if_already_set=False)  # replaying takes it
        self.client = self._run(remote.connect())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give up the event loop."""
        self._runner.close()

    def incident_about(self, name: str) -> Incident:
        """Wait until there is an incident about a resource, and return it."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return self.read(self._run(remote.find(self.client, name)))
            except Refused as error:
                if time.monotonic() > until:
                    raise Unreachable(f"no incident about {name} began") from error
            self._pause()

    def read(self, id: str) -> Incident:
        """Return an incident as it stands."""
        try:
            return self._run(remote.read(self.client, id))
        except Unreachable:
            self._require()
            raise

    def until(self, id: str, holds: Callable[[Incident], bool]) -> Incident:
        """Wait until an incident is as expected; return it as it is if that takes too long."""
        until = time.monotonic() + PATIENCE
        while not holds(incident := self.read(id)) and time.monotonic() < until:
            self._pause()
        return incident

    def decide(self, incident: Incident, record: StepRecord, answer: Answer, reason: str) -> Ruling:
        """Bring a vote on exactly what a step proposes."""
        decision = decision_on(answer, incident, record, reason)
        return self._tell(incident.id, "decide", decision, Ruling, id=decision.digest)

    def release(self, id: str, step: str, reason: str) -> Released:
        """Let go what a step of an incident holds."""
        release = Release(by=settings().responder, reason=reason, steps=(step,))
        return self._tell(id, "release", release, Released)

    def close(self, id: str, reason: str) -> Ruling:
        """End an incident."""
        close = Close(by=settings().responder, reason=reason)
        return self._tell(id, "close", close, Ruling)

    def export(self, id: str, directory: Path) -> Path:
        """Wait until a workflow has ended, and write its history to a file."""
        until = time.monotonic() + PATIENCE
        while self._run(remote.describe(self.client, id)).close_time is None:
            if time.monotonic() > until:
                raise Unreachable(f"{id} does not end")
            self._pause()
        handle = self.client.get_workflow_handle(id)
        history = self._run(handle.fetch_history(rpc_timeout=remote.PATIENCE))
        return audit.write(history, directory)

    def replay(self, file: Path) -> Replay:
        """Check a history in a file against the code; no server is asked."""
        return self._run(replays.replay(audit.read(file), workflows()))

    def _tell(
        self, incident: str, update: str, message: Model, result: type[T], *, id: str | None = None
    ) -> T:
        return self._run(remote.tell(self.client, incident, update, message, result, id=id))

    def _pause(self) -> None:
        self._require()
        time.sleep(PAUSE)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(work)
        except RPCError as error:
            raise Unreachable(f"the Temporal server does not answer: {error.message}") from error
