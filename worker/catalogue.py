"""What a finding is answered with: actions, runbooks and policy as this installation has them."""

from functools import cache
from pathlib import Path

from firedoor import policies, rosters, runbooks
from firedoor.action import Action
from firedoor.channel import Channel
from firedoor.discovery import find
from firedoor.errors import BadInput
from firedoor.model.finding import Finding
from firedoor.model.incident import Arrival, Capability
from firedoor.model.message import Route
from firedoor.model.policy import Policy
from firedoor.model.responder import Roster
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
def channels() -> dict[str, Channel]:
    """Return every channel by which people can be told, by name."""
    return find("activities.records", Channel)


@cache
def roster() -> Roster:
    """Return who may decide, with their keys; nobody, where nothing says who."""
    people, signers = settings().roster
    if settings().responders is None and not people.exists():
        return Roster()
    return rosters.load(people, signers)


@cache
def policy() -> Policy:
    """Return the guard rails, the responders and the rules in force.

    Without a policy file people are told by every channel that is set up.
    """
    found = policies.load(settings().policy, roster())
    if settings().policy is None:
        return found.model_copy(update={"channels": {name: Route() for name in _set_up()}})
    for name in found.channels:
        if name not in channels():
            known = ", ".join(channels())
            raise BadInput(str(settings().policy), f"channels: {name}", f"expected one of {known}")
    return found


def forget() -> None:
    """Read people and policy again when they are next asked for."""
    roster.cache_clear()
    policy.cache_clear()


def require_people() -> None:
    """Raise `BadInput` if nobody could decide, or could be told by a channel that is named."""
    if not policy().roster.people:
        mend = "nobody may decide yet: `firedoor responders add NAME --key FILE.pub`"
        raise BadInput("responders", str(settings().roster[0]), mend)
    for name in policy().channels:
        channels()[name].check()


def _set_up() -> list[str]:
    ready = [name for name, channel in channels().items() if channel.is_begun]
    for name in ready:
        channels()[name].check()  # half of the settings would tell nobody
    return ready


def arrival(finding: Finding, requester: str = "") -> Arrival:
    """Return the finding with everything that settles the response to it."""
    runbook = runbooks.select(finding, catalogue())
    chosen = {
        step.id: runbooks.action_for(step, finding.cloud, actions()) for step in runbook.steps
    }
    return Arrival(
        finding=finding,
        runbook=runbook,
        policy=policy(),
        requester=requester,
        capabilities={step: _capability(action) for step, action in chosen.items()},
    )


def _capability(action: str) -> Capability:
    found = actions()[action]
    return Capability(action=action, nature=found.nature, barrier=found.barrier)
