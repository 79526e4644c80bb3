"""What an IAM user alone has: long-lived keys, and other ways to sign in."""

from collections.abc import Callable, Mapping
from datetime import UTC
from functools import partial
from typing import Any

from activities.aws import _denials
from activities.aws._reading import counted, or_none
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.plan import Check

# AWS attaches these itself when it finds a key in public, and its support case says when to detach.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/security-iam-awsmanpol.html
QUARANTINE = "AWSCompromisedKeyQuarantine"


def keys(user: str, aws: Aws) -> list[dict[str, Any]]:
    """Read the access keys of a user."""
    return aws.pages("iam", "ListAccessKeys", "AccessKeyMetadata", UserName=user)


def key_told(key: Mapping[str, Any], aws: Aws) -> str:
    """Say what stops when a key is turned off."""
    id = key["AccessKeyId"]
    if key["Status"] != "Active":
        return f"{id} is inactive already, and stays so"
    try:
        used = aws.client("iam").get_access_key_last_used(AccessKeyId=id)["AccessKeyLastUsed"]
    except CloudError as error:
        return f"what uses {id} stops (last use could not be read: {error})"
    if "LastUsedDate" not in used:
        return f"{id} was never used"
    at = used["LastUsedDate"].astimezone(UTC).strftime(_denials.TIME)
    return f"what uses {id} stops: last used {at} for {used['ServiceName']} in {used['Region']}"


def quarantine_told(attached: list[dict[str, Any]]) -> list[str]:
    """Name the policies that AWS itself attached to a user whose key it found."""
    return [
        f"{policy['PolicyName']}, attached by AWS, stays: detach it when AWS's support case says so"
        for policy in attached
        if policy["PolicyName"].startswith(QUARANTINE)
    ]


def left_open(user: str, denied: bool, aws: Aws) -> list[Check]:
    """Say which ways in stay open to a user whose keys are off."""
    iam, own = aws.client("iam"), {"UserName": user}

    def password() -> str:
        if or_none(lambda: iam.get_login_profile(**own)) is None:
            return ""
        devices = aws.pages("iam", "ListMFADevices", "MFADevices", **own)
        return f"sign-in stays possible, with {counted(len(devices), 'MFA device')}"

    def active(operation: str, key: str) -> str:
        found = [
            one for one in aws.pages("iam", operation, key, **own) if one["Status"] == "Active"
        ]
        return f"{len(found)} active" if found else ""

    reads: dict[str, Callable[[], str]] = {
        "console password": password,
        "SSH keys": lambda: active("ListSSHPublicKeys", "SSHPublicKeys"),
        "signing certificates": lambda: active("ListSigningCertificates", "Certificates"),
        "service-specific credentials": lambda: active(
            "ListServiceSpecificCredentials", "ServiceSpecificCredentials"
        ),
    }
    return aws.together(*(partial(_closed, *read, denied) for read in reads.items()))


def _closed(name: str, read: Callable[[], str], denied: bool) -> Check:
    try:
        found = read()
    except CloudError as error:
        return Check(name=name, ok=False, detail=f"could not be read: {error}")
    if found and denied:
        found = f"{found}, and denied everything"
    return Check(name=name, ok=denied or not found, detail=found or "none")
