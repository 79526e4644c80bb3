"""The instance profile of an instance: taken off or exchanged, and put back."""

from typing import Any

from pydantic import JsonValue

from activities.aws import _reading
from activities.aws._reading import GONE, terminated
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.model.plan import LATER, Call, Change

PROFILE = "instance profile"
"""The attribute of changes that are about one; the resource is the instance."""


def association(instance: str, aws: Aws) -> dict[str, Any] | None:
    """Read which profile an instance has; None if it has none, or is losing it."""
    found = aws.pages(
        "ec2",
        "DescribeIamInstanceProfileAssociations",
        "IamInstanceProfileAssociations",
        Filters=[
            {"Name": "instance-id", "Values": [instance]},
            # One that was replaced is listed for a while, as disassociating.
            {"Name": "state", "Values": ["associating", "associated"]},
        ],
    )
    return found[0] if found else None


def arn(association: dict[str, Any] | None) -> str | None:
    """Return the ARN of the profile of an association."""
    return str(association["IamInstanceProfile"]["Arn"]) if association else None


def state(instance: str, association: dict[str, Any] | None, aws: Aws) -> State:
    """Return what a change of the profile is about, as it is now."""
    if association is None:
        found = _reading.instance(aws, instance)
        if found is None or terminated(found):
            return {(instance, PROFILE): GONE}
    return {(instance, PROFILE): arn(association)}


def calls(change: Change, association: str) -> tuple[Call, Call]:
    """Return the call that takes a profile off or exchanges it, and the one that puts it back."""
    old: dict[str, JsonValue] = {"IamInstanceProfile": {"Arn": change.before}}
    if change.after is None:
        return (
            _call("DisassociateIamInstanceProfile", {"AssociationId": association}),
            _call("AssociateIamInstanceProfile", {**old, "InstanceId": change.resource}),
        )
    new: dict[str, JsonValue] = {"IamInstanceProfile": {"Arn": change.after}}
    return (
        _replace({**new, "AssociationId": association}),
        # What replaces an association has an id of its own.
        _replace({**old, "AssociationId": LATER}),
    )


def with_association(call: Call, association: dict[str, Any] | None) -> Call:
    """Return a call of ours with the id that the association has by now, where that is needed."""
    if association is None or "AssociationId" not in call.parameters:
        return call
    id = association["AssociationId"]
    return call.model_copy(update={"parameters": {**call.parameters, "AssociationId": id}})


def _replace(parameters: dict[str, JsonValue]) -> Call:
    return _call("ReplaceIamInstanceProfileAssociation", parameters)


def _call(operation: str, parameters: dict[str, JsonValue]) -> Call:
    return Call(service="ec2", operation=operation, parameters=parameters)
