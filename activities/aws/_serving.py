"""The load balancers that send traffic to an instance."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from activities.aws import _network
from activities.aws._case import Case
from activities.aws._isolation import Look, Part, call
from activities.aws._reading import counted, or_none
from firedoor.action import State
from firedoor.errors import Refused
from firedoor.model.plan import Call, Change

_TARGET = "target "
_MEMBER = "instance "
_CLASSIC = "loadbalancer/"

# It gets no new connections; those that it has may go on for the deregistration delay.
_LEAVING = {"draining", "unused"}


def look_targets(case: Case) -> Look:
    """Take it out of the target groups that send traffic to it, under each of its ports."""
    found = _target_groups(case)
    told, fleets, changes = [], {}, []
    for group, targets in found:
        name, arn = group["TargetGroupName"], group["TargetGroupArn"]
        own = [t for t in targets if _is_own(case, t) and not _is_leaving(t)]
        if not own:
            continue
        healthy = [t for t in targets if t["TargetHealth"]["State"] == "healthy"]
        left = [t for t in healthy if t not in own]
        told.append(
            f"Target group {name} loses this target; {counted(len(left), 'healthy target')} remain"
        )
        fleets[f"target-group/{name}"] = len(healthy)
        changes += [_removal(arn, t["Target"]) for t in own]
    return Look(changes=tuple(changes), blast_radius=tuple(told), fleets=fleets)


def look_classic(case: Case) -> Look:
    """Take it out of the Classic Load Balancers that send traffic to it."""
    balancers = case.aws.pages("elb", "DescribeLoadBalancers", "LoadBalancerDescriptions")
    own = [b["LoadBalancerName"] for b in balancers if case.id in _members(b)]
    serving = case.aws.together(*(partial(_in_service, case, name) for name in own))
    return Look(
        changes=tuple(
            Change(
                resource=_CLASSIC + name,
                attribute=_MEMBER + case.id,
                before="registered",
                after=None,
            )
            for name in own
        ),
        blast_radius=tuple(
            f"Load balancer {name} loses this instance;"
            f" {counted(len(ids - {case.id}), 'instance')} in service remain"
            for name, ids in zip(own, serving, strict=True)
        ),
        fleets={_CLASSIC + name: len(ids) for name, ids in zip(own, serving, strict=True)},
    )


def tracked(case: Case) -> tuple[str, ...]:
    """Name the target groups whose connections EC2 tracks whatever the rules say."""
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html
    return tuple(
        f"target group {group['TargetGroupName']} ({group['Protocol']})"
        for group, targets in _target_groups(case)
        if group.get("Protocol") in {"TCP", "UDP", "TCP_UDP", "TLS", "QUIC", "TCP_QUIC", "GENEVE"}
        and any(_is_own(case, target) for target in targets)
    )


def now_targets(case: Case, changes: Sequence[Change]) -> State:
    """Read whether the targets are registered still; one that leaves is not."""
    arns = list(dict.fromkeys(change.resource for change in changes))
    answers = case.aws.together(*(partial(_health, case, arn) for arn in arns))
    there = {
        (arn, _named(target["Target"])): target["Target"]
        for arn, targets in zip(arns, answers, strict=True)
        for target in targets
        if not _is_leaving(target)
    }
    return {(c.resource, c.attribute): there.get((c.resource, c.attribute)) for c in changes}


def now_classic(case: Case, changes: Sequence[Change]) -> State:
    """Read whether the instance is registered still."""
    return dict(case.aws.together(*(partial(_registered, case, change) for change in changes)))


def deregister(change: Change) -> tuple[Call, ...]:
    """Deregister the target."""
    return _targets("DeregisterTargets", change)


def register(change: Change) -> tuple[Call, ...]:
    """Register the target as it was, with port and zone."""
    return _targets("RegisterTargets", change)


def take_out(change: Change) -> tuple[Call, ...]:
    """Deregister the instance from a Classic Load Balancer."""
    return _instances("DeregisterInstancesFromLoadBalancer", change)


def put_in(change: Change) -> tuple[Call, ...]:
    """Register the instance with a Classic Load Balancer again."""
    return _instances("RegisterInstancesWithLoadBalancer", change)


TARGETS = Part(
    name="take it out of target groups",
    owns=lambda change: change.attribute.startswith(_TARGET),
    look=look_targets,
    now=now_targets,
    make=deregister,
    undo=register,
    made=frozenset({"InvalidTarget", "TargetGroupNotFound"}),
)
CLASSIC = Part(
    name="take it out of Classic Load Balancers",
    owns=lambda change: change.resource.startswith(_CLASSIC),
    look=look_classic,
    now=now_classic,
    make=take_out,
    undo=put_in,
    made=frozenset({"InvalidInstance"}),
)


def _target_groups(case: Case) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    return case.once("target groups", partial(_read, case))


def _read(case: Case) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Read the target groups of the instance's VPCs with the health of all their targets."""
    every = case.aws.pages("elbv2", "DescribeTargetGroups", "TargetGroups")
    vpcs = {interface["VpcId"] for interface in case.interfaces}
    groups = [group for group in every if group.get("VpcId") in vpcs]
    if len(groups) > _network.MOST_TARGET_GROUPS:
        number = counted(len(groups), "target group")
        raise Refused(f"{number} in {', '.join(sorted(vpcs))}: look there by hand")
    arns = [group["TargetGroupArn"] for group in groups]
    health = case.aws.together(*(partial(_health, case, arn) for arn in arns))
    return list(zip(groups, health, strict=True))


