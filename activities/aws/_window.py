"""What logs say of the time after a plan was applied, and the proof that comes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from firedoor.action import proof
from firedoor.cloud.aws import Aws
from firedoor.model.plan import Check, Plan, Proof, Verdict

GRACE = timedelta(minutes=15)
"""An effect takes so long to reach all of AWS, and what is tracked may end a little later."""

WAIT = timedelta(hours=1)
"""The same where only the time of planning is known: the plan has waited for approval too."""

# From bad to good: of several windows, the worst says what is proven.
_RANKS = (Verdict.UNPROVEN, Verdict.PENDING, Verdict.PROVEN)


@dataclass(frozen=True)
class Window:
    """What logs show of a time in which nothing should pass.

    It is proven if they reach through that time and show nothing, pending until `due` if nothing
    was seen so far, and unproven if they cannot tell. What passes is never drift by itself: it may
    have passed before the effect came about.
    """

    verdict: Verdict
    check: Check
    since: datetime | None = None  # nothing passed from here on
    due: datetime | None = None  # when a pending window is expected to be proven


def proven(plan: Plan, checks: Iterable[Check], *windows: Window, **members: Any) -> Proof:
    """Return the proof of what was read back, and of what the logs show.

    It is drifted if a check failed, else as the worst window; without windows it is proven. Since
    when nothing passes is said only where that is proven or will be. Further members go into the
    proof as they are.
    """
    checks = tuple(checks)
    sound = all(check.ok for check in checks)
    worst = min((w.verdict for w in windows), key=_RANKS.index, default=Verdict.PROVEN)
    return proof(
        plan,
        (*checks, *(window.check for window in windows)),
        verdict=worst if sound else Verdict.DRIFTED,
        since=_since(windows) if sound and worst is not Verdict.UNPROVEN else None,
        **members,
    )


def unproven(name: str, why: str, since: datetime | None = None) -> Window:
    """Return the window of logs that cannot tell."""
    return Window(Verdict.UNPROVEN, Check(name=name, ok=False, detail=why), since)


def pending(name: str, why: str, since: datetime, due: datetime) -> Window:
    """Return the window of logs that show nothing so far."""
    detail = f"{why}; proven by {stamp(due)} if it stays so"
    return Window(Verdict.PENDING, Check(name=name, ok=False, detail=detail), since, due)


def silent(name: str, why: str, since: datetime) -> Window:
    """Return the window of logs that show nothing, for long enough."""
    return Window(Verdict.PROVEN, Check(name=name, ok=True, detail=why), since)


def in_force(aws: Aws, since: datetime) -> tuple[datetime, datetime]:
    """Return since when silence counts, and until when what passes is no wonder.

    What was silent before a plan was applied shows nothing of its effect, however long it was: a
    beacon may call once a day. `since`, when it was planned, is what there is if we do not know
    when it was applied.
    """
    if aws.applied is None:
        return since, since + WAIT
    return max(since, aws.applied), aws.applied + GRACE


def stamp(at: datetime) -> str:
    """Return an instant as responders read it: 2026-01-02 14:03:10Z."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _since(windows: tuple[Window, ...]) -> datetime | None:
    instants = [window.since for window in windows if window.since]
    return max(instants) if instants and len(instants) == len(windows) else None
