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
from firedoor.cli._voice import say, word
from firedoor.cli.decisions import vote_on
from firedoor.errors import Refused, Unreachable
from firedoor.model.decision import Ruling
from firedoor.model.incident import Incident, Released, StepRecord
from firedoor.model.word import Answer, Close, Decision, Release, Signed, Word
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
        said = vote_on(Decision, answer, incident, record, reason)
        return self._tell("decide", said, Ruling)

    def release(self, id: str, step: str, reason: str) -> Released:
        """Let go what a step of an incident holds."""
        return self._say("release", Release, id, reason, Released, steps=(step,))

    def close(self, id: str, reason: str) -> Ruling:
        """End an incident."""
        return self._say("close", Close, id, reason, Ruling)

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

    def _say(
        self,
        update: str,
        kind: type[Word],
        id: str,
        reason: str,
        result: type[T],
        **members: Any,
    ) -> T:
        incident = self.read(id)
        said = say(word(kind, incident, reason, **members), incident.policy.roster)
        return self._tell(update, said, result)

    def _tell(self, update: str, said: Signed[Any], result: type[T]) -> T:
        incident = said.word.incident
        return self._run(remote.tell(self.client, incident, update, said, result, id=said.digest))

    def _pause(self) -> None:
        self._require()
        time.sleep(PAUSE)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._runner.run(work)
        except RPCError as error:
            raise Unreachable(f"the Temporal server does not answer: {error.message}") from error
