"""Quarantine of EKS pods, and of the nodes that they are on: what is planned and compared."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws._kubernetes import Kubernetes, planned
from activities.aws._neighbourhood import (
    COMPUTE,
    EGRESS,
    ENGINE,
    INGRESS,
    POLICIES,
    UNKNOWN,
    VPC_CNI,
    Neighbourhood,
    Object,
    allowing,
    controller,
    ended,
    keys,
    matches,
    owner_selector,
    service_selector,
    to_strip,
)
from activities.aws._reading import counted, or_none
from firedoor.action import State
from firedoor.model.plan import Call, Change, Check, Plan, Target, Touched

ACTION = "aws.quarantine_workload"

QUARANTINE = "firedoor/quarantine"
INCIDENT = "firedoor/incident"
UNSCHEDULABLE = "unschedulable"

# What keeps the autoscalers from deleting a pod or its node, and the evidence with them.
KEEP_POD = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
KEEP_NODE = {
    "cluster-autoscaler.kubernetes.io/scale-down-disabled": "true",
    "karpenter.sh/do-not-disrupt": "true",
}


def plan_pod(
    target: Target,
    api: Kubernetes,
    near: Neighbourhood,
    *,
    orphan: bool,
    whole: bool,
    node: str | None = None,
) -> Plan:
    """Return the plan that denies a pod all traffic, and takes it out of what selects it.

    `node` is the one that another plan of the same step lets nothing start on before.
    """
    metadata = near.pod["metadata"]
    mark = label_value(target.incident)
    stripped, left = _stripped(near, mark, orphan=orphan)
    resource = f"pod/{near.name}"
    held = _held(near)
    refusals = (*_refusals(near, orphan=orphan), *_taken(near))
    done = bool(held or refusals)
    changes, calls, undo = ((), (), ()) if done else _effects(target, api, near, mark, stripped)
    return Plan(
        action=ACTION,
        target=target,
        lease=f"{api.name}/{resource}",
        params={"orphan": orphan},
        summary=_summary(near, stripped, held, refusals),
        before={
            "cluster": api.name,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "address": near.pod.get("status", {}).get("podIP"),
            "node first": node,
            "still allowed": [*left],
        },
        changes=changes,
        calls=calls,
        undo=undo,
        blast_radius=() if refusals else tuple(_felt(near, stripped, orphan=orphan, whole=whole)),
        preflight=() if refusals else (*_checks(near, left), *map(api.allowed, calls)),
        lost=() if done else tuple(_lost(near, orphan=orphan)),
        touched=Touched(resources={resource: near.labels}, fleets=_fleets(near)),
        refusals=refusals,
        tasks=near.identity,
    )


def plan_node(target: Target, api: Kubernetes, node: Object, pods: int) -> Plan:
    """Return the plan that keeps a node as it is: nothing new on it, and nobody deletes it."""
    metadata = node["metadata"]
    resource = f"node/{metadata['name']}"
    now = _flat(resource, node)
    wanted = {(resource, UNSCHEDULABLE): True, **_annotations(resource, KEEP_NODE)}
    changes = _differences(now, wanted)
    patch = partial(planned, api.name, "PatchNode", name=metadata["name"])
    calls = (patch(body=_body(metadata["uid"], changes)),) if changes else ()
    return Plan(
        action=ACTION,
        target=target,
        lease=f"{api.name}/{resource}",
        summary=f"Let nothing new start on {resource}, and keep autoscalers from deleting it."
        if changes
        else f"On {resource} nothing new starts, and autoscalers leave it alone already.",
        before={"cluster": api.name, "name": metadata["name"], "uid": metadata["uid"]},
        changes=changes,
        calls=calls,
        undo=tuple(patch(body=_body(metadata["uid"], [c], back=True)) for c in reversed(changes)),
        blast_radius=(
            f"{counted(pods, 'other pod')} on {resource} go on as before, and nothing new starts",
            "Its security groups are left alone: to swap them would cut the kubelet off, and"
            " Kubernetes would delete its pods, and the evidence, after five minutes",
        ),
        preflight=tuple(map(api.allowed, calls)),
        touched=Touched(resources={resource: metadata.get("labels") or {}}),
        tasks=_node_tasks(node) if changes else (),
    )


def state(api: Kubernetes, plan: Plan) -> State | None:
    """Read what a plan changes, as it is now; None if the pod or node is not there any more."""
    if "namespace" not in plan.before:
        node = or_none(partial(api.read, "ReadNode", name=str(plan.before["name"])))
        if node is None or node["metadata"]["uid"] != plan.before["uid"]:
            return None
        return _flat(f"node/{plan.before['name']}", node)
    namespace, name = str(plan.before["namespace"]), str(plan.before["name"])
    pod = or_none(partial(api.read, "ReadNamespacedPod", namespace=namespace, name=name))
    if pod is None or pod["metadata"]["uid"] != plan.before["uid"]:
        return None
    return {**_flat(f"pod/{namespace}/{name}", pod), **remaining(api, plan)}


def remaining(api: Kubernetes, plan: Plan) -> State:
    """Read what a plan changes and the end of the pod or node leaves as it is: the policy."""
    if "namespace" not in plan.before:
        return {}
    namespace, name = str(plan.before["namespace"]), policy_name(str(plan.before["uid"]))
    read = partial(api.read, "ReadNamespacedNetworkPolicy", namespace=namespace, name=name)
    policy = or_none(read)
    return {(f"networkpolicy/{namespace}/{name}", "spec"): policy["spec"] if policy else None}


def is_ready(api: Kubernetes, plan: Plan) -> bool:
    """Tell whether nothing starts on the node any more that a pod is on, where that is planned."""
    if (name := plan.before.get("node first")) is None:
        return True
    node = or_none(partial(api.read, "ReadNode", name=str(name)))
    return node is None or bool(node["spec"].get("unschedulable"))


def still_allowed(api: Kubernetes, plan: Plan) -> list[str]:
    """Read which network policies let traffic through for a pod that is in quarantine."""
    namespace, name = str(plan.before["namespace"]), str(plan.before["name"])
    pod = or_none(partial(api.read, "ReadNamespacedPod", namespace=namespace, name=name))
    policies = api.items("ListNamespacedNetworkPolicy", namespace=namespace)
    labels = (pod or {"metadata": {}})["metadata"].get("labels") or {}
    return [_says(policy, ways) for policy, ways in allowing(policies, labels)]


def label_value(incident: str) -> str:
    """Return an incident's id as a label can have it: at most 63 characters, of which few kinds."""
    text = re.sub(r"[^A-Za-z0-9_.-]+", "-", incident).strip("-_.")
    if text == incident and len(text) <= 63:
        return text
    # What was left out may be all that tells two incidents apart.
    shown = text[:50].rstrip("-_.") or "incident"
    return f"{shown}.{hashlib.sha256(incident.encode()).hexdigest()[:12]}"


