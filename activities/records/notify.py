"""Telling people what happens: a line in the log, and a message by every channel of the policy.

The line is written here. The messages are the incident's to send, once for each channel, so that
one that fails neither holds up the others nor fails the step.
"""

import structlog
from pydantic import Field

from firedoor.action import Action, Permissions, receipt
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.message import Occasion
from firedoor.model.plan import Plan, Receipt, Target

log = structlog.get_logger()


class Params(Model):
    """What a runbook may set."""

    message: str = Field(default="", description="what people should know or do")
    occasion: Occasion = Field(default=Occasion.TOLD, description="why people are told")


def plan(target: Target, params: Params, cloud: None) -> tuple[Plan, ...]:  # noqa: ARG001 - told, not looked up
    """Tell people about the incident, in the log and by the policy's channels."""
    subject = target.subject
    return (
        Plan(
            action="records.notify",
            target=target,
            lease=f"{target.incident}/{target.step}",
            params={"message": _text(target, params.message)},
            summary=f"Tell people about {subject.kind} {subject.id}.",
        ),
    )


def apply(plan: Plan, cloud: None) -> Receipt:  # noqa: ARG001
    """Write the log line. A repeat says the same under the same id."""
    log.info(
        "incident.notified",
        id=plan.digest,
        text=plan.params["message"],
        incident=plan.target.incident,
        step=plan.target.step,
        subject=plan.target.subject.path,
        summary=plan.summary,
    )
    return receipt(plan, created={"log": "incident.notified"})


ACTION = Action(
    nature=Nature.RECORD,
    kinds=frozenset(Kind),
    plan=plan,
    apply=apply,
    params=Params,
    permissions=Permissions(plan=()),
    function="RS.CO",
)


def _text(target: Target, message: str) -> str:
    subject = target.subject
    where = f"{subject.kind} {subject.id} in {subject.cloud} {subject.account} {subject.region}"
    return f"{target.incident}: {where}" + (f": {message}" if message else "")
