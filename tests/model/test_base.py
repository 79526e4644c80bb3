"""The base of all values."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from firedoor.model.base import Model, UtcDatetime, digest


class Moment(Model):
    """A value with an instant in it."""

    at: UtcDatetime
    name: str = "x"


def test_rule_18_naive_times_are_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Moment(at=datetime(2026, 1, 1))  # noqa: DTZ001


def test_rule_18_times_of_other_zones_become_utc() -> None:
    tokyo = timezone(timedelta(hours=9))

    moment = Moment(at=datetime(2026, 1, 1, 9, tzinfo=tokyo))

    assert moment.at == datetime(2026, 1, 1, tzinfo=UTC)
    assert moment.at.tzinfo is UTC
    assert '"2026-01-01T00:00:00Z"' in moment.model_dump_json()


def test_unknown_members_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        Moment.model_validate({"at": "2026-01-01T00:00:00Z", "color": "red"})


def test_digest_is_of_the_value_and_not_of_how_it_was_made() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)

    assert digest(Moment(at=at, name="é")) == digest(
        Moment.model_validate_json(Moment(name="é", at=at).model_dump_json())
    )
    assert digest(Moment(at=at)) != digest(Moment(at=at + timedelta(microseconds=1)))


def test_digest_is_the_sha256_of_canonical_json() -> None:
    # Computed by hand: echo -n '{"at":"2026-01-01T00:00:00Z","name":"x"}' | sha256sum
    expected = "053109e9a95ba0c1da596e63e84e607f1e4350c9bb3b9538ff3dc5699bbe0821"

    assert digest(Moment(at=datetime(2026, 1, 1, tzinfo=UTC))) == expected
