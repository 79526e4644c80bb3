"""Baselines on the command line."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from firedoor import baseline, baselining, detecting
from firedoor.baseline import DAY
from firedoor.cli import baseline as shown
from firedoor.collector import Blob
from firedoor.errors import BadInput
from firedoor.lake.store import Store, Written
from firedoor.log_source import Parsed

Cli = Callable[..., Awaitable[Any]]

START = datetime(2026, 1, 5, tzinfo=UTC)
AT = "2026-01-25T06:00Z"
ACCOUNT = "123456789012"
INSTANCE = "i-0a1b2c3d4e5f60718"
GB = 10**9


@pytest.fixture
def kept(cli: Cli, tmp_path: Path) -> None:
    """Keep 20 days on which an instance sent 2 GB, and one on which it sent 30."""
    rows = [
        {
            "time": baseline.epoch(START) + day * DAY, "cloud": "aws", "account": ACCOUNT,
            "region": "eu-central-1", "resource": INSTANCE, "action": "Allowed",
            "src_ip": "10.0.1.5", "dst_ip": "198.51.100.7",
            "bytes": (30 if day == 20 else 2) * GB,
        }
        for day in range(21)
    ]  # fmt: skip
    with Store(tmp_path / "home" / "logs") as store:
        blob = Blob(name="test", version="1", size=1, modified=START)
        written = Written(store.root, blob, source="test")
        written.add(Parsed(detecting.tables({"network_activity": rows})))
        written.close()
        store.keep(written, START + timedelta(days=21))


async def test_list_names_every_metric_and_where_it_begins(cli: Cli) -> None:
    ended = await cli("baseline", "list")

    lines = {line.split()[0]: line for line in ended.out.splitlines()}
    assert lines.keys() == {"METRIC"} | baselining.metrics().keys()
    assert lines["outbound_bytes"].split()[-5:] == ["day", "10", "GB", "50", "GB"]


async def test_show_says_what_is_normal_how_it_is_and_what_to_make_of_it(
    cli: Cli, kept: None
) -> None:
    ended = await cli("baseline", "show", "outbound_bytes", "--at", AT, "--entity", INSTANCE)

    (line,) = ended.out.splitlines()[1:]
    assert line.split("  ")[:2] == ["outbound_bytes", INSTANCE]
    assert "681 MB to 4.79 GB  30 GB  10.7 GB    above    learned from 20 days" in line


async def test_show_tells_programs_the_same_and_leaves_out_what_it_is_told_to(
    cli: Cli, kept: None
) -> None:
    ended = await cli(
        "baseline", "show", "outbound_bytes", "--at", AT, "--json",
        "--leave-out", "2026-01-08/2026-01-10",
    )  # fmt: skip

    first, second = ended.document
    assert {first["entity"], second["entity"]} == {"", INSTANCE}
    assert (first["verdict"], first["value"], first["samples"]) == ("above", 30 * GB, 18)


async def test_picture_is_written_as_png_and_as_page(cli: Cli, kept: None, tmp_path: Path) -> None:
    png, page = tmp_path / "a.png", tmp_path / "a.html"

    ended = await cli(
        "baseline", "show", "outbound_bytes", "--at", AT, "--entity", INSTANCE,
        "--png", str(png), "--html", str(page),
    )  # fmt: skip

    assert ended == (
        0,
        f"{png}: Outbound traffic: {INSTANCE}\n{page}: Outbound traffic: {INSTANCE}\n",
        "",
    )
    assert png.read_bytes().startswith(b"\x89PNG")
    assert page.read_text().startswith("<!doctype html>")


def test_picture_of_several_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="name METRIC, --entity and --account"):
        shown._draw([], tmp_path / "a.png", None)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("outbound",), "METRIC: outbound: expected one of api_callers, "),
        (("--entity", "i-0"), "nothing was measured of i-0 in the 90 days before"),
    ],
)
async def test_what_cannot_be_shown_is_named(
    cli: Cli, arguments: tuple[str, ...], complaint: str
) -> None:
    ended = await cli("baseline", "show", *arguments)

    assert ended.status in (1, 2)
    assert complaint in ended.err


@pytest.mark.parametrize("text", ["2026-01-08", "2026-01-09/2026-01-08", "/", "2026-01-08/x"])
def test_time_to_leave_out_has_a_beginning_and_an_end(text: str) -> None:
    with pytest.raises(BadInput, match="--leave-out"):
        shown._span(text)


async def test_rebuild_measures_all_days_anew(cli: Cli, kept: None, tmp_path: Path) -> None:
    ended = await cli("baseline", "rebuild")

    files = [*(tmp_path / "home/logs/baselines").rglob("*.parquet")]
    assert (ended.status, ended.out) == (0, f"{len(files)} days of metrics measured\n")
