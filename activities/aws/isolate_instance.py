"""Isolation of an EC2 instance by a security group that has no rules."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from activities.aws import _network, _quarantine, _reading, _surroundings
from activities.aws._network import Remarks
from activities.aws._reading import GONE, counted, strings, tags, terminated
from activities.aws._sight import Sight, read
from firedoor.action import (
    Action,
    NoParams,
    Permissions,
    outstanding,
    proof,
    receipt,
    restorable,
)
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale
from firedoor.model.action import Nature
from firedoor.model.finding import Kind
from firedoor.model.plan import (
    LATER,
    Call,
    Change,
    Check,
    Plan,
    Proof,
    Receipt,
    Target,
    Touched,
)


def plan(target: Target, params: NoParams, aws: Aws) -> tuple[Plan, ...]:  # noqa: ARG001
    """Move every network interface of an instance to a security group that allows nothing.

    Groups are set on each interface: on the instance itself, EC2 takes them only while it has one.
    """
    instance_id = target.subject.id
    reads: list[Callable[[], Any]] = [
        partial(_reading.instance, aws, instance_id),
        partial(_network.interfaces, aws, instance_id),
        partial(_quarantine.groups, aws),
    ]
    instance, interfaces, groups = aws.together(*reads)
    if instance is None or (terminated(instance) and not interfaces):
        return (_gone(target),)
    sight = Sight(interfaces, {group["VpcId"]: group for group in groups})
    refusals = _refusals(instance, sight)
    changes = () if refusals else _changes(sight)
    calls = () if refusals else _calls(sight, changes)
    undo = _undo(sight, changes)
    remarks = _look_around(instance, sight, calls, undo, aws)
    return (
        Plan(
            action="aws.isolate_instance",
            target=target,
            lease=instance_id,
            summary=_summary(instance, sight, changes, refusals),
            changes=changes,
            calls=calls,
            undo=undo,
            blast_radius=remarks.blast_radius,
            preflight=remarks.preflight,
            lost=_lost(sight, calls),
            touched=_touched(instance, sight),
            refusals=refusals,
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Make the quarantine group ready and move the interfaces that are not in it yet."""
    if not plan.calls:
        return receipt(plan)
    sight = read(aws, plan.target.subject.id)
    todo = outstanding(plan, {**sight.state, **sight.rules})
    moves = [change for change in todo if change.attribute == "groups"]
    if len(moves) == len(plan.undo):
        _expect_as_planned(plan, sight)
    with aws.only(plan.calls) as permit:
        ready = {
            vpc: _quarantine.ready(vpc, sight.groups.get(vpc), plan, aws) for vpc in sight.vpcs
        }
        calls = [_move(move.resource, [ready[sight.vpc_of[move.resource]]]) for move in moves]
        aws.together(*(partial(aws.call, call) for call in calls))
    created = {vpc: ready[vpc] for vpc in ready if _quarantine.creation_in(plan, vpc)}
    return receipt(plan, permit.made, created=created)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that all interfaces, new ones too, are in the group alone, and that it is empty."""
    return _network.settled(lambda: _look(plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Give back the groups of each interface that still is as we set it."""
    if not plan.undo:
        return receipt(plan)
    moved = {str(call.parameters["NetworkInterfaceId"]) for call in plan.undo}
    wanted = {group for call in plan.undo for group in strings(call.parameters["Groups"])}
    # By id and not by attachment: an interface that was detached meanwhile must not stay locked.
    interfaces, groups = aws.together(
        lambda: _network.by_filter(aws, "DescribeNetworkInterfaces", "network-interface-id", moved),
        lambda: _network.by_filter(aws, "DescribeSecurityGroups", "group-id", wanted),
    )
    ours, left = _restorable(plan, Sight(interfaces, {}), {group["GroupId"] for group in groups})
    with aws.only(plan.undo) as permit:
        aws.together(*(partial(aws.call, call) for call in ours))
    return receipt(plan, permit.made, left=left)


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.INSTANCE}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    evidence_first=("snapshot_volumes",),
    permissions=Permissions(
        plan=(
            "autoscaling:DescribeAutoScalingInstances",
            "ec2:DescribeInstances",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeRouteTables",
            "ec2:DescribeSecurityGroups",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
        ),
        apply=(
            "ec2:CreateSecurityGroup",
            "ec2:CreateTags",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
        ),
        verify=("ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups"),
        revert=(
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:ModifyNetworkInterfaceAttribute",
        ),
    ),
    techniques=("T1021", "T1041", "T1046", "T1071", "T1496", "T1498"),
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
    )


