import base64
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest

from activities.aws import _kubernetes, quarantine_workload
from activities.aws._kubernetes import Kubernetes
from activities.aws._pods import INCIDENT, KEEP_NODE, KEEP_POD, QUARANTINE, label_value, policy_name
from firedoor import errors
from firedoor.cloud.aws import Aws
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Call, Outcome, Plan, Target, Verdict
from firedoor.testing import ACCOUNT, NOW

ROLE = f"arn:aws:iam::{ACCOUNT}:role/shop"
SHOP = "/api/v1/namespaces/shop"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies"
SETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
Object = dict[str, Any]


@dataclass
class Cluster:
    """The emulated cluster `prod`, free to be changed."""

    api: Kubernetes

    def make(self, path: str, name: str, **members: Any) -> Object:
        metadata = {"name": name, **members.pop("metadata", {})}
        return self.ask("POST", path, {"metadata": metadata, **members})

    def ask(self, method: str, path: str, body: Any = None) -> Object:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self.api._token}", "Content-Type": kind}
        answer = self.api._client.call_api(method, self.api._endpoint + path, headers, body)
        assert answer.status < 300, answer.read()
        return json.loads(answer.read())

    def state(self) -> dict[str, Object]:
        """All that undo must bring back, without what counts the changes."""
        listed = [
            one
            for path in (f"{SHOP}/pods", "/api/v1/nodes", POLICIES)
            for one in self.ask("GET", path)["items"]
        ]
        for one in listed:
            del one["metadata"]["resourceVersion"]
        return {f"{one['kind']}/{one['metadata']['name']}": one for one in listed}

    def pods(self) -> list[Object]:
        return list(self.ask("GET", f"{SHOP}/pods")["items"])

    def engine(self, name: str = "calico-node", **container: Any) -> None:
        containers = [{"name": name, **container}]
        self.make(SETS, name, spec={"template": {"spec": {"containers": containers}}})

    def fail(self, **fault: Any) -> None:
        self.ask("POST", "/faults", [fault])


@pytest.fixture
def cluster(aws: Aws) -> Iterator[Cluster]:
    role = f"arn:aws:iam::{ACCOUNT}:role/cluster"
    boto3.client("eks").create_cluster(
        name="prod", roleArn=role, resourcesVpcConfig={"subnetIds": []}
    )
    found = Cluster(_kubernetes.connect(aws, "prod"))
    found.make("/api/v1/nodes", "node-1", spec={"providerID": "aws:///us-east-1a/i-0aaa"})
    found.make("/api/v1/nodes", "node-2")
    found.make(f"{SHOP}/serviceaccounts", "web")
    found.make(f"{SHOP}/services", "web", spec={"selector": {"app": "web"}})
    found.make(
        "/apis/apps/v1/namespaces/shop/replicasets",
        "web",
        spec={
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web", "hash": "1"}},
            "template": {
                "metadata": {"labels": {"app": "web", "hash": "1", "team": "shop"}},
                "spec": {"containers": [{"name": "web"}], "serviceAccountName": "web"},
            },
        },
    )
    yield found
    found.api._client.rest_client.close()


def _target(id: str, kind: Kind = Kind.WORKLOAD) -> Target:
    subject = Resource(cloud=Cloud.AWS, account=ACCOUNT, region="us-east-1", kind=kind, id=id)
    return Target(subject=subject, incident="aws/123/i-1", step="quarantine", at=NOW)


def _plans(aws: Aws, pod: Object, **params: Any) -> tuple[Plan, ...]:
    target = _target(f"prod/shop/pods/{pod['metadata']['name']}")
    return quarantine_workload.plan(target, quarantine_workload.Params(**params), aws)


def _pod_plan(aws: Aws, pod: Object, **params: Any) -> Plan:
    return _plans(aws, pod, node=False, **params)[0]


def _apply_all(aws: Aws, plans: tuple[Plan, ...]) -> None:
    for plan in plans:
        quarantine_workload.apply(plan, aws)


def _revert_all(aws: Aws, plans: tuple[Plan, ...]) -> list[str]:
    return [left for plan in reversed(plans) for left in quarantine_workload.revert(plan, aws).left]


def _read(cluster: Cluster, pod: Object) -> Object:
    return cluster.ask("GET", f"{SHOP}/pods/{pod['metadata']['name']}")


# EKS: what is done


