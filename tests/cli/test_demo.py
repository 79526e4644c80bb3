"""The demo as a newcomer runs it: a process of its own, which leaves nothing behind."""

import asyncio
import json
import os
import pty
import re
import signal
import socket
import sysconfig
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import boto3
import pytest

from firedoor.audit.replay import parse, replay
from worker.plugin import workflows

FIREDOOR = Path(sysconfig.get_path("scripts")) / "firedoor"
PROMPT = b"[y/N]: "
PATIENCE = 120  # seconds, for what takes ten
YES, NO = b"y\n", b"n\n"


class Ended(NamedTuple):
    """How the demo ended, and what it said."""

    status: int
    out: str
    err: str = ""


Demo = Callable[..., Awaitable[Ended]]
Answer = Callable[[int, str, int], bytes]
"""What to type for the question of a number, given the screen, and the process that asks."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where all that is temporary is ours, and whose settings lead to where nobody answers."""
    nowhere = "http://127.0.0.1:1"
    return {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "AWS_PROFILE": "production",
        "FIREDOOR_NOTIFY_WEBHOOK": nowhere,
        "FIREDOOR_POLICY": "/nowhere/policy.yaml",
        "HTTP_PROXY": nowhere,
        "http_proxy": nowhere,
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }


@pytest.fixture
def demo(environment: dict[str, str]) -> Demo:
    """Run the demo without a terminal."""

    async def run(*arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            FIREDOOR, "demo", *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        return Ended(process.returncode or 0, out.decode(), err.decode())

    return run


@pytest.fixture
def at_a_terminal(environment: dict[str, str]) -> Demo:
    """Run the demo at a terminal of 80 columns, and answer its questions."""

    async def run(answer: Answer) -> Ended:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            FIREDOOR, "demo",
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        try:
            async with asyncio.timeout(PATIENCE):
                screen = await asyncio.to_thread(converse, ours, process.pid, answer)
                return Ended(await process.wait(), screen)
        finally:
            os.close(ours)

    return run


def converse(terminal: int, process: int, answer: Answer) -> str:
    """Answer each question, and return what was shown, without colours and cursor movements."""
    screen, answered = b"", 0
    while shown := read(terminal):
        screen += shown
        while screen.count(PROMPT) > answered:
            os.write(terminal, answer(answered, screen.decode(errors="replace"), process))
            answered += 1
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", screen.decode())


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # a terminal says so when nobody is there any more
        return b""


def is_taken(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def left_behind(ended: Ended, directory: Path) -> list[object]:
    """Return the ports that answer, the processes that run, and the files that are there still."""
    ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d{4,})", ended.out)}
    assert len(ports) > 1
    found = [process for process in Path("/proc").glob("[0-9]*") if belongs(process, directory)]
    return [*filter(is_taken, ports), *found, *directory.glob("firedoor-*")]


def belongs(process: Path, directory: Path) -> bool:
    try:
        return os.fsencode(directory) in (process / "environ").read_bytes()
    except OSError:
        return False


@pytest.mark.slow
async def test_a_program_is_told_all_of_it(demo: Demo, tmp_path: Path) -> None:
    kept = tmp_path / "kept"

    ended = await demo("--json", "--keep", str(kept))

    told = json.loads(ended.out)
    steps = [step for incident in told["incidents"] for step in incident["steps"]]
    asked = {(step["action"], step["answer"], step["outcome"]) for step in steps if step["answer"]}
    assert (ended.status, ended.err, told["problems"]) == (0, "", [])
    assert told["emulated_aws"] is True
    assert [incident["status"] for incident in told["incidents"]] == ["closed", "closed"]
    assert asked == {
        ("aws.block_address", "approve", "unproven"),  # there are no flow logs
        ("aws.isolate_instance", "approve", "unproven"),
        ("aws.revoke_credentials", "approve", "unproven"),  # CloudTrail has to be quiet for longer
    }
    for step in (step for step in steps if step["answer"]):
        assert step["released"] == step["before"] != step["after"]
        assert "drifted" not in {proof["verdict"] for proof in step["proofs"]}
    assert told["replay"]["ok"] is True
    assert told["phases"].keys() >= {"start", "finding to plan", "answer to proof", "release"}
    assert sum(told["phases"].values()) < told["seconds"]
    assert left_behind(ended, tmp_path) == []

    files = sorted((kept / "histories").iterdir())
    again = [await replay(parse(file.read_text(), file.name), workflows()) for file in files]
    assert {one.workflow: one.events for one in again if one.ok} == {
        one["workflow"]: one["events"] for one in told["replay"]["histories"]
    }
    assert sum(1 for _ in (kept / "evidence").rglob("*-context.json")) == 2


@pytest.mark.slow
async def test_without_a_terminal_it_decides_by_itself_and_says_so(
    demo: Demo, tmp_path: Path
) -> None:
    ended = await demo("--yes")

    assert (ended.status, ended.err) == (0, "")
    assert "AWS is emulated on this machine" in ended.out
    assert re.search(r"Temporal UI +http://127\.0\.0\.1:\d+", ended.out)
    assert ended.out.count("yes, decided by demo itself") == 4
    assert "\x1b" not in ended.out
    assert left_behind(ended, tmp_path) == []


@pytest.mark.slow
async def test_a_person_is_asked_about_each_containment(
    at_a_terminal: Demo, tmp_path: Path
) -> None:
    ended = await at_a_terminal(lambda *_: YES)

    questions = re.findall(r"Approve (\w+)\?", ended.out)
    assert (ended.status, questions[0], sorted(questions[1:])) == (
        0,
        "block",
        ["block", "isolate", "revoke"],
    )
    assert len(re.findall(r"ok  \w+ is released", ended.out)) == 4
    assert "decided by" not in ended.out
    assert left_behind(ended, tmp_path) == []


@pytest.mark.slow
async def test_a_denied_step_is_left_out_and_that_is_no_failure(at_a_terminal: Demo) -> None:
    ended = await at_a_terminal(lambda number, *_: YES if number else NO)

    assert ended.status == 0
    assert "ok  block is denied: it is left out, and the rest goes on" in ended.out
    assert "ok  AWS is unchanged" in ended.out
    assert len(re.findall(r"ok  \w+ is released", ended.out)) == 3


@pytest.mark.slow
async def test_what_somebody_else_changes_meanwhile_is_not_passed_over(at_a_terminal: Demo) -> None:
    def meddle(number: int, screen: str, process: int) -> bytes:
        if number == 0:
            meddle_with(screen)
        return NO

    ended = await at_a_terminal(meddle)

    assert ended.status == 1
    assert "no  block was denied, and AWS shows changes of ['acl-" in ended.out
    assert re.search(r"firedoor: not as it should be: .*; not as before the demo: acl-", ended.out)


def meddle_with(screen: str) -> None:
    """Add an entry to the network ACL that a plan on the screen is about."""
    (endpoint,) = re.findall(r"(http://\S+) \(emulated\)", screen)
    ec2 = boto3.client(
        "ec2",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    ec2.create_network_acl_entry(
        NetworkAclId=re.findall(r"acl-\w+", screen)[-1],
        RuleNumber=50,
        RuleAction="deny",
        Protocol="-1",
        CidrBlock="192.0.2.0/24",
        Egress=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_nothing_is_left_when_it_is_interrupted(
    at_a_terminal: Demo, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    def interrupt(_: int, __: str, process: int) -> bytes:
        os.killpg(process, number)  # as the terminal does
        return b"\n"  # for Python does not notice a signal that comes just before it reads

    ended = await at_a_terminal(interrupt)

    assert (ended.status, "Traceback" in ended.out) == (status, False)
    assert left_behind(ended, tmp_path) == []


async def test_a_directory_that_holds_something_is_not_used(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "precious").touch()

    ended = await demo("--keep", str(tmp_path))

    assert ended.status == 2
    assert ended.err == f"firedoor: --keep: {tmp_path}: expected an empty directory, or none yet\n"
