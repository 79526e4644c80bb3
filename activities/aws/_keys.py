"""KMS keys that another account is to copy from: which can be shared, and the grants on them.

https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from activities.aws._snapshots import ours
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, NotFound, Refused
from firedoor.model.plan import LATER, Call, Target

# What EBS does with the key of a snapshot that somebody else copies under a key of theirs.
# https://docs.aws.amazon.com/ebs/latest/userguide/share-kms-key.html
OPERATIONS = (
    "CreateGrant",
    "Decrypt",
    "DescribeKey",
    "GenerateDataKeyWithoutPlaintext",
    "ReEncryptFrom",
    "ReEncryptTo",
)

IN_FORCE = timedelta(minutes=15)
"""By when a grant works; AWS says that it mostly takes less than five minutes."""


def described(key: str, aws: Aws) -> dict[str, Any]:
    """Read a key by id, ARN or alias."""
    metadata: dict[str, Any] = aws.client("kms").describe_key(KeyId=key)["KeyMetadata"]
    return metadata


def is_aws_own(metadata: dict[str, Any]) -> bool:
    """Return whether a key is one that AWS manages: its policy is AWS's, so none may be let in."""
    return bool(metadata.get("KeyManager") == "AWS")


def creation(target: Target, key: str, grantee: str) -> Call:
    """Return the call that lets somebody copy from what a key encrypts.

    The same call with the same name is the same grant: AWS makes no second one.
    """
    return Call(
        service="kms",
        operation="CreateGrant",
        parameters={
            "KeyId": key,
            "GranteePrincipal": grantee,
            "Operations": list(OPERATIONS),
            "Name": name(target),
        },
    )


def revocation(key: str, id: str = LATER) -> Call:
    """Return the call that takes a grant back."""
    return Call(service="kms", operation="RevokeGrant", parameters={"KeyId": key, "GrantId": id})


def name(target: Target) -> str:
    """Return the name of the grants of a step."""
    return f"firedoor-{hashlib.sha256(repr(ours(target)).encode()).hexdigest()[:32]}"


def found(target: Target, key: str, aws: Aws) -> dict[str, Any] | None:
    """Read the grant of a step on a key."""
    grants = aws.pages("kms", "ListGrants", "Grants", KeyId=key)
    return next((grant for grant in grants if grant.get("Name") == name(target)), None)


def works(grant: dict[str, Any], there: Aws) -> bool:
    """Return whether a grant is in force in the account that it is for.

    CopySnapshot takes no grant token, and with a key that cannot be used yet it does not fail: it
    makes a snapshot that ends in error later. So the key is tried first.

    Raises `Refused` if the grant should long be in force.
    """
    try:
        described(grant["KeyId"], there)
    except (AccessDenied, NotFound) as error:
        if datetime.now(UTC) - grant["CreationDate"] > IN_FORCE:
            raise Refused(f"the grant on {grant['KeyId']} has no effect: {error}") from error
        return False
    return True
