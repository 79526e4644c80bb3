"""The kit that tests share: findings, runbooks, and a world of doors to close and open."""

import hashlib
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from firedoor import evidence
from firedoor.action import Action, Permissions, outstanding, restorable
from firedoor.approvals import sshsig
from firedoor.approvals.warrants import Archive
from firedoor.channel import Channel
from firedoor.evidence import Pin
from firedoor.model.action import Barrier, Nature
from firedoor.model.approval import Rule
from firedoor.model.base import Model
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Cloud, Finding, Kind, Resource, Severity
from firedoor.model.incident import Arrival, Capability, Incident, StepRecord
from firedoor.model.message import Delivered, Message, Occasion
from firedoor.model.plan import (
    Call,
    CallRecord,
    Change,
    Check,
    Outcome,
    Plan,
    Proof,
    Receipt,
    Target,
    Touched,
    Verdict,
)
from firedoor.model.policy import Policy
from firedoor.model.responder import Key, Responder, Roster
from firedoor.model.runbook import Approval, Runbook, Step
from firedoor.model.warden import warden_id
from firedoor.model.warrant import Warrant
from firedoor.model.word import (
    Answer,
    Close,
    Decision,
    Instruction,
    Order,
    Ratification,
    Release,
    Signed,
    SshSignature,
    Word,
    signable,
    signed_by,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ACCOUNT = "123456789012"
RESPONDER = "alice"

W = TypeVar("W", bound=Word)


def instance(id: str = "i-0aaaaaaaaaaaaaaaa") -> Resource:
    """Return an instance to be the subject of a finding."""
    return Resource(cloud=Cloud.AWS, account=ACCOUNT, region="us-east-1", kind=Kind.INSTANCE, id=id)


def finding(id: str = "f-1", *, seen: datetime = NOW, **members: object) -> Finding:
    """Return a finding about an instance; any member can be set."""
    values: dict[str, object] = {
        "id": id,
        "source": "test",
        "type": "Backdoor:EC2/C&CActivity.B",
        "title": "An instance talks to a command and control server",
        "severity": 8,
        "cloud": Cloud.AWS,
        "account": ACCOUNT,
        "region": "us-east-1",
        "created_at": seen,
        "updated_at": seen,
        "first_seen": seen,
        "last_seen": seen,
        "subject": instance(),
    }
    return Finding.model_validate(values | members)


def private_key(name: str) -> Ed25519PrivateKey:
    """Return the key that a name always has in tests."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def key_of(name: str, **members: object) -> Key:
    """Return the public half of the key that a name always has in tests."""
    public = private_key(name).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return Key.model_validate({"public": public.decode(), **members})


def responder(name: str, *groups: str, **members: object) -> Responder:
    """Return a responder with their key."""
    values: dict[str, object] = {"groups": groups, "keys": (key_of(name),)}
    return Responder.model_validate(values | members)


def roster(*names: str, **people: Responder) -> Roster:
    """Return responders: those that are only named, and those that are given."""
    return Roster(people={**{name: responder(name) for name in names}, **people})


ALONE = Rule(id="alone", excludes=())


def policy(*names: str, **members: object) -> Policy:
    """Return a policy under which each of these may decide alone."""
    values: dict[str, object] = {"roster": roster(*(names or (RESPONDER,))), "approvals": (ALONE,)}
    return Policy.model_validate(values | members)


def signed(word: W, name: str = "") -> Signed[W]:
    """Return a word, signed by the key of whoever it names, or of another name."""
    signature = sshsig.sign(private_key(name or word.by), signable(word))
    return signed_by(word, SshSignature(signature=signature))


def decision(
    incident: Incident, record: StepRecord, answer: Answer = Answer.APPROVE, **members: object
) -> Signed[Decision]:
    """Return a signed vote on what a step proposes; any member can be set."""
    about = {"step": record.key, "plan_digest": record.plan_digest, "answer": answer}
    return signed(Decision.model_validate(_word(incident, **{**about, **members})))


def ratification(
    incident: Incident, record: StepRecord, answer: Answer = Answer.APPROVE, **members: object
) -> Signed[Ratification]:
    """Return a signed vote on what was done under standing authority."""
    about = {"step": record.key, "plan_digest": record.plan_digest, "answer": answer}
    return signed(Ratification.model_validate(_word(incident, **{**about, **members})))


def release(incident: Incident, *steps: str, **members: object) -> Signed[Release]:
    """Return the signed word that containments are to be let go."""
    return signed(Release.model_validate(_word(incident, steps=steps, **members)))


def close(incident: Incident, **members: object) -> Signed[Close]:
    """Return the signed word that an incident is to end."""
    return signed(Close.model_validate(_word(incident, **members)))


def instruction(queue: str, order: Order, reason: str, **members: object) -> Signed[Instruction]:
    """Return the signed word that all changes are to stop, or may go on."""
    about = {"order": order, "reason": reason, **members}
    return signed(Instruction.model_validate(_said(warden_id(queue), "", datetime.now(UTC), about)))


def ours(arrival: Arrival) -> Arrival:
    """Return what arrives, under a policy and a runbook that the installation knows from now on."""
    evidence.pin(Pin.POLICY, arrival.policy)
    evidence.pin(Pin.RUNBOOK, arrival.runbook)
    return arrival


def lay_out(home: Path, *names: str) -> Path:
    """Write down who may decide, with their keys, and return the file of the first one's key."""
    home.mkdir(parents=True, exist_ok=True)
    for name in names:
        form = (Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        (home / name).write_bytes(private_key(name).private_bytes(*form))
        (home / name).chmod(0o600)
    keys = "".join(f"{name} {key_of(name).public}\n" for name in names)
    (home / "allowed_signers").write_text(keys)
    people = "".join(f"  {name}: {{}}\n" for name in names)
    (home / "responders.yaml").write_text(f"people:\n{people}")
    return home / names[0]


def word_of(kind: type[W], incident: str, run: str, **members: object) -> W:
    """Return a word of now."""
    return kind.model_validate(_said(incident, run, datetime.now(UTC), members))


def _word(incident: Incident, **members: object) -> dict[str, object]:
    # The clock of an incident can have been wound forward.
    at = max(datetime.now(UTC), incident.timeline[-1].at)
    return _said(incident.id, incident.run, at, members)


def _said(
    incident: str, run: str, at: datetime, members: Mapping[str, object]
) -> dict[str, object]:
    return {
        "incident": incident,
        "run": run,
        "by": RESPONDER,
        "reason": "seen it",
        "at": at,
        "expires_at": at + timedelta(minutes=10),
        "nonce": uuid4().hex,
        **members,
    }


def step(id: str, do: str, *needs: str, **members: object) -> Step:
    """Return a step that is approved by standing authority, unless said otherwise."""
    values: dict[str, object] = {"id": id, "do": do, "needs": needs, "approval": Approval.AUTO}
    return Step.model_validate(values | members)


class Words(Model):
    """What is said."""

    what: str = ""
    message: str = ""
    occasion: str = ""

    @property
    def action(self) -> str:
        """Who says it."""
        return "records.task" if self.what else "records.notify"


class Board:
    """A channel that keeps what it is given, or raises what it is told to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.trouble: Exception | None = None
        self.channel = Channel(deliver=self._keep, check=lambda: None, setting="board")

    def told(self) -> list[Occasion]:
        """Return why people were told, in order."""
        return [message.occasion for message in self.messages]

    def _keep(self, message: Message) -> Delivered:
        if self.trouble:
            raise self.trouble
        self.messages.append(message)
        return Delivered(channel="board", answer=f"pinned {len(self.messages)}")


class World:
    """Doors that an action closes, a camera, and a record of every call that changed something.

    Tests make calls fail by adding errors to `trouble`: each is raised once, before the effect, or
    after it where the key ends in `/after`, as when an answer is lost.
    """

    def __init__(self) -> None:
        self.doors: dict[str, str] = {}
        self.calls: list[str] = []
        self.trouble: dict[str, list[Exception]] = {}
        self.gates: dict[str, threading.Event] = {}
        self.photographs_ready = True
        self.tasks: tuple[str, ...] = ()  # what closing a door leaves for people
        self.fleets: dict[str, int] = {}  # what every room is one of
        self.board = Board()
        self.policies: dict[str, Policy] = {}  # which the installation knows, by digest
        self.runbooks: dict[str, Runbook] = {}
        self.archive = Archive(
            policy=self.policies.get, runbook=self.runbooks.get, vouched=lambda _: True
        )
        self._lock = threading.Lock()
        self.actions = {
            "fake.close_door": Action(
                nature=Nature.CONTAINMENT,
                kinds=frozenset(Kind),
                plan=self._plan_door,
                apply=self._close,
                verify=self._is_closed,
                revert=self._open,
                permissions=Permissions(plan=("doors:Read",)),
            ),
            "fake.photograph": Action(
                nature=Nature.EVIDENCE,
                kinds=frozenset(Kind),
                plan=self._plan_photograph,
                apply=self._photograph,
                verify=self._is_photographed,
                permissions=Permissions(plan=("doors:Read",)),
            ),
            "fake.film": Action(
                nature=Nature.EVIDENCE,
                barrier=Barrier.ENDED,
                kinds=frozenset(Kind),
                plan=self._plan_film,
                apply=self._photograph,
                verify=self._is_photographed,
                permissions=Permissions(plan=("doors:Read",)),
            ),
            "fake.tell": Action(
                nature=Nature.RECORD,
                kinds=frozenset(Kind),
                plan=self._plan_photograph,
                apply=self._photograph,
                permissions=Permissions(plan=("doors:Read",)),
            ),
            # What incidents call for by themselves.
            "records.notify": Action(
                nature=Nature.RECORD,
                kinds=frozenset(Kind),
                plan=self._plan_words,
                apply=self._say,
                params=Words,
                permissions=Permissions(plan=()),
            ),
            "records.task": Action(
                nature=Nature.TASK,
                kinds=frozenset(Kind),
                plan=self._plan_words,
                apply=self._say,
                params=Words,
                permissions=Permissions(plan=()),
            ),
        }

    def arrival(self, of: Finding, *steps: Step, requester: str = "", **members: object) -> Arrival:
        """Return a finding with a runbook of these steps; their effects are this world's.

        Further members are those of the policy.
        """
        runbook, given = Runbook(id="test", title="Test", steps=steps), policy(**members)
        self.policies[given.digest], self.runbooks[runbook.digest] = given, runbook
        return Arrival(
            finding=of,
            runbook=runbook,
            policy=given,
            requester=requester,
            capabilities={s.id: self.capability(f"fake.{s.do}") for s in steps},
        )

    def warrant(self, plan: Plan, run: str) -> Warrant:
        """Return the right to carry a plan out under standing authority."""
        close = step("door", "close_door")
        arrival = self.arrival(finding(), close)
        return Warrant(
            run=run,
            policy=arrival.policy.digest,
            runbook=arrival.runbook.digest,
            severity=Severity.HIGH,
            plans=(plan.digest,),
        )

    def capability(self, action: str) -> Capability:
        """Return what a workflow must know of an action."""
        found = self.actions[action]
        return Capability(action=action, nature=found.nature, barrier=found.barrier)

    def _plan_door(self, target: Target, params: object, cloud: None) -> tuple[Plan, ...]:  # noqa: ARG002
        """Close the door of a room."""
        room = target.subject.id
        self._meet("plan")
        before = self.doors.get(room, "open")
        changes = (Change(resource=room, attribute="door", before=before, after="closed"),)
        call = Call(service="doors", operation="Close", parameters={"room": room})
        undo = Call(service="doors", operation="Open", parameters={"room": room})
        closed = before == "closed"
        return (
            Plan(
                action="fake.close_door",
                target=target,
                lease=room,
                summary=f"Close the door of {room}",
                changes=() if closed else changes,
                calls=() if closed else (call,),
                undo=() if closed else (undo,),
                refusals=(f"this door is {before}",) if before in {"protected", "gone"} else (),
                gone=before == "gone",
                tasks=self.tasks,
                touched=Touched(fleets=self.fleets),
            ),
        )

    def _close(self, plan: Plan, cloud: None) -> Receipt:  # noqa: ARG002
        self._meet("apply")
        left = outstanding(plan, self._state(plan))
        made = [self._change("close", change.resource, "closed") for change in left]
        self._meet("apply/after")
        return Receipt(plan_digest=plan.digest, at=NOW, calls=tuple(made))

    def _is_closed(self, plan: Plan, cloud: None) -> Proof:  # noqa: ARG002
        self._meet("verify")
        room = plan.target.subject.id
        closed = self.doors.get(room) == "closed"
        return Proof(
            plan_digest=plan.digest,
            at=NOW,
            verdict=Verdict.PROVEN if closed else Verdict.DRIFTED,
            checks=(Check(name="door", ok=closed, detail=f"{room} is {self.doors.get(room)}"),),
        )

    def _open(self, plan: Plan, cloud: None) -> Receipt:  # noqa: ARG002
        self._meet("revert")
        ours, left = restorable(plan, self._state(plan))
        made = [self._change("open", change.resource, str(change.before)) for change in ours]
        self._meet("revert/after")
        return Receipt(plan_digest=plan.digest, at=NOW, calls=tuple(made), left=left)

    def _plan_words(self, target: Target, params: "Words", cloud: None) -> tuple[Plan, ...]:  # noqa: ARG002
        """Say something."""
        words = params.what or params.message
        return (Plan(action=params.action, target=target, lease=target.step, summary=words),)

    def _say(self, plan: Plan, cloud: None) -> Receipt:  # noqa: ARG002
        with self._lock:
            self.calls.append(f"say {plan.summary}")
        return Receipt(plan_digest=plan.digest, at=NOW)

    def _plan_photograph(self, target: Target, params: object, cloud: None) -> tuple[Plan, ...]:  # noqa: ARG002
        """Take a photograph."""
        return (self._plan_picture("fake.photograph", target),)

    def _plan_film(self, target: Target, params: object, cloud: None) -> tuple[Plan, ...]:  # noqa: ARG002
        """Film what goes on, until the film is full."""
        return (self._plan_picture("fake.film", target),)

    def _plan_picture(self, action: str, target: Target) -> Plan:
        room = target.subject.id
        return Plan(action=action, target=target, lease=room, summary=f"Photograph {room}")

    def _photograph(self, plan: Plan, cloud: None) -> Receipt:  # noqa: ARG002
        self._meet("photograph")
        room = plan.target.subject.id
        with self._lock:
            self.calls.append(f"photograph {room}")
        picture = Evidence(name=f"{room}.jpg", taken_at=NOW, uri=f"file:///{room}.jpg")
        return Receipt(plan_digest=plan.digest, at=NOW, evidence=(picture,))

    def _is_photographed(self, plan: Plan, cloud: None) -> Proof:  # noqa: ARG002
        ready = self.photographs_ready
        verdict = Verdict.PROVEN if ready else Verdict.PENDING
        room = plan.target.subject.id
        paper = Evidence(name=f"{room} on paper", taken_at=NOW, uri=f"file:///{room}.pdf")
        return Proof(
            plan_digest=plan.digest,
            at=NOW,
            verdict=verdict,
            checks=(Check(name="developed", ok=ready),),
            evidence=(paper,) if ready else (),
        )

    def _state(self, plan: Plan) -> dict[tuple[str, str], str]:
        rooms = [change.resource for change in plan.changes]
        return {(room, "door"): self.doors.get(room, "open") for room in rooms}

    def _change(self, operation: str, room: str, to: str) -> CallRecord:
        with self._lock:
            self.calls.append(f"{operation} {room}")
            self.doors[room] = to
        return CallRecord(
            service="doors",
            operation=operation.title(),
            parameters={"room": room},
            at=NOW,
            request_id=str(len(self.calls)),
            outcome=Outcome.OK,
        )

    def _meet(self, phase: str) -> None:
        """Wait at the gate of a phase, if there is one, and raise its next trouble."""
        if gate := self.gates.get(phase):
            gate.wait(10)
        if errors := self.trouble.get(phase):
            raise errors.pop(0)
