"""Logs come into the store once each, whatever is wrong with some of them and whoever is killed."""

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firedoor.collector import Blob
from firedoor.errors import BadInput, Refused, Unreachable
from firedoor.lake.ingest import Given, _write, ingest, tidy
from firedoor.lake.store import Seen, Store, Written

NOW = datetime(2026, 5, 29, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=12)
COUNT = "SELECT count(*) AS n FROM network_activity"

Flows = Callable[..., Path]


def read(store: Store, *places: Path, at: datetime = NOW, **options: Any) -> list[Seen]:
    return list(ingest(map(str, places), store, Given(), at, **options))


def count(store: Store, sql: str = COUNT) -> int:
    with store.duck() as duck:
        (row,) = duck.ask(sql).to_pylist()
    return int(row["n"])


def aged(file: Path, at: datetime) -> Path:
    os.utime(file, (at.timestamp(), at.timestamp()))
    return file


def test_object_is_read_once(store: Store, flows: Flows) -> None:
    folder = flows("a.log.gz").parent

    first, second = read(store, folder), read(store, folder)

    assert ([one.rows for one in first], second, count(store)) == ([3], [], 3)


def test_new_object_is_read_the_next_time(store: Store, flows: Flows) -> None:
    folder = flows("a.log").parent
    read(store, folder)
    flows("b.log", 4)

    (seen,) = read(store, folder)

    assert (Path(seen.name).name, seen.rows, count(store)) == ("b.log", 4, 7)


def test_changed_object_replaces_what_was_read_of_it(store: Store, flows: Flows) -> None:
    file = flows("a.log", 3)
    read(store, file)
    flows("a.log", 5)

    (seen,) = read(store, file)

    assert (seen.rows, count(store)) == (5, 5)


def test_late_object_is_found(store: Store, flows: Flows) -> None:
    folder = flows("b.log").parent
    read(store, folder, at=NOW)
    flows("a.log", 2, at=NOW - timedelta(days=3))

    (seen,) = read(store, folder, at=NOW)

    assert seen.first == NOW - timedelta(days=3)


def test_rows_lie_by_relation_day_and_account(store: Store, flows: Flows) -> None:
    flows("a.log", 1, at=NOW, account="123456789012")
    flows("b.log", 2, at=NOW - timedelta(days=1), account="210987654321")
    read(store, flows("c.log").parent)

    found = {(f.relation, f.day.isoformat(), f.account): f.rows for f in store.files()}

    assert found[("network_activity", "2026-05-28", "210987654321")] == 2
    for file in store.files():
        folder = f"network_activity/day={file.day}/account={file.account}"
        assert file.path.parent == store.root / folder


def test_one_object_of_several_days_and_accounts_is_parted(store: Store, flows: Flows) -> None:
    one = flows("a.log", 2).read_text()
    two = flows("b.log", 3, at=NOW - timedelta(days=1), account="210987654321").read_text()
    mixed = flows("c.log", 0, more=one + two)

    (seen,) = read(store, mixed)

    assert (seen.rows, sorted(f.rows for f in store.files())) == (5, [2, 3])
    sql = "SELECT count(*) AS n FROM network_activity WHERE account = '210987654321'"
    assert count(store, f"{sql} AND day = '2026-05-28'") == 3


def test_line_that_cannot_be_read_is_kept_with_its_reason(store: Store, flows: Flows) -> None:
    file = flows("a.log", 2, more="what is this\n")

    (seen,) = read(store, file)

    assert (seen.rows, seen.refused, seen.problem) == (2, 1, "")
    (refused,) = store.refusals(str(file))
    assert (refused.number, refused.text) == (3, b"what is this")
    assert refused.reason == "3 columns, expected 14"
    assert [one.name for one in store.problems()] == [str(file)]


def test_truncated_gzip_is_named_and_the_others_go_on(store: Store, flows: Flows) -> None:
    whole = flows("b.log.gz", 4)
    cut = flows("a.log.gz", 200)
    cut.write_bytes(cut.read_bytes()[:-20])

    seen = {Path(one.name).name: one for one in read(store, whole.parent)}

    assert "it ends too early" in seen["a.log.gz"].problem
    assert (seen["b.log.gz"].problem, seen["b.log.gz"].rows) == ("", 4)


