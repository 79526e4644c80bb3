"""What a finding is answered with: actions, runbooks and policy as this installation has them."""

from functools import cache
from pathlib import Path

from firedoor import policies, runbooks
from firedoor.action import Action
from firedoor.discovery import find
from firedoor.model.finding import Finding
from firedoor.model.incident import Arrival, Capability
from firedoor.model.policy import Policy
from firedoor.model.runbook import Runbook
from firedoor.settings import settings


@cache
def actions() -> dict[str, Action]:
    """Return every action by id."""
    return find("activities", Action)


@cache
def catalogue() -> dict[str, Runbook]:
    """Return every runbook by id, with those of our own directories."""
    return runbooks.load(actions(), *directories())


def directories() -> tuple[Path, ...]:
    """Return the directories with runbooks beside those that come with Firedoor."""
    own = settings().runbooks
    return (own.expanduser(),) if own else ()


@cache
def policy() -> Policy:
    """Return the guard rails and responders in force."""
    return policies.load(settings().policy, settings().responder)


def arrival(finding: Finding) -> Arrival:
    """Return the finding with everything that settles the response to it."""
    runbook = runbooks.select(finding, catalogue())
    chosen = {
        step.id: runbooks.action_for(step, finding.cloud, actions()) for step in runbook.steps
    }
    return Arrival(
        finding=finding,
        runbook=runbook,
        policy=policy(),
        capabilities={step: _capability(action) for step, action in chosen.items()},
    )


def _capability(action: str) -> Capability:
    found = actions()[action]
    return Capability(action=action, nature=found.nature, barrier=found.barrier)
