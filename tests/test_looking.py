"""Looking over what is kept."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from firedoor import looking
from firedoor.lake.ingest import Given, ingest
from firedoor.lake.store import Store

BEGIN = datetime(2026, 5, 28, 20, tzinfo=UTC)
LINE = "2 123456789012 eni-0a 198.51.100.7 10.0.1.5 40000 {} 6 1 40 {at} {at} REJECT OK\n"


def kept(root: Path, *scans: datetime) -> Store:
    """Return a store with a file of flow logs for each port scan."""
    store = Store(root / "store")
    for at in scans:
        file = root / f"{at:%d-%H}.log"
        lines = (LINE.format(port, at=round(at.timestamp())) for port in range(1, 61))
        file.write_text("".join(lines))
        assert [one.rows for one in ingest([str(file)], store, Given(), at)] == [60]
    return store


def test_every_window_is_looked_at(tmp_path: Path) -> None:
    scans = BEGIN, BEGIN + timedelta(hours=3), BEGIN + timedelta(days=2)
    with kept(tmp_path, *scans) as store:
        seen = looking.over(store, BEGIN, scans[2] + timedelta(hours=1), ("port_scan",), None)

    assert seen.problems == []
    assert sorted(one.first_seen for one in seen.findings.values()) == [*scans]


def test_file_that_is_damaged_is_named_once_and_the_other_days_are_looked_at(
    tmp_path: Path,
) -> None:
    scans = BEGIN, BEGIN + timedelta(days=2)
    rules = "port_scan", "ssh_brute_force"
    with kept(tmp_path, *scans) as store:
        (damaged,) = store.files(until=BEGIN)
        damaged.path.write_text("no Parquet")

        seen = looking.over(store, BEGIN, scans[1] + timedelta(hours=1), rules, None)

    assert [str(damaged.path) in problem for problem in seen.problems] == [True]
    assert [one.first_seen for one in seen.findings.values()] == [scans[1]]