def test_document_that_is_cut_is_named(store: Store, flows: Flows) -> None:
    folder = flows("b.log").parent
    entry = {
        "logName": "projects/example-project/logs/dns.googleapis.com%2Fdns_queries",
        "timestamp": "2026-05-29T12:00:00Z", "jsonPayload": {"queryName": "example.com."},
    }  # fmt: skip
    (folder / "a.json").write_text(json.dumps([entry, entry])[:-20])

    seen = {Path(one.name).name: one for one in read(store, folder)}

    assert seen["a.json"].rows == 1
    assert seen["a.json"].problem.endswith("unpacked: it ends within a record")


def test_folder_of_many_formats_is_read_each_in_its_own(store: Store, flows: Flows) -> None:
    flows("a.log", 2)
    call = {
        "eventVersion": "1.09", "eventTime": "2026-05-29T12:00:00Z", "eventName": "StopLogging",
        "eventSource": "cloudtrail.amazonaws.com", "awsRegion": "eu-central-1",
        "sourceIPAddress": "198.51.100.7", "recipientAccountId": "123456789012",
        "eventID": "00000000-0000-4000-8000-000000000001", "eventType": "AwsApiCall",
        "userIdentity": {"type": "IAMUser", "userName": "alice", "accountId": "123456789012"},
    }  # fmt: skip
    folder = flows("c.log").parent
    (folder / "b.json.gz").write_bytes(gzip.compress(json.dumps({"Records": [call]}).encode()))
    (folder / "d.txt").write_text("shopping list\n")

    seen = {Path(one.name).name: one for one in read(store, folder)}

    sources = {name: one.source for name, one in seen.items()}
    assert sources == {
        "a.log": "aws_vpc_flow", "b.json.gz": "aws_cloudtrail", "c.log": "aws_vpc_flow",
        "d.txt": None,
    }  # fmt: skip
    assert "name its format" in seen["d.txt"].problem


def test_what_could_not_be_read_is_tried_again_on_demand(store: Store, flows: Flows) -> None:
    folder = flows("a.log").parent
    (folder / "d.txt").write_text("shopping list\n")
    read(store, folder)

    assert read(store, folder) == []
    assert [Path(one.name).name for one in read(store, folder, again=True)] == ["d.txt"]


def test_places_that_are_gone_keep_no_other_from_being_read(store: Store, flows: Flows) -> None:
    file = flows("a.log")

    with pytest.raises(BadInput, match="gone: no such file or folder") as raised:
        read(store, file.parent / "gone", file, file.parent / "lost")

    assert count(store) == 3
    assert "lost: no such file" in raised.value.__notes__[0]


def test_what_is_not_given_out_is_asked_for_again_after_a_pause(
    store: Store, flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = flows("a.log")
    pause = timedelta(minutes=10)
    look = Path.open

    def refuse(path: Path, mode: str) -> Any:
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, mode)

    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", refuse)
        (failed,) = read(store, file.parent, pause=pause)

    soon = read(store, file.parent, at=NOW + timedelta(minutes=1), pause=pause)
    listed = store.listed(str(file.parent))
    later = read(store, file.parent, at=NOW + pause, pause=pause)

    assert "Permission denied" in failed.problem
    assert (soon, listed) == ([], None)
    assert [one.rows for one in later] == [3]


