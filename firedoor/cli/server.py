"""Servers: all of Firedoor in one process, or a worker for a server that is there."""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from firedoor import rosters
from firedoor.cli.output import Json, document, line, progress
from firedoor.errors import Unreachable
from firedoor.settings import settings
from worker.server import PORT, UI_PORT, DevServer

if TYPE_CHECKING:
    from firedoor.lab.scene import Scene

app = typer.Typer(rich_markup_mode=None)

WATCH = 0.5  # seconds between two looks at the embedded server


@app.command()
def up(
    emulated_aws: Annotated[
        bool, typer.Option("--emulated-aws", help="With a small AWS account to try things out in.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the server; 0 for any.")] = PORT,
    ui_port: Annotated[int, typer.Option(min=0, max=65535, help="Of its UI; 0 for any.")] = UI_PORT,
    json: Json = False,
) -> None:
    """Run all of it here: server, worker and intake.

    What the server holds is kept in FIREDOOR_HOME; with --emulated-aws nothing is kept.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with _place(emulated_aws) as (directory, scene):
        with progress("starting"):
            server = DevServer(directory, port=port, ui_port=ui_port)
            server.start()
        try:
            use(server)
            enrol()
            _introduce(server, scene, json=json)
            _run(_work(server))
        finally:
            server.stop()


@app.command()
def worker(
    no_intake: Annotated[
        bool, typer.Option("--no-intake", help="Leave the queue to others.")
    ] = False,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve Prometheus metrics there.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Log JSON lines, also on a terminal.")
    ] = False,
) -> None:
    """Run a worker for a server that is there."""
    if metrics is not None:
        os.environ["FIREDOOR_METRICS"] = metrics
        settings.cache_clear()
    _log(json=json)
    _run(_serve(with_intake=not no_intake))


@contextmanager
def _place(emulated_aws: bool) -> Iterator[tuple[Path, "Scene | None"]]:
    """Yield where the server keeps its data, and what the emulated account holds."""
    if not emulated_aws:
        yield settings().data / "server", None
        return
    with tempfile.TemporaryDirectory(prefix="firedoor-") as directory, _lab() as (variables, scene):
        os.environ.update(variables)
        os.environ.setdefault("FIREDOOR_HOME", directory)
        settings.cache_clear()
        yield Path(directory), scene


@contextmanager
def _lab() -> Iterator[tuple[dict[str, str], "Scene"]]:
    """Yield the variables that lead to an emulated account, and what was built in it."""
    import boto3

    from firedoor.lab import scene as scenes
    from firedoor.lab.server import EmulatedAws

    with ExitStack() as stack:
        with progress("starting the emulated AWS"):
            lab = stack.enter_context(EmulatedAws())
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                del os.environ[name]
            os.environ.update(lab.environment)
            scene = scenes.build(boto3.Session())
        queues = {
            "FIREDOOR_QUEUE_URL": scene.queue_url,
            "FIREDOOR_DEAD_LETTER_URL": scene.dead_queue_url,
        }
        yield {**lab.environment, **queues}, scene


def use(server: DevServer) -> None:
    """Point the profile of this process at the embedded server, whatever else is configured."""
    for name in [
        name for name in os.environ if name.startswith("TEMPORAL_") and name != "TEMPORAL_CLI"
    ]:
        del os.environ[name]
    os.environ.pop("FIREDOOR_TEMPORAL_PROFILE", None)
    profile = server.directory / "temporal.toml"
    profile.write_text(f'[profile.default]\naddress = "{server.address}"\n')
    os.environ["TEMPORAL_CONFIG_FILE"] = str(profile)
    settings.cache_clear()


def enrol() -> None:
    """Make whoever sits here the responder, with a key of their own, if nothing says who is."""
    if settings().responders is None:
        rosters.lay_out(settings().data, settings().responder)


def _introduce(server: DevServer, scene: "Scene | None", *, json: bool) -> None:
    """Say where everything is, and what another terminal has to know."""
    variables = _exports(server, emulated=scene is not None)
    if json:
        about = {
            "address": server.address,
            "ui": server.ui,
            "environment": variables,
            "scene": scene,
        }
        document(about)
        return
    line(f"Temporal server  {server.address}")
    line(f"Temporal UI      {server.ui}")
    if scene is not None:
        line(f"emulated AWS     {variables['AWS_ENDPOINT_URL']}")
        line(f"  instances      {scene.web_id} (web), {scene.app_id} (app)")
        line(f"  user           {scene.user_name}, access key {scene.access_key_id}")
    people = ", ".join(rosters.load(*settings().roster).people)
    line(f"responders       {people}, in {settings().roster[0]}")
    if variables:
        line("In another terminal:")
        for name, value in variables.items():
            line(f"  export {name}={value}")
    line("Ctrl-C stops all of it.")


def _exports(server: DevServer, *, emulated: bool) -> dict[str, str]:
    ours = [name for name in os.environ if name.startswith(("AWS_", "FIREDOOR_"))]
    variables = {name: os.environ[name] for name in ours} if emulated else {}
    if server.port != PORT:
        variables["TEMPORAL_ADDRESS"] = server.address
    return variables


async def _work(server: DevServer) -> None:
    """Work until a signal comes, or until the embedded server is gone."""
    _log(json=False)
    stop = asyncio.Event()
    watch = asyncio.create_task(_stop_without(server, stop))
    try:
        await _serve(with_intake=True, stop=stop)
    finally:
        watch.cancel()
    if not server.is_running():
        raise Unreachable(f"the embedded Temporal server ended; see {server.log}")


async def _stop_without(server: DevServer, stop: asyncio.Event) -> None:
    while server.is_running():
        await asyncio.sleep(WATCH)
    stop.set()


def _run(work: Coroutine[Any, Any, None]) -> None:
    from firedoor.cli import remote

    remote.run(work)


async def _serve(**options: Any) -> None:
    from worker.run import serve  # 0.5 s that the rest of `up` need not wait for

    await serve(**options)


def _log(*, json: bool) -> None:
    from firedoor import telemetry

    telemetry.configure(json=json or not sys.stderr.isatty())
