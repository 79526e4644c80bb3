"""Run a worker: `python -m worker`."""

import asyncio

from firedoor import telemetry
from worker.run import serve

if __name__ == "__main__":
    telemetry.configure()
    asyncio.run(serve())
