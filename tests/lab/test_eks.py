from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Stock = Callable[..., Any]
ROLE = "arn:aws:iam::123456789012:role/shop"


@pytest.fixture
def eks(stock: Stock) -> Any:
    client = stock("eks")
    role = "arn:aws:iam::123456789012:role/cluster"
    client.create_cluster(name="prod", roleArn=role, resourcesVpcConfig={"subnetIds": []})
    return client


def test_access_entries_are_listed_and_made_once(eks: Any) -> None:
    eks.create_access_entry(clusterName="prod", principalArn=ROLE)

    with pytest.raises(ClientError) as caught:
        eks.create_access_entry(clusterName="prod", principalArn=ROLE)

    assert eks.list_access_entries(clusterName="prod")["accessEntries"] == [ROLE]
    assert caught.value.response["Error"]["Code"] == "ResourceInUseException"


def test_the_role_of_a_service_account_is_described_and_not_listed(eks: Any) -> None:
    named = {"clusterName": "prod", "namespace": "shop", "serviceAccount": "web"}
    made = eks.create_pod_identity_association(**named, roleArn=ROLE)["association"]

    (listed,) = eks.list_pod_identity_associations(**named)["associations"]
    other = eks.list_pod_identity_associations(clusterName="prod", namespace="other")
    described = eks.describe_pod_identity_association(
        clusterName="prod", associationId=listed["associationId"]
    )["association"]

    assert "roleArn" not in listed
    assert (described["roleArn"], described["associationId"]) == (ROLE, made["associationId"])
    assert other["associations"] == []


def test_an_association_that_is_not_there_is_not_found(eks: Any) -> None:
    with pytest.raises(ClientError) as caught:
        eks.describe_pod_identity_association(clusterName="prod", associationId="a-none")

    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"
