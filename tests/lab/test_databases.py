"""RDS in the emulated AWS."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Stock = Callable[..., Any]


@pytest.fixture
def rds(stock: Stock) -> Any:
    client = stock("rds")
    client.create_db_cluster(
        DBClusterIdentifier="c",
        Engine="aurora-postgresql",
        MasterUsername="owner",
        ManageMasterUserPassword=True,
    )
    client.create_db_instance(
        DBInstanceIdentifier="i",
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        ManageMasterUserPassword=True,
    )
    return client


def statuses(rds: Any) -> list[str]:
    found = [rds.describe_db_instances()["DBInstances"][0] for _ in range(3)]
    return [instance["DBInstanceStatus"] for instance in found]


def test_instance_is_busy_for_a_moment_after_a_change(rds: Any) -> None:
    rds.modify_db_instance(DBInstanceIdentifier="i", DeletionProtection=True)

    with pytest.raises(ClientError, match="InvalidDBInstanceState"):
        rds.create_db_snapshot(DBInstanceIdentifier="i", DBSnapshotIdentifier="s")

    assert statuses(rds) == ["modifying", "available", "available"]


def test_instance_takes_no_change_while_it_is_backed_up(rds: Any) -> None:
    rds.create_db_snapshot(DBInstanceIdentifier="i", DBSnapshotIdentifier="s")

    with pytest.raises(ClientError, match="InvalidDBInstanceState"):
        rds.modify_db_instance(DBInstanceIdentifier="i", DeletionProtection=True)

    assert statuses(rds) == ["backing-up", "available", "available"]


def test_cluster_takes_no_change_while_it_is_backed_up(rds: Any) -> None:
    rds.create_db_cluster_snapshot(DBClusterIdentifier="c", DBClusterSnapshotIdentifier="s")

    with pytest.raises(ClientError, match="InvalidDBClusterStateFault"):
        rds.modify_db_cluster(DBClusterIdentifier="c", DeletionProtection=True)


def test_data_api_is_turned_on_and_off(rds: Any) -> None:
    def on() -> bool:
        return bool(rds.describe_db_clusters()["DBClusters"][0]["HttpEndpointEnabled"])

    arn = rds.describe_db_clusters()["DBClusters"][0]["DBClusterArn"]
    before = on()
    rds.enable_http_endpoint(ResourceArn=arn)
    during = on()
    rds.disable_http_endpoint(ResourceArn=arn)

    assert (before, during, on()) == (False, True, False)
