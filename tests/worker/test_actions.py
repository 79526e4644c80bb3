"""What comes of an action's plans on the way to the workflow: the guard rails look at them."""

import boto3
import pytest

from activities.aws import block_address, isolate_instance, revoke_credentials
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws
from firedoor.lab.scene import Scene
from firedoor.model.finding import Cloud, Kind, Principal, PrincipalType, Resource
from firedoor.model.incident import Order
from firedoor.model.plan import Target
from firedoor.model.policy import Policy
from firedoor.testing import NOW
from worker import actions


def order(subject: Principal | Resource, **params: object) -> Order:
    target = Target(subject=subject, incident="incident/1", step="step", at=NOW)
    return Order.model_validate({"target": target, "params": params, "policy": Policy()})


def role(scene: Scene) -> Principal:
    return Principal(
        cloud=Cloud.AWS,
        account=scene.account,
        type=PrincipalType.ROLE,
        name=scene.role_name,
        id=f"role/{scene.role_name}",
    )


def instance(scene: Scene) -> Resource:
    return Resource(
        cloud=Cloud.AWS,
        account=scene.account,
        region=scene.region,
        kind=Kind.INSTANCE,
        id=scene.web_id,
    )


def act_as_role(scene: Scene, session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Firedoor itself act in a session of the scene's role, which may read."""
    allow = (
        '{"Version": "2012-10-17", "Statement":'
        ' [{"Effect": "Allow", "Action": ["ec2:*", "iam:*"], "Resource": "*"}]}'
    )
    boto3.client("iam").put_role_policy(
        RoleName=scene.role_name, PolicyName="more", PolicyDocument=allow
    )
    answer = boto3.client("sts").assume_role(RoleArn=scene.role_arn, RoleSessionName=session)
    keys = answer["Credentials"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    cloud.forget()


def test_rule_12_plan_against_our_own_role_is_refused_when_planned(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_role(scene, "worker", monkeypatch)

    (plan,) = actions.plan_all(
        "aws.revoke_credentials", revoke_credentials.ACTION, order(role(scene))
    )

    assert ["is who Firedoor itself acts as" in reason for reason in plan.refusals] == [True]


def test_rule_12_plan_against_the_instance_where_we_run_is_refused_when_planned(
    scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    act_as_role(scene, scene.web_id, monkeypatch)

    (plan,) = actions.plan_all(
        "aws.revoke_credentials", revoke_credentials.ACTION, order(instance(scene))
    )

    runs_on, acts_as = plan.refusals
    assert "what Firedoor itself runs on" in runs_on
    assert "is who Firedoor itself acts as" in acts_as


@pytest.mark.parametrize("address", ["169.254.169.254", "10.1.2.3", "::ffff:10.1.2.3", "fe80::1"])
def test_rule_12_block_of_a_reserved_address_is_refused_when_planned(
    scene: Scene, aws: Aws, address: str
) -> None:
    (plan,) = actions.plan_all(
        "aws.block_address", block_address.ACTION, order(instance(scene), addresses=[address])
    )

    assert ["(reserved networks)" in reason for reason in plan.refusals] == [True]


def test_protected_peer_is_left_alone_and_does_not_stop_isolation(scene: Scene) -> None:
    partner, attacker = "203.0.113.99", "198.51.100.7"
    asked = order(instance(scene), addresses=[partner, attacker], untrack=False)
    policy = Policy.model_validate({"protected": {"networks": ["203.0.113.96/28"]}})

    (plan,) = actions.plan_all(
        "aws.isolate_instance",
        isolate_instance.ACTION,
        asked.model_copy(update={"policy": policy}),
    )

    assert plan.refusals == ()
    assert [str(network) for network in plan.touched.networks] == [f"{attacker}/32"]
