import time
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws

Stock = Callable[..., Any]
ONCE = Config(retries={"total_max_attempts": 1})


def _fault(lab: EmulatedAws, service: str, operation: str, **how: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": service, "operation": operation, **how})


def _snapshots(ec2: Any) -> int:
    return len(ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])


def test_delay_holds_for_every_call_until_reset(lab: EmulatedAws, stock: Stock) -> None:
    sts = stock("sts")
    sts.get_caller_identity()

    lab.control("POST", "firedoor/delay", {"milliseconds": 200})
    started = time.monotonic()
    sts.get_caller_identity()
    slow = time.monotonic() - started
    lab.reset()
    started = time.monotonic()
    sts.get_caller_identity()

    assert slow >= 0.2 > time.monotonic() - started


def test_calls_are_recorded_in_the_words_of_the_sdk(
    lab: EmulatedAws, stock: Stock, scene: Scene
) -> None:
    lab.control("DELETE", "firedoor/calls")

    stock("ec2").describe_vpcs()
    stock("sqs").receive_message(QueueUrl=scene.queue_url)
    stock("guardduty").list_detectors()
    stock("s3").get_object(Bucket=scene.bucket, Key="2026/q1.csv")
    with pytest.raises(ClientError):
        stock("iam").get_user(UserName="nobody")

    assert [
        (c["service"], c["operation"], c["status"]) for c in lab.control("GET", "firedoor/calls")
    ] == [
        ("ec2", "DescribeVpcs", 200),
        ("sqs", "ReceiveMessage", 200),
        ("guardduty", "ListDetectors", 200),
        ("s3", "GetObject", 200),
        ("iam", "GetUser", 404),
    ]


@pytest.mark.parametrize(
    ("service", "operation", "call"),
    [
        ("ec2", "DescribeVpcs", lambda c: c.describe_vpcs()),
        ("iam", "ListUsers", lambda c: c.list_users()),
        ("sqs", "ListQueues", lambda c: c.list_queues()),
        ("guardduty", "ListDetectors", lambda c: c.list_detectors()),
        ("s3", "ListBuckets", lambda c: c.list_buckets()),
        ("cloudwatch", "DescribeAlarms", lambda c: c.describe_alarms()),
    ],
)
def test_error_is_injected_in_the_protocol_of_the_service(
    lab: EmulatedAws, stock: Stock, service: str, operation: str, call: Callable[[Any], Any]
) -> None:
    _fault(lab, service, operation, code="RequestLimitExceeded", status=503)
    client = stock(service, config=ONCE)

    with pytest.raises(ClientError) as caught:
        call(client)
    call(client)

    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (
        "RequestLimitExceeded",
        503,
    )


def test_injected_error_has_no_effect(lab: EmulatedAws, stock: Stock, scene: Scene) -> None:
    ec2 = stock("ec2", config=ONCE)
    _fault(lab, "ec2", "CreateSnapshot")

    with pytest.raises(ClientError):
        ec2.create_snapshot(VolumeId=scene.web_volume_ids[0])

    assert _snapshots(ec2) == 0


@pytest.mark.parametrize(("kind", "effects"), [("lost", 1), ("dropped", 0)])
def test_unanswered_call_took_effect_or_not(
    lab: EmulatedAws, stock: Stock, scene: Scene, kind: str, effects: int
) -> None:
    ec2 = stock("ec2", config=ONCE)
    _fault(lab, "ec2", "CreateSnapshot", kind=kind)

    with pytest.raises(ConnectionClosedError):
        ec2.create_snapshot(VolumeId=scene.web_volume_ids[0])

    assert _snapshots(ec2) == effects


def test_fault_happens_as_often_as_asked(lab: EmulatedAws, stock: Stock) -> None:
    _fault(lab, "sts", "GetCallerIdentity", times=2, status=500)
    sts = stock("sts", config=ONCE)

    outcomes = []
    for _ in range(3):
        try:
            sts.get_caller_identity()
            outcomes.append("ok")
        except ClientError as error:
            outcomes.append(error.response["Error"]["Code"])

    assert outcomes == ["InternalError", "InternalError", "ok"]


