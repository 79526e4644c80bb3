"""How right the detections and Sigma rules are about logs that others have labelled.

There are three kinds of them: the test cases of rules of others, each with the answer that its rule
gives; logs of attacks that were carried out on purpose; and one record of each call that attackers
are known for. All are evaluated as they are: a rule that counts cannot find what is there once.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from bench.correspondence import DIFFERENT, MISSED, PAIRS, TECHNIQUES, UNPAIRED, Pair
from firedoor import detecting
from firedoor.detection import Detection
from firedoor.discovery import find
from firedoor.lake import portable
from firedoor.lake.duck import Duck
from firedoor.lake.objects import Reading
from firedoor.log_source import Place
from firedoor.relations import API_ACTIVITY, AUTHENTICATION
from firedoor.sigma import reading, running

SHARED: Final = Path("../shared/data")
LOGS: Final[Mapping[str, str]] = {
    "AWS.CloudTrail": "aws_cloudtrail",
    "Azure.MonitorActivity": "azure_activity",
    "Azure.Audit": "azure_signin",
    "GCP.AuditLog": "gcp_audit",
}
"""Our log source for what others call a log."""
SIGMA: Final = "sigma/"
END: Final = 1 << 45
Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class Rules:
    """Everything that is looked for in logs of APIs: detections by id, Sigma rules by file."""

    detections: Mapping[str, Detection]
    sigma: Mapping[str, reading.Rule]


@dataclass
class Tally:
    """How often a rule answered as it was labelled, and how often not."""

    right: int = 0
    false: int = 0
    missed: int = 0
    quiet: int = 0
    explained: int = 0
    """How many of the false and missed are expected, for a reason that is told."""
    notes: list[str] = field(default_factory=list)

    def count(self, *, expected: bool, fired: bool, why: str) -> None:
        """Count one answer."""
        if expected and fired:
            self.right += 1
        elif not expected and not fired:
            self.quiet += 1
        else:
            self.false += fired
            self.missed += expected
            self.explained += bool(why)
            note = ("false: " if fired else "missed: ") + (why or "not expected")
            if note not in self.notes:
                self.notes.append(note)

    @property
    def precision(self) -> float | None:
        """The part of what it told that is labelled so."""
        told = self.right + self.false
        return self.right / told if told else None

    @property
    def recall(self) -> float | None:
        """The part of what is labelled so that it told."""
        there = self.right + self.missed
        return self.right / there if there else None


@dataclass
class Cases:
    """How we answer to the test cases of others."""

    by_theirs: dict[str, Tally] = field(default_factory=dict)
    by_ours: dict[str, Tally] = field(default_factory=dict)
    unread: int = 0
    """How many cases are not as the cloud logs them, and cannot be read."""
    other: int = 0
    """How many rules are about logs that we do not read, or not for calls of an API."""
    unknown: list[str] = field(default_factory=list)
    """Rules that nobody has looked at."""


@dataclass(frozen=True)
class Technique:
    """An attack that was carried out, and what found it."""

    name: str
    found_by: tuple[str, ...]
    note: str


def rules(shared: Path) -> Rules:
    """Return the rules: our own, and those of the folder."""
    own = {
        id_: one
        for id_, one in find("firedoor.detections", Detection).items()
        if {API_ACTIVITY.name, AUTHENTICATION.name} & portable.columns(one.sql).keys()
    }
    folder = shared / "sigma-cloud-rules"
    theirs = reading.read(folder).rules if folder.exists() else ()
    return Rules(own, {SIGMA + Path(one.file).stem: one for one in theirs})


def panther(shared: Path, known: Rules) -> Cases:
    """Return how we answer to the cases of others."""
    told = Cases()
    for file in sorted((shared / "panther-tests").glob("*/*.json")):
        theirs = json.loads(file.read_bytes())
        source = LOGS.get(theirs["log_types"][0])
        if source is None:
            told.other += 1
        elif pair := PAIRS.get(theirs["rule_id"]):
            _compare(theirs, pair, source, known, told)
        elif not any(theirs["rule_id"] in ids for ids in UNPAIRED.values()):
            told.unknown.append(theirs["rule_id"])
    return told


def streamalert(shared: Path, known: Rules) -> Cases:
    """Return the same of StreamAlert, whose files are named by their rules."""
    told = Cases()
    for file in sorted((shared / "rule-tests" / "streamalert").glob("*.json")):
        if pair := PAIRS.get(id_ := f"StreamAlert.{file.stem}"):
            tests = [
                {
                    "name": case["description"],
                    "expected": bool(case["trigger_rules"]),
                    "log": record,
                }
                for case in json.loads(file.read_bytes())
                for record in case["data"].get(
                    "Records", [case["data"].get("detail", case["data"])]
                )
            ]
            _compare({"rule_id": id_, "tests": tests}, pair, "aws_cloudtrail", known, told)
        else:
            told.other += 1
    return told


def _compare(theirs: Any, pair: Pair, source: str, known: Rules, told: Cases) -> None:
    """Count the cases of a rule."""
    id_ = theirs["rule_id"]
    for case in theirs["tests"]:
        tables = _tables([case["log"]], source)
        if not tables:
            told.unread += 1
            continue
        with Duck() as duck:
            duck.put(tables)
            fired = {one for one in pair.ours if _fires(one, tables, known, duck)}
        why = DIFFERENT.get((id_, case["name"]), pair.why)
        tally = told.by_theirs.setdefault(id_, Tally())
        tally.count(expected=case["expected"], fired=bool(fired), why=why)
        for one in pair.ours:
            # Of several that answer to it, one is enough.
            expected = case["expected"] and (one in fired or not fired)
            mine = told.by_ours.setdefault(one, Tally())
            mine.count(expected=expected, fired=one in fired, why=why)


def stratus(shared: Path, known: Rules) -> list[Technique]:
    """Return which techniques are found in the log of their detonation."""
    techniques = []
    for file in sorted((shared / "stratus-detonation" / "stratus").glob("*.json")):
        tables = _tables(_records(file), "aws_cloudtrail")
        fired = tuple(id_ for id_ in _fired(tables, known) if _shows(known, id_, file.stem))
        note = "" if file.stem in TECHNIQUES else "no technique of ATT&CK is known for it"
        techniques.append(Technique(file.stem, fired, note))
    return techniques


@dataclass
class Reach:
    """How many calls of a kind are told of."""

    calls: int = 0
    told: int = 0
    """By a detection of ours."""
    exact: int = 0
    """By a rule, ours or Sigma's, that is about the technique the call is labelled with."""


