"""How right the detections are about what was planted in logs from a seed."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from bench import plants
from bench.corpus import START
from bench.plants import NEAR, PLANTS, Plant
from firedoor import detecting
from firedoor.detection import Detection
from firedoor.discovery import find
from firedoor.lake.duck import Duck
from firedoor.lake.ingest import Given
from firedoor.lake.straight import fill
from firedoor.model.finding import Finding

MIDNIGHT: Final = datetime.fromtimestamp(START, UTC)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Row:
    """How one detection did."""

    rule: str
    attacks: int
    """How many were planted that it should tell of."""
    found: int
    hard: int
    """How many are known not to be found."""
    near: int
    """How many near misses were planted for it."""
    findings: int
    right: int
    """How many of its findings are about an attack."""
    known: int
    """How many are about something harmless that it is known to tell of."""
    note: str

    @property
    def recall(self) -> float | None:
        """The part of the attacks that was found."""
        return self.found / self.attacks if self.attacks else None

    @property
    def precision(self) -> float | None:
        """The part of the findings that is about an attack."""
        return self.right / self.findings if self.findings else None


def score(folder: Path) -> list[Row]:
    """Make the logs, run every detection over the day, and count."""
    folders = plants.make(folder)
    detections = find("firedoor.detections", Detection)
    with Duck() as duck:
        queries = [one.sql for one in detections.values()]
        for problem in fill(duck, map(str, folders), Given(), queries):
            raise ValueError(f"what was made cannot be read: {problem}")
        found = {id_: _findings(id_, one, duck) for id_, one in detections.items()}
    return [_row(id_, found[id_]) for id_ in detections]


def _findings(id_: str, detection: Detection, duck: Duck) -> list[Finding]:
    """Return what a detection finds in all windows of the day, once each."""
    found = {}
    for number in range(1, int(DAY / detection.window) + 1):
        until = MIDNIGHT + number * detection.window
        for finding in detecting.findings(id_, detection, duck, until):
            found[finding.id] = finding
    return [*found.values()]


def _row(id_: str, findings: list[Finding]) -> Row:
    meant = [plant for plant in PLANTS if id_ in plant.rules]
    near = [one for one in NEAR if id_ in one.rules]
    seen = {plant for plant in meant if any(_is_about(one, plant) for one in findings)}
    known = {one.id: why for one in findings for why in _known(id_, one)}
    right = [one for one in findings if _is_right(id_, one)]
    wrong = [one for one in findings if one not in right and one.id not in known]
    missed = [plant for plant in meant if plant not in seen]
    notes = [f"missed: {one.name} ({one.hard or 'not expected'})" for one in missed]
    notes += [f"false: {why}" for why in dict.fromkeys(known.values())]
    notes += [f"false: {one.description[:100]}" for one in wrong[:3]]
    if not meant:
        notes.append("nothing is planted for it")
    return Row(
        rule=id_,
        attacks=len(meant),
        found=len(seen),
        hard=sum(bool(one.hard) for one in missed),
        near=len(near),
        findings=len(findings),
        right=len(right),
        known=len(known),
        note="; ".join(notes),
    )


def _is_right(id_: str, finding: Finding) -> bool:
    return any(_is_about(finding, plant) for plant in PLANTS if id_ in (*plant.rules, *plant.also))


def _known(id_: str, finding: Finding) -> Iterator[str]:
    for one in NEAR:
        if one.known and id_ in one.rules and _has(finding, one.mark):
            yield one.known


def _is_about(finding: Finding, plant: Plant) -> bool:
    hour = (finding.last_seen or finding.created_at).hour
    return (not plant.hours or hour in plant.hours) and _has(finding, plant.mark)


def _has(finding: Finding, mark: str) -> bool:
    return _pattern(mark).search(finding.model_dump_json()) is not None


@cache
def _pattern(mark: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(mark)}(?![\w-])")
