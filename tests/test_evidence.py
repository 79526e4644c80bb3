"""The store of evidence, in a directory and in a bucket."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from firedoor import evidence
from firedoor.errors import BadInput, Unreachable
from firedoor.lab.server import EmulatedAws
from firedoor.settings import settings
from firedoor.testing import NOW


@pytest.fixture(params=["directory", "bucket"])
def root(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lab: EmulatedAws,
) -> Iterator[str]:
    """Each place where evidence can be kept."""
    place = str(tmp_path / "kept here")
    if request.param == "bucket":
        lab.reset()
        boto3.client("s3").create_bucket(Bucket="example-evidence")
        place = "s3://example-evidence/kept/"
    monkeypatch.setenv("FIREDOOR_EVIDENCE", place)
    settings.cache_clear()
    yield place
    settings.cache_clear()


def test_what_is_kept_can_be_fetched(root: str) -> None:
    kept = evidence.keep(b"content", "context.json", NOW)

    assert evidence.fetch(kept.uri) == b"content"
    assert kept.size == 7


def test_same_content_is_kept_once(root: str) -> None:
    first = evidence.keep(b"content", "context.json", NOW)
    again = evidence.keep(b"content", "context.json", NOW)

    assert again == first


def test_record_that_was_written_first_stays(root: str) -> None:
    first = evidence.keep(b"first", "context.json", NOW)
    second = evidence.keep(b"second", "context.json", NOW)

    evidence.record("digest", [first])

    assert evidence.record("digest", [second]) == (first,)
    assert evidence.recorded("digest") == (first,)


def test_nothing_is_recorded_before_it_is(root: str) -> None:
    assert evidence.recorded("digest") == ()


def test_evidence_that_is_gone_cannot_be_fetched(root: str) -> None:
    kept = evidence.keep(b"content", "context.json", NOW)

    with pytest.raises(Unreachable, match="is not there"):
        evidence.fetch(kept.uri.replace("context", "other"))


def test_store_that_does_not_take_it_is_unreachable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FIREDOOR_EVIDENCE", str(tmp_path / "file" / "evidence"))
    settings.cache_clear()

    with pytest.raises(Unreachable, match="file/evidence"):
        evidence.keep(b"content", "context.json", NOW)
    settings.cache_clear()


def test_what_a_cloud_keeps_is_not_ours_to_fetch() -> None:
    with pytest.raises(BadInput, match="a document that we hold"):
        evidence.fetch("arn:aws:ec2:us-east-1::snapshot/snap-0aaaaaaaaaaaaaaaa")
