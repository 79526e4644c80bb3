"""Shield Advanced: automatic responses, the response team's access, and contacts, which moto lacks.

AWS, after its API reference:

- Nothing of this is there without a subscription: ResourceNotFoundException.
- An automatic response is enabled for a protection, with Count or Block, and once.
- The team has one role: another takes its place. It reads at most ten buckets, and only where it
  has a role: NoAssociatedRoleException, LimitsExceededException.
- Attacks are what Shield has seen: here, none.
- Proactive engagement is asked for once, with contacts, and then pending. AWS confirms it when its
  people have called; here EnableProactiveEngagement and DisableProactiveEngagement do.
"""

import json
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.shield.models import Protection, ShieldBackend, Subscription
from moto.shield.responses import ShieldResponse

from firedoor.lab import patch

MOST_BUCKETS = 10


def install() -> None:
    """Add it to moto's Shield."""
    patch.around(ShieldBackend, "create_subscription", _not_yet_engaged)
    patch.around(Subscription, "to_dict", _without_nothing)
    patch.add(
        ShieldResponse,
        list_attacks,
        describe_drt_access,
        associate_drt_role,
        disassociate_drt_role,
        associate_drt_log_bucket,
        disassociate_drt_log_bucket,
        describe_emergency_contact_settings,
        update_emergency_contact_settings,
        associate_proactive_engagement_details,
        enable_proactive_engagement,
        disable_proactive_engagement,
        enable_application_layer_automatic_response,
        update_application_layer_automatic_response,
        disable_application_layer_automatic_response,
    )


def list_attacks(self: ShieldResponse) -> str:
    """Return no attack."""
    _subscribed(self)
    return json.dumps({"AttackSummaries": []})


def describe_drt_access(self: ShieldResponse) -> str:
    """Return the role and the buckets."""
    access = _access(self)
    return json.dumps({name: value for name, value in access.items() if value})


def associate_drt_role(self: ShieldResponse) -> str:
    """Set the role."""
    _access(self)["RoleArn"] = _asked(self)["RoleArn"]
    return "{}"


def disassociate_drt_role(self: ShieldResponse) -> str:
    """Take the role away."""
    _access(self).pop("RoleArn", None)
    return "{}"


def associate_drt_log_bucket(self: ShieldResponse) -> str:
    """Add a bucket."""
    access, bucket = _access(self), _asked(self)["LogBucket"]
    buckets = access["LogBucketList"]
    if "RoleArn" not in access:
        raise JsonRESTError("NoAssociatedRoleException", "There is no associated role.")
    if bucket not in buckets and len(buckets) >= MOST_BUCKETS:
        raise JsonRESTError("LimitsExceededException", "There are ten buckets already.")
    if bucket not in buckets:
        buckets.append(bucket)
    return "{}"


def disassociate_drt_log_bucket(self: ShieldResponse) -> str:
    """Take a bucket away."""
    buckets, bucket = _access(self)["LogBucketList"], _asked(self)["LogBucket"]
    if bucket in buckets:
        buckets.remove(bucket)
    return "{}"


def describe_emergency_contact_settings(self: ShieldResponse) -> str:
    """Return the contacts."""
    return json.dumps({"EmergencyContactList": _kept(self, "contacts", [])})


def update_emergency_contact_settings(self: ShieldResponse) -> str:
    """Set the contacts."""
    _subscribed(self)
    self.shield_backend.contacts = _asked(self).get("EmergencyContactList") or []  # type: ignore[attr-defined]
    return "{}"


def associate_proactive_engagement_details(self: ShieldResponse) -> str:
    """Ask for the first time to be called."""
    subscription = _subscribed(self)
    if subscription.proactive_engagement_status:
        raise JsonRESTError("InvalidOperationException", "It was asked for already.")
    self.shield_backend.contacts = _asked(self)["EmergencyContactList"]  # type: ignore[attr-defined]
    subscription.proactive_engagement_status = "PENDING"
    return "{}"


def enable_proactive_engagement(self: ShieldResponse) -> str:
    """Be called."""
    _subscribed(self).proactive_engagement_status = "ENABLED"
    return "{}"


def disable_proactive_engagement(self: ShieldResponse) -> str:
    """Be called no more."""
    _subscribed(self).proactive_engagement_status = "DISABLED"
    return "{}"


def enable_application_layer_automatic_response(self: ShieldResponse) -> str:
    """Let Shield answer by itself."""
    protection = _protection(self)
    if _response_of(protection):
        raise JsonRESTError("ResourceAlreadyExistsException", "It is enabled already.")
    _respond(protection, _asked(self)["Action"])
    return "{}"


def update_application_layer_automatic_response(self: ShieldResponse) -> str:
    """Let Shield answer otherwise."""
    protection = _protection(self)
    if not _response_of(protection):
        raise JsonRESTError("ResourceNotFoundException", "It is not enabled.")
    _respond(protection, _asked(self)["Action"])
    return "{}"


def disable_application_layer_automatic_response(self: ShieldResponse) -> str:
    """Let Shield answer no more."""
    _protection(self).application_layer_automatic_response_configuration = {}
    return "{}"


def _not_yet_engaged(create: Any, backend: ShieldBackend) -> None:
    create(backend)
    if backend.subscription:
        backend.subscription.proactive_engagement_status = ""


def _without_nothing(to_dict: Any, subscription: Subscription) -> dict[str, Any]:
    return {name: value for name, value in to_dict(subscription).items() if value != ""}


def _asked(response: ShieldResponse) -> dict[str, Any]:
    asked: dict[str, Any] = json.loads(response.body or "{}")
    return asked


def _access(response: ShieldResponse) -> dict[str, Any]:
    _subscribed(response)
    access: dict[str, Any] = _kept(response, "drt_access", {"LogBucketList": []})
    return access


def _kept(response: ShieldResponse, name: str, first: Any) -> Any:
    return response.shield_backend.__dict__.setdefault(name, first)


def _subscribed(response: ShieldResponse) -> Subscription:
    return response.shield_backend.describe_subscription()


def _protection(response: ShieldResponse) -> Protection:
    _subscribed(response)
    return response.shield_backend.describe_protection("", _asked(response)["ResourceArn"])


def _response_of(protection: Protection) -> dict[str, Any]:
    return protection.application_layer_automatic_response_configuration


def _respond(protection: Protection, action: dict[str, Any]) -> None:
    protection.application_layer_automatic_response_configuration = {
        "Status": "ENABLED",
        "Action": action,
    }
