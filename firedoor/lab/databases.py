"""RDS: databases that are busy for a moment after a change, and the Data API of clusters.

In moto a change is done at once. Here an instance or cluster says `modifying` or `backing-up` after
one, until it was described twice, and takes neither a change nor a snapshot before. Also here and
not in moto: EnableHttpEndpoint and DisableHttpEndpoint, for every cluster, and the filter for the
id that a cluster keeps.
"""

from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.rds.exceptions import RDSClientError
from moto.rds.models import DBCluster, RDSBackend
from moto.rds.responses import RDSResponse
from moto.rds.utils import FilterDef

from firedoor.lab import patch

_BUSY = {"modifying", "backing-up"}


def install() -> None:
    """Let moto's RDS take its time."""
    patch.add(RDSResponse, enable_http_endpoint, disable_http_endpoint)
    kept = FilterDef(["db_cluster_resource_id"], "DB Cluster Resource Ids")
    DBCluster.SUPPORTED_FILTERS["db-cluster-resource-id"] = kept
    patch.around(RDSResponse, "describe_db_instances", _instances_progress)
    patch.around(RDSResponse, "describe_db_clusters", _clusters_progress)
    patch.around(RDSBackend, "modify_db_instance", _modify_instance)
    patch.around(RDSBackend, "create_db_snapshot", _snapshot_instance)
    patch.around(RDSBackend, "modify_db_cluster", _modify_cluster)
    patch.around(RDSBackend, "create_db_cluster_snapshot", _snapshot_cluster)


def enable_http_endpoint(self: RDSResponse) -> ActionResult:
    """Turn the Data API of a cluster on."""
    return _data_api(self, on=True)


def disable_http_endpoint(self: RDSResponse) -> ActionResult:
    """Turn the Data API of a cluster off."""
    return _data_api(self, on=False)


def _data_api(response: RDSResponse, *, on: bool) -> ActionResult:
    arn = response.params["ResourceArn"]
    clusters: list[DBCluster] = list(response.backend.clusters.values())
    found = next((cluster for cluster in clusters if cluster.db_cluster_arn == arn), None)
    if found is None:
        raise RDSClientError("ResourceNotFoundFault", f"Resource {arn} not found.")
    found._enable_http_endpoint = on
    return ActionResult({"ResourceArn": arn, "HttpEndpointEnabled": on})


def _instances_progress(original: Callable[..., Any], response: RDSResponse) -> Any:
    _progress(response.backend.databases.values())
    return original(response)


def _clusters_progress(original: Callable[..., Any], response: RDSResponse) -> Any:
    _progress(response.backend.clusters.values())
    return original(response)


def _progress(databases: Any) -> None:
    for database in databases:
        if database.status in _BUSY:
            seen = database.__dict__.get("seen_busy", False)
            database.__dict__["seen_busy"] = not seen
            if seen:
                database.status = "available"


def _modify_instance(
    original: Callable[..., Any], backend: RDSBackend, name: str, changes: dict[str, Any]
) -> Any:
    instance = backend.databases.get(name)
    _expect_idle(instance, "InvalidDBInstanceState")
    changed = original(backend, name, changes)
    changed.status = "modifying"
    return changed


def _snapshot_instance(
    original: Callable[..., Any], backend: RDSBackend, *args: Any, **kwargs: Any
) -> Any:
    instance = backend.databases.get(kwargs.get("db_instance_identifier", *args[:1]))
    if instance is None or _is_automated(kwargs):
        return original(backend, *args, **kwargs)
    _expect_idle(instance, "InvalidDBInstanceState")
    made = original(backend, *args, **kwargs)
    instance.status = "backing-up"
    return made


def _modify_cluster(
    original: Callable[..., Any], backend: RDSBackend, changes: dict[str, Any]
) -> Any:
    name = changes["db_cluster_identifier"]
    _expect_idle(backend.clusters.get(name), "InvalidDBClusterStateFault")
    changed = original(backend, changes)
    if found := backend.clusters.get(name):
        found.status = "modifying"
    return changed


def _snapshot_cluster(
    original: Callable[..., Any], backend: RDSBackend, *args: Any, **kwargs: Any
) -> Any:
    cluster = backend.clusters.get(kwargs.get("db_cluster_identifier", *args[:1]))
    if cluster is None or _is_automated(kwargs):
        return original(backend, *args, **kwargs)
    _expect_idle(cluster, "InvalidDBClusterStateFault")
    made = original(backend, *args, **kwargs)
    cluster.status = "backing-up"
    return made


def _is_automated(kwargs: dict[str, Any]) -> bool:
    return str(kwargs.get("snapshot_type", "manual")) != "manual"


def _expect_idle(database: Any, code: str) -> None:
    if database is not None and database.status in _BUSY:
        raise RDSClientError(code, f"The database is {database.status}, not available.")
