"""The swap of an instance's security groups for the empty one, by way of the untracking one."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any

from pydantic import TypeAdapter

from activities.aws import _network, _quarantine, _sight, _untracked
from activities.aws._case import Case, both
from activities.aws._packet import Packet, group_rule
from activities.aws._reading import counted, strings
from activities.aws._sight import GROUPS, Sight
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, FiredoorError, PlanStale
from firedoor.model.plan import LATER, Call, Change, Check, Plan

_LENGTH = TypeAdapter(timedelta)

_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True)
class Swap:
    """What a plan has to do with groups."""

    sight: Sight
    emptied: tuple[Change, ...]
    moves: tuple[Change, ...]
    open_for: timedelta | None  # on the way to quarantine; None goes there straight

    @property
    def changes(self) -> tuple[Change, ...]:
        """The rules that go, and the interfaces that move."""
        return (*self.emptied, *self.moves)

    @property
    def vpcs(self) -> list[str]:
        """The VPCs in which something moves."""
        return sorted({self.sight.vpc_of[move.resource] for move in self.moves})

    @property
    def passages(self) -> list[str]:
        """The VPCs in which it goes by way of the untracking group."""
        return self.vpcs if self.open_for is not None else []

    @property
    def preparing(self) -> tuple[Call, ...]:
        """The calls that make the groups ready: those of quarantine empty, the others open."""
        calls: list[Call] = []
        for vpc in self.sight.vpcs:
            if vpc not in self.sight.groups:
                calls.append(_quarantine.creation(vpc))
            calls += _quarantine.revocations(self.sight.groups.get(vpc, _quarantine.NEW))
        for vpc in self.passages:
            calls += (_untracked.creation(vpc, self.sight.instance), *_untracked.openings())
        return tuple(calls)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that move the interfaces."""
        through = [move for move in self.moves if self.passages]
        ids = _quarantine.planned(self.sight.vpcs, self.sight.groups)
        return (
            *(_move(move.resource, [LATER]) for move in through),
            *(call for _ in self.passages for call in _untracked.closings()),
            *(
                _move(move.resource, [str(ids[self.sight.vpc_of[move.resource]])])
                for move in self.moves
            ),
            *(_untracked.deletion() for _ in self.passages),
        )

    @property
    def undo(self) -> tuple[Call, ...]:
        """The calls that give the interfaces their groups back."""
        before = {
            i["NetworkInterfaceId"]: sorted(group["GroupId"] for group in i["Groups"])
            for i in self.sight.interfaces
        }
        return (
            *(_move(move.resource, before[move.resource]) for move in reversed(self.moves)),
            *(_untracked.deletion() for _ in self.passages),
        )

    @property
    def blast_radius(self) -> tuple[str, ...]:
        """What others feel of it."""
        if not self.passages or not self.open_for:
            return ()
        return (
            f"For {self.open_for.total_seconds():.0f} seconds before it is cut off, everybody whom"
            " routes and network ACLs let through may reach it at every port, and it them; for"
            " longer if Firedoor's worker dies just then, until another goes on with this step",
        )

    @property
    def preflight(self) -> tuple[Check, ...]:
        """What it does to open connections, and rules where none should be."""
        rules = (
            Check(
                name=f"{group['GroupId']} is empty",
                ok=False,
                detail=f"this quarantine group has {counted(len(found), 'rule')}, to be removed"
                " first; what else is in it was not cut off",
            )
            for group in self.sight.existing
            if (found := _quarantine.rules(group))
        )
        squatted = (
            Check(
                name=f"{group['GroupId']} is ours",
                ok=False,
                detail=f"it has the name of the group that takes connections off the tracking,"
                f" {group['GroupName']}, and Firedoor did not make it: ask who did",
            )
            for group in self.sight.squatted
        )
        return (*rules, *squatted, _cuts(self.open_for if self.passages else None))

    @property
    def lost(self) -> tuple[str, ...]:
        """What undo does not bring back."""
        return (
            "Connections that break",
            *(
                f"{_quarantine.NAME} stays in {vpc}, empty, as other instances may come to use it"
                for vpc in self.sight.vpcs
                if vpc not in self.sight.groups
            ),
            *(
                f"{counted(len(rules), 'rule')} of {group['GroupId']}"
                for group in self.sight.existing
                if (rules := _quarantine.rules(group))
            ),
        )


@dataclass(frozen=True)
class WayBack:
    """The interfaces of a plan as they are now, and which of their former groups exist."""

    plan: Plan
    sight: Sight
    existing: frozenset[str]

    @property
    def now(self) -> State:
        """The groups of the interfaces; on the way to quarantine is as ours as there."""
        after = {
            (c.resource, c.attribute): c.after
            for c in self.plan.changes
            if c.attribute == GROUPS and self.sight.on_the_way(c)
        }
        return {**self.sight.state, **after}

    def left(self, todo: Iterable[Change]) -> tuple[str, ...]:
        """Say which interfaces cannot be given their groups back."""
        return tuple(
            f"{move.resource} stays in {_quarantine.NAME}, as {', '.join(gone)} of its groups does"
            " not exist any more: choose new groups for it by hand"
            for move in _moves(todo)
            if (gone := self.missing(move))
        )

    def missing(self, move: Change) -> list[str]:
        """Return the former groups of an interface that do not exist any more."""
        former = strings(_former(self.plan)[move.resource].parameters["Groups"])
        return [group for group in former if group not in self.existing]


