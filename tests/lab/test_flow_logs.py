"""Flow logs in the emulated AWS, where moto has them otherwise."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from firedoor.lab.scene import BUCKET, Scene
from firedoor.lab.server import ACCOUNT, REGION

Stock = Callable[..., Any]

GROUP = "/example/flow-logs"
GROUP_ARN = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{GROUP}"


@pytest.fixture
def create(scene: Scene, stock: Stock) -> Callable[..., dict[str, Any]]:
    """Make a flow log of the VPC, and describe it."""
    stock("logs").create_log_group(logGroupName=GROUP)

    def made(**members: Any) -> dict[str, Any]:
        answer = stock("ec2").create_flow_logs(
            ResourceType="VPC", ResourceIds=[scene.vpc_id], TrafficType="ALL", **members
        )
        described = stock("ec2").describe_flow_logs(FlowLogIds=answer["FlowLogIds"])
        log: dict[str, Any] = described["FlowLogs"][0]
        return log

    return made


def test_log_goes_to_a_folder_of_a_bucket(create: Callable[..., dict[str, Any]]) -> None:
    where = f"arn:aws:s3:::{BUCKET}/flows/"
    options = {"FileFormat": "parquet", "HiveCompatiblePartitions": True, "PerHourPartition": True}

    log = create(LogDestinationType="s3", LogDestination=where, DestinationOptions=options)

    assert (log["LogDestination"], log["DestinationOptions"]) == (where, options)


def test_log_goes_to_a_group_that_is_named_by_its_arn(
    scene: Scene, create: Callable[..., dict[str, Any]]
) -> None:
    log = create(LogDestination=GROUP_ARN, DeliverLogsPermissionArn=scene.role_arn)

    assert (log["LogGroupName"], log["DeliverLogsStatus"]) == (GROUP, "SUCCESS")


def test_logs_are_filtered_by_whether_they_are_delivered(
    scene: Scene, stock: Stock, create: Callable[..., dict[str, Any]]
) -> None:
    failed = create(LogGroupName="/example/none", DeliverLogsPermissionArn=scene.role_arn)
    create(LogGroupName=GROUP, DeliverLogsPermissionArn=scene.role_arn)

    found = stock("ec2").describe_flow_logs(
        Filter=[{"Name": "deliver-log-status", "Values": ["FAILED"]}]
    )["FlowLogs"]

    assert [log["FlowLogId"] for log in found] == [failed["FlowLogId"]]


@pytest.mark.parametrize(("prefix", "expected"), [("eni-1", ["one"]), ("eni-3", [])])
def test_events_are_read_from_streams_that_begin_alike(
    aws: Any, stock: Stock, prefix: str, expected: list[str]
) -> None:
    logs, now = stock("logs"), _milliseconds()
    logs.create_log_group(logGroupName=GROUP)
    for name, message in (("eni-1-all", "one"), ("eni-2-all", "two")):
        stream = {"logGroupName": GROUP, "logStreamName": name}
        logs.create_log_stream(**stream)
        logs.put_log_events(**stream, logEvents=[{"timestamp": now, "message": message}])

    found = logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix=prefix)["events"]

    assert [event["message"] for event in found] == expected


def _milliseconds() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
