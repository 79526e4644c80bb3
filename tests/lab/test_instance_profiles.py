from collections.abc import Callable
from typing import Any

from firedoor.lab.scene import Scene


def test_what_replaces_an_association_has_an_id_of_its_own_and_is_shown(
    stock: Callable[..., Any], scene: Scene
) -> None:
    ec2 = stock("ec2")
    (before,) = ec2.describe_iam_instance_profile_associations(
        Filters=[{"Name": "instance-id", "Values": [scene.web_id]}]
    )["IamInstanceProfileAssociations"]

    after = ec2.replace_iam_instance_profile_association(
        AssociationId=before["AssociationId"], IamInstanceProfile={"Arn": scene.app_profile_arn}
    )["IamInstanceProfileAssociation"]

    described = ec2.describe_instances(InstanceIds=[scene.web_id])["Reservations"][0]["Instances"]
    assert after["AssociationId"] != before["AssociationId"]
    assert described[0]["IamInstanceProfile"]["Arn"] == scene.app_profile_arn
