"""Run a worker: `python -m worker`."""

import asyncio
import os
import sys

from firedoor import telemetry
from firedoor.errors import FiredoorError
from worker.run import serve


def main() -> int:
    """Work until a signal comes; say what is in the way, one line for each problem."""
    telemetry.configure()
    try:
        asyncio.run(serve())
    except FiredoorError as error:
        for problem in (str(error), *getattr(error, "__notes__", ())):
            sys.stderr.write(f"firedoor: {' '.join(problem.split())}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # The interpreter's own way out aborts now and then while threads of Temporal's runtime are
    # still about, and a supervisor would take that for a crash.
    os._exit(status)
