"""The statement that locks a bucket, and its place in a policy that belongs to others."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from activities.aws import _identity
from firedoor.model.finding import PrincipalType

MOST = 20 * 1024
"""Bytes of a bucket policy: https://docs.aws.amazon.com/AmazonS3/latest/userguide/BucketRestrictions.html."""

SID = "FiredoorLock"

DELIVERIES = (
    "cloudtrail.amazonaws.com",
    "config.amazonaws.com",
    "delivery.logs.amazonaws.com",
    "logdelivery.elasticloadbalancing.amazonaws.com",
    "logging.s3.amazonaws.com",
)
"""Services that only write logs; what they cannot deliver is lost."""


class Requests(StrEnum):
    """Which requests are denied."""

    READS = "reads"
    WRITES = "writes"
    ALL = "all"


class Whose(StrEnum):
    """Whose requests are denied."""

    EVERYONE = "everyone"
    OUTSIDE = "outside"
    PRESIGNED = "presigned"
    PUBLIC = "public"


_READS = ("s3:GetObject*", "s3:ListBucket*", "s3:RestoreObject")
_WRITES = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject*",
    "s3:PutObject*",
    "s3:Replicate*",
    "s3:RestoreObject",
)
# What would open the lock again, or destroy behind it. Denied with whatever else is.
_SETTINGS = (
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket*",
    "s3:ObjectOwnerOverrideToBucketOwner",
    "s3:PutBucket*",
    "s3:PutEncryptionConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectAcl",
    "s3:PutObjectVersionAcl",
    "s3:PutReplicationConfiguration",
)
_ACTIONS = {
    Requests.READS: tuple(sorted({*_READS, *_SETTINGS})),
    Requests.WRITES: tuple(sorted({*_WRITES, *_SETTINGS})),
    Requests.ALL: ("s3:*",),
}


def sid(whose: Whose, requests: Requests) -> str:
    """Return the name of our statement; each scope has its own, so that none loosens another."""
    return f"{SID}{whose.title()}{requests.title()}"


def deny(
    bucket: str,
    partition: str,
    *,
    whose: Whose,
    requests: Requests,
    spared: Sequence[str],
    accounts: Sequence[str] = (),
    services: Sequence[str] = (),
    networks: Sequence[str] = (),
    vpcs: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the statement that denies; all of its conditions must hold for it to hit a request.

    `spared` are ARNs of principals; of `accounts` only those outside are hit; requests from
    `networks` and `vpcs` are spared too. Of a missing key every negated condition holds, so
    anonymous requests are always hit.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
    """
    condition: dict[str, dict[str, Any]] = {
        "ArnNotLike": {"aws:PrincipalArn": sorted(set(spared))},
    }
    others: dict[str, list[str]] = {}
    if services:
        others["aws:PrincipalServiceName"] = sorted(services)
    if whose is Whose.OUTSIDE:
        others["aws:PrincipalAccount"] = sorted(accounts)
    if vpcs:
        others["aws:SourceVpc"] = sorted(vpcs)
    if others:
        condition["StringNotEqualsIfExists"] = others
    if networks:
        condition["NotIpAddressIfExists"] = {"aws:SourceIp": sorted(networks)}
    if whose is Whose.PRESIGNED:
        condition["StringEquals"] = {"s3:authType": "REST-QUERY-STRING"}
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Sid": sid(whose, requests),
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(_ACTIONS[requests]),
        "Resource": [arn, f"{arn}/*"],
        "Condition": condition,
    }


def who_we_are(identity: str, partition: str) -> tuple[str, ...]:
    """Return what `aws:PrincipalArn` can be for the identity that STS says we have.

    Of a role session it is the role's ARN, with a path that STS does not tell. A name is unique in
    its account whatever the path, so both patterns mean our role alone.
    """
    own = _identity.caller(identity)
    root = f"arn:{partition}:iam::{own.account}"
    match own.type:
        case PrincipalType.ROLE:
            return (f"{root}:role/{own.name}", f"{root}:role/*/{own.name}")
        case PrincipalType.USER:
            return (f"{root}:user/{own.name}", f"{root}:user/*/{own.name}")
        case _:
            return (identity,)


def statements(text: str | None) -> list[dict[str, Any]]:
    """Return the statements of a policy; a single one need not be in a list."""
    found = json.loads(text)["Statement"] if text else []
    return found if isinstance(found, list) else [found]


def find(text: str | None, name: str) -> dict[str, Any] | None:
    """Return the statement of a name, written as we write it, if the policy has it."""
    return next((plain(s) for s in statements(text) if s.get("Sid") == name), None)


def merged(text: str | None, statement: Mapping[str, Any]) -> str:
    """Return a policy with a statement added, or put in the place of the one of its name."""
    others = [s for s in statements(text) if s.get("Sid") != statement["Sid"]]
    policy = json.loads(text) if text else {"Version": "2012-10-17"}
    return _text({**policy, "Statement": [*others, dict(statement)]})


def without(text: str | None, name: str) -> str | None:
    """Return a policy without the statement of a name; None if nothing else is in it."""
    others = [s for s in statements(text) if s.get("Sid") != name]
    return _text({**json.loads(text), "Statement": others}) if text and others else None


def alike(one: str | None, other: str | None) -> bool:
    """Tell whether two policies say the same, however they are written down."""
    return (one is None) == (other is None) and (
        one is None or other is None or plain(json.loads(one)) == plain(json.loads(other))
    )


def plain(value: Any) -> Any:
    """Return a part of a policy in one form: S3 may store a list of one as its item, or sort it."""
    match value:
        case {"Sid": _} | {"Effect": _}:
            return {key: _values(key, item) for key, item in value.items()}
        case {"Statement": found}:
            listed = found if isinstance(found, list) else [found]
            return {**value, "Statement": [plain(statement) for statement in listed]}
        case _:
            return value


def outsiders(text: str | None, account: str) -> tuple[str, ...]:
    """Return who from outside an account a policy allows something: accounts, and `*`."""
    allowed = [s for s in statements(text) if s["Effect"] == "Allow"]
    named = [name for s in allowed for name in _principals(s.get("Principal", "*"))]
    accounts = (name.split(":")[4] if name.startswith("arn:") else name for name in named)
    return tuple(sorted({one for one in accounts if one != account}))


def _values(key: str, item: Any) -> Any:
    if key in {"Action", "NotAction", "Resource", "NotResource"}:
        return sorted(item) if isinstance(item, list) else [item]
    if key in {"Principal", "NotPrincipal"}:
        # "*" and {"AWS": "*"} mean the same, and S3 may give back either.
        if item in ("*", {"AWS": "*"}, {"AWS": ["*"]}):
            return "*"
        return {kind: _values("Action", names) for kind, names in item.items()}
    if key == "Condition":
        return {
            operator: {name: _values("Action", values) for name, values in keys.items()}
            for operator, keys in item.items()
        }
    return item


def _principals(principal: Any) -> list[str]:
    if isinstance(principal, str):
        return [principal]
    named = principal.get("AWS", [])
    return [named] if isinstance(named, str) else list(named)


def _text(policy: Mapping[str, Any]) -> str:
    return json.dumps(policy, separators=(",", ":"))
