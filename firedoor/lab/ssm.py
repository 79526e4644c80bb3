"""Systems Manager: which instances it manages, and commands that take their time and can fail.

AWS, and in brackets moto:

- DescribeInstanceInformation lists the instances whose agent has reported (is not there). Here an
  agent does if its instance runs with a role that has AmazonSSMManagedInstanceCore.
- SendCommand refuses an instance whose agent is not online (takes it).
- A command is in progress before it ends; ListCommands filters (always succeeds; does not).

Nothing is run. What would come of it is said by tags of the instance: `lab:ping` and `lab:platform`
of its agent; `lab:seconds`, `lab:status`, `lab:code`, `lab:stdout` and `lab:stderr` of commands.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ssm.exceptions import SSMException
from moto.ssm.models import Command, ParameterDict
from moto.ssm.responses import SimpleSystemManagerResponse

from firedoor.lab import patch

AGENT_POLICY = "AmazonSSMManagedInstanceCore"


class InvalidInstanceIdError(SSMException):
    """An instance whose agent takes no commands."""

    def __init__(self, ids: list[str]) -> None:
        said = f"Instances [{ids}] not in a valid state for account"
        super().__init__("InvalidInstanceId", said)


def install() -> None:
    """Add to moto's Systems Manager what it lacks."""
    patch.add(SimpleSystemManagerResponse, describe_instance_information)
    patch.around(SimpleSystemManagerResponse, "send_command", _only_managed)
    patch.around(SimpleSystemManagerResponse, "list_commands", _filtered)
    patch.around(Command, "get_invocation", _as_tagged)
    setattr(ParameterDict, "__reduce__", _copied)  # noqa: B010 - a savepoint copies all state


def describe_instance_information(self: SimpleSystemManagerResponse) -> ActionResult:
    """List the instances whose agent has reported, as the filters have it."""
    wanted = {f["Key"]: set(f["Values"]) for f in self._get_param("Filters", [])}
    known = {
        "InstanceIds": "InstanceId",
        "PingStatus": "PingStatus",
        "PlatformTypes": "PlatformType",
    }
    listed = [
        agent
        for agent in _agents(self.current_account, self.region)
        if all(agent[known[key]] in values for key, values in wanted.items())
    ]
    return ActionResult({"InstanceInformationList": listed})


def _copied(self: ParameterDict) -> tuple[Any, ...]:
    """Say how it is copied: its parent would make it from what it makes missing values with."""
    return type(self), (self.account_id, self.region_name), vars(self), None, iter(self.items())


def _agents(account: str, region: str) -> Iterator[dict[str, Any]]:
    backend = ec2_backends[account][region]
    for instance in (i for r in backend.all_reservations() for i in r.instances):
        association = backend.iam_instance_profile_associations.get(instance.id)
        roles = association.iam_instance_profile.roles if association else []
        managed = any(arn.endswith(f"/{AGENT_POLICY}") for r in roles for arn in r.managed_policies)
        if not managed or instance.state != "running":
            continue
        tags = _tags(instance)
        yield {
            "InstanceId": instance.id,
            "PingStatus": tags.get("lab:ping", "Online"),
            "LastPingDateTime": datetime.now(UTC),
            "AgentVersion": "3.3.0.0",
            "PlatformType": tags.get("lab:platform", "Linux"),
            "IamRole": roles[0].name,
            "ResourceType": "EC2Instance",
            "IPAddress": instance.private_ip,
        }


def _only_managed(send: Any, self: SimpleSystemManagerResponse) -> ActionResult:
    online = {
        agent["InstanceId"]
        for agent in _agents(self.current_account, self.region)
        if agent["PingStatus"] == "Online"
    }
    if offline := [id for id in self._get_param("InstanceIds", []) if id not in online]:
        raise InvalidInstanceIdError(offline)
    answer: ActionResult = send(self)
    return answer


def _filtered(list_commands: Any, self: SimpleSystemManagerResponse) -> ActionResult:
    answer: Any = list_commands(self)
    wanted = {f["key"]: f["value"] for f in self._get_param("Filters", [])}
    listed = answer.result["Commands"]
    if after := wanted.get("InvokedAfter"):
        since = datetime.fromisoformat(after).replace(tzinfo=None)
        listed = [one for one in listed if one["RequestedDateTime"] >= since]
    if document := wanted.get("DocumentName"):
        listed = [one for one in listed if one["DocumentName"] == document]
    return ActionResult({"Commands": listed})


def _as_tagged(get: Any, command: Command, instance_id: str, plugin: str | None) -> dict[str, Any]:
    said = dict(get(command, instance_id, plugin))
    instance = ec2_backends[command.account_id][command.backend_region].get_instance(instance_id)
    tags = _tags(instance)
    sent = command.requested_date_time.replace(tzinfo=UTC).timestamp()
    if time.time() < sent + float(tags.get("lab:seconds", 0)):
        return {**said, "Status": "InProgress", "StatusDetails": "InProgress", "ResponseCode": -1}
    status = tags.get("lab:status", "Success")
    return {
        **said,
        "Status": status,
        "StatusDetails": status,
        "ResponseCode": int(tags.get("lab:code", 0)),
        "StandardOutputContent": tags.get("lab:stdout", ""),
        "StandardErrorContent": tags.get("lab:stderr", ""),
    }


def _tags(instance: Any) -> dict[str, str]:
    return {tag["key"]: str(tag["value"]) for tag in instance.get_tags()}
