"""What surrounds an EKS pod: its node, what selects it, what enforces policies, and whose it is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from activities.aws._kubernetes import Kubernetes
from activities.aws._reading import Blind, counted, or_none
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.plan import Check

VPC_CNI = "the VPC CNI"
UNKNOWN = "an engine that we may not look up"
AGENTS = {"aws-network-policy-agent", "aws-eks-nodeagent"}
OTHER_ENGINES = {
    "antrea-agent": "Antrea",
    "calico-node": "Calico",
    "cilium": "Cilium",
    "kube-router": "kube-router",
    "weave-net": "Weave Net",
}
COMPUTE = "eks.amazonaws.com/compute-type"
IRSA = "eks.amazonaws.com/role-arn"

OWNERS = {
    "DaemonSet": "ReadNamespacedDaemonSet",
    "Deployment": "ReadNamespacedDeployment",
    "Job": "ReadNamespacedJob",
    "ReplicaSet": "ReadNamespacedReplicaSet",
    "StatefulSet": "ReadNamespacedStatefulSet",
}
OWNER_OF_TYPE = {f"{kind.lower()}s": kind for kind in OWNERS}
TYPES = {"pods", *OWNER_OF_TYPE}
"""The types of workloads that have pods of their own, as GuardDuty names them."""

INGRESS, EGRESS = "Ingress", "Egress"

# What approvers are told about.
ENGINE = "network policies are enforced"
POLICIES = "no other network policy allows anything"

Labels = Mapping[str, str]
Object = dict[str, Any]


@dataclass(frozen=True)
class Engine:
    """What enforces network policies, and how far it is ready; no name means nothing does."""

    name: str
    ready: str = ""


@dataclass(frozen=True)
class Neighbourhood:
    """What a plan for a pod is made from."""

    pod: Object
    node: Object
    engine: Engine
    services: list[Object]
    policies: list[Object] | None  # none if we may not look
    pods: list[Object] | None
    owner: Object | None
    identity: tuple[str, ...]
    unread: tuple[Check, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the pod."""
        return dict(self.pod["metadata"].get("labels") or {})

    @property
    def name(self) -> str:
        """The pod with its namespace."""
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"


def of_workload(api: Kubernetes, namespace: str, kind: str, name: str) -> list[Object] | None:
    """Read the pods of a workload that still run; None if there is no such workload."""
    if kind == "pods":
        pod = or_none(partial(api.read, "ReadNamespacedPod", namespace=namespace, name=name))
        return [pod] if pod and not ended(pod) else None
    operation = OWNERS[OWNER_OF_TYPE[kind]]
    owner = or_none(partial(api.read, operation, namespace=namespace, name=name))
    if owner is None:
        return None
    selector = owner["spec"].get("selector") or {}
    return [
        pod
        for pod in api.items("ListNamespacedPod", namespace=namespace)
        if matches(selector, pod["metadata"].get("labels") or {}) and not ended(pod)
    ]


def look_around(api: Kubernetes, pod: Object, aws: Aws) -> Neighbourhood:
    """Read what surrounds a pod: its node, services, policies, owner, and whom AWS takes it for."""
    blind = Blind()
    listed = partial(api.items, namespace=pod["metadata"]["namespace"])
    nobody: Object = {"metadata": {"name": pod["spec"].get("nodeName") or ""}, "spec": {}}
    reads: list[Callable[[], Any]] = [
        partial(blind.tried, "its node", partial(node_of, api, pod), nobody),
        partial(blind.tried, "services", partial(listed, "ListNamespacedService"), []),
        partial(blind.tried, POLICIES, partial(listed, "ListNamespacedNetworkPolicy"), None),
        partial(blind.tried, "other pods", partial(listed, "ListNamespacedPod"), None),
        partial(blind.tried, "its owner", partial(_owner, api, pod), None),
        partial(_identity, api, pod),
    ]
    node, services, policies, pods, owner, identity = aws.together(*reads)
    engine = blind.tried(ENGINE, partial(_engine, api, node), Engine(UNKNOWN))
    return Neighbourhood(
        pod=pod,
        node=node,
        engine=engine,
        services=services,
        policies=policies,
        pods=pods,
        owner=owner,
        identity=identity,
        unread=blind.checks,
    )


