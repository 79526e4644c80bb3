"""What an IAM user alone has: long-lived credentials of four kinds, a password, MFA devices."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _denials, _identity
from activities.aws._reading import or_none
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.model.plan import Call, Change, Check

# AWS attaches these itself when it finds a key in public, and its support case says when to detach.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/security-iam-awsmanpol.html
QUARANTINE = "AWSCompromisedKeyQuarantine"

ACTIVE, INACTIVE = "Active", "Inactive"

MFA = "MFA device"
"""The attribute of changes that are about one; the resource is its serial number."""


@dataclass(frozen=True)
class Credential:
    """A kind of long-lived credential that can be turned off and on again."""

    noun: str
    list: str
    items: str
    id: str
    update: str

    @property
    def attribute(self) -> str:
        """What changes of it are about."""
        return f"{self.noun} status"


KEY = Credential(
    "access key", "ListAccessKeys", "AccessKeyMetadata", "AccessKeyId", "UpdateAccessKey"
)
CREDENTIALS = (
    KEY,
    Credential(
        "service-specific credential",
        "ListServiceSpecificCredentials",
        "ServiceSpecificCredentials",
        "ServiceSpecificCredentialId",
        "UpdateServiceSpecificCredential",
    ),
    Credential(
        "SSH public key",
        "ListSSHPublicKeys",
        "SSHPublicKeys",
        "SSHPublicKeyId",
        "UpdateSSHPublicKey",
    ),
    Credential(
        "signing certificate",
        "ListSigningCertificates",
        "Certificates",
        "CertificateId",
        "UpdateSigningCertificate",
    ),
)
BY_ATTRIBUTE: Mapping[str, Credential] = {kind.attribute: kind for kind in CREDENTIALS}

Items = list[dict[str, Any]]


@dataclass(frozen=True)
class Held:
    """What a user can prove itself with; None is what could not be read."""

    credentials: Mapping[Credential, Items | None]
    password: bool | None
    mfa: Items | None

    @property
    def state(self) -> State:
        """The status of each credential, and when each MFA device was enrolled."""
        now: dict[tuple[str, str], JsonValue] = {
            (item[kind.id], kind.attribute): item["Status"]
            for kind, items in self.credentials.items()
            for item in items or ()
        }
        return now | {(d["SerialNumber"], MFA): _enrolled(d) for d in self.mfa or ()}

    def after(self, changes: tuple[Change, ...]) -> "Held":
        """Return what there will be once changes are made."""
        off = {change.resource for change in changes}
        credentials = {
            kind: items and [i | {"Status": INACTIVE} if i[kind.id] in off else i for i in items]
            for kind, items in self.credentials.items()
        }
        mfa = self.mfa and [d for d in self.mfa if d["SerialNumber"] not in off]
        return Held(credentials, self.password, mfa)


def held(user: str, aws: Aws) -> Held:
    """Read all that a user can prove itself with; what we may not read is None."""
    own = {"UserName": user}

    def password() -> bool:
        return or_none(lambda: aws.client("iam").get_login_profile(**own)) is not None

    reads: list[Callable[[], Any]] = [
        *(partial(aws.pages, "iam", kind.list, kind.items, **own) for kind in CREDENTIALS),
        partial(aws.pages, "iam", "ListMFADevices", "MFADevices", **own),
        password,
    ]
    *listed, mfa, has_password = aws.together(
        *(partial(_identity.if_allowed, read) for read in reads)
    )
    return Held(dict(zip(CREDENTIALS, listed, strict=True)), has_password, mfa)


def of_keys(keys: Iterable[str], aws: Aws) -> str | None:
    """Return who has one of some access keys by now: keys stay with a user that is renamed."""
    read = aws.client("iam").get_access_key_last_used
    for key in keys:
        # IAM says of a key that it does not know, or that is of a session, that we may not ask.
        found = _identity.if_allowed(partial(or_none, partial(read, AccessKeyId=key)))
        if found and found.get("UserName"):
            return str(found["UserName"])
    return None


def turned_off(held: Held) -> tuple[Change, ...]:
    """Return the changes that turn off every credential that is on."""
    return tuple(
        Change(resource=id, attribute=attribute, before=ACTIVE, after=INACTIVE)
        for (id, attribute), value in held.state.items()
        if value == ACTIVE
    )


def unenrolled(held: Held, since: datetime | None) -> tuple[Change, ...]:
    """Return the changes that deactivate the MFA devices enrolled since an instant."""
    return tuple(
        Change(resource=device["SerialNumber"], attribute=MFA, before=_enrolled(device), after=None)
        for device in held.mfa or ()
        if since is not None and device["EnableDate"] >= since
    )


def calls(user: str, change: Change, value: JsonValue) -> tuple[Call, ...]:
    """Return the call that sets what a change is about to a value; none if there is no such."""
    own: dict[str, JsonValue] = {"UserName": user}
    if change.attribute == MFA:
        if value is not None:  # only who has the device can enrol it
            return ()
        own["SerialNumber"] = change.resource
        return (Call(service="iam", operation="DeactivateMFADevice", parameters=own),)
    kind = BY_ATTRIBUTE[change.attribute]
    own |= {kind.id: change.resource, "Status": value}
    return (Call(service="iam", operation=kind.update, parameters=own),)


def strange(held: Held, changes: tuple[Change, ...]) -> list[str]:
    """Return the credentials that are on and of which a plan knows nothing: made since."""
    known = {change.resource for change in changes}
    return [
        f"{attribute.removesuffix(' status')} {id}"
        for (id, attribute), value in held.state.items()
        if value == ACTIVE and id not in known
    ]


def unread(held: Held) -> list[Check]:
    """Say which kinds of credential could not be listed, and so are not turned off."""
    return [
        Check(name=f"may {kind.list}", ok=False, detail=f"a {kind.noun} would not be turned off")
        for kind, items in held.credentials.items()
        if items is None
    ]


def quarantine_told(attached: Items) -> list[str]:
    """Name the policies that AWS itself attached to a user whose key it found."""
    return [
        f"{policy['PolicyName']}, attached by AWS, stays: detach it when AWS's support case says so"
        for policy in attached
        if policy["PolicyName"].startswith(QUARANTINE)
    ]


def attached(user: str, aws: Aws) -> Items:
    """Read the managed policies that a user has, itself and through its groups."""
    groups = aws.pages("iam", "ListGroupsForUser", "Groups", UserName=user)
    found = aws.together(
        partial(_identity.attached_policies, aws, "User", user),
        *(partial(_identity.attached_policies, aws, "Group", g["GroupName"]) for g in groups),
    )
    return [policy for policies in found for policy in policies]


def _enrolled(device: Mapping[str, Any]) -> str:
    return f"enrolled {device['EnableDate'].astimezone(UTC).strftime(_denials.TIME)}"
