"""Whether a plan may be carried out or taken back: what a worker looks at itself. Pure.

It trusts no workflow: only signatures, and what the installation keeps where only workers write.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from firedoor.approvals.hearing import (
    SKEW,
    NotTheirs,
    Speaker,
    needs_voucher,
    question,
    speaker,
)
from firedoor.approvals.judge import speaks_out
from firedoor.approvals.quorum import Electorate, tally
from firedoor.approvals.reopening import reopening
from firedoor.model.base import digest
from firedoor.model.containment import containment_id
from firedoor.model.decision import Ruling, Vote, proposal_digest
from firedoor.model.plan import Plan
from firedoor.model.policy import Autonomy, Policy
from firedoor.model.runbook import Approval, Runbook
from firedoor.model.warrant import Reopening, Undoing, Vouched, Warrant
from firedoor.model.word import Decision, Signed, Voucher

OLDEST = timedelta(days=8)
"""How long after a word it may still be acted on: reverting is tried for a week."""


class Archive(NamedTuple):
    """What only workers can write: found by digest, or None where it is not of the installation."""

    policy: Callable[[str], Policy | None]
    runbook: Callable[[str], Runbook | None]
    vouched: Callable[[Vouched], bool]


class Unwarranted(Exception):
    """There is no right to do this; says why."""


def require_warrant(warrant: Warrant, plan: Plan, archive: Archive, now: datetime) -> None:
    """Raise `Unwarranted` if a warrant does not let a plan be carried out."""
    policy, runbook = _policy(warrant, archive), archive.runbook(warrant.runbook)
    if plan.digest not in warrant.plans:
        raise Unwarranted("this plan is not among those that were put to people")
    if not warrant.votes:
        _require_standing(warrant, plan, policy, runbook)
        return
    effect, subject = plan.action.partition(".")[2], plan.target.subject
    voters = Electorate(
        rule=policy.rule(effect, runbook.id if runbook else "", subject.account, subject.region),
        roster=policy.roster,
        tier=warrant.tier,
        owners=warrant.owners,
        requesters=warrant.requesters,
    )
    put = proposal_digest(plan.target.step, warrant.plans, warrant.term)
    found = tally(_true_votes(warrant, plan, voters, archive, now), put, voters)
    if not found.reached:
        raise Unwarranted(f"{found.needed} more people have to approve it")


def require_undoing(undoing: Undoing, plan: Plan, archive: Archive, now: datetime) -> None:
    """Raise `Unwarranted` if a release does not let a plan be taken back.

    Who releases must hold it: another incident's release opens nothing here.
    """
    word, held = undoing.said.word, undoing.plan
    if containment_id(held) != containment_id(plan):
        raise Unwarranted("it was said of something else")
    if word.incident != held.target.incident or word.run != undoing.warrant.run:
        raise Unwarranted(f"it was said to {word.incident}, which does not hold it")
    if word.steps and held.target.step not in word.steps:
        raise Unwarranted(f"it was said of {', '.join(word.steps)}, not of {held.target.step}")
    if word.at + SKEW < plan.target.at:
        raise Unwarranted("it was said before there was anything to undo")
    if held.calls:
        require_warrant(undoing.warrant, held, archive, now)
    policy = _policy(undoing.warrant, archive)
    who = _speaker(undoing.said, undoing.voucher, policy, archive, now)
    if not speaks_out(who, policy):
        raise Unwarranted(f"{who.means} does not count for this")


def require_reopening(right: Reopening, plan: Plan, archive: Archive, now: datetime) -> None:
    """Raise `Unwarranted` if people have not approved that a plan is taken back."""
    if containment_id(right.plan) != containment_id(plan):
        raise Unwarranted("it was said of something else")
    if not right.warrant.votes:
        raise Unwarranted("nobody has approved that it is opened again")
    require_warrant(right.warrant, reopening(right.plan, right.step, right.at), archive, now)


def _policy(warrant: Warrant, archive: Archive) -> Policy:
    policy = archive.policy(warrant.policy)
    if policy is None:
        raise Unwarranted(f"policy {warrant.policy} is none of this installation")
    return policy


def _require_standing(
    warrant: Warrant, plan: Plan, policy: Policy, runbook: Runbook | None
) -> None:
    if runbook is None:
        raise Unwarranted("nobody has approved it, and its runbook is none of this installation")
    effect, subject = plan.action.partition(".")[2], plan.target.subject
    if policy.autonomy_of(runbook.id, subject.account, subject.region) is not Autonomy.AUTO:
        raise Unwarranted(f"nobody has approved it, and {runbook.id} may not act alone there")
    rule = policy.rule(effect, runbook.id, subject.account, subject.region)
    by_rule = rule.standing is not None and warrant.severity in rule.standing.severities
    by_runbook = any(step.do == effect and step.approval is Approval.AUTO for step in runbook.steps)
    if not by_rule and not by_runbook:
        raise Unwarranted(f"nobody has approved it, and {runbook.id} has to ask")


def _true_votes(
    warrant: Warrant, plan: Plan, voters: Electorate, archive: Archive, now: datetime
) -> Iterator[Vote]:
    """Yield the votes that people really gave on this incident, and that count under the rule."""
    policy = _policy(warrant, archive)
    about = (plan.target.incident, warrant.run, plan.target.step)
    for vote in warrant.votes:
        word = vote.word
        if not isinstance(word, Decision) or (word.incident, word.run, word.step) != about:
            continue
        try:
            who = _speaker(vote.said, vote.voucher, policy, archive, now)
        except Unwarranted:
            continue
        strong = who.hardware or not voters.rule.step_up
        if strong and who.means in voters.rule.accepts and not voters.bar(who.name):
            yield vote.model_copy(update={"ruling": Ruling(accepted=True)})


def _speaker(
    said: Signed[Any],
    voucher: Voucher | None,
    policy: Policy,
    archive: Archive,
    now: datetime,
) -> Speaker:
    """Return who has really said a word, not too long ago."""
    if now - said.word.at > OLDEST:
        raise Unwarranted(f"it was said {now - said.word.at} ago")
    asked = digest(question(said, policy.roster))
    if needs_voucher(said) and not (
        voucher and archive.vouched(Vouched(question=asked, voucher=voucher))
    ):
        raise Unwarranted(f"no worker has asked whose word it is, by {said.attestation.means}")
    try:
        return speaker(said, policy.roster, said.word.at, voucher)
    except NotTheirs as why:
        raise Unwarranted(str(why)) from why
