from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

Stock = Callable[..., Any]
VISIBILITY = {
    "SampledRequestsEnabled": True,
    "CloudWatchMetricsEnabled": False,
    "MetricName": "shop",
}


@pytest.fixture
def waf(stock: Stock) -> Any:
    return stock("wafv2")


def test_name_of_an_ip_set_is_taken_once_in_a_scope(waf: Any) -> None:
    made(waf)

    assert code(made, waf) == "WAFDuplicateItemException"
    made(waf, Scope="CLOUDFRONT")


@pytest.mark.parametrize(
    "address", ["198.51.100.7", "0.0.0.0/0", "198.51.100.7/24", "2001:db8::7/128", "here"]
)
def test_what_is_no_block_of_the_family_is_refused(waf: Any, address: str) -> None:
    assert code(made, waf, Addresses=[address]) == "WAFInvalidParameterException"


def test_ipv6_blocks_are_shown_in_full(waf: Any) -> None:
    id = made(waf, IPAddressVersion="IPV6", Addresses=["2001:db8::7/128"])["Id"]

    shown = waf.get_ip_set(Name="bad", Scope="REGIONAL", Id=id)["IPSet"]["Addresses"]

    assert shown == ["2001:0db8:0000:0000:0000:0000:0000:0007/128"]


def test_ip_set_has_room_for_ten_thousand(waf: Any) -> None:
    blocks = [f"10.{n // 65536}.{n // 256 % 256}.{n % 256}/32" for n in range(10_001)]

    assert code(made, waf, Addresses=blocks) == "WAFLimitsExceededException"


def test_stale_lock_token_is_refused(waf: Any) -> None:
    ip_set = made(waf)
    update = {"Name": "bad", "Scope": "REGIONAL", "Id": ip_set["Id"], "Addresses": []}
    waf.update_ip_set(**update, LockToken=ip_set["LockToken"])

    stale = code(waf.update_ip_set, **update, LockToken=ip_set["LockToken"])

    assert stale == "WAFOptimisticLockException"


def test_ip_set_in_use_is_not_deleted(waf: Any) -> None:
    ip_set = made(waf)
    acl = web_acl(waf, [rule(ip_set["ARN"])])
    delete = {"Name": "bad", "Scope": "REGIONAL", "Id": ip_set["Id"]}

    used = code(waf.delete_ip_set, **delete, LockToken=ip_set["LockToken"])
    updated(waf, acl, [])
    waf.delete_ip_set(**delete, LockToken=ip_set["LockToken"])

    assert used == "WAFAssociatedItemException"


def test_rules_with_one_priority_or_of_unknown_sets_are_refused(waf: Any) -> None:
    arn = made(waf)["ARN"]
    acl = web_acl(waf, [])

    twice = code(updated, waf, acl, [rule(arn), rule(arn, Name="other")])
    unknown = code(updated, waf, acl, [rule(f"{arn}x")])

    assert (twice, unknown) == ("WAFInvalidParameterException", "WAFNonexistentItemException")


def test_cloudfront_is_served_in_us_east_1_only(stock: Stock) -> None:
    there = stock("wafv2", region_name="eu-west-1")

    assert code(there.list_ip_sets, Scope="CLOUDFRONT") == "WAFInvalidParameterException"


def test_sample_of_requests_is_empty(waf: Any) -> None:
    acl = web_acl(waf, [])
    now = datetime.now(UTC)

    sample = waf.get_sampled_requests(
        WebAclArn=acl["ARN"],
        RuleMetricName="ALL",
        Scope="REGIONAL",
        TimeWindow={"StartTime": now, "EndTime": now},
        MaxItems=5,
    )

    assert sample["SampledRequests"] == []


def made(waf: Any, **members: Any) -> Any:
    ip_set = {"Name": "bad", "Scope": "REGIONAL", "IPAddressVersion": "IPV4", "Addresses": []}
    return waf.create_ip_set(**ip_set | members)["Summary"]


def rule(arn: str, **members: Any) -> dict[str, Any]:
    return {
        "Name": "bad",
        "Priority": 0,
        "Action": {"Block": {}},
        "Statement": {"IPSetReferenceStatement": {"ARN": arn}},
        "VisibilityConfig": VISIBILITY,
        **members,
    }


def web_acl(waf: Any, rules: list[Any]) -> Any:
    return waf.create_web_acl(
        Name="shop",
        Scope="REGIONAL",
        DefaultAction={"Allow": {}},
        VisibilityConfig=VISIBILITY,
        Rules=rules,
    )["Summary"]


def updated(waf: Any, acl: Any, rules: list[Any]) -> None:
    named = {"Name": acl["Name"], "Scope": "REGIONAL", "Id": acl["Id"]}
    token = waf.get_web_acl(**named)["LockToken"]
    waf.update_web_acl(
        **named,
        DefaultAction={"Allow": {}},
        VisibilityConfig=VISIBILITY,
        Rules=rules,
        LockToken=token,
    )


def code(call: Callable[..., Any], *args: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*args, **parameters)
    return str(caught.value.response["Error"]["Code"])
