from collections.abc import Callable
from typing import Any

import pytest

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]


@pytest.mark.parametrize("port", [{}, {"Port": 80}, {"Port": 8080}])
def test_target_that_is_not_there_can_be_deregistered(
    stock: Stock, scene: Scene, port: dict[str, int]
) -> None:
    elbv2 = stock("elbv2")
    created = elbv2.create_target_group(Name="shop", Protocol="HTTP", Port=80, VpcId=scene.vpc_id)
    arn = created["TargetGroups"][0]["TargetGroupArn"]
    elbv2.register_targets(TargetGroupArn=arn, Targets=[{"Id": scene.web_id}])

    for id in (scene.app_id, scene.web_id):
        elbv2.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": id, **port}])

    left = elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
    assert [t["Target"]["Id"] for t in left] == ([scene.web_id] if port == {"Port": 8080} else [])
