"""IAM: keys that are off stay off, and policies mean something.

moto lets everybody do everything. Here a call that a user's key or an assumed role's session signed
is refused when the key is inactive or deleted, or when the identity's policies (policy.py) do not
allow it. Other credentials, such as `testing`, are the account's root user, as in moto, and so is a
session of a role that does not exist. Signatures and trust policies are not checked.

Of the policies that AWS manages there are those in `_AWS_POLICIES`: all of them take moto a second.
Also here and not in moto: SimulatePrincipalPolicy, permissions boundaries of users, credentials of
users for one service.
The session of a role carries the ARN of the instance or function that it is named after, as those
do that AWS itself begins; here the name is enough.
"""

import json
import re
import secrets
from datetime import UTC, datetime
from functools import cache
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.models import ec2_backends
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.exceptions import NoSuchEntity
from moto.iam.models import AccessKey, AWSManagedPolicy, IAMBackend, Role, User, iam_backends
from moto.iam.responses import IamResponse
from moto.sts.models import sts_backends

from firedoor.lab import patch
from firedoor.lab.policy import Decision, Policy, decide
from firedoor.lab.request import AwsRequest

_OURS = re.compile(r"A(KIA|SIA)[A-Z2-7]{16}")  # as moto makes them; "testing" is not one

# These services have the operation's name or the service's prefix in IAM differ from the API's.
_PREFIXES = {
    "cloudwatch": "cloudwatch",
    "elbv2": "elasticloadbalancing",
    "service-quotas": "servicequotas",
    "stepfunctions": "states",
}
_ACTIONS = {
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:ListObjects": "s3:ListBucket",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:CreateMultipartUpload": "s3:PutObject",
    "s3:UploadPart": "s3:PutObject",
    "s3:CompleteMultipartUpload": "s3:PutObject",
    "s3:CopyObject": "s3:PutObject",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "sts:GetCallerIdentity": "",  # nobody can be denied this
}

_AWS_POLICIES = (
    "AWSCompromisedKeyQuarantineV2",
    "AWSCompromisedKeyQuarantineV3",
    "AWSDenyAll",
    "AdministratorAccess",
    "AmazonSSMManagedInstanceCore",
    "ReadOnlyAccess",
    "SecurityAudit",
)

_Identity = User | Role


def install() -> None:
    """Add to moto's IAM what it lacks."""
    patch.add(
        IamResponse,
        simulate_principal_policy,
        put_user_permissions_boundary,
        delete_user_permissions_boundary,
        create_service_specific_credential,
        list_service_specific_credentials,
        update_service_specific_credential,
    )
    User.service_specific_credentials = ()  # type: ignore[attr-defined]
    User.permissions_boundary_arn = None  # type: ignore[attr-defined]
    User.permissions_boundary = Role.permissions_boundary  # type: ignore[attr-defined]
    patch.around(IAMBackend, "create_user", _with_user_id)
    patch.around(IAMBackend, "update_user", _with_its_keys)
    patch.around(IAMBackend, "_init_aws_policies", _some_policies)


def refusal(request: AwsRequest) -> tuple[str, str, int] | None:
    """Return code, message and status with which AWS refuses a call, or nothing if it may go on."""
    if not _OURS.fullmatch(request.access_key):
        return None
    backend, key = _find(request.access_key)
    if backend is None or key is None or key.status != "Active":
        return _unknown_key(request.service)
    identity = _identity(backend, key)
    action = _action(request)
    if identity is None or not action:
        return None
    context = {"aws:CurrentTime": datetime.now(UTC).isoformat(), "aws:username": identity.name}
    if key.role_arn:
        context |= {"aws:TokenIssueTime": _issued(key), **_source(backend, request.access_key)}
    decision = decide(
        _policies(backend, identity),
        _boundary(backend, identity),
        action,
        _resource(request),
        context,
    )
    if decision == Decision.ALLOWED:
        return None
    return _denied(request.service, identity, action, decision)


