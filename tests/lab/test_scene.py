from typing import Any

from firedoor.cloud.aws import Aws
from firedoor.lab.scene import Scene


def _interfaces(aws: Aws, *ids: str) -> list[dict[str, Any]]:
    return aws.pages(
        "ec2", "DescribeNetworkInterfaces", "NetworkInterfaces", NetworkInterfaceIds=list(ids)
    )


def test_app_has_an_interface_in_each_subnet(aws: Aws, scene: Scene) -> None:
    interfaces = _interfaces(aws, *scene.app_interface_ids)

    assert {i["SubnetId"] for i in interfaces} == {scene.public_subnet_id, scene.private_subnet_id}


def test_web_can_be_reached_from_outside(aws: Aws, scene: Scene) -> None:
    (interface,) = _interfaces(aws, scene.web_interface_id)

    assert interface["Association"]["PublicIp"] == scene.web_public_address


def test_web_has_two_volumes(aws: Aws, scene: Scene) -> None:
    volumes = aws.client("ec2").describe_volumes(VolumeIds=list(scene.web_volume_ids))["Volumes"]

    assert [v["Attachments"][0]["InstanceId"] for v in volumes] == [scene.web_id] * 2


def test_web_has_a_role_with_an_inline_policy(aws: Aws, scene: Scene) -> None:
    (association,) = aws.client("ec2").describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [scene.web_id]}]
    )["IamInstanceProfileAssociations"]
    policies = aws.client("iam").list_role_policies(RoleName=scene.role_name)["PolicyNames"]

    assert (association["IamInstanceProfile"]["Arn"], policies) == (
        scene.profile_arn,
        ["read-reports"],
    )


def test_each_subnet_has_a_nacl_of_its_own(aws: Aws, scene: Scene) -> None:
    acls = aws.client("ec2").describe_network_acls(
        NetworkAclIds=[scene.public_acl_id, scene.private_acl_id]
    )["NetworkAcls"]

    assert {a["NetworkAclId"]: [s["SubnetId"] for s in a["Associations"]] for a in acls} == {
        scene.public_acl_id: [scene.public_subnet_id],
        scene.private_acl_id: [scene.private_subnet_id],
    }
