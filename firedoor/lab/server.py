"""The emulated AWS as a child process of whoever needs one: tests, the demo, fault drills."""

import json
import subprocess
import sys
import urllib.request
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from firedoor.errors import Unreachable

ACCOUNT = "123456789012"
REGION = "us-east-1"


class EmulatedAws:
    """An emulated AWS of its own on a free port of the loopback interface.

    It ends with the `with` block, and also when this process dies in any other way. What it has to
    say goes to the file `log`, or else to our standard error.
    """

    endpoint: str

    def __init__(self, log: Path | None = None) -> None:
        self._log = log

    def __enter__(self) -> Self:
        """Start it, and wait until it answers.

        Raises `Unreachable` if it ends instead.
        """
        with self._log.open("wb") if self._log else nullcontext() as log:
            self._process = subprocess.Popen(
                # It picks its port itself, so nobody else can take it meanwhile; it ends when its
                # standard input closes, which the kernel does for us even after a SIGKILL.
                [sys.executable, "-m", "firedoor.lab", "--port", "0", "--until-stdin-closes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C is for us: it ends after we are done with it
            )
        assert self._process.stdout is not None  # noqa: S101
        try:
            self.endpoint = self._process.stdout.readline().strip()
        except KeyboardInterrupt:
            self._process.kill()
            raise
        if not self.endpoint:
            raise Unreachable(f"the emulated AWS ended with status {self._process.wait()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it, and wait until it is gone."""
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101, PT018
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead any AWS SDK here, and nowhere else."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def reset(self) -> None:
        """Empty all accounts, and forget delays, faults, holds and recorded calls."""
        self.control("POST", "reset")

    def save(self) -> None:
        """Mark the state of all accounts."""
        self.control("POST", "firedoor/save")

    def restore(self) -> None:
        """Go back to the mark, and forget the rest as `reset` does."""
        self.control("POST", "firedoor/restore")

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the emulator itself for something under `/moto-api/`, and return its JSON answer."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.endpoint}/moto-api/{path}",
            data=None if body is None else json.dumps(body, default=str).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
