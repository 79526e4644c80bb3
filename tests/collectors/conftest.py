"""A small HTTP server of a test's own, for clouds that cannot be emulated here."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Server(ThreadingHTTPServer):
    """A server on the loopback interface."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def serve() -> Iterator[Callable[[type[BaseHTTPRequestHandler]], Server]]:
    """Start a server with a handler; it ends with the test."""
    started: list[Server] = []

    def start(handler: type[BaseHTTPRequestHandler]) -> Server:
        server = Server(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