def test_held_call_has_taken_effect_before_it_answers(
    lab: EmulatedAws, stock: Stock, scene: Scene
) -> None:
    ec2 = stock("ec2", config=Config(retries={"total_max_attempts": 1}, read_timeout=0.3))
    hold = {"service": "ec2", "operation": "CreateSnapshot", "seconds": 1.5}
    lab.control("POST", "firedoor/hold", hold)

    with pytest.raises(Exception, match="Read timeout"):
        ec2.create_snapshot(VolumeId=scene.web_volume_ids[0])

    recorded = [c["operation"] for c in lab.control("GET", "firedoor/calls")]
    assert ("CreateSnapshot" in recorded, _snapshots(ec2)) == (True, 1)


def test_what_moto_lacks_is_an_error_of_the_service(stock: Stock) -> None:
    with pytest.raises(ClientError) as caught:
        stock("ec2", config=ONCE).describe_fast_snapshot_restores()

    assert caught.value.response["Error"]["Code"] == "InternalFailure"


def test_unsigned_request_is_moto_s_to_answer(lab: EmulatedAws, scene: Scene) -> None:
    with pytest.raises(HTTPError) as caught:
        urlopen(f"{lab.endpoint}/{scene.bucket}/2026/q1.csv")

    assert caught.value.code == 403


def test_call_by_presigned_url_is_recorded(lab: EmulatedAws, stock: Stock, scene: Scene) -> None:
    named = {"Bucket": scene.bucket, "Key": "2026/q1.csv"}
    s3 = stock("s3", config=Config(signature_version="s3v4"))
    with urlopen(s3.generate_presigned_url("get_object", named)) as answer:
        body = answer.read()

    recorded = [(c["service"], c["operation"]) for c in lab.control("GET", "firedoor/calls")]

    assert (body[:6], recorded) == (b"region", [("s3", "GetObject")])


def test_nonsense_is_refused(lab: EmulatedAws) -> None:
    with pytest.raises(HTTPError) as caught:
        lab.control("POST", "firedoor/faults", {"service": "ec2"})

    assert caught.value.code == 400


def test_restore_brings_back_everything(lab: EmulatedAws, stock: Stock, scene: Scene) -> None:
    stock("ec2").terminate_instances(InstanceIds=[scene.web_id])
    stock("iam").delete_user_policy(UserName="alice", PolicyName="operator")
    stock("s3").put_object(Bucket=scene.bucket, Key="2026/q1.csv", Body=b"gone")
    stock("sqs").send_message(QueueUrl=scene.queue_url, MessageBody="{}")

    lab.restore()

    (reservation,) = stock("ec2").describe_instances(InstanceIds=[scene.web_id])["Reservations"]
    body = stock("s3").get_object(Bucket=scene.bucket, Key="2026/q1.csv")["Body"].read()
    assert (
        reservation["Instances"][0]["State"]["Name"],
        stock("iam").list_user_policies(UserName="alice")["PolicyNames"],
        body[:6],
        stock("sqs").receive_message(QueueUrl=scene.queue_url).get("Messages"),
    ) == ("running", ["operator"], b"region", None)


def test_dry_run_uses_up_no_hold(lab: EmulatedAws, stock: Stock, scene: Scene) -> None:
    hold = {"service": "ec2", "operation": "CreateSnapshot", "seconds": 1.5}
    lab.control("POST", "firedoor/hold", hold)
    ec2 = stock("ec2")

    with pytest.raises(ClientError, match="DryRunOperation"):
        ec2.create_snapshot(VolumeId=scene.web_volume_ids[0], DryRun=True)
    began = time.monotonic()
    ec2.create_snapshot(VolumeId=scene.web_volume_ids[0])

    assert time.monotonic() - began >= 1.5
