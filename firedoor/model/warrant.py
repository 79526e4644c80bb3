"""By what right a plan is carried out or taken back: what a worker checks before a call goes out.

Whoever can write to the Temporal namespace can start workflows and send them messages. What they
cannot make is what stands in here: the words of people, under a policy that the installation knows.
"""

from datetime import timedelta

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime
from firedoor.model.decision import Vote
from firedoor.model.finding import Severity
from firedoor.model.plan import Plan
from firedoor.model.word import Release, Signed, Voucher


class Warrant(Model):
    """The right to carry out a plan."""

    run: str = Field(description="the incident's first run id, which every vote names")
    policy: str = Field(description="digest of the policy that is pinned into the incident")
    runbook: str = Field(description="digest of the runbook that calls for the step")
    severity: Severity
    requesters: tuple[str, ...] = ()
    tier: int = 0
    owners: tuple[str, ...] = ()
    plans: tuple[str, ...] = Field(description="digests of all plans that were put to people")
    term: timedelta | None = None
    votes: tuple[Vote, ...] = Field(default=(), description="none under standing authority")


class Undoing(Model):
    """The right to take a plan back, as somebody whose incident holds it has said."""

    warrant: Warrant = Field(description="by what right the incident holds it")
    plan: Plan = Field(description="the plan by which the incident holds it")
    said: Signed[Release]
    voucher: Voucher | None = None


class Reopening(Model):
    """The right to take a plan back at the end of its term, as people have approved that."""

    warrant: Warrant = Field(description="by what right it is opened again")
    plan: Plan = Field(description="the plan by which the incident holds it")
    step: str = Field(description="the step that asked for it")
    at: UtcDatetime = Field(description="when it was planned")


Right = Warrant | Undoing | Reopening
"""By what right something is done."""


class Vouched(Model):
    """What an issuer or AWS answered to one question; kept where only workers can write."""

    question: str = Field(description="digest of the question whose word it is")
    voucher: Voucher
