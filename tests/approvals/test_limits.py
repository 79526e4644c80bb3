"""What is admitted, what has to wait, and why."""

from datetime import timedelta

import pytest

from firedoor.approvals.limits import admit, pause, resume
from firedoor.model.decision import Ruling
from firedoor.model.policy import Limits
from firedoor.model.warden import Change, Warden
from firedoor.model.word import Order
from firedoor.testing import NOW, instruction

STOP = instruction("q", Order.PAUSE, "the wrong account").word
GO = instruction("q", Order.RESUME, "checked").word


def change(lease: str = "containment/one", **members: object) -> Change:
    values: dict[str, object] = {
        "incident": f"incident of {lease}",
        "digest": "d",
        "lease": lease,
        "limits": Limits(containments=2, window=timedelta(hours=1)),
    }
    return Change.model_validate(values | members)


def after(*changes: Change, at: timedelta = timedelta(0)) -> Warden:
    warden = Warden()
    for one in changes:
        warden, ruling = admit(warden, one, NOW + at)
        assert ruling.accepted
    return warden


def test_nothing_passes_while_paused_not_even_what_opens_again() -> None:
    paused = pause(after(change()), STOP, NOW)
    for wanted in (change("containment/two"), change(lease=""), change(gives_back=True)):
        _, ruling = admit(paused, wanted, NOW)
        assert ruling == Ruling(
            accepted=False, reason="all changes are paused by alice: the wrong account"
        )


def test_who_was_held_back_is_remembered_until_changes_go_on() -> None:
    paused, _ = admit(pause(Warden(), STOP, NOW), change(), NOW)
    paused, _ = admit(paused, change(), NOW)
    assert paused.waiting == ("incident of containment/one",)
    assert resume(paused, GO).waiting == ()


def test_window_lets_only_so_many_through_and_then_more() -> None:
    warden = after(change("a"), change("b"))
    _, ruling = admit(warden, change("c"), NOW + timedelta(minutes=59))
    assert not ruling.accepted
    assert ruling.reason.startswith("2 containments within 1:00:00")
    assert admit(warden, change("c"), NOW + timedelta(minutes=60))[1].accepted


def test_repeat_of_what_is_held_counts_once() -> None:
    warden = after(change("a"), change("a"), change("a"))
    assert len(warden.admitted) == 1
    assert admit(warden, change("b"), NOW)[1].accepted


def test_what_was_given_back_counts_for_the_window_but_not_for_its_fleet() -> None:
    web = {"fleets": {"autoscaling/web": 3}}
    warden = after(change("a", **web), change("a", gives_back=True))
    assert (warden.held, len(warden.admitted)) == ((), 1)
    assert admit(warden, change("b", **web), NOW)[1].accepted


@pytest.mark.parametrize(("size", "admitted"), [(3, False), (4, True)])
def test_only_a_share_of_a_fleet_is_contained(size: int, admitted: bool) -> None:
    web = {"fleets": {"autoscaling/web": size}}
    warden = after(change("a", **web))
    assert admit(warden, change("b", **web), NOW)[1].accepted is admitted


def test_one_of_a_fleet_can_always_be_contained() -> None:
    assert admit(Warden(), change(fleets={"autoscaling/web": 1}), NOW)[1].accepted


def test_as_many_as_a_person_said_go_beyond_the_limits() -> None:
    more = instruction("q", Order.RESUME, "it is real", beyond=1).word
    warden = resume(after(change("a"), change("b")), more)
    warden, first = admit(warden, change("c"), NOW)
    _, second = admit(warden, change("d"), NOW)
    assert (first.accepted, second.accepted) == (True, False)


def test_what_was_not_made_after_all_counts_no_longer_even_while_paused() -> None:
    web = {"fleets": {"autoscaling/web": 3}}
    paused = pause(after(change("a", **web), change("b")), STOP, NOW)
    left, ruling = admit(paused, change("a", withdraws=True), NOW)
    assert ruling.accepted
    assert left == pause(after(change("b")), STOP, NOW)
    assert admit(left, change("never admitted", withdraws=True), NOW)[0] == left


def test_window_may_be_longer_than_a_day() -> None:
    limits = Limits(containments=2, window=timedelta(days=7))
    warden = after(change("a", limits=limits), change("b", limits=limits))
    for days in (2, 6):
        later = NOW + timedelta(days=days)
        warden, ruling = admit(warden, change(f"after {days}", limits=limits), later)
        assert not ruling.accepted


def test_what_counts_no_longer_is_forgotten() -> None:
    warden = after(change("a"))
    later, _ = admit(warden, change("b"), NOW + timedelta(days=2))
    assert later.admitted == (NOW + timedelta(days=2),)
