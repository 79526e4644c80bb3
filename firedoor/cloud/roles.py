"""The role that is assumed in another account: which one, in whose name, and why it was not."""

import hashlib
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from botocore.credentials import DeferredRefreshableCredentials

from firedoor.errors import AccessDenied
from firedoor.settings import settings

NOBODY = "firedoor"
"""Who decided, where no person did; and the name of a session that is about no incident."""

LONGEST = 64
"""Characters that STS takes for the name of a session, and for a source identity."""

_DIGEST = 8


class Role(NamedTuple):
    """A role to assume, by name, and the external id that its trust policy demands."""

    name: str
    external_id: str | None

    def arn(self, partition: str, account: str) -> str:
        """Return its ARN in an account."""
        return f"arn:{partition}:iam::{account}:role/{self.name}"


Roles = Callable[[str, str], Role | None]
"""The role to assume in an account and region that are not our own, if there is one."""


def by_settings(account: str, region: str) -> Role | None:  # noqa: ARG001
    """Return the role of the settings, which is the same everywhere."""
    name = settings().aws_role
    return Role(name, settings().aws_external_id) if name else None


def session_name(incident: str) -> str:
    """Return the name of the session in which we act for an incident.

    It is the incident's id as far as STS takes it: `aws.123456789012.us-east-1.instance.i-0abc`.
    What is too long loses its beginning, and has a digest of the whole id instead.
    """
    return _fitting(incident.removeprefix("incident/").replace("/", "."))


def source_identity(by: str) -> str:
    """Return the source identity of a session: who decided, or `firedoor` where nobody did.

    It is always set: a trust policy that does not let us must be found out while planning, not
    after a person has approved.
    """
    return _fitting(by)


def credentials(
    assume_role: Callable[..., Any], arn: str, role: Role, session: str, source: str
) -> DeferredRefreshableCredentials:
    """Return credentials of a role, fetched when they are first needed, and anew before they end.

    They last an hour, the most that AWS gives to who has assumed a role already (role chaining),
    and the least that a role can be limited to. A quarter of an hour before that botocore fetches
    others. Where AWS does not let us in, using them raises `AccessDenied` that says what to do.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
    """
    request = {"RoleArn": arn, "RoleSessionName": session, "SourceIdentity": source}
    if role.external_id:
        request["ExternalId"] = role.external_id

    def fetch() -> dict[str, str]:
        try:
            given = assume_role(**request)["Credentials"]
        except AccessDenied as error:
            if error.code != "AccessDenied":  # our own credentials are at fault
                raise
            raise AccessDenied(
                error.code, _advice(arn, role), error.operation, error.request_id
            ) from error
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    return DeferredRefreshableCredentials(method="assume-role", refresh_using=fetch)


def _advice(arn: str, role: Role) -> str:
    """Say what lets us in; AWS does not tell a missing role from one that does not trust us."""
    account = arn.split(":")[4]
    known = "with the external id that FIREDOOR_AWS_EXTERNAL_ID or the policy has for it"
    if not role.external_id:
        known = "without an external id, or else FIREDOOR_AWS_EXTERNAL_ID must be set"
    return (
        f"cannot act as role {role.name} in account {account}: {arn} must exist there, and trust us"
        f" for sts:AssumeRole {known}, and for sts:SetSourceIdentity (its trust policy, which"
        " `firedoor iam role` prints); our own policy must allow both on it (`firedoor iam hub`)"
    )


def _fitting(text: str) -> str:
    """Return a text in the characters and lengths that STS takes, the same for the same text."""
    fit = re.sub(r"[^\w+=,.@-]", "-", text, flags=re.ASCII) or NOBODY
    if len(fit) > LONGEST:
        digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
        fit = f"{digest}.{fit[-(LONGEST - _DIGEST - 1) :].lstrip('.')}"
    return fit.ljust(2, "-")