def simulate_principal_policy(self: IamResponse) -> ActionResult:
    """Say what an identity's own policies, its boundary and those given decide.

    One result for each action and resource, with the default resource `*`.
    """
    identity = _by_arn(self.backend, self._get_param("PolicySourceArn"))
    extra = [json.loads(p) for p in self._get_param("PolicyInputList", [])]
    boundaries = [json.loads(p) for p in self._get_param("PermissionsBoundaryPolicyInputList", [])]
    boundary = boundaries[0] if boundaries else _boundary(self.backend, identity)
    policies = [*_policies(self.backend, identity), *extra]
    context = {
        e["ContextKeyName"]: e["ContextKeyValues"][0] for e in self._get_param("ContextEntries", [])
    }
    results = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": decide(policies, boundary, action, resource, context).value,
            "MatchedStatements": [],
            "MissingContextValues": [],
        }
        for action in self._get_param("ActionNames")
        for resource in self._get_param("ResourceArns", ["*"])
    ]
    return ActionResult({"EvaluationResults": results, "IsTruncated": False})


def put_user_permissions_boundary(self: IamResponse) -> ActionResult:
    """Limit what the policies of a user can allow."""
    arn = self._get_param("PermissionsBoundary")
    user: Any = self.backend.get_user(self._get_param("UserName"))
    self.backend.get_policy(arn)
    user.permissions_boundary_arn = arn
    return EmptyResult()


def delete_user_permissions_boundary(self: IamResponse) -> ActionResult:
    """Take the limit away."""
    user: Any = self.backend.get_user(self._get_param("UserName"))
    if user.permissions_boundary_arn is None:
        raise NoSuchEntity(f"Permissions boundary of user {user.name} cannot be found.")
    user.permissions_boundary_arn = None
    return EmptyResult()


def create_service_specific_credential(self: IamResponse) -> ActionResult:
    """Make a credential for one service, whose password only this answer has."""
    user: Any = self.backend.get_user(self._get_param("UserName"))
    credential = {
        "CreateDate": datetime.now(UTC),
        "ServiceName": self._get_param("ServiceName"),
        "ServiceUserName": f"{user.name}-at-{self.current_account}",
        "ServiceSpecificCredentialId": f"ACCA{_random_id()}",
        "UserName": user.name,
        "Status": "Active",
    }
    user.service_specific_credentials = (*user.service_specific_credentials, credential)
    password = {"ServicePassword": secrets.token_urlsafe(32)}
    return ActionResult({"ServiceSpecificCredential": {**credential, **password}})


def list_service_specific_credentials(self: IamResponse) -> ActionResult:
    """List a user's, without their passwords."""
    user: Any = self.backend.get_user(self._get_param("UserName"))
    found = list(user.service_specific_credentials)
    return ActionResult({"ServiceSpecificCredentials": found, "IsTruncated": False})


def update_service_specific_credential(self: IamResponse) -> ActionResult:
    """Turn a credential off or on."""
    user: Any = self.backend.get_user(self._get_param("UserName"))
    id = self._get_param("ServiceSpecificCredentialId")
    for credential in user.service_specific_credentials:
        if credential["ServiceSpecificCredentialId"] == id:
            credential["Status"] = self._get_param("Status")
            return EmptyResult()
    raise NoSuchEntity(f"Service specific credential {id} not found.")


def _find(access_key: str) -> tuple[IAMBackend, AccessKey] | tuple[None, None]:
    for account in list(iam_backends.values()):
        for backend in list(account.values()):
            if key := backend.access_keys.get(access_key):
                return backend, key
    return None, None


def _identity(backend: IAMBackend, key: AccessKey) -> _Identity | None:
    if key.user_name:
        return backend.users.get(key.user_name)
    return next((r for r in _roles(backend) if r.arn == key.role_arn), None)


def _by_arn(backend: IAMBackend, arn: str) -> _Identity:
    identities: list[_Identity] = [*backend.users.values(), *_roles(backend)]
    for identity in identities:
        if identity.arn == arn:
            return identity
    raise NoSuchEntity(f"The entity {arn} cannot be found.")


def _roles(backend: IAMBackend) -> list[Role]:
    return list(backend.get_roles())


def _policies(backend: IAMBackend, identity: _Identity) -> list[Policy]:
    owners: list[Any] = [identity]
    if isinstance(identity, User):
        owners += backend.get_groups_for_user(identity.name)
    inline = [document for owner in owners for document in _inline(owner)]
    managed = [p.arn for owner in owners for p in owner.managed_policies.values()]
    return [json.loads(d) for d in inline] + [_document(backend, arn) for arn in managed]


