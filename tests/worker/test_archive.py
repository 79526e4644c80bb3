"""What an installation knows of its policies and runbooks, also of those that it had before."""

from pathlib import Path

import pytest

from firedoor import evidence
from firedoor.evidence import Pin
from firedoor.settings import settings
from firedoor.testing import lay_out, policy
from worker import archive, catalogue


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path))
    lay_out(tmp_path, "alice")
    forget()
    return tmp_path


def forget() -> None:
    settings.cache_clear()
    catalogue.forget()
    archive.find_policy.cache_clear()
    archive.find_runbook.cache_clear()


def test_policy_of_before_is_known_after_it_was_changed(home: Path) -> None:
    before = catalogue.policy()
    archive.keep()
    lay_out(home, "bob")
    forget()

    assert catalogue.policy().digest != before.digest
    assert archive.find_policy(before.digest) == before
    assert archive.find_policy(catalogue.policy().digest) == catalogue.policy()


def test_policy_that_this_installation_never_had_is_unknown(home: Path) -> None:
    archive.keep()

    assert archive.find_policy(policy("mallory").digest) is None


def test_every_runbook_is_kept(home: Path) -> None:
    archive.keep()

    for runbook in catalogue.catalogue().values():
        assert evidence.pinned(Pin.RUNBOOK, runbook.digest) is not None


def test_policy_that_was_altered_in_the_store_is_unknown(home: Path) -> None:
    theirs = policy("mallory")
    evidence.pin(Pin.POLICY, theirs)
    (file,) = (home / "evidence" / "policies").glob("*.json")
    file.write_bytes(file.read_bytes().replace(b"mallory", b"eve1234"))
    forget()

    assert archive.find_policy(theirs.digest) is None


@pytest.mark.parametrize("name", ["../../responders.yaml", "", "x" * 64])
def test_name_that_is_no_digest_finds_nothing(home: Path, name: str) -> None:
    assert archive.find_policy(name) is None