def policy_name(uid: str) -> str:
    """Return the name of a pod's quarantine policy: one for each pod, so that each is let go."""
    return f"firedoor-quarantine-{uid}"


# What is changed


def _effects(
    target: Target, api: Kubernetes, near: Neighbourhood, mark: str, stripped: set[str]
) -> tuple[tuple[Change, ...], tuple[Call, ...], tuple[Call, ...]]:
    metadata = near.pod["metadata"]
    namespace, uid = metadata["namespace"], metadata["uid"]
    resource, policy = f"pod/{near.name}", policy_name(uid)
    labels = {QUARANTINE: mark, **dict.fromkeys(sorted(stripped))}
    notes = {INCIDENT: target.incident, **KEEP_POD}
    wanted = {**_labels(resource, labels), **_annotations(resource, notes)}
    edits = _differences(_flat(resource, near.pod), wanted)
    spec = _denial(mark)
    body: JsonValue = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": policy, "annotations": {INCIDENT: target.incident}},
        "spec": spec,
    }
    made = Change(
        resource=f"networkpolicy/{namespace}/{policy}", attribute="spec", before=None, after=spec
    )
    patch = partial(
        planned, api.name, "PatchNamespacedPod", namespace=namespace, name=metadata["name"]
    )
    return (
        (made, *edits),
        # The policy first: it selects nobody until the pod is marked, and all of that is one patch.
        (
            planned(api.name, "CreateNamespacedNetworkPolicy", namespace=namespace, body=body),
            patch(body=_body(uid, edits)),
        ),
        (
            *(patch(body=_body(uid, [edit], back=True)) for edit in reversed(edits)),
            planned(api.name, "DeleteNamespacedNetworkPolicy", namespace=namespace, name=policy),
        ),
    )


def _denial(mark: str) -> dict[str, JsonValue]:
    return {
        "podSelector": {"matchLabels": {QUARANTINE: mark}},
        "policyTypes": [INGRESS, EGRESS],
    }


def _policy(near: Neighbourhood) -> Object | None:
    name = policy_name(near.pod["metadata"]["uid"])
    return next((one for one in near.policies or () if one["metadata"]["name"] == name), None)


def _held(near: Neighbourhood) -> str | None:
    """Return the mark of a pod that is in quarantine: a label that whoever set it means nothing."""
    mark, policy = near.labels.get(QUARANTINE), _policy(near)
    return mark if mark and policy and policy["spec"] == _denial(mark) else None


def _taken(near: Neighbourhood) -> tuple[str, ...]:
    """Say if the place of our policy is taken by another."""
    policy = _policy(near)
    if policy is None or _held(near):
        return ()
    return (
        f"network policy {policy['metadata']['name']} is there, but {near.name} is not marked for"
        " it: look who made it, delete it, and plan again",
    )


