"""What the actions on identities read alike: who is who, and which policies say so."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeVar

from activities.aws._reading import or_none
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, CloudError
from firedoor.model.base import Model
from firedoor.model.finding import PrincipalType
from firedoor.model.plan import Check

T = TypeVar("T")

Owner = Literal["User", "Role", "Group"]
"""Who has policies, as IAM's operations spell it."""

ADMINISTRATORS = frozenset({"AdministratorAccess", "IAMFullAccess", "PowerUserAccess"})
"""Managed policies with which one can make further credentials, or do nearly everything."""


class Caller(Model):
    """Who an STS ARN says that somebody is."""

    account: str
    type: PrincipalType
    name: str


def caller(arn: str) -> Caller:
    """Read the ARN of `GetCallerIdentity`.

    A role session is `arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION`, and the path of the role is
    not in it. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    _, _, _, _, account, resource = arn.split(":", 5)
    kind, *rest = resource.split("/")
    match kind:
        case "assumed-role":
            return Caller(account=account, type=PrincipalType.ROLE, name=rest[0])
        case "user":
            return Caller(account=account, type=PrincipalType.USER, name=rest[-1])
        case "root":
            return Caller(account=account, type=PrincipalType.ROOT, name="root")
        case "federated-user":
            return Caller(account=account, type=PrincipalType.FEDERATED, name=rest[-1])
        case _:
            return Caller(account=account, type=PrincipalType.UNKNOWN, name=resource)


def inline_policies(aws: Aws, owner: Owner, name: str) -> dict[str, Any]:
    """Read the documents of all inline policies of a user, role or group, by name."""
    names = aws.pages("iam", f"List{owner}Policies", "PolicyNames", **{f"{owner}Name": name})
    documents = aws.together(
        *(partial(inline_policy, aws, owner, name, policy) for policy in names)
    )
    return dict(zip(names, documents, strict=True))


def inline_policy(aws: Aws, owner: Owner, name: str, policy: str) -> Any:
    """Read the document of one inline policy; None if there is none of that name."""
    read = getattr(aws.client("iam"), f"get_{owner.lower()}_policy")
    found = or_none(partial(read, **{f"{owner}Name": name, "PolicyName": policy}))
    return found["PolicyDocument"] if found else None


def attached_policies(aws: Aws, owner: Owner, name: str) -> list[dict[str, Any]]:
    """Read the managed policies that are attached, without their documents."""
    parameters = {f"{owner}Name": name}
    return aws.pages("iam", f"ListAttached{owner}Policies", "AttachedPolicies", **parameters)


def powers(owner: Mapping[str, Any], attached: Sequence[Mapping[str, Any]] | None) -> list[Check]:
    """Say what limits somebody, and whether they may do everything; neither is changed."""
    boundary = (owner.get("PermissionsBoundary") or {}).get("PermissionsBoundaryArn")
    great = sorted({p["PolicyName"] for p in attached or ()} & ADMINISTRATORS)
    told = ", ".join([*great, "attached"] if great else [])
    return [
        Check(name="permissions boundary", ok=True, detail=f"{boundary or 'none'}, stays"),
        Check(
            name="no administrator",
            ok=attached is not None and not great,
            detail="attached policies may not be read" if attached is None else told,
        ),
    ]


def if_allowed(read: Callable[[], T]) -> T | None:
    """Read what tells more but is not needed; None if we may not."""
    try:
        return read()
    except AccessDenied:
        return None


def may(aws: Aws, actions: Sequence[str], resource: str) -> Check:
    """Ask IAM whether our own policies allow actions, as IAM itself has no dry run.

    Organisation policies and session policies are not part of the answer.
    """
    name = f"may {', '.join(actions)}"
    try:
        answer = aws.client("iam").simulate_principal_policy(
            PolicySourceArn=_own_arn(aws), ActionNames=list(actions), ResourceArns=[resource]
        )
    except CloudError as error:
        # Without the request's id, so that planning twice is one plan.
        why = f"{error.operation}: {error.code}"
        return Check(name=name, ok=False, detail=f"could not be checked: {why}")
    results = answer["EvaluationResults"]
    denied = [r["EvalActionName"] for r in results if r["EvalDecision"] != "allowed"]
    return Check(name=name, ok=not denied, detail=f"denied: {', '.join(denied)}" if denied else "")


def _own_arn(aws: Aws) -> str:
    own = caller(aws.identity)
    if own.type is not PrincipalType.ROLE:
        return aws.identity
    return str(aws.client("iam").get_role(RoleName=own.name)["Role"]["Arn"])