@dataclass(frozen=True)
class Attacks:
    """How the logs of an account were judged in which attacks were carried out."""

    tallies: Mapping[str, Tally]
    """By rule: `right` are matches with a labelled event in them, `false` those with none."""
    preparing: Mapping[str, int]
    """By rule: matches that are about the setting up of an attack, or its cleaning up."""
    techniques: tuple[Technique, ...]


def invictus(shared: Path, known: Rules) -> Attacks:
    """Return what is found in the account where attacks were carried out."""
    folder = shared / "cloudtrail-attacks"
    lines = (folder / "labels" / "invictus_event_labels.a.tsv").read_text().splitlines()[1:]
    labels = {line.split("\t")[1]: line.split("\t") for line in lines}
    files = sorted((folder / "invictus").glob("*.json"))
    tables = _tables([one for file in files for one in _records(file)], "aws_cloudtrail")
    events = _events(tables)
    tallies: dict[str, Tally] = {}
    preparing: dict[str, int] = {}
    found: dict[str, set[str]] = {}
    for id_, seen in _seen(tables, known, events):
        tally = tallies.setdefault(id_, Tally())
        told = [labels[one] for one in seen if one in labels]
        attacks = [label for label in told if label[3] == "detonate"]
        if attacks:
            tally.right += 1
            for technique in {label[5] for label in attacks}:
                if _shows(known, id_, technique):
                    found.setdefault(technique, set()).add(id_)
        elif any(label[3] == "warmup_or_cleanup" for label in told):
            preparing[id_] = preparing.get(id_, 0) + 1
        else:
            tally.false += 1
            operations = sorted({label[2] for label in told})
            tally.notes = [*dict.fromkeys([*tally.notes, f"false: {', '.join(operations[:4])}"])]
    names = sorted({one[5] for one in labels.values() if one[3] == "detonate" and one[5]})
    return Attacks(
        tallies,
        preparing,
        tuple(
            Technique(
                name,
                tuple(sorted(found.get(name, ()))),
                "" if name in found else MISSED.get(name, ""),
            )
            for name in names
        ),
    )


def traildiscover(shared: Path, known: Rules) -> dict[str, Reach]:
    """Return how many of the calls that attackers make are told of, each for itself."""
    folder = shared / "cloudtrail-attacks" / "traildiscover"
    lines = (folder / "events-a.jsonl").read_text().splitlines()
    listed = [one for line in lines for one in json.loads(line)["event"] if isinstance(one, dict)]
    # Their authors have made the ids unknown, and so alike.
    records = [event | {"eventID": f"{number}"} for number, event in enumerate(listed)]
    labels = {one["eventName"]: one for one in json.loads((folder / "events.json").read_bytes())}
    tables = _alone(_tables(records, "aws_cloudtrail"))
    events = _events(tables)
    own: set[str] = set()
    exact: set[str] = set()
    operations = {event["event_id"]: event["operation"] for event in events}
    for id_, seen in _seen(tables, known, events):
        if not id_.startswith(SIGMA):
            own.update(seen)
        for one in seen:
            label = str(labels.get(operations[one], {}).get("mitreAttackTechniques", ""))
            if any(base in label for base in _bases(known, id_)):
                exact.add(one)
    reach: dict[str, Reach] = {}
    for event in events:
        kind = "only reads" if event["read_only"] else "changes"
        kinds = [f"{kind}, {'succeeded' if event['status'] == 'Success' else 'denied or failed'}"]
        wild = str(labels.get(event["operation"], {}).get("usedInWild")) == "True"
        for kind in [*kinds, *["of all, used in the wild"] * wild]:
            counted = reach.setdefault(kind, Reach())
            counted.calls += 1
            counted.told += event["event_id"] in own
            counted.exact += event["event_id"] in exact
    return dict(sorted(reach.items()))


