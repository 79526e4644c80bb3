"""A step that is a person's: said as an instruction, done when somebody signs it off."""

from typing import Annotated

from pydantic import Field, StringConstraints

from firedoor.action import Action, Permissions, receipt
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import Plan, Receipt, Target

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Params(Model):
    """What a runbook may set."""

    what: Text = Field(description="what is to be done, as an instruction: End all portal sessions")
    how: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        default="", description="how to do it, and how one sees that it is done"
    )


def plan(target: Target, params: Params, cloud: None) -> tuple[Plan, ...]:  # noqa: ARG001 - a person looks
    """Ask a person to do what no call can, and to sign it off."""
    subject = target.subject
    where = f"{subject.kind} {subject.id} in {subject.cloud} {subject.account} {subject.region}"
    how = f" {params.how}" if params.how else ""
    return (
        Plan(
            action="records.task",
            target=target,
            lease=f"{target.incident}/{target.step}",
            params={"what": params.what, "how": params.how},
            summary=f"{params.what.rstrip('.')} ({where}).{how}",
        ),
    )


def apply(plan: Plan, cloud: None) -> Receipt:  # noqa: ARG001
    """Say that it was signed off; whoever did so did the work."""
    return receipt(plan)


ACTION = Action(
    nature=Nature.TASK,
    kinds=frozenset(Kind),
    plan=plan,
    apply=apply,
    params=Params,
    permissions=Permissions(plan=()),
    function="RS.MI",
)
