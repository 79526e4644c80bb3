"""A second emulator, which enforces IAM as AWS does: signatures, policies, trust and conditions.

It runs as a process of its own, for its dependencies are not ours, and is fetched when it is first
needed. Where that fails its tests are skipped, but not on a machine that sets `CI`.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from firedoor.cloud import aws as cloud
from firedoor.cloud import policy_documents
from firedoor.settings import settings

HUB = "123456789012"
MEMBER = "222222222222"
REGION = "us-east-1"
ROLE = "firedoor-responder"
EXTERNAL_ID = "f1redoor-example"

MINISTACK = "ministack==1.5.33"
DUCKDB = f"duckdb=={version('duckdb')}"  # the engine of its Athena, as we have it
MICROBURST = "microburst==0.10.0"
PATIENCE = 30.0


class Accounts(NamedTuple):
    """A hub that Firedoor runs in, and a member whose role trusts it; roots may do anything."""

    endpoint: str

    def root(self, service: str, account: str = MEMBER) -> Any:
        """Return a client of an account's root."""
        return self.client(service, account, "unchecked")

    def client(self, service: str, *keys: str) -> Any:
        """Return a client of whoever has these keys."""
        return boto3.Session(*keys).client(service, REGION, endpoint_url=self.endpoint)

    def grant(self, documents: Sequence[Any]) -> None:
        """Let these be the rights of Firedoor's role in the member account."""
        iam = self.root("iam")
        for old in iam.list_role_policies(RoleName=ROLE)["PolicyNames"]:
            iam.delete_role_policy(RoleName=ROLE, PolicyName=old)
        for number, document in enumerate(documents):
            iam.put_role_policy(
                RoleName=ROLE, PolicyName=f"rights-{number}", PolicyDocument=json.dumps(document)
            )


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of the emulator."""
    port = free_port()
    environment = {
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "LOG_LEVEL": "ERROR",
        "TMPDIR": str(tmp_path_factory.mktemp("ministack")),
    }
    endpoint = f"http://127.0.0.1:{port}"
    command = ("python", str(Path(__file__).with_name("serve.py")))
    with running(MINISTACK, *command, **environment, health=f"{endpoint}/_ministack/health"):
        yield endpoint


@pytest.fixture
def accounts(ministack: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Accounts]:
    """Two accounts, with Firedoor's own code set up to act from the one in the other."""
    ask(f"{ministack}/_ministack/reset", b"")
    made = Accounts(ministack)
    trust = policy_documents.trust(f"arn:aws:iam::{HUB}:role/firedoor", EXTERNAL_ID)
    made.root("iam").create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(trust))
    for name in [name for name in os.environ if name.startswith(("AWS_", "FIREDOOR_"))]:
        monkeypatch.delenv(name)
    for name, value in {**_hub(made), **_settings(ministack, tmp_path)}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    cloud.forget()
    yield made
    settings.cache_clear()
    cloud.forget()


@pytest.fixture
def reconfigured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change settings of Firedoor; None unsets one."""

    def change(**members: str | None) -> None:
        for name, value in members.items():
            if value is None:
                monkeypatch.delenv(f"FIREDOOR_{name.upper()}")
            else:
                monkeypatch.setenv(f"FIREDOOR_{name.upper()}", value)
        settings.cache_clear()

    return change


@pytest.fixture(scope="session")
def kit() -> Any:
    """What tests here need of this module, which they cannot import."""
    return sys.modules[__name__]


@contextmanager
def running(
    package: str, *command: str, health: str, extra: str = "", **environment: str
) -> Iterator[None]:
    """Run a command of a package, in an environment of its own, until the block ends.

    The environment has one package more if `extra` names it.
    """
    fetch = [_uvx(), "--quiet", "--python", sys.executable, "--from", package]
    fetch += ["--with", extra] if extra else []
    env = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_TIMEOUT": "20", **environment}
    fetched = subprocess.run([*fetch, "python", "-c", ""], env=env, capture_output=True, text=True)
    if fetched.returncode:
        _do_without(f"{package} cannot be installed: {fetched.stderr.strip()[-200:]}")
    process = subprocess.Popen(
        [*fetch, *command],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _until_answered(process, health)
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=10)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def ask(url: str, body: bytes | None = None) -> Any:
    """Return what a server answers to a GET, or to a POST if there is a body."""
    with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
        return json.load(answer)


def _hub(accounts: Accounts) -> dict[str, str]:
    """Return the credentials of Firedoor's own role, which may do what the hub needs."""
    iam = accounts.root("iam", HUB)
    trust = {
        "Version": policy_documents.VERSION,
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{HUB}:root"}, "Action": "sts:*"}
        ],
    }
    role = iam.create_role(RoleName="firedoor", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    policy = json.dumps(policy_documents.hub(role=ROLE))
    iam.put_role_policy(RoleName="firedoor", PolicyName="hub", PolicyDocument=policy)
    given = accounts.root("sts", HUB).assume_role(RoleArn=role["Arn"], RoleSessionName="worker-1")
    return {
        "AWS_ACCESS_KEY_ID": given["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["Credentials"]["SessionToken"],
    }


def _settings(endpoint: str, home: Path) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "FIREDOOR_HOME": str(home),
        "FIREDOOR_AWS_ROLE": ROLE,
        "FIREDOOR_AWS_EXTERNAL_ID": EXTERNAL_ID,
    }


def _uvx() -> str:
    """Return the command that runs packages: that which fetched our own, or one on the path."""
    ours = Path(__file__).parents[2] / ".uv" / "bin" / "uvx"
    found = str(ours) if ours.exists() else shutil.which("uvx")
    return found or _do_without("there is no uvx")


def _do_without(reason: str) -> Any:
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def _until_answered(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            ask(url)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"{url} does not answer; the process ended with {process.poll()}")