def test_place_that_is_none_is_said(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        read(store, tmp_path / "nowhere")


def test_small_files_are_put_together_and_no_row_is_lost(store: Store, flows: Flows) -> None:
    for name in "abcdef":
        aged(flows(f"{name}.log", 3), NOW)
    read(store, flows("a.log", 3).parent)
    aged(flows("a.log", 3), NOW)
    before = count(store)

    less, _ = tidy(store, 90, LATER)

    assert less >= 4
    assert count(store) == before


def test_object_that_changes_after_it_was_compacted_is_not_counted_twice(
    store: Store, flows: Flows
) -> None:
    for name in "abcd":
        aged(flows(f"{name}.log", 3), NOW)
    folder = flows("a.log", 3).parent
    aged(flows("a.log", 3), NOW)
    read(store, folder)
    tidy(store, 90, LATER)
    flows("a.log", 5)

    (seen,) = read(store, folder, at=LATER)

    assert "it has changed since its rows were compacted" in seen.problem
    assert (seen.rows, count(store)) == (3, 12)


def test_old_days_are_dropped_and_not_read_again(store: Store, flows: Flows) -> None:
    folder = flows("a.log", 3, at=NOW - timedelta(days=100)).parent
    flows("b.log", 2, at=NOW)
    read(store, folder)

    _, kept = tidy(store, 90, NOW)
    _, dropped = tidy(store, 90, NOW + timedelta(days=91))

    assert (kept, dropped, read(store, folder)) == (0, 2, [])


def test_replaced_files_stay_until_nobody_can_be_about_to_open_them(
    store: Store, flows: Flows
) -> None:
    file = flows("a.log", 3)
    read(store, file)
    (old,) = store.files()
    flows("a.log", 5)
    read(store, file)

    tidy(store, 90, NOW)
    assert old.path.exists()
    tidy(store, 90, LATER)
    assert not old.path.exists()


def test_store_knows_for_which_days_it_holds_what(store: Store, flows: Flows) -> None:
    read(store, flows("a.log"))
    day = timedelta(days=1)

    held = [
        store.holds([name], at - day / 2, at)
        for name in ("network_activity", "dns_activity")
        for at in (NOW, NOW + 2 * day, NOW - 2 * day)
    ]

    assert held == [True, False, False, False, False, False]


def test_question_ends_when_somebody_presses_ctrl_c(store: Store) -> None:
    pressed = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))

    pressed.start()
    with pytest.raises(KeyboardInterrupt), store.duck() as duck:
        duck.ask("SELECT count(*) AS n FROM range(1000000000000)")


def test_object_of_very_many_days_and_of_an_absurd_account_is_read(
    store: Store, tmp_path: Path
) -> None:
    line = "2 {} eni-0a 198.51.100.7 10.0.1.5 1 22 6 1 40 {at} {at} REJECT OK\n"
    days = [line.format("123456789012", at=1780000000 + 86400 * day) for day in range(150)]
    late = line.format("123456789012", at=253402300000)  # on the last day that there is
    file = tmp_path / "many.log"
    file.write_text("".join([*days, line.format("1" * 300, at=1780000000), late]))

    (seen,) = read(store, file)

    assert (seen.problem, seen.rows, count(store)) == ("", 152, 152)
    assert count(store, f"{COUNT} WHERE account = 'unknown'") == 1


def test_appended_object_that_is_not_given_out_goes_on_where_it_was(
    store: Store, tmp_path: Path
) -> None:
    gone = Blob(name=str(tmp_path / "PT1H.json"), version="2", size=9, modified=NOW, grows=True)
    before = Written(store.root, replace(gone, version="1"), consumed=7)
    store.keep(before, NOW)

    store.keep(_write(store.root, Given(), gone, store.seen(gone.name)), NOW)

    seen = store.seen(gone.name)
    assert seen is not None
    assert (seen.version, seen.consumed) == ("", 7)
    assert "No such file" in seen.problem


def test_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="logs cannot be kept there"), Store(tmp_path / "store"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_only_one_reads_into_a_store(store: Store, flows: Flows) -> None:
    file = flows("a.log")

    with store.writing(), pytest.raises(Refused, match="another process"), Store(store.root) as two:
        read(two, file)


KILLED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from firedoor.lake.ingest import Given, ingest
from firedoor.lake.store import Store

store = Store(Path(sys.argv[1]))
for seen in ingest([sys.argv[2]], store, Given(), datetime.now(UTC)):
    print(seen.name, flush=True)
"""


@pytest.mark.slow
def test_killed_reader_loses_and_doubles_nothing(store: Store, flows: Flows) -> None:
    for number in range(60):
        flows(f"{number:03}.log.gz", 1000)
    folder = flows("x.log", 1).parent
    command = [sys.executable, "-c", KILLED, str(store.root), str(folder)]

    for wait in (1, 3, 9):  # lines that it says before it is killed
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(wait):
                process.stdout.readline()
            time.sleep(0.01 * wait)
            process.send_signal(signal.SIGKILL)
    read(store, folder)

    assert count(store) == 60_001
    assert sum(file.rows for file in store.files()) == 60_001
