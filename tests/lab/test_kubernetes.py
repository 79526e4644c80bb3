import base64
import json
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError

import pytest

Stock = Callable[..., Any]
NODES = "/api/v1/nodes"
PODS = "/api/v1/namespaces/shop/pods"
SETS = "/apis/apps/v1/namespaces/shop/replicasets"


@dataclass
class Api:
    """A client of our own, that trusts what DescribeCluster gives out and nothing else."""

    endpoint: str
    trust: ssl.SSLContext
    token: str

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        merge = "application/merge-patch+json"
        request = urllib.request.Request(
            self.endpoint + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Content-Type": merge if method == "PATCH" else "application/json",
                "Authorization": f"Bearer {self.token}",
                **headers,
            },
        )
        try:
            with urllib.request.urlopen(request, context=self.trust) as answer:
                return json.load(answer)
        except HTTPError as error:
            return json.load(error)


@pytest.fixture
def api(stock: Stock) -> Api:
    eks, sts = stock("eks"), stock("sts")
    eks.create_cluster(
        name="prod",
        roleArn="arn:aws:iam::123456789012:role/cluster",
        resourcesVpcConfig={"subnetIds": []},
    )
    cluster = eks.describe_cluster(name="prod")["cluster"]
    authority = base64.b64decode(cluster["certificateAuthority"]["data"]).decode()
    sts.meta.events.register(
        "before-sign.sts.GetCallerIdentity",
        lambda request, **_: request.headers.add_header("x-k8s-aws-id", "prod"),
    )
    url = sts.generate_presigned_url("get_caller_identity", ExpiresIn=60)
    token = "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
    return Api(cluster["endpoint"], ssl.create_default_context(cadata=authority), token)


def _names(listed: Any) -> list[str]:
    return [one["metadata"]["name"] for one in listed["items"]]


@pytest.mark.parametrize("token", ["", "k8s-aws-v1.aHR0cHM6Ly9leGFtcGxlLmNvbQ", "other"])
def test_nobody_comes_in_without_a_token_for_eks(api: Api, token: str) -> None:
    answer = api("GET", NODES, Authorization=f"Bearer {token}")

    assert (answer["code"], answer["reason"]) == (401, "Unauthorized")


def test_what_is_made_is_found_with_what_the_server_sets(api: Api) -> None:
    made = api("POST", PODS, {"metadata": {"name": "web"}, "spec": {}})

    assert api("GET", f"{PODS}/web") == made
    assert made["kind"] == "Pod"
    assert {"uid", "resourceVersion", "creationTimestamp", "namespace"} <= made["metadata"].keys()


def test_a_name_is_taken_once(api: Api) -> None:
    api("POST", PODS, {"metadata": {"name": "web"}, "spec": {}})

    assert api("POST", PODS, {"metadata": {"name": "web"}, "spec": {}})["reason"] == "AlreadyExists"


@pytest.mark.parametrize("path", [f"{PODS}/none", "/api/v1/secrets", "/"])
def test_what_is_not_there_is_not_found(api: Api, path: str) -> None:
    assert api("GET", path)["reason"] == "NotFound"


def test_lists_come_in_pages_and_are_narrowed(api: Api) -> None:
    for name in ("a", "b", "c"):
        labels = {"app": "x" if name == "c" else "y"}
        api("POST", PODS, {"metadata": {"name": name, "labels": labels}, "spec": {}})

    first = api("GET", f"{PODS}?limit=2")
    second = api("GET", f"{PODS}?limit=2&continue={first['metadata']['continue']}")

    assert (_names(first), _names(second)) == (["a", "b"], ["c"])
    assert "continue" not in second["metadata"]
    assert _names(api("GET", f"{PODS}?labelSelector=app%3Dx")) == ["c"]
    assert _names(api("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dnone")) == []


def test_a_merge_patch_sets_takes_away_and_drops_what_is_empty(api: Api) -> None:
    metadata = {"name": "web", "labels": {"a": "1", "b": "2"}, "annotations": {"n": "1"}}
    api("POST", PODS, {"metadata": metadata, "spec": {}})

    patch = {"metadata": {"labels": {"a": None, "c": "3"}, "annotations": {"n": None}}}
    patched = api("PATCH", f"{PODS}/web", patch)["metadata"]

    assert (patched["labels"], "annotations" in patched) == ({"b": "2", "c": "3"}, False)


