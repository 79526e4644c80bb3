"""Flow logs written for a test, and a store for them."""

import gzip
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firedoor.lake.store import Store

NOW = datetime(2026, 5, 29, 12, tzinfo=UTC)
"""The instant at which the tests of the lake take place."""

Flows = Callable[..., Path]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def flows(tmp_path: Path) -> Flows:
    """Write an object of flow logs; each line is another port that was refused."""

    def write(
        name: str,
        lines: int = 3,
        *,
        at: datetime = NOW,
        account: str = "123456789012",
        more: str = "",
    ) -> Path:
        second = int(at.timestamp())
        text = "".join(
            f"2 {account} eni-0a1b2c3d4e5f60718 198.51.100.7 10.0.1.5 40000 {port} 6 1 40"
            f" {second} {second + 60} REJECT OK\n"
            for port in range(1, lines + 1)
        )
        file = tmp_path / "logs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        content = (text + more).encode()
        file.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return file

    return write
