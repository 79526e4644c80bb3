"""Reading logs, as an activity of the worker that keeps them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from firedoor.lake.ingest import Given
from firedoor.lake.ingest import ingest as read
from firedoor.lake.store import Store
from firedoor.model.watch import Watch
from firedoor.settings import settings
from worker.detecting import ingest

LINE = "2 123456789012 eni-0a 198.51.100.7 10.0.1.5 40000 22 6 1 40 1780000000 1780000060 REJECT OK"


async def test_next_attempt_knows_what_was_read_by_one_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late.log").write_text(f"{LINE}\n")
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FIREDOOR_LOG_PLACES", str(tmp_path / "late.log"))
    settings.cache_clear()
    now = datetime.now(UTC)
    with Store(settings().store) as store:
        [*read(settings().places, store, Given(), now)]
    second = ActivityEnvironment()
    second.info = replace(second.info, attempt=2, scheduled_time=now - timedelta(seconds=1))

    found = await second.run(ingest, Watch())

    assert (found.objects, found.first) == (0, datetime.fromtimestamp(1780000000, UTC))
