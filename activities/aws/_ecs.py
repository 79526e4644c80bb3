"""Quarantine of ECS tasks: kept running, taken out of their service's way, and cut off.

The interface of a task is the service's, and refuses another security group. So what is left to
change are the rules of the groups that it has, which may be others' as well; and no task is ever
stopped, for its disk ends with it. A group that several have is planned for by itself, as what more
than one incident can hold.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _network
from activities.aws._reading import Blind, counted, or_none, strings, tags
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import NotFound, PlanStale, Refused
from firedoor.model.plan import Call, Change, Check, Plan, Target, Touched

ACTION = "aws.quarantine_workload"

PROTECTION = timedelta(minutes=2880)
"""How long ECS protects a task at most."""

STOPPED = {"STOPPED", "STOPPING", "DEACTIVATING", "DEPROVISIONING", "DELETED"}

_RULES_LOST = "Ids and tags of the rules: they are made anew, with what they say unchanged"

_INGRESS, _EGRESS = "ingress", "egress"
_RULES = {_INGRESS: "IpPermissions", _EGRESS: "IpPermissionsEgress"}

Object = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A task, and what it is reached by."""

    cluster: str
    arn: str
    described: Object
    protection: Object | None  # none where it is of no service
    interfaces: list[Object]
    groups: list[Object]
    sharing: Mapping[str, int]  # group to how many other interfaces have it
    targets: tuple[tuple[str, Object], ...]  # target group, and how it names the task
    healthy: Mapping[str, int]  # target group to how many other targets are healthy
    role: str
    unread: tuple[Check, ...] = ()

    @property
    def id(self) -> str:
        """The task without its cluster."""
        return self.arn.rpartition("/")[2]

    @property
    def service(self) -> str:
        """The service that it is of; nothing if it was run by itself."""
        kind, _, name = str(self.described.get("group") or "").partition(":")
        return name if kind == "service" else ""


@dataclass(frozen=True)
class Effect:
    """One difference, and the calls that make it and take it back."""

    change: Change
    call: Call
    undo: Call


def read(aws: Aws, arn: str) -> Task | None:
    """Read a task with all that it is reached by; None if it does not run any more.

    Raises `Refused` if what it is reached by is its host's.
    """
    cluster = arn.split("/")[1]
    described = _described(aws, cluster, arn)
    if described is None:
        return None
    interfaces = _interfaces(aws, described)
    if not interfaces:
        raise Refused(_on_host(aws, cluster, arn, described))
    ids = sorted({group["GroupId"] for one in interfaces for group in one["Groups"]})
    balancers = partial(_targets, aws, cluster, described, interfaces)
    protected = partial(_protection, aws, cluster, arn, described)
    blind = Blind()
    reads: list[Callable[[], Any]] = [
        partial(_network.by_filter, aws, "DescribeSecurityGroups", "group-id", ids),
        partial(_sharing, aws, ids, {one["NetworkInterfaceId"] for one in interfaces}),
        partial(blind.tried, "its load balancers", balancers, ((), {})),
        partial(blind.tried, "its role", partial(_role, aws, described), ""),
        partial(blind.tried, "its protection", protected, None),
    ]
    groups, sharing, targets, role, protection = aws.together(*reads)
    found, healthy = targets
    return Task(
        cluster=cluster,
        arn=arn,
        described=described,
        protection=protection,
        interfaces=interfaces,
        groups=groups,
        sharing=sharing,
        targets=found,
        healthy=healthy,
        role=role,
        unread=blind.checks,
    )


def of_service(aws: Aws, arn: str) -> list[str]:
    """Read the ARNs of the tasks of a service that run or are about to."""
    _, cluster, name = arn.split("/")
    read = partial(aws.pages, "ecs", "ListTasks", "taskArns", cluster=cluster, serviceName=name)
    found: list[str] = or_none(read) or []
    return sorted(found)


