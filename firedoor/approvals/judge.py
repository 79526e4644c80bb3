"""Rulings on what people say to an incident: pure, so that every replay rules the same."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from firedoor.approvals.hearing import NotTheirs, Speaker, require_new, speaker
from firedoor.approvals.quorum import Electorate, Tally, owners, tally
from firedoor.model.approval import Rule
from firedoor.model.decision import Ruling, Vote
from firedoor.model.incident import MOVING, StepRecord, StepState
from firedoor.model.policy import DEFAULT_RULE, Policy
from firedoor.model.word import (
    Close,
    Decision,
    Heard,
    Means,
    Ratification,
    Release,
    Signed,
    Voucher,
)

MOST_VOTES = 6
"""How often somebody may vote on the same plan: minds change, but not without end."""


class Case(NamedTuple):
    """The incident that is spoken to, as far as rulings depend on it."""

    incident: str
    run: str
    policy: Policy
    requester: str
    steps: tuple[StepRecord, ...]
    spent: tuple[Heard, ...]
    """The words that were heard already."""
    now: datetime


class Judgement(NamedTuple):
    """A ruling, and who has spoken, if that is known."""

    ruling: Ruling
    speaker: Speaker | None = None


def judge(
    said: Signed[Decision] | Signed[Ratification], case: Case, voucher: Voucher | None = None
) -> Judgement:
    """Accept or refuse a vote, with the reason, and say what is still needed."""
    try:
        who = heard(said, case, voucher)
    except NotTheirs as why:
        return Judgement(_refused(str(why)))
    record = next((step for step in case.steps if step.key == said.word.step), None)
    if record is None:
        return Judgement(_refused(f"this incident has no step {said.word.step}"), who)
    return Judgement(_weighed(said, record, who, case), who)


def heard(said: Signed[Any], case: Case, voucher: Voucher | None = None) -> Speaker:
    """Return who has said a word to this incident, for the first time.

    Raises `NotTheirs`.
    """
    word = said.word
    if (word.incident, word.run) != (case.incident, case.run):
        raise NotTheirs(f"it is about {word.incident} run {word.run}, this is run {case.run}")
    if not word.reason.strip():
        raise NotTheirs("it needs a reason")
    require_new(word, case.spent)
    return speaker(said, case.policy.roster, case.now, voucher)


def rule_for(record: StepRecord, policy: Policy) -> Rule:
    """Return what it takes to approve a step: of the rules for its subjects the most demanding."""
    places = [(one.account, one.region) for one in record.subjects] or [("", "")]
    rules = [policy.rule(record.step.do, record.runbook, *place) for place in places]
    return max(rules, key=_demand)


def electorate(record: StepRecord, policy: Policy, requester: str) -> Electorate:
    """Return who may vote on a step now."""
    plans = record.proposal.plans if record.proposal else ()
    return Electorate(
        rule=rule_for(record, policy),
        roster=policy.roster,
        tier=record.tier,
        owners=owners(plans, policy.owner_tags, policy.roster),
        requesters=tuple(name for name in (requester, record.requester) if name),
    )


def counted(record: StepRecord, policy: Policy, requester: str) -> Tally:
    """Return how the votes on a step stand: those before it is done, or those to ratify it."""
    kind = "ratification" if record.standing else "decision"
    votes = (vote for vote in record.votes if vote.word.kind == kind)
    return tally(votes, record.plan_digest, electorate(record, policy, requester))


def unratified(record: StepRecord) -> bool:
    """Tell whether something was done under standing authority that people have not spoken on."""
    return record.standing and record.ratified is None and any(r.calls for r in record.receipts)


def waits(record: StepRecord) -> bool:
    """Tell whether a step waits for people: for a decision, or for a ratification."""
    return record.state is StepState.ASKING or unratified(record)


def may_release(said: Signed[Release], case: Case, voucher: Voucher | None = None) -> Ruling:
    """Accept or refuse that containments are let go."""
    if refusal := _not_heard(said, case, voucher):
        return refusal
    release = said.word
    if unknown := [key for key in release.steps if key not in {step.key for step in case.steps}]:
        return _refused(f"this incident has no step {', '.join(unknown)}")
    wanted = chosen(release, case.steps)
    if busy := [step.key for step in wanted if step.state is StepState.APPLYING]:
        return _refused(f"{', '.join(busy)} is being applied; release it when that is done")
    if not any(step.leases for step in wanted):
        return _refused("nothing of this is held")
    return Ruling(accepted=True)


def chosen(release: Release, steps: tuple[StepRecord, ...]) -> tuple[StepRecord, ...]:
    """Return the steps that a release is about."""
    return tuple(step for step in steps if not release.steps or step.key in release.steps)


def may_close(said: Signed[Close], case: Case, voucher: Voucher | None = None) -> Ruling:
    """Accept or refuse that an incident ends: only when nothing is held, and all is at rest."""
    if refusal := _not_heard(said, case, voucher):
        return refusal
    if held := [step.key for step in case.steps if step.leases]:
        return _refused(f"{', '.join(held)} still hold what they contained; release them first")
    if moving := [step.key for step in case.steps if step.state in MOVING]:
        return _refused(f"{', '.join(moving)} are not finished")
    if owed := [step.key for step in case.steps if unratified(step)]:
        return _refused(
            f"{', '.join(owed)} was done under standing authority: `firedoor ratify` it first"
        )
    return Ruling(accepted=True)


def speaks_out(who: Speaker, policy: Policy) -> bool:
    """Tell whether somebody has spoken by means that count for more than a step.

    That is what some rule accepts, but never chat.
    """
    rules = policy.approvals or (DEFAULT_RULE,)
    return who.means in {means for rule in rules for means in rule.accepts} - {Means.CHAT}


def _weighed(
    said: Signed[Decision] | Signed[Ratification], record: StepRecord, who: Speaker, case: Case
) -> Ruling:
    """Rule on a vote that is known to be somebody's."""
    word, rule = said.word, rule_for(record, case.policy)
    if refusal := _out_of_place(word, record, case.now):
        return _refused(refusal)
    if refusal := _weak(who, rule):
        return _refused(refusal)
    voters = electorate(record, case.policy, case.requester)
    if refusal := voters.bar(who.name):
        return _refused(refusal)
    same_kind = [vote for vote in record.votes if vote.word.kind == word.kind]
    before = _counted_before(same_kind, word)
    if before and before[-1].word.answer is word.answer:
        return _refused(f"{word.by} has voted so already")
    if len(before) >= MOST_VOTES:
        return _refused(f"{word.by} has voted {len(before)} times on this plan")
    replaced = f"replaces {before[-1].word.answer}" if before else ""
    accepted = Ruling(accepted=True, reason=replaced)
    vote = Vote(
        said=said, ruling=accepted, received_at=case.now, means=who.means, hardware=who.hardware
    )
    now = tally((*same_kind, vote), record.plan_digest, voters)
    return accepted.model_copy(update={"needed": now.needed, "seats": now.seats})


