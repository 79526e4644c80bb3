"""EKS: each cluster has a Kubernetes API, which moto's have not.

It is served over TLS on a port of the loopback interface, under a certificate that DescribeCluster
gives out, and holds what is put into it: objects of the kinds below, in the shape in which they
are sent. It is our own reading of the Kubernetes reference, not Kubernetes. Modelled are:

- tokens: nobody comes in without one of the form that EKS takes; that of STS is not asked;
- reading, listing in pages, creating, merge patches with the conflicts of versions and uids, and
  deleting, and all of it as a dry run;
- the controller of ReplicaSets: it lets go of pods that its selector does not match any more,
  starts others in their place, takes in pods that match, and deletes the newest that are too many;
- the taint of a node on which nothing new may start.

Nothing runs, and no NetworkPolicy has an effect. `faults` below an endpoint takes a list of what
goes wrong next: `{"method": "PATCH", "status": 500}`, or `"lost": true` for done but not answered;
with `path`, a pattern, only where that is in the path, and `times` so often.
"""

import base64
import copy
import json
import re
import secrets
import ssl
import tempfile
import threading
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.eks.models import Cluster, EKSBackend, eks_backends

from firedoor.lab import patch

Object = dict[str, Any]

KINDS = {
    "configmaps": ("v1", "ConfigMap"),
    "daemonsets": ("apps/v1", "DaemonSet"),
    "deployments": ("apps/v1", "Deployment"),
    "jobs": ("batch/v1", "Job"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "nodes": ("v1", "Node"),
    "pods": ("v1", "Pod"),
    "replicasets": ("apps/v1", "ReplicaSet"),
    "serviceaccounts": ("v1", "ServiceAccount"),
    "services": ("v1", "Service"),
    "statefulsets": ("apps/v1", "StatefulSet"),
}
PATH = re.compile(
    r"/(?:api/v1|apis/(?:[a-z0-9.]+)/v1)(?:/namespaces/(?P<namespace>[^/]+))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?"
)
UNSCHEDULABLE = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}

_lock = threading.RLock()


