"""EKS: access entries, and the roles of service accounts by Pod Identity, which moto lacks.

They can be made, listed, described and deleted; what they allow is not modelled.
"""

import secrets
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.eks import urls
from moto.eks.exceptions import ResourceInUseException, ResourceNotFoundException
from moto.eks.models import Cluster
from moto.eks.responses import EKSResponse

from firedoor.lab import patch

_ENTRIES = "{0}/clusters/(?P<name>[^/]+)/access-entries"
_IDENTITIES = "{0}/clusters/(?P<clusterName>[^/]+)/pod-identity-associations"


def install() -> None:
    """Add them to moto's EKS."""
    for path in (
        f"{_ENTRIES}$",
        f"{_ENTRIES}/(?P<principalArn>.+)$",
        f"{_IDENTITIES}$",
        f"{_IDENTITIES}/(?P<associationId>[^/]+)$",
    ):
        urls.url_paths[path] = urls.response.dispatch
    patch.add(
        EKSResponse,
        create_access_entry,
        list_access_entries,
        create_pod_identity_association,
        list_pod_identity_associations,
        describe_pod_identity_association,
    )


def create_access_entry(self: EKSResponse) -> ActionResult:
    """POST /clusters/{name}/access-entries."""
    cluster, arn = _cluster(self), self._get_param("principalArn")
    entries = _kept(cluster, "access_entries")
    if arn in entries:
        raise ResourceInUseException(message=f"{arn} is in use already")
    entries[arn] = {
        "clusterName": cluster.name,
        "principalArn": arn,
        "kubernetesGroups": self._get_param("kubernetesGroups") or [],
        "type": self._get_param("type") or "STANDARD",
    }
    return ActionResult({"accessEntry": entries[arn]})


def list_access_entries(self: EKSResponse) -> ActionResult:
    """GET /clusters/{name}/access-entries, in one page."""
    return ActionResult({"accessEntries": sorted(_kept(_cluster(self), "access_entries"))})


def create_pod_identity_association(self: EKSResponse) -> ActionResult:
    """POST /clusters/{name}/pod-identity-associations."""
    cluster = _cluster(self)
    id = f"a-{secrets.token_hex(9)[:17]}"
    made = {
        "clusterName": cluster.name,
        "namespace": self._get_param("namespace"),
        "serviceAccount": self._get_param("serviceAccount"),
        "roleArn": self._get_param("roleArn"),
        "associationId": id,
        "associationArn": f"{cluster.arn}/{id}".replace(":cluster/", ":podidentityassociation/"),
        "createdAt": datetime.now(UTC),
    }
    _kept(cluster, "pod_identities")[id] = made
    return ActionResult({"association": made})


def list_pod_identity_associations(self: EKSResponse) -> ActionResult:
    """GET /clusters/{name}/pod-identity-associations, in one page, without the roles, as AWS."""
    wanted = {name: self._get_param(name) for name in ("namespace", "serviceAccount")}
    found = [
        {name: value for name, value in one.items() if name not in {"roleArn", "createdAt"}}
        for one in _kept(_cluster(self), "pod_identities").values()
        if all(value in {None, one[name]} for name, value in wanted.items())
    ]
    return ActionResult({"associations": found})


def describe_pod_identity_association(self: EKSResponse) -> ActionResult:
    """GET /clusters/{name}/pod-identity-associations/{id}."""
    cluster, id = _cluster(self), self._get_param("associationId")
    if id not in _kept(cluster, "pod_identities"):
        raise ResourceNotFoundException(message=f"No association with id {id}.")
    return ActionResult({"association": _kept(cluster, "pod_identities")[id]})


def _cluster(response: EKSResponse) -> Cluster:
    name = response._get_param("name") or response._get_param("clusterName")
    return response.eks_backend.describe_cluster(name)


def _kept(cluster: Cluster, name: str) -> dict[str, Any]:
    kept: dict[str, Any] = cluster.__dict__.setdefault(name, {})
    return kept
