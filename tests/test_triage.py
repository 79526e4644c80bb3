"""Which steps a finding calls for."""

from datetime import timedelta

import pytest

from firedoor.model.action import Nature
from firedoor.model.finding import Finding, Kind
from firedoor.model.incident import StepRecord, StepState
from firedoor.model.runbook import Approval
from firedoor.testing import NOW, World, finding, instance, step
from firedoor.triage import BY_HAND, steps_for

WORLD = World()


def taken(of: Finding, state: StepState) -> tuple[StepRecord, ...]:
    """Return the step of an earlier arrival, come to rest in a state."""
    (record,) = steps_for(WORLD.arrival(of, step("door", "close_door")), ())
    return (record.model_copy(update={"state": state, "ended_at": NOW + timedelta(hours=1)}),)


def test_steps_come_in_the_runbooks_order_with_what_they_need() -> None:
    records = steps_for(
        WORLD.arrival(finding(), step("photo", "photograph"), step("door", "close_door", "photo")),
        (),
    )

    assert [(r.key, r.needs) for r in records] == [("photo", ()), ("door", ("photo",))]


def test_what_the_cloud_has_no_action_for_is_asked_of_a_person() -> None:
    asked = WORLD.arrival(
        finding(), step("photo", "photograph"), step("door", "close_door", "photo")
    )
    by_hand = {
        id_: known.model_copy(update={"action": BY_HAND, "nature": Nature.TASK})
        for id_, known in asked.capabilities.items()
    }

    records = steps_for(asked.model_copy(update={"capabilities": by_hand}), ())

    assert [(r.key, r.step.do, r.step.approval, r.needs) for r in records] == [
        ("photo", "task", Approval.ASK, ()),
        ("door", "task", Approval.ASK, ()),
    ]
    assert records[1].params == {
        "what": "Do by hand what the step `close_door` is for",
        "how": "Firedoor has no such action for aws.",
    }


def test_same_effect_on_the_same_subject_is_one_step() -> None:
    standing = taken(finding(), StepState.PROVEN)

    assert steps_for(WORLD.arrival(finding("f-2"), step("shut", "close_door")), standing) == ()


def test_needs_point_to_the_step_that_stands_already() -> None:
    standing = taken(finding(), StepState.PROVEN)
    again = WORLD.arrival(finding("f-2"), step("shut", "close_door"), step("tell", "tell", "shut"))

    (tell,) = steps_for(again, standing)

    assert tell.needs == ("door",)


def test_step_on_related_subjects_acts_on_all_of_the_kind() -> None:
    others = (instance("i-0bbbbbbbbbbbbbbbb"), instance("i-0cccccccccccccccc"))
    group = finding(related=others)

    (record,) = steps_for(WORLD.arrival(group, step("doors", "close_door", on="instance")), ())

    assert [s.id for s in record.subjects] == [group.subject.id, *(o.id for o in others)]


@pytest.mark.parametrize(
    "state", [StepState.DRIFTED, StepState.EXPIRED, StepState.FAILED, StepState.RELEASED]
)
def test_activity_after_the_end_of_a_step_takes_it_again(state: StepState) -> None:
    later = finding("f-2", seen=NOW + timedelta(hours=2))

    (record,) = steps_for(WORLD.arrival(later, step("door", "close_door")), taken(finding(), state))

    assert record.key == "door#2"


@pytest.mark.parametrize("state", [StepState.EXPIRED, StepState.RELEASED])
def test_late_news_of_earlier_activity_does_not(state: StepState) -> None:
    before = finding("f-2", seen=NOW + timedelta(minutes=30))

    assert (
        steps_for(WORLD.arrival(before, step("door", "close_door")), taken(finding(), state)) == ()
    )


def test_what_a_person_denied_is_not_asked_again() -> None:
    later = finding("f-2", seen=NOW + timedelta(hours=2))
    denied = taken(finding(), StepState.DENIED)

    assert steps_for(WORLD.arrival(later, step("door", "close_door")), denied) == ()


def test_account_is_acted_on_though_no_detector_names_it() -> None:
    fire = finding()
    arrival = WORLD.arrival(fire, step("close", "close_door", on=Kind.ACCOUNT))
    (record,) = steps_for(arrival, ())

    (subject,) = record.subjects
    assert (subject.kind, subject.id, subject.region) == (Kind.ACCOUNT, fire.account, "global")


def test_step_that_is_on_its_way_waits_for_less_when_a_graver_finding_does() -> None:
    careful = (step("film", "film"), step("door", "close_door", "film"))
    standing = steps_for(WORLD.arrival(finding(), *careful), ())
    harm = finding("f-2")

    (hurried,) = steps_for(WORLD.arrival(harm, step("shut", "close_door")), standing)

    assert (hurried.key, hurried.needs) == ("door", ())


def test_step_that_is_done_is_not_touched_by_a_graver_finding() -> None:
    careful = (step("film", "film"), step("door", "close_door", "film"))
    standing = tuple(
        record.model_copy(update={"state": StepState.PROVEN})
        for record in steps_for(WORLD.arrival(finding(), *careful), ())
    )

    assert steps_for(WORLD.arrival(finding("f-2"), step("shut", "close_door")), standing) == ()
