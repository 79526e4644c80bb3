"""Histories of released workflows, which today's code must still understand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from firedoor.audit.replay import parse, replay
from worker.plugin import workflows

HISTORIES = Path(__file__).parent.parent / "histories"
REPLAY = """
import asyncio, os, sys
from pathlib import Path
from firedoor.audit.replay import parse, replay
from worker.plugin import workflows

async def main():
    for path in map(Path, sys.argv[1:]):
        done = await replay(parse(path.read_text(), path.stem), workflows())
        if not done.ok:
            sys.exit(f"{path.name}: {done.differences}")

asyncio.run(main())
os._exit(0)  # the SDK can abort while an interpreter ends that has done its work
"""


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_rule_16_golden_histories_replay_under_any_hash_seed(seed: str) -> None:
    files = sorted(str(path) for path in HISTORIES.glob("*.json"))
    assert len(files) >= 10

    done = subprocess.run(
        [sys.executable, "-c", REPLAY, *files],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


async def test_altered_argument_is_found() -> None:
    path = next(HISTORIES.glob("whole_way*.incident.json"))
    events = json.loads(path.read_text())
    scheduled = next(e for e in events["events"] if "activityTaskScheduledEventAttributes" in e)
    payload = scheduled["activityTaskScheduledEventAttributes"]["input"]["payloads"][0]
    payload["data"] = payload["data"][:-8] + "AAAA" + payload["data"][-4:]

    done = await replay(parse(json.dumps(events), "altered"), workflows())

    assert not done.ok
    assert "other arguments" in done.differences[0]


async def test_history_of_other_code_is_found() -> None:
    path = next(HISTORIES.glob("whole_way*.incident.json"))
    events = json.loads(path.read_text())
    first = next(e for e in events["events"] if "activityTaskScheduledEventAttributes" in e)
    first["activityTaskScheduledEventAttributes"]["activityType"]["name"] = (
        "aws.terminate_everything"
    )

    done = await replay(parse(json.dumps(events), "other"), workflows())

    assert len(done.differences) == 1
    assert done.differences[0].startswith("[TMPRL1100] Nondeterminism error")
    assert "aws.terminate_everything" in done.differences[0]


async def test_replay_names_the_builds_that_decided() -> None:
    path = next(HISTORIES.glob("whole_way*.incident.json"))

    done = await replay(parse(path.read_text(), "whole"), workflows())

    assert done.events > 30
    assert done.workflow.startswith("incident/aws/")
