"""The emulated AWS: moto's server with what incident response needs and moto lacks.

Each module beside this one that has an `install` says at its top what it adds. They model AWS after
its public reference: what they say is our reading, not AWS's word. Nothing here leaves the loopback
interface, and all state is gone when the process ends.
"""

import logging
import os
import signal
import sys
import threading
from importlib import import_module

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from firedoor.discovery import modules
from firedoor.lab.connection import Connection
from firedoor.lab.control import Control


def serve(port: int, *, until_stdin_closes: bool = False) -> None:
    """Serve until interrupted; the first line printed is the endpoint."""
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # half a second for each new account
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for name in modules("firedoor.lab"):
        if install := getattr(import_module(name), "install", None):
            install()
    application = Control(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", port, application, threaded=True, request_handler=Connection)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    if until_stdin_closes:
        threading.Thread(target=_exit_when_stdin_closes, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()


def _exit_when_stdin_closes() -> None:
    sys.stdin.read()
    os._exit(0)
