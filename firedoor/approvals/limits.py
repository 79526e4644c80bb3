"""Whether a change may be made now: not while paused, and not above the limits. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from firedoor.model.decision import Ruling
from firedoor.model.warden import Change, Held, Warden
from firedoor.model.word import Instruction

LONGEST_WINDOW = timedelta(days=1)
"""What was admitted longer ago than this, and than a limit's own window, is forgotten."""


def admit(warden: Warden, change: Change, now: datetime) -> tuple[Warden, Ruling]:
    """Admit a change or hold it back, and return how the warden stands afterwards."""
    if change.withdraws:  # it is no change, so a pause does not hold it back
        return _without(warden, change), Ruling(accepted=True)
    if warden.paused is not None:
        said = f"all changes are paused by {warden.paused.by}: {warden.paused.reason}"
        return _waiting(warden, change), Ruling(accepted=False, reason=said)
    if change.gives_back:
        held = tuple(one for one in warden.held if one.lease != change.lease)
        return warden.model_copy(update={"held": held}), Ruling(accepted=True)
    if not change.lease or any(one.lease == change.lease for one in warden.held):
        return warden, Ruling(accepted=True)  # nothing is taken away that was not already
    above = "; ".join(_above(warden, change, now))
    if above and not warden.beyond:
        return _waiting(warden, change), Ruling(accepted=False, reason=above)
    held = (*warden.held, Held(lease=change.lease, since=now, fleets=tuple(change.fleets)))
    kept = max(LONGEST_WINDOW, change.limits.window)
    lately = tuple(at for at in warden.admitted if now - at < kept)
    update = {
        "held": held,
        "admitted": (*lately, now),
        "beyond": warden.beyond - bool(above),
        "waiting": tuple(one for one in warden.waiting if one != change.incident),
    }
    return warden.model_copy(update=update), Ruling(accepted=True)


def pause(warden: Warden, instruction: Instruction, now: datetime) -> Warden:
    """Return the warden that lets nothing through."""
    return warden.model_copy(update={"paused": instruction, "since": now})


def resume(warden: Warden, instruction: Instruction) -> Warden:
    """Return the warden that lets changes through again, and some above the limits if said so."""
    beyond = warden.beyond + instruction.beyond
    update = {"paused": None, "since": None, "beyond": beyond, "waiting": ()}
    return warden.model_copy(update=update)


def _above(warden: Warden, change: Change, now: datetime) -> Iterator[str]:
    limits = change.limits
    lately = [at for at in warden.admitted if now - at < limits.window]
    if len(lately) >= limits.containments:
        yield (
            f"{len(lately)} containments within {limits.window}, and limits.containments is"
            f" {limits.containments}: wait, or let more through with `firedoor resume --beyond`"
        )
    for fleet, size in change.fleets.items():
        others = sum(fleet in one.fleets for one in warden.held)
        if others and others + 1 > limits.fleet_share * size:
            yield (
                f"{others} of {fleet} are contained already, and limits.fleet_share is"
                f" {limits.fleet_share:g} of its {size}: release one, or let more through with"
                " `firedoor resume --beyond`"
            )


def _without(warden: Warden, change: Change) -> Warden:
    """Return the warden as if a containment had never been admitted."""
    held, admitted = [], list(warden.admitted)
    for one in warden.held:
        if one.lease != change.lease:
            held.append(one)
        elif one.since in admitted:
            admitted.remove(one.since)
    return warden.model_copy(update={"held": tuple(held), "admitted": tuple(admitted)})


def _waiting(warden: Warden, change: Change) -> Warden:
    waiting = tuple(dict.fromkeys((*warden.waiting, change.incident)))
    return warden.model_copy(update={"waiting": waiting})