def plan_tasks(
    target: Target, tasks: Sequence[Task], aws: Aws, *, shared: bool
) -> tuple[Plan, ...]:
    """Return a plan for each task, and one for each group that others have too.

    That one is refused if it is not only these tasks that have the group, unless `shared`.
    """
    several = {g["GroupId"]: g for t in tasks for g in t.groups if t.sharing[g["GroupId"]]}
    having = {id: [t for t in tasks if id in t.sharing] for id in several}
    ours = {one["NetworkInterfaceId"] for task in tasks for one in task.interfaces}
    outside = _sharing(aws, several, ours) if len(tasks) > 1 else dict(tasks[0].sharing)
    left = {id for id in several if outside[id] and not shared}
    return (
        *(_plan_task(target, task, left, shared=shared) for task in tasks),
        *(
            _refused(target, having[id], id, outside[id])
            if id in left
            else _plan_group(target, having[id], group, outside[id])
            for id, group in several.items()
        ),
    )


def _plan_task(target: Target, task: Task, left: Collection[str], *, shared: bool) -> Plan:
    own = [g for g in task.groups if not task.sharing[g["GroupId"]]]
    others = [g for g in task.groups if g["GroupId"] in left]
    cut = [g for g in task.groups if g not in others]
    effects = (*_kept(task), *_off_balancers(task), *_cut(own))
    name = f"task/{task.cluster}/{task.id}"
    return Plan(
        action=ACTION,
        target=target,
        lease=name,
        params={"shared_groups": shared},
        summary=_summary(task, own, effects),
        before={
            "cluster": task.cluster,
            "task": task.arn,
            "interfaces": _ids(task.interfaces),
            "left": [group["GroupId"] for group in others],
            "sharing": {group["GroupId"]: 0 for group in own},
        },
        changes=tuple(effect.change for effect in effects),
        calls=tuple(effect.call for effect in effects),
        undo=tuple(effect.undo for effect in reversed(effects)),
        blast_radius=tuple(_felt(task, cut)),
        preflight=(*_checks(task, others), *task.unread),
        lost=tuple(_lost(task, own)),
        touched=Touched(
            resources={
                name: _tags(task.described),
                **{group["GroupId"]: tags(group) for group in own},
            },
            fleets={f"target-group/{_short(arn)}": n + 1 for arn, n in task.healthy.items()},
        ),
        tasks=tuple(_tasks(task)),
    )


def _plan_group(target: Target, tasks: Sequence[Task], group: Object, others: int) -> Plan:
    """Return the plan that takes away the rules of a group, for these tasks and whoever has it."""
    id, effects = group["GroupId"], tuple(_cut([group]))
    having = [one for task in tasks for one in task.interfaces if id in _groups_of(one)]
    named = f"the ECS {'task' if len(tasks) == 1 else 'tasks'} {', '.join(t.id for t in tasks)}"
    return Plan(
        action=ACTION,
        target=target,
        lease=f"security-group/{id}",
        summary=f"Take away all rules of {id}, for {named}."
        if effects
        else f"{id} has no rules, and lets nothing pass for {named}.",
        before={
            "cluster": tasks[0].cluster,
            "first": [task.arn for task in tasks if task.protection is not None],
            "interfaces": _ids(having),
            "left": [],
            "sharing": {id: others},
        },
        changes=tuple(effect.change for effect in effects),
        calls=tuple(effect.call for effect in effects),
        undo=tuple(effect.undo for effect in reversed(effects)),
        blast_radius=(
            f"{id} is the group of {counted(others, 'other network interface')} too, which are cut"
            " off with it",
        )
        if others
        else (),
        lost=(_RULES_LOST,) if effects else (),
        touched=Touched(resources={id: tags(group)}),
    )


