from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]


@pytest.fixture
def scaling(stock: Stock, scene: Scene) -> Any:
    """A group whose only member is the `web` server, and which may have none."""
    client = stock("autoscaling")
    client.create_auto_scaling_group(
        AutoScalingGroupName="fleet",
        InstanceId=scene.web_id,
        VPCZoneIdentifier=scene.public_subnet_id,
        MinSize=0,
        MaxSize=1,
    )
    client.attach_instances(AutoScalingGroupName="fleet", InstanceIds=[scene.web_id])
    return client


def _enter(scaling: Any, scene: Scene, *, lower: bool = True) -> None:
    scaling.enter_standby(
        AutoScalingGroupName="fleet",
        InstanceIds=[scene.web_id],
        ShouldDecrementDesiredCapacity=lower,
    )


def _exit(scaling: Any, scene: Scene) -> None:
    scaling.exit_standby(AutoScalingGroupName="fleet", InstanceIds=[scene.web_id])


def _members(scaling: Any) -> dict[str, str]:
    (group,) = scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    return {i["InstanceId"]: i["LifecycleState"] for i in group["Instances"]}


def test_minimum_keeps_the_wanted_number_from_sinking(scaling: Any, scene: Scene) -> None:
    scaling.update_auto_scaling_group(AutoScalingGroupName="fleet", MinSize=1)

    with pytest.raises(ClientError, match="min-size=1"):
        _enter(scaling, scene)

    assert _members(scaling) == {scene.web_id: "InService"}


def test_what_is_in_standby_cannot_enter_it(scaling: Any, scene: Scene) -> None:
    _enter(scaling, scene)

    with pytest.raises(ClientError, match="is not in InService"):
        _enter(scaling, scene)


def test_what_is_in_service_cannot_leave_standby(scaling: Any, scene: Scene) -> None:
    with pytest.raises(ClientError, match="is not in Standby"):
        _exit(scaling, scene)


def test_maximum_keeps_the_wanted_number_from_rising(scaling: Any, scene: Scene) -> None:
    _enter(scaling, scene, lower=False)

    with pytest.raises(ClientError, match="max-size=1"):
        _exit(scaling, scene)


def test_group_that_shrinks_spares_what_is_in_standby(scaling: Any, scene: Scene) -> None:
    _enter(scaling, scene, lower=False)

    scaling.set_desired_capacity(AutoScalingGroupName="fleet", DesiredCapacity=0)

    assert _members(scaling) == {scene.web_id: "Standby"}


def test_stranger_cannot_be_protected(scaling: Any, scene: Scene) -> None:
    with pytest.raises(ClientError, match="is not in InService or Standby"):
        scaling.set_instance_protection(
            AutoScalingGroupName="fleet", InstanceIds=[scene.app_id], ProtectedFromScaleIn=True
        )


def test_standby_takes_it_out_of_the_target_group(stock: Stock, scaling: Any, scene: Scene) -> None:
    elbv2 = stock("elbv2")
    created = elbv2.create_target_group(Name="shop", Protocol="HTTP", Port=80, VpcId=scene.vpc_id)
    arn = created["TargetGroups"][0]["TargetGroupArn"]
    scaling.attach_load_balancer_target_groups(AutoScalingGroupName="fleet", TargetGroupARNs=[arn])

    def targets() -> list[str]:
        found = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return [target["Target"]["Id"] for target in found]

    before = targets()
    _enter(scaling, scene)

    assert (before, targets()) == ([scene.web_id], [])
    _exit(scaling, scene)
    assert targets() == [scene.web_id]