def _out_of_place(word: Decision | Ratification, record: StepRecord, now: datetime) -> str:
    """Return why a step takes no such vote at this time, or nothing."""
    if isinstance(word, Ratification):
        if not unratified(record):
            return f"step {record.key} has nothing to ratify"
    elif record.state is not StepState.ASKING:
        return f"step {record.key} is not waiting for a decision, it is {record.state}"
    if word.plan_digest != record.plan_digest:
        return f"the plan has changed: it is {record.plan_digest} now; read it and decide again"
    if record.state is StepState.ASKING and record.deadline and now >= record.deadline:
        return f"the deadline was {record.deadline:%Y-%m-%d %H:%M:%SZ}"
    return ""


def _weak(who: Speaker, rule: Rule) -> str:
    """Return why the proof of a vote does not do for a rule, or nothing."""
    if who.means not in rule.accepts:
        return f"{who.means} does not count for this, only {', '.join(rule.accepts)}"
    if rule.step_up and not who.hardware:
        return "this wants a signature by a hardware key that was touched for it"
    return ""


def _counted_before(votes: Iterable[Vote], word: Decision | Ratification) -> list[Vote]:
    """Return the accepted votes of the same person on the same plan; the last one counts."""
    return [
        vote
        for vote in votes
        if vote.ruling.accepted
        and (vote.word.by, vote.word.plan_digest) == (word.by, word.plan_digest)
    ]


def _demand(rule: Rule) -> tuple[bool, int, int, bool]:
    """Return how much a rule asks for."""
    return rule.step_up, max(rule.quorum, len(rule.seats)), len(rule.seats), rule.standing is None


def _not_heard(said: Signed[Any], case: Case, voucher: Voucher | None) -> Ruling | None:
    """Return the refusal of a word that nobody is shown to have said, or not in a way that counts.

    What undoes a containment or ends an incident is not said in chat.
    """
    try:
        who = heard(said, case, voucher)
    except NotTheirs as why:
        return _refused(str(why))
    if not speaks_out(who, case.policy):
        return _refused(f"{who.means} does not count for this")
    return None


def _refused(reason: str) -> Ruling:
    return Ruling(accepted=False, reason=reason)