def _labels(resource: str, values: Mapping[str, JsonValue]) -> dict[tuple[str, str], JsonValue]:
    return {(resource, f"label {key}"): value for key, value in values.items()}


def _annotations(
    resource: str, values: Mapping[str, JsonValue]
) -> dict[tuple[str, str], JsonValue]:
    return {(resource, f"annotation {key}"): value for key, value in values.items()}


def _flat(resource: str, one: Object) -> dict[tuple[str, str], JsonValue]:
    metadata = one["metadata"]
    return {
        (resource, UNSCHEDULABLE): one["spec"].get("unschedulable"),
        **_labels(resource, metadata.get("labels") or {}),
        **_annotations(resource, metadata.get("annotations") or {}),
    }


def _differences(now: State, wanted: State) -> tuple[Change, ...]:
    return tuple(
        Change(resource=resource, attribute=name, before=now.get((resource, name)), after=after)
        for (resource, name), after in wanted.items()
        if now.get((resource, name)) != after
    )


def _body(uid: str, changes: Iterable[Change], *, back: bool = False) -> JsonValue:
    """Return the merge patch (RFC 7396) of changes, for this one object and no later namesake."""
    metadata: dict[str, JsonValue] = {"uid": uid}
    whole: dict[str, JsonValue] = {"metadata": metadata}
    maps: dict[str, dict[str, JsonValue]] = {}
    for change in changes:
        value = change.before if back else change.after
        kind, _, key = change.attribute.partition(" ")
        if key:
            maps.setdefault(f"{kind}s", {})[key] = value
        else:
            whole["spec"] = {kind: value}
    return {**whole, "metadata": {**metadata, **maps}}


def _stripped(near: Neighbourhood, mark: str, *, orphan: bool) -> tuple[set[str], tuple[str, ...]]:
    """Return the labels to take away, and which allows hold all the same."""
    allows = [p["spec"].get("podSelector") or {} for p, _ in _allows(near, near.labels)]
    services = [s for one in near.services if (s := service_selector(one))]
    owner = owner_selector(near)
    kept = set() if orphan else keys(owner, near.labels)
    if not orphan and controller(near.pod) and not near.owner:
        kept = set(near.labels)  # what its owner knows it by is not known to us
    wanted = [*services, *allows, *([owner] if orphan and owner else [])]
    stripped = to_strip(wanted, near.labels, kept)
    after = {k: v for k, v in near.labels.items() if k not in stripped} | {QUARANTINE: mark}
    return stripped, tuple(_says(policy, ways) for policy, ways in _allows(near, after))


def _allows(
    near: Neighbourhood, labels: Mapping[str, str]
) -> list[tuple[Mapping[str, Any], tuple[str, ...]]]:
    return allowing(near.policies or (), labels)


def _says(policy: Mapping[str, Any], ways: tuple[str, ...]) -> str:
    return f"{policy['metadata']['name']} ({' and '.join(way.lower() for way in ways)})"


# What an approver reads


def _summary(
    near: Neighbourhood, stripped: set[str], held: str | None, refusals: tuple[str, ...]
) -> str:
    """Return what the plan for a pod does, in a sentence."""
    if refusals:
        return f"The pod {near.name} cannot be quarantined."
    if held is not None:
        return f"The pod {near.name} is in quarantine already, for {held}."
    off = f", and take its labels {', '.join(sorted(stripped))} away" if stripped else ""
    return f"Deny the pod {near.name} all traffic{off}."


def _refusals(near: Neighbourhood, *, orphan: bool) -> tuple[str, ...]:
    """Return why a pod cannot be quarantined by a network policy, and what to do instead."""
    node = near.node["metadata"]["name"]
    labels = near.node["metadata"].get("labels") or {}
    instead = (
        "keep the evidence, evict the other pods of its node, and then isolate the node's instance"
    )
    found = []
    if near.pod["spec"].get("hostNetwork"):
        found.append(
            f"{near.name} uses the network of its node {node}, which no network policy governs:"
            f" {instead}"
        )
    if not near.engine.name:
        found.append(
            f"nothing in this cluster enforces network policies for {near.name}: turn the policies"
            f" of {VPC_CNI} on (enableNetworkPolicy), or {instead}"
        )
    if near.engine.name and labels.get(COMPUTE) == "fargate":
        found.append(
            f"{near.name} runs on Fargate, where {near.engine.name} enforces no policies: change"
            " the security groups of its SecurityGroupPolicy, or delete the pod once its evidence"
            " is kept"
        )
    if near.engine.name == VPC_CNI and labels.get("kubernetes.io/os") == "windows":
        found.append(
            f"{near.name} runs on Windows, where {VPC_CNI} enforces no network policies: {instead}"
        )
    # https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy.html, considerations
    if near.engine.name == VPC_CNI and (orphan or not controller(near.pod)):
        why = "would be left without an owner" if controller(near.pod) else "has no owner"
        other = "set orphan: false, or " if controller(near.pod) else ""
        found.append(
            f"{near.name} {why}, and AWS does not say that {VPC_CNI} enforces network policies for"
            f" such pods: {other}{instead}"
        )
    return tuple(found)


