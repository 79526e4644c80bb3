"""The embedded Temporal server: started, killed, and ended with whoever started it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client, WorkflowExecutionStatus

from firedoor.errors import BadInput, Unreachable
from worker.server import HOST, DevServer, program
from workflows import visibility

PARENT = """
import sys
from pathlib import Path
from worker.server import DevServer
server = DevServer(Path(sys.argv[1]))
server.start()
print(server.port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DevServer]:
    with DevServer(tmp_path / "data") as running:
        yield running


def answers(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


async def test_server_that_was_started_takes_workflows_at_once(server: DevServer) -> None:
    client = await Client.connect(server.address)

    handle = await client.start_workflow("Anything", id="one", task_queue="nobody")

    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def test_search_attributes_of_incidents_are_known(server: DevServer) -> None:
    client = await Client.connect(server.address)

    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )

    ours = {key.name: key.indexed_value_type for key in visibility.ALL}
    assert ours.items() <= known.custom_attributes.items()


async def test_workflows_outlive_a_power_cut(server: DevServer) -> None:
    client = await Client.connect(server.address)
    await client.start_workflow("Anything", id="one", task_queue="nobody")

    server.kill()
    server.start()

    client = await Client.connect(server.address)
    described = await client.get_workflow_handle("one").describe()
    assert described.status is WorkflowExecutionStatus.RUNNING


def test_stopped_server_is_gone_and_can_start_again(server: DevServer) -> None:
    server.stop()
    gone = not answers(server.port)
    server.start()

    assert (gone, answers(server.port)) == (True, True)


def test_server_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    port = int(parent.stdout.readline())

    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()

    until = time.monotonic() + 10
    while answers(port) and time.monotonic() < until:
        time.sleep(0.05)
    assert not answers(port)


def test_taken_port_is_told(server: DevServer, tmp_path: Path) -> None:
    second = DevServer(tmp_path / "second", port=server.port)

    with pytest.raises(BadInput, match=f"port {server.port}: taken"):
        second.start()


def test_two_servers_never_share_a_directory(server: DevServer) -> None:
    with pytest.raises(BadInput, match="in use by another one"):
        DevServer(server.directory).start()


def test_missing_program_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_CLI", str(tmp_path / "temporal"))

    with pytest.raises(BadInput, match="TEMPORAL_CLI"):
        program()


def test_server_that_ends_instead_of_starting_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "temporal"
    broken.write_text("#!/bin/sh\necho the disk is full\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("TEMPORAL_CLI", str(broken))

    with pytest.raises(Unreachable, match="the disk is full"):
        DevServer(tmp_path / "data").start()


def test_stopping_twice_is_harmless(tmp_path: Path) -> None:
    server = DevServer(tmp_path)
    server.start()
    server.stop()

    server.stop()

    assert not server.is_running()


def test_port_that_was_taken_meanwhile_is_given_up_for_another(tmp_path: Path) -> None:
    server = DevServer(tmp_path / "data")
    first = server.port
    with socket.create_server((HOST, first)):
        server.start()
    try:
        assert server.port != first
        assert answers(server.port)
    finally:
        server.stop()