@pytest.mark.parametrize("member", ["uid", "resourceVersion"])
def test_a_patch_for_another_object_or_version_conflicts(api: Api, member: str) -> None:
    api("POST", PODS, {"metadata": {"name": "web"}, "spec": {}})

    answer = api("PATCH", f"{PODS}/web", {"metadata": {member: "0"}})

    assert (answer["code"], answer["reason"]) == (409, "Conflict")


def test_a_patch_of_another_kind_is_refused(api: Api) -> None:
    api("POST", PODS, {"metadata": {"name": "web"}, "spec": {}})

    answer = api("PATCH", f"{PODS}/web", [], **{"Content-Type": "application/json-patch+json"})

    assert answer["reason"] == "UnsupportedMediaType"


def test_a_patch_that_changes_nothing_makes_no_version(api: Api) -> None:
    made = api("POST", PODS, {"metadata": {"name": "web", "labels": {"a": "1"}}, "spec": {}})

    assert api("PATCH", f"{PODS}/web", {"metadata": {"labels": {"a": "1"}}}) == made


def test_a_dry_run_checks_and_changes_nothing(api: Api) -> None:
    made = api("POST", f"{PODS}?dryRun=All", {"metadata": {"name": "web"}, "spec": {}})

    refused = api("PATCH", f"{PODS}/web?dryRun=All", {})

    assert made["kind"] == "Pod"
    assert refused["reason"] == "NotFound"


def test_deleting_can_be_for_one_uid_alone(api: Api) -> None:
    api("POST", PODS, {"metadata": {"name": "web"}, "spec": {}})

    other = api("DELETE", f"{PODS}/web", {"preconditions": {"uid": "0"}})
    api("DELETE", f"{PODS}/web")

    assert other["reason"] == "Conflict"
    assert api("GET", f"{PODS}/web")["reason"] == "NotFound"


def test_a_replica_set_lets_go_replaces_adopts_and_deletes_the_newest(api: Api) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    api("POST", SETS, {"metadata": {"name": "web"}, "spec": spec})
    (pod,) = api("GET", PODS)["items"]
    path = f"{PODS}/{pod['metadata']['name']}"

    api("PATCH", path, {"metadata": {"labels": {"app": None}}})
    alone, pods = api("GET", path), api("GET", PODS)["items"]
    api("PATCH", path, {"metadata": {"labels": labels}})

    assert "ownerReferences" not in alone["metadata"]
    assert len(pods) == 2
    back = api("GET", PODS)["items"]
    assert [p["metadata"]["uid"] for p in back] == [pod["metadata"]["uid"]]
    assert back[0]["metadata"]["ownerReferences"] == pod["metadata"]["ownerReferences"]


def test_nothing_starts_on_a_node_that_is_cordoned(api: Api) -> None:
    for name in ("a", "b"):
        api("POST", NODES, {"metadata": {"name": name}})
    cordoned = api("PATCH", f"{NODES}/a", {"spec": {"unschedulable": True}})
    pods = [api("POST", PODS, {"metadata": {"name": f"p{n}"}, "spec": {}}) for n in range(2)]
    free = api("PATCH", f"{NODES}/a", {"spec": {"unschedulable": None}})

    assert cordoned["spec"]["taints"] == [
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    ]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"b"}
    assert free["spec"] == {}


def test_what_goes_wrong_next_can_be_asked_for(api: Api) -> None:
    api("POST", "/faults", [{"method": "POST", "status": 503}, {"method": "POST", "lost": True}])

    refused = api("POST", PODS, {"metadata": {"name": "a"}, "spec": {}})
    with pytest.raises(OSError):
        api("POST", PODS, {"metadata": {"name": "b"}, "spec": {}})

    assert refused["code"] == 503
    assert _names(api("GET", PODS)) == ["b"]


def test_clusters_are_apart_and_a_reset_empties_them(api: Api, stock: Stock) -> None:
    api("POST", PODS, {"metadata": {"name": "web"}, "spec": {}})
    stock("eks").create_cluster(
        name="test",
        roleArn="arn:aws:iam::123456789012:role/cluster",
        resourcesVpcConfig={"subnetIds": []},
    )

    other = Api(api.endpoint.replace("/prod", "/test"), api.trust, api.token)

    assert _names(other("GET", PODS)) == []