def _felt(near: Neighbourhood, stripped: set[str], *, orphan: bool, whole: bool) -> Iterator[str]:
    """Yield who and what else feels the quarantine of a pod."""
    after = {k: v for k, v in near.labels.items() if k not in stripped}
    for service in near.services:
        selector = service_selector(service)
        if selector is None or not matches(selector, near.labels):
            continue
        behind = _told(_others(near, selector))
        name = service["metadata"]["name"]
        if matches(selector, after):
            yield (
                f"Service {name} goes on sending it requests, which fail, as its owner needs the"
                f" same labels; behind it there is still {behind}"
            )
        else:
            yield f"Service {name} loses it, and has {behind} left"
    if owner := near.owner:
        kind, name = owner["kind"], owner["metadata"]["name"]
        of = f"{kind} {name}"
        if not orphan:
            yield f"{of} keeps it, and starts no other in its place"
        elif kind == "StatefulSet":
            yield f"{of} lets it go, and can start no other of this name until it is gone"
        else:
            where = " and on the same node, cordoned or not" if kind == "DaemonSet" else ""
            yield f"{of} lets it go, and starts another from the same template in its place{where}"
        here = near.pod["spec"].get("nodeName")
        same = _others(near, owner_selector(near), node=here)
        if not orphan and near.engine.name in {VPC_CNI, UNKNOWN} and same != 0:
            yield (
                f"T{VPC_CNI[1:]} may deny the same to {_told(same)} of {of} on {here}: it keeps"
                " policies by the name of the owner"
            )
    if whole:
        yield "What its owner starts next comes from the same template, which may be the attacker's"
    yield "Open connections are cut at once or when they end, as the policy engine has it"
    yield "Its own node can still reach it, as no network policy denies that"


def _checks(near: Neighbourhood, left: tuple[str, ...]) -> Iterator[Check]:
    """Yield what was found out about whether the quarantine holds."""
    if near.engine.name != UNKNOWN:
        detail = f"by {near.engine.name}{near.engine.ready}"
        yield Check(name=ENGINE, ok=True, detail=detail)
    if near.policies is not None:
        yield Check(
            name=POLICIES,
            ok=not left,
            detail=f"policies add up, and these let traffic through all the same: {', '.join(left)}"
            if left
            else "policies of kinds that are not Kubernetes' own were not looked at",
        )
    yield from near.unread


def _lost(near: Neighbourhood, *, orphan: bool) -> Iterator[str]:
    """Yield what undo cannot bring back."""
    yield "Connections that are cut"
    if orphan and near.owner and near.owner["kind"] != "StatefulSet":
        of = f"{near.owner['kind']} {near.owner['metadata']['name']}"
        yield (
            f"When its labels are back, {of} has one pod too many, and deletes one: perhaps this,"
            " with what is on its disk and in its memory"
        )


def _fleets(near: Neighbourhood) -> dict[str, int]:
    """Return what a pod is one of, and how many of it run."""
    if near.owner is None:
        return {}
    others = _others(near, owner_selector(near))
    if others is None:
        return {}
    return {f"{near.owner['kind'].lower()}/{near.owner['metadata']['name']}": others + 1}


def _told(others: int | None) -> str:
    return "an unknown number of other pods" if others is None else counted(others, "other pod")


def _others(near: Neighbourhood, selector: Mapping[str, Any], *, node: str = "") -> int | None:
    if near.pods is None:
        return None
    return sum(
        matches(selector, one["metadata"].get("labels") or {})
        for one in near.pods
        if one["metadata"]["uid"] != near.pod["metadata"]["uid"]
        and not ended(one)
        and node in {"", one["spec"].get("nodeName")}
    )


def _node_tasks(node: Object) -> tuple[str, ...]:
    """Return what is left to people about a node: its instance is not the cluster's."""
    instance = str(node["spec"].get("providerID") or "").rpartition("/")[2]
    if not re.fullmatch("i-[0-9a-f]+", instance):
        return ()
    return (
        f"Protect the instance {instance} of node {node['metadata']['name']} from termination and"
        " its Auto Scaling group from replacing it (scale-in protection, AZRebalance suspended),"
        " and snapshot its volumes; done when DescribeInstanceAttribute shows"
        " disableApiTermination and the snapshots have started",
    )