def state(aws: Aws, plan: Plan) -> State | None:
    """Read what a plan changes, as it is now; None if the task does not run any more."""
    if "task" not in plan.before:
        return remaining(aws, plan)
    cluster, arn = str(plan.before["cluster"]), str(plan.before["task"])
    described = _described(aws, cluster, arn)
    if described is None:
        return None
    found: dict[tuple[str, str], JsonValue] = {}
    for change in plan.changes:
        match change.resource.split(" "):
            case ["task", _]:
                protection = _protection(aws, cluster, arn, described)
                value: JsonValue = bool((protection or {}).get("protectionEnabled"))
            case ["target-group", group, named]:
                value = _registered(aws, group, named)
            case [_, group, direction]:
                value = _rules(aws, group, direction)
        found[change.resource, change.attribute] = value
    return found


def expect_no_others(aws: Aws, plan: Plan, todo: Iterable[str]) -> None:
    """Raise `PlanStale` if more have a group now than when it was planned to empty it."""
    groups = {resource.split(" ")[1] for resource in todo if resource.startswith("security-group ")}
    if not groups:
        return
    planned = plan.before["sharing"]
    known = planned if isinstance(planned, dict) else {}
    for group, number in _sharing(aws, groups, set(strings(plan.before["interfaces"]))).items():
        if number != known.get(group):
            raise PlanStale(
                f"{group} is the group of {counted(number, 'other network interface')}, was of"
                f" {known.get(group)} when planned"
            )


def is_ready(aws: Aws, plan: Plan) -> bool:
    """Tell whether the tasks that a plan for a group concerns are protected, as they should be."""
    tasks = strings(plan.before.get("first"))
    if not tasks:
        return True
    asked = {"cluster": str(plan.before["cluster"]), "tasks": tasks}
    found = aws.client("ecs").get_task_protection(**asked)["protectedTasks"]
    return all(one["protectionEnabled"] for one in found)  # what has ended is not among them


def remaining(aws: Aws, plan: Plan) -> State:
    """Read what a plan changes and the end of the task leaves as it is: the rules of groups."""
    return {
        (change.resource, change.attribute): _rules(aws, *change.resource.split(" ")[1:])
        for change in plan.changes
        if change.resource.startswith("security-group ")
    }


# What is changed