def node_of(api: Kubernetes, pod: Object) -> Object:
    """Read the node that a pod is on; an empty one if it is on none yet."""
    name = pod["spec"].get("nodeName")
    found = or_none(partial(api.read, "ReadNode", name=name)) if name else None
    return found or {"metadata": {"name": name or ""}, "spec": {}}


def service_selector(service: Object) -> Object | None:
    """Return what a service selects; None if it selects no pods by itself."""
    selector = service["spec"].get("selector")
    return {"matchLabels": selector} if selector else None


def owner_selector(near: Neighbourhood) -> Object:
    """Return what the owner of a pod selects; nothing if it has none."""
    selector: Object = (near.owner or {}).get("spec", {}).get("selector") or {}
    return selector


# What is selected


def matches(selector: Mapping[str, Any], labels: Labels) -> bool:
    """Tell whether a label selector selects labels; an empty one selects all.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
    """
    exact = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in exact.items()) and all(
        _holds(test, labels) for test in selector.get("matchExpressions") or ()
    )


def keys(selector: Mapping[str, Any], labels: Labels) -> set[str]:
    """Return the labels without any one of which a selector that matches them would not match."""
    exact = set(selector.get("matchLabels") or {})
    tests = selector.get("matchExpressions") or ()
    needed = {test["key"] for test in tests if test["operator"] in {"In", "Exists"}}
    return (exact | needed) & labels.keys()


def allowing(
    policies: Iterable[Mapping[str, Any]], labels: Labels
) -> list[tuple[Mapping[str, Any], tuple[str, ...]]]:
    """Return the network policies that let traffic through for a pod, each with the directions.

    Policies add up: what one of them allows, no other denies.
    https://kubernetes.io/docs/concepts/services-networking/network-policies/#the-two-sorts-of-pod-isolation
    """
    return [
        (policy, directions)
        for policy in policies
        if matches(policy["spec"].get("podSelector") or {}, labels)
        and (directions := _allowed(policy["spec"]))
    ]


def to_strip(
    selectors: Sequence[Mapping[str, Any]], labels: Labels, kept: Iterable[str] = ()
) -> set[str]:
    """Return the labels to take away so that these selectors do not match any more, if that can be.

    A selector may match all the same: one that is empty, or that wants a label to be absent.
    """
    found = (keys(one, labels) for one in selectors if matches(one, labels))
    return set().union(*found) - set(kept)


# What is read


def ended(pod: Object) -> bool:
    """Tell whether a pod has come to its end."""
    return (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}


def controller(pod: Object) -> Object | None:
    """Return the reference to what owns a pod and replaces it."""
    references = pod["metadata"].get("ownerReferences") or ()
    return next((one for one in references if one.get("controller")), None)


def _owner(api: Kubernetes, pod: Object) -> Object | None:
    reference = controller(pod)
    if reference is None or reference["kind"] not in OWNERS:
        return None
    read = partial(
        api.read,
        OWNERS[reference["kind"]],
        namespace=pod["metadata"]["namespace"],
        name=reference["name"],
    )
    return or_none(read)


def _engine(api: Kubernetes, node: Object) -> Engine:
    for one in api.items("ListDaemonSetForAllNamespaces"):
        name = one["metadata"]["name"]
        if name in OTHER_ENGINES:
            return Engine(OTHER_ENGINES[name], _ready(one))
        if name == "aws-node" and any(map(_enforces, _containers(one))):
            return Engine(VPC_CNI, _ready(one))
    if (node["metadata"].get("labels") or {}).get(COMPUTE) == "auto":
        # In Auto Mode the agent is part of the node, and this says whether it does anything.
        read = partial(
            api.read, "ReadNamespacedConfigMap", namespace="kube-system", name="amazon-vpc-cni"
        )
        data = (or_none(read) or {}).get("data") or {}
        if data.get("enable-network-policy-controller") == "true":
            return Engine(VPC_CNI, " of Auto Mode")
    return Engine("")


