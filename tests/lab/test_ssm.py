import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws

Stock = Callable[..., Any]

AGENT = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"


@pytest.fixture
def ssm(stock: Stock, scene: Scene) -> Any:
    stock("iam").attach_role_policy(RoleName=scene.role_name, PolicyArn=AGENT)
    return stock("ssm")


def _say(stock: Stock, id: str, **tags: str) -> None:
    listed = [{"Key": f"lab:{name}", "Value": value} for name, value in tags.items()]
    stock("ec2").create_tags(Resources=[id], Tags=listed)


def _send(ssm: Any, id: str) -> str:
    sent = ssm.send_command(
        InstanceIds=[id], DocumentName="AWS-RunShellScript", Parameters={"commands": ["true"]}
    )
    return str(sent["Command"]["CommandId"])


def _agents(ssm: Any, **filters: list[str]) -> list[tuple[str, str]]:
    listed = [{"Key": key, "Values": values} for key, values in filters.items()]
    found = ssm.describe_instance_information(Filters=listed)["InstanceInformationList"]
    return [(one["InstanceId"], one["PingStatus"]) for one in found]


def test_instance_whose_role_lets_its_agent_is_managed(ssm: Any, scene: Scene) -> None:
    assert _agents(ssm) == [(scene.web_id, "Online")]
    assert _agents(ssm, InstanceIds=[scene.app_id]) == []


def test_instance_that_is_stopped_is_not_managed(ssm: Any, stock: Stock, scene: Scene) -> None:
    stock("ec2").stop_instances(InstanceIds=[scene.web_id])

    assert _agents(ssm) == []


def test_command_to_an_agent_that_is_not_online_is_refused(
    ssm: Any, stock: Stock, scene: Scene
) -> None:
    _say(stock, scene.web_id, ping="ConnectionLost")

    for id in (scene.web_id, scene.app_id):
        with pytest.raises(ClientError, match="InvalidInstanceId"):
            _send(ssm, id)


def test_command_takes_its_time_and_ends_as_it_is_told(
    ssm: Any, stock: Stock, scene: Scene
) -> None:
    _say(stock, scene.web_id, seconds="0.3", status="Failed", code="12", stderr="no")
    read = {"CommandId": _send(ssm, scene.web_id), "InstanceId": scene.web_id}

    before = ssm.get_command_invocation(**read)["Status"]
    time.sleep(0.3)
    after = ssm.get_command_invocation(**read)

    assert before == "InProgress"
    assert (after["Status"], after["ResponseCode"], after["StandardErrorContent"]) == (
        "Failed",
        12,
        "no",
    )


def test_commands_are_listed_by_when_they_were_sent(ssm: Any, scene: Scene) -> None:
    id = _send(ssm, scene.web_id)
    hour = timedelta(hours=1)

    def listed(after: datetime) -> list[str]:
        filters = [{"key": "InvokedAfter", "value": f"{after:%Y-%m-%dT%H:%M:%SZ}"}]
        found = ssm.list_commands(InstanceId=scene.web_id, Filters=filters)["Commands"]
        return [one["CommandId"] for one in found]

    now = datetime.now(UTC)
    assert (listed(now - hour), listed(now + hour)) == ([id], [])


def test_parameters_are_there_again_after_a_savepoint(ssm: Any, lab: EmulatedAws) -> None:
    ssm.put_parameter(Name="/shop/token", Value="one", Type="String")
    lab.save()
    ssm.put_parameter(Name="/shop/token", Value="two", Type="String", Overwrite=True)

    lab.restore()

    assert ssm.get_parameter(Name="/shop/token")["Parameter"]["Value"] == "one"
