"""How fast Firedoor responds: `python -m bench.response [--quick] [--json]`.

One run, one machine, one emulated AWS. Firedoor and the floor under it take turns, so that what
else the machine does slows down both; the ratio between them says more than the milliseconds.
"""

import asyncio
import json
import math
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
from rich.console import Console
from rich.table import Table

from bench import engine, straight
from bench.house import House, open_house
from firedoor.model.finding import Finding
from firedoor.reading import parse
from firedoor.settings import settings
from worker.catalogue import arrival
from worker.server import TUNED

BATCH = 10  # the most that SQS takes at once
AT_ONCE = 16  # threads of the floor under many findings: as many as one worker reads with
HELD = "RevokeSecurityGroupEgress"  # one that no plan tries out
SETTLED = 2.0  # seconds after which a worker that started has nothing to do any more
TITLES = {
    "fast": "One finding, AWS answering at once",
    "slow": "One finding, AWS answering 50 ms later",
    "start": "Starting a process",
    "storm": "Many findings at once",
    "decision": "A decision; no AWS in it",
    "crash": "A worker that is killed",
    "memory": "Memory",
}
MARKS = {True: "met", False: "not met", None: ""}

ABOUT = (
    "Temporal: the development server with the settings that Firedoor starts it with: "
    + ", ".join(f"{name}={value}" for name, value in TUNED.items())
    + ". AWS: emulated, over HTTP on the loopback interface. Everything shares this machine's"
    f" {os.cpu_count()} cores."
)


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    slow_rounds: int
    starts: int
    findings: int
    decisions: int
    kills: int

    @property
    def spare(self) -> int:
        """How many instances are needed besides those that many findings are about at once."""
        return self.rounds + self.slow_rounds + 2 * self.kills + 10


FULL = Size(rounds=15, slow_rounds=8, starts=5, findings=100, decisions=60, kills=2)
QUICK = Size(rounds=2, slow_rounds=1, starts=1, findings=5, decisions=5, kills=1)


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, and what it should be at most."""

    name: str
    value: float
    unit: str = "ms"
    goal: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.value <= self.goal


Chapter = dict[str, Figure]


async def measure(size: Size) -> dict[str, Chapter]:
    """Measure everything; chapters and figures have fixed keys."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        async with open_house(Path(directory), size.findings, size.spare) as house:
            async with house.worker() as worker:
                await asyncio.sleep(SETTLED)
                idle = Figure("an idle worker's memory", worker.resident, "MB", 150)
                await asyncio.to_thread(_warmed, house)
                first = await _respond(house, next(house.spare), 0)
                fast = await _one(house, size.rounds, 0, 4)
                slow = await _one(house, size.slow_rounds, 50, 1.2)
                used = Figure("after these incidents", worker.resident, "MB")
            return {
                "fast": fast,
                "slow": slow,
                "start": await _cold(house, size.starts, first["isolated"][0]),
                "storm": await _storm(house, size.findings),
                "decision": await _decision(house, size.decisions),
                "crash": await _crash(house, size.kills),
                "memory": {"idle": idle, "used": used},
            }


def _warmed(house: House) -> None:
    """Let the emulator load what it needs, so that the first finding does not wait for that."""
    house.fresh()
    straight.record(arrival(_finding(house, next(house.spare))))


# One finding


