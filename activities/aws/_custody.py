"""How a set of snapshots is handed to a forensic account, stage by stage, and kept there.

Each volume goes its own way: its snapshot is copied under a key that can be shared, if AWS's own
key encrypts it; shared; copied in the forensic account under the key of that account, since whoever
owns a key can delete it, and with it what it encrypts; locked; and not shared any more. A stage has
to wait for the one before, as a copy does for its snapshot, and nobody waits here: what can be done
is done, and the rest is left to the next call. A stage that fails takes nothing back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from pydantic import Field, TypeAdapter

from activities.aws import _keys, _snapshots
from activities.aws._snapshots import MOST_ATTEMPTS, Lock, Snapshot
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, QuotaExceeded, Refused
from firedoor.model.base import Model
from firedoor.model.plan import Call, Plan, Target


class Route(Model):
    """The way of one volume's snapshot to the forensic account."""

    volume: str
    key: str = Field(default="", description="ARN of the key from which is copied there; or none")
    recopied: bool = Field(default=False, description="copied under that key here first")


class Custody(Model):
    """Who keeps the snapshots of a plan, and how."""

    volumes: tuple[str, ...]
    routes: tuple[Route, ...] = ()
    account: str = ""
    key: str = Field(default="", description="of the forensic account")
    grantee: str = Field(default="", description="ARN of whoever copies there")
    lock: Lock | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of this account from which is copied."""
        return tuple(sorted({route.key for route in self.routes if route.key}))

    def route(self, volume: str) -> Route | None:
        """Return the way of a volume's snapshot; None if it stays here."""
        return next((route for route in self.routes if route.volume == volume), None)


class State(StrEnum):
    """How far a volume's snapshot has come."""

    DONE = "done"
    LATER = "later"
    FAILED = "failed"


@dataclass(frozen=True)
class Progress:
    """How far it has come, and what it waits for or why it failed."""

    state: State
    why: str = ""


class _Later(Exception):
    """Something has to happen elsewhere first."""


class _Failed(Exception):
    """It will not come about."""


def of(plan: Plan) -> Custody:
    """Return what a plan says of who keeps its snapshots."""
    return TypeAdapter(Custody).validate_python(plan.before["custody"])


def calls(target: Target, custody: Custody, region: str) -> tuple[Call, ...]:
    """Return every call that hands the snapshots over, in order."""
    return tuple(_calls(target, custody, region))


def _calls(target: Target, custody: Custody, region: str) -> Iterator[Call]:
    account = custody.account
    for key in custody.keys:
        yield _keys.creation(target, key, custody.grantee)
    for route in custody.routes:
        if route.recopied:
            yield _snapshots.copy(target, route.volume, route.key, region)
    for route in custody.routes:
        yield _snapshots.share(account)
        yield _snapshots.copy(target, route.volume, custody.key, region, account=account)
    if custody.lock:
        for volume in custody.volumes:
            yield _snapshots.lock(custody.lock, account=account if custody.route(volume) else "")
    for _ in custody.routes:
        yield _snapshots.share(account, add=False)
    for key in custody.keys:
        yield _keys.revocation(key)


