"""Isolation of an EC2 instance: cut off on every interface, and kept as it is."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from pydantic import Field

from activities.aws import (
    _addresses,
    _flows,
    _isolation,
    _marking,
    _metadata,
    _network,
    _peers,
    _protection,
    _quarantine,
    _scaling,
    _serving,
    _sight,
    _surroundings,
    _swap,
    _tracking,
)
from activities.aws._case import Address, Case, both
from activities.aws._isolation import MAKING, UNDOING, Look, Part
from activities.aws._reading import GONE, counted, tags, terminated
from activities.aws._sight import GROUPS, Sight
from activities.aws._swap import Swap, WayBack
from activities.aws._window import Window, proven, unproven
from firedoor.action import Action, Permissions, State, outstanding, receipt, restorable
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, NotFound, PlanStale
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.length import Length
from firedoor.model.plan import Call, Change, Check, Plan, Proof, Receipt, Target, Touched

# First what keeps it and what it holds; then what it is part of and how it is reached. The swap of
# groups comes last: while it is open to everybody for a moment, the ways from outside are shut.
KEEPING: tuple[Part, ...] = (
    *_marking.PARTS,
    _protection.PART,
    _scaling.PROTECTION,
    _tracking.PART,
)
TAKING_OUT: tuple[Part, ...] = (
    _scaling.LIFECYCLE,
    _serving.TARGETS,
    _serving.CLASSIC,
    _metadata.PART,
    _addresses.ELASTIC,
    _addresses.LENT,
    _peers.PART,
)
PARTS = (*KEEPING, *TAKING_OUT)
# The way back, in steps. Auto Scaling takes no change of an instance that is on its way into
# service, so protection from scale-in goes while it is in standby.
BACK: tuple[tuple[Part, ...], ...] = (
    (_scaling.PROTECTION,),
    TAKING_OUT,
    tuple(part for part in KEEPING if part is not _scaling.PROTECTION),
)

_READS = (
    "autoscaling:DescribeAutoScalingInstances",
    "ec2:DescribeAddresses",
    "ec2:DescribeInstanceAttribute",
    "ec2:DescribeInstances",
    "ec2:DescribeNetworkAcls",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeTags",
    "elasticloadbalancing:DescribeLoadBalancers",
    "elasticloadbalancing:DescribeTargetHealth",
)


class Params(Model):
    """What a runbook may set."""

    addresses: tuple[Address, ...] = Field(
        default=(), description="remote ends of live connections; $addresses for the finding's own"
    )
    untrack: bool = Field(
        default=True, description="first let everything through for a moment, so that what is open"
        " is no longer tracked, and ends with quarantine"
    )  # fmt: skip
    untrack_for: Length = Field(
        default=timedelta(seconds=20),
        ge=timedelta(0),
        le=timedelta(seconds=90),  # an attempt has two minutes in all
        description="how long that moment is; a connection needs to carry a packet in it",
    )
    idle_timeouts: bool = Field(
        default=True, description="let EC2 forget idle connections as soon as it can"
    )
    deny_peers: bool = Field(
        default=True, description="where connections are tracked whatever the rules say, deny the"
        " remote ends in the network ACL"
    )  # fmt: skip
    metadata_off: bool = Field(
        default=True, description="turn instance metadata off, which hands out credentials"
    )
    elastic_off: bool = Field(default=True, description="take Elastic IP addresses off")
    lent_off: bool = Field(
        default=False, description="give up the public address that AWS lent, for good: quarantine"
        " cuts it off anyway, and undo brings another one"
    )  # fmt: skip
    scaling_off: bool = Field(default=True, description="put it into standby in Auto Scaling")
    serving_off: bool = Field(default=True, description="take it out of load balancers")
    protect: bool = Field(
        default=True, description="protect it from termination and stop, and its disks from both"
    )

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts that are wanted."""
        wanted = {
            **{part.name: True for part in _marking.PARTS},
            _protection.PART.name: self.protect,
            _scaling.PROTECTION.name: self.scaling_off,
            _tracking.PART.name: self.idle_timeouts,
            _scaling.LIFECYCLE.name: self.scaling_off,
            _serving.TARGETS.name: self.serving_off,
            _serving.CLASSIC.name: self.serving_off,
            _metadata.PART.name: self.metadata_off,
            _addresses.ELASTIC.name: self.elastic_off,
            _addresses.LENT.name: self.lent_off,
            _peers.PART.name: self.deny_peers,
        }
        return tuple(part for part in PARTS if wanted[part.name])


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Cut an instance off on every network interface, and keep it as it is.

    Interfaces move to a security group that allows nothing, by way of one that takes connections
    off the tracking; they are moved one by one, as on the instance itself EC2 sets groups only
    while it has one interface.
    """
    case = Case(aws, target, params.addresses, untracks=params.untrack)
    sight, look = both(
        aws, partial(_sight.read, case), partial(_isolation.look, case, params.parts)
    )
    instance = case.instance
    if instance is None or (terminated(instance) and not sight.interfaces):
        return (_gone(target),)
    refusals = _refusals(instance, sight)
    swap = _swap.planned(sight, open_for=_opening(params, instance, sight))
    changes = () if refusals else _worth_it((*look.changes, *swap.changes))
    calls = _calls(changes, swap)
    around = _look_around(case, sight, look, swap, calls) if calls else Look()
    return (
        Plan(
            action="aws.isolate_instance",
            target=target,
            lease=case.id,
            params=params.model_dump(mode="json"),
            summary=_summary(instance, sight, changes, refusals),
            before={"quarantine": _quarantine.planned(sight.vpcs, sight.groups)},
            changes=changes,
            calls=calls,
            undo=_undo(changes, swap),
            blast_radius=around.blast_radius,
            preflight=around.preflight,
            lost=around.lost,
            touched=_touched(instance, sight, look),
            refusals=refusals,
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Keep it and what it holds, take it out of what it is part of, then cut it off.

    A part that fails does not keep the next from being done, and least of all the last. What may
    go better later is raised in the end, so that somebody tries again; the rest shows in verify.
    """
    if not plan.calls:
        return receipt(plan)
    case = Case(aws, plan.target)
    sight, seen = both(
        aws, partial(_sight.read, case), partial(_isolation.read, case, PARTS, plan.changes)
    )
    todo = _todo(plan, case, sight, seen)
    with aws.only(plan.calls) as permit:
        not_kept, groups = both(
            aws,
            partial(_isolation.carry_out, aws, MAKING, KEEPING, todo),
            partial(_swap.prepare, plan, sight, todo, aws),
        )
        not_out = _isolation.carry_out(aws, MAKING, TAKING_OUT, todo)
        not_moved = _swap.make(plan, sight, todo, groups, aws)
        failed = (*seen.errors, *not_kept, *not_out, *not_moved)
        _raise_worst([*groups.lacking, *(error for error in failed if error.retryable)])
    ids = groups.quarantine.items()
    created = {vpc: id for vpc, id in ids if _quarantine.creation_in(plan, vpc)}
    return receipt(plan, permit.made, created=created)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that nothing passes any interface, new ones too, and that every part is as planned."""
    return _network.settled(lambda: _look(plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Give back the groups of each interface, then the parts, as far as they are as we set them."""
    if not plan.undo:
        return receipt(plan)
    case = Case(aws, plan.target)
    way_back, seen = both(
        aws,
        partial(_swap.look_back, plan, case),
        partial(_isolation.read, case, PARTS, plan.changes),
    )
    gone, ours = _still_there(plan, case, way_back, seen)
    now = {**seen.state, **way_back.now}
    todo, changed = restorable(plan.model_copy(update={"changes": ours}), now)
    with aws.only(plan.undo) as permit:
        failed = [*seen.errors, *_swap.undo(way_back, todo, aws)]
        for parts in BACK:
            failed += _isolation.carry_out(aws, UNDOING, parts, todo)
        _raise_worst(error for error in failed if not isinstance(error, NotFound))
    lacking = (str(error) for error in failed)
    left = (*gone, *way_back.left(todo), *changed, *lacking)
    return receipt(plan, permit.made, left=left)


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.INSTANCE}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    evidence_first={Kind.INSTANCE: ("snapshot_volumes", "capture_memory")},
    permissions=Permissions(
        plan=(
            *_READS,
            *_flows.PERMISSIONS,
            "autoscaling:DescribeAutoScalingGroups",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeManagedPrefixLists",
            "ec2:DescribeNatGateways",
            "ec2:DescribeRouteTables",
            "ec2:DescribeVpcs",
            "ec2:GetManagedPrefixListEntries",
            "elasticloadbalancing:DescribeInstanceHealth",
            "elasticloadbalancing:DescribeTargetGroups",
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "servicequotas:GetServiceQuota",
        ),
        apply=(
            *_READS,
            "autoscaling:EnterStandby",
            "autoscaling:SetInstanceProtection",
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateNetworkAclEntry",
            "ec2:CreateSecurityGroup",
            "ec2:CreateTags",
            "ec2:DeleteSecurityGroup",
            "ec2:DisassociateAddress",
            "ec2:ModifyInstanceAttribute",
            "ec2:ModifyInstanceMetadataOptions",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
            "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
            "elasticloadbalancing:DeregisterTargets",
        ),
        verify=(*_READS, *_flows.PERMISSIONS),
        revert=(
            *_READS,
            "autoscaling:ExitStandby",
            "autoscaling:SetInstanceProtection",
            "ec2:AssociateAddress",
            "ec2:CreateTags",
            "ec2:DeleteNetworkAclEntry",
            "ec2:DeleteSecurityGroup",
            "ec2:DeleteTags",
            "ec2:ModifyInstanceAttribute",
            "ec2:ModifyInstanceMetadataOptions",
            "ec2:ModifyNetworkInterfaceAttribute",
            "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
            "elasticloadbalancing:RegisterTargets",
        ),
    ),
    techniques=("T1021", "T1041", "T1046", "T1071", "T1485", "T1496", "T1498", "T1552.005"),
    countermeasures=("D3-NI",),
)


