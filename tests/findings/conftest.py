"""The fixtures of findings, and AWS's own model of them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore
import pytest

from firedoor.model.finding import Finding
from firedoor.reading import parse

FIXTURES = Path(__file__).parents[1] / "data" / "guardduty"


@pytest.fixture(scope="session")
def document() -> Callable[[str], Any]:
    """A fixture, decoded."""
    return lambda name: json.loads((FIXTURES / f"{name}.json").read_text())


@pytest.fixture(scope="session")
def finding(document: Callable[[str], Any]) -> Callable[[str], Finding]:
    """The one finding of a fixture."""

    def only(name: str) -> Finding:
        (one,) = parse(document(name), name)
        return one

    return only


@pytest.fixture(scope="session")
def shapes() -> dict[str, Any]:
    """The shapes of GuardDuty's service model, as botocore carries it."""
    root = Path(botocore.__file__).parent / "data" / "guardduty" / "2017-11-28"
    with gzip.open(root / "service-2.json.gz") as packed:
        return json.load(packed)["shapes"]