class Handover:
    """The snapshots of one plan on their way, as they are when it is made."""

    def __init__(self, plan: Plan, aws: Aws) -> None:
        """Read what is there."""
        self.target = plan.target
        self.custody = of(plan)
        self.aws = aws
        self.there = aws.elsewhere(account=self.custody.account)
        self.here = _snapshots.found(plan.target, aws)
        self.taken = _snapshots.taken(self.here)
        self._handed: tuple[Snapshot, ...] | None = None
        self._granted: dict[str, Progress] = {}

    def advance(self) -> dict[str, Progress]:
        """Do what can be done now, and return how far each volume has come."""
        # Early, as a grant takes minutes to be in force.
        self._granted = {key: self._attempt(partial(self._grant, key)) for key in self.custody.keys}
        progress = {
            volume: self._attempt(partial(self._hand_over, volume))
            for volume in self.custody.volumes
        }
        for route in self.custody.routes:
            if progress[route.volume].state is not State.LATER:
                left = self._attempt(partial(self._unshare, route))
                progress[route.volume] = _worse(progress[route.volume], left)
        for key in self.custody.keys:
            needing = [route.volume for route in self.custody.routes if route.key == key]
            if all(progress[volume].state is not State.LATER for volume in needing):
                left = self._attempt(partial(self._revoke, key))
                progress |= {volume: _worse(progress[volume], left) for volume in needing}
        return progress

    def kept(self, volume: str) -> Snapshot | None:
        """Return what is kept of a volume in the end: the copy, or the snapshot if that stays."""
        if self.custody.route(volume) is None:
            return self.taken.get(volume)
        return _snapshots.usable(_snapshots.copies(self.handed, volume))

    def lent(self, route: Route) -> Snapshot | None:
        """Return the snapshot that is shared."""
        if not route.recopied:
            return self.taken.get(route.volume)
        return _snapshots.usable(_snapshots.copies(self.here, route.volume))

    @property
    def handed(self) -> tuple[Snapshot, ...]:
        """The copies in the forensic account."""
        if self._handed is None:
            self._handed = _snapshots.found(self.target, self.there) if self.custody.routes else ()
        return self._handed

    def locks(self) -> dict[str, dict[str, Any]]:
        """Read the locks on what is kept, by volume."""
        if self.custody.lock is None:
            return {}
        kept = {v: one["SnapshotId"] for v in self.custody.volumes if (one := self.kept(v))}
        routed = {route.volume for route in self.custody.routes}
        held = _snapshots.locked([id for v, id in kept.items() if v in routed], self.there)
        held |= _snapshots.locked([id for v, id in kept.items() if v not in routed], self.aws)
        return {volume: held[id] for volume, id in kept.items() if id in held}

    def _attempt(self, work: Callable[[], None]) -> Progress:
        try:
            work()
        except _Later as why:
            return Progress(State.LATER, str(why))
        except _Failed as why:
            return Progress(State.FAILED, str(why))
        except (CloudError, Refused) as error:
            # Only so many copies may be under way at once, 20 in each account and region.
            later = error.retryable or isinstance(error, QuotaExceeded)
            return Progress(State.LATER if later else State.FAILED, str(error))
        return Progress(State.DONE)

    def _hand_over(self, volume: str) -> None:
        route = self.custody.route(volume)
        if route is None:
            snapshot = self.taken.get(volume)
            if snapshot is None:
                raise _Failed(f"{volume}: no snapshot of this step")
            self._lock(snapshot, self.aws)  # a pending one can be locked, too
            _finished(snapshot)
            return
        _finished(self.taken.get(volume))
        granted = self._granted.get(route.key, Progress(State.DONE))
        if granted.state is State.FAILED:
            raise _Failed(granted.why)
        copied = _snapshots.copies(self.handed, volume)
        if _snapshots.usable(copied) is None:
            lent = self._recopied(route) if route.recopied else self.taken[volume]
            self._share(lent, route.key)
            self._copy(copied, volume, self.custody.key, lent, self.custody.account)
        copy = _snapshots.usable(copied)
        self._lock(copy, self.there)
        _finished(copy)

    def _recopied(self, route: Route) -> Snapshot:
        """Return the copy under a key that can be shared; raise `_Later` until it is made."""
        copied = _snapshots.copies(self.here, route.volume)
        if _snapshots.usable(copied) is None:
            self._copy(copied, route.volume, route.key, self.taken[route.volume])
        return _finished(_snapshots.usable(copied))

    def _copy(
        self,
        made: Sequence[Snapshot],
        volume: str,
        key: str,
        source: Snapshot,
        account: str = "",
    ) -> None:
        """Begin a copy, and raise `_Later`, unless it has failed too often."""
        if len(made) >= MOST_ATTEMPTS:
            said = made[0].get("StateMessage") or "no reason given"
            raise _Failed(f"{made[0]['SnapshotId']}: copying failed {len(made)} times: {said}")
        region, id = self.aws.region, source["SnapshotId"]
        call = _snapshots.copy(self.target, volume, key, region, id, account)
        copy = self.aws.call(call)["SnapshotId"]
        raise _Later(f"{copy}: copy of {id} started")

    def _grant(self, key: str) -> None:
        if _keys.found(self.target, key, self.aws) is None and self._needs(key):
            self.aws.call(_keys.creation(self.target, key, self.custody.grantee))

    def _needs(self, key: str) -> bool:
        """Return whether a copy from under a key is still to be begun or to be ended."""
        volumes = [route.volume for route in self.custody.routes if route.key == key]
        taken = [one for volume in volumes if (one := self.taken.get(volume))]
        if any(one["State"] == "pending" for one in taken):
            return True
        kept = [self.kept(volume) for volume in volumes]
        return any(one is None or one["State"] != "completed" for one in kept)

    def _share(self, snapshot: Snapshot, key: str) -> None:
        """Share a snapshot; raise `_Later` until the other account sees it and may use its key."""
        id, account = snapshot["SnapshotId"], self.custody.account
        if not _snapshots.is_shared(id, account, self.aws):
            self.aws.call(_snapshots.share(account, id))
        if not _snapshots.sees(id, self.there):
            raise _Later(f"{id}: not visible in account {account} yet")
        if key:
            grant = _keys.found(self.target, key, self.aws)
            if grant is None or not _keys.works(grant, self.there):
                raise _Later(f"{id}: account {account} cannot use {key} yet")

    def _lock(self, snapshot: Snapshot | None, keeper: Aws) -> None:
        by = self.custody.lock
        if by is None or snapshot is None or snapshot["State"] == "error":
            return
        id = snapshot["SnapshotId"]
        if id not in _snapshots.locked([id], keeper):
            elsewhere = self.custody.account if keeper is self.there else ""
            self.aws.call(_snapshots.lock(by, id, elsewhere))

    def _unshare(self, route: Route) -> None:
        lent = self.lent(route)
        if lent is None:
            return
        id, account = lent["SnapshotId"], self.custody.account
        if _snapshots.is_shared(id, account, self.aws):
            self.aws.call(_snapshots.share(account, id, add=False))

    def _revoke(self, key: str) -> None:
        grant = _keys.found(self.target, key, self.aws)
        if grant is not None:
            self.aws.call(_keys.revocation(key, grant["GrantId"]))


def _finished(snapshot: Snapshot | None) -> Snapshot:
    """Return a snapshot that is completed; raise what it waits for, or why it never will be."""
    if snapshot is None:
        raise _Failed("no snapshot of this step")
    said = said_of(snapshot)
    if snapshot["State"] == "error":
        raise _Failed(said)
    if snapshot["State"] != "completed":
        raise _Later(said)
    return snapshot


def said_of(snapshot: Snapshot) -> str:
    """Say which snapshot it is, and how it is."""
    said = f"{snapshot['SnapshotId']} {snapshot['State']} {snapshot.get('Progress', '')}".strip()
    return f"{said}: {snapshot['StateMessage']}" if snapshot.get("StateMessage") else said


def _worse(one: Progress, other: Progress) -> Progress:
    """Return the one that has not come so far; both reasons if both failed."""
    if one.state is State.FAILED and other.state is State.FAILED:
        return Progress(State.FAILED, f"{one.why}; {other.why}")
    order = (State.LATER, State.FAILED, State.DONE)
    return min(one, other, key=lambda progress: order.index(progress.state))
