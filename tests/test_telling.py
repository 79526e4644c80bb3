"""What people are told of a step: the whole of it, by what to decide, and never a power to."""

from datetime import timedelta
from typing import Any

import pytest

from firedoor import telling
from firedoor.approvals.quorum import Electorate
from firedoor.model.action import Barrier, Nature
from firedoor.model.approval import Rule, Tier
from firedoor.model.decision import Proposal
from firedoor.model.finding import Severity
from firedoor.model.incident import Capability, StepRecord, StepState
from firedoor.model.message import Addressee, Message, Occasion
from firedoor.model.plan import Plan, Target
from firedoor.testing import NOW, instance, responder, roster, step

TEAM = roster(
    ann=responder("ann", "security", email="ann@example.com", slack="U1", teams="t1"),
    ben=responder("ben", "leads"),
    cat=responder("cat", "platform"),
)
DECIDED = (Occasion.ASKED, Occasion.ESCALATED)


def plan(summary: str, *radius: str, lost: tuple[str, ...] = ()) -> Plan:
    target = Target(subject=instance(), incident="incident/x", step="door", at=NOW)
    return Plan(
        action="a", target=target, lease=summary, summary=summary, blast_radius=radius, lost=lost
    )


PROPOSAL = Proposal(
    step="door",
    plans=(
        plan("Close the front", "guests", "staff", lost=("the draught",)),
        plan("Close the back", "staff", lost=("the draught",)),
    ),
)
ASKED = StepRecord(
    key="door",
    runbook="test",
    step=step("door", "close_door"),
    capability=Capability(action="a", nature=Nature.CONTAINMENT, barrier=Barrier.STARTED),
    subjects=(instance(),),
    state=StepState.ASKING,
    proposal=PROPOSAL,
    plan_digest=PROPOSAL.digest,
    deadline=NOW + timedelta(minutes=15),
    ratify_by=NOW + timedelta(hours=24),
)


def told(
    occasion: Occasion = Occasion.ASKED,
    record: StepRecord = ASKED,
    text: str = "",
    tier: int = 0,
    requesters: tuple[str, ...] = (),
    **members: Any,
) -> Message:
    rule = Rule(**{"id": "r", "excludes": (), "groups": ("security",), **members})
    return telling.message(
        record,
        occasion,
        text,
        id="1",
        at=NOW,
        incident="incident/x",
        run="r",
        subject="aws/1/i-1",
        severity=Severity.HIGH,
        voters=Electorate(rule, TEAM, tier, (), requesters),
    )


def test_message_says_what_would_be_done_to_what_until_when_and_how_to_decide() -> None:
    message = told(text="It hurts.")

    assert message == Message(
        id="1",
        occasion=Occasion.ASKED,
        at=NOW,
        incident="incident/x",
        run="r",
        step="door",
        subject="aws/1/i-1",
        severity=Severity.HIGH,
        title="Decide on door: aws/1/i-1",
        text="It hurts.",
        plans=("Close the front", "Close the back"),
        blast_radius=("guests", "staff"),
        lost=("the draught",),
        plan_digest=PROPOSAL.digest,
        deadline=NOW + timedelta(minutes=15),
        how="firedoor approve incident/x door",
        to=(Addressee(name="ann", email="ann@example.com", slack="U1", teams="t1"),),
    )


@pytest.mark.parametrize(
    ("occasion", "how"),
    [
        (Occasion.ASKED, "firedoor approve incident/x door"),
        (Occasion.ESCALATED, "firedoor approve incident/x door"),
        (Occasion.RATIFY, "firedoor ratify incident/x door"),
        (Occasion.EXPIRED, ""),
        (Occasion.ALARM, ""),
        (Occasion.TOLD, ""),
    ],
)
def test_only_what_can_be_decided_names_a_command(occasion: Occasion, how: str) -> None:
    assert told(occasion).how == how


def test_every_occasion_has_a_title_of_one_line() -> None:
    titles = {told(occasion).title for occasion in Occasion}

    assert len(titles) == len(Occasion)
    assert all("door" in title and "aws/1/i-1" in title for title in titles)


def test_ratification_has_its_own_deadline() -> None:
    assert told(Occasion.RATIFY).deadline == NOW + timedelta(hours=24)


def test_who_may_not_decide_is_not_addressed() -> None:
    assert [one.name for one in told(groups=()).to] == ["ann", "ben", "cat"]
    barred = told(groups=(), excludes=("requester",), requesters=("ann",))
    assert [one.name for one in barred.to] == ["ben", "cat"]


def test_escalation_addresses_those_whom_it_adds() -> None:
    tiers = (Tier(to=("leads",), within="1h"), Tier(to=("platform",), within="1h"))

    for tier, names in ((1, ["ben"]), (2, ["cat"])):
        message = told(Occasion.ESCALATED, tier=tier, escalation=tiers)
        assert [one.name for one in message.to] == names


@pytest.mark.parametrize("occasion", Occasion)
def test_chat_is_offered_only_where_a_decision_in_chat_would_count(occasion: Occasion) -> None:
    assert told(occasion, accepts=("ssh", "chat")).chat is (occasion in DECIDED)
    assert not told(occasion, accepts=("ssh",)).chat
    assert not told(occasion, accepts=("ssh", "chat"), step_up=True).chat


def test_step_without_a_plan_is_told_all_the_same() -> None:
    message = told(Occasion.TOLD, ASKED.model_copy(update={"proposal": None, "plan_digest": ""}))

    assert (message.plans, message.plan_digest) == ((), "")
