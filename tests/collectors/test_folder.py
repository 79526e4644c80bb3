"""Files as places of logs."""

import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firedoor import collecting
from firedoor.errors import BadInput

OLD = datetime(2026, 1, 31, tzinfo=UTC).timestamp()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for place in (
        "b.log", "a/2026/01/31/x.gz", "a/y.json", "a/.hidden/z.log", ".z.log", "w.part", "v.tmp",
    ):  # fmt: skip
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(place)
    return tmp_path


def names(url: Path | str, root: Path) -> set[str]:
    return {blob.name.removeprefix(f"{root}/") for blob in collecting.blobs(str(url))}


def test_a_folder_means_all_below_it_but_what_is_hidden_or_unfinished(logs: Path) -> None:
    assert names(logs, logs) == {"b.log", "a/2026/01/31/x.gz", "a/y.json"}


def test_a_file_means_itself(logs: Path) -> None:
    assert names(logs / "b.log", logs) == names((logs / "b.log").as_uri(), logs) == {"b.log"}


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("*", {"b.log"}),
        ("**", {"b.log", "a/2026/01/31/x.gz", "a/y.json"}),
        ("**/*.gz", {"a/2026/01/31/x.gz"}),
        ("a/*/01/**", {"a/2026/01/31/x.gz"}),
        ("**/b.log", {"b.log"}),
        ("a/*.json", {"a/y.json"}),
    ],
)
def test_stars_stand_for_names(logs: Path, pattern: str, meant: set[str]) -> None:
    assert names(f"{logs}/{pattern}", logs) == meant


def test_a_file_whose_name_has_a_star_means_itself(logs: Path) -> None:
    (logs / "a*.log").write_text("")

    assert names(logs / "a*.log", logs) == {"a*.log"}


def test_links_that_go_round_end(logs: Path) -> None:
    (logs / "a" / "again").symlink_to(logs)
    (logs / "a" / "dangling").symlink_to(logs / "nowhere")

    assert names(logs / "a", logs / "a") >= {"y.json", "2026/01/31/x.gz"}
    assert len(names(logs / "a", logs)) == 3


def test_a_folder_that_is_closed_is_named_and_the_others_are_read(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.scandir

    def closed(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == logs / "a":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return look(path)

    monkeypatch.setattr(os, "scandir", closed)

    found = [*collecting.blobs(str(logs))]

    assert {Path(blob.name).name for blob in found} == {"a", "b.log"}
    with pytest.raises(BadInput, match="expected a file that we may read"):
        collecting.open_(next(blob for blob in found if blob.name.endswith("/a")))


def test_a_name_that_is_no_text_is_named_and_the_others_are_read(logs: Path) -> None:
    (logs / "a" / os.fsdecode(b"\xff.log")).write_text("")

    found = {Path(blob.name).name: blob for blob in collecting.blobs(str(logs / "a"))}

    assert found.keys() == {"x.gz", "y.json", "\\udcff.log"}
    with pytest.raises(BadInput, match="expected a file that we may read"):
        collecting.open_(found["\\udcff.log"])
    with pytest.raises(BadInput, match="expected a name in UTF-8"):
        [*collecting.blobs(os.fsdecode(b"\xff"))]


def test_files_come_oldest_first(logs: Path) -> None:
    os.utime(logs / "b.log", (OLD, OLD))

    assert next(collecting.blobs(str(logs))).name == str(logs / "b.log")


def test_a_file_moved_here_with_its_old_times_is_found(logs: Path) -> None:
    os.utime(logs / "b.log", (OLD, OLD))

    found = {blob.name for blob in collecting.blobs(str(logs), datetime.now(UTC))}

    assert str(logs / "b.log") in found


def test_another_content_is_another_version(logs: Path) -> None:
    (before,) = collecting.blobs(str(logs / "b.log"))
    with (logs / "b.log").open("a") as file:
        file.write("more")
    (after,) = collecting.blobs(str(logs / "b.log"))

    assert (before.version == after.version, after.size) == (False, before.size + 4)


def test_a_file_is_read_from_an_offset(logs: Path) -> None:
    (blob,) = collecting.blobs(str(logs / "b.log"))
    with collecting.open_(blob, 2) as stream:
        assert stream.read() == b"log"


def test_what_was_copied_with_its_folders_tells_whose_it_is(tmp_path: Path) -> None:
    subscription = "00000000-0000-0000-0000-00000000000A"
    for place in (
        "202601311200/AWSLogs/123456789012/CloudTrail/eu-west-1/2026/01/31/a.gz",
        f"z/resourceId=/SUBSCRIPTIONS/{subscription}/RESOURCEGROUPS/X/y=2026/PT1H.json",
        "zz/999999999999/c.log",
    ):
        (tmp_path / place).parent.mkdir(parents=True)
        (tmp_path / place).write_text("x")

    assert {(blob.account, blob.region) for blob in collecting.blobs(str(tmp_path))} == {
        ("123456789012", "eu-west-1"), (subscription.lower(), ""), ("", ""),
    }  # fmt: skip


def test_what_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^logs: .*/none: no such file or folder$"):
        list(collecting.blobs(f"{tmp_path}/none"))


def test_a_file_that_went_away_is_said_in_one_line(logs: Path) -> None:
    (blob,) = collecting.blobs(str(logs / "b.log"))
    (logs / "b.log").unlink()

    with pytest.raises(BadInput, match="No such file"):
        collecting.open_(blob)


@pytest.mark.parametrize(
    "url", ["ftp://example.com/logs?sig=SECRET", "https://example.com/?SECRET"]
)
def test_a_place_of_no_kind_is_said_without_its_signature(url: str) -> None:
    with pytest.raises(BadInput, match=r"expected a file, a folder, s3://") as caught:
        list(collecting.blobs(url))
    assert "SECRET" not in str(caught.value)
