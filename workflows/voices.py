"""What people say to an incident: whose word it is, how it is ruled on, and what is kept of it."""

from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError

from firedoor.approvals.hearing import (
    NobodyAsked,
    NotTheirs,
    needs_voucher,
    question,
    remember,
)
from firedoor.approvals.judge import counted, heard, judge
from firedoor.model.base import canonical
from firedoor.model.decision import Ruling, Vote
from firedoor.model.incident import StepState
from firedoor.model.word import Decision, Signed, Voucher
from workflows.book import Book
from workflows.calls import PATIENCE_TO_ASK, call, reason

# How many refused words are kept whole. Who floods an incident with more must not fill its history:
# then only words are taken that are somebody's, and the others are counted.
MOST_REFUSED = 50
LONGEST_REFUSED = 8192  # bytes
TOO_MANY = Voucher(problem="too many words were refused here: sign with an SSH key")

# How many words by signal are looked at in one turn during a flood: a turn that takes seconds is
# taken for a deadlock, and would be tried again for ever. Updates are let in by the server, few at
# a time, so that they come through.
MOST_AT_ONCE = 200


class Voices:
    """Hears words for an incident, and writes them into its book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._asked_whose = 0  # words of which others are asked at this time whose they are
        self._turn = workflow.now()
        self._at_once = 0  # words by signal in this turn, during a flood

    async def vote(self, said: Signed[Any]) -> Ruling:
        """Rule on a decision or a ratification, and do as it says once enough have said so."""
        voucher = await self.vouched(said)
        word = said.word
        record = self._book.steps.get(word.step)
        for vote in record.votes if record else ():
            if vote.ruling.accepted and vote.said == said:
                return vote.ruling  # the same vote, brought a second time
        ruling, who = judge(said, self._book.case(), voucher)
        event = f"vote.{word.answer}" if ruling.accepted else "vote.refused"
        kept = self.hear(event, said, ruling, theirs=who is not None)
        if kept and record is not None:
            vote = Vote(
                said=said,
                ruling=ruling,
                received_at=workflow.now(),
                means=said.attestation.means,
                hardware=who is not None and who.hardware,
                voucher=voucher,
            )
            self._book.set(record.key, votes=(*record.votes, vote))
        if ruling.accepted:
            self._count(word.step)
        return ruling

    def hear(self, event: str, said: Signed[Any], ruling: Ruling, *, theirs: bool = False) -> bool:
        """Put a word on record, unless it is one refused word of too many.

        `theirs` says that whoever it names has said it, though it is refused. Returns whether the
        word may be kept whole.
        """
        book, word = self._book, said.word
        if ruling.accepted or theirs:
            book.spent = remember(book.spent, word, workflow.now())
        if not ruling.accepted:
            book.refused += 1
            if book.refused > MOST_REFUSED:
                return False
        why = f" ({'' if ruling.accepted else 'refused: '}{ruling.reason})" if ruling.reason else ""
        book.tell(event, getattr(word, "step", ""), f"{word.by}: {word.reason}{why}")
        if not ruling.accepted and book.refused == MOST_REFUSED:
            book.tell("words.flood", detail="further refused words are only counted")
        return ruling.accepted or len(canonical(said)) <= LONGEST_REFUSED

    async def vouched(self, said: Signed[Any]) -> Voucher | None:
        """Ask those who alone can tell whose word it is, if nothing else speaks against it."""
        if not needs_voucher(said):
            return None
        try:
            heard(said, self._book.case())
        except NobodyAsked:
            pass
        except NotTheirs:
            return None  # and the ruling will say so
        # Those under way count, too: many at once must not become many activities.
        if self._book.refused + self._asked_whose >= MOST_REFUSED:
            return TOO_MANY
        about = question(said, self._book.policy.roster)
        self._asked_whose += 1
        try:
            return await call("approvals.attest", about, Voucher, PATIENCE_TO_ASK, "whose word")
        except ActivityError as error:
            return Voucher(problem=reason(error))
        finally:
            self._asked_whose -= 1

    def stop_floods(self, said: Signed[Any]) -> None:
        """Refuse without a trace what is nobody's word, once enough of that is on record."""
        if self._book.refused < MOST_REFUSED:
            return
        try:
            heard(said, self._book.case(), TOO_MANY)
        except NotTheirs as why:
            raise ApplicationError(f"refused: {why}", type="Refused") from why

    def read(self, said: RawValue) -> Signed[Decision] | None:
        """Return a vote that came by signal, if it is one, and if a flood leaves the time."""
        if self._is_swamped():
            return None
        converter = workflow.payload_converter()
        try:
            vote: Signed[Decision] = converter.from_payload(said.payload, Signed[Decision])
        except (KeyError, RuntimeError, ValueError):
            workflow.logger.warning("vote.unreadable")
            return None
        return vote

    def _is_swamped(self) -> bool:
        """Whether too many words came at once for all to be looked at; then this one is counted."""
        if self._book.refused < MOST_REFUSED:
            return False
        if self._turn != workflow.now():
            self._turn, self._at_once = workflow.now(), 0
        self._at_once += 1
        if self._at_once <= MOST_AT_ONCE:
            return False
        self._book.refused += 1
        return True

    def _count(self, key: str) -> None:
        """Go on with a step, or end it, if the votes on it suffice."""
        book, record = self._book, self._book.steps[key]
        tally = counted(record, book.policy, book.requester)
        last = record.votes[-1].word
        if record.standing:
            if tally.ended or tally.reached:
                book.set(key, ratified=tally.reached)
                book.tell("step.ratified" if tally.reached else "step.disowned", key, last.reason)
        elif tally.ended:
            book.end(key, StepState.DENIED, f"{last.by}: {last.reason}")
        elif tally.reached:
            book.set(key, state=StepState.APPLYING)