async def _one(house: House, rounds: int, delay: float, most: float) -> Chapter:
    """Let the scripts and Firedoor respond in turns, each to a finding of its own."""
    template = next(house.spare)
    house.fresh()
    recording = straight.record(arrival(_finding(house, template)))
    samples: dict[str, list[float]] = {}
    made: dict[str, list[int]] = {}
    for _ in range(rounds):
        found = await asyncio.to_thread(_scripts, house, template, recording, delay)
        found |= await _respond(house, next(house.spare), delay)
        for name, (seconds, calls) in found.items():
            samples.setdefault(name, []).append(seconds)
            made.setdefault(name, []).append(calls)
    typical = {name: int(statistics.median(numbers)) for name, numbers in made.items()}
    p50 = {name: statistics.median(seconds) for name, seconds in samples.items()}
    rows = {
        "script": ("a responder's script: snapshot, isolate", "script"),
        "same": ("floor: the same calls, to isolated", "same"),
        "same_done": ("floor: the same calls, to all done", "same_done"),
        "isolated": ("Firedoor: finding in hand to isolated", "isolated"),
        "proven": ("Firedoor: … to isolation proven", "proven"),
        "done": ("Firedoor: … to all steps done", "done"),
    }
    chapter: Chapter = {}
    for key, (name, of) in rows.items():
        note = f"{typical[of]} AWS calls"
        chapter[f"{key}_p50"] = Figure(f"{name}, median", _ms(p50[of]), note=note)
        chapter[f"{key}_p95"] = Figure(f"{name}, p95", _ms(_cut(samples[of], 95)))
    ratio = p50["isolated"] / p50["same"]
    chapter["ratio"] = Figure("isolated, against the same calls", round(ratio, 2), "x", most)
    ratio = p50["done"] / p50["same_done"]
    chapter["ratio_done"] = Figure("all done, against the same calls", round(ratio, 2), "x")
    ratio = p50["isolated"] / p50["script"]
    chapter["ratio_script"] = Figure("isolated, against the script", round(ratio, 2), "x")
    return chapter


def _scripts(
    house: House, instance: str, recording: straight.Recording, delay: float
) -> dict[str, tuple[float, int]]:
    """Time straight boto3: as little as does it, and the calls that Firedoor's actions make."""
    house.fresh(delay)
    began = time.time()
    straight.contain(instance)
    least = time.time() - began, len(house.calls())
    house.fresh(delay)
    began = time.time()
    names = straight.replay(recording.to_isolated, recording.group, {})
    isolated = time.time() - began, len(house.calls())
    straight.replay(recording.afterwards, recording.group, names)
    done = time.time() - began, len(house.calls())
    return {"script": least, "same": isolated, "same_done": done}


async def _respond(house: House, instance: str, delay: float) -> dict[str, tuple[float, int]]:
    """Hand Firedoor a finding, and say when the instance was isolated, and when all was done."""
    house.fresh(delay)
    event = house.event(instance, next(house.servers))
    began = time.time()
    incident = await house.at_rest(await house.handed_over(event))
    ends = {step.key: step.ended_at for step in incident.steps if step.ended_at}
    marks = {
        "isolated": house.moves()[-1],
        "proven": ends["isolate"].timestamp(),
        "done": max(ends.values()).timestamp(),
    }
    calls = house.calls()
    return {name: (at - began, sum(call.at <= at for call in calls)) for name, at in marks.items()}


# Starting a process


async def _cold(house: House, starts: int, first: float) -> Chapter:
    firedoor = str(Path(sysconfig.get_path("scripts")) / "firedoor")
    commands = {
        "import_typer": ("floor: python -c 'import typer'", [sys.executable, "-c", "import typer"]),
        "version": ("firedoor --version", [firedoor, "--version"]),
        "incidents": ("firedoor incidents, with its one call", [firedoor, "incidents"]),
    }
    samples: dict[str, list[float]] = {}
    for _ in range(starts):
        for key, (_, command) in commands.items():
            samples.setdefault(key, []).append(await asyncio.to_thread(_timed, command))
        async with house.worker() as worker:
            samples.setdefault("worker", []).append(worker.cold_start)
    names = {key: name for key, (name, _) in commands.items()}
    names["worker"] = "python -m worker, to taking work"
    chapter = {
        key: Figure(f"{names[key]}, median", _ms(statistics.median(seconds)))
        for key, seconds in samples.items()
    }
    name = "a new worker's first finding, to isolated"
    return chapter | {"first_finding": Figure(name, _ms(first))}


