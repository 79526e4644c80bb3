"""What the votes on one plan amount to, under the rule for it. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from firedoor.model.approval import OWNER, Party, Rule
from firedoor.model.decision import Vote
from firedoor.model.plan import Plan
from firedoor.model.responder import Roster
from firedoor.model.word import Answer


class Tally(NamedTuple):
    """How the votes stand."""

    approved: tuple[str, ...]
    denied: tuple[str, ...]
    needed: int
    """How many more have to approve."""
    seats: tuple[str, ...]
    """Seats that none of those who approved fills."""
    ended: bool
    """Whether enough have denied."""

    @property
    def reached(self) -> bool:
        """Whether it is approved."""
        return not self.ended and self.needed == 0


class Electorate(NamedTuple):
    """Who may vote on a step at this time."""

    rule: Rule
    roster: Roster
    tier: int
    owners: tuple[str, ...]
    requesters: tuple[str, ...]
    """Who handed over what the incident, and the step, began with."""

    def bar(self, name: str) -> str:
        """Return why a responder may not vote, or nothing."""
        asked = {requester.casefold() for requester in self.requesters}
        if Party.REQUESTER in self.rule.excludes and name.casefold() in asked:
            return f"{name} has asked for this, so somebody else has to decide"
        if Party.ON_CALL in self.rule.excludes and name in self.roster.on_call:
            return f"{name} was on call when it began, so somebody else has to decide"
        if name in self.owners and OWNER in self.rule.seats:
            return ""
        groups = self.rule.electorate(self.tier)
        if name not in self.roster.members(groups):
            return f"{name} is in none of the groups that decide on this: {', '.join(groups)}"
        return ""

    def voters(self) -> tuple[str, ...]:
        """Return the names of all who may vote."""
        return tuple(name for name in self.roster.people if not self.bar(name))

    def newly_asked(self) -> tuple[str, ...]:
        """Return the names of those whom the latest tier of the escalation adds."""
        groups = self.rule.escalation[self.tier - 1].to if self.tier else self.rule.groups
        members = self.roster.members(groups)
        return tuple(name for name in self.voters() if name in members)

    def fills(self, name: str, seat: str) -> bool:
        """Tell whether a responder can fill a seat."""
        if seat == OWNER:
            return name in self.owners
        return name in self.roster.members((seat,))


def tally(votes: Iterable[Vote], plan_digest: str, electorate: Electorate) -> Tally:
    """Count the accepted votes on a plan: of each person the last one."""
    latest: dict[str, Answer] = {}
    for vote in votes:
        if vote.ruling.accepted and vote.word.plan_digest == plan_digest:
            latest[vote.word.by] = vote.word.answer
    approved = tuple(name for name, answer in latest.items() if answer is Answer.APPROVE)
    denied = tuple(name for name, answer in latest.items() if answer is Answer.DENY)
    empty = _empty(electorate.rule.seats, approved, electorate)
    return Tally(
        approved=approved,
        denied=denied,
        needed=max(electorate.rule.quorum - len(approved), len(empty), 0),
        seats=empty,
        ended=len(denied) >= electorate.rule.denials,
    )


def owners(plans: Sequence[Plan], tags: Sequence[str], roster: Roster) -> tuple[str, ...]:
    """Return who owns what plans touch: the responders whom its tags name, or whose group or mail.

    A tag may hold the name of a responder, of a group, or an address of e-mail.
    """
    wanted = {tag.casefold() for tag in tags}
    named = {
        value.strip().casefold()
        for plan in plans
        for carried in plan.touched.resources.values()
        for tag, value in carried.items()
        if tag.casefold() in wanted
    }
    return tuple(
        name
        for name, person in roster.people.items()
        if named & {text.casefold() for text in (name, person.email or name, *person.groups)}
    )


def _empty(
    seats: Sequence[str], approved: Sequence[str], electorate: Electorate
) -> tuple[str, ...]:
    """Return the seats that stay empty when each person takes one, as many as can be filled."""
    taken: dict[str, str] = {}  # person to seat

    def seat_somebody(seat: str, tried: set[str]) -> bool:
        for name in approved:
            if name in tried or not electorate.fills(name, seat):
                continue
            tried.add(name)
            if name not in taken or seat_somebody(taken[name], tried):
                taken[name] = seat
                return True
        return False

    return tuple(seat for seat in seats if not seat_somebody(seat, set()))
