import os
import signal
import socket
import subprocess
import sys
import time
from urllib.parse import urlsplit

import pytest

from firedoor.lab.server import EmulatedAws


def _answers(endpoint: str) -> bool:
    at = urlsplit(endpoint)
    with socket.socket() as probe:
        return probe.connect_ex((at.hostname, at.port)) == 0


def _gone_within(endpoint: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _answers(endpoint):
        time.sleep(0.05)
    return not _answers(endpoint)


def test_it_is_gone_after_its_block() -> None:
    with EmulatedAws() as running:
        answered = _answers(running.endpoint)

    assert (answered, _answers(running.endpoint)) == (True, False)


def test_it_dies_with_a_parent_that_is_killed() -> None:
    program = (
        "import time\n"
        "from firedoor.lab.server import EmulatedAws\n"
        "with EmulatedAws() as running:\n"
        "    print(running.endpoint, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    endpoint = parent.stdout.readline().strip()

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    assert _gone_within(endpoint, 5)


def test_it_listens_on_the_loopback_interface_only(lab: EmulatedAws) -> None:
    port = urlsplit(lab.endpoint).port
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=False)
    if listening.returncode:
        pytest.skip("no ss here")

    addresses = [line.split()[3] for line in listening.stdout.splitlines()]

    assert [a for a in addresses if a.endswith(f":{port}")] == [f"127.0.0.1:{port}"]
