"""Shared Sigma rules, where they are, and one engine for all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from firedoor.lake.duck import Duck
from firedoor.sigma.reading import Rule, read

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of the samples of others."""
    if not SHARED.exists():
        pytest.skip("the samples of others are not here")
    return SHARED


@pytest.fixture(scope="session")
def shared_rules(shared: Path) -> tuple[Rule, ...]:
    """Return the rules of others that can be matched."""
    return read(shared / "sigma-cloud-rules").rules


@pytest.fixture(scope="session")
def duck() -> Iterator[Duck]:
    with Duck() as one:
        yield one
