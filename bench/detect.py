"""How fast logs are read and asked: `python -m bench.detect [--quick] [--json] [--corpus DIR]`.

Each piece of work is a process of its own, and what the kernel counted for it is what is told:
processor time, user and system, and the most memory it held. Pairs whose ratio is a goal take
turns, so that what else the machine does falls on both.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench import corpus

CACHE: Final = Path(".cache/bench")
RULES: Final = Path("../shared/data/sigma-cloud-rules")
"""Where Sigma's rules are, if they are at hand."""
MARKS: Final = {True: "met", False: "not met", None: ""}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    objects: int
    lines: int
    trails: int
    rounds: int
    days: int
    """How many times the day is kept, to see that a question about one does not notice."""


FULL: Final = Size(corpus.OBJECTS, corpus.LINES, corpus.TRAILS, rounds=3, days=10)
QUICK: Final = Size(corpus.OBJECTS, 2_000, 10, rounds=1, days=3)


@dataclass(frozen=True)
class Work:
    """What a process did, and what it took."""

    said: Any
    cpu: float
    wall: float
    peak: float
    """The most memory it held, in MB."""


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, and the bound that it should keep, if there is one."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.at_least else self.value <= self.goal


Chapter = list[Figure]


def measure(size: Size, folder: Path) -> dict[str, Chapter]:
    """Measure everything."""
    made = corpus.make(folder, size.objects, size.lines, size.trails)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        text, chapter = _straight(made / "flows", size)
        return {
            "Four questions to text": chapter,
            "The same to what is kept": _kept(made / "flows", root, size, text),
            "One new object of 35,000 flows": _object(made / "flows"),
            "CloudTrail": _trail(made / "calls"),
            "Beside flowlogs-reader": _reader(made / "flows", size, text),
            "One file of all lines": _whole(made / "flows", root),
        }


def _straight(flows: Path, size: Size) -> tuple[Work, Chapter]:
    """Ask straight from gz, in turns with merely unpacking, and of a third of it."""
    packed = sorted(map(str, flows.iterdir()))
    unpacked, asked = [], []
    for _ in range(size.rounds):
        unpacked.append(_run(["gzip", "-dc", *packed], quiet=True))
        asked.append(_lake("straight", flows))
    with tempfile.TemporaryDirectory() as directory:
        third = Path(directory)
        for file in packed[::3]:
            (third / Path(file).name).symlink_to(Path(file).resolve())
        part = _lake("straight", third)
    text, plain = _middle(asked), _middle(unpacked)
    if part.said["left out"] or text.said["left out"]:
        raise RuntimeError(f"not all was read: {part.said}, {text.said}")
    rows = size.objects * size.lines
    return text, [
        Figure("merely unpacking, gzip -dc", plain.cpu, "CPU s"),
        Figure("asking four questions", text.cpu, "CPU s"),
        Figure("asking / unpacking", text.cpu / plain.cpu, "x", 1.0),
        Figure("wall time", text.wall, "s"),
        Figure("most memory", text.peak, "MB", 600),
        Figure("rows a second and core", rows / text.cpu / 1e6, "M"),
        Figure("cost of all / three times that of a third", text.cpu / (3 * part.cpu), "x", 1.1),
    ]


def _kept(flows: Path, root: Path, size: Size, text: Work) -> Chapter:
    """Keep a day, ask it, keep ten times as much, and ask the same day again."""
    store = root / "store"
    read = _lake("ingest", store, flows)
    fresh = _lake("stored", store)
    compacted = _lake("compact", store)
    day = [_lake("stored", store) for _ in range(size.rounds)]
    all_rules = _lake("detections", store)
    more = _lake("multiply", store, size.days)
    again = [_lake("stored", store) for _ in range(size.rounds)]
    one, ten = _middle(day), _middle(again)
    slowest = max(all_rules.said.items(), key=lambda item: item[1]["cpu"])
    return [
        Figure("keeping it", read.cpu, "CPU s"),
        Figure("most memory while keeping", read.peak, "MB", 600),
        Figure("compacting it", compacted.cpu, "CPU s"),
        Figure("most memory while compacting", compacted.peak, "MB", 600),
        Figure("four questions, before compaction", fresh.said["asking"], "s"),
        Figure("four questions, after it", one.said["asking"], "s"),
        Figure("the same", one.said["cpu"], "CPU s"),
        Figure(
            "from text / from what is kept", text.wall / one.said["asking"], "x", 10, at_least=True
        ),
        Figure("the same, of CPU", text.cpu / one.said["cpu"], "x"),
        Figure(f"rows kept, {size.days} times as many", more.said["rows"] / 1e6, "M"),
        Figure("the same day, of so many", ten.said["asking"], "s"),
        Figure("of so many / of one", ten.said["asking"] / one.said["asking"], "x", 1.1),
        Figure("most memory while asking", max(one.peak, ten.peak), "MB", 600),
        Figure(f"all {len(all_rules.said)} detections", all_rules.cpu, "CPU s"),
        Figure(f"the slowest, {slowest[0]}", slowest[1]["cpu"], "CPU s"),
    ]


