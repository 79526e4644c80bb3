"""The fault matrix: every action, on its stages, while everything goes wrong that can."""

import functools
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import boto3
import botocore.loaders
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from kubernetes.client import ApiClient
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from firedoor.action import Action
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws
from firedoor.discovery import find
from firedoor.errors import FiredoorError
from firedoor.lab.drills import Drill, Stage
from firedoor.lab.server import REGION, EmulatedAws
from firedoor.model.action import Nature
from firedoor.model.finding import Subject
from firedoor.model.plan import Plan, Proof, Target, Verdict
from firedoor.settings import settings

AT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
TRIES = 16

# What a process has sent arrives even if it dies; Temporal misses it after seconds.
LAST_WORDS = 0.03

# What the emulator does with the call that is struck.
FAULTS: dict[str, dict[str, Any]] = {
    "throttled": {"kind": "error", "code": "Throttling", "status": 400},
    "denied": {"kind": "error", "code": "AccessDenied", "status": 403},
    "lost": {"kind": "lost"},
    "cut": {"kind": "dropped"},
}
IN_KUBERNETES: dict[str, dict[str, Any]] = {
    "throttled": {"status": 429},
    "denied": {"status": 403},
    "lost": {"lost": True},
    "cut": {"status": 0},
}

# What waits in the actions.
PAUSES = {
    "_contended.PAUSE": 0,
    "_network.SETTLE": 0,
    "_trail.PAUSE": 0.0,
    "_untracked.PAUSES": (0, 0),
    "quarantine_workload.PAUSES": (),
    "revoke_credentials.SETTLE": (),
}

STRUCK = [f"{phase}{fault}" for phase in ("", "undo ") for fault in (*FAULTS, "killed")]
COLUMNS = [*STRUCK, "changed", "gone", "full", "part"]

STAGES = {
    f"{id} {name}".strip(): (id, stage)
    for id, drill in find("firedoor.lab.drills", Drill).items()
    for name, stage in drill.stages.items()
}

# An id or a time; the names of policies and pods need have no figure in them.
WORD = re.compile(r"(?=[\w.:+-]*\d)[\w.:+-]{8,}|\b(?:p-[a-z]{8}|web-[a-f]{5})\b")

T = TypeVar("T")

Changes = dict[str, list[JsonValue]]


@dataclass
class Strike:
    """What goes wrong with a changing call, counted from when it was armed."""

    lab: EmulatedAws
    fault: str = ""
    at: int = 0
    made: list[str] = field(default_factory=list)
    full: dict[str, str] = field(default_factory=dict)
    answered: int = 0
    hit: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, fault: str = "", at: int = 0) -> None:
        """Count from here, and strike at the call of that number."""
        self.fault, self.at, self.made, self.answered, self.full = fault, at, [], 0, {}
        if fault:
            self.hit = fault == "killed"  # how the process ended tells

    def exceed(self, operation: str, code: str) -> None:
        """Let the quota be full that an operation takes from."""
        self.arm()
        self.full = {operation: code}

    def watch(self, client: Any) -> Any:
        """Look at every changing call of a client."""
        events = client.meta.events
        events.register_first("before-call", self._before)
        events.register_first("after-call", self._after)
        return client

    def before(self, operation: str, ask: Callable[[str], object]) -> None:
        """Let a call go wrong that is about to be sent."""
        with self.lock:
            self.made.append(operation)
            number = len(self.made)
        if number == self.at and self.fault != "killed":
            self.hit = True
            ask(self.fault)

    def after(self) -> None:
        """Die with the answer in hand."""
        with self.lock:
            self.answered += 1
            number = self.answered
        if number == self.at and self.fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)

    def in_kubernetes(self, call_api: Callable[..., Any]) -> Callable[..., Any]:
        """Look at every changing call of a cluster's client, too."""

        def watched(
            client: Any, method: str, url: str, headers: Any, *args: Any, **more: Any
        ) -> Any:
            if method == "GET" or "dryRun" in url:
                return call_api(client, method, url, headers, *args, **more)

            def ask(fault: str) -> None:
                faults = [{"method": method, **IN_KUBERNETES[fault]}]
                endpoint = client.configuration.host + "/faults"
                call_api(client, "POST", endpoint, headers, faults).read()

            self.before(f"{method} {url.rpartition('/')[2]}", ask)
            answer = call_api(client, method, url, headers, *args, **more)
            self.after()
            return answer

        return watched

    def _before(self, model: Any, context: dict[str, Any], **_: Any) -> None:
        if "firedoor" in context:
            place = {"service": model.service_model.service_name, "operation": model.name}
            if code := self.full.get(model.name):
                full = {"kind": "error", "code": code, "status": 400}
                self.lab.control("POST", "firedoor/faults", place | full)
            self.before(
                model.name,
                lambda fault: self.lab.control("POST", "firedoor/faults", place | FAULTS[fault]),
            )

    def _after(self, context: dict[str, Any], **_: Any) -> None:
        if "firedoor" in context:
            self.after()


