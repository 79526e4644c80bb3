"""Blobs in Azurite, Microsoft's own emulator, which `npx` fetches where TESTS_WITH_TOOLS is set."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.storage.blob import ContainerClient

from firedoor import collecting
from firedoor.errors import NotFound

pytestmark = [
    pytest.mark.fetches,
    pytest.mark.slow,
    pytest.mark.skipif("TESTS_WITH_TOOLS" not in os.environ, reason="TESTS_WITH_TOOLS is not set"),
]

AZURITE = "azurite@3.35.0"
ACCOUNT = "devstoreaccount1"
# Everybody's: https://learn.microsoft.com/en-us/azure/storage/common/storage-connect-azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
PATIENCE = 60.0


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of the emulator."""
    npx = shutil.which("npx")
    assert npx is not None, "there is no npx"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    folder = str(tmp_path_factory.mktemp("azurite"))
    command = [npx, "--yes", "--package", AZURITE, "azurite-blob", "--silent", "--location", folder]
    process = subprocess.Popen(
        [*command, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--skipApiVersionCheck"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        start_new_session=True,
    )
    try:
        _until_it_listens(port, process)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=10)


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("Azurite cannot be fetched or does not start")


@pytest.fixture
def container(azurite: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint={azurite};"
    )
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
    client = ContainerClient.from_connection_string(connection, "insights-logs-example")
    client.create_container()
    yield client
    client.delete_container()


URL = f"azblob://{ACCOUNT}/insights-logs-example"


def test_an_appended_blob_is_listed_and_read_from_where_it_ended(container: Any) -> None:
    name = f"resourceId=/SUBSCRIPTIONS/X/{datetime.now(UTC):y=%Y/m=%m/d=%d}/h=05/m=00/PT1H.json"
    client = container.get_blob_client(name)
    client.create_append_blob()
    client.append_block(b'{"one":1}\n')
    (before,) = collecting.blobs(URL)
    client.append_block(b'{"two":2}\n')
    (after,) = collecting.blobs(URL, datetime.now(UTC))

    with collecting.open_(after, before.size) as stream:
        assert stream.read() == b'{"two":2}\n'
    with collecting.open_(after, after.size) as stream:
        assert stream.read() == b""
    assert (after.grows, before.version == after.version) == (True, False)


def test_folders_by_days_are_found_and_any_name_is_read_back(container: Any) -> None:
    odd = ["a b+c=d&e.json", "é/50%25.json", f"x/{datetime.now(UTC):%Y/%m/%d}/b"]
    for name in odd:
        container.upload_blob(name, b"0123456789")

    found = list(collecting.blobs(URL, datetime.now(UTC)))

    assert len(found) == len(odd)
    for blob in found:
        with collecting.open_(blob) as stream:
            assert stream.read() == b"0123456789"


def test_what_is_not_there_is_not_found(container: Any) -> None:
    with pytest.raises(NotFound, match="ContainerNotFound"):
        list(collecting.blobs(f"azblob://{ACCOUNT}/none-example"))
