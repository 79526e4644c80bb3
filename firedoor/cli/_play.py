"""The demo while it runs: what was seen so far, how long it took, and what programs are told."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from firedoor.audit.replay import Replay
from firedoor.cli._desk import Desk
from firedoor.cli._stage import House, State, changed
from firedoor.cli._teller import Teller
from firedoor.cli.output import progress
from firedoor.model.incident import Incident, StepRecord
from firedoor.model.word import Answer


class Clock:
    """How many seconds each phase took, and all of it."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._began = time.monotonic()

    @contextmanager
    def phase(self, name: str, doing: str = "") -> Iterator[None]:
        """Measure a phase, and say what is being done; one that comes again adds to the first."""
        began = time.monotonic()
        with progress(doing) if doing else nullcontext():
            yield
        self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - began

    @property
    def seconds(self) -> float:
        """How long it is since it began."""
        return time.monotonic() - self._began

    def told(self) -> dict[str, Any]:
        """Return all of it, to the millisecond."""
        phases = {name: round(seconds, 3) for name, seconds in self.phases.items()}
        return {"phases": phases, "seconds": round(self.seconds, 3)}


@dataclass
class Asked:
    """One question to a responder, and how AWS itself stood before the answer and afterwards."""

    incident: str
    record: StepRecord
    answer: Answer
    before: State
    after: State
    released: State = field(default_factory=dict)

    @property
    def touched(self) -> list[str]:
        """The resources that the answer has changed."""
        return list(changed(self.before, self.after))

    @property
    def restored(self) -> bool:
        """Whether they are again as they were."""
        return self._part(self.released) == self._part(self.before)

    def told(self) -> dict[str, Any]:
        """Return what was answered, and what AWS showed of it."""
        return {
            "answer": self.answer,
            "outcome": self.record.state,
            "before": self._part(self.before),
            "after": self._part(self.after),
            "released": self._part(self.released),
        }

    def _part(self, state: State) -> State:
        return {name: state[name] for name in self.touched if name in state}


@dataclass
class Play:
    """On which stage the demo is played, and what was seen of it so far."""

    house: House
    desk: Desk
    clock: Clock
    teller: Teller
    asking: bool
    before: State
    remains: list[str] = field(default_factory=list)
    incidents: list[str] = field(default_factory=list)
    leases: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    replays: list[Replay] = field(default_factory=list)


def report(play: Play, responder: str) -> dict[str, Any]:
    """Return what a program is told, as long as the server is there to be asked."""
    return {
        "emulated_aws": True,
        "addresses": {
            "temporal": play.house.server.address,
            "ui": play.house.server.ui,
            "aws": play.house.aws.endpoint,
        },
        "decided_by": responder,
        "asked": play.asking,
        "incidents": [_incident(play, play.desk.read(id)) for id in play.incidents],
        "remains": play.remains,
        "replay": {
            "ok": all(one.ok for one in play.replays),
            "histories": [{**one.model_dump(mode="json"), "ok": one.ok} for one in play.replays],
        },
    }


def _incident(play: Play, incident: Incident) -> dict[str, Any]:
    return {
        "id": incident.id,
        "status": incident.status,
        "findings": [finding.type for finding in incident.findings],
        "runbooks": incident.runbooks,
        "steps": [_step(play, incident.id, record) for record in incident.steps],
        "timeline": incident.timeline,
    }


def _step(play: Play, incident: str, record: StepRecord) -> dict[str, Any]:
    asked = [one for one in play.asked if (one.incident, one.record.key) == (incident, record.key)]
    return {
        "step": record.key,
        "action": record.capability.action,
        "state": record.state,
        "plan_digest": record.plan_digest,
        **(asked[-1].told() if asked else {"answer": None}),
        "proofs": record.proofs,
        "evidence": record.evidence,
    }