def _object(flows: Path) -> Chapter:
    """Look at single objects and keep them, as they arrive."""
    took = _lake("objects", flows, 40).said
    return [
        Figure("looked at", took["look"], "CPU ms", 25),
        Figure("kept", took["keep"], "CPU ms", 50),
    ]


def _trail(calls: Path) -> Chapter:
    """Read CloudTrail, and run the rules of others over it."""
    took = _lake("decode", calls).said
    figures = [
        Figure("decoded, records a second", took["records"] / 1e3, "k", 300, at_least=True),
        Figure("into five columns", took["columns"] / 1e3, "k"),
        Figure("into all columns", took["all"] / 1e3, "k"),
    ]
    if not RULES.is_dir():
        return figures
    ran = _lake("sigma", calls, RULES).said
    return [
        *figures,
        Figure("Sigma rules", ran["rules"], ""),
        Figure("events", ran["events"] / 1e6, "M"),
        Figure(
            "all rules, events a second", ran["events"] / ran["wall"] / 1e6, "M", 1, at_least=True
        ),
        Figure("rules of which the oracle finds other matches", ran["differ"], "", 0),
        Figure("events that it looked at", ran["checked"] / 1e3, "k"),
    ]


def _reader(flows: Path, size: Size, text: Work) -> Chapter:
    """Let flowlogs-reader answer the same of a few objects."""
    some = sorted(map(str, flows.iterdir()))[:3]
    theirs = _run([
        ".uv/bin/uv", "tool", "run", "--quiet", "--from", "flowlogs-reader==5.0.1",
        "python", "bench/flowlogs.py", *some,
    ])  # fmt: skip
    nothing = _run([
        ".uv/bin/uv", "tool", "run", "--quiet", "--from", "flowlogs-reader==5.0.1",
        "python", "bench/flowlogs.py",
    ])  # fmt: skip
    rate = theirs.said["rows"] / (theirs.cpu - nothing.cpu)
    ours = size.objects * size.lines / text.cpu
    return [
        Figure("flowlogs-reader, rows a second", rate / 1e3, "k"),
        Figure("ours / theirs", ours / rate, "x", 20, at_least=True),
    ]


def _whole(flows: Path, root: Path) -> Chapter:
    """Ask one object that holds all lines."""
    file = root / "all" / "all.log.gz"
    file.parent.mkdir()
    with file.open("wb") as whole:
        for one in sorted(flows.iterdir()):
            with one.open("rb") as part:
                shutil.copyfileobj(part, whole)
    asked = _lake("straight", file.parent)
    kept = _lake("ingest", root / "whole", file.parent)
    return [
        Figure("most memory while asking", asked.peak, "MB", 600),
        Figure("most memory while keeping", kept.peak, "MB", 600),
    ]


def _lake(work: str, *arguments: object) -> Work:
    return _run([sys.executable, "-m", "bench.lake", work, *map(str, arguments)])


def _run(command: Sequence[str], *, quiet: bool = False) -> Work:
    """Run a process, and return what it said and took; raises `CalledProcessError`."""
    out = subprocess.DEVNULL if quiet else subprocess.PIPE
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=out)  # noqa: S603
    said = b"" if process.stdout is None else process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    cpu = used.ru_utime + used.ru_stime
    return Work(json.loads(said) if said else None, cpu, wall, used.ru_maxrss / 1024)


def _middle(works: Sequence[Work]) -> Work:
    """Return the one of median processor time."""
    middle = statistics.median_low(work.cpu for work in works)
    return next(work for work in works if work.cpu == middle)


def _print(chapters: dict[str, Chapter]) -> None:
    console = Console()
    console.print(f"{os.cpu_count()} cores; CPU is user and system time of the whole process.")
    for title, figures in chapters.items():
        table = Table(title=title, title_justify="left", box=None)
        for head in ("", "", "", "goal", ""):
            table.add_column(head, justify="left" if not head else "right")
        for one in figures:
            sign = ">=" if one.at_least else "<="
            goal = "" if one.goal is None else f"{sign} {one.goal:g}"
            table.add_row(one.name, f"{one.value:.2f}", one.unit, goal, MARKS[one.met])
        console.print(table)


def main() -> None:
    """Measure, and print."""
    parser = ArgumentParser(prog="bench.detect", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="a fiftieth of it, to see that it runs"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--corpus", type=Path, default=CACHE, help="where the logs are kept")
    given = parser.parse_args()
    size = QUICK if given.quick else FULL
    chapters = measure(size, given.corpus / ("quick" if given.quick else "full"))
    if given.json:
        print(json.dumps({name: [asdict(f) for f in ones] for name, ones in chapters.items()}))  # noqa: T201
    else:
        _print(chapters)


if __name__ == "__main__":
    main()