@dataclass(frozen=True)
class Groups:
    """The groups that interfaces move into, by VPC: on the way to quarantine, and there.

    `opened` are the VPCs whose interfaces go that way now, `is_open` says whether anything may pass
    there; `lacking` says why there is no quarantine in some VPC, `failed` what else went wrong.
    """

    quarantine: Mapping[str, str]
    passages: Mapping[str, str]
    opened: frozenset[str]
    is_open: bool
    lacking: tuple[CloudError, ...]
    failed: tuple[CloudError, ...]


def planned(sight: Sight, open_for: timedelta | None) -> Swap:
    """Return what is to be done so that all interfaces are in the empty group alone."""
    emptied = tuple(
        Change(resource=group, attribute=name, before=rule, after=None)
        for (group, name), rule in sight.rules.items()
    )
    moves = tuple(
        Change(resource=interface, attribute=attribute, before=before, after=[_quarantine.NAME])
        for (interface, attribute), before in sight.state.items()
        if before != [_quarantine.NAME]
    )
    return Swap(sight, emptied, moves, open_for)


def prepare(plan: Plan, sight: Sight, todo: Sequence[Change], aws: Aws) -> Groups:
    """Make the groups that are planned: the empty ones, and the open ones, with nobody in them yet.

    What cannot be made in one VPC keeps nothing else from quarantine. Raises `PlanStale` where a
    group is not what the plan saw; what an earlier attempt left open is closed then.
    """
    before = _planned_passages(plan, sight)
    vpcs = sorted({sight.vpc_of[m.resource] for m in _moves(todo) if not sight.on_the_way(m)})
    quarantine, opened = both(
        aws, partial(_quarantines, plan, sight, aws), partial(_opened, plan, sight, vpcs, aws)
    )
    new = {vpc: id for vpc, id in opened.items() if isinstance(id, str)}
    passages = {**{vpc: str(group["GroupId"]) for vpc, group in before.items()}, **new}
    if stale := [error for error in quarantine.values() if isinstance(error, PlanStale)]:
        for group in passages.values():
            _untracked.close(group, aws)
        _untracked.delete([id for vpc, id in new.items() if vpc not in before], aws)
        raise stale[0]
    return Groups(
        quarantine={vpc: id for vpc, id in quarantine.items() if isinstance(id, str)},
        passages=passages,
        opened=frozenset(new),
        is_open=bool(new) or any(map(_untracked.is_open, before.values())),
        lacking=tuple(e for e in quarantine.values() if isinstance(e, CloudError)),
        failed=tuple(e for e in opened.values() if isinstance(e, CloudError)),
    )


def make(
    plan: Plan, sight: Sight, todo: Sequence[Change], groups: Groups, aws: Aws
) -> list[CloudError]:
    """Move the interfaces that are not in quarantine, and return what failed on the way there.

    The group that is open is closed as they leave it, so that one that cannot leave is cut off too.
    Raises why an interface could not be moved into quarantine, when all else is done.
    """
    moves = [m for m in _moves(todo) if sight.vpc_of[m.resource] in groups.quarantine]
    into = [
        _move(move.resource, [groups.passages[vpc]])
        for move in moves
        if (vpc := sight.vpc_of[move.resource]) in groups.opened and not sight.on_the_way(move)
    ]
    failed = [*groups.failed, *_all_tried(into, aws)]
    closing = []
    if groups.is_open:
        time.sleep(_open_for(plan).total_seconds())
        closing = [partial(_untracked.close, group, aws) for group in groups.passages.values()]
    calls = [_move(m.resource, [groups.quarantine[sight.vpc_of[m.resource]]]) for m in moves]
    stuck, *closed = aws.together(partial(_all_tried, calls, aws), *closing)
    failed += [error for errors in closed for error in errors]
    if stuck:
        raise min(stuck, key=lambda error: not error.retryable)
    return [*failed, *_untracked.delete(groups.passages.values(), aws)]


def look_back(plan: Plan, case: Case) -> WayBack:
    """Read the interfaces that a plan moved, and the groups that they are to be in."""
    former = _former(plan)
    wanted = {group for call in former.values() for group in strings(call.parameters["Groups"])}
    interfaces, ours, groups = case.aws.together(
        lambda: case.named(former),
        partial(_sight.groups_of, case),
        partial(_network.by_filter, case.aws, "DescribeSecurityGroups", "group-id", wanted),
    )
    sight = _sight.seen(case, interfaces, ours)
    return WayBack(plan, sight, frozenset(group["GroupId"] for group in groups))


