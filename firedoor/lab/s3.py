"""S3: bucket policies that mean something, whose bucket it is, and the block of public policies.

moto knows of a bucket policy only what it says to everyone, without its conditions, and asks it
only about objects. Here a deny of a bucket policy that hits the caller is final for every operation
on the bucket or its objects, except that the account's root user can always read, put and delete
the policy. `ExpectedBucketOwner` is compared, and `BlockPublicPolicy`, of the bucket or of the
account, keeps a policy out that moto takes for public. What an allow gives is left to moto.

Of a request these keys of conditions are known: aws:PrincipalArn, aws:PrincipalAccount,
aws:SourceIp, s3:authType, aws:SecureTransport. Callers that are no user and no role, as `testing`,
are the user `moto`, as STS says of them.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from flask import request
from moto.iam.access_control import PermissionResult
from moto.iam.models import iam_backends
from moto.s3.exceptions import BucketAccessDeniedError
from moto.s3.models import FakeBucket, S3Backend, s3_backends
from moto.s3.responses import S3Response
from moto.s3.utils import bucket_policy_is_public
from moto.s3control.models import s3control_backends
from moto.sts.models import sts_backends

from firedoor.lab import patch
from firedoor.lab.policy import Decision, decide
from firedoor.lab.request import AwsRequest

_OWNERS_ALWAYS = {"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"}

# What moto calls otherwise than IAM does.
_ACTIONS = {
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}


def install() -> None:
    """Let moto's S3 obey bucket policies."""
    patch.around(S3Response, "_authenticate_and_authorize_s3_action", _unless_denied)
    patch.around(FakeBucket, "get_permission", _with_conditions)
    patch.around(S3Backend, "put_bucket_policy", _unless_public)


def _unless_denied(
    original: Callable[..., None],
    response: Any,
    bucket_name: str | None = None,
    key_name: str | None = None,
) -> None:
    bucket = _find(bucket_name)
    if bucket is not None and response.data.get("Action") != "CreateBucket":
        expected = request.headers.get("x-amz-expected-bucket-owner", bucket.account_id)
        name = f"s3:{response.data['Action']}"
        resource = f"arn:{bucket.partition}:s3:::{bucket.name}"
        resource += f"/{key_name}" if key_name else ""
        if expected != bucket.account_id or _is_denied(bucket, name, resource):
            raise BucketAccessDeniedError(bucket.name)
    original(response, bucket_name=bucket_name, key_name=key_name)


def _with_conditions(
    original: Callable[..., Any], bucket: FakeBucket, action: str, resource: str
) -> Any:
    # Of many objects that are to be deleted at once, each is asked for; the rest was asked before.
    if request.method == "POST" and _is_denied(bucket, action, resource):
        return PermissionResult.DENIED
    answer = original(bucket, action, resource)
    return PermissionResult.NEUTRAL if answer is PermissionResult.DENIED else answer


def _unless_public(
    original: Callable[..., None], backend: S3Backend, bucket_name: str, policy: bytes
) -> None:
    bucket = backend.get_bucket(bucket_name)
    of_account = s3control_backends[bucket.account_id][bucket.partition].public_access_block
    blocks = [block for block in (bucket.public_access_block, of_account) if block]
    if any(block.block_public_policy for block in blocks) and bucket_policy_is_public(policy):
        raise BucketAccessDeniedError(bucket_name)
    original(backend, bucket_name, policy)


def _find(name: str | None) -> FakeBucket | None:
    if name not in s3_backends.bucket_accounts:
        return None
    partition, account = s3_backends.bucket_accounts[name]
    return s3_backends[account][partition].buckets.get(name)


def _is_denied(bucket: FakeBucket, action: str, resource: str) -> bool:
    if bucket.policy is None:
        return False
    action = _ACTIONS.get(action, action)
    context = _context(bucket)
    arn = context.get("aws:PrincipalArn", "")
    if action in _OWNERS_ALWAYS and arn.endswith(f"::{bucket.account_id}:root"):
        return False
    policy = json.loads(bucket.policy)
    found = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    meant = [statement for statement in found if _is_meant(statement, arn)]
    denied = decide([{"Statement": meant}], None, action, resource, context)
    return denied is Decision.EXPLICIT_DENY


def _is_meant(statement: dict[str, Any], arn: str) -> bool:
    principal = statement.get("Principal", {})
    named = principal.get("AWS", []) if isinstance(principal, dict) else principal
    account = arn.split(":")[4] if arn else ""
    return any(
        name in {"*", arn, account, re.sub("[^:]*$", "root", arn)}
        for name in (named if isinstance(named, list) else [named])
    )


def _context(bucket: FakeBucket) -> dict[str, str]:
    """Return what is known of the request that is being answered."""
    # The second is of a URL that is signed the old way.
    key = AwsRequest(request.environ).access_key or request.args.get("AWSAccessKeyId", "")
    signed_in_url = "X-Amz-Signature" in request.args or "Signature" in request.args
    context = {
        "aws:SecureTransport": "true",
        "aws:SourceIp": request.remote_addr or "127.0.0.1",
        "aws:PrincipalAccount": "anonymous",
    }
    if not key:
        return context
    backend = sts_backends[bucket.account_id][bucket.partition]
    _, arn, account = backend.get_caller_identity(key, bucket.region_name)
    return context | {
        "aws:PrincipalAccount": account,
        "aws:PrincipalArn": _principal(arn, account, bucket.partition),
        "s3:authType": "REST-QUERY-STRING" if signed_in_url else "REST-HEADER",
    }


def _principal(arn: str, account: str, partition: str) -> str:
    """Return the user or role of an ARN of STS; that of a role has a path, which STS leaves out."""
    kind, _, rest = arn.split(":", 5)[5].partition("/")
    if kind != "assumed-role":
        return arn.replace(":sts:", ":iam:")
    name = rest.partition("/")[0]
    roles = iam_backends[account][partition].roles.values()
    found = (role.arn for role in roles if role.name == name)
    return next(found, f"arn:{partition}:iam::{account}:role/{name}")
