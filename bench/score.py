"""How right the detections are: `python -m bench.score [--json] [--corpus DIR] [--shared DIR]`.

Precision is the part of what a rule tells that is an attack, recall the part of the attacks that it
tells of. All numbers are counted anew each time. What is labelled by others was in view when rules
were written: it shows what they see and what not, and nothing about logs that nobody has seen.
"""

import json
import warnings
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench import labelled, planted
from bench.correspondence import PAIRS, UNPAIRED
from bench.labelled import Tally, Technique

CACHE: Final = Path(".cache/bench/score")
Cell = int | float | str | None


@dataclass(frozen=True)
class Chapter:
    """A table of numbers, and what has to be said with them."""

    heads: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    notes: tuple[str, ...] = ()


def measure(corpus: Path, shared: Path) -> dict[str, Chapter]:
    """Return all chapters; those of the labelled logs only where these are."""
    chapters = {"Planted attacks": _planted(corpus)}
    if not shared.exists():
        return chapters
    known = labelled.rules(shared)
    cases = labelled.panther(shared, known)
    attacks = labelled.invictus(shared, known)
    return chapters | {
        "Cases of Panther, by our rules": _tallies(cases.by_ours),
        "Cases of Panther, by theirs": _theirs(cases),
        "Cases of StreamAlert": _tallies(labelled.streamalert(shared, known).by_theirs),
        "Detonations of Stratus Red Team": _techniques(labelled.stratus(shared, known)),
        "An account under attack, by rule": _attacks(attacks),
        "An account under attack, by technique": _techniques(attacks.techniques),
        "Calls of attackers, each alone": Chapter(
            ("calls", "how many", "told of", "told of as what they are"),
            [
                (name, one.calls, one.told, one.exact)
                for name, one in labelled.traildiscover(shared, known).items()
            ],
            ("calls that only read are no attack alone; api_enumeration counts them",),
        ),
    }


def _planted(corpus: Path) -> Chapter:
    rows = planted.score(corpus)
    counts = ("attacks", "found", "hard", "near", "findings", "right", "known")
    whole = planted.Row(
        rule="total", note="", **{name: sum(getattr(row, name) for row in rows) for name in counts}
    )
    return Chapter(
        (
            "detection", "attacks", "found", "missed as known", "near misses", "findings", "right",
            "false as known", "precision", "recall", "",
        ),
        [
            (
                row.rule, *(getattr(row, name) for name in counts), row.precision, row.recall,
                row.note,
            )
            for row in (*rows, whole)
        ],
    )  # fmt: skip


def _tallies(tallies: Mapping[str, Tally]) -> Chapter:
    heads = (
        "rule", "right", "quiet", "false", "missed", "expected so", "precision", "recall", "why",
    )  # fmt: skip
    whole = Tally()
    for one in tallies.values():
        for name in ("right", "quiet", "false", "missed", "explained"):
            setattr(whole, name, getattr(whole, name) + getattr(one, name))
    named = [*sorted(tallies.items()), ("total", whole)]
    return Chapter(
        heads,
        [
            (
                name, one.right, one.quiet, one.false, one.missed, one.explained, one.precision,
                one.recall, "; ".join(one.notes),
            )
            for name, one in named
        ],
    )  # fmt: skip


def _theirs(cases: labelled.Cases) -> Chapter:
    chapter = _tallies(cases.by_theirs)
    heads = (chapter.heads[0], "ours", *chapter.heads[1:])
    rows: list[tuple[Cell, ...]] = [
        (row[0], ", ".join(PAIRS[str(row[0])].ours) if row[0] in PAIRS else "", *row[1:])
        for row in chapter.rows
    ]
    notes = [f"{len(ids)} rules have no answer: {reason}" for reason, ids in UNPAIRED.items()]
    notes += [
        f"{cases.other} rules are about other logs, or about no single calls",
        f"{cases.unread} cases are not as a cloud logs them, and cannot be read",
    ]
    if cases.unknown:
        notes.append(f"not looked at yet: {', '.join(cases.unknown)}")
    return Chapter(heads, rows, tuple(notes))


def _techniques(techniques: Iterable[Technique]) -> Chapter:
    listed = [*techniques]
    found = sum(bool(one.found_by) for one in listed)
    rows: list[tuple[Cell, ...]] = [
        (one.name, "yes" if one.found_by else "no", ", ".join(one.found_by), one.note)
        for one in listed
    ]
    rows.append(("total", f"{found} of {len(listed)}", "", ""))
    return Chapter(("technique", "found", "by", "why not"), rows)


def _attacks(attacks: labelled.Attacks) -> Chapter:
    preparing = Counter(attacks.preparing)
    named = {name: attacks.tallies.get(name, Tally()) for name in {*attacks.tallies, *preparing}}
    own = [name for name in named if not name.startswith(labelled.SIGMA)]
    whole = Tally(
        right=sum(named[name].right for name in own), false=sum(named[name].false for name in own)
    )
    listed = [*sorted(named.items()), ("all detections", whole)]
    preparing["all detections"] = sum(preparing[name] for name in own)
    rows: list[tuple[Cell, ...]] = [
        (name, one.right, preparing[name], one.false, one.precision, "; ".join(one.notes))
        for name, one in listed
    ]
    return Chapter(
        ("rule", "attack", "setting up or cleaning up", "false", "precision", ""),
        rows,
        (
            "an event is labelled by its user agent: what Terraform cleaned up is false, therefore",
            "setting up and cleaning up are neither right nor false",
        ),
    )


def _print(chapters: Mapping[str, Chapter]) -> None:
    console = Console(width=180)
    for title, chapter in chapters.items():
        table = Table(title=title, title_justify="left", box=None)
        for number, head in enumerate(chapter.heads):
            is_number = any(isinstance(row[number], int | float) for row in chapter.rows)
            table.add_column(head, justify="right" if is_number else "left")
        for row in chapter.rows:
            table.add_row(*map(_shown, row))
        console.print(table)
        for note in chapter.notes:
            console.print(note, style="dim")
        console.print()


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def main() -> None:
    """Count, and print."""
    parser = ArgumentParser(prog="bench.score", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--corpus", type=Path, default=CACHE, help="where the logs are kept")
    parser.add_argument("--shared", type=Path, default=labelled.SHARED, help="the labelled logs")
    given = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pySigma's, about tags that it does not know
        chapters = measure(given.corpus, given.shared)
    if given.json:
        told = {
            title: {
                "rows": [dict(zip(chapter.heads, row, strict=True)) for row in chapter.rows],
                "notes": chapter.notes,
            }
            for title, chapter in chapters.items()
        }
        print(json.dumps(told))  # noqa: T201
    else:
        _print(chapters)


if __name__ == "__main__":
    main()