def _containers(one: Object) -> list[Object]:
    containers: list[Object] = one["spec"]["template"]["spec"].get("containers") or []
    return containers


def _enforces(container: Object) -> bool:
    # https://docs.aws.amazon.com/eks/latest/userguide/cni-network-policy-configure.html
    words = [*(container.get("command") or ()), *(container.get("args") or ())]
    return container["name"] in AGENTS and "--enable-network-policy=true" in words


def _ready(one: Object) -> str:
    status = one.get("status") or {}
    wanted = status.get("desiredNumberScheduled")
    if wanted is None:
        return ""
    return f", ready on {status.get('numberReady', 0)} of {counted(wanted, 'node')}"


def _identity(api: Kubernetes, pod: Object) -> tuple[str, ...]:
    """Return what is left to do about whom AWS and Kubernetes take the pod for.

    Both roles and tokens belong to all pods of the service account, and what the pod was given
    works elsewhere and for hours, so this is for `revoke_credentials` and for people.
    """
    namespace = pod["metadata"]["namespace"]
    account = pod["spec"].get("serviceAccountName") or "default"
    roles: list[tuple[str, str]] = []
    unknown = ""
    for how, look in (("IRSA", _annotated), ("EKS Pod Identity", _associated)):
        try:
            roles += [(role, how) for role in look(api, namespace, account)]
        except CloudError as error:
            unknown += f"; whether it has a role by {how} could not be read: {error}"
    tasks = [
        f"Revoke the sessions of {role}, which the pod holds by {how} of service account"
        f" {namespace}/{account}: they work anywhere, for hours; done when CloudTrail shows only"
        " AccessDenied for sessions from before"
        for role, how in roles
    ]
    tasks.append(
        f"Look what role bindings give to service account {namespace}/{account} of {api.name},"
        " whose token works outside the pod, and take away what it could do harm with; done when"
        f" kubectl auth can-i --list --as=system:serviceaccount:{namespace}:{account} shows"
        f" no more than it needs{unknown}"
    )
    return tuple(tasks)


def _annotated(api: Kubernetes, namespace: str, account: str) -> list[str]:
    read = partial(api.read, "ReadNamespacedServiceAccount", namespace=namespace, name=account)
    notes = ((or_none(read) or {}).get("metadata") or {}).get("annotations") or {}
    return [notes[IRSA]] if IRSA in notes else []


def _associated(api: Kubernetes, namespace: str, account: str) -> list[str]:
    found = api.aws.pages(
        "eks",
        "ListPodIdentityAssociations",
        "associations",
        clusterName=api.name,
        namespace=namespace,
        serviceAccount=account,
    )
    client = api.aws.client("eks")
    return [
        client.describe_pod_identity_association(
            clusterName=api.name, associationId=one["associationId"]
        )["association"]["roleArn"]
        for one in found
    ]


def _allowed(spec: Mapping[str, Any]) -> tuple[str, ...]:
    default = [INGRESS, EGRESS] if spec.get("egress") else [INGRESS]
    types = spec.get("policyTypes") or default
    rules = {INGRESS: spec.get("ingress"), EGRESS: spec.get("egress")}
    return tuple(direction for direction in types if rules.get(direction))


def _holds(test: Mapping[str, Any], labels: Labels) -> bool:
    value = labels.get(test["key"])
    match test["operator"]:
        case "In":
            return value in (test.get("values") or ())
        case "NotIn":
            return value not in (test.get("values") or ())
        case "Exists":
            return value is not None
        case _:
            return value is None
