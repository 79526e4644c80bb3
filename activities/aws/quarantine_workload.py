"""Quarantine of a workload: an EKS pod with its node, or the tasks of ECS.

In a cluster, the access entry of Firedoor's role needs these rights in Kubernetes: to get and list
pods, services, service accounts, network policies, config maps, nodes, daemon sets, deployments,
replica sets, stateful sets and jobs; to patch pods and nodes; to create and delete network
policies.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import Field

from activities.aws import _ecs, _flows, _kubernetes, _neighbourhood, _pods, _preflight
from activities.aws._kubernetes import Kubernetes
from activities.aws._neighbourhood import Neighbourhood
from activities.aws._reading import GONE, counted, strings
from activities.aws._window import Window, proven, unproven
from firedoor.action import Action, Permissions, State, outstanding, receipt, restorable
from firedoor.cloud.aws import Aws, Permit
from firedoor.errors import AccessDenied, CloudError, NotFound, PlanStale, Refused
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import Call, Change, Check, Plan, Proof, Receipt, Target

HAPPENED_ALREADY = {"AlreadyExists", "InvalidPermission.Duplicate"}

PAUSES = (0.5, 1, 2, 4)
"""Seconds between looks whether what is to come first is done."""


class Params(Model):
    """What a runbook may set."""

    orphan: bool | None = Field(
        default=None,
        description="take away the labels by which its owner knows a pod, so that another starts in"
        " its place; by default where the policy engine enforces policies for pods without owner",
    )
    node: bool = Field(default=True, description="also let nothing new start on the pod's node")
    most_pods: int = Field(
        default=10,
        ge=1,
        le=100,  # of so many tasks ECS tells at once
        description="of a workload that is more than one pod, or of a service of tasks",
    )
    shared_groups: bool = Field(
        default=False,
        description="take the rules of a task's security groups away although others have them too",
    )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Cut an EKS pod or ECS tasks off, and keep them and the pod's node as they are.

    A pod is denied all traffic by a network policy and hidden from services and from its owner; its
    node takes nothing new. A task goes on running, without load balancers and security group rules;
    of a service, all tasks do.
    """
    subject = target.subject.id
    try:
        match subject.split("/"):
            case [arn, _, _] if arn.startswith("arn:") and arn.endswith((":task", ":service")):
                return _plan_tasks(target, params, aws)
            case [cluster, namespace, kind, name] if _plural(kind) in _neighbourhood.TYPES:
                return _plan_pods(target, params, aws, (cluster, namespace, kind, name))
            case [cluster] if target.subject.kind is Kind.CLUSTER:
                return (_plan_cluster(target, aws, cluster),)
    except Refused as refusal:
        return (_refused(target, str(refusal)),)
    return (
        _refused(
            target,
            f"{subject} does not say which pod or task it is: take the workload from the finding"
            " (cluster/namespace/pods/name, or the ARN of the task or its service), or isolate the"
            " instance",
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Make the changes that are still to be made.

    The plans of a step are carried out side by side, so one that is to come after another gives it
    a moment; it does not wait for what fails.
    """
    if not plan.calls:
        return receipt(plan)
    place = _place(plan, aws)
    if place:
        _after_others(place)
    now = place.state() if place else None
    if place is None or now is None:
        raise PlanStale(f"{plan.lease} {GONE}")
    todo = {change.resource for change in outstanding(plan, now)}
    place.expect_no_others(todo)
    # One call makes all changes of one thing.
    calls = zip(dict.fromkeys(c.resource for c in plan.changes), plan.calls, strict=True)
    with aws.only(plan.calls) as permit:
        for resource, call in calls:
            if resource in todo:
                _make(call, place, permit, [c for c in plan.changes if c.resource == resource])
    return receipt(plan, permit.made)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that all is as we set it, that nothing else allows traffic, and what logs say."""
    place = _place(plan, aws)
    now = place.state() if place else None
    if place is None or now is None:
        return proven(plan, [Check(name="it is there", ok=False, detail=f"{plan.lease} {GONE}")])
    values = [(change, now.get((change.resource, change.attribute))) for change in plan.changes]
    checks = [
        Check(
            name=f"{change.resource} {change.attribute} is as we set it",
            ok=value == change.after,
            detail=f"{value}",
        )
        for change, value in values
    ]
    return proven(plan, checks, *place.windows())


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Take back what still is as we set it, in reverse order."""
    if not plan.undo:
        return receipt(plan)
    place = _place(plan, aws)
    if place is None:
        return receipt(plan, left=(f"{plan.lease} {GONE}, nor does its cluster",))
    now = place.state()
    gone = (f"{plan.lease} {GONE}",) if now is None else ()
    now = place.remaining() if now is None else now
    there = [c for c in plan.changes if not gone or (c.resource, c.attribute) in now]
    ours, left = restorable(plan.model_copy(update={"changes": tuple(there)}), now)
    with aws.only(plan.undo) as permit:
        for change in ours:
            undo = plan.undo[-1 - plan.changes.index(change)]
            back = change.model_copy(update={"after": change.before})
            _make(undo, place, permit, [back])
    return receipt(plan, permit.made, left=(*gone, *left))


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.WORKLOAD, Kind.CLUSTER}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSecurityGroups",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
            "ecs:DescribeClusters",
            "ecs:DescribeContainerInstances",
            "ecs:DescribeServices",
            "ecs:DescribeTaskDefinition",
            "ecs:DescribeTasks",
            "ecs:GetTaskProtection",
            "ecs:ListTasks",
            "eks:DescribeCluster",
            "eks:DescribePodIdentityAssociation",
            "eks:ListAccessEntries",
            "eks:ListPodIdentityAssociations",
            "elasticloadbalancing:DescribeTargetHealth",
            *_preflight.PERMISSIONS,
        ),
        apply=(
            "ec2:DescribeSecurityGroups",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
            "ecs:DescribeTasks",
            "ecs:GetTaskProtection",
            "ecs:UpdateTaskProtection",
            "eks:DescribeCluster",
            "elasticloadbalancing:DeregisterTargets",
            "elasticloadbalancing:DescribeTargetHealth",
        ),
        verify=(
            "ec2:DescribeSecurityGroups",
            "ecs:DescribeTasks",
            "ecs:GetTaskProtection",
            "eks:DescribeCluster",
            "elasticloadbalancing:DescribeTargetHealth",
            *_flows.PERMISSIONS,
        ),
        revert=(
            "ec2:AuthorizeSecurityGroupEgress",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:DescribeSecurityGroups",
            "ecs:DescribeTasks",
            "ecs:GetTaskProtection",
            "ecs:UpdateTaskProtection",
            "eks:DescribeCluster",
            "elasticloadbalancing:DescribeTargetHealth",
            "elasticloadbalancing:RegisterTargets",
        ),
    ),
    # What has no network can fail its health check, and then another takes its place on the disk.
    evidence_first={Kind.WORKLOAD: ("snapshot_volumes",)},
    techniques=("T1496", "T1552.007", "T1609", "T1610", "T1611", "T1613"),
    countermeasures=("D3-ITF", "D3-NI", "D3-OTF"),
)


# Where a plan takes place


class _Cluster:
    """A pod or a node, in the API of its cluster."""

    def __init__(self, plan: Plan, api: Kubernetes) -> None:
        self.plan, self.api = plan, api

    def is_ready(self) -> bool:
        return _pods.is_ready(self.api, self.plan)

    def expect_no_others(self, todo: set[str]) -> None:
        """Do nothing: what is changed is the pod's or the node's own."""

    def state(self) -> State | None:
        return _pods.state(self.api, self.plan)

    def remaining(self) -> State:
        return _pods.remaining(self.api, self.plan)

    def make(self, call: Call, permit: Permit) -> None:
        self.api.call(call, permit)

    def windows(self) -> tuple[Window, ...]:
        if "namespace" not in self.plan.before:
            return ()
        address = self.plan.before["address"]
        # A flow log is one of the node's interface: which lines are the pod's, only its fields say.
        traffic = unproven(
            "traffic",
            "Kubernetes does not say whether packets pass: look for"
            f" {address} in pkt-srcaddr and pkt-dstaddr of its node's flow logs",
        )
        allowed = _pods.still_allowed(self.api, self.plan)
        others = unproven("other network policies", f"let traffic through: {', '.join(allowed)}")
        return (traffic, others) if allowed else (traffic,)


class _Task:
    """An ECS task or the security group of some, in the APIs of AWS."""

    def __init__(self, plan: Plan, aws: Aws) -> None:
        self.plan, self.aws = plan, aws

    def is_ready(self) -> bool:
        return _ecs.is_ready(self.aws, self.plan)

    def expect_no_others(self, todo: set[str]) -> None:
        _ecs.expect_no_others(self.aws, self.plan, todo)

    def state(self) -> State | None:
        return _ecs.state(self.aws, self.plan)

    def remaining(self) -> State:
        return _ecs.remaining(self.aws, self.plan)

    def make(self, call: Call, permit: Permit) -> None:  # noqa: ARG002 - clients know what is in force
        answer = self.aws.call(call)
        for failure in answer.get("failures") or ():  # which ECS reports as a success
            reason, detail = failure.get("reason", "failure"), failure.get("detail", "")
            raise CloudError(reason, detail or str(failure.get("arn")), call.operation)

    def windows(self) -> tuple[Window, ...]:
        interfaces = strings(self.plan.before["interfaces"])
        since, now = self.plan.target.at, datetime.now(UTC)
        dark = _flows.dark(self.aws, interfaces, since, now)
        left = strings(self.plan.before["left"])
        open_ = unproven("its security groups", f"{', '.join(left)} have their rules still")
        return (dark, open_) if left else (dark,)


def _place(plan: Plan, aws: Aws) -> "_Cluster | _Task | None":
    """Return where a plan takes place; None if its cluster does not exist any more."""
    if "interfaces" in plan.before:
        return _Task(plan, aws)
    api = _reached(aws, str(plan.before["cluster"]))
    return _Cluster(plan, api) if api else None


def _after_others(place: "_Cluster | _Task") -> None:
    with suppress(AccessDenied, NotFound):  # who cannot look does not wait
        for pause in PAUSES:
            if place.is_ready():
                return
            time.sleep(pause)


def _make(call: Call, place: "_Cluster | _Task", permit: Permit, changes: Sequence[Change]) -> None:
    """Make a call, unless somebody was faster with the same."""
    try:
        place.make(call, permit)
    except CloudError as error:
        if not (error.code in HAPPENED_ALREADY or isinstance(error, NotFound)):
            raise
        now = place.state()
        now = place.remaining() if now is None else now
        if any(now.get((c.resource, c.attribute), c.after) != c.after for c in changes):
            raise


# What plans hold


def _plan_pods(
    target: Target, params: Params, aws: Aws, where: tuple[str, str, str, str]
) -> tuple[Plan, ...]:
    cluster, namespace, kind, name = where
    api = _reached(aws, cluster)
    kind = _plural(kind)
    pods = None if api is None else _neighbourhood.of_workload(api, namespace, kind, name)
    if api is None or not pods:
        return (_gone(target, f"{kind.removesuffix('s')} {namespace}/{name} of {cluster}"),)
    if len(pods) > params.most_pods:
        raise Refused(
            f"{namespace}/{name} has {counted(len(pods), 'pod')}, more than most_pods"
            f" ({params.most_pods}): name the pods that are compromised, or scale it to none once"
            " the evidence is kept"
        )
    around = aws.together(*(partial(_neighbourhood.look_around, api, pod, aws) for pod in pods))
    nodes = {near.node["metadata"]["name"]: near.node for near in around if _is_node(near.node)}
    nodes = nodes if params.node else {}
    plans = [
        _pods.plan_pod(
            target,
            api,
            near,
            orphan=_orphaned(params, kind, near),
            whole=kind != "pods",
            node=here if (here := near.node["metadata"]["name"]) in nodes else None,
        )
        for near in around
    ]
    # Nodes first: what starts in the place of a pod is not to start beside it.
    return (*(_plan_node(target, api, node, around) for node in nodes.values()), *plans)


def _plan_node(
    target: Target, api: Kubernetes, node: dict[str, Any], around: list[Neighbourhood]
) -> Plan:
    name = node["metadata"]["name"]
    here = api.items("ListPodForAllNamespaces", fieldSelector=f"spec.nodeName={name}")
    ours = {near.pod["metadata"]["uid"] for near in around}
    others = sum(pod["metadata"]["uid"] not in ours for pod in here)
    return _pods.plan_node(target, api, node, others)


def _is_node(node: dict[str, Any]) -> bool:
    # A Fargate node is the pod's own and ends with it: there is nothing to cordon.
    labels = node["metadata"].get("labels") or {}
    return "uid" in node["metadata"] and labels.get(_neighbourhood.COMPUTE) != "fargate"


def _orphaned(params: Params, kind: str, near: Neighbourhood) -> bool:
    """Say whether a pod is taken from its owner.

    Not if all pods of the owner are meant, as the next ones would be the same.
    """
    if params.orphan is not None:
        return params.orphan
    unsure = {_neighbourhood.UNKNOWN, _neighbourhood.VPC_CNI}
    return kind == "pods" and near.engine.name not in unsure


def _plan_tasks(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    arn = target.subject.id
    arns = _ecs.of_service(aws, arn) if ":service/" in arn else [arn]
    if len(arns) > params.most_pods:
        raise Refused(
            f"{arn} has {counted(len(arns), 'task')}, more than most_pods ({params.most_pods}):"
            " name the tasks that are compromised"
        )
    found = aws.together(*(partial(_ecs.read, aws, one) for one in arns))
    tasks = [task for task in found if task is not None]
    if not tasks:
        return (_gone(target, arn if len(arns) == 1 else f"a task of {arn}"),)
    plans = _ecs.plan_tasks(target, tasks, aws, shared=params.shared_groups)
    return _preflight.asked(plans, aws)


def _plan_cluster(target: Target, aws: Aws, name: str) -> Plan:
    """Return what is to be done about a cluster as such, which is not one thing to be cut off."""
    if _reached(aws, name) is not None:
        entries = aws.pages("eks", "ListAccessEntries", "accessEntries", clusterName=name)
        return _refused(
            target,
            f"{name} is a whole cluster, and to cut it off would stop all of its workloads: name"
            " the pod (cluster/namespace/pods/name), or revoke the principal that called it",
        ).model_copy(
            update={
                "tasks": (
                    f"Look through the access entries of the EKS cluster {name} and its aws-auth"
                    " ConfigMap, and delete those that the attacker uses; done when only"
                    f" principals that need it are left of {', '.join(entries) or 'none'}",
                )
            }
        )
    found = aws.client("ecs").describe_clusters(clusters=[name])["clusters"]
    if not found:
        return _gone(target, f"the cluster {name}")
    return _refused(
        target,
        f"{name} is a whole ECS cluster: name the task or the service by its ARN, or isolate the"
        " instance",
    )


def _plural(kind: str) -> str:
    return f"{kind.lower().rstrip('s')}s"


def _reached(aws: Aws, cluster: str) -> Kubernetes | None:
    try:
        return _kubernetes.connect(aws, cluster)
    except NotFound:
        return None


def _gone(target: Target, what: str) -> Plan:
    return _refused(
        target, f"{what} {GONE}: keep what its logs and its host still show"
    ).model_copy(update={"gone": True})


def _refused(target: Target, why: str) -> Plan:
    id = target.subject.id
    return Plan(
        action=_pods.ACTION,
        target=target,
        lease=id,
        summary=f"{id} cannot be quarantined.",
        refusals=(why,),
    )
