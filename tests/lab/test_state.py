"""What the emulated accounts hold, and what differs from the mark."""

from collections.abc import Callable
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import boto3
import pytest

from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws

Changes = Callable[[], dict[str, list[Any]]]


@pytest.fixture
def changes(lab: EmulatedAws, scene: Scene) -> Changes:
    return lambda: lab.control("GET", "firedoor/changes")


def test_what_was_only_read_has_not_changed(scene: Scene, changes: Changes) -> None:
    boto3.client("ec2").describe_instances()
    boto3.client("iam").list_users()
    boto3.client("rds").describe_db_instances()  # nobody has asked for this service before
    boto3.client("ec2", region_name="us-west-2").describe_vpcs()  # it has a default VPC

    assert changes() == {}


def test_what_was_made_stands_with_all_that_it_is(scene: Scene, changes: Changes) -> None:
    made = boto3.client("ec2").create_security_group(
        GroupName="new", Description="why", VpcId=scene.vpc_id
    )["GroupId"]

    where = f"ec2/{scene.account}/{scene.region}/groups/{scene.vpc_id}/{made}"
    found = changes()
    assert {path for path in found if not path.startswith(where)} == set()
    assert found[f"{where}/description"] == [None, "why"]


def test_what_was_changed_stands_with_both_values(scene: Scene, changes: Changes) -> None:
    boto3.client("iam").update_access_key(
        UserName="alice", AccessKeyId=scene.access_key_id, Status="Inactive"
    )

    assert list(changes().values()) == [["Active", "Inactive"]]


def test_what_several_hold_is_told_once_and_referred_to(scene: Scene, changes: Changes) -> None:
    boto3.client("ec2").modify_network_interface_attribute(
        NetworkInterfaceId=scene.web_interface_id, Groups=[scene.app_group_id]
    )

    groups = f"→ ec2/{scene.account}/{scene.region}/groups/{scene.vpc_id}"
    assert [
        f"{groups}/{scene.web_group_id}",
        f"{groups}/{scene.app_group_id}",
    ] in changes().values()


def test_what_was_made_and_deleted_is_gone_with_its_tags(scene: Scene, changes: Changes) -> None:
    ec2 = boto3.client("ec2")
    tags = [{"ResourceType": "security-group", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = ec2.create_security_group(
        GroupName="new", Description="new", VpcId=scene.vpc_id, TagSpecifications=tags
    )["GroupId"]
    tagged = [value for value in changes().values() if value == [None, "b"]]
    ec2.delete_security_group(GroupId=made)

    assert (tagged, changes()) == ([[None, "b"]], {})


def test_rules_made_in_another_order_are_the_same(scene: Scene, changes: Changes) -> None:
    ec2 = boto3.client("ec2")
    rule = {"NetworkAclId": scene.public_acl_id, "RuleNumber": 100, "Egress": False}
    ec2.delete_network_acl_entry(**rule)
    without = changes()
    ec2.create_network_acl_entry(**rule, Protocol="-1", RuleAction="allow", CidrBlock="0.0.0.0/0")

    assert without != {}
    assert changes() == {}


def test_contents_of_an_object_count(scene: Scene, changes: Changes) -> None:
    boto3.client("s3").put_object(Bucket=scene.bucket, Key="2026/q1.csv", Body=b"nothing")

    assert any(path.endswith("/_value_buffer") for path in changes())


def test_instance_that_moto_forgot_frees_no_address_in_what_was_restored(
    lab: EmulatedAws, scene: Scene, changes: Changes
) -> None:
    for _ in range(3):
        lab.restore()
        boto3.client("ec2").describe_instances()

    assert changes() == {}


def test_function_is_found_by_its_arn_after_it_was_restored(lab: EmulatedAws) -> None:
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        archive.writestr("main.py", "")
    with EmulatedAws() as own:  # the mark of the shared one is for others to go back to
        iam, functions = (boto3.client(n, endpoint_url=own.endpoint) for n in ("iam", "lambda"))
        role = iam.create_role(RoleName="f", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        arn = functions.create_function(
            FunctionName="f",
            Runtime="python3.12",
            Role=role,
            Handler="main.handler",
            Code={"ZipFile": packed.getvalue()},
        )["FunctionArn"]
        own.save()
        own.restore()

        functions.delete_function(FunctionName=arn)

        assert functions.list_functions()["Functions"] == []