def undo(way_back: WayBack, todo: Sequence[Change], aws: Aws) -> list[CloudError]:
    """Give the interfaces their groups back, and return what failed."""
    former = _former(way_back.plan)
    calls = [former[move.resource] for move in _moves(todo) if not way_back.missing(move)]
    stuck = _all_tried(calls, aws)
    passages = _planned_passages(way_back.plan, way_back.sight).values()
    ours = [group["GroupId"] for group in passages]
    return [*stuck, *_untracked.delete(ours, aws)]


def checks(case: Case, sight: Sight) -> list[Check]:
    """Show that each interface is in quarantine alone, and that the group lets nothing pass."""
    found = [
        Check(
            name=f"{interface} is in {_quarantine.NAME} only",
            ok=now == [_quarantine.NAME],
            detail=", ".join(strings(now)),
        )
        for (interface, _), now in sight.state.items()
    ]
    for vpc in sight.vpcs:
        group = sight.groups.get(vpc)
        passing = _passing(group) if group else ["it does not exist"]
        name = f"{_quarantine.NAME} in {vpc} lets nothing pass"
        found.append(Check(name=name, ok=not passing, detail="; ".join(passing)))
    if not sight.interfaces:
        found.append(Check(name=f"{case.id} has no network interface left", ok=True))
    return found


def _passing(group: dict[str, Any]) -> list[str]:
    """Return what lets any packet pass, in either direction and family, and every other rule."""
    packets = [Packet(remote, egress) for remote in _EVERYBODY for egress in (False, True)]
    rules = [rule for packet in packets if (rule := group_rule([group], packet))]
    return list(dict.fromkeys(rules)) or [name for _, name in _quarantine.rules(group)]


def _cuts(open_for: timedelta | None) -> Check:
    if open_for is None:
        detail = (
            "connections that are open and tracked now go on until they fall idle, for 5 days"
            " unless the interface sets less; to cut one at once, block its remote address in the"
            " network ACL"
        )
    else:
        detail = (
            f"those that carry a packet within {open_for.total_seconds():.0f} s are taken off the"
            " tracking, and end; idle ones, and ICMP, are forgotten when they were idle for long"
            " enough"
        )
    return Check(name="cuts live connections", ok=open_for is not None, detail=detail)


def _moves(changes: Iterable[Change]) -> list[Change]:
    return [change for change in changes if change.attribute == GROUPS]


def _move(interface: str, groups: list[str]) -> Call:
    return Call(
        service="ec2",
        operation="ModifyNetworkInterfaceAttribute",
        parameters={"NetworkInterfaceId": interface, "Groups": list(groups)},
    )


def _former(plan: Plan) -> dict[str, Call]:
    """Return the calls that give the interfaces of a plan their groups back."""
    return {
        str(call.parameters["NetworkInterfaceId"]): call
        for call in plan.undo
        if "Groups" in call.parameters
    }


def _open_for(plan: Plan) -> timedelta:
    return _LENGTH.validate_python(plan.params.get("untrack_for", "PT0S"))


def _planned_passages(plan: Plan, sight: Sight) -> dict[str, dict[str, Any]]:
    """Return the untracking groups that exist and are this plan's, by VPC."""
    return {
        vpc: group
        for vpc, group in sight.passages.items()
        if _untracked.creation(vpc, sight.instance) in plan.calls
    }


def _quarantines(plan: Plan, sight: Sight, aws: Aws) -> dict[str, str | FiredoorError]:
    """Return the ids of the quarantine groups by VPC, created and emptied, or why there is none."""

    def ready(vpc: str) -> str | FiredoorError:
        try:
            return _quarantine.ready(vpc, sight.groups.get(vpc), plan, aws)
        except (CloudError, PlanStale) as error:
            return error

    ids = aws.together(*(partial(ready, vpc) for vpc in sight.vpcs))
    return dict(zip(sight.vpcs, ids, strict=True))


def _opened(plan: Plan, sight: Sight, vpcs: Iterable[str], aws: Aws) -> dict[str, str | CloudError]:
    """Return the ids of the untracking groups by VPC, as planned and open, or why there is none."""

    def ready(creation: Call, vpc: str) -> str | CloudError:
        try:
            return _untracked.ready(creation, sight.passages.get(vpc), aws)
        except CloudError as error:
            return error

    creations = {vpc: _untracked.creation(vpc, sight.instance) for vpc in vpcs}
    asked = {vpc: call for vpc, call in creations.items() if call in plan.calls}
    ids = aws.together(*(partial(ready, call, vpc) for vpc, call in asked.items()))
    return dict(zip(asked, ids, strict=True))


def _all_tried(calls: Iterable[Call], aws: Aws) -> list[CloudError]:
    """Make calls side by side, and return what failed."""
    ended = aws.together(*(partial(_tried, call, aws) for call in calls))
    return [error for error in ended if error]


def _tried(call: Call, aws: Aws) -> CloudError | None:
    try:
        aws.call(call)
    except CloudError as error:
        return error
    return None
