"""Publishing: what the bucket holds afterwards, and what another run still has to do."""

import os
from pathlib import Path
from typing import Any

import boto3
import pytest

from firedoor.cloud import aws as cloud
from firedoor.errors import NotFound, Unavailable
from firedoor.lake.publishing import Published, publish

BUCKET = "logs.example.com"
PLACE = f"s3://{BUCKET}/firedoor"
FOLDER = "network_activity/day=2026-01-31/account=123456789012"
EARLIER = "network_activity/day=2026-01-30/account=123456789012"


@pytest.fixture
def s3(aws: cloud.Aws) -> Any:
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return cloud.own("s3")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "logs"
    for name in (f"{EARLIER}/a.parquet", f"{FOLDER}/b.parquet", f"{FOLDER}/c.parquet"):
        write(root, name, b"rows of " + name.encode())
    return root


def write(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)


def living(root: Path) -> list[Path]:
    return sorted(root.rglob("*.parquet"))


def in_bucket(s3: Any) -> dict[str, bytes]:
    found = s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {
        one["Key"]: s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read() for one in found
    }


def test_bucket_holds_the_files_under_their_names(s3: Any, store: Path) -> None:
    done = publish(store, living(store), PLACE, s3)

    expected = {f"firedoor/{f.relative_to(store)}": f.read_bytes() for f in living(store)}
    assert in_bucket(s3) == expected
    assert done == Published(sent=3, sent_bytes=sum(map(len, expected.values())))


def test_what_is_there_is_not_sent_again(s3: Any, store: Path) -> None:
    publish(store, living(store), PLACE, s3)

    assert publish(store, living(store), PLACE, s3) == Published(there=3)


def test_what_is_there_is_known_by_its_content_where_the_record_is_lost(
    s3: Any, store: Path
) -> None:
    publish(store, living(store), PLACE, s3)
    (store / "published.sqlite").unlink()

    assert publish(store, living(store), PLACE, s3) == Published(there=3)


def test_file_of_the_same_size_with_other_rows_is_sent(s3: Any, store: Path) -> None:
    publish(store, living(store), PLACE, s3)
    file = store / FOLDER / "b.parquet"
    changed = file.read_bytes().upper()
    file.write_bytes(changed)
    os.utime(file, ns=(1, 1))

    done = publish(store, living(store), PLACE, s3)

    assert (done.sent, done.there) == (1, 2)
    assert in_bucket(s3)[f"firedoor/{FOLDER}/b.parquet"] == changed


def test_file_that_somebody_deleted_there_is_sent_again(s3: Any, store: Path) -> None:
    publish(store, living(store), PLACE, s3)
    s3.delete_object(Bucket=BUCKET, Key=f"firedoor/{FOLDER}/b.parquet")

    done = publish(store, living(store), PLACE, s3)

    assert (done.sent, done.there, len(in_bucket(s3))) == (1, 2, 3)


def test_what_was_compacted_is_deleted_and_what_others_put_there_is_not(
    s3: Any, store: Path
) -> None:
    publish(store, living(store), PLACE, s3)
    s3.put_object(Bucket=BUCKET, Key=f"firedoor/{FOLDER}/theirs.parquet", Body=b"theirs")
    (store / FOLDER / "b.parquet").unlink()
    (store / FOLDER / "c.parquet").unlink()
    write(store, f"{FOLDER}/all.parquet", b"all rows")

    done = publish(store, living(store), PLACE, s3)

    assert (done.sent, done.deleted) == (1, 2)
    assert [*in_bucket(s3)] == [
        f"firedoor/{EARLIER}/a.parquet",
        f"firedoor/{FOLDER}/all.parquet",
        f"firedoor/{FOLDER}/theirs.parquet",
    ]


def test_folder_whose_rows_moved_elsewhere_is_emptied(s3: Any, store: Path) -> None:
    publish(store, living(store), PLACE, s3)
    other = FOLDER.replace("123456789012", "222222222222")
    (store / FOLDER).rename(store / other)

    done = publish(store, living(store), PLACE, s3)

    assert (done.sent, done.deleted) == (2, 2)
    assert not any(FOLDER in name for name in in_bucket(s3))


def test_day_that_is_too_old_to_be_kept_here_stays_there(s3: Any, store: Path) -> None:
    publish(store, living(store), PLACE, s3)
    (store / EARLIER / "a.parquet").unlink()

    done = publish(store, living(store), PLACE, s3)

    assert done == Published(there=2)
    assert f"firedoor/{EARLIER}/a.parquet" in in_bucket(s3)


def test_run_that_was_cut_off_is_finished_and_what_it_sent_is_known(s3: Any, store: Path) -> None:
    sent: list[str] = []

    def cut(model: Any, **_: Any) -> None:
        if sent:
            raise Unavailable("", "the connection was lost", model.name)
        sent.append(model.name)

    s3.meta.events.register("after-call.s3.PutObject", cut)
    with pytest.raises(Unavailable):
        publish(store, living(store), PLACE, s3)
    s3.meta.events.unregister("after-call.s3.PutObject", cut)
    (store / FOLDER / "b.parquet").unlink()  # it was sent, or not: nobody was told

    publish(store, living(store), PLACE, s3)

    assert [*in_bucket(s3)] == [
        f"firedoor/{EARLIER}/a.parquet",
        f"firedoor/{FOLDER}/c.parquet",
    ]


def test_file_that_vanishes_meanwhile_is_left_to_the_next_run(s3: Any, store: Path) -> None:
    files = living(store)
    files[1].unlink()

    assert publish(store, files, PLACE, s3).vanished == 1


def test_bucket_that_is_not_there_is_said(s3: Any, store: Path) -> None:
    with pytest.raises(NotFound, match="NoSuchBucket"):
        publish(store, living(store), "s3://other.example.com", s3)
