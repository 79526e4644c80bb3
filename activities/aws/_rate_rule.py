"""AWS WAF: a rate-based rule in a web ACL, which first counts and then blocks."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _contended
from activities.aws._reading import or_none
from activities.aws._waf import acl_settings
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, Refused
from firedoor.model.plan import LATER, Call, Change, Check

NAME = "firedoor-rate"

# https://docs.aws.amazon.com/waf/latest/developerguide/limits.html
MOST_CAPACITY = 5000
CAPACITY = 2

# What a web ACL of a region can stand before, and can be flooded.
GUARDED = ("APPLICATION_LOAD_BALANCER", "API_GATEWAY", "APPSYNC", "COGNITO_USER_POOL")

CLOUDFRONT, CLOUDFRONT_REGION = "CLOUDFRONT", "us-east-1"

# Others were faster, or what was just made has not reached all of WAF: read again.
RACES = {"WAFOptimisticLockException", "WAFUnavailableEntityException"}

Object = dict[str, Any]


def read(aws: Aws, arn: str) -> tuple[Object, str] | None:
    """Read a web ACL with its lock token; None if there is none."""
    name, id = arn.split("/")[-2:]
    client = _at(aws, arn).client("wafv2")
    found = or_none(partial(client.get_web_acl, Name=name, Id=id, Scope=scope(arn)))
    return (found["WebACL"], found["LockToken"]) if found else None


def scope(arn: str) -> str:
    """Return REGIONAL, or CLOUDFRONT."""
    return CLOUDFRONT if ":global/webacl/" in arn else "REGIONAL"


def rule(acl: Mapping[str, Any], *, limit: int, seconds: int, header: str, block: bool) -> Object:
    """Return our rule for a web ACL, as it is to be.

    Raises `Refused` if there is no priority before the rules that let requests in.
    """
    statement: Object = {
        "Limit": limit,
        "EvaluationWindowSec": seconds,
        "AggregateKeyType": "FORWARDED_IP" if header else "IP",
    }
    if header:
        statement["ForwardedIPConfig"] = {"HeaderName": header, "FallbackBehavior": "NO_MATCH"}
    return {
        "Name": NAME,
        "Priority": _priority(acl),
        "Statement": {"RateBasedStatement": statement},
        "Action": {"Block": {}} if block else {"Count": {}},
        "VisibilityConfig": {
            "SampledRequestsEnabled": True,
            "CloudWatchMetricsEnabled": True,
            "MetricName": NAME,
        },
    }


def ours(acl: Mapping[str, Any]) -> Object | None:
    """Return our rule as it is in a web ACL."""
    return next((one for one in acl.get("Rules") or () if one["Name"] == NAME), None)


def change(acl: Mapping[str, Any], wanted: Object) -> Change:
    """Return the difference that our rule makes."""
    return Change(resource=_resource(acl), attribute="rule", before=ours(acl), after=wanted)


def update(aws: Aws, acl: Mapping[str, Any], *, exact: bool) -> Call:
    """Return the call that puts the rules; days later other settings may have other values."""
    settings = acl_settings(aws, acl)
    kept = {name: value if exact else LATER for name, value in settings.items()}
    named = {"Name": acl["Name"], "Id": acl["Id"], "Scope": scope(acl["ARN"])}
    return Call(
        service="wafv2",
        operation="UpdateWebACL",
        parameters={**kept, **named, "Rules": LATER, "LockToken": LATER},
        region=CLOUDFRONT_REGION if scope(acl["ARN"]) == CLOUDFRONT else "",
    )


def state(aws: Aws, arn: str) -> State:
    """Read our rule as it is now; a web ACL that does not exist any more has none."""
    found = read(aws, arn)
    return {(f"webacl/{arn.split('/')[-2]}", "rule"): ours(found[0]) if found else None}


def guarded(aws: Aws, arn: str) -> list[str]:
    """Read what a web ACL stands before: without anything, it sees no request."""
    if scope(arn) == CLOUDFRONT:
        answer = _at(aws, arn).client("cloudfront").list_distributions_by_web_acl_id(WebACLId=arn)
        found = answer["DistributionList"].get("Items") or ()
        return [f"distribution/{one['Id']}" for one in found]
    list_ = aws.client("wafv2").list_resources_for_web_acl
    reads = (partial(list_, WebACLArn=arn, ResourceType=kind) for kind in GUARDED)
    found = [one for answer in aws.together(*reads) for one in answer.get("ResourceArns") or ()]
    return [one.split(":", 5)[-1].removeprefix("loadbalancer/") for one in found]


def limited(aws: Aws, arn: str) -> list[str]:
    """Read which addresses our rule keeps out at this moment."""
    name, id = arn.split("/")[-2:]
    answer = (
        _at(aws, arn)
        .client("wafv2")
        .get_rate_based_statement_managed_keys(
            Scope=scope(arn), WebACLName=name, WebACLId=id, RuleName=NAME
        )
    )
    families = ("ManagedKeysIPV4", "ManagedKeysIPV6")
    return [one for key in families for one in (answer.get(key) or {}).get("Addresses") or ()]


def put(call: Call, value: JsonValue, arn: str, aws: Aws) -> None:
    """Make our rule what it is to be, or remove it, and leave the others as they are now."""
    _contended.retried(partial(_put, call, value, arn, aws), RACES)


def room(acl: Mapping[str, Any]) -> Check:
    """Return whether the web ACL has capacity for one rule more."""
    used = int(acl.get("Capacity") or 0)
    return Check(
        name=f"capacity of web ACL {acl['Name']}",
        ok=used + CAPACITY <= MOST_CAPACITY,
        detail=f"{used} of {MOST_CAPACITY} used",
    )


def tags(aws: Aws, arn: str) -> dict[str, str]:
    """Read the tags of a web ACL."""
    found = _at(aws, arn).client("wafv2").list_tags_for_resource(ResourceARN=arn)
    listed = found.get("TagInfoForResource", {}).get("TagList") or ()
    return {tag["Key"]: tag["Value"] for tag in listed}


def _put(call: Call, value: JsonValue, arn: str, aws: Aws) -> None:
    found = read(aws, arn)
    if found is None:
        raise PlanStale(f"the web ACL {arn} does not exist any more")
    acl, token = found
    rules = [one for one in acl.get("Rules") or () if one["Name"] != NAME]
    rules += [value] if value else []
    now = {**acl_settings(aws, acl), "Rules": rules, "LockToken": token}
    _expect_settings(call, now, arn)
    filled = {
        name: now.get(name) if planned == LATER else planned
        for name, planned in call.parameters.items()
    }
    aws.call(call.model_copy(update={"parameters": filled}))


def _expect_settings(call: Call, now: Object, arn: str) -> None:
    changed = {
        name
        for name in (now.keys() | call.parameters.keys()) - {"Name", "Id", "Scope"}
        if name not in call.parameters or call.parameters[name] not in (LATER, now.get(name))
    }
    if changed:
        raise PlanStale(f"{', '.join(sorted(changed))} of {arn} was changed since")


def _priority(acl: Mapping[str, Any]) -> int:
    if standing := ours(acl):
        return int(standing["Priority"])
    rules = acl.get("Rules") or ()
    taken = {int(one["Priority"]) for one in rules}
    free = next(number for number in range(len(taken) + 1) if number not in taken)
    # Groups of rules may let requests in as well, but do so only if they were written for it.
    letting = [int(one["Priority"]) for one in rules if "Allow" in (one.get("Action") or {})]
    if letting and free > min(letting):
        raise Refused(
            f"web ACL {acl['Name']} has no free priority before {min(letting)}, whose rule lets"
            " requests in: renumber its rules first"
        )
    return free


def _resource(acl: Mapping[str, Any]) -> str:
    return f"webacl/{acl['Name']}"


def _at(aws: Aws, arn: str) -> Aws:
    return aws.elsewhere(region=CLOUDFRONT_REGION) if scope(arn) == CLOUDFRONT else aws
