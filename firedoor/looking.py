"""Everything that finds: detections, baselines and Sigma rules, over the logs that are kept."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from firedoor import detecting
from firedoor.detection import Detection
from firedoor.discovery import find
from firedoor.errors import FiredoorError
from firedoor.lake.store import Store
from firedoor.model.finding import Finding
from firedoor.model.watch import Look


def over(store: Store, asked: Look, sigma: Path | None) -> tuple[list[Finding], list[str]]:
    """Return what is found in a time, and what could not be asked, each with its reason."""
    found: dict[str, Finding] = {}
    problems: list[str] = []
    for id_, detection in chosen(asked.watch.rules).items():
        try:
            for one in _found(id_, detection, store, asked):
                found[one.id] = one
        except FiredoorError as error:
            problems.append(f"{id_}: {error}")
    return list(found.values()), problems


def chosen(ids: tuple[str, ...]) -> Mapping[str, Detection]:
    """Return the detections of these ids, or all."""
    known = find("firedoor.detections", Detection)
    return {id_: one for id_, one in known.items() if not ids or id_ in ids}


def _found(id_: str, detection: Detection, store: Store, asked: Look) -> Iterator[Finding]:
    """Yield what a detection finds, looking as often as its windows need to cover the time."""
    for end in ends(asked.since, asked.until, detection.window):
        with store.duck(end - detection.reach, end) as duck:
            yield from detecting.findings(id_, detection, duck, end)


def ends(since: datetime, until: datetime, window: timedelta) -> Iterator[datetime]:
    """Yield the ends of the windows that together hold a time, the last one first."""
    end = until
    yield end
    while end - window > since:
        end -= window
        yield end