class Status(Exception):
    """An answer that is no success, as Kubernetes words it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason

    @property
    def body(self) -> Object:
        """The Status object."""
        said = {"message": str(self), "reason": self.reason, "code": self.code}
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", **said}


class Store:
    """All objects of one cluster, by plural, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.faults: list[Object] = []
        self.version = 0

    def of(self, plural: str, namespace: str = "") -> list[Object]:
        """Return the objects of a kind, of one namespace or of all, in the order of names."""
        found = [
            (key, one)
            for key, one in self.objects.items()
            if key[0] == plural and namespace in {"", key[1]}
        ]
        return [one for _, one in sorted(found, key=lambda item: item[0])]

    def read(self, plural: str, namespace: str, name: str) -> Object:
        """Return one object."""
        try:
            return self.objects[plural, namespace, name]
        except KeyError:
            raise Status(404, "NotFound", f'{plural} "{name}" not found') from None

    def create(self, plural: str, namespace: str, sent: Object) -> Object:
        """Add an object, with what the server itself sets."""
        made = copy.deepcopy(sent)
        metadata = made.setdefault("metadata", {})
        name = metadata.get("name") or metadata["generateName"] + secrets.token_hex(3)[:5]
        if (plural, namespace, name) in self.objects:
            raise Status(409, "AlreadyExists", f'{plural} "{name}" already exists')
        api, kind = KINDS[plural]
        made |= {"apiVersion": api, "kind": kind}
        metadata |= {"name": name, "uid": str(uuid.uuid4())}
        metadata["creationTimestamp"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if namespace:
            metadata["namespace"] = namespace
        if plural == "pods":
            self._place(made)
        return self.put(plural, namespace, made)

    def put(self, plural: str, namespace: str, changed: Object) -> Object:
        """Store an object under a new version, and let the controllers see it."""
        key = (plural, namespace, changed["metadata"]["name"])
        if key in self.objects and _bare(self.objects[key]) == _bare(changed):
            return self.objects[key]
        self.version += 1
        changed["metadata"]["resourceVersion"] = str(self.version)
        if plural == "nodes":
            _taint(changed)
        self.objects[key] = changed
        self._control(namespace)
        return changed

    def delete(self, plural: str, namespace: str, name: str, condition: Object) -> Object:
        """Delete an object, if it is the one that is meant."""
        found = self.read(plural, namespace, name)
        if condition.get("uid") not in {None, found["metadata"]["uid"]}:
            raise Status(409, "Conflict", f"the UID in the precondition is not that of {name}")
        del self.objects[plural, namespace, name]
        self._control(namespace)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _place(self, pod: Object) -> None:
        free = [n for n in self.of("nodes") if not n.get("spec", {}).get("unschedulable")]
        if free and "nodeName" not in pod["spec"]:
            pod["spec"]["nodeName"] = free[len(self.of("pods")) % len(free)]["metadata"]["name"]
        address = f"198.51.100.{len(self.of('pods')) % 250 + 1}"
        pod.setdefault("status", {"phase": "Running", "podIP": address})

    def _control(self, namespace: str) -> None:
        for owner in self.of("replicasets", namespace):
            _release_and_adopt(owner, self.of("pods", namespace))
            # In the order in which they were made.
            own = [o for key, o in self.objects.items() if key[0] == "pods" and _owned(o, owner)]
            wanted = owner["spec"].get("replicas", 1)
            for pod in own[wanted:]:
                del self.objects["pods", namespace, pod["metadata"]["name"]]
            for _ in range(wanted - len(own)):
                template = copy.deepcopy(owner["spec"]["template"])
                template["metadata"] |= {
                    "generateName": owner["metadata"]["name"] + "-",
                    "ownerReferences": [_reference(owner)],
                }
                self.create("pods", namespace, template)


def install() -> None:
    """Give each cluster its API."""
    patch.around(EKSBackend, "create_cluster", _with_api)


def matches(selector: Object, labels: dict[str, str]) -> bool:
    """Tell whether a label selector picks labels."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for test in selector.get("matchExpressions") or ():
        value, among = labels.get(test["key"]), test.get("values") or []
        holds = {
            "In": value in among,
            "NotIn": value not in among,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds[test["operator"]]:
            return False
    return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is several writes, and each would wait for the last

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Take all methods alike."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
        elif self.parse_request():
            self._serve()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length)
        with _lock:
            try:
                code, body = self._answer(json.loads(text) if text else None)
            except Status as status:
                code, body = status.code, status.body
        if code:
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Audit-Id", str(uuid.uuid4()))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            self.close_connection = True

    def _answer(self, body: Any) -> tuple[int, Any]:
        _, account, region, name, *rest = urlsplit(self.path).path.split("/")
        store = _store(eks_backends[account][region].clusters[name])
        if rest == ["faults"]:
            store.faults = body
            return 200, {}
        _expect_token(self.headers.get("Authorization", ""))
        path = "/" + "/".join(rest)
        fault = next((f for f in store.faults if self._hits(f, path)), None)
        if fault:
            fault["times"] = fault.get("times", 1) - 1
            if fault["times"] <= 0:
                store.faults.remove(fault)
            if not fault.get("lost"):
                raise Status(fault["status"], "InternalError", "as was asked for")
        answer = self._act(store, path, body)
        return (0, None) if fault else answer

    def _hits(self, fault: Object, path: str) -> bool:
        return (
            bool(fault["method"] == self.command)
            and re.search(fault.get("path", ""), path) is not None
        )

    def _act(self, store: Store, path: str, body: Any) -> tuple[int, Any]:
        place = PATH.fullmatch(path)
        if place is None or place["plural"] not in KINDS:
            raise Status(404, "NotFound", "the server could not find the requested resource")
        plural, namespace, name = place["plural"], place["namespace"] or "", place["name"]
        if "dryRun" in parse_qs(urlsplit(self.path).query):
            store = copy.deepcopy(store)
        match self.command:
            case "GET" if name:
                return 200, store.read(plural, namespace, name)
            case "GET":
                return 200, _listed(store, plural, namespace, parse_qs(urlsplit(self.path).query))
            case "POST":
                return 201, store.create(plural, namespace, body)
            case "DELETE":
                condition = (body or {}).get("preconditions") or {}
                return 200, store.delete(plural, namespace, name, condition)
        former = store.read(plural, namespace, name)
        kind = self.headers.get("Content-Type", "")
        return 200, store.put(plural, namespace, _patched(former, body, kind))


def _with_api(create: Any, backend: EKSBackend, **options: Any) -> Cluster:
    cluster: Cluster = create(backend, **options)
    port, certificate = _server()
    where = f"{backend.account_id}/{backend.region_name}/{cluster.name}"
    cluster.endpoint = f"https://127.0.0.1:{port}/{where}"
    cluster.certificate_authority = {"data": base64.b64encode(certificate).decode()}
    cluster.kubernetes = Store()  # type: ignore[attr-defined]
    return cluster


def _store(cluster: Cluster) -> Store:
    store: Store = cluster.kubernetes  # type: ignore[attr-defined]
    return store


@cache
def _server() -> tuple[int, bytes]:
    """Start the one server of this process, and return its port and certificate."""
    certificate, key = _certificate()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "server.pem"
        file.write_bytes(key + certificate)
        context.load_cert_chain(file)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port, certificate


def _certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "emulated cluster")])
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


def _expect_token(header: str) -> None:
    token = header.removeprefix("Bearer k8s-aws-v1.")
    if token != header:
        url = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        asked = parse_qs(urlsplit(url).query)
        signed = asked.get("X-Amz-SignedHeaders", [""])[0].split(";")
        if asked.get("Action") == ["GetCallerIdentity"] and "x-k8s-aws-id" in signed:
            return
    raise Status(401, "Unauthorized", "Unauthorized")


def _listed(store: Store, plural: str, namespace: str, asked: dict[str, list[str]]) -> Object:
    found = store.of(plural, namespace)
    for test in filter(None, asked.get("labelSelector", [""])[0].split(",")):
        key, _, value = test.partition("=")
        found = [one for one in found if (one["metadata"].get("labels") or {}).get(key) == value]
    for test in filter(None, asked.get("fieldSelector", [""])[0].split(",")):
        path, _, value = test.partition("=")
        if path != "spec.nodeName":
            raise Status(400, "BadRequest", f"not emulated: {path}")
        found = [one for one in found if one["spec"].get("nodeName") == value]
    start = int(asked.get("continue", ["0"])[0])
    end = start + int(asked.get("limit", [str(len(found) or 1)])[0])
    metadata: Object = {"resourceVersion": str(store.version)}
    if end < len(found):
        metadata["continue"] = str(end)
    api, kind = KINDS[plural]
    page = found[start:end]
    return {"apiVersion": api, "kind": f"{kind}List", "metadata": metadata, "items": page}


def _patched(former: Object, body: Object, content_type: str) -> Object:
    # Both are alike as long as no list is patched.
    if content_type not in {
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    }:
        raise Status(415, "UnsupportedMediaType", f"not emulated: {content_type}")
    expected = body.get("metadata") or {}
    if expected.get("uid") not in {None, former["metadata"]["uid"]}:
        raise Status(409, "Conflict", "the UID in the precondition is not that of the object")
    if expected.get("resourceVersion") not in {None, former["metadata"]["resourceVersion"]}:
        message = "the object has been modified; please apply your changes to the latest version"
        raise Status(409, "Conflict", message)
    changed = copy.deepcopy(former)
    _merge(changed, body)
    for name in ("labels", "annotations"):
        if changed["metadata"].get(name) == {}:
            del changed["metadata"][name]  # what is empty is not written down
    return changed


def _merge(into: Object, body: Object) -> None:
    """Apply RFC 7396."""
    for key, value in body.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            _merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


def _taint(node: Object) -> None:
    spec = node.setdefault("spec", {})
    taints = [taint for taint in spec.get("taints") or () if taint != UNSCHEDULABLE]
    if spec.get("unschedulable"):
        taints.append(UNSCHEDULABLE)
    if taints:
        spec["taints"] = taints
    else:
        spec.pop("taints", None)


def _release_and_adopt(owner: Object, pods: list[Object]) -> None:
    for pod in pods:
        metadata = pod["metadata"]
        picked = matches(owner["spec"]["selector"], metadata.get("labels") or {})
        references = metadata.get("ownerReferences") or []
        if _owned(pod, owner) and not picked:
            metadata["ownerReferences"] = [
                one for one in references if one["uid"] != owner["metadata"]["uid"]
            ]
        elif picked and not any(one.get("controller") for one in references):
            metadata["ownerReferences"] = [*references, _reference(owner)]
        if not metadata.get("ownerReferences", True):
            del metadata["ownerReferences"]


def _owned(pod: Object, owner: Object) -> bool:
    references = pod["metadata"].get("ownerReferences") or ()
    return any(one["uid"] == owner["metadata"]["uid"] for one in references)


def _reference(owner: Object) -> Object:
    named = {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
    of = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    return {**of, **named, "controller": True, "blockOwnerDeletion": True}


def _bare(one: Object) -> Object:
    return {**one, "metadata": {**one["metadata"], "resourceVersion": None}}