def _timed(command: list[str]) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - ours
    return time.monotonic() - began


# Many findings at once


async def _storm(house: House, number: int) -> Chapter:
    """Put findings into the queue at once: about as many instances, then about a single one."""
    instances = house.instances[:number]
    script, same = await asyncio.to_thread(_crowds, house, instances)
    many = await _flooded(house, instances, number)
    one = await _flooded(house, (next(house.spare),), number)
    name, note = f"{number} findings, {number} instances", f"{AT_ONCE} at a time"
    return {
        "script_p99": Figure(
            f"a responder's script, {name}, p99", _ms(_cut(script, 99)), note=note
        ),
        "same_p50": Figure("floor: the same calls, median", _ms(_cut(same, 50)), note=note),
        "same_p99": Figure("floor: the same calls, p99", _ms(_cut(same, 99)), note=note),
        "isolated_p50": Figure(f"Firedoor: {name}, queue to isolated, median", _ms(_cut(many, 50))),
        "isolated_p99": Figure("Firedoor: … p99", _ms(_cut(many, 99)), goal=1000),
        "ratio": Figure(
            "p99, against the same calls", round(_cut(many, 99) / _cut(same, 99), 2), "x"
        ),
        "one_instance": Figure(
            f"Firedoor: {number} findings, one instance, queue to isolated", _ms(one[0]), goal=1000
        ),
    }


def _crowds(house: House, instances: Sequence[str]) -> tuple[list[float], list[float]]:
    """Let straight boto3 isolate all instances side by side, in two ways."""
    house.fresh()
    recording = straight.record(arrival(_finding(house, instances[0])))
    recorded = straight.names(instances[0])
    names = {
        instance: dict(zip(recorded, straight.names(instance), strict=True))
        for instance in instances
    }
    house.fresh()
    straight.contain(instances[0])  # the group is there for all of them, as it is below
    script = _crowd(straight.contain, instances)
    house.fresh()
    group = straight.replay(recording.to_isolated, recording.group, {})[recording.group]

    def again(instance: str) -> None:
        known = names[instance] | {recording.group: group}
        straight.replay(recording.to_isolated, recording.group, known)

    return script, _crowd(again, instances)


def _crowd(isolate: Callable[[str], None], instances: Sequence[str]) -> list[float]:
    """Return after how many seconds each was isolated, all being asked for at the same moment."""
    began = time.monotonic()

    def timed(instance: str) -> float:
        isolate(instance)
        return time.monotonic() - began

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(timed, instances))


async def _flooded(house: House, instances: Sequence[str], number: int) -> list[float]:
    """Return how many seconds after the first message was sent each instance was isolated."""
    house.fresh()  # before the queue is listened to, or it would be listened to in vain
    async with house.worker(FIREDOOR_QUEUE_URL=house.scene.queue_url):
        warm_up = house.event(next(house.spare), next(house.servers))
        await house.at_rest(await house.handed_over(warm_up))
        server = next(house.servers)
        house.lab.control("DELETE", "firedoor/calls")
        events = [house.event(instances[n % len(instances)], server) for n in range(number)]
        began = time.time()
        await asyncio.to_thread(_send, house.scene.queue_url, events)
        await house.until(lambda: len(house.moves()) >= len(instances))
        return [at - began for at in house.moves()]


def _send(queue: str, events: Sequence[dict[str, Any]]) -> None:
    sqs = boto3.client("sqs")
    for start in range(0, len(events), BATCH):
        entries = [
            {"Id": str(n), "MessageBody": json.dumps(event)}
            for n, event in enumerate(events[start : start + BATCH])
        ]
        sqs.send_message_batch(QueueUrl=queue, Entries=entries)


# A decision


