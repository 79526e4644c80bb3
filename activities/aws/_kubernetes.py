"""The Kubernetes API of an EKS cluster: reads freely, changes only what a plan holds."""

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import JsonValue

from firedoor import errors
from firedoor.cloud.aws import Aws, Permit
from firedoor.model.plan import Call, CallRecord, Check, Outcome

SERVICE = "kubernetes"

TIMEOUT = (3, 15)  # seconds to connect, and between two bytes of the answer
PAGE = 500

# How long a signature is good for. The token itself is, for 15 minutes, whatever this says.
SIGNED = 60  # seconds
TOKEN = "k8s-aws-v1."  # noqa: S105 - what every token begins with
CLUSTER_HEADER = "x-k8s-aws-id"

DRY_RUN = {"dryRun": "All"}
MERGE_PATCH = "application/merge-patch+json"

# What is read and changed, by the names that the official clients give to the operations.
OPERATIONS = {
    "ListDaemonSetForAllNamespaces": ("GET", "/apis/apps/v1/daemonsets"),
    "ListNamespacedNetworkPolicy": (
        "GET",
        "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    ),
    "ListNamespacedPod": ("GET", "/api/v1/namespaces/{namespace}/pods"),
    "ListNamespacedService": ("GET", "/api/v1/namespaces/{namespace}/services"),
    "ListPodForAllNamespaces": ("GET", "/api/v1/pods"),
    "ReadNamespacedConfigMap": ("GET", "/api/v1/namespaces/{namespace}/configmaps/{name}"),
    "ReadNamespacedDaemonSet": ("GET", "/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"),
    "ReadNamespacedDeployment": ("GET", "/apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
    "ReadNamespacedJob": ("GET", "/apis/batch/v1/namespaces/{namespace}/jobs/{name}"),
    "ReadNamespacedNetworkPolicy": (
        "GET",
        "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}",
    ),
    "ReadNamespacedPod": ("GET", "/api/v1/namespaces/{namespace}/pods/{name}"),
    "ReadNamespacedReplicaSet": ("GET", "/apis/apps/v1/namespaces/{namespace}/replicasets/{name}"),
    "ReadNamespacedServiceAccount": (
        "GET",
        "/api/v1/namespaces/{namespace}/serviceaccounts/{name}",
    ),
    "ReadNamespacedStatefulSet": (
        "GET",
        "/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}",
    ),
    "ReadNode": ("GET", "/api/v1/nodes/{name}"),
    "CreateNamespacedNetworkPolicy": (
        "POST",
        "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    ),
    "DeleteNamespacedNetworkPolicy": (
        "DELETE",
        "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/{name}",
    ),
    "PatchNamespacedPod": ("PATCH", "/api/v1/namespaces/{namespace}/pods/{name}"),
    "PatchNode": ("PATCH", "/api/v1/nodes/{name}"),
}


class Kubernetes:
    """The API of one EKS cluster, with the rights that the cluster gives to who we are in AWS.

    Errors are those of `firedoor.errors`, the cluster's reason being the code. A changing call that
    the permit does not hold raises `UnplannedCall` before it is sent.
    """

    def __init__(self, aws: Aws, cluster: Mapping[str, Any]) -> None:
        self.aws = aws
        self.name = str(cluster["name"])
        self._endpoint = str(cluster["endpoint"])
        self._authority = base64.b64decode(cluster["certificateAuthority"]["data"]).decode()

    def read(self, operation: str, **parameters: str) -> dict[str, Any]:
        """Read one object, or one page of a list."""
        method, _ = OPERATIONS[operation]
        if method != "GET":
            raise errors.UnplannedCall(f"{SERVICE}:{operation} {parameters}")
        return self._ask(operation, parameters)

    def items(self, operation: str, **parameters: str) -> list[dict[str, Any]]:
        """Read all pages of a list."""
        found: list[dict[str, Any]] = []
        asked = {"limit": str(PAGE), **parameters}
        while True:
            page = self.read(operation, **asked)
            found += page.get("items") or []
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return found
            asked["continue"] = following

    def call(self, call: Call, permit: Permit) -> dict[str, Any]:
        """Make a planned call, and return the answer."""
        whole = call.model_copy(update={"account": self.aws.account, "region": self.aws.region})
        if call not in permit.planned or call.parameters["cluster"] != self.name:
            raise errors.UnplannedCall(f"{call.service}:{call.operation} {call.parameters}")
        at = datetime.now(UTC)
        parameters = {k: v for k, v in call.parameters.items() if k not in {"cluster", "body"}}
        try:
            answer = self._ask(call.operation, parameters, call.parameters.get("body"))
        except errors.CloudError as error:
            unknown = isinstance(error, errors.Unavailable)
            outcome = Outcome.UNKNOWN if unknown else Outcome.ERROR
            permit.made.append(_record(whole, at, outcome, error.request_id, str(error)))
            raise
        permit.made.append(_record(whole, at, Outcome.OK, str(answer.pop("auditId", ""))))
        return answer

    def allowed(self, call: Call) -> Check:
        """Ask the cluster whether it would take a planned call, without making it.

        It goes through all checks of the cluster, those of rights and of admission.
        https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run
        """
        name = f"may {call.operation}"
        parameters = {k: v for k, v in call.parameters.items() if k not in {"cluster", "body"}}
        try:
            self._ask(call.operation, {**parameters, **DRY_RUN}, call.parameters.get("body"))
        except errors.CloudError as error:
            return Check(name=name, ok=False, detail=str(error))
        return Check(name=name, ok=True)

    def _ask(
        self, operation: str, parameters: Mapping[str, Any], body: JsonValue = None
    ) -> dict[str, Any]:
        method, path = OPERATIONS[operation]
        named = re.findall(r"{(\w+)}", path)
        url = self._endpoint + path.format(**{n: quote(str(parameters[n]), safe="") for n in named})
        if asked := {name: value for name, value in parameters.items() if name not in named}:
            url += "?" + urlencode(asked)
        headers = {
            "Accept": "application/json",
            "Authorization": f"Bearer {self._token}",
            "Content-Type": MERGE_PATCH if method == "PATCH" else "application/json",
        }
        try:
            answer = self._client.call_api(method, url, headers, body, _request_timeout=TIMEOUT)
            text = answer.read().decode()
        except (OSError, _http_error()) as error:
            # Sent, perhaps, and not answered: whether it took effect is unknown until read back.
            raise errors.Unavailable(type(error).__name__, str(error), operation) from error
        if answer.status >= 300:
            raise _error(answer.status, text, operation, answer.getheader("Audit-Id", ""))
        found: dict[str, Any] = json.loads(text)
        if method != "GET":
            found["auditId"] = answer.getheader("Audit-Id", "")
        return found

    @cached_property
    def _token(self) -> str:
        return token(self.aws, self.name)

    @cached_property
    def _client(self) -> Any:
        # Read when a cluster is met: it takes a third of a second, and most incidents have none.
        library: Any = import_module("kubernetes.client")
        # No retry of its own: whoever asked looks first, and then decides.
        configuration = library.Configuration(
            host=self._endpoint, ca_cert_data=self._authority, retries=False
        )
        client = library.ApiClient(configuration)
        client.user_agent = "firedoor"
        return client


def connect(aws: Aws, cluster: str) -> Kubernetes:
    """Return the Kubernetes API of an EKS cluster.

    Raises `NotFound` if there is no such cluster, and `Refused` while it has no endpoint.
    """
    found = aws.client("eks").describe_cluster(name=cluster)["cluster"]
    if not (found.get("endpoint") and (found.get("certificateAuthority") or {}).get("data")):
        raise errors.Refused(
            f"the EKS cluster {cluster} is {found.get('status', 'not ready')} and has no endpoint"
            " yet: act on its nodes"
        )
    return Kubernetes(aws, found)


def token(aws: Aws, cluster: str) -> str:
    """Return the bearer token that says to a cluster who we are.

    It is a signed request to STS, made for this one cluster, that EKS itself sends.
    https://docs.aws.amazon.com/eks/latest/userguide/cluster-auth.html
    """
    client = aws.client("sts")
    events = client.meta.events
    # Doing this again changes nothing, and what does not name a cluster is left as it is.
    events.register(
        "provide-client-params.sts.GetCallerIdentity", _take_cluster, unique_id="firedoor-take"
    )
    events.register("before-sign.sts.GetCallerIdentity", _name_cluster, unique_id="firedoor-name")
    url = client.generate_presigned_url(
        "get_caller_identity",
        Params={"ClusterName": cluster},
        ExpiresIn=SIGNED,
        HttpMethod="GET",
    )
    return TOKEN + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def planned(cluster: str, operation: str, **parameters: JsonValue) -> Call:
    """Return a call to a cluster, as a plan holds it."""
    return Call(service=SERVICE, operation=operation, parameters={"cluster": cluster, **parameters})


def _take_cluster(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    if "ClusterName" in params:
        context["cluster"] = params.pop("ClusterName")


def _name_cluster(request: Any, **_: Any) -> None:
    if "cluster" in request.context:
        request.headers[CLUSTER_HEADER] = request.context["cluster"]


def _record(
    call: Call, at: datetime, outcome: Outcome, request_id: str, detail: str = ""
) -> CallRecord:
    return CallRecord(
        **call.model_dump(), at=at, request_id=request_id, outcome=outcome, detail=detail
    )


def _http_error() -> type[Exception]:
    kind: type[Exception] = import_module("urllib3.exceptions").HTTPError
    return kind


def _error(status: int, text: str, operation: str, request_id: str) -> errors.CloudError:
    """Return the error that a Status object says.

    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
    """
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    said = said if isinstance(said, dict) else {}
    reason = str(said.get("reason") or status)
    message = str(said.get("message") or text[:200])
    return _kind(status, reason, message)(reason, message, operation, request_id)


def _kind(status: int, reason: str, message: str) -> type[errors.CloudError]:
    if status == 403 and "exceeded quota" in message:
        return errors.QuotaExceeded
    if status in {401, 403}:
        return errors.AccessDenied
    if status in {404, 410}:
        return errors.NotFound
    # A conflict of versions is not one of contents: the same call is accepted a moment later.
    if status == 429 or reason == "Conflict":
        return errors.Throttled
    return errors.Unavailable if status >= 500 else errors.CloudError
