"""What locking a bucket reads: its settings, and the other doors to what it holds."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _bucket_policy, _identity, _network
from activities.aws._network import Remarks
from activities.aws._reading import counted, named, or_none
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, NotFound
from firedoor.model.plan import Check

BLOCK, VERSIONING, LIFECYCLE = "public access block", "versioning", "lifecycle"

CLOSED = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}

UNLOGGED = "no trail logs them: who read what until now cannot be told"
"""What is said of a bucket whose reads and writes CloudTrail does not record."""

# Multi-region access points are asked for in one region, whatever regions they reach.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/MultiRegionAccessPointRestrictions.html
MULTI_REGION = "us-west-2"

_PUBLIC_GROUPS = ("AllUsers", "AuthenticatedUsers")


def exists(aws: Aws, bucket: str) -> bool:
    """Tell whether a bucket is there; one of another account is denied, whatever it allows us."""
    return or_none(lambda: _get(aws, "versioning", bucket)) is not None


def policy(aws: Aws, bucket: str) -> str | None:
    """Read the policy of a bucket, letter by letter."""
    found = or_none(lambda: _get(aws, "policy", bucket))
    return str(found["Policy"]) if found else None


def settings(aws: Aws, bucket: str) -> State:
    """Read the public access block, versioning and lifecycle; what was never set is None."""
    reads = (
        partial(or_none, partial(_block, aws, bucket)),
        partial(_get, aws, "versioning", bucket),
        partial(or_none, partial(_get, aws, "lifecycle_configuration", bucket)),
    )
    read: list[Any] = aws.together(*reads)
    block, versioning, lifecycle = read
    return {
        (bucket, BLOCK): block,
        (bucket, VERSIONING): (versioning or {}).get("Status"),
        (bucket, LIFECYCLE): _plain(lifecycle) if lifecycle else None,
    }


def without_deletions(lifecycle: JsonValue) -> JsonValue:
    """Return a lifecycle with the rules turned off that delete; itself if there are none."""
    if not isinstance(lifecycle, dict) or not deletions(lifecycle):
        return lifecycle
    rules: Any = lifecycle["Rules"]
    off = [{**rule, "Status": "Disabled"} if _deletes(rule) else rule for rule in rules]
    return {**lifecycle, "Rules": off}


def deletions(lifecycle: JsonValue) -> int:
    """Count the rules of a lifecycle that are on and delete objects or versions."""
    rules = lifecycle.get("Rules") if isinstance(lifecycle, dict) else None
    return sum(map(_deletes, rules)) if isinstance(rules, list) else 0


def tags(aws: Aws, bucket: str) -> dict[str, str]:
    """Read the tags of a bucket."""
    found = or_none(lambda: _get(aws, "tagging", bucket))
    return {tag["Key"]: tag["Value"] for tag in (found or {}).get("TagSet", ())}


def public_policy_blocked(aws: Aws, bucket: str, block: JsonValue) -> str:
    """Return why S3 takes no policy for a bucket: the standing one is public, which is blocked."""
    # Who may not ask is told by S3 itself, as it refuses the policy.
    read = partial(or_none, partial(_get, aws, "policy_status", bucket))
    status: Any = _identity.if_allowed(read)
    if not (status or {}).get("PolicyStatus", {}).get("IsPublic"):
        return ""
    places = [("its own", block), ("the account's", _block_of_account(aws))]
    by = [whose for whose, flags in places if _is_on(flags, "BlockPublicPolicy")]
    return (
        f"its policy is public, and {by[0]} BlockPublicPolicy refuses to store such" if by else ""
    )


def doors(aws: Aws, bucket: str, text: str | None) -> Remarks:
    """Look which other ways lead to what is in a bucket, and to copies of it."""
    looks: Mapping[str, Callable[[], Remarks]] = {
        "access points": partial(_access_points, aws, bucket),
        "multi-region access points": partial(_multi_region, aws, bucket),
        "CloudFront": partial(_distributions, aws, bucket),
        "replication": partial(_replicas, aws, bucket),
        "ACL": partial(_grants, aws, bucket),
        "website": partial(_website, aws, bucket),
        "data events": partial(_logged, aws, bucket),
    }
    seen = _network.together(
        aws, *(partial(_network.tried, f"{name} of {bucket}", look) for name, look in looks.items())
    )
    return Remarks((*seen.blast_radius, *_allowed(text, aws.account)), seen.preflight)


def trails(aws: Aws, bucket: str) -> tuple[str, ...]:
    """Return the names of the trails that deliver into a bucket."""
    found = aws.client("cloudtrail").describe_trails(includeShadowTrails=True)["trailList"]
    return tuple(trail["Name"] for trail in found if trail.get("S3BucketName") == bucket)


def _get(aws: Aws, what: str, bucket: str) -> dict[str, Any]:
    read = getattr(aws.client("s3"), f"get_bucket_{what}")
    found: dict[str, Any] = read(Bucket=bucket, ExpectedBucketOwner=aws.account)
    return found


def _block(aws: Aws, bucket: str) -> dict[str, bool]:
    read = aws.client("s3").get_public_access_block
    found = read(Bucket=bucket, ExpectedBucketOwner=aws.account)["PublicAccessBlockConfiguration"]
    return {name: bool(found.get(name)) for name in CLOSED}


def _block_of_account(aws: Aws) -> JsonValue:
    try:
        found = aws.client("s3control").get_public_access_block(AccountId=aws.account)
    except CloudError:  # not there, or not for us to see: then S3 itself will say it
        return None
    flags: JsonValue = found["PublicAccessBlockConfiguration"]
    return flags


def _is_on(flags: JsonValue, name: str) -> bool:
    return isinstance(flags, dict) and bool(flags.get(name))


def _plain(answer: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("Rules", "TransitionDefaultMinimumObjectSize")
    read = {name: answer[name] for name in kept if name in answer}
    plain: dict[str, Any] = json.loads(json.dumps(read, default=_instant))
    return plain


def _instant(value: Any) -> str:
    return str(value.isoformat())


def _deletes(rule: Any) -> bool:
    ends = {"Expiration", "NoncurrentVersionExpiration"}
    return bool(rule["Status"] == "Enabled" and ends & rule.keys())


# Other doors


def _access_points(aws: Aws, bucket: str) -> Remarks:
    found = aws.pages(
        "s3control", "ListAccessPoints", "AccessPointList", AccountId=aws.account, Bucket=bucket
    )
    if not found:
        return Remarks()
    inside = [point["Name"] for point in found if point.get("NetworkOrigin") == "VPC"]
    names = named([point["Name"] for point in found])
    return Remarks(
        (
            f"{counted(len(found), 'access point')} to {bucket} ({names}; {len(inside)} only from a"
            " VPC): requests through them, and through Object Lambda in front of them, meet the"
            " deny too",
        )
    )


def _multi_region(aws: Aws, bucket: str) -> Remarks:
    there = aws.elsewhere(region=MULTI_REGION)
    found = there.pages(
        "s3control", "ListMultiRegionAccessPoints", "AccessPoints", AccountId=aws.account
    )
    through = [p for p in found if any(r.get("Bucket") == bucket for r in p.get("Regions", ()))]
    others = {r["Bucket"] for p in through for r in p["Regions"]} - {bucket}
    if not through:
        return Remarks()
    return Remarks(
        (
            f"{counted(len(through), 'multi-region access point')} to {bucket}:"
            f" {counted(len(others), 'other bucket')} behind it stay open"
            f" ({named(sorted(others))})",
        )
    )


def _distributions(aws: Aws, bucket: str) -> Remarks:
    client = aws.client("cloudfront")
    pages = client.get_paginator("list_distributions").paginate()
    found = [d for page in pages for d in page.get("DistributionList", {}).get("Items", ())]
    serving = [
        distribution
        for distribution in found
        for origin in distribution.get("Origins", {}).get("Items", ())
        if origin["DomainName"].startswith((f"{bucket}.s3.", f"{bucket}.s3-"))
    ]
    if not serving:
        return Remarks()
    ids = list(dict.fromkeys(d["Id"] for d in serving))
    return Remarks(
        (
            f"{bucket} is behind {counted(len(ids), 'CloudFront distribution')} ({named(ids)}): new"
            " fetches meet the deny, and what is cached is served until it expires: invalidate it",
        )
    )


def _replicas(aws: Aws, bucket: str) -> Remarks:
    found = or_none(lambda: _get(aws, "replication", bucket))
    rules = (found or {}).get("ReplicationConfiguration", {}).get("Rules", ())
    on = [rule["Destination"] for rule in rules if rule["Status"] == "Enabled"]
    to = named(sorted({d["Bucket"].rpartition(":")[2] + _of_account(d) for d in on}))
    if not on:
        return Remarks()
    return Remarks(
        (
            f"{counted(len(on), 'replication rule')} of {bucket}: copies in {to} stay as"
            " open as they are: lock them too",
        )
    )


def _of_account(destination: Mapping[str, Any]) -> str:
    return f" (account {destination['Account']})" if destination.get("Account") else ""


def _grants(aws: Aws, bucket: str) -> Remarks:
    acl = _get(aws, "acl", bucket)
    own = acl.get("Owner", {}).get("ID")
    to = [g["Grantee"] for g in acl.get("Grants", ()) if g["Grantee"].get("ID") != own]
    public = [g for g in to if g.get("URI", "").endswith(_PUBLIC_GROUPS)]
    others = [g for g in to if g.get("ID") or g.get("EmailAddress")]
    lines = []
    if public:
        lines.append(f"of no effect any more: {counted(len(public), 'public ACL grant')}")
    if others:
        lines.append(f"under the deny: {counted(len(others), 'ACL grant')} to other accounts")
    return Remarks(tuple(lines))


def _website(aws: Aws, bucket: str) -> Remarks:
    found = or_none(lambda: _get(aws, "website", bucket))
    return Remarks((f"{bucket} is a website, which ends for everyone",) if found else ())


def _allowed(text: str | None, account: str) -> tuple[str, ...]:
    others = _bucket_policy.outsiders(text, account)
    if not others:
        return ()
    return (f"the policy lets in {len(others)} from outside: {named(others)}",)


def _logged(aws: Aws, bucket: str) -> Remarks:
    trails = aws.client("cloudtrail").describe_trails(includeShadowTrails=True)["trailList"]
    reads = (partial(_selectors, aws, trail["TrailARN"]) for trail in trails)
    by = [
        trail["Name"]
        for trail, selectors in zip(trails, aws.together(*reads), strict=True)
        if _covers(selectors, f"arn:{aws.partition}:s3:::{bucket}/")
    ]
    name = f"data events of {bucket}"
    if by:
        return Remarks(preflight=(Check(name=name, ok=True, detail=f"logged by {', '.join(by)}"),))
    return Remarks(preflight=(Check(name=name, ok=False, detail=UNLOGGED),))


def _selectors(aws: Aws, trail: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = aws.client("cloudtrail").get_event_selectors(TrailName=trail)
    except NotFound:
        return {}
    return found


def _covers(selectors: Mapping[str, Any], objects: str) -> bool:
    """Tell whether a trail records reads or writes of objects, by selectors of either kind."""
    recorded = [
        prefix
        for selector in selectors.get("EventSelectors") or ()
        for data in selector.get("DataResources") or ()
        if data.get("Type") == "AWS::S3::Object"
        for prefix in data.get("Values", ())
    ]
    if any(objects.startswith(prefix) for prefix in recorded):
        return True
    for advanced in selectors.get("AdvancedEventSelectors") or ():
        fields = {field["Field"]: field for field in advanced["FieldSelectors"]}
        if "AWS::S3::Object" in fields.get("resources.type", {}).get("Equals", ()):
            arn = fields.get("resources.ARN", {})
            within = [*arn.get("Equals", ()), *arn.get("StartsWith", ())]
            if not within or any(objects.startswith(prefix) for prefix in within):
                return True
    return False
