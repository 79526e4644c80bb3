"""The emulated AWS that tests talk to over real HTTP."""

import faulthandler
import functools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import botocore.loaders
import botocore.session
import pytest

from firedoor.cloud import aws as cloud
from firedoor.lab import scene as scenes
from firedoor.lab.server import ACCOUNT, REGION, EmulatedAws
from firedoor.settings import settings


def pytest_configure() -> None:
    """Let what the tests start hear Ctrl-C, which a shell keeps from what it runs in background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Let what hangs in taking down be told and ended as well: after a failure nobody watches."""
    limit = float(item.config.getini("faulthandler_timeout"))
    faulthandler.dump_traceback_later(limit, exit=True, file=sys.__stderr__)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def lab() -> Iterator[EmulatedAws]:
    """One emulated AWS a test process; every AWS SDK in it talks to nobody else."""
    with EmulatedAws() as running, pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in running.environment.items():
            patch.setenv(name, value)
        # A session reads the service models from disk, a tenth of a second each time: once will do.
        loader = functools.cache(botocore.loaders.create_loader)
        patch.setattr(botocore.session, "create_loader", loader)
        yield running


@pytest.fixture
def aws(lab: EmulatedAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cloud.Aws:
    """Clients for an account that is empty, in a process that remembers nothing."""
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    cloud.forget()
    lab.reset()
    return cloud.connect(ACCOUNT, REGION)


@pytest.fixture(scope="session")
def _built(lab: EmulatedAws) -> scenes.Scene:
    """The scene as it was built once, and marked."""
    lab.reset()
    built = scenes.build(boto3.Session())
    lab.save()
    return built


@pytest.fixture
def scene(_built: scenes.Scene, lab: EmulatedAws, aws: cloud.Aws) -> scenes.Scene:
    """The small account of the demo, in the emulated AWS, untouched."""
    lab.restore()
    return _built
