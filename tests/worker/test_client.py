"""Connecting, and what a worker requires of its server."""

import socket
from pathlib import Path

import pytest
from temporalio.testing import WorkflowEnvironment

from firedoor.errors import BadInput, Unreachable
from firedoor.settings import settings
from firedoor.testing import RESPONDER, lay_out
from worker import catalogue
from worker.client import connect
from worker.run import serve
from worker.server import program


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "temporal.toml"
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(path))
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    settings.cache_clear()
    return path


async def test_server_that_is_not_there_is_said_with_its_address(profile: Path) -> None:
    profile.write_text('[profile.default]\naddress = "127.0.0.1:1"\n')

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
        await connect()


async def test_server_that_accepts_and_says_nothing_is_given_up(
    profile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.client.PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        profile.write_text(f'[profile.default]\naddress = "127.0.0.1:{silent.getsockname()[1]}"\n')

        with pytest.raises(Unreachable, match="no Temporal server answers"):
            await connect()


async def test_api_key_is_never_sent_without_tls(profile: Path) -> None:
    profile.write_text(
        '[profile.default]\naddress = "127.0.0.1:1"\napi_key = "k"\n'
        "[profile.default.tls]\ndisabled = true\n"
    )

    with pytest.raises(BadInput, match="never sent without TLS"):
        await connect()


async def test_profile_file_that_is_missing_is_said(profile: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        await connect()


async def test_worker_refuses_a_namespace_without_its_search_attributes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path))
    lay_out(tmp_path, RESPONDER)
    catalogue.forget()
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(program()), dev_server_log_level="error"
    ) as bare:
        monkeypatch.delenv("TEMPORAL_CONFIG_FILE", raising=False)
        monkeypatch.setenv("TEMPORAL_ADDRESS", bare.client.service_client.config.target_host)
        settings.cache_clear()

        with pytest.raises(BadInput, match="lacks the search attributes FiredoorStatus"):
            await serve(with_intake=False)


async def test_worker_refuses_to_work_where_nobody_may_decide(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FIREDOOR_HOME", str(tmp_path))
    settings.cache_clear()
    catalogue.forget()

    with pytest.raises(BadInput, match="nobody may decide yet: `firedoor responders add"):
        await serve(with_intake=False)
