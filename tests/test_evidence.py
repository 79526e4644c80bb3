"""The store of evidence, in a directory and in a bucket."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError

from firedoor import evidence
from firedoor.errors import BadInput, Unreachable
from firedoor.lab.server import EmulatedAws
from firedoor.model.plan import Check
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


@pytest.fixture
def locking(lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket with Object Lock that locks nothing by default."""
    lab.reset()
    boto3.client("s3").create_bucket(Bucket="example-locked", ObjectLockEnabledForBucket=True)
    monkeypatch.setenv("FIREDOOR_EVIDENCE", "s3://example-locked/kept")
    settings.cache_clear()
    yield "example-locked"
    settings.cache_clear()


def test_bucket_that_can_lock_holds_what_is_kept(locking: str) -> None:
    kept = evidence.keep(b"content", "context.json", NOW)

    assert evidence.lock(kept.uri) == "legal hold"
    (version,) = boto3.client("s3").list_object_versions(Bucket=locking)["Versions"]
    with pytest.raises(ClientError, match="AccessDenied"):
        boto3.client("s3").delete_object(
            Bucket=locking, Key=version["Key"], VersionId=version["VersionId"]
        )


def test_bucket_that_locks_by_default_is_left_to_do_so(locking: str) -> None:
    default = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    boto3.client("s3").put_object_lock_configuration(
        Bucket=locking,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": default},
    )

    kept = evidence.keep(b"content", "context.json", NOW)

    assert str(evidence.lock(kept.uri)).startswith("governance until 20")


def test_hold_that_we_may_not_put_on_loses_no_evidence(locking: str, lab: EmulatedAws) -> None:
    fault = {"service": "s3", "operation": "PutObject", "code": "AccessDenied", "status": 403}
    lab.control("POST", "firedoor/faults", fault)

    kept = evidence.keep(b"content", "context.json", NOW)

    assert evidence.fetch(kept.uri) == b"content"
    assert evidence.lock(kept.uri) is None


def test_what_is_kept_elsewhere_is_not_locked(root: str) -> None:
    kept = evidence.keep(b"content", "context.json", NOW)

    assert evidence.lock(kept.uri) is None


def test_altered_document_is_told_from_the_one_that_was_kept(root: str) -> None:
    kept = evidence.keep(b"content", "context.json", NOW)
    other = kept.model_copy(update={"sha256": "0" * 64})

    assert evidence.checked(kept) == (b"content", Check(name=kept.name, ok=True, detail=kept.uri))
    assert evidence.checked(other)[1].detail == f"{kept.uri} was altered"


def test_what_a_cloud_keeps_is_not_ours_to_fetch() -> None:
    with pytest.raises(BadInput, match="a document that we hold"):
        evidence.fetch("arn:aws:ec2:us-east-1::snapshot/snap-0aaaaaaaaaaaaaaaa")