# What a plan holds


def _gone(target: Target) -> Plan:
    id = target.subject.id
    return Plan(
        action="aws.isolate_instance",
        target=target,
        lease=id,
        summary=f"{id} cannot be isolated.",
        refusals=(
            f"{id} {GONE}: isolate what took its place, and revoke the role it had, as what it was"
            " handed lives for up to 6 h",
        ),
        gone=True,
    )


def _opening(params: Params, instance: dict[str, Any], sight: Sight) -> timedelta | None:
    """Return for how long to let everything through; None is not at all."""
    if not params.untrack or instance["State"]["Name"] != "running":
        return None  # what does not run has no connections
    return None if sight.squatted else params.untrack_for


def _worth_it(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    """Return the changes, or none if nothing but marks of the incident would be new."""
    return changes if any(not _is_mark(change) for change in changes) else ()


def _is_mark(change: Change) -> bool:
    return any(part.owns(change) for part in _marking.PARTS)


def _calls(changes: tuple[Change, ...], swap: Swap) -> tuple[Call, ...]:
    if not changes:
        return ()
    return (
        *_isolation.calls(MAKING, KEEPING, changes),
        *swap.preparing,
        *_isolation.calls(MAKING, TAKING_OUT, changes),
        *swap.calls,
    )


def _undo(changes: tuple[Change, ...], swap: Swap) -> tuple[Call, ...]:
    if not changes:
        return ()
    back = (_isolation.calls(UNDOING, parts, changes[::-1]) for parts in BACK)
    return (*swap.undo, *(call for calls in back for call in calls))


def _refusals(instance: dict[str, Any], sight: Sight) -> tuple[str, ...]:
    if not sight.interfaces:
        state = instance["State"]["Name"]
        return (f"{instance['InstanceId']} is {state} and has no network interface to isolate",)
    ours = ", ".join(f"{key}={value}" for key, value in _quarantine.TAGS.items())
    owned = [why for interface in sight.interfaces if (why := _network.service_owned(interface))]
    foreign = [
        f"{group['GroupId']} in {group['VpcId']} is named {_quarantine.NAME} but is not Firedoor's,"
        f" as the tag {ours} is missing: delete that group, or set the tag if it may be used"
        for group in sight.existing
        if not _quarantine.is_ours(group)
    ]
    return (*owned, *foreign)


def _touched(instance: dict[str, Any], sight: Sight, look: Look) -> Touched:
    edited = {group for group, _ in sight.rules}
    return Touched(
        resources={
            instance["InstanceId"]: tags(instance),
            **{i["NetworkInterfaceId"]: tags(i) for i in sight.interfaces},
            **{g["GroupId"]: tags(g) for g in sight.existing if g["GroupId"] in edited},
            **look.resources,
        },
        networks=look.networks,
        fleets=look.fleets,
    )


# What an approver reads


def _summary(
    instance: dict[str, Any], sight: Sight, changes: tuple[Change, ...], refusals: tuple[str, ...]
) -> str:
    name = _surroundings.named(instance)
    if refusals:
        return f"{name} cannot be isolated."
    moved = sum(change.attribute == GROUPS for change in changes)
    parts = (part for part in PARTS if part not in _marking.PARTS)
    besides = [part.name for part in parts if any(map(part.owns, changes))]
    also = f"; also {', '.join(besides)}" if besides else ""
    if not moved:
        rules = f", but {_quarantine.NAME} has rules, which go" if sight.rules else ""
        return f"{name} is in quarantine already, with all of its network interfaces{rules}{also}."
    return (
        f"Cut {name} off: move {moved} of its {counted(len(sight.interfaces), 'interface')} to the"
        f" security group {_quarantine.NAME}, which allows nothing{also}."
    )


def _look_around(case: Case, sight: Sight, look: Look, swap: Swap, calls: tuple[Call, ...]) -> Look:
    instance = case.instance or {}
    ids = [interface["NetworkInterfaceId"] for interface in sight.interfaces]
    routed = _surroundings.routed(case)
    watched, *may = case.aws.together(
        lambda: (_flows.watched(case.aws, ids),),
        *_surroundings.permitted(case, sight, calls),
    )
    return Look(
        blast_radius=(
            _surroundings.loses(instance, sight.interfaces),
            *routed.blast_radius,
            *_surroundings.node(instance),
            *swap.blast_radius,
            *_surroundings.credentials(instance),
            *look.blast_radius,
        ),
        preflight=(
            *dict.fromkeys(check for checks in may for check in checks),
            *swap.preflight,
            *routed.preflight,
            *look.preflight,
            *_surroundings.not_filtered(case, look),
            *watched,
        ),
        lost=(*swap.lost, *look.lost, *_surroundings.kept(sight.interfaces, look)),
    )


# What is read back


def _look(plan: Plan, aws: Aws) -> Proof:
    case, now = Case(aws, plan.target), datetime.now(UTC)
    peers = [change for change in plan.changes if _peers.PART.owns(change)]
    # Tags keep nothing from passing, and peers are shown by what becomes of their packets.
    apart = (*_marking.PARTS, _peers.PART)
    changes = [c for c in plan.changes if not any(part.owns(c) for part in apart)]
    sight, seen = both(
        aws, partial(_sight.read, case), partial(_isolation.read, case, PARTS, changes)
    )
    ids = [interface["NetworkInterfaceId"] for interface in sight.interfaces]
    windows: tuple[Window, ...] = ()
    if ids:
        windows = (_flows.dark(aws, ids, plan.target.at, now),)
    return proven(
        plan,
        (*_swap.checks(case, sight), *_as_planned(changes, seen), *_peers.denied(case, peers)),
        *windows,
        *(unproven("read back", str(error)) for error in seen.errors),
        *_metadata.applying(case, now),
    )


def _as_planned(changes: list[Change], seen: _isolation.Reading) -> list[Check]:
    """Return for each change of a part that could be read whether it is so."""
    return [
        Check(
            name=f"{change.resource} {change.attribute}",
            ok=(now := seen.state.get((change.resource, change.attribute))) == change.after,
            detail="" if now == change.after else f"{now}, not {change.after}",
        )
        for change in changes
        if any(part.owns(change) for part in PARTS) and change not in seen.unread
    ]


# What is changed


def _todo(plan: Plan, case: Case, sight: Sight, seen: _isolation.Reading) -> tuple[Change, ...]:
    """Return what is still to be done; before the first change all must be as it was planned.

    After it, finishing what was approved is safer than stopping half way, and verify reports what
    came in between.
    """
    changes = tuple(change for change in plan.changes if change not in seen.unread)
    now: State = {**seen.state, **sight.state, **sight.rules}
    moved = [change for change in changes if change.attribute == GROUPS]
    begun = _marking.begun(case) or any(
        sight.on_the_way(move) or now.get((move.resource, GROUPS)) == move.after for move in moved
    )
    if begun:
        return tuple(
            change
            for change in changes
            if now.get((change.resource, change.attribute)) == change.before
            or sight.on_the_way(change)
        )
    # Isolation does not wait for another vote where others took the number of a rule, or marked a
    # disk.
    firm = tuple(
        change
        for change in changes
        if not (_peers.PART.owns(change) or _marking.HELD.owns(change))
        or now.get((change.resource, change.attribute)) in (change.before, change.after)
    )
    todo = outstanding(plan.model_copy(update={"changes": firm}), now)
    _expect_as_planned(plan, sight)
    return todo


def _expect_as_planned(plan: Plan, sight: Sight) -> None:
    known = {change.resource for change in plan.changes if change.attribute == GROUPS}
    for (interface, _), now in sight.state.items():
        if interface not in known and now != [_quarantine.NAME]:
            raise PlanStale(f"{interface} was attached to {plan.target.subject.id} after planning")
    for group in sight.existing:
        _quarantine.expect_planned(group, plan)


def _raise_worst(failed: Iterable[CloudError]) -> None:
    """Raise a failure if there is one, and rather one that trying again can mend."""
    if worst := sorted(failed, key=lambda error: not error.retryable):
        raise worst[0]


def _still_there(
    plan: Plan, case: Case, way_back: WayBack, seen: _isolation.Reading
) -> tuple[tuple[str, ...], tuple[Change, ...]]:
    """Return what does not exist any more, and the changes of what does and could be read."""
    interfaces = way_back.sight.vpc_of
    lost = [
        change.resource
        for change in plan.changes
        if change.resource.startswith("eni-") and change.resource not in interfaces
    ]
    if case.instance is None or terminated(case.instance):
        lost.append(case.id)
    there = tuple(
        change
        for change in plan.changes
        if not any(id == change.resource or id in change.attribute for id in lost)
        and change not in seen.unread
        and (change.attribute == GROUPS or any(part.owns(change) for part in PARTS))
    )
    return tuple(f"{id} does not exist any more" for id in dict.fromkeys(lost)), there
