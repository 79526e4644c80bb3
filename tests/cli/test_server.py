"""`firedoor up` with its emulated account: from a finding to a closed incident."""

import asyncio
import json
import os
import signal
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from firedoor.lab import findings
from firedoor.lab.scene import Scene

Cli = Callable[..., Awaitable[Any]]
FIREDOOR = Path(sysconfig.get_path("scripts")) / "firedoor"


class House(NamedTuple):
    """What `up` runs, and what it said."""

    process: asyncio.subprocess.Process
    address: str
    scene: Scene
    environment: dict[str, str]

    @property
    def ports(self) -> tuple[int, ...]:
        endpoint = urlsplit(self.environment["AWS_ENDPOINT_URL"])
        return int(self.address.rpartition(":")[2]), endpoint.port or 0


@pytest_asyncio.fixture
async def house(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.delenv("FIREDOOR_KEY")  # it makes one of its own
    kept = {name: value for name, value in os.environ.items() if name != "FIREDOOR_HOME"}
    process = await asyncio.create_subprocess_exec(
        FIREDOOR, "up", "--emulated-aws", "--port", "0", "--ui-port", "0", "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**kept, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    said = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    yield House(process, said["address"], Scene.model_validate(said["scene"]), said["environment"])
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def until_listed_as(status: str, cli: Cli, house: House) -> None:
    for _ in range(60):
        listed = await cli("incidents", "--json", **house.environment)
        if [found["status"] for found in listed.document] == [status]:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(listed)


async def closed_when_at_rest(incident: str, cli: Cli, house: House) -> Any:
    """Close an incident as soon as all evidence is there."""
    for _ in range(60):
        ended = await cli("close", incident, "--reason", "drill", **house.environment)
        if "not finished" not in ended.err:
            break
        await asyncio.sleep(0.2)
    return ended


@pytest.mark.slow
async def test_whole_way_on_the_command_line(cli: Cli, house: House, tmp_path: Path) -> None:
    file = tmp_path / "finding.json"
    file.write_text(json.dumps(findings.ssh_brute_force(house.scene)))
    web, reason = house.scene.web_id, ("--yes", "--reason", "drill")

    submitted = await cli("submit", str(file), **house.environment)
    await until_listed_as("awaiting approval", cli, house)
    approved = await cli("approve", web, *reason, **house.environment)
    await until_listed_as("contained, unproven", cli, house)  # without flow logs
    released = await cli("release", web, *reason, **house.environment)
    closed = await closed_when_at_rest(web, cli, house)

    assert submitted.out == f"incident/aws/123456789012/us-east-1/instance/{web} started\n"
    assert [e.status for e in (submitted, approved, released, closed)] == [0, 0, 0, 0]
    assert "ec2:CreateNetworkAclEntry" in approved.out
    assert released.out.count("ec2:DeleteNetworkAclEntry  ok") == 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_nothing_is_left_running(house: House, number: signal.Signals) -> None:
    assert house.process.stderr is not None
    while b"worker.started" not in await house.process.stderr.readline():
        pass

    house.process.send_signal(number)
    _, said = await asyncio.wait_for(house.process.communicate(), 60)

    assert b"Traceback" not in said
    assert house.process.returncode == (-9 if number is signal.SIGKILL else 0)
    for port in house.ports:
        for _ in range(200):
            if not await answers(port):
                break
            await asyncio.sleep(0.05)
        assert not await answers(port)


async def test_up_says_that_its_port_is_taken(cli: Cli, server: Any) -> None:
    ended = await cli("up", "--port", str(server.port))

    expected = (
        f"firedoor: the embedded server: port {server.port}: taken; is one running already?\n"
    )
    assert ended == (2, "", expected)


async def test_worker_without_a_server_is_told(cli: Cli) -> None:
    ended = await cli("worker", "--no-intake")

    assert (ended.status, ended.err) == (
        3,
        "firedoor: no Temporal server answers at 127.0.0.1:1\n",
    )
