"""Whatever goes wrong, and wherever: done exactly once or not at all, and undone byte for byte."""

from contextlib import suppress
from typing import Any

import pytest
from boto3 import Session

from firedoor.action import Action
from firedoor.discovery import find
from firedoor.errors import CloudError, PlanStale, QuotaExceeded, Refused
from firedoor.lab.drills import Drill
from firedoor.model.action import Nature
from firedoor.model.plan import Verdict

pytestmark = pytest.mark.faults

LATER = ("throttled", "lost", "cut")


def test_every_action_that_changes_something_has_a_drill() -> None:
    actions = {
        id
        for id, action in find("activities", Action).items()
        if action.nature is not Nature.RECORD and action.permissions.apply
    }

    assert actions - find("firedoor.lab.drills", Drill).keys() == set()


def test_plan_says_whether_we_may_make_its_calls(ground: Any) -> None:
    silent = [
        plan.summary
        for plan in ground.plans
        if plan.calls and not any(check.name.startswith("may ") for check in plan.preflight)
    ]

    assert silent == []


def test_undisturbed_it_is_done_and_undone(ground: Any) -> None:
    ground.begin()

    ground.apply()
    verdicts = ground.verdicts()
    ground.revert()

    assert bool(ground.applies) is any(plan.calls for plan in ground.plans)
    assert Verdict.DRIFTED not in verdicts
    ground.expect_undone()


@pytest.mark.parametrize("ground", ["aws.block_address acl"], indirect=True)
def test_what_is_left_undone_or_done_twice_does_not_go_unseen(ground: Any) -> None:
    ground.begin()
    ground.apply()

    with pytest.raises(AssertionError, match="not undone"):
        ground.expect_undone()
    ground.stage.fill(Session(), ground.subject)
    with pytest.raises(AssertionError, match="not as an undisturbed run does it"):
        ground.expect_done()


@pytest.mark.parametrize("fault", LATER)
def test_what_fails_for_now_is_done_exactly_once(ground: Any, cells: Any, fault: str) -> None:
    for number in ground.numbers():
        ground.begin()
        with cells(fault, number):
            ground.strike.arm(fault, number)
            ground.apply()
            ground.expect_done()
        with cells(f"undo {fault}", number):
            ground.strike.arm(fault, number)
            ground.revert()
            ground.expect_undone()


def test_killed_worker_is_followed_by_one_that_does_the_rest(ground: Any, cells: Any) -> None:
    for number in ground.numbers():
        ground.begin()
        with cells("killed", number):
            ground.killed(ground.apply, number)
            ground.apply()
            ground.expect_done()
        with cells("undo killed", number):
            ground.killed(ground.revert, number)
            ground.revert()
            ground.expect_undone()


def test_what_is_denied_is_taken_back_as_if_never_tried(ground: Any, cells: Any) -> None:
    for number in range(1, ground.applies + 1):
        ground.begin()
        with cells("denied", number):
            ground.strike.arm("denied", number)
            with suppress(CloudError):
                ground.apply()
            ground.strike.arm()
            ground.revert()
            ground.expect_undone()


def test_undo_that_is_denied_can_be_done_later(ground: Any, cells: Any) -> None:
    for number in range(1, ground.reverts + 1):
        ground.begin()
        with cells("undo denied", number):
            ground.apply()
            ground.strike.arm("denied", number)
            with suppress(CloudError):
                ground.revert()
            ground.strike.arm()
            ground.revert()
            ground.expect_undone()


def test_target_that_changed_meanwhile_is_planned_again(ground: Any, cells: Any) -> None:
    if ground.stage.change is None:
        return
    ground.begin()
    with cells("changed", 1):
        ground.stage.change(Session(), ground.subject)
        theirs = ground.changes()
        try:
            ground.apply()
        except (PlanStale, CloudError):
            ground.revert()  # what another plan of the same step did
            ground.expect(theirs)
        else:
            raise AssertionError("it was applied all the same")


def test_target_that_is_gone_is_told(ground: Any, cells: Any) -> None:
    if ground.stage.remove is None:
        return
    ground.begin()
    ground.stage.remove(Session(), ground.subject)
    theirs = ground.changes()
    with cells("gone", 1):
        assert [plan.refusals for plan in ground.plan() if not plan.gone] == []
        ground.expect(theirs)
    with cells("gone", 2):
        with suppress(CloudError, PlanStale):
            ground.apply()
        ground.revert()
        ground.expect(theirs)
    ground.begin()
    with cells("gone", 3):
        ground.apply()
        ground.stage.remove(Session(), ground.subject)
        ground.verdicts()
        ground.revert()


def test_full_quota_leaves_nothing_behind(ground: Any, cells: Any) -> None:
    if ground.stage.fill:
        ground.begin()
        ground.stage.fill(Session(), ground.subject)
        theirs = ground.changes()
        with cells("full", 1):
            assert [plan.summary for plan in ground.plan() if not plan.refusals] == []
            ground.expect(theirs)
        with cells("full", 2):
            with suppress(CloudError, PlanStale):
                ground.apply()
                raise AssertionError("it was applied all the same")
            ground.revert()
            ground.expect(theirs)
    for number, (operation, code) in enumerate(ground.stage.limits.items(), 3):
        ground.begin()
        with cells("full", number):
            ground.strike.exceed(operation, code)
            with suppress(QuotaExceeded, Refused):
                ground.apply()
            assert operation in ground.strike.made
            ground.strike.arm()
            ground.revert()
            ground.expect_undone()


def test_part_that_cannot_be_done_is_seen_and_can_be_undone(ground: Any, cells: Any) -> None:
    parts = [n for n, name in enumerate(ground.applied, 1) if name == ground.stage.part]
    for number in parts:
        ground.begin()
        with cells("part", number):
            ground.strike.arm("denied", number)
            try:
                ground.apply()
                failed = False
            except CloudError:
                failed = True
            assert Verdict.DRIFTED in ground.verdicts() or not failed
            ground.strike.arm()
            ground.revert()
            ground.expect_undone()
