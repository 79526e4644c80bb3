"""What surrounds an EKS pod: its node, what selects it, what enforces policies, and whose it is."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from activities.aws import _selectors
from activities.aws._kubernetes import Kubernetes
from activities.aws._reading import counted, or_none
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError

VPC_CNI = "the VPC CNI"
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
    policies: list[Object]
    pods: list[Object]
    owner: Object | None
    identity: tuple[str, ...]

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
        if _selectors.matches(selector, pod["metadata"].get("labels") or {}) and not ended(pod)
    ]


def look_around(api: Kubernetes, pod: Object, aws: Aws) -> Neighbourhood:
    """Read what surrounds a pod: its node, services, policies, owner, and whom AWS takes it for."""
    namespace = pod["metadata"]["namespace"]
    listed = partial(api.items, namespace=namespace)
    reads: list[Callable[[], Any]] = [
        lambda: node_of(api, pod),
        lambda: api.items("ListDaemonSetForAllNamespaces"),
        lambda: listed("ListNamespacedService"),
        lambda: listed("ListNamespacedNetworkPolicy"),
        lambda: listed("ListNamespacedPod"),
        lambda: _owner(api, pod),
        lambda: _identity(api, pod),
    ]
    node, sets, services, policies, pods, owner, identity = aws.together(*reads)
    return Neighbourhood(
        pod=pod,
        node=node,
        engine=_engine(api, sets, node),
        services=services,
        policies=policies,
        pods=pods,
        owner=owner,
        identity=identity,
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


def _engine(api: Kubernetes, sets: list[Object], node: Object) -> Engine:
    for one in sets:
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
    read = partial(api.read, "ReadNamespacedServiceAccount", namespace=namespace, name=account)
    notes = ((or_none(read) or {}).get("metadata") or {}).get("annotations") or {}
    roles = [(notes[IRSA], "IRSA")] if IRSA in notes else []
    try:
        roles += [(role, "EKS Pod Identity") for role in _pod_identity(api, namespace, account)]
        unknown = ""
    except CloudError as error:
        unknown = f"; its Pod Identity associations could not be read: {error}"
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


def _pod_identity(api: Kubernetes, namespace: str, account: str) -> list[str]:
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
