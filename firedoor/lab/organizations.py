"""Organizations: what an emergency policy leans on and moto has differently from AWS.

AWS, and in brackets moto:

- A target has at most five service control policies of its own (any number).
- A policy is attached to a target once: DuplicatePolicyAttachmentException (again, silently).
- Policies of a type that is not enabled are not attached: PolicyTypeNotEnabledException (they are).
- A service control policy has at most 5,120 characters (any number), and is JSON (anything is
  taken).

What a policy denies is not enforced.
"""

import json
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.organizations.models import FakePolicy, OrganizationsBackend

from firedoor.lab import patch

TYPE = "SERVICE_CONTROL_POLICY"
MOST_ATTACHED = 5
MOST_CHARACTERS = 5120


def install() -> None:
    """Set moto's Organizations right."""
    patch.around(OrganizationsBackend, "create_policy", _checked)
    patch.around(OrganizationsBackend, "attach_policy", _counted)


def _checked(create: Any, backend: OrganizationsBackend, **asked: Any) -> Any:
    if asked.get("Type") == TYPE:
        try:
            json.loads(asked["Content"])
        except ValueError:
            raise JsonRESTError(
                "MalformedPolicyDocumentException", "The provided policy document is malformed."
            ) from None
        if len(asked["Content"]) > MOST_CHARACTERS:
            raise _constraint("You have exceeded the content size limit of a policy.")
    return create(backend, **asked)


def _counted(attach: Any, backend: OrganizationsBackend, **asked: Any) -> Any:
    policy = backend.get_policy_by_id(asked["PolicyId"])
    if policy.type == TYPE and not policy.aws_managed:
        _expect_room(backend, policy, asked["TargetId"])
    return attach(backend, **asked)


def _expect_room(backend: OrganizationsBackend, policy: FakePolicy, target: str) -> None:
    roots: list[Any] = [ou for ou in backend.ou if ou.type == "ROOT"]
    targets: list[Any] = [*backend.accounts, *backend.ou]
    if not any(kind["Type"] == TYPE for root in roots for kind in root.policy_types):
        raise JsonRESTError(
            "PolicyTypeNotEnabledException", f"{TYPE} is not enabled for this organization root."
        )
    for one in targets:
        if one.id != target:
            continue
        if policy in one.attached_policies:
            raise JsonRESTError(
                "DuplicatePolicyAttachmentException", "The policy is attached to it already."
            )
        if sum(p.type == TYPE for p in one.attached_policies) >= MOST_ATTACHED:
            raise _constraint("You have attached the maximum number of policies to it.")


def _constraint(message: str) -> JsonRESTError:
    return JsonRESTError("ConstraintViolationException", message)