@dataclass
class Ground:
    """One stage of a drill, built and planned once; every run begins with it as it was."""

    lab: EmulatedAws
    id: str
    stage: Stage
    home: Path
    strike: Strike
    clients: list[Any]
    subject: Subject
    params: Any
    plans: tuple[Plan, ...] = ()
    once: Changes = field(default_factory=dict)
    applied: tuple[str, ...] = ()
    reverted: tuple[str, ...] = ()

    @property
    def action(self) -> Action:
        return find("activities", Action)[self.id]

    @property
    def aws(self) -> Aws:
        return cloud.connect(self.subject.account, self.subject.region, incident="incident/1")

    @property
    def applies(self) -> int:
        return len(self.applied)

    @property
    def reverts(self) -> int:
        return len(self.reverted)

    def named(self, column: str, number: int) -> str:
        """Return the call of that number."""
        calls = self.reverted if column.startswith("undo") else self.applied
        return calls[number - 1] if number <= len(calls) else "undisturbed"

    def begin(self) -> None:
        self.lab.restore()
        shutil.rmtree(self.home, ignore_errors=True)
        self.strike.arm()

    def plan(self) -> tuple[Plan, ...]:
        target = Target(
            subject=self.subject,
            incident="incident/1",
            step="step",
            at=AT,
            spared=self.stage.spared,
        )
        return self.action.plan(target, self.params, self.aws)

    def apply(self) -> None:
        """Apply all plans, as often as it takes."""
        for plan in self.plans:
            _persist(functools.partial(self.action.apply, plan, self.aws))
            if self.action.nature is Nature.EVIDENCE:
                self._follow(plan)

    def revert(self) -> None:
        """Take all plans back, as often as it takes."""
        if revert := self.action.revert:
            for plan in reversed(self.plans):
                _persist(functools.partial(revert, plan, self.aws))

    def verdicts(self) -> set[Verdict]:
        return {self.verified(plan).verdict for plan in self.plans}

    def verified(self, plan: Plan) -> Proof:
        assert self.action.verify is not None
        return self.action.verify(plan, self.aws)

    def changes(self) -> Changes:
        """What is not as it was before."""
        return self.lab.control("GET", "firedoor/changes")

    def lasting(self) -> Changes:
        """What is not as it was before, though it should be."""
        return {
            path: values
            for path, values in self.changes().items()
            if self.action.revert and not self.stage.keeps(path, values[0])
        }

    def numbers(self) -> range:
        """Count the calls that can be struck, in either direction."""
        return range(1, max(self.applies, self.reverts) + 1)

    def expect_done(self) -> None:
        """Fail if all that changed is not what an undisturbed run changes."""
        both = (self._settled(changes) for changes in (self.once, self.changes()))
        if wrong := unlike(*both):
            raise AssertionError("\n  ".join(["not as an undisturbed run does it:", *wrong]))

    def expect_undone(self) -> None:
        """Fail if anything is not as it was before."""
        if lasting := self.lasting():
            told = (f"{path}: {was} became {now}" for path, (was, now) in lasting.items())
            raise AssertionError("\n  ".join(["not undone:", *told]))

    def expect(self, theirs: Changes) -> None:
        """Fail if anything is changed but what others have changed."""
        now = self.changes()
        mine = {
            path: (theirs.get(path), now.get(path))
            for path in now.keys() | theirs.keys()
            if now.get(path) != theirs.get(path)
            and not self.stage.keeps(path, (now.get(path) or [None])[0])
        }
        if mine:
            told = (f"{path}: {was} became {value}" for path, (was, value) in sorted(mine.items()))
            raise AssertionError("\n  ".join(["left behind:", *told]))

    def killed(self, phase: Callable[[], None], number: int) -> None:
        """Let a process begin a phase, and die as soon as a call has taken effect."""
        calls = self.applied if phase == self.apply else self.reverted
        self.strike.arm("killed", number)
        ended = self.in_a_process(phase)
        time.sleep(LAST_WORDS)
        self.strike.arm()
        assert ended == (-signal.SIGKILL if number <= len(calls) else 0)

    def in_a_process(self, phase: Callable[[], None]) -> int:
        """Run a phase in a process of its own, and return how that ended."""
        child = os.fork()
        if not child:
            try:
                for client in self.clients:
                    client.close()  # these connections are our parent's
                phase()
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _settled(self, changes: Changes) -> Changes:
        """Leave out what is another value each time."""
        return {path: values for path, values in changes.items() if not self.stage.keeps(path, "")}

    def _follow(self, plan: Plan) -> None:
        """Verify and apply by turns, as an incident does, until it is settled."""
        for _ in range(TRIES):
            if _persist(functools.partial(self.verified, plan)).verdict is not Verdict.PENDING:
                return
            _persist(functools.partial(self.action.apply, plan, self.aws))


def _persist(attempt: Callable[[], T]) -> T:
    """Try as Temporal does."""
    for _ in range(TRIES):
        try:
            return attempt()
        except FiredoorError as error:
            if not error.retryable:
                raise
    return attempt()