def _changes(sight: Sight) -> tuple[Change, ...]:
    emptied = [
        Change(resource=group, attribute=name, before=rule, after=None)
        for (group, name), rule in sight.rules.items()
    ]
    moved = [
        Change(resource=interface, attribute=attribute, before=before, after=[_quarantine.NAME])
        for (interface, attribute), before in sight.state.items()
        if before != [_quarantine.NAME]
    ]
    return (*emptied, *moved)


def _calls(sight: Sight, changes: tuple[Change, ...]) -> tuple[Call, ...]:
    calls = []
    for vpc in sight.vpcs:
        if vpc not in sight.groups:
            calls.append(_quarantine.creation(vpc))
        calls += _quarantine.revocations(sight.groups.get(vpc, _quarantine.NEW))
    for interface in _moved(changes):
        group = sight.groups.get(sight.vpc_of[interface], _quarantine.NEW)
        calls.append(_move(interface, [group["GroupId"]]))
    # An empty group that nothing is to be moved to need not be made.
    return tuple(calls) if changes else ()


def _undo(sight: Sight, changes: tuple[Change, ...]) -> tuple[Call, ...]:
    ids = {
        interface["NetworkInterfaceId"]: sorted(group["GroupId"] for group in interface["Groups"])
        for interface in sight.interfaces
    }
    return tuple(_move(interface, ids[interface]) for interface in reversed(_moved(changes)))


def _moved(changes: Iterable[Change]) -> list[str]:
    return [change.resource for change in changes if change.attribute == "groups"]


def _move(interface: str, groups: list[str]) -> Call:
    return Call(
        service="ec2",
        operation="ModifyNetworkInterfaceAttribute",
        parameters={"NetworkInterfaceId": interface, "Groups": list(groups)},
    )


# What an approver reads


def _summary(
    instance: dict[str, Any], sight: Sight, changes: tuple[Change, ...], refusals: tuple[str, ...]
) -> str:
    name = _named(instance)
    if refusals:
        return f"{name} cannot be isolated by security group."
    moved = len(_moved(changes))
    if not moved:
        more = f", but {_quarantine.NAME} has rules, which go" if changes else ""
        return f"{name} is in quarantine already, with all of its network interfaces{more}."
    return (
        f"Cut {name} off: move {moved} of its {counted(len(sight.interfaces), 'interface')} to the"
        f" security group {_quarantine.NAME}, which allows nothing."
    )


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


def _look_around(
    instance: dict[str, Any],
    sight: Sight,
    calls: tuple[Call, ...],
    undo: tuple[Call, ...],
    aws: Aws,
) -> Remarks:
    if not calls:
        return Remarks()
    looks: dict[str, Callable[[], Remarks]] = {
        "Auto Scaling membership": partial(_surroundings.scaling, instance, aws),
        "load balancers": partial(_surroundings.serving, sight.interfaces, aws),
        "live connections": partial(_surroundings.live, sight.interfaces, aws),
    }
    seen = _network.together(
        aws,
        *(partial(_may, call, undo, aws) for call in calls),
        *(partial(_network.tried, *look) for look in looks.items()),
    )
    described = ", ".join(_described(interface) for interface in sight.interfaces)
    return Remarks(
        blast_radius=(
            f"{_named(instance)} loses all traffic on {described}",
            *_surroundings.credentials(instance),
            *seen.blast_radius,
        ),
        preflight=(*seen.preflight, *_rules_left(sight), _surroundings.NOT_FILTERED),
    )


def _may(call: Call, undo: tuple[Call, ...], aws: Aws) -> Remarks:
    if call.operation.startswith("Revoke") and call.parameters["GroupId"] == LATER:
        return Remarks()  # nothing to ask about yet
    if call.parameters.get("Groups") == [LATER]:
        # The same question, put with groups that exist.
        interface = call.parameters["NetworkInterfaceId"]
        call = next(c for c in undo if c.parameters["NetworkInterfaceId"] == interface)
    return Remarks(preflight=(aws.allowed(call),))


