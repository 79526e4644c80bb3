"""What client, worker and replayer share: converter, workflows, activities and sandbox."""

import inspect
from functools import cache
from importlib import import_module
from typing import Any

from temporalio import workflow
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy as Notify

from activities.attest import attest
from activities.containment import claim, give_back
from firedoor.discovery import modules
from worker import channels
from worker.actions import activities
from worker.detecting import ingest, look
from worker.hearing import hear

SANDBOX = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        # Values must have one class on both sides of the sandbox, or isinstance fails.
        "firedoor",
        "activities",
        # The parts of workflows hold no state of their own, and need not be loaded for each run.
        "workflows.book",
        "workflows.bulletin",
        "workflows.calls",
        "workflows.visibility",
        "workflows.voices",
        # They import their errors only when something is wrong with a signature or a token, and
        # cryptography ends the process if it cannot.
        "cryptography",
        "jwt",
    ).with_import_notification_policy(
        Notify.WARN_ON_DYNAMIC_IMPORT | Notify.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
    )
)


PLATFORM = (claim, give_back, attest, hear, ingest, look)
"""What workflows ask for beside actions and channels."""


# In seconds. How long a turn may take is the server's to say; see `activities.turns`.
LONGEST_TURN = 30


def patient(worker: Worker) -> Worker:
    """Let a turn of a workflow take longer than the two seconds that the SDK gives it.

    It breaks off what takes longer, and a workflow with many handlers under way cannot be taken out
    of memory then (temporalio 1.35): a flood of signals before a slow machine would keep an
    incident still until the worker is started anew. There is no setting for it.
    """
    if worker._workflow_worker is not None:
        worker._workflow_worker._deadlock_timeout_seconds = LONGEST_TURN
    return worker


@cache
def workflows() -> tuple[type, ...]:
    """Return every workflow class, found by discovery."""
    found = [
        value
        for name in modules("workflows")
        for _, value in inspect.getmembers(import_module(name), inspect.isclass)
        if value.__module__ == name and workflow._Definition.from_class(value)
    ]
    return tuple(found)


@cache
def plugin() -> SimplePlugin:
    """Return the plugin with which worker and replayer run the same code under the same rules."""
    everything: list[Any] = [*activities(), *channels.activities(), *PLATFORM]
    return SimplePlugin(
        "firedoor",
        data_converter=pydantic_data_converter,
        workflows=workflows(),
        activities=everything,
        workflow_runner=SANDBOX,
    )
