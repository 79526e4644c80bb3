"""What only a person can do about credentials that no call of ours reaches, by who has them."""

from activities.aws._denials import instant
from firedoor.model.finding import PrincipalType
from firedoor.model.plan import Target

WHY = {
    PrincipalType.ROOT: (
        "no IAM policy binds the root user: it is contained by its own password, keys and MFA, or"
        " from the organisation's management account"
    ),
    PrincipalType.FEDERATED: (
        "a federated session has the rights of the IAM user or role that it came from, and"
        " CloudTrail does not say which: revoke that one, and block the person at the identity"
        " provider"
    ),
    PrincipalType.SERVICE: "a service of AWS acted: contain the resource or role that it acted for",
    PrincipalType.ACCOUNT: (
        "another account acted: take it out of the trust policies and resource policies that let"
        " it in"
    ),
    PrincipalType.UNKNOWN: (
        "it is not known whose credentials these are: look the key up (sts:GetAccessKeyInfo,"
        " CloudTrail), and revoke that user or role"
    ),
}
"""Why no call of ours can help, and what does instead."""


def instead(who: PrincipalType, target: Target) -> tuple[str, ...]:
    """Return what people are to do about a principal whose credentials we cannot revoke."""
    account, at = target.subject.account, instant(target.at)
    match who:
        case PrincipalType.ROOT:
            return _root(account, at)
        case PrincipalType.FEDERATED:
            return (
                f"Find in CloudTrail of account {account} which user or role got the session of"
                f" {target.subject.id} (GetFederationToken, AssumeRoleWithSAML,"
                " AssumeRoleWithWebIdentity), and revoke that one. Done when its incident is open.",
                *identity_provider(target.subject.id),
            )
        case PrincipalType.ACCOUNT:
            return (
                f"Take {target.subject.id} out of the trust policies and resource policies of"
                f" account {account} that let it in (IAM Access Analyzer lists them), and revoke"
                f" the roles that it assumed, for sessions begun before {at}. Done when Access"
                " Analyzer finds none.",
            )
        case _:
            return ()


def identity_provider(who: str) -> tuple[str, ...]:
    """Return what is to be done where people log in."""
    return (
        f"At the identity provider, disable the account of {who}, end its sessions and reset its"
        " second factor. Done when a sign-in there is refused.",
    )


def identity_center(user: str, account: str, permission_set: str) -> tuple[str, ...]:
    """Return what is to be done at IAM Identity Center, which has no API for its own sessions."""
    return (
        f"In the console of IAM Identity Center, under Users, disable access of {user}, then under"
        " Active sessions end all of them: unassigning alone ends none. Done when the user shows as"
        " disabled and the list of sessions is empty.",
        f"Remove the assignments of {user} for permission set {permission_set} in account"
        f" {account}, and in every other account that the user has. Done when the access portal"
        " offers none.",
        *identity_provider(user),
    )


def permission_set(name: str, account: str, statement: str) -> str:
    """Return the task of denying in a permission set what no member account can deny."""
    return (
        f"In the management or delegated administrator account, add this statement to the inline"
        f" policy of permission set {name} (PutInlinePolicyToPermissionSet), and provision it to"
        f" all accounts (ProvisionPermissionSet): {statement} Done when the role of account"
        f" {account} has it in AwsSSOInlinePolicy."
    )


def _root(account: str, at: str) -> tuple[str, ...]:
    return (
        f"If account {account} is a member of an organisation: from the management account attach a"
        " service control policy that denies everything to its root user (aws:PrincipalArn"
        f" arn:aws:iam::{account}:root). Done when a call of the root user is denied. On a"
        " management account no such policy works: open a case with AWS Support at once.",
        f"Delete the access keys of the root user of account {account}, by its own sign-in or by"
        " sts:AssumeRoot from the management account (task policy IAMDeleteRootUserCredentials)."
        " Done when iam:GetAccountSummary shows AccountAccessKeysPresent 0.",
        f"Change the password of the root user of account {account}, check that its e-mail address"
        " and telephone number are ours, remove MFA devices that are not and enrol a new one. Done"
        " when the sign-in demands the new one.",
        f"Look in CloudTrail for what the root user of account {account} did before {at}: users,"
        " keys and roles made, trust policies changed. Tokens of GetSessionToken that the root user"
        " got cannot be revoked and live for up to 1 h. Done when each is found to be ours or is"
        " contained.",
    )
