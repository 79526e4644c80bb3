"""HTTP connections of the emulated AWS, which stay open from call to call.

Werkzeug closes a connection after each answer and then listens 10 ms for more; SDKs keep theirs.
"""

from io import BytesIO
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler


class NoAnswerError(ConnectionError):
    """The application wants the connection closed without an answer."""


class Connection(MotoRequestHandler):
    """One connection of a client, and its requests one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body of an answer are written apart
    wbufsize = -1

    def run_wsgi(self) -> None:
        """Answer one request."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()
        environ = self.make_environ()
        # Read to its end, or the next request would begin in the middle of this one.
        length = (
            -1 if environ.get("wsgi.input_terminated") else int(environ.get("CONTENT_LENGTH") or 0)
        )
        body = environ["wsgi.input"].read(length)
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        try:
            self._answer(*_call(self.server.app, environ))
        except NoAnswerError:
            self.close_connection = True

    def _answer(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        code, reason = status.split(maxsplit=1)
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_request(self, *_: Any) -> None:
        """Write no access log."""


def _call(application: Any, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
    answered: list[Any] = []
    chunks = application(
        environ, lambda status, headers, _=None: answered.extend((status, headers))
    )
    body = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    status, headers = answered
    return status, headers, body
