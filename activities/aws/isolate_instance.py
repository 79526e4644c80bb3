"""Isolation of an EC2 instance by a security group that has no rules."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _network, _quarantine
from activities.aws._network import Remarks, counted
from firedoor.action import Action, NoParams, Permissions, State, outstanding, restorable
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
    Verdict,
)

# Interfaces of other types (trunk, branch, lambda …) belong to a service that sets their groups.
OWN_TYPES = {"interface", "efa", "efa-only"}

NOT_FILTERED = Check(
    name="cuts DNS and instance metadata",
    ok=False,
    detail="security groups do not filter queries to the VPC's resolver or to instance metadata: "
    "names still resolve, so DNS can still carry data out",
)


@dataclass(frozen=True)
class Sight:
    """The interfaces of an instance, and the quarantine group of each VPC that has one."""

    interfaces: list[dict[str, Any]]
    groups: dict[str, dict[str, Any]]

    @property
    def vpcs(self) -> tuple[str, ...]:
        """The VPCs of the interfaces; an instance can have some in several."""
        return tuple(sorted({interface["VpcId"] for interface in self.interfaces}))

    @property
    def vpc_of(self) -> dict[str, str]:
        """The VPC of each interface."""
        return {i["NetworkInterfaceId"]: i["VpcId"] for i in self.interfaces}

    @property
    def existing(self) -> tuple[dict[str, Any], ...]:
        """The quarantine groups that the interfaces can be put into."""
        return tuple(self.groups[vpc] for vpc in self.vpcs if vpc in self.groups)

    @property
    def state(self) -> State:
        """The groups of the interfaces, by id.

        Only the quarantine group goes by its name, as a plan may not know its id yet.
        """
        return {
            (interface["NetworkInterfaceId"], "groups"): sorted(
                _quarantine.NAME if group["GroupName"] == _quarantine.NAME else group["GroupId"]
                for group in interface["Groups"]
            )
            for interface in self.interfaces
        }

    @property
    def rules(self) -> State:
        """The rules that should not be in the quarantine groups."""
        return {
            key: rule for group in self.existing for key, rule in _quarantine.rules(group).items()
        }


def plan(target: Target, params: NoParams, aws: Aws) -> tuple[Plan, ...]:  # noqa: ARG001
    """Move every network interface of an instance to a security group that allows nothing.

    Groups are set on each interface: on the instance itself, EC2 takes them only while it has one.
    """
    instance_id = target.subject.id
    reservations, interfaces, groups = aws.together(
        lambda: aws.pages("ec2", "DescribeInstances", "Reservations", InstanceIds=[instance_id]),
        lambda: _network.interfaces(aws, instance_id),
        lambda: _quarantine.groups(aws),
    )
    instance = reservations[0]["Instances"][0]
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
        return Receipt(plan_digest=plan.digest, at=datetime.now(UTC))
    sight = _read(plan, aws)
    todo = outstanding(plan, {**sight.state, **sight.rules})
    moves = [change for change in todo if change.attribute == "groups"]
    if len(moves) == len(plan.undo):
        _expect_as_planned(plan, sight)
    with aws.only(plan.calls) as permit:
        ready = {vpc: _ready(plan, vpc, sight, aws) for vpc in sight.vpcs}
        calls = [_move(move.resource, [ready[sight.vpc_of[move.resource]]]) for move in moves]
        if calls:
            aws.together(*(partial(aws.call, call) for call in calls))
    created: dict[str, JsonValue] = {vpc: ready[vpc] for vpc in ready if _creation(plan, vpc)}
    return Receipt(
        plan_digest=plan.digest, at=datetime.now(UTC), calls=tuple(permit.made), created=created
    )


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that all interfaces, new ones too, are in the group alone, and that it is empty."""
    return _network.settled(lambda: _look(plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Give back the groups of each interface that still is as we set it."""
    if not plan.undo:
        return Receipt(plan_digest=plan.digest, at=datetime.now(UTC))
    moved = {str(call.parameters["NetworkInterfaceId"]) for call in plan.undo}
    wanted = {group for call in plan.undo for group in _network.strings(call.parameters["Groups"])}
    # By id and not by attachment: an interface that was detached meanwhile must not stay locked.
    interfaces, groups = aws.together(
        lambda: _network.by_filter(aws, "DescribeNetworkInterfaces", "network-interface-id", moved),
        lambda: _network.by_filter(aws, "DescribeSecurityGroups", "group-id", wanted),
    )
    ours, left = _restorable(plan, Sight(interfaces, {}), {group["GroupId"] for group in groups})
    with aws.only(plan.undo) as permit:
        if ours:
            aws.together(*(partial(aws.call, call) for call in ours))
    return Receipt(
        plan_digest=plan.digest, at=datetime.now(UTC), calls=tuple(permit.made), left=left
    )


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
    tags = ", ".join(f"{key}={value}" for key, value in _quarantine.TAGS.items())
    owned = [reason for interface in sight.interfaces if (reason := _service_owned(interface))]
    foreign = [
        f"{group['GroupId']} in {group['VpcId']} is named {_quarantine.NAME} but is not Firedoor's,"
        f" as the tag {tags} is missing: delete that group, or set the tag if it may be used"
        for group in sight.existing
        if not _quarantine.is_ours(group)
    ]
    return (*owned, *foreign)


def _service_owned(interface: dict[str, Any]) -> str:
    interface_id = interface["NetworkInterfaceId"]
    kind = interface.get("InterfaceType", "interface")
    operator = interface.get("Operator") or {}
    owner = ""
    if interface.get("RequesterManaged"):
        owner = f"managed by {interface.get('RequesterId') or 'an AWS service'}"
    elif operator.get("Managed"):
        owner = f"managed by {operator.get('Principal', 'an AWS service')}"
    elif kind not in OWN_TYPES:
        owner = f"of type {kind}"
    if not owner:
        return ""
    return (
        f"{interface_id} is {owner}, so its security groups are not ours to set: isolate the"
        " workload in its own service (ECS, EKS …), or block its addresses in the network ACL"
    )


def _look_around(
    instance: dict[str, Any],
    sight: Sight,
    calls: tuple[Call, ...],
    undo: tuple[Call, ...],
    aws: Aws,
) -> Remarks:
    if not calls:
        return Remarks()
    seen = _network.together(
        aws,
        *(partial(_may, call, undo, aws) for call in calls),
        lambda: _network.tried("Auto Scaling membership", lambda: _scaling(instance, aws)),
        lambda: _network.tried("load balancers", lambda: _serving(sight, aws)),
        lambda: _network.tried("live connections", lambda: _live(sight, aws)),
    )
    described = ", ".join(_described(interface) for interface in sight.interfaces)
    return Remarks(
        blast_radius=(
            f"{_named(instance)} loses all traffic on {described}",
            *_credentials(instance),
            *seen.blast_radius,
        ),
        preflight=(*seen.preflight, *_rules_left(sight), NOT_FILTERED),
    )


def _may(call: Call, undo: tuple[Call, ...], aws: Aws) -> Remarks:
    if call.operation.startswith("Revoke") and call.parameters["GroupId"] == LATER:
        return Remarks()  # nothing to ask about yet
    if call.parameters.get("Groups") == [LATER]:
        # The same question, put with groups that exist.
        interface = call.parameters["NetworkInterfaceId"]
        call = next(c for c in undo if c.parameters["NetworkInterfaceId"] == interface)
    return Remarks(preflight=(aws.allowed(call),))


def _scaling(instance: dict[str, Any], aws: Aws) -> Remarks:
    members = aws.pages(
        "autoscaling",
        "DescribeAutoScalingInstances",
        "AutoScalingInstances",
        InstanceIds=[instance["InstanceId"]],
    )
    return Remarks(
        blast_radius=tuple(
            f"Auto Scaling group {member['AutoScalingGroupName']} will find it unhealthy, terminate"
            " it with what it holds, and start another from the same image"
            for member in members
        ),
        preflight=tuple(
            Check(
                name="stays alive in its Auto Scaling group",
                ok=False,
                detail=f"{member['AutoScalingGroupName']} ({member['LifecycleState']}): set it to "
                "standby first, or its disks may be gone before anybody looks",
            )
            for member in members
        ),
    )


def _serving(sight: Sight, aws: Aws) -> Remarks:
    return Remarks(
        blast_radius=tuple(
            f"Target group {group['TargetGroupName']} loses this target"
            for group in _network.target_groups(aws, sight.interfaces)
        )
    )


def _live(sight: Sight, aws: Aws) -> Remarks:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html
    tables = _network.by_filter(aws, "DescribeRouteTables", "vpc-id", sight.vpcs)
    hops = sorted({hop for i in sight.interfaces for hop in _tracking_hops(i, tables)})
    detail = (
        "connections that are open and tracked now go on until they fall idle, for 5 days unless"
        " the interface sets less; to cut one at once, block its remote address in the network ACL"
    )
    if hops:
        detail += f". Whatever goes through {', '.join(hops)} is always tracked"
    return Remarks(preflight=(Check(name="cuts live connections", ok=False, detail=detail),))


def _tracking_hops(interface: dict[str, Any], tables: list[dict[str, Any]]) -> Iterable[str]:
    subnet, vpc = interface["SubnetId"], interface["VpcId"]
    own = [t for t in tables if any(a.get("SubnetId") == subnet for a in t["Associations"])]
    main = [
        t for t in tables if t["VpcId"] == vpc and any(a.get("Main") for a in t["Associations"])
    ]
    for table in own or main:
        for route in table["Routes"]:
            for member in ("NatGatewayId", "EgressOnlyInternetGatewayId", "TransitGatewayId"):
                if hop := route.get(member):
                    yield hop
            if (route.get("GatewayId") or "").startswith("vpce-"):
                yield route["GatewayId"]


def _rules_left(sight: Sight) -> Iterable[Check]:
    for group in sight.existing:
        if rules := _quarantine.rules(group):
            yield Check(
                name=f"{group['GroupId']} is empty",
                ok=False,
                detail=f"this quarantine group has {counted(len(rules), 'rule')}, to be removed"
                " first; what else is in it was not cut off",
            )


def _credentials(instance: dict[str, Any]) -> tuple[str, ...]:
    profile = instance.get("IamInstanceProfile")
    if not profile:
        return ()
    return (
        f"Credentials that it took from {profile['Arn']} stay valid elsewhere: revoke the role's"
        " sessions too",
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
            instance["InstanceId"]: _network.tags(instance),
            **{i["NetworkInterfaceId"]: _network.tags(i) for i in sight.interfaces},
            **{g["GroupId"]: _network.tags(g) for g in sight.existing if g["GroupId"] in edited},
        }
    )


def _named(instance: dict[str, Any]) -> str:
    name = _network.tags(instance).get("Name")
    return f"{instance['InstanceId']} ({name})" if name else str(instance["InstanceId"])


def _described(interface: dict[str, Any]) -> str:
    where = ", ".join([*_network.addresses(interface), interface["SubnetId"]])
    return f"{interface['NetworkInterfaceId']} ({where})"


# What is read back


def _read(plan: Plan, aws: Aws) -> Sight:
    interfaces, groups = aws.together(
        lambda: _network.interfaces(aws, plan.target.subject.id),
        lambda: _quarantine.groups(aws),
    )
    return Sight(interfaces, {group["VpcId"]: group for group in groups})


def _look(plan: Plan, aws: Aws) -> Proof:
    sight = _read(plan, aws)
    checks = [
        Check(
            name=f"{interface} is in {_quarantine.NAME} only",
            ok=now == [_quarantine.NAME],
            detail=", ".join(_network.strings(now)),
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
    verdict = Verdict.PROVEN if all(check.ok for check in checks) else Verdict.DRIFTED
    return Proof(
        plan_digest=plan.digest, at=datetime.now(UTC), verdict=verdict, checks=tuple(checks)
    )


# What is changed


def _expect_as_planned(plan: Plan, sight: Sight) -> None:
    # Only before the first change: after it, finishing what was approved is safer than stopping
    # half way, and verify reports what came in between.
    known = _moved(plan.changes)
    for (interface, _), now in sight.state.items():
        if interface not in known and now != [_quarantine.NAME]:
            raise PlanStale(f"{interface} was attached to {plan.target.subject.id} after planning")
    for group in sight.existing:
        _expect_group(plan, group)


def _expect_group(plan: Plan, group: dict[str, Any]) -> None:
    group_id, vpc = group["GroupId"], group["VpcId"]
    planned = {g for call in plan.calls for g in _network.strings(call.parameters.get("Groups"))}
    if not _quarantine.is_ours(group) or (planned and not planned & {group_id, LATER}):
        name = _quarantine.NAME
        raise PlanStale(f"{name} in {vpc} is now {group_id}, which the plan did not see")
    for call in _quarantine.revocations(group):
        if not _is_planned(call, plan):
            rule = call.parameters["IpPermissions"]
            raise PlanStale(f"{group_id} has a rule that the plan did not see: {rule}")


def _ready(plan: Plan, vpc: str, sight: Sight, aws: Aws) -> str:
    """Return the id of the VPC's quarantine group, created and emptied as planned."""
    group = sight.groups.get(vpc) or _created(plan, vpc, aws)
    revocations = [call for call in _quarantine.revocations(group) if _is_planned(call, plan)]
    if revocations:
        aws.together(*(partial(_quarantine.revoke, call, aws) for call in revocations))
    return str(group["GroupId"])


def _created(plan: Plan, vpc: str, aws: Aws) -> dict[str, Any]:
    creation = _creation(plan, vpc)
    if creation is None:
        raise PlanStale(f"{_quarantine.NAME} in {vpc} was deleted after planning")
    group = _quarantine.create(creation, aws)
    _expect_group(plan, group)
    return group


def _creation(plan: Plan, vpc: str) -> Call | None:
    return next((call for call in plan.calls if call.parameters.get("VpcId") == vpc), None)


def _is_planned(revocation: Call, plan: Plan) -> bool:
    rule = revocation.parameters["IpPermissions"]
    return any(
        call.operation == revocation.operation and call.parameters["IpPermissions"] == rule
        for call in plan.calls
    )


def _restorable(plan: Plan, sight: Sight, existing: set[str]) -> tuple[list[Call], tuple[str, ...]]:
    moves = [change for change in plan.changes if change.attribute == "groups"]
    present = tuple(move for move in moves if move.resource in sight.vpc_of)
    left = [f"{move.resource} does not exist any more" for move in moves if move not in present]
    ours, changed = restorable(plan.model_copy(update={"changes": present}), sight.state)
    undo = {call.parameters["NetworkInterfaceId"]: call for call in plan.undo}
    calls = []
    for change in ours:
        call = undo[change.resource]
        gone = [g for g in _network.strings(call.parameters["Groups"]) if g not in existing]
        if gone:
            left.append(
                f"{change.resource} stays in {_quarantine.NAME}, as {', '.join(gone)} of its "
                "groups does not exist any more: choose new groups for it by hand"
            )
        else:
            calls.append(call)
    return calls, (*left, *changed)
