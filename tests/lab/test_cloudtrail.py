"""The emulated event history of CloudTrail."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene
from firedoor.lab.server import ACCOUNT, EmulatedAws

Stock = Callable[..., Any]


def by(attribute: str, value: str) -> dict[str, Any]:
    return {"LookupAttributes": [{"AttributeKey": attribute, "AttributeValue": value}]}


def record(event: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(event["CloudTrailEvent"])
    return whole


def test_call_becomes_an_event_of_who_made_it(scene: Scene) -> None:
    alice = boto3.Session(scene.access_key_id, scene.secret_access_key)
    alice.client("ec2").describe_vpcs()

    (event,) = boto3.client("cloudtrail").lookup_events(**by("Username", "alice"))["Events"]

    assert (event["EventName"], event["ReadOnly"], event["AccessKeyId"]) == (
        "DescribeVpcs",
        "true",
        scene.access_key_id,
    )
    assert record(event)["userIdentity"]["arn"] == scene.user_arn


def test_refused_call_is_an_event_with_its_error(scene: Scene) -> None:
    alice = boto3.Session(scene.access_key_id, scene.secret_access_key)
    with pytest.raises(ClientError):
        alice.client("ec2").delete_vpc(VpcId=scene.vpc_id)
    with pytest.raises(ClientError):
        alice.client("iam").list_users()

    events = boto3.client("cloudtrail").lookup_events(**by("Username", "alice"))["Events"]

    assert [record(event)["errorCode"] for event in events] == [
        "AccessDenied",
        "Client.UnauthorizedOperation",
    ]


def test_session_is_found_by_its_role_and_its_name(scene: Scene) -> None:
    sts = boto3.client("sts")
    given = sts.assume_role(RoleArn=scene.app_role_arn, RoleSessionName="i-0abc")["Credentials"]
    session = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    session.client("sts").get_caller_identity()
    trail = boto3.client("cloudtrail")

    (assumed,) = trail.lookup_events(**by("ResourceName", scene.app_role_arn))["Events"]
    (called,) = trail.lookup_events(**by("Username", "i-0abc"))["Events"]

    issued = record(assumed)["responseElements"]["credentials"]["accessKeyId"]
    issuer = record(called)["userIdentity"]["sessionContext"]["sessionIssuer"]
    assert (assumed["EventName"], issued) == ("AssumeRole", given["AccessKeyId"])
    assert (called["EventName"], issuer["arn"]) == ("GetCallerIdentity", scene.app_role_arn)


def test_calls_on_data_and_with_unknown_keys_leave_no_event(scene: Scene, stock: Stock) -> None:
    before = stock("cloudtrail").lookup_events()["Events"][0]["EventName"]
    stock("s3").get_object(Bucket=scene.bucket, Key="2026/q1.csv")
    nobody = boto3.Session("AKIAQQQQQQQQQQQQQQQQ", "secret")
    with pytest.raises(ClientError):
        nobody.client("ec2").describe_vpcs()

    events = stock("cloudtrail").lookup_events(MaxResults=2)["Events"]

    assert [event["EventName"] for event in events] == ["LookupEvents", before]


def test_iam_is_in_the_home_region_and_others_in_their_own(stock: Stock) -> None:
    stock("iam", region_name="eu-west-1").create_user(UserName="bob")
    stock("ec2", region_name="eu-west-1").describe_vpcs()

    here = stock("cloudtrail").lookup_events()["Events"]
    there = stock("cloudtrail", region_name="eu-west-1").lookup_events()["Events"]

    assert "CreateUser" in [event["EventName"] for event in here]
    assert [event["EventName"] for event in there] == ["DescribeVpcs"]


def test_what_a_test_puts_in_is_looked_up_by_time(stock: Stock, lab: EmulatedAws) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for minutes in (10, 20, 30):
        at = f"{now - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"
        lab.control("POST", "firedoor/trail", {"eventTime": at, "eventName": f"Ago{minutes}"})

    events = stock("cloudtrail").lookup_events(
        StartTime=now - timedelta(minutes=20), EndTime=now - timedelta(minutes=10)
    )["Events"]

    assert [event["EventName"] for event in events] == ["Ago10", "Ago20"]
    assert record(events[0])["recipientAccountId"] == ACCOUNT


def test_events_come_in_pages(stock: Stock, lab: EmulatedAws) -> None:
    for number in range(5):
        lab.control("POST", "firedoor/trail", {"eventName": "Ours", "eventID": f"id-{number}"})
    pages = stock("cloudtrail").get_paginator("lookup_events")

    found = list(pages.paginate(**by("EventName", "Ours"), PaginationConfig={"PageSize": 2}))

    assert [[event["EventId"] for event in page["Events"]] for page in found] == [
        ["id-4", "id-3"],
        ["id-2", "id-1"],
        ["id-0"],
    ]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"MaxResults": 51}, "InvalidMaxResultsException"),
        ({"NextToken": "1-other"}, "InvalidNextTokenException"),
        (
            {"LookupAttributes": 2 * by("EventName", "x")["LookupAttributes"]},
            "InvalidLookupAttributesException",
        ),
        (
            {
                "StartTime": datetime(2026, 1, 2, tzinfo=UTC),
                "EndTime": datetime(2026, 1, 1, tzinfo=UTC),
            },
            "InvalidTimeRangeException",
        ),
    ],
)
def test_wrong_question_is_refused(stock: Stock, asked: dict[str, Any], code: str) -> None:
    trail = stock("cloudtrail")

    with pytest.raises(ClientError) as refusal:
        trail.lookup_events(**asked)

    assert refusal.value.response["Error"]["Code"] == code


def test_reset_forgets_all_events(lab: EmulatedAws, stock: Stock) -> None:
    lab.control("POST", "firedoor/trail", {"eventName": "Ours"})

    lab.reset()

    assert stock("cloudtrail").lookup_events(**by("EventName", "Ours"))["Events"] == []