def _kept(task: Task) -> Iterator[Effect]:
    """Keep the service from stopping it when it scales in or deploys."""
    if task.protection is None or task.protection["protectionEnabled"]:
        return
    call: dict[str, JsonValue] = {"cluster": task.cluster, "tasks": [task.arn]}
    minutes = int(PROTECTION.total_seconds() // 60)
    yield Effect(
        Change(
            resource=f"task {task.id}", attribute="scale-in protection", before=False, after=True
        ),
        _call(
            "ecs",
            "UpdateTaskProtection",
            {**call, "protectionEnabled": True, "expiresInMinutes": minutes},
        ),
        _call("ecs", "UpdateTaskProtection", {**call, "protectionEnabled": False}),
    )


def _off_balancers(task: Task) -> Iterator[Effect]:
    """Take it out of load balancers: one that finds it dead has the service stop it."""
    for arn, named in task.targets:
        members: dict[str, JsonValue] = {"TargetGroupArn": arn, "Targets": [named]}
        yield Effect(
            Change(
                resource=f"target-group {arn} {_target(named)}",
                attribute="registered",
                before=True,
                after=False,
            ),
            _call("elbv2", "DeregisterTargets", members),
            _call("elbv2", "RegisterTargets", members),
        )


def _cut(groups: list[Object]) -> Iterator[Effect]:
    for group in groups:
        for direction, member in _RULES.items():
            rules = group.get(member) or []
            if not rules:
                continue
            named = direction.capitalize()
            members: dict[str, JsonValue] = {"GroupId": group["GroupId"], "IpPermissions": rules}
            yield Effect(
                Change(
                    resource=f"security-group {group['GroupId']} {direction}",
                    attribute="rules",
                    before=_ordered(rules),
                    after=[],
                ),
                _call("ec2", f"RevokeSecurityGroup{named}", members),
                _call("ec2", f"AuthorizeSecurityGroup{named}", members),
            )


def _call(service: str, operation: str, parameters: dict[str, JsonValue]) -> Call:
    return Call(service=service, operation=operation, parameters=parameters)


# What an approver reads


def _summary(task: Task, own: list[Object], effects: tuple[Effect, ...]) -> str:
    name = f"the ECS task {task.id} of {task.cluster}"
    if not effects:
        return f"Nothing is left to change about {name}."
    cut = f"; all rules of {', '.join(g['GroupId'] for g in own)} go" if own else ""
    off = ", and take it out of its load balancers" if task.targets else ""
    return f"Keep {name} running{off}{cut}."


def _felt(task: Task, cut: list[Object]) -> Iterator[str]:
    yield "Nothing is stopped: its memory and its disk, which end with it, stay to be captured"
    for arn, healthy in task.healthy.items():
        yield f"{_short(arn)} has {counted(healthy, 'other healthy target')}"
    if task.service:
        yield f"Service {task.service} counts it in, and starts no other in its place"
    if task.service and cut:
        yield (
            f"What {task.service} starts next has the same groups, and so no network either:"
            " deploy it with groups of its own first"
        )
    elif task.service:
        yield f"If it is needed, raise the desired count of {task.service} by one"
    if cut:
        yield "Connections that AWS tracks go on until they end or idle out, rules or not"
        yield "ECS Exec and logs of the task end with its rules: capture what they show first"


def _checks(task: Task, others: list[Object]) -> Iterator[Check]:
    yield Check(
        name="its security groups are its own",
        ok=not others,
        detail=f"of others too: {', '.join(g['GroupId'] for g in others)}" if others else "",
    )
    essential = [
        c["name"] for c in task.described["containers"] if c.get("healthStatus") == "HEALTHY"
    ]
    yield Check(
        name="no health check stops it",
        ok=not essential,
        detail=f"containers are probed, and ECS stops the task if one fails: {', '.join(essential)}"
        if essential
        else "",
    )


def _lost(task: Task, own: list[Object]) -> Iterator[str]:
    if own:
        yield _RULES_LOST
    if task.targets:
        yield "Connections through the load balancer that are drained"
    if task.protection is not None:
        hours = int(PROTECTION.total_seconds() // 3600)
        yield f"ECS protects the task for {hours} hours, and no longer: capture it by then"


def _tasks(task: Task) -> Iterator[str]:
    if task.role:
        yield (
            f"Revoke the sessions of {task.role}, which the task holds: they work anywhere, for"
            " hours; done when CloudTrail shows only AccessDenied for sessions from before"
        )


def _refused(target: Target, tasks: Sequence[Task], id: str, others: int) -> Plan:
    whom = "the task" if len(tasks) == 1 else "the tasks"
    return Plan(
        action=ACTION,
        target=target,
        lease=f"security-group/{id}",
        summary=f"The rules of {id} cannot be taken away for {whom}"
        f" {', '.join(task.id for task in tasks)} alone.",
        refusals=(
            f"{id} is the group of {counted(others, 'other network interface')} too, and the"
            " interface of a task takes no other group: set shared_groups: true to cut them off as"
            " well, or deploy the service with groups of its own, or block the remote addresses",
        ),
    )


def _short(arn: str) -> str:
    return arn.split(":targetgroup/")[-1].partition("/")[0]


# What is read


def _described(aws: Aws, cluster: str, arn: str) -> Object | None:
    read = partial(aws.client("ecs").describe_tasks, cluster=cluster, tasks=[arn], include=["TAGS"])
    found: list[Object] = (or_none(read) or {}).get("tasks") or []
    return next((task for task in found if task["lastStatus"] not in STOPPED), None)


def _interfaces(aws: Aws, described: Object) -> list[Object]:
    ids = [
        detail["value"]
        for attachment in described.get("attachments") or ()
        for detail in attachment.get("details") or ()
        if detail["name"] == "networkInterfaceId"
    ]
    if not ids:
        return []
    return _network.by_filter(aws, "DescribeNetworkInterfaces", "network-interface-id", ids)


def _on_host(aws: Aws, cluster: str, arn: str, described: Object) -> str:
    host = described.get("containerInstanceArn")
    instance = "its host"
    if host:
        found = aws.client("ecs").describe_container_instances(
            cluster=cluster, containerInstances=[host]
        )["containerInstances"]
        instance = next((one["ec2InstanceId"] for one in found), instance)
    return (
        f"{arn} has no network interface of its own, but uses that of {instance}: isolate the"
        " instance, after its evidence is kept"
    )


def _sharing(aws: Aws, groups: Iterable[str], own: Collection[str]) -> dict[str, int]:
    """Count the other interfaces that have each of the groups."""
    found = _network.by_filter(aws, "DescribeNetworkInterfaces", "group-id", groups)
    return {
        group: sum(
            one["NetworkInterfaceId"] not in own and group in _groups_of(one) for one in found
        )
        for group in groups
    }


def _groups_of(interface: Object) -> set[str]:
    return {group["GroupId"] for group in interface.get("Groups") or ()}


def _ids(interfaces: list[Object]) -> list[JsonValue]:
    return [one["NetworkInterfaceId"] for one in interfaces]


def _targets(
    aws: Aws, cluster: str, described: Object, interfaces: list[Object]
) -> tuple[tuple[tuple[str, Object], ...], dict[str, int]]:
    kind, _, name = str(described.get("group") or "").partition(":")
    if kind != "service":
        return (), {}
    services = aws.client("ecs").describe_services(cluster=cluster, services=[name])["services"]
    own = {address for one in interfaces for address in _network.addresses(one)}
    found, healthy = [], {}
    for balancer in (b for one in services for b in one.get("loadBalancers") or ()):
        arn = balancer.get("targetGroupArn")
        if arn is None:
            continue
        described_targets = _health(aws, arn)
        ours = [t["Target"] for t in described_targets if t["Target"]["Id"] in own]
        found += [(arn, named) for named in ours]
        if ours:
            healthy[arn] = sum(
                t["Target"]["Id"] not in own and t["TargetHealth"]["State"] == "healthy"
                for t in described_targets
            )
    return tuple(found), healthy


def _health(aws: Aws, arn: str) -> list[Object]:
    return aws.pages(
        "elbv2", "DescribeTargetHealth", "TargetHealthDescriptions", TargetGroupArn=arn
    )


def _registered(aws: Aws, arn: str, named: str) -> bool | None:
    """Return whether a target group has a target; None if the group does not exist any more."""
    found = or_none(partial(_health, aws, arn))
    if found is None:
        return None
    return any(
        _target(t["Target"]) == named
        for t in found
        if t["TargetHealth"]["State"] not in {"draining", "unused"}
    )


def _target(named: Mapping[str, Any]) -> str:
    return f"{named['Id']}:{named.get('Port', '')}"


def _protection(aws: Aws, cluster: str, arn: str, described: Object) -> Object | None:
    if not str(described.get("group") or "").startswith("service:"):
        return None
    found: list[Object] = aws.client("ecs").get_task_protection(cluster=cluster, tasks=[arn])[
        "protectedTasks"
    ]
    return next(iter(found), None)


def _role(aws: Aws, described: Object) -> str:
    if role := (described.get("overrides") or {}).get("taskRoleArn"):
        return str(role)
    arn = described["taskDefinitionArn"]
    read = partial(aws.client("ecs").describe_task_definition, taskDefinition=arn)
    return str(((or_none(read) or {}).get("taskDefinition") or {}).get("taskRoleArn") or "")


def _rules(aws: Aws, group: str, direction: str) -> JsonValue:
    try:
        found = aws.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"]
    except NotFound:
        return None
    return _ordered(found[0].get(_RULES[direction]) or [])


def _ordered(rules: list[Object]) -> list[JsonValue]:
    """Return rules in an order of their own, as EC2 keeps none."""
    return sorted(({k: _inner(v) for k, v in rule.items()} for rule in rules), key=repr)


def _inner(value: Any) -> JsonValue:
    return sorted(value, key=repr) if isinstance(value, list) else value


def _tags(described: Object) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in described.get("tags") or ()}