def unlike(one: Changes, other: Changes) -> list[str]:
    """Return what only one of two runs changed; ids and times are each run's own."""
    texts = [
        [json.dumps([p, *v], sort_keys=True) for p, v in changes.items()]
        for changes in (one, other)
    ]
    words = [set(WORD.findall("\n".join(text))) for text in texts]
    common = words[0] & words[1]

    def masked(text: str) -> str:
        return WORD.sub(lambda m: m[0] if m[0] in common else "*", text)

    lines = [sorted(map(masked, text)) for text in texts]
    for line in list(lines[0]):
        if line in lines[1]:
            lines[0].remove(line)
            lines[1].remove(line)
    return [f"- {line}" for line in lines[0]] + [f"+ {line}" for line in lines[1]]


@pytest.fixture(scope="module")
def lab() -> Iterator[EmulatedAws]:
    """An emulated AWS of its own, as the stages are marked in it."""
    with EmulatedAws() as running, pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in running.environment.items():
            patch.setenv(name, value)
        loader = functools.cache(botocore.loaders.create_loader)
        patch.setattr(botocore.session, "create_loader", loader)
        yield running


@pytest.fixture(scope="module")
def strike(lab: EmulatedAws) -> Iterator[tuple[Strike, list[Any]]]:
    """Every client of ours is watched, and nothing waits."""
    watcher, clients = Strike(lab), []
    mapped = cloud._mapped

    def watched(client: Any) -> Any:
        clients.append(client)
        client.meta.events.register("before-call.ec2.DescribeRegions", _one_region)
        return watcher.watch(mapped(client))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud, "_mapped", watched)
        patch.setattr(ApiClient, "call_api", watcher.in_kubernetes(ApiClient.call_api))
        for name, value in PAUSES.items():
            patch.setattr(f"activities.aws.{name}", value)
        yield watcher, clients


def _one_region(**_: Any) -> Any:
    return AWSResponse("", 200, {}, None), {"Regions": [{"RegionName": REGION}]}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in STAGES],
)
def ground(
    request: pytest.FixtureRequest,
    lab: EmulatedAws,
    strike: tuple[Strike, list[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ground]:
    id, stage = STAGES[request.param]
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIREDOOR_HOME", str(home))
        for name, value in stage.settings.items():
            patch.setenv(f"FIREDOOR_{name}", value)
        settings.cache_clear()
        cloud.forget()
        lab.reset()
        strike[0].arm()
        subject = stage.build(boto3.Session())
        given = stage.params(boto3.Session()) if callable(stage.params) else stage.params
        params = find("activities", Action)[id].params.model_validate(dict(given))
        made = Ground(lab, id, stage, home, *strike, subject, params)
        made.plans = made.plan()
        lab.save()
        assert [plan.refusals for plan in made.plans if plan.refusals] == []
        made.begin()
        made.apply()
        made.applied, made.once = tuple(made.strike.made), made.changes()
        made.strike.arm()
        made.revert()
        made.reverted = tuple(made.strike.made)
        yield made
    settings.cache_clear()
    cloud.forget()


@pytest.fixture
def cells(request: pytest.FixtureRequest, ground: Ground) -> Iterator[Any]:
    """Fill the row of a stage: a block is one point of a column, and may fail alone."""
    row = request.node.callspec.params["ground"]
    points: dict[str, int] = {}
    wrong: dict[str, list[str]] = {}

    @contextmanager
    def point(column: str, number: int) -> Iterator[None]:
        most = {"undo": ground.reverts}.get(column.split()[0], ground.applies)
        try:
            yield
            if column in STRUCK and number <= most:
                assert ground.strike.hit, "it was never made"
        except (AssertionError, FiredoorError) as error:
            name = ground.named(column, number)
            wrong.setdefault(column, []).append(f"{number} {name}: {str(error) or repr(error)}")
        if number <= most or column not in STRUCK:
            points[column] = points.get(column, 0) + 1

    yield point
    for column, number in points.items():
        told = (row, column, number, [line.partition(":")[0] for line in wrong.get(column, ())])
        request.node.user_properties.append(("cell", told))
    if wrong:
        pytest.fail(
            "\n".join(f"{row}, {c}: {w}" for c, lines in wrong.items() for w in lines), False
        )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table."""
    cells = {
        tuple(value[:2]): value[2:]
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "cell"
    }
    if not cells:
        return
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = sorted({column for _, column in cells}, key=COLUMNS.index)
    table = Table(*["", *columns], title="Fault matrix", box=None)
    for row in sorted(rows):
        table.add_row(row, *(_told(cells.get((row, column))) for column in columns))
    Console(file=terminalreporter._tw._file, width=220).print(table)


def _told(cell: Any) -> str:
    if cell is None:
        return "-"
    points, wrong = cell
    return "; ".join([f"{max(points - len(wrong), 0)}/{points}", *wrong[:1]])