def _rules_left(sight: Sight) -> Iterable[Check]:
    for group in sight.existing:
        if rules := _quarantine.rules(group):
            yield Check(
                name=f"{group['GroupId']} is empty",
                ok=False,
                detail=f"this quarantine group has {counted(len(rules), 'rule')}, to be removed"
                " first; what else is in it was not cut off",
            )


def _lost(sight: Sight, calls: tuple[Call, ...]) -> tuple[str, ...]:
    if not calls:
        return ()
    return (
        "Connections that break",
        *(
            f"{_quarantine.NAME} stays in {vpc}, empty, as other instances may come to use it"
            for vpc in sight.vpcs
            if vpc not in sight.groups
        ),
        *(
            f"{counted(len(rules), 'rule')} of {group['GroupId']}"
            for group in sight.existing
            if (rules := _quarantine.rules(group))
        ),
    )


def _touched(instance: dict[str, Any], sight: Sight) -> Touched:
    edited = {group for group, _ in sight.rules}
    return Touched(
        resources={
            instance["InstanceId"]: tags(instance),
            **{i["NetworkInterfaceId"]: tags(i) for i in sight.interfaces},
            **{g["GroupId"]: tags(g) for g in sight.existing if g["GroupId"] in edited},
        }
    )


def _named(instance: dict[str, Any]) -> str:
    name = tags(instance).get("Name")
    return f"{instance['InstanceId']} ({name})" if name else str(instance["InstanceId"])


def _described(interface: dict[str, Any]) -> str:
    where = ", ".join([*_network.addresses(interface), interface["SubnetId"]])
    return f"{interface['NetworkInterfaceId']} ({where})"


# What is read back


def _look(plan: Plan, aws: Aws) -> Proof:
    sight = read(aws, plan.target.subject.id)
    checks = [
        Check(
            name=f"{interface} is in {_quarantine.NAME} only",
            ok=now == [_quarantine.NAME],
            detail=", ".join(strings(now)),
        )
        for (interface, _), now in sight.state.items()
    ]
    for vpc in sight.vpcs:
        rules = _quarantine.rules(sight.groups[vpc]) if vpc in sight.groups else {}
        checks.append(
            Check(
                name=f"{_quarantine.NAME} in {vpc} has no rules",
                ok=vpc in sight.groups and not rules,
                detail=", ".join(name for _, name in rules),
            )
        )
    if not sight.interfaces:
        name = f"{plan.target.subject.id} has no network interface left"
        checks.append(Check(name=name, ok=True))
    return proof(plan, checks)


# What is changed


def _expect_as_planned(plan: Plan, sight: Sight) -> None:
    # Only before the first change: after it, finishing what was approved is safer than stopping
    # half way, and verify reports what came in between.
    known = _moved(plan.changes)
    for (interface, _), now in sight.state.items():
        if interface not in known and now != [_quarantine.NAME]:
            raise PlanStale(f"{interface} was attached to {plan.target.subject.id} after planning")
    for group in sight.existing:
        _quarantine.expect_planned(group, plan)


def _restorable(plan: Plan, sight: Sight, existing: set[str]) -> tuple[list[Call], tuple[str, ...]]:
    moves = [change for change in plan.changes if change.attribute == "groups"]
    present = tuple(move for move in moves if move.resource in sight.vpc_of)
    left = [f"{move.resource} does not exist any more" for move in moves if move not in present]
    ours, changed = restorable(plan.model_copy(update={"changes": present}), sight.state)
    undo = {call.parameters["NetworkInterfaceId"]: call for call in plan.undo}
    calls = []
    for change in ours:
        call = undo[change.resource]
        gone = [g for g in strings(call.parameters["Groups"]) if g not in existing]
        if gone:
            left.append(
                f"{change.resource} stays in {_quarantine.NAME}, as {', '.join(gone)} of its "
                "groups does not exist any more: choose new groups for it by hand"
            )
        else:
            calls.append(call)
    return calls, (*left, *changed)