async def _decision(house: House, rounds: int) -> Chapter:
    samples = await engine.measure(house.client, rounds)
    p50 = {name: statistics.median(seconds) for name, seconds in samples.items()}
    names = {
        "floor_start": ("floor: bare SDK, start to activity", "start to activity"),
        "floor_update": ("floor: bare SDK, update to activity", "update to activity"),
        "plan": ("Firedoor: finding in hand to planning", "finding to plan"),
        "next": ("Firedoor: yes to the next activity", "yes to claim"),
        "apply": ("Firedoor: yes to applying, through the lease", "yes to apply"),
    }
    chapter = {
        key: Figure(f"{name}, median", _ms(p50[of]), note=f"p95 {_ms(_cut(samples[of], 95)):g}")
        for key, (name, of) in names.items()
    }
    ratio = round(p50["yes to claim"] / p50["update to activity"], 2)
    return chapter | {"ratio": Figure("yes to next activity, against bare SDK", ratio, "x", 2)}


# A crash


async def _crash(house: House, rounds: int) -> Chapter:
    """Kill the worker that applies an isolation, and say how soon the instance is isolated."""
    standby = [await _killed(house, standby=True) for _ in range(rounds)]
    alone = [await _killed(house, standby=False) for _ in range(rounds)]
    name = "SIGKILL while applying, to isolated"
    return {
        "standby": Figure(f"{name}, another worker running", round(max(standby), 2), "s", 5),
        "restart": Figure(f"{name}, restarted at once", round(max(alone), 2), "s", 5),
    }


async def _killed(house: House, *, standby: bool) -> float:
    house.fresh()
    hold = {"service": "ec2", "operation": HELD, "seconds": 60}
    house.lab.control("POST", "firedoor/hold", hold)
    async with house.worker() as first, AsyncExitStack() as others:
        handle = await house.handed_over(house.event(next(house.spare), next(house.servers)))
        await house.until(lambda: bool(house.times(HELD)))
        same = {"FIREDOOR_TASK_QUEUE": settings().task_queue}
        if standby:
            await others.enter_async_context(house.worker(**same))
            await asyncio.sleep(1)
        first.kill()
        began = time.time()
        if not standby:
            await others.enter_async_context(house.worker(**same))
        await house.until(lambda: bool(house.moves()))
        await handle.terminate()
        return house.moves()[0] - began


# Printing


def main() -> int:
    """Measure, and print a line for each figure with its goal."""
    parser = ArgumentParser(
        prog="bench.response", description="Measure how fast Firedoor responds."
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few rounds of each, for a first look"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    arguments = parser.parse_args()
    chapters = asyncio.run(measure(QUICK if arguments.quick else FULL))
    if arguments.json:
        figures = {
            chapter: {key: {**asdict(figure), "met": figure.met} for key, figure in lines.items()}
            for chapter, lines in chapters.items()
        }
        sys.stdout.write(json.dumps({"about": ABOUT, **figures}, indent=2) + "\n")
    else:
        _print(chapters)
    return 0


def _print(chapters: dict[str, Chapter]) -> None:
    console = Console(width=110)
    console.print(ABOUT, highlight=False)
    for chapter, figures in chapters.items():
        table = Table(title=TITLES[chapter], title_justify="left", box=None, pad_edge=False)
        for heading, side in (("", "left"), ("measured", "right"), ("goal", "right"), ("", "left")):
            table.add_column(heading, justify=side, min_width=8)  # type: ignore[arg-type]
        for figure in figures.values():
            goal = "" if figure.goal is None else f"{figure.goal:g} {figure.unit}"
            value = f"{figure.value:g} {figure.unit}"
            table.add_row(figure.name, value, goal, MARKS[figure.met] or figure.note)
        console.print()
        console.print(table)


def _finding(house: House, instance: str) -> Finding:
    return parse(house.event(instance, next(house.servers)), "bench")[0]


def _cut(seconds: Sequence[float], percent: int) -> float:
    """Return a percentile: the least value that so many percent do not exceed."""
    return sorted(seconds)[max(0, math.ceil(len(seconds) * percent / 100) - 1)]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


if __name__ == "__main__":
    sys.exit(main())
