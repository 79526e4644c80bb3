from collections.abc import Callable
from typing import Any

from firedoor.lab.scene import Scene

POLICY = '{"Version": "2012-10-17", "Statement": []}'


def test_provisioning_brings_the_inline_policy_into_the_roles(
    stock: Callable[..., Any], scene: Scene
) -> None:
    sso, iam = stock("sso-admin"), stock("iam")
    instance = sso.list_instances()["Instances"][0]["InstanceArn"]
    made = sso.create_permission_set(Name="Operators", InstanceArn=instance)["PermissionSet"]
    own = {"InstanceArn": instance, "PermissionSetArn": made["PermissionSetArn"]}
    role = "AWSReservedSSO_Operators_0123456789abcdef"
    iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    found = []

    for put in (sso.put_inline_policy_to_permission_set, None):
        if put:
            put(**own, InlinePolicy=POLICY)
        else:
            sso.delete_inline_policy_from_permission_set(**own)
        found.append(iam.list_role_policies(RoleName=role)["PolicyNames"])
        sso.provision_permission_set(**own, TargetType="ALL_PROVISIONED_ACCOUNTS")
        found.append(iam.list_role_policies(RoleName=role)["PolicyNames"])

    assert found == [[], ["AwsSSOInlinePolicy"], ["AwsSSOInlinePolicy"], []]


def test_no_provisioning_is_under_way(stock: Callable[..., Any], scene: Scene) -> None:
    sso = stock("sso-admin")
    instance = sso.list_instances()["Instances"][0]["InstanceArn"]

    answer = sso.list_permission_set_provisioning_status(InstanceArn=instance)

    assert answer["PermissionSetsProvisioningStatus"] == []