def _health(case: Case, arn: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] | None = or_none(
        partial(
            case.aws.pages,
            "elbv2",
            "DescribeTargetHealth",
            "TargetHealthDescriptions",
            TargetGroupArn=arn,
        )
    )
    return found or []


def _is_own(case: Case, target: Mapping[str, Any]) -> bool:
    ids = {case.id, *(a for i in case.interfaces for a in _network.addresses(i))}
    return target["Target"]["Id"] in ids


def _is_leaving(target: Mapping[str, Any]) -> bool:
    health = target["TargetHealth"]
    return health["State"] in _LEAVING and health.get("Reason") in {
        "Target.DeregistrationInProgress",
        "Target.NotRegistered",
    }


def _removal(arn: str, target: Mapping[str, Any]) -> Change:
    return Change(resource=arn, attribute=_named(target), before=dict(target), after=None)


def _named(target: Mapping[str, Any]) -> str:
    return f"{_TARGET}{target['Id']}:{target.get('Port', '')}"


def _targets(operation: str, change: Change) -> tuple[Call, ...]:
    return call("elbv2", operation, TargetGroupArn=change.resource, Targets=[change.before])


def _members(balancer: Mapping[str, Any]) -> set[str]:
    return {member["InstanceId"] for member in balancer["Instances"]}


def _in_service(case: Case, name: str) -> set[str]:
    answer = case.aws.client("elb").describe_instance_health(LoadBalancerName=name)
    return {s["InstanceId"] for s in answer["InstanceStates"] if s["State"] == "InService"}


def _registered(case: Case, change: Change) -> tuple[tuple[str, str], str | None]:
    name = change.resource.removeprefix(_CLASSIC)
    elb = case.aws.client("elb")
    answer = or_none(lambda: elb.describe_load_balancers(LoadBalancerNames=[name]))
    members = _members(answer["LoadBalancerDescriptions"][0]) if answer else set()
    instance = change.attribute.removeprefix(_MEMBER)
    return (change.resource, change.attribute), "registered" if instance in members else None


def _instances(operation: str, change: Change) -> tuple[Call, ...]:
    return call(
        "elb",
        operation,
        LoadBalancerName=change.resource.removeprefix(_CLASSIC),
        Instances=[{"InstanceId": change.attribute.removeprefix(_MEMBER)}],
    )
