"""Who else uses what is to be cut off."""

import io
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from activities.aws import _trail, _usage
from activities.aws._usage import used
from firedoor.cloud.aws import Aws
from firedoor.lab.scene import Scene
from firedoor.lab.server import ACCOUNT, EmulatedAws

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trail, "PAUSE", 0.0)


def event(lab: EmulatedAws, days: int, **members: Any) -> None:
    """Let an event have happened so many days ago."""
    at = f"{NOW - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
    lab.control("POST", "firedoor/trail", {"eventTime": at, **members})


def test_instances_that_share_a_role_are_named(aws: Aws, scene: Scene) -> None:
    lines = used(aws, NOW, roles=[scene.role_name])

    assert f"role {scene.role_name} is that of 1 instance: {scene.web_id}" in lines


def test_functions_that_share_a_role_are_named(aws: Aws, scene: Scene) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", "")
    boto3.client("lambda").create_function(
        FunctionName="report",
        Runtime="python3.11",
        Role=scene.app_role_arn,
        Handler="app.handler",
        Code={"ZipFile": code.getvalue()},
    )

    lines = used(aws, NOW, roles=[scene.app_role_name])

    assert f"role {scene.app_role_name} is that of 1 function: report" in lines


def test_who_assumed_a_role_is_counted(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    service = {"type": "AWSService", "invokedBy": "ec2.amazonaws.com", "accountId": ACCOUNT}
    given = {"requestParameters": {"roleArn": scene.role_arn}, "eventName": "AssumeRole"}
    for days in (1, 2, 91):
        event(lab, days, userIdentity=service, **given)

    lines = used(aws, NOW, roles=[scene.role_name])

    assert f"role {scene.role_name} was assumed 2 times in 90 days, by ec2.amazonaws.com" in lines


def test_calls_of_a_key_are_counted(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    who = {"type": "IAMUser", "accountId": ACCOUNT, "accessKeyId": scene.access_key_id}
    for source, address in (("s3", "192.0.2.1"), ("ec2", "192.0.2.1"), ("ec2", "192.0.2.2")):
        event(
            lab,
            3,
            userIdentity=who,
            eventSource=f"{source}.amazonaws.com",
            sourceIPAddress=address,
        )

    lines = used(aws, NOW, keys=[scene.access_key_id])

    assert lines == (
        f"no use of key {scene.access_key_id} of {scene.user_name} is on record",
        f"key {scene.access_key_id} made 3 calls in 90 days from 2 addresses, to ec2, s3",
    )


def test_more_calls_than_are_read_are_a_lower_bound(
    aws: Aws, scene: Scene, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_usage, "MOST_PAGES", 1)
    who = {"type": "IAMUser", "accountId": ACCOUNT, "accessKeyId": scene.access_key_id}
    for _ in range(51):
        event(lab, 3, userIdentity=who)

    lines = used(aws, NOW, keys=[scene.access_key_id])

    assert lines[-1].startswith(f"key {scene.access_key_id} made at least 50 calls in 3 days")


def test_interfaces_of_a_subnet_are_counted(aws: Aws, scene: Scene) -> None:
    lines = used(aws, NOW, subnets=[scene.public_subnet_id])

    assert lines == (f"{scene.public_subnet_id} has 2 interfaces (2 interface), of 2 instances",)


def test_what_cannot_be_counted_is_said(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    fault = {"service": "iam", "operation": "GetAccessKeyLastUsed", "status": 403}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDenied"})

    lines = used(aws, NOW, keys=[scene.access_key_id])

    assert lines[0].startswith(
        f"what else uses key {scene.access_key_id} could not be counted: GetAccessKeyLastUsed"
    )
