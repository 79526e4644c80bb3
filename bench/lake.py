"""One measured piece of work with logs, in a process of its own: `python -m bench.lake WORK ...`.

What it printed and what the kernel counted for it is all that `bench.detect` knows of it.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

SEEDS: Final = ("rejected_traffic", "unusual_outbound", "suspicious_ssh", "large_transfers")
"""The saved queries that are the four questions of seed.txt."""

SOURCE: Final = "aws_cloudtrail"
CHECKED: Final = 50_000
"""How many events the oracle looks at."""


def straight(flows: str) -> dict[str, Any]:
    """Ask the four questions of objects as they lie there."""
    from firedoor.lake.duck import Duck
    from firedoor.lake.ingest import Given
    from firedoor.lake.straight import fill

    with tempfile.TemporaryDirectory() as spill, Duck(Path(spill)) as duck:
        left_out = list(fill(duck, [flows], Given(), [sql for sql, _ in _questions()]))
        return {"left out": left_out, "answers": _answers(duck)}


def ingest(store: str, *places: str) -> dict[str, Any]:
    """Read places into a store."""
    from firedoor.lake.ingest import Given
    from firedoor.lake.ingest import ingest as read
    from firedoor.lake.store import Store

    with Store(Path(store)) as opened:
        seen = list(read(places, opened, Given(), datetime.now(UTC)))
    return {"objects": len(seen), "rows": sum(one.rows for one in seen)}


def compact(store: str) -> dict[str, Any]:
    """Put the small files of a store together."""
    from firedoor.lake.ingest import tidy
    from firedoor.lake.store import Store

    with Store(Path(store)) as opened:
        less, _ = tidy(opened, 3650, datetime.now(UTC) + timedelta(days=1))
    return {"less": less}


def stored(store: str) -> dict[str, Any]:
    """Ask the four questions of the last 24 hours of a store."""
    from firedoor.lake.store import Store

    since, until = _day()
    with Store(Path(store)) as opened, opened.duck(since, until) as duck:
        began, wall = time.process_time(), time.perf_counter()
        answers = _answers(duck)
        cpu, asking = time.process_time() - began, time.perf_counter() - wall
        return {"answers": answers, "asking": asking, "cpu": cpu}


def multiply(store: str, days: str) -> dict[str, Any]:
    """Keep the same day so many times over, each time a day earlier."""
    import duckdb

    from firedoor.collector import Blob
    from firedoor.lake.store import Store, Written
    from firedoor.log_source import Parsed

    now, rows = datetime.now(UTC), 0
    with Store(Path(store)) as opened:
        files = opened.files()
        for back in range(1, int(days)):
            for file in files:
                written = Written(opened.root, Blob(f"{file.path}-{back}", "1", 1, now))
                with duckdb.connect() as duck:
                    shifted = duck.sql(
                        f"SELECT * REPLACE (time - {back} * 86400000 AS time)"  # noqa: S608
                        f" FROM read_parquet('{file.path}', hive_partitioning = false)"
                    )
                    day = (file.day - timedelta(days=back)).isoformat()
                    for batch in shifted.to_arrow_reader(1_000_000):
                        table = _as_read(batch, file.relation, day, file.account)
                        written.add(Parsed({file.relation: table}))
                written.close()
                opened.keep(written, now)
        rows = sum(file.rows for file in opened.files())
    return {"rows": rows}


def _as_read(batch: Any, relation: str, day: str, account: str) -> Any:
    """Return rows as a log source gives them: with the columns that are in the path of a file."""
    import pyarrow as pa

    from firedoor.log_source import ARROW
    from firedoor.relations import RELATIONS

    rows = pa.Table.from_batches([batch])
    known = {
        "day": pa.repeat(pa.scalar(day), len(rows)),
        "account": pa.repeat(pa.scalar(account), len(rows)),
    }
    columns = RELATIONS[relation].columns
    arrays = []
    for column in columns:
        array = known[column.name] if column.name in known else rows[column.name].combine_chunks()
        type_ = ARROW[column.type]
        arrays.append(
            array.dictionary_encode() if pa.types.is_dictionary(type_) else array.cast(type_)
        )
    return pa.table(arrays, names=[column.name for column in columns])


def detections(store: str) -> dict[str, Any]:
    """Run every detection over a store, and tell how long each took."""
    from firedoor import detecting
    from firedoor.detection import Detection
    from firedoor.discovery import find
    from firedoor.lake.store import Store

    _, until = _day()
    took = {}
    with Store(Path(store)) as opened:
        for id_, one in find("firedoor.detections", Detection).items():
            began = time.process_time()
            with opened.duck(until - one.window, until) as duck:
                found = detecting.findings(id_, one, duck, until)
            took[id_] = {"cpu": time.process_time() - began, "findings": len(found)}
    return took


def objects(folder: str, count: str) -> dict[str, Any]:
    """Read single objects, look at each at once, and keep each: CPU milliseconds an object."""
    from firedoor.lake.duck import Duck
    from firedoor.lake.memory import reused
    from firedoor.lake.objects import Reading
    from firedoor.lake.straight import columns
    from firedoor.log_source import Place

    files = sorted(Path(folder).iterdir())[: int(count)]
    wanted = columns(sql for sql, _ in _questions())

    def look(file: Path) -> None:
        with file.open("rb") as stream:
            for parsed in Reading(stream, Place(file.name), wanted=wanted):
                duck.put(parsed.tables)
                _answers(duck)

    with tempfile.TemporaryDirectory() as root, Duck() as duck, reused():
        keep = _keeper(Path(root))
        return {"look": _each(files, look), "keep": _each(files, keep)}


def decode(calls: str) -> dict[str, Any]:
    """Read CloudTrail objects: to typed records, and to the columns of our relations."""
    from firedoor.lake.json_stream import Stream
    from firedoor.lake.memory import reused
    from firedoor.lake.objects import LONGEST, RECORDS, Reading, inflated
    from firedoor.log_source import Piece, Place, decoded
    from firedoor.logs.aws_cloudtrail import Record

    files = sorted(Path(calls).iterdir())

    def records(file: Path) -> int:
        with file.open("rb") as stream:
            found = Stream(inflated(stream, file.name), LONGEST).batches(RECORDS)
            return sum(
                len(decoded(Record, Piece(Place(file.name), raws=batch.raws))[0]) for batch in found
            )

    def rows(file: Path, wanted: Any) -> int:
        with file.open("rb") as stream:
            reading = Reading(stream, Place(file.name), wanted=wanted)
            return sum(parsed.tables["api_activity"].num_rows for parsed in reading)

    five = {"api_activity": frozenset({"time", "operation", "actor", "src_key", "status"})}
    with reused():
        return {
            "records": _rate(files, records),
            "columns": _rate(files, lambda file: rows(file, five)),
            "all": _rate(files, lambda file: rows(file, None)),
        }


def _rate(files: list[Path], read: Callable[[Path], int]) -> float:
    """Return how many records are read in a second of processor time, once all is warm."""
    read(files[0])
    began = time.process_time()
    count = sum(map(read, files))
    return count / (time.process_time() - began)


def sigma(calls: str, folder: str) -> dict[str, Any]:
    """Run Sigma rules over the columns that they ask for, and let the oracle check a part."""
    import msgspec
    import pyarrow as pa

    from firedoor.lake.duck import Duck
    from firedoor.lake.objects import Reading
    from firedoor.log_source import Place
    from firedoor.sigma import flat, oracle, reading
    from firedoor.sigma.backend import Columns, sql
    from firedoor.sigma.running import asked

    rules = [rule for rule in reading.read(Path(folder)).rules if rule.log.source == SOURCE]
    columns = Columns()
    conditions = [sql(rule.sigma, columns) for rule in rules]
    tables: list[pa.Table] = []
    sample: list[bytes] = []
    began = time.process_time()
    for file in sorted(Path(calls).iterdir()):
        with file.open("rb") as stream:
            for parsed in Reading(
                stream, Place(file.name), wanted={"api_activity": frozenset({"raw"})}
            ):
                raws = parsed.tables["api_activity"]["raw"].cast(pa.binary()).to_pylist()
                sample += raws[: max(0, CHECKED - len(sample))]
                table, lists = flat.table(raws, rules[0].log, columns)
                assert not lists  # noqa: S101 - none of these records has one
                tables.append(table.drop_columns([flat.ROW]))
    flattened = time.process_time() - began
    whole = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    whole = whole.append_column(flat.ROW, pa.array(range(whole.num_rows)))
    with Duck() as duck:
        duck.put({"flat": whole})
        began, wall = time.process_time(), time.perf_counter()
        found = [asked(condition, duck) for condition in conditions]
        took, wall = time.process_time() - began, time.perf_counter() - wall
    records = [msgspec.json.decode(raw) for raw in sample]
    differ = 0
    for rule, rows in zip(rules, found, strict=True):
        true = [n for n, one in enumerate(records) if oracle.matches(rule.sigma, rule.log, one)]
        differ += true != [row for row in rows if row < len(records)]
    return {
        "rules": len(rules), "events": whole.num_rows, "matches": sum(map(len, found)),
        "flattening": flattened, "cpu": took, "wall": wall, "checked": len(records),
        "differ": differ,
    }  # fmt: skip


def _keeper(root: Path) -> Callable[[Path], None]:
    from firedoor.collector import Blob
    from firedoor.lake.objects import Reading
    from firedoor.lake.store import Store, Written
    from firedoor.log_source import Place

    store, now = Store(root), datetime.now(UTC)

    def keep(file: Path) -> None:
        written = Written(root, Blob(str(file), "1", 1, now))
        with file.open("rb") as stream:
            for parsed in Reading(stream, Place(file.name)):
                written.add(parsed)
        written.close()
        store.keep(written, now)

    return keep


def _each(files: list[Path], work: Callable[[Path], None]) -> float:
    """Return the CPU milliseconds that a file takes, once everything is warm."""
    for file in files[:3]:
        work(file)
    began = time.process_time()
    for file in files:
        work(file)
    return (time.process_time() - began) * 1000 / len(files)


def _questions() -> list[tuple[str, dict[str, Any]]]:
    from firedoor.discovery import find
    from firedoor.saved_query import SavedQuery

    known = find("firedoor.queries", SavedQuery)
    since, until = _day()
    bounds = {"since": int(since.timestamp() * 1000), "until": int(until.timestamp() * 1000)}
    return [(known[id_].sql, {**known[id_].params, **bounds}) for id_ in SEEDS]


def _answers(duck: Any) -> list[int]:
    return [duck.ask(sql, params).num_rows for sql, params in _questions()]


def _day() -> tuple[datetime, datetime]:
    from bench.corpus import START

    since = datetime.fromtimestamp(START, UTC)
    return since, since + timedelta(days=1)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))  # noqa: T201
