"""IAM Identity Center: a permission set that is provisioned is found in the roles made from it.

moto provisions nothing anywhere. Here the inline policy of a permission set comes into the roles
`AWSReservedSSO_NAME_…` of all accounts at once, as their inline policy `AwsSSOInlinePolicy`, so
that no provisioning is ever under way. Also here: ListPermissionSetProvisioningStatus.
"""

import json
from collections.abc import Iterator
from typing import Any

from moto.iam.models import Role, iam_backends
from moto.ssoadmin.models import SSOAdminBackend
from moto.ssoadmin.responses import SSOAdminResponse

from firedoor.lab import patch

_IN_ACCOUNT = "AwsSSOInlinePolicy"


def install() -> None:
    """Let moto provision permission sets."""
    patch.add(SSOAdminResponse, list_permission_set_provisioning_status)
    patch.around(SSOAdminBackend, "provision_permission_set", _provision)


def list_permission_set_provisioning_status(self: SSOAdminResponse) -> str:  # noqa: ARG001
    """List what is under way: nothing."""
    return json.dumps({"PermissionSetsProvisioningStatus": []})


def _provision(
    provision: Any, backend: SSOAdminBackend, instance_arn: str, permission_set_arn: str
) -> None:
    provision(backend, instance_arn, permission_set_arn)
    found = backend._find_permission_set(instance_arn, permission_set_arn)
    for role in _roles(found.name):
        if found.inline_policy:
            role.policies[_IN_ACCOUNT] = found.inline_policy
        else:
            role.policies.pop(_IN_ACCOUNT, None)


def _roles(permission_set: str) -> Iterator[Role]:
    """Return the roles of all accounts that were made from a permission set."""
    prefix = f"AWSReservedSSO_{permission_set}_"
    for account in list(iam_backends.values()):
        for backend in list(account.values()):
            yield from (role for role in backend.get_roles() if role.name.startswith(prefix))
