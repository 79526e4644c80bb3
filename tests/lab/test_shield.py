from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Stock = Callable[..., Any]
BALANCER = (
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/web/0123456789abcdef"
)
ROLE = "arn:aws:iam::123456789012:role/drt"
CONTACTS = [{"EmailAddress": "soc@example.com"}]


@pytest.fixture
def shield(stock: Stock) -> Any:
    client = stock("shield")
    client.create_subscription()
    client.create_protection(Name="web", ResourceArn=BALANCER)
    return client


def _code(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def _response(shield: Any) -> Any:
    protection = shield.describe_protection(ResourceArn=BALANCER)["Protection"]
    return protection.get("ApplicationLayerAutomaticResponseConfiguration") or {}


def test_without_a_subscription_nothing_is_there(stock: Stock) -> None:
    assert _code(stock("shield").describe_drt_access) == "ResourceNotFoundException"


def test_an_automatic_response_is_enabled_updated_and_disabled(shield: Any) -> None:
    named = {"ResourceArn": BALANCER}
    shield.enable_application_layer_automatic_response(**named, Action={"Count": {}})
    twice = _code(
        lambda: shield.enable_application_layer_automatic_response(**named, Action={"Count": {}})
    )
    shield.update_application_layer_automatic_response(**named, Action={"Block": {}})
    updated = _response(shield)
    shield.disable_application_layer_automatic_response(**named)

    assert twice == "ResourceAlreadyExistsException"
    assert updated == {"Status": "ENABLED", "Action": {"Block": {}}}
    assert _response(shield) == {}
    assert (
        _code(
            lambda: shield.update_application_layer_automatic_response(
                **named, Action={"Block": {}}
            )
        )
        == "ResourceNotFoundException"
    )


def test_the_team_has_one_role(shield: Any) -> None:
    shield.associate_drt_role(RoleArn=ROLE)
    shield.associate_drt_role(RoleArn=ROLE + "-2")
    second = shield.describe_drt_access()["RoleArn"]
    shield.disassociate_drt_role()

    assert second == ROLE + "-2"
    assert "RoleArn" not in shield.describe_drt_access()


def test_the_team_reads_ten_buckets_where_it_has_a_role(shield: Any) -> None:
    without = _code(lambda: shield.associate_drt_log_bucket(LogBucket="logs-00"))
    shield.associate_drt_role(RoleArn=ROLE)
    for number in range(10):
        shield.associate_drt_log_bucket(LogBucket=f"logs-{number}")

    eleventh = _code(lambda: shield.associate_drt_log_bucket(LogBucket="logs-10"))
    shield.disassociate_drt_log_bucket(LogBucket="logs-0")

    assert (without, eleventh) == ("NoAssociatedRoleException", "LimitsExceededException")
    assert len(shield.describe_drt_access()["LogBucketList"]) == 9


def test_engagement_is_asked_for_once_and_pending(shield: Any) -> None:
    shield.associate_proactive_engagement_details(EmergencyContactList=CONTACTS)

    pending = shield.describe_subscription()["Subscription"]["ProactiveEngagementStatus"]
    again = _code(
        lambda: shield.associate_proactive_engagement_details(EmergencyContactList=CONTACTS)
    )
    shield.update_emergency_contact_settings(EmergencyContactList=[])
    shield.disable_proactive_engagement()

    after = shield.describe_subscription()["Subscription"]["ProactiveEngagementStatus"]
    assert (pending, again, after) == ("PENDING", "InvalidOperationException", "DISABLED")
    assert shield.describe_emergency_contact_settings()["EmergencyContactList"] == []
