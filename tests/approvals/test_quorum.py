"""What votes amount to: a quorum of different people, in seats, out of those who may vote."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedoor.approvals.quorum import Electorate, Tally, owners, tally
from firedoor.model.approval import OWNER, Rule, Tier
from firedoor.model.decision import Ruling, Vote
from firedoor.model.plan import Plan, Target, Touched
from firedoor.model.responder import Roster
from firedoor.model.word import Answer, Decision, Means, SshSignature, signed_by
from firedoor.testing import NOW, instance, responder, roster

YES, NO = Answer.APPROVE, Answer.DENY
PLAN = "a" * 64
TEAM = roster(
    ann=responder("ann", "security"),
    ben=responder("ben", "security", "leads"),
    cat=responder("cat", "platform", email="Cat@Example.com"),
    dan=responder("dan"),
)


def vote(by: str, answer: Answer = YES, plan: str = PLAN, *, accepted: bool = True) -> Vote:
    said = Decision(
        incident="i", run="r", by=by, reason="x", at=NOW, expires_at=NOW, nonce="n",
        step="door", plan_digest=plan, answer=answer,
    )  # fmt: skip
    return Vote(
        said=signed_by(said, SshSignature(signature="")),
        ruling=Ruling(accepted=accepted),
        received_at=NOW,
        means=Means.SSH,
    )


def voters(
    roster: Roster = TEAM,
    *,
    tier: int = 0,
    owners: tuple[str, ...] = (),
    requesters: tuple[str, ...] = (),
    **members: object,
) -> Electorate:
    """Return an electorate under a rule with these members."""
    rule = Rule.model_validate({"id": "r", "excludes": (), **members})
    return Electorate(rule, roster, tier, owners, requesters)


def count(votes: Sequence[Vote], **members: Any) -> Tally:
    return tally(votes, PLAN, voters(**members))


def test_so_many_as_the_quorum_says_have_to_approve() -> None:
    votes = [vote("ann"), vote("ben"), vote("cat")]

    assert [count(votes[:n], quorum=3).needed for n in range(4)] == [3, 2, 1, 0]
    assert [count(votes[:n], quorum=3).reached for n in range(4)] == [False, False, False, True]


def test_one_person_counts_once_however_often_they_approve() -> None:
    assert count([vote("ann"), vote("ann")], quorum=2).needed == 1


def test_last_word_of_a_person_counts() -> None:
    changed = count([vote("ann"), vote("ben"), vote("ann", NO)], quorum=2, denials=2)

    assert (changed.approved, changed.denied, changed.needed) == (("ben",), ("ann",), 1)
    assert count([vote("ann", NO), vote("ann")], denials=2).reached


def test_refused_votes_and_those_on_another_plan_count_nothing() -> None:
    assert count([vote("ann", accepted=False), vote("ben", plan="b" * 64)]) == Tally(
        approved=(), denied=(), needed=1, seats=(), ended=False
    )
    assert not count([vote("ann", NO, accepted=False), vote("ben", NO, plan="b" * 64)]).ended


def test_enough_denials_end_it_even_beside_a_quorum() -> None:
    votes = [vote("ann"), vote("ben"), vote("cat", NO)]

    assert not count(votes, quorum=2).reached
    assert count(votes, quorum=2).ended
    assert count(votes, quorum=2, denials=2).reached


# Seats


def test_seat_wants_somebody_of_its_group() -> None:
    without = count([vote("ann"), vote("dan")], quorum=2, seats=("leads",))

    assert (without.needed, without.seats, without.reached) == (1, ("leads",), False)
    assert count([vote("ann"), vote("ben")], quorum=2, seats=("leads",)).reached


def test_one_person_fills_one_seat() -> None:
    alone = count([vote("ben")], seats=("security", "leads"))

    assert (alone.needed, len(alone.seats)) == (1, 1)


@pytest.mark.parametrize("order", list(permutations(("ann", "ben"))))
@pytest.mark.parametrize("seats", [("security", "leads"), ("leads", "security")])
def test_whoever_fits_two_seats_leaves_the_one_that_another_can_take(
    order: tuple[str, ...], seats: tuple[str, ...]
) -> None:
    assert count([vote(name) for name in order], seats=seats).reached


def test_same_seat_twice_wants_two_people() -> None:
    assert count([vote("ben")], seats=("security", "security")).needed == 1
    assert count([vote("ben"), vote("ann")], seats=("security", "security")).reached


def test_more_seats_than_the_quorum_want_more_people() -> None:
    assert count([], quorum=1, seats=("security", "leads", "platform")).needed == 3


def test_seat_of_the_owner_is_filled_by_an_owner_only() -> None:
    assert count([vote("ann")], seats=(OWNER,), owners=("cat",)).seats == (OWNER,)
    assert count([vote("cat")], seats=(OWNER,), owners=("cat",)).reached
    assert not count([vote("ann"), vote("ben"), vote("cat")], seats=(OWNER,)).reached


def test_denying_fills_no_seat() -> None:
    assert count([vote("ann"), vote("ben", NO)], seats=("leads",), denials=2).seats == ("leads",)


# Owners


def plan(**tags: str) -> Plan:
    target = Target(subject=instance(), incident="i", step="door", at=NOW)
    touched = Touched(resources={"i-1": {name.replace("_", ":"): tags[name] for name in tags}})
    return Plan(action="a", target=target, lease="l", summary="s", touched=touched)


@pytest.mark.parametrize(
    ("tag", "who"),
    [
        ("ann", ("ann",)),
        (" ANN ", ("ann",)),
        ("Security", ("ann", "ben")),
        ("cat@example.com", ("cat",)),
        ("CAT@EXAMPLE.COM", ("cat",)),
        ("nobody", ()),
        ("", ()),
        ("*", ()),
        ("ann,ben", ()),
    ],
)
def test_owner_is_whom_a_tag_names_by_name_group_or_mail(tag: str, who: tuple[str, ...]) -> None:
    assert owners([plan(Owner=tag)], ["owner"], TEAM) == who


def test_only_tags_that_the_policy_names_make_an_owner() -> None:
    assert owners([plan(team="ann")], ["owner"], TEAM) == ()
    assert owners([plan(Cost_Owner="ann")], ["cost:owner"], TEAM) == ("ann",)
    assert owners([], ["owner"], TEAM) == ()


# Who may vote


def test_without_groups_every_responder_may_vote() -> None:
    assert voters().voters() == ("ann", "ben", "cat", "dan")


def test_groups_and_seats_may_vote_and_nobody_else() -> None:
    some = voters(groups=("platform",), seats=("leads",))

    assert some.voters() == ("ben", "cat")
    assert some.bar("ann") == ("ann is in none of the groups that decide on this: platform, leads")


def test_owner_may_vote_where_there_is_a_seat_for_one() -> None:
    assert voters(groups=("leads",), seats=(OWNER,), owners=("dan",)).voters() == ("ben", "dan")
    assert voters(groups=("leads",), owners=("dan",)).voters() == ("ben",)


def test_escalation_widens_who_may_vote_and_narrows_nothing() -> None:
    tiers = (Tier(to=("leads",), within="1h"), Tier(to=("security",), within="1h"))
    asked = [voters(groups=("platform",), escalation=tiers, tier=tier) for tier in range(3)]

    assert [one.voters() for one in asked] == [("cat",), ("ben", "cat"), ("ann", "ben", "cat")]
    assert [one.newly_asked() for one in asked] == [("cat",), ("ben",), ("ann", "ben")]


def test_whoever_asked_for_it_does_not_decide_in_any_spelling() -> None:
    barred = voters(excludes=("requester",), requesters=("Ann", "cat"))

    assert barred.voters() == ("ben", "dan")
    assert barred.bar("ann") == "ann has asked for this, so somebody else has to decide"
    assert voters(requesters=("ann",)).bar("ann") == ""


def test_who_was_on_call_does_not_decide() -> None:
    team = TEAM.model_copy(update={"on_call": ("ben",)})

    assert voters(team, excludes=("on_call",)).voters() == ("ann", "cat", "dan")
    assert "on call when it began" in voters(team, excludes=("on_call",)).bar("ben")
    assert "ben" in voters(team).voters()


def test_owner_who_asked_for_it_is_barred_all_the_same() -> None:
    owner = voters(excludes=("requester",), requesters=("cat",), owners=("cat",), seats=(OWNER,))

    assert "cat" not in owner.voters()


# For all votes

NAMES = ("a", "b", "c", "d", "e")
GROUPS = ("x", "y", "z")
TEAMS = st.fixed_dictionaries({name: st.sets(st.sampled_from(GROUPS)) for name in NAMES})
SEATS = st.lists(st.sampled_from((*GROUPS, OWNER)), max_size=5)
VOTES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(Answer)), max_size=8)


def electorate(
    team: Mapping[str, set[str]], seats: Sequence[str], quorum: int = 1, denials: int = 1
) -> Electorate:
    people = roster(**{name: responder(name, *sorted(groups)) for name, groups in team.items()})
    return voters(people, seats=tuple(seats), quorum=quorum, denials=denials, owners=("a", "b"))


def fewest_empty(among: Electorate, names: Sequence[str], seats: Sequence[str]) -> int:
    """Return how many seats stay empty at least, by trying out everything."""
    if not seats:
        return 0
    first, *rest = seats
    taken = (
        fewest_empty(among, [other for other in names if other != name], rest)
        for name in names
        if among.fills(name, first)
    )
    return min([1 + fewest_empty(among, names, rest), *taken])


@given(team=TEAMS, seats=SEATS, who=st.sets(st.sampled_from(NAMES)))
def test_as_many_seats_are_filled_as_can_be(
    team: dict[str, set[str]], seats: list[str], who: set[str]
) -> None:
    among = electorate(team, seats)

    counted = tally([vote(name) for name in sorted(who)], PLAN, among)

    assert len(counted.seats) == fewest_empty(among, sorted(who), seats)
    for seat in set(seats):
        assert counted.seats.count(seat) <= seats.count(seat)


@given(
    team=TEAMS, seats=SEATS, said=VOTES, quorum=st.integers(1, 4), denials=st.integers(1, 3),
    data=st.data(),
)  # fmt: skip
def test_order_of_the_votes_of_different_people_does_not_matter(
    team: dict[str, set[str]], seats: list[str], said: list[tuple[str, Answer]], quorum: int,
    denials: int, data: st.DataObject,
) -> None:  # fmt: skip
    among = electorate(team, seats, quorum, denials)
    last = list(dict(said).items())
    other = data.draw(st.permutations(last))

    one = tally([vote(*each) for each in said], PLAN, among)
    same = tally([vote(*each) for each in other], PLAN, among)

    assert (one.needed, len(one.seats), one.ended, one.reached) == (
        same.needed, len(same.seats), same.ended, same.reached
    )  # fmt: skip
    assert (set(one.approved), set(one.denied)) == (set(same.approved), set(same.denied))


@given(team=TEAMS, seats=SEATS, said=VOTES, by=st.sampled_from(NAMES), quorum=st.integers(1, 4))
def test_an_approval_never_takes_it_further_away(
    team: dict[str, set[str]], seats: list[str], said: list[tuple[str, Answer]], by: str,
    quorum: int,
) -> None:  # fmt: skip
    among = electorate(team, seats, quorum, denials=3)
    votes = [vote(*each) for each in said]

    before, after = tally(votes, PLAN, among), tally([*votes, vote(by)], PLAN, among)

    assert before.needed - 1 <= after.needed <= before.needed
    assert len(after.seats) <= len(before.seats)
    assert not (after.ended and not before.ended)


@given(team=TEAMS, seats=SEATS, said=VOTES, quorum=st.integers(1, 4), denials=st.integers(1, 3))
def test_what_is_reached_has_a_quorum_of_people_in_all_seats(
    team: dict[str, set[str]], seats: list[str], said: list[tuple[str, Answer]], quorum: int,
    denials: int,
) -> None:  # fmt: skip
    among = electorate(team, seats, quorum, denials)
    last = dict(said)
    yes = sorted(name for name in last if last[name] is YES)

    counted = tally([vote(*each) for each in said], PLAN, among)

    enough = len(yes) >= quorum and fewest_empty(among, yes, seats) == 0
    assert counted.reached == (enough and len(last) - len(yes) < denials)
