"""What an approver reads of a pod's quarantine: why not, who feels it, what cannot come back."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from activities.aws import _selectors
from activities.aws._neighbourhood import (
    COMPUTE,
    VPC_CNI,
    Neighbourhood,
    Object,
    controller,
    ended,
    owner_selector,
    service_selector,
)
from activities.aws._reading import counted
from firedoor.model.plan import Check


def summary(
    near: Neighbourhood, stripped: set[str], held: str | None, refusals: tuple[str, ...]
) -> str:
    """Return what the plan for a pod does, in a sentence."""
    if refusals:
        return f"The pod {near.name} cannot be quarantined."
    if held is not None:
        return f"The pod {near.name} is in quarantine already, for {held}."
    off = f", and take its labels {', '.join(sorted(stripped))} away" if stripped else ""
    return f"Deny the pod {near.name} all traffic{off}."


def refusals(near: Neighbourhood, *, orphan: bool) -> tuple[str, ...]:
    """Return why a pod cannot be quarantined by a network policy, and what to do instead."""
    node = near.node["metadata"]["name"]
    labels = near.node["metadata"].get("labels") or {}
    instead = "keep the evidence, and then isolate the instance of its node"
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


def felt(near: Neighbourhood, stripped: set[str], *, orphan: bool, whole: bool) -> Iterator[str]:
    """Yield who and what else feels the quarantine of a pod."""
    after = {k: v for k, v in near.labels.items() if k not in stripped}
    for service in near.services:
        selector = service_selector(service)
        if selector is None or not _selectors.matches(selector, near.labels):
            continue
        behind = _others(near, selector)
        name = service["metadata"]["name"]
        if _selectors.matches(selector, after):
            yield (
                f"Service {name} goes on sending it requests, which fail, as its owner needs the"
                f" same labels; {counted(behind, 'other pod')} serve"
            )
        else:
            yield f"Service {name} loses it; {counted(behind, 'other pod')} serve"
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
        if not orphan and near.engine.name == VPC_CNI:
            here = near.pod["spec"].get("nodeName")
            same = _others(near, owner_selector(near), node=here)
            yield (
                f"T{VPC_CNI[1:]} may deny the same to other pods of {of} on {here}, of"
                f" which there are {same}: it keeps policies by the name of the owner"
            )
    if whole:
        yield "What its owner starts next comes from the same template, which may be the attacker's"
    yield "Open connections are cut at once or when they end, as the policy engine has it"
    yield "Its own node can still reach it, as no network policy denies that"


def checks(near: Neighbourhood, left: tuple[str, ...]) -> Iterator[Check]:
    """Yield what was found out about whether the quarantine holds."""
    yield Check(
        name="network policies are enforced",
        ok=True,
        detail=f"by {near.engine.name}{near.engine.ready}",
    )
    yield Check(
        name="no other network policy allows anything",
        ok=not left,
        detail=f"policies add up, and these let traffic through all the same: {', '.join(left)}"
        if left
        else "policies of kinds that are not Kubernetes' own were not looked at",
    )


def lost(near: Neighbourhood, *, orphan: bool) -> Iterator[str]:
    """Yield what undo cannot bring back."""
    yield "Connections that are cut"
    if orphan and near.owner and near.owner["kind"] != "StatefulSet":
        of = f"{near.owner['kind']} {near.owner['metadata']['name']}"
        yield (
            f"When its labels are back, {of} has one pod too many, and deletes one: perhaps this,"
            " with what is on its disk and in its memory"
        )


def fleets(near: Neighbourhood) -> dict[str, int]:
    """Return what a pod is one of, and how many of it run."""
    if near.owner is None:
        return {}
    name = f"{near.owner['kind'].lower()}/{near.owner['metadata']['name']}"
    return {name: _others(near, owner_selector(near)) + 1}


def _others(near: Neighbourhood, selector: Mapping[str, Any], *, node: str = "") -> int:
    return sum(
        _selectors.matches(selector, one["metadata"].get("labels") or {})
        for one in near.pods
        if one["metadata"]["uid"] != near.pod["metadata"]["uid"]
        and not ended(one)
        and node in {"", one["spec"].get("nodeName")}
    )


def node_tasks(node: Object) -> tuple[str, ...]:
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