def test_a_pod_is_marked_denied_and_hidden_from_service_and_owner(
    aws: Aws, cluster: Cluster
) -> None:
    cluster.engine()
    pod = cluster.pods()[0]

    plan = _pod_plan(aws, pod)
    quarantine_workload.apply(plan, aws)

    metadata = _read(cluster, pod)["metadata"]
    (policy,) = cluster.ask("GET", POLICIES)["items"]
    mark = label_value("aws/123/i-1")
    assert metadata["labels"] == {"team": "shop", QUARANTINE: mark}
    assert metadata["annotations"] == {INCIDENT: "aws/123/i-1", **KEEP_POD}
    assert "ownerReferences" not in metadata
    assert policy["spec"] == {
        "podSelector": {"matchLabels": {QUARANTINE: mark}},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_the_owner_starts_another_pod_and_the_approver_is_told(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]

    plan = _pod_plan(aws, pod)
    quarantine_workload.apply(plan, aws)

    assert len(cluster.pods()) == 3
    assert {
        "Service web loses it, and has 1 other pod left",
        "ReplicaSet web lets it go, and starts another from the same template in its place",
    } <= set(plan.blast_radius)
    assert any("one pod too many" in line for line in plan.lost)
    assert plan.touched.fleets == {"replicaset/web": 2}


def test_the_node_takes_nothing_new_and_comes_before_its_pods(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    name = pod["spec"]["nodeName"]

    plans = _plans(aws, pod)
    _apply_all(aws, plans)

    node = cluster.ask("GET", f"/api/v1/nodes/{name}")
    assert [plan.lease.split("/")[1] for plan in plans] == ["node", "pod"]
    assert node["spec"]["unschedulable"] is True
    assert node["metadata"]["annotations"] == KEEP_NODE
    others = [p for p in cluster.pods() if p["metadata"]["uid"] != pod["metadata"]["uid"]]
    assert all(p["spec"]["nodeName"] != name for p in others)


def test_a_pod_lets_its_node_be_cordoned_first_but_not_for_long(
    aws: Aws, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.engine()
    node, pod = _plans(aws, cluster.pods()[0])
    path = f"/api/v1/nodes/{pod.before['node first']}"
    looked: list[float] = []

    def cordon(pause: float) -> None:
        looked.append(pause)
        if len(looked) == 2:
            quarantine_workload.apply(node, aws)
        assert cluster.ask("GET", POLICIES)["items"] == []

    monkeypatch.setattr(time, "sleep", cordon)
    quarantine_workload.apply(pod, aws)
    waited = len(looked)
    quarantine_workload.revert(pod, aws)
    cluster.ask("PATCH", path, {"spec": {"unschedulable": None}})
    quarantine_workload.apply(pod, aws)

    assert waited == 2
    assert len(looked) == 2 + len(quarantine_workload.PAUSES)
    assert len(cluster.ask("GET", POLICIES)["items"]) == 1


def test_no_plan_touches_the_security_groups_of_a_node(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()

    plans = _plans(aws, cluster.pods()[0])

    assert {call.service for plan in plans for call in plan.calls} == {"kubernetes"}
    assert any("security groups are left alone" in line for line in plans[0].blast_radius)


@pytest.mark.parametrize("where", [0, 1])
def test_undo_brings_everything_back(aws: Aws, cluster: Cluster, where: int) -> None:
    cluster.engine()
    pod = cluster.pods()[where]
    before = cluster.state()

    plans = _plans(aws, pod)
    _apply_all(aws, plans)
    _revert_all(aws, plans)

    after = cluster.state()
    kept = f"Pod/{pod['metadata']['name']}"
    assert after[kept] == before[kept]
    assert after == before


def test_twice_is_once_both_ways(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    before = cluster.state()
    plans = _plans(aws, cluster.pods()[0])

    _apply_all(aws, plans)
    once = cluster.state()
    again = [call for plan in plans for call in quarantine_workload.apply(plan, aws).calls]
    twice = cluster.state()
    _revert_all(aws, plans)
    _revert_all(aws, plans)

    assert (again, twice) == ([], once)
    assert cluster.state() == before


def test_a_node_that_was_cordoned_stays_so(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    path = f"/api/v1/nodes/{pod['spec']['nodeName']}"
    cluster.ask("PATCH", path, {"spec": {"unschedulable": True}})
    before = cluster.state()

    plans = _plans(aws, pod)
    _apply_all(aws, plans)
    _revert_all(aws, plans)

    assert cluster.state() == before
    assert cluster.ask("GET", path)["spec"]["unschedulable"] is True


def test_a_label_that_somebody_changed_since_is_left_alone(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    plan = _pod_plan(aws, pod)
    quarantine_workload.apply(plan, aws)
    path = f"{SHOP}/pods/{pod['metadata']['name']}"
    cluster.ask("PATCH", path, {"metadata": {"labels": {"app": "other"}}})

    left = quarantine_workload.revert(plan, aws).left

    labels = _read(cluster, pod)["metadata"]["labels"]
    assert labels == {"app": "other", "hash": "1", "team": "shop"}
    assert [line.split(" was")[0] for line in left] == [
        f"pod/shop/{pod['metadata']['name']} label app"
    ]


def test_a_label_that_changed_before_makes_the_plan_stale(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    plan = _pod_plan(aws, pod)
    path = f"{SHOP}/pods/{pod['metadata']['name']}"
    cluster.ask("PATCH", path, {"metadata": {"labels": {"app": "other"}}})

    with pytest.raises(errors.PlanStale):
        quarantine_workload.apply(plan, aws)

    assert cluster.ask("GET", POLICIES)["items"] == []


def test_a_namesake_of_a_pod_that_ended_is_not_touched(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    plan = _pod_plan(aws, pod)
    cluster.ask("DELETE", f"{SHOP}/pods/{pod['metadata']['name']}")
    cluster.make(f"{SHOP}/pods", pod["metadata"]["name"], spec={})

    with pytest.raises(errors.PlanStale):
        quarantine_workload.apply(plan, aws)


def test_the_policy_of_a_pod_that_is_gone_is_still_taken_back(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    plan = _pod_plan(aws, pod)
    quarantine_workload.apply(plan, aws)
    cluster.ask("DELETE", f"{SHOP}/pods/{pod['metadata']['name']}")

    left = quarantine_workload.revert(plan, aws).left

    assert cluster.ask("GET", POLICIES)["items"] == []
    assert left == (f"{plan.lease} does not exist any more",)


def test_two_pods_of_one_incident_are_let_go_one_by_one(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    plans = [_pod_plan(aws, pod) for pod in cluster.pods()]
    for plan in plans:
        quarantine_workload.apply(plan, aws)

    quarantine_workload.revert(plans[0], aws)

    assert quarantine_workload.verify(plans[1], aws).verdict is Verdict.UNPROVEN
    assert len(cluster.ask("GET", POLICIES)["items"]) == 1


def test_a_pod_in_quarantine_needs_nothing_more(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    quarantine_workload.apply(_pod_plan(aws, pod), aws)

    again = _pod_plan(aws, pod)

    assert (again.changes, again.calls, again.undo) == ((), (), ())
    assert "in quarantine already" in again.summary


def test_a_pod_that_marks_itself_is_not_believed(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    path = f"{SHOP}/pods/{pod['metadata']['name']}"
    cluster.ask("PATCH", path, {"metadata": {"labels": {QUARANTINE: "forged"}}})
    before = cluster.state()

    plan = _pod_plan(aws, pod)
    quarantine_workload.apply(plan, aws)
    mark = _read(cluster, pod)["metadata"]["labels"][QUARANTINE]
    quarantine_workload.revert(plan, aws)

    assert mark == label_value("aws/123/i-1")
    assert cluster.state() == before


def test_a_policy_that_has_our_name_already_is_refused(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    name = policy_name(pod["metadata"]["uid"])
    cluster.make(POLICIES, name, spec={"podSelector": {}, "ingress": [{}]})

    assert "look who made it" in _pod_plan(aws, pod).refusals[0]


# EKS: what would not hold


def test_without_a_policy_engine_it_is_refused(aws: Aws, cluster: Cluster) -> None:
    cluster.make(
        SETS, "aws-node", spec={"template": {"spec": {"containers": [{"name": "aws-node"}]}}}
    )

    plan = _pod_plan(aws, cluster.pods()[0])

    assert "nothing in this cluster enforces network policies" in plan.refusals[0]
    assert plan.calls == ()


@pytest.mark.parametrize(
    ("words", "refused"),
    [("--enable-network-policy=true", False), ("--enable-network-policy=false", True)],
)
def test_the_vpc_cni_enforces_only_when_it_is_told_to(
    aws: Aws, cluster: Cluster, words: str, refused: bool
) -> None:
    agent = {"name": "aws-eks-nodeagent", "args": [words]}
    containers = [{"name": "aws-node"}, agent]
    cluster.make(SETS, "aws-node", spec={"template": {"spec": {"containers": containers}}})

    plan = _pod_plan(aws, cluster.pods()[0])

    assert bool(plan.refusals) is refused


@pytest.fixture
def vpc_cni(cluster: Cluster) -> Cluster:
    agent = {"name": "aws-network-policy-agent", "args": ["--enable-network-policy=true"]}
    cluster.make(SETS, "aws-node", spec={"template": {"spec": {"containers": [agent]}}})
    return cluster


def test_under_the_vpc_cni_a_pod_keeps_its_owner(aws: Aws, vpc_cni: Cluster) -> None:
    pod = vpc_cni.pods()[0]

    plan = _pod_plan(aws, pod)
    quarantine_workload.apply(plan, aws)

    metadata = _read(vpc_cni, pod)["metadata"]
    assert metadata["labels"] == {
        "app": "web", "hash": "1", "team": "shop", QUARANTINE: label_value("aws/123/i-1"),
    }  # fmt: skip
    assert metadata["ownerReferences"] == pod["metadata"]["ownerReferences"]
    assert any("goes on sending it requests, which fail" in line for line in plan.blast_radius)


def test_under_the_vpc_cni_pods_of_the_same_owner_and_node_may_feel_it(
    aws: Aws, vpc_cni: Cluster
) -> None:
    vpc_cni.ask("PATCH", "/api/v1/nodes/node-2", {"spec": {"unschedulable": True}})
    owners = "/apis/apps/v1/namespaces/shop/replicasets/web"
    vpc_cni.ask("PATCH", owners, {"spec": {"replicas": 4}})
    pod = next(one for one in vpc_cni.pods() if one["spec"]["nodeName"] == "node-1")

    plan = _pod_plan(aws, pod)

    told = "may deny the same to 2 other pods of ReplicaSet web on node-1"
    assert any(told in line for line in plan.blast_radius)


def test_a_pod_whose_owner_we_cannot_read_keeps_its_labels(aws: Aws, vpc_cni: Cluster) -> None:
    owner = {"apiVersion": "v1", "kind": "Workflow", "name": "w", "uid": "u", "controller": True}
    made = {"labels": {"app": "web", "job": "w"}, "ownerReferences": [owner]}
    pod = vpc_cni.make(f"{SHOP}/pods", "odd", metadata=made, spec={"containers": []})

    plan = _pod_plan(aws, pod)

    assert [c.attribute for c in plan.changes if c.after is None] == []
    assert plan.calls != ()


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("services", "services"),
        ("networkpolicies", "no other network policy allows anything"),
        ("pods$", "other pods"),
        ("replicasets/web", "its owner"),
        ("daemonsets", "network policies are enforced"),
        ("nodes/", "its node"),
        ("serviceaccounts/web", ""),
    ],
)
def test_what_we_may_not_look_at_is_a_remark(
    aws: Aws, cluster: Cluster, path: str, missing: str
) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    cluster.fail(method="GET", status=403, path=path, times=9)

    plan = _pod_plan(aws, pod)

    assert (plan.refusals, len(plan.calls)) == ((), 2)
    assert [c.name for c in plan.preflight if not c.ok] == ([missing] if missing else [])
    assert missing or any("IRSA could not be read" in task for task in plan.tasks)


def test_a_cluster_that_is_gone_leaves_nothing_to_take_back(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    plan = _pod_plan(aws, cluster.pods()[0])
    quarantine_workload.apply(plan, aws)
    boto3.client("eks").delete_cluster(name="prod")

    proof = quarantine_workload.verify(plan, aws)
    receipt = quarantine_workload.revert(plan, aws)

    assert (proof.verdict, receipt.calls) == (Verdict.DRIFTED, ())
    assert receipt.left == (f"{plan.lease} does not exist any more, nor does its cluster",)
    with pytest.raises(errors.PlanStale):
        quarantine_workload.apply(plan, aws)


def test_under_the_vpc_cni_a_pod_without_owner_is_refused(aws: Aws, vpc_cni: Cluster) -> None:
    alone = vpc_cni.make(f"{SHOP}/pods", "alone", spec={})

    plans = [_pod_plan(aws, alone), _pod_plan(aws, vpc_cni.pods()[1], orphan=True)]

    assert "has no owner" in plans[0].refusals[0]
    assert "would be left without an owner" in plans[1].refusals[0]


def test_auto_mode_enforces_where_its_map_says_so(aws: Aws, cluster: Cluster) -> None:
    pod = cluster.pods()[0]
    labels = {"eks.amazonaws.com/compute-type": "auto"}
    cluster.ask(
        "PATCH", f"/api/v1/nodes/{pod['spec']['nodeName']}", {"metadata": {"labels": labels}}
    )
    refused = _pod_plan(aws, pod).refusals

    cluster.make(
        "/api/v1/namespaces/kube-system/configmaps",
        "amazon-vpc-cni",
        data={"enable-network-policy-controller": "true"},
    )

    assert refused
    assert _pod_plan(aws, pod).refusals == ()


@pytest.mark.parametrize(
    ("label", "value", "word"),
    [
        ("eks.amazonaws.com/compute-type", "fargate", "Fargate"),
        ("kubernetes.io/os", "windows", "Windows"),
    ],
)
def test_nodes_that_the_vpc_cni_does_not_govern_are_refused(
    aws: Aws, vpc_cni: Cluster, label: str, value: str, word: str
) -> None:
    pod = vpc_cni.pods()[0]
    vpc_cni.ask(
        "PATCH",
        f"/api/v1/nodes/{pod['spec']['nodeName']}",
        {"metadata": {"labels": {label: value}}},
    )

    assert word in _pod_plan(aws, pod).refusals[0]


def test_a_pod_on_its_nodes_network_is_refused(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.make(f"{SHOP}/pods", "host", spec={"hostNetwork": True})

    plan = _pod_plan(aws, pod)

    assert "uses the network of its node" in plan.refusals[0]


def test_a_refused_pod_leaves_the_plan_for_its_node(aws: Aws, cluster: Cluster) -> None:
    pod = cluster.make(f"{SHOP}/pods", "host", spec={"hostNetwork": True})

    node, refused = _plans(aws, pod)

    assert (bool(node.calls), node.refusals) == (True, ())
    assert refused.refusals


def test_the_allow_of_another_policy_is_escaped_by_its_labels(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    spec = {"podSelector": {"matchLabels": {"team": "shop"}}, "egress": [{}]}
    cluster.make(POLICIES, "shop", spec=spec)
    pod = cluster.pods()[0]

    plan = _pod_plan(aws, pod)
    quarantine_workload.apply(plan, aws)

    assert set(_read(cluster, pod)["metadata"]["labels"]) == {QUARANTINE}
    assert all(check.ok for check in plan.preflight)


def test_an_allow_for_all_pods_adds_up_and_is_told(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    dns = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 53}]}]}
    cluster.make(POLICIES, "dns", spec=dns)

    plan = _pod_plan(aws, cluster.pods()[0])
    quarantine_workload.apply(plan, aws)
    proof = quarantine_workload.verify(plan, aws)

    assert [check.detail for check in plan.preflight if not check.ok] == [
        "policies add up, and these let traffic through all the same: dns (egress)"
    ]
    assert proof.verdict is Verdict.UNPROVEN
    assert any(c.detail == "let traffic through: dns (egress)" for c in proof.checks)


def test_an_allow_that_comes_later_is_noticed(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    plan = _pod_plan(aws, cluster.pods()[0])
    quarantine_workload.apply(plan, aws)

    cluster.make(POLICIES, "late", spec={"podSelector": {}, "ingress": [{}]})

    proof = quarantine_workload.verify(plan, aws)
    assert any(c.detail == "let traffic through: late (ingress)" for c in proof.checks)


def test_a_policy_that_was_deleted_is_drift(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    plan = _pod_plan(aws, cluster.pods()[0])
    quarantine_workload.apply(plan, aws)
    (policy,) = cluster.ask("GET", POLICIES)["items"]

    cluster.ask("DELETE", f"{POLICIES}/{policy['metadata']['name']}")

    assert quarantine_workload.verify(plan, aws).verdict is Verdict.DRIFTED


def test_all_that_kubernetes_says_does_not_prove_silence(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    plans = _plans(aws, cluster.pods()[0])
    _apply_all(aws, plans)

    node, pod = (quarantine_workload.verify(plan, aws) for plan in plans)

    assert (node.verdict, pod.verdict) == (Verdict.PROVEN, Verdict.UNPROVEN)


# EKS: whose pod it is


def test_the_roles_of_a_pod_are_left_to_those_who_revoke(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    note = {"eks.amazonaws.com/role-arn": ROLE}
    cluster.ask("PATCH", f"{SHOP}/serviceaccounts/web", {"metadata": {"annotations": note}})
    boto3.client("eks").create_pod_identity_association(
        clusterName="prod", namespace="shop", serviceAccount="web", roleArn=ROLE + "-2"
    )

    tasks = _pod_plan(aws, cluster.pods()[0]).tasks

    assert [f"Revoke the sessions of {role}" in task for role, task in zip(
        (ROLE, ROLE + "-2"), tasks, strict=False)] == [True, True]  # fmt: skip
    assert "role bindings" in tasks[2]


def test_a_controller_is_quarantined_pod_by_pod_and_keeps_them(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    target = _target("prod/shop/replicasets/web")

    plans = quarantine_workload.plan(target, quarantine_workload.Params(node=False), aws)

    assert len(plans) == 2
    assert {plan.params["orphan"] for plan in plans} == {False}
    assert any("may be the attacker's" in line for line in plans[0].blast_radius)


def test_too_many_pods_are_refused(aws: Aws, cluster: Cluster) -> None:
    target = _target("prod/shop/replicasets/web")

    (plan,) = quarantine_workload.plan(target, quarantine_workload.Params(most_pods=1), aws)

    assert "2 pods, more than most_pods" in plan.refusals[0]


@pytest.mark.parametrize(
    ("id", "kind"),
    [
        ("prod/shop/pods/none", Kind.WORKLOAD),
        ("prod/shop/deployments/none", Kind.WORKLOAD),
        ("none/shop/pods/web", Kind.WORKLOAD),
        ("none", Kind.CLUSTER),
    ],
)
def test_what_is_not_there_is_gone(aws: Aws, cluster: Cluster, id: str, kind: Kind) -> None:
    (plan,) = quarantine_workload.plan(_target(id, kind), quarantine_workload.Params(), aws)

    assert plan.gone
    assert "does not exist any more" in plan.refusals[0]


def test_a_whole_cluster_is_refused_and_its_entries_are_a_persons(
    aws: Aws, cluster: Cluster
) -> None:
    boto3.client("eks").create_access_entry(clusterName="prod", principalArn=ROLE)

    target = _target("prod", Kind.CLUSTER)
    (plan,) = quarantine_workload.plan(target, quarantine_workload.Params(), aws)

    assert "whole cluster" in plan.refusals[0]
    assert ROLE in plan.tasks[0]


def test_a_bare_container_is_refused(aws: Aws) -> None:
    (plan,) = quarantine_workload.plan(_target("c0ffee"), quarantine_workload.Params(), aws)

    assert "does not say which pod or task it is" in plan.refusals[0]


# EKS: faults


def test_the_approver_sees_what_the_cluster_would_refuse(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    pod = cluster.pods()[0]
    before = cluster.state()
    cluster.fail(method="PATCH", status=403)

    plan = _pod_plan(aws, pod)

    checks = {check.name: check.ok for check in plan.preflight if check.name.startswith("may ")}
    assert checks == {"may CreateNamespacedNetworkPolicy": True, "may PatchNamespacedPod": False}
    assert cluster.state() == before


def test_a_daemon_sets_next_pod_comes_to_the_same_node(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    selector = {"matchLabels": {"app": "agent"}}
    owner = cluster.make(
        "/apis/apps/v1/namespaces/shop/daemonsets", "agent", spec={
            "selector": selector, "template": {"spec": {"containers": []}}
        },
    )  # fmt: skip
    reference = {"kind": "DaemonSet", "name": "agent", "uid": owner["metadata"]["uid"]}
    metadata = {"labels": {"app": "agent"}, "ownerReferences": [reference | {"controller": True}]}
    pod = cluster.make(f"{SHOP}/pods", "agent-1", metadata=metadata, spec={})

    assert any("cordoned or not" in line for line in _pod_plan(aws, pod).blast_radius)


def test_a_lost_answer_is_unknown_and_the_retry_reads_back(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    plan = _pod_plan(aws, cluster.pods()[0])
    cluster.fail(method="PATCH", lost=True)

    with pytest.raises(errors.Unavailable) as caught:
        quarantine_workload.apply(plan, aws)
    again = quarantine_workload.apply(plan, aws)

    assert [call.outcome for call in caught.value.made] == [Outcome.OK, Outcome.UNKNOWN]
    assert again.calls == ()


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_an_apply_that_breaks_off_can_be_taken_back(
    aws: Aws, cluster: Cluster, method: str
) -> None:
    cluster.engine()
    before = cluster.state()
    plan = _pod_plan(aws, cluster.pods()[0])
    cluster.fail(method=method, status=500)

    with pytest.raises(errors.Unavailable):
        quarantine_workload.apply(plan, aws)
    quarantine_workload.revert(plan, aws)

    assert cluster.state() == before


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.AccessDenied),
        (403, errors.AccessDenied),
        (404, errors.NotFound),
        (429, errors.Throttled),
        (503, errors.Unavailable),
    ],
)
def test_refusals_of_the_cluster_are_our_errors(
    cluster: Cluster, status: int, kind: type[Exception]
) -> None:
    cluster.fail(method="GET", status=status)

    with pytest.raises(kind):
        cluster.api.read("ReadNode", name="node-1")


def test_a_call_that_is_not_planned_is_not_sent(aws: Aws, cluster: Cluster) -> None:
    cluster.engine()
    plan = _pod_plan(aws, cluster.pods()[0])
    other = plan.undo[-1]
    before = cluster.state()

    with aws.only(plan.calls) as permit, pytest.raises(errors.UnplannedCall):
        cluster.api.call(other, permit)
    with pytest.raises(errors.UnplannedCall):
        cluster.api.read("PatchNode", name="node-1")

    assert (cluster.state(), permit.made) == (before, [])


def test_another_clusters_call_is_not_sent(aws: Aws, cluster: Cluster) -> None:
    call = Call(
        service="kubernetes", operation="PatchNode", parameters={"cluster": "other", "name": "n"}
    )

    with aws.only([call]) as permit, pytest.raises(errors.UnplannedCall):
        cluster.api.call(call, permit)


def test_the_token_is_for_one_cluster(aws: Aws) -> None:
    texts = [_url(_kubernetes.token(aws, name)) for name in ("prod", "test")]

    assert all("Action=GetCallerIdentity" in text for text in texts)
    assert all("X-Amz-SignedHeaders=host%3Bx-k8s-aws-id" in text for text in texts)
    assert texts[0].partition("Signature=")[2] != texts[1].partition("Signature=")[2]


def test_other_requests_to_sts_name_no_cluster(aws: Aws) -> None:
    _kubernetes.token(aws, "prod")

    assert aws.client("sts").get_caller_identity()["Account"] == ACCOUNT


@pytest.mark.parametrize("incident", ["short", "aws/123/i-1", "x" * 64, "/", "aws/" + "y" * 100])
def test_a_label_value_is_one_that_kubernetes_takes(incident: str) -> None:
    value = label_value(incident)

    assert len(value) <= 63
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?", value)


def test_two_incidents_have_two_label_values() -> None:
    assert label_value("aws/1") != label_value("aws-1")


def _url(token: str) -> str:
    text = token.removeprefix("k8s-aws-v1.")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


# ECS


@dataclass
class Orders:
    """The ECS task of service `orders`, on a network interface of its own."""

    task: str
    interface: str
    group: str
    target_group: str
    address: str


@pytest.fixture
def orders(aws: Aws) -> Orders:
    ec2, ecs, elbv2 = (boto3.client(name) for name in ("ec2", "ecs", "elbv2"))
    vpc = ec2.create_vpc(CidrBlock="198.51.100.0/24")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})  # or moto fails
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="198.51.100.0/26")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="orders", Description="orders", VpcId=vpc)[
        "GroupId"
    ]
    open_ = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
    ranges = [{"CidrIp": "203.0.113.0/24", "Description": "office"}, {"CidrIp": "192.0.2.0/24"}]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[{**open_, "IpRanges": ranges}]
    )
    targets = elbv2.create_target_group(
        Name="orders", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    ecs.create_cluster(clusterName="prod")
    ecs.register_task_definition(
        family="orders",
        networkMode="awsvpc",
        taskRoleArn=ROLE,
        containerDefinitions=[{"name": "app", "image": "app:1", "memory": 64}],
    )
    network = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}}
    ecs.create_service(
        cluster="prod",
        serviceName="orders",
        taskDefinition="orders",
        desiredCount=0,
        launchType="FARGATE",
        networkConfiguration=network,
        loadBalancers=[{"targetGroupArn": targets, "containerName": "app", "containerPort": 80}],
    )
    task = ecs.run_task(
        cluster="prod",
        taskDefinition="orders",
        launchType="FARGATE",
        group="service:orders",
        networkConfiguration=network,
    )["tasks"][0]
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    interface = details["networkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[group])
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
    address = found["PrivateIpAddress"]
    elbv2.register_targets(TargetGroupArn=targets, Targets=[{"Id": address, "Port": 80}])
    return Orders(task["taskArn"], interface, group, targets, address)


def _plan_task(aws: Aws, orders: Orders, **params: Any) -> tuple[Plan, ...]:
    return quarantine_workload.plan(_target(orders.task), quarantine_workload.Params(**params), aws)


def _rules(orders: Orders) -> list[Any]:
    (group,) = boto3.client("ec2").describe_security_groups(GroupIds=[orders.group])[
        "SecurityGroups"
    ]
    return [group["IpPermissions"], group["IpPermissionsEgress"]]


def _registered(orders: Orders) -> list[Any]:
    found = boto3.client("elbv2").describe_target_health(TargetGroupArn=orders.target_group)
    return sorted((t["Target"] for t in found["TargetHealthDescriptions"]), key=str)


def _protected(orders: Orders) -> bool:
    found = boto3.client("ecs").get_task_protection(cluster="prod", tasks=[orders.task])
    return bool(found["protectedTasks"][0]["protectionEnabled"])


def _state(orders: Orders) -> Any:
    return _rules(orders), _registered(orders), _protected(orders)


def test_a_task_is_kept_taken_off_its_balancer_and_cut_off_and_never_stopped(
    aws: Aws, orders: Orders
) -> None:
    (plan,) = _plan_task(aws, orders)

    quarantine_workload.apply(plan, aws)

    assert [call.operation for call in plan.calls] == [
        "UpdateTaskProtection",
        "DeregisterTargets",
        "RevokeSecurityGroupIngress",
        "RevokeSecurityGroupEgress",
    ]
    assert _state(orders) == ([[], []], [], True)
    assert [c.name for c in plan.preflight if c.ok and c.name.startswith("may ")] == [
        "may RevokeSecurityGroupIngress",
        "may RevokeSecurityGroupEgress",
    ]
    assert ROLE in plan.tasks[0]


def test_the_approver_sees_what_of_a_task_iam_would_refuse(
    aws: Aws, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = boto3.client("iam").create_user(UserName="firedoor")["User"]["Arn"]
    allowed = {"Effect": "Allow", "Action": "ecs:UpdateTaskProtection", "Resource": "*"}
    boto3.client("iam").put_user_policy(
        UserName="firedoor",
        PolicyName="own",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
    )
    monkeypatch.setattr(Aws, "identity", user)

    (plan,) = _plan_task(aws, orders)

    (check,) = [c for c in plan.preflight if "ecs:UpdateTaskProtection" in c.name]
    assert (check.ok, check.detail) == (False, "denied: elasticloadbalancing:DeregisterTargets")


def test_a_task_is_let_go_as_it_was(aws: Aws, orders: Orders) -> None:
    before = _state(orders)
    (plan,) = _plan_task(aws, orders)

    quarantine_workload.apply(plan, aws)
    again = quarantine_workload.apply(plan, aws)
    quarantine_workload.revert(plan, aws)
    quarantine_workload.revert(plan, aws)

    assert again.calls == ()
    assert _state(orders) == before


def test_a_group_that_others_have_is_refused_for_itself(aws: Aws, orders: Orders) -> None:
    ec2 = boto3.client("ec2")
    subnet = ec2.describe_subnets(Filters=[{"Name": "cidr-block", "Values": ["198.51.100.0/26"]}])
    ec2.create_network_interface(SubnetId=subnet["Subnets"][0]["SubnetId"], Groups=[orders.group])

    main, refused = _plan_task(aws, orders)
    same, wide = _plan_task(aws, orders, shared_groups=True)

    assert [call.operation for call in main.calls] == ["UpdateTaskProtection", "DeregisterTargets"]
    assert "is the group of 1 other network interface too" in refused.refusals[0]
    assert same.calls == main.calls
    assert [call.operation for call in wide.calls] == [
        "RevokeSecurityGroupIngress",
        "RevokeSecurityGroupEgress",
    ]
    assert any("1 other network interface" in line for line in wide.blast_radius)


def _another(orders: Orders) -> Orders:
    """Start a second task of the service, in the same security group."""
    ec2, ecs, elbv2 = (boto3.client(name) for name in ("ec2", "ecs", "elbv2"))
    (service,) = ecs.describe_services(cluster="prod", services=["orders"])["services"]
    task = ecs.run_task(
        cluster="prod",
        taskDefinition="orders",
        launchType="FARGATE",
        group="service:orders",
        networkConfiguration=service["networkConfiguration"],
    )["tasks"][0]
    details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
    interface = details["networkInterfaceId"]
    ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[orders.group])
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])["NetworkInterfaces"]
    address = found["PrivateIpAddress"]
    elbv2.register_targets(
        TargetGroupArn=orders.target_group, Targets=[{"Id": address, "Port": 80}]
    )
    return replace(orders, task=task["taskArn"], interface=interface, address=address)


def _plan_service(aws: Aws, name: str = "orders", **params: Any) -> tuple[Plan, ...]:
    target = _target(f"arn:aws:ecs:us-east-1:{ACCOUNT}:service/prod/{name}")
    return quarantine_workload.plan(target, quarantine_workload.Params(**params), aws)


def test_a_service_is_cut_off_with_all_of_its_tasks_and_comes_back(
    aws: Aws, orders: Orders
) -> None:
    tasks = (orders, _another(orders))
    before = [_state(task) for task in tasks]

    plans = _plan_service(aws)
    _apply_all(aws, plans)
    during = [_state(task) for task in tasks]
    proofs = [quarantine_workload.verify(plan, aws).verdict for plan in plans]
    _revert_all(aws, plans)

    leases = [f"task/prod/{task.task.rpartition('/')[2]}" for task in tasks]
    assert [plan.lease for plan in plans] == [*sorted(leases), f"security-group/{orders.group}"]
    assert during == [([[], []], [], True)] * 2
    assert Verdict.DRIFTED not in proofs
    assert [_state(task) for task in tasks] == before


def test_a_group_that_others_than_the_service_have_is_refused(aws: Aws, orders: Orders) -> None:
    _another(orders)
    ec2 = boto3.client("ec2")
    (own,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[orders.interface])[
        "NetworkInterfaces"
    ]
    ec2.create_network_interface(SubnetId=own["SubnetId"], Groups=[orders.group])

    *tasks, group = _plan_service(aws)
    _apply_all(aws, tuple(tasks))
    proof = quarantine_workload.verify(tasks[0], aws)

    assert "is the group of 1 other network interface too" in group.refusals[0]
    assert [len(plan.calls) for plan in tasks] == [2, 2]
    assert proof.verdict is Verdict.UNPROVEN
    assert any(f"{orders.group} have their rules still" in c.detail for c in proof.checks)


def test_the_group_of_two_tasks_is_one_lease(aws: Aws, orders: Orders) -> None:
    both = (orders, _another(orders))

    leases = [_plan_task(aws, task, shared_groups=True)[-1].lease for task in both]

    assert leases == [f"security-group/{orders.group}"] * 2


def test_a_service_that_starts_another_task_makes_the_plan_of_its_group_stale(
    aws: Aws, orders: Orders
) -> None:
    _another(orders)
    plans = _plan_service(aws)
    _another(orders)

    with pytest.raises(errors.PlanStale, match="is the group of 1 other network interface"):
        _apply_all(aws, plans)


def test_tasks_are_protected_before_their_group_is_emptied(
    aws: Aws, orders: Orders, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    _another(orders)
    monkeypatch.setattr(quarantine_workload, "PAUSES", (0.05,) * 200)
    *tasks, group = _plan_service(aws)
    lab.control("DELETE", "firedoor/calls")

    with ThreadPoolExecutor(1) as pool:
        cut = pool.submit(quarantine_workload.apply, group, aws)
        _seen(lab, "GetTaskProtection")
        _apply_all(aws, tuple(tasks))
        cut.result()

    made = [call["operation"] for call in lab.control("GET", "firedoor/calls")]
    assert made.index("RevokeSecurityGroupIngress") > _last(made, "UpdateTaskProtection")


def test_a_group_does_not_wait_for_tasks_that_cannot_be_protected(
    aws: Aws, orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    _another(orders)
    monkeypatch.setattr(quarantine_workload, "PAUSES", (0.01, 0.01))

    quarantine_workload.apply(_plan_service(aws)[-1], aws)

    assert _rules(orders) == [[], []]


def _seen(lab: EmulatedAws, operation: str) -> None:
    """Wait until the emulator was asked for an operation."""
    for _ in range(200):
        if operation in [call["operation"] for call in lab.control("GET", "firedoor/calls")]:
            return
        time.sleep(0.05)
    raise AssertionError(f"{operation} was never called")


def _last(made: list[str], operation: str) -> int:
    return len(made) - 1 - made[::-1].index(operation)


def test_a_service_without_tasks_is_gone(aws: Aws, orders: Orders) -> None:
    boto3.client("ecs").stop_task(cluster="prod", task=orders.task)

    (ended,), (unknown,) = _plan_service(aws), _plan_service(aws, "none")

    assert (ended.gone, unknown.gone) == (True, True)


def test_a_service_of_too_many_tasks_is_refused(aws: Aws, orders: Orders) -> None:
    _another(orders)

    (plan,) = _plan_service(aws, most_pods=1)

    assert "has 2 tasks, more than most_pods" in plan.refusals[0]


def test_a_task_that_stopped_is_gone_but_its_rules_come_back(aws: Aws, orders: Orders) -> None:
    rules = _rules(orders)
    (plan,) = _plan_task(aws, orders)
    quarantine_workload.apply(plan, aws)
    boto3.client("ecs").stop_task(cluster="prod", task=orders.task)

    left = quarantine_workload.revert(plan, aws).left
    (again,) = _plan_task(aws, orders)

    assert _rules(orders) == rules
    assert left == (f"{plan.lease} does not exist any more",)
    assert again.gone


def test_without_flow_logs_a_task_is_contained_but_unproven(aws: Aws, orders: Orders) -> None:
    (plan,) = _plan_task(aws, orders)
    quarantine_workload.apply(plan, aws)

    proof = quarantine_workload.verify(plan, aws)
    boto3.client("elbv2").register_targets(
        TargetGroupArn=orders.target_group, Targets=[{"Id": orders.address, "Port": 80}]
    )

    assert proof.verdict is Verdict.UNPROVEN
    assert quarantine_workload.verify(plan, aws).verdict is Verdict.DRIFTED


def test_what_ecs_reports_as_failed_is_an_error(aws: Aws, orders: Orders) -> None:
    (plan,) = _plan_task(aws, orders)
    call = plan.calls[0].model_copy(
        update={"parameters": {**plan.calls[0].parameters, "tasks": ["none"]}}
    )

    with pytest.raises(errors.CloudError) as caught:
        quarantine_workload.apply(plan.model_copy(update={"calls": (call, *plan.calls[1:])}), aws)

    assert caught.value.code == "MISSING"


def test_a_group_that_another_has_by_now_makes_the_plan_stale(aws: Aws, orders: Orders) -> None:
    (plan,) = _plan_task(aws, orders)
    ec2 = boto3.client("ec2")
    (own,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[orders.interface])[
        "NetworkInterfaces"
    ]
    ec2.create_network_interface(SubnetId=own["SubnetId"], Groups=[orders.group])
    before = _state(orders)

    with pytest.raises(errors.PlanStale, match="is the group of 1 other network interface"):
        quarantine_workload.apply(plan, aws)

    assert _state(orders) == before


@pytest.mark.parametrize(
    ("service", "operation", "missing"),
    [
        ("ecs", "DescribeServices", "its load balancers"),
        ("elbv2", "DescribeTargetHealth", "its load balancers"),
        ("ecs", "GetTaskProtection", "its protection"),
        ("ecs", "DescribeTaskDefinition", "its role"),
    ],
)
def test_what_we_may_not_look_at_of_a_task_is_a_remark(
    aws: Aws, orders: Orders, lab: EmulatedAws, service: str, operation: str, missing: str
) -> None:
    fault = {"service": service, "operation": operation, "status": 403, "code": "AccessDenied"}
    lab.control("POST", "firedoor/faults", fault)

    (plan,) = _plan_task(aws, orders)

    assert missing in [check.name for check in plan.preflight if not check.ok]
    assert "RevokeSecurityGroupIngress" in [call.operation for call in plan.calls]


def test_what_the_service_starts_next_has_no_network_either(aws: Aws, orders: Orders) -> None:
    (plan,) = _plan_task(aws, orders)

    assert any("starts next has the same groups" in line for line in plan.blast_radius)


def test_a_target_group_that_is_gone_is_left_alone(aws: Aws, orders: Orders) -> None:
    rules = _rules(orders)
    (plan,) = _plan_task(aws, orders)
    quarantine_workload.apply(plan, aws)
    boto3.client("elbv2").delete_target_group(TargetGroupArn=orders.target_group)

    receipt = quarantine_workload.revert(plan, aws)

    assert _rules(orders) == rules
    assert [line for line in receipt.left if "target-group" in line] == list(receipt.left) != []