def _inline(owner: Any) -> list[str]:
    return list(owner.policies.values())


def _document(backend: IAMBackend, arn: str) -> Policy:
    policy = backend.get_policy(arn)
    document: Policy = json.loads(next(v.document for v in policy.versions if v.is_default))
    return document


def _boundary(backend: IAMBackend, identity: Any) -> Policy | None:
    arn = identity.permissions_boundary_arn
    return _document(backend, arn) if arn else None


def _action(request: AwsRequest) -> str:
    prefix = _PREFIXES.get(request.service, request.service)
    action = f"{prefix}:{request.operation}"
    return _ACTIONS.get(action, action)


def _resource(request: AwsRequest) -> str | None:
    """Return the resource's ARN where the request says it plainly: S3 has it in the path."""
    if request.service != "s3":
        return None
    path = str(request.environ["PATH_INFO"]).strip("/")
    return f"arn:aws:s3:::{path}" if path else "*"


def _issued(key: AccessKey) -> str:
    # Whole seconds, as AWS has them: a revocation in the same second does not catch the session.
    return key.create_date.replace(microsecond=0, tzinfo=UTC).isoformat()


def _source(backend: IAMBackend, access_key: str) -> dict[str, str]:
    """Return the ARN of the instance or function that a session is named after, if there is one."""
    sessions = sts_backends[backend.account_id][backend.partition].assumed_roles
    name = next((s.session_name for s in sessions if s.access_key_id == access_key), "")
    for region, ec2 in list(ec2_backends[backend.account_id].items()):
        if name.startswith("i-") and ec2.get_instance_by_id(name):
            arn = f"arn:{backend.partition}:ec2:{region}:{backend.account_id}:instance/{name}"
            return {"ec2:SourceInstanceARN": arn}
    for functions in list(lambda_backends[backend.account_id].values()):
        for function in functions.list_functions():
            if function.function_name == name:
                return {"lambda:SourceFunctionArn": str(function.function_arn)}
    return {}


def _unknown_key(service: str) -> tuple[str, str, int]:
    match service:
        case "ec2":
            return (
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
                401,
            )
        case "s3":
            return (
                "InvalidAccessKeyId",
                "The access key Id you provided does not exist in our records.",
                403,
            )
    return "InvalidClientTokenId", "The security token included in the request is invalid.", 403


def _denied(
    service: str, identity: _Identity, action: str, decision: Decision
) -> tuple[str, str, int]:
    because = {
        Decision.EXPLICIT_DENY: "with an explicit deny in an identity-based policy",
        Decision.IMPLICIT_DENY: f"because no identity-based policy allows the {action} action",
    }[decision]
    message = f"User: {identity.arn} is not authorized to perform: {action} {because}"
    match service:
        case "ec2":
            return "UnauthorizedOperation", message, 403
        case "iam" | "sts" | "s3" | "sqs":
            return "AccessDenied", message, 403
    return "AccessDeniedException", message, 403


def _with_user_id(create_user: Any, backend: IAMBackend, *args: Any, **kwargs: Any) -> User:
    user: User = create_user(backend, *args, **kwargs)
    user.id = f"AIDA{_random_id()}"
    return user


def _with_its_keys(
    update_user: Any,
    backend: IAMBackend,
    user_name: str,
    new_path: str | None = None,
    new_user_name: str | None = None,
) -> None:
    """Keep the keys of a user that is renamed its own; moto goes on to tell the old name."""
    update_user(backend, user_name, new_path, new_user_name)
    for key in backend.users[new_user_name or user_name].access_keys:
        key.user_name = new_user_name or user_name


def _random_id() -> str:
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(17))


def _some_policies(_: Any, backend: IAMBackend) -> list[AWSManagedPolicy]:
    return [
        AWSManagedPolicy.from_data(name, backend.account_id, backend.region_name, data)
        for name, data in _documents().items()
    ]


@cache
def _documents() -> dict[str, Any]:
    documents = json.loads(aws_managed_policies_data)
    return {name: documents[name] for name in _AWS_POLICIES}