def _bases(known: Rules, id_: str) -> set[str]:
    """Return the techniques of a rule, without what comes behind the dot."""
    one = known.sigma[id_] if id_.startswith(SIGMA) else known.detections[id_]
    return {technique.partition(".")[0] for technique in one.techniques}


def _shows(known: Rules, id_: str, attack: str) -> bool:
    """Tell whether a rule is about a technique that an attack shows."""
    return bool(_bases(known, id_) & {*TECHNIQUES.get(attack, ())})


def _records(file: Path) -> list[Any]:
    held = json.loads(file.read_bytes())
    return [*(held["Records"] if isinstance(held, dict) else held)]


def _tables(records: Sequence[Any], source: str) -> Tables:
    """Return records as our relations hold them, or nothing where one cannot be read."""
    parts: dict[str, list[pa.Table]] = {}
    text = json.dumps({"Records": records}, separators=(",", ":")).encode()
    for parsed in Reading(io.BytesIO(text), Place("case.json", account="0"), source=source):
        for name, table in parsed.tables.items():
            parts.setdefault(name, []).append(table)
    joined = {name: pa.concat_tables(tables) for name, tables in parts.items()}
    return {name: table for name, table in joined.items() if table.num_rows}


def _alone(tables: Tables) -> Tables:
    """Put each record into an account of its own, all at once, so that none hides another."""
    alone = {}
    for name, table in tables.items():
        accounts = table["event_id"].cast(pa.string())
        times = pa.array([0] * table.num_rows, pa.int64())
        for column, values in (("account", accounts), ("time", times)):
            place = table.column_names.index(column)
            table = table.set_column(place, column, values)
        alone[name] = table
    return alone


def _fires(name: str, tables: Tables, known: Rules, duck: Duck) -> bool:
    """Tell whether a rule matches anything of a log."""
    if name.startswith(SIGMA):
        return any(running.run([known.sigma[name]], duck, 0, END))
    return bool([*_matches(known.detections[name], tables, duck)])


def _fired(tables: Tables, known: Rules) -> list[str]:
    """Return all rules that match anything of a log."""
    with Duck() as duck:
        duck.put(tables)
        fired = [id_ for id_, one in known.detections.items() if [*_matches(one, tables, duck)]]
        names = {rule: name for name, rule in known.sigma.items()}
        sigma = {names[one.rule] for one in running.run(known.sigma.values(), duck, 0, END)}
        return [*fired, *sorted(sigma)]


def _seen(
    tables: Tables, known: Rules, events: Iterable[Mapping[str, Any]]
) -> Iterator[tuple[str, list[str]]]:
    """Yield every match with the ids of the events that it is about."""
    listed = [*events]
    with Duck() as duck:
        duck.put(tables)
        for id_, detection in known.detections.items():
            for row in _matches(detection, tables, duck):
                yield id_, [one["event_id"] for one in listed if _is_of(one, row)]
        names = {rule: name for name, rule in known.sigma.items()}
        seen: dict[tuple[Any, ...], list[str]] = {}
        for match in running.run(known.sigma.values(), duck, 0, END):
            event = match.event
            of = (names[match.rule], event["account"], event["actor"], event["operation"])
            seen.setdefault(of, []).append(event["event_id"])
        for (name, *_), ids in seen.items():
            yield str(name), ids


def _matches(detection: Detection, tables: Tables, duck: Duck) -> Iterator[dict[str, Any]]:
    """Yield what a detection matches in each of the windows that hold a log."""
    times = [
        time
        for name in portable.columns(detection.sql)
        if name in tables
        for time in tables[name]["time"].to_pylist()
    ]
    if not times:
        return
    window = int(detection.window.total_seconds() * 1000)
    end = max(times) + 1
    while end > min(times):
        yield from detecting.matches(detection, duck, datetime.fromtimestamp(end / 1000, UTC))
        end -= window


def _is_of(event: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Tell whether a match is about an event."""
    named = ("account", "actor", "operation")
    return row["first_seen"] <= event["time"] <= row["last_seen"] and all(
        row.get(name, event[name]) == event[name] for name in named
    )


def _events(tables: Tables) -> list[dict[str, Any]]:
    columns = ["event_id", "time", "account", "actor", "operation", "status", "read_only"]
    return [*tables[API_ACTIVITY.name].select(columns).to_pylist()]
