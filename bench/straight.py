"""The floor: AWS calls by straight boto3, with no plan, approval, lease or proof around them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.handlers import BUILTIN_HANDLERS

from activities.aws import _quarantine
from firedoor.cloud import aws
from firedoor.model.incident import Arrival, Order
from firedoor.model.plan import Plan, Target
from firedoor.model.runbook import Step, resolve
from worker.actions import plan_all
from worker.catalogue import actions


@dataclass(frozen=True)
class Call:
    """One AWS call with its parameters."""

    service: str
    operation: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Recording:
    """What a runbook's actions call about one instance; the group is the one they created."""

    instance: str
    group: str
    to_isolated: tuple[Call, ...]
    afterwards: tuple[Call, ...]


@cache
def client(service: str) -> Any:
    """Return a plain client."""
    return boto3.client(service)


def contain(instance: str) -> None:
    """Preserve the disks of an instance and cut it off, in as few calls as a script can."""
    ec2 = client("ec2")
    (found,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
    ec2.create_snapshots(InstanceSpecification={"InstanceId": instance})
    group = _group(found["VpcId"])
    for interface in found["NetworkInterfaces"]:
        ec2.modify_network_interface_attribute(
            NetworkInterfaceId=interface["NetworkInterfaceId"], Groups=[group]
        )


def record(arrival: Arrival) -> Recording:
    """Run the actions of a runbook straight, and return every call that they make.

    First comes what isolation waits for and isolation itself, then everything else.
    """
    steps = {step.id: step for step in arrival.runbook.steps if step.do != "notify"}
    first = (*steps["isolate"].needs, "isolate")
    plans: dict[str, list[Plan]] = {}
    with _recorded() as calls:
        for id in first:
            plans[id] = _planned(steps[id], arrival)
        for id in first:
            receipts = _each(plans[id], "apply")
        isolated = len(calls)
        for id in steps.keys() - set(first):
            plans[id] = _planned(steps[id], arrival)
            _each(plans[id], "apply")
        for made in plans.values():
            _each(made, "verify")
    (group,) = receipts[0].created.values()
    return Recording(
        instance=arrival.finding.subject.id,
        group=str(group),
        to_isolated=tuple(calls[:isolated]),
        afterwards=tuple(calls[isolated:]),
    )


def replay(calls: Sequence[Call], group: str, renamed: Mapping[str, str]) -> dict[str, str]:
    """Make calls again, one after the other, and return which ids have others by now.

    `group` is the recorded id of the group that the calls create.
    """
    now = dict(renamed)
    for call in calls:
        operation = getattr(client(call.service), xform_name(call.operation))
        try:
            answer = operation(**_renamed(call.parameters, now))
        except ClientError:
            continue  # a dry run always is one, and so is what is not there
        if call.operation == "CreateSecurityGroup":
            now[group] = answer["GroupId"]
    return now


def names(instance: str) -> tuple[str, ...]:
    """Return the ids that calls about an instance hold: its own, its disks', its interfaces'."""
    answer = client("ec2").describe_instances(InstanceIds=[instance])
    (found,) = answer["Reservations"][0]["Instances"]
    return (
        instance,
        *(disk["Ebs"]["VolumeId"] for disk in found["BlockDeviceMappings"]),
        *(interface["NetworkInterfaceId"] for interface in found["NetworkInterfaces"]),
    )


def _group(vpc: str) -> str:
    ec2 = client("ec2")
    named = [
        {"Name": "group-name", "Values": [_quarantine.NAME]},
        {"Name": "vpc-id", "Values": [vpc]},
    ]
    if found := ec2.describe_security_groups(Filters=named)["SecurityGroups"]:
        return str(found[0]["GroupId"])
    group = ec2.create_security_group(**_quarantine.creation(vpc).parameters)["GroupId"]
    for permission in _quarantine.NEW["IpPermissionsEgress"]:
        ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[permission])
    return str(group)


@contextmanager
def _recorded() -> Iterator[list[Call]]:
    """Write down every call of the clients that are made meanwhile."""
    calls: list[Call] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        calls.append(Call(model.service_model.service_name, model.name, dict(params)))

    handler = ("provide-client-params", note)
    BUILTIN_HANDLERS.append(handler)
    aws.forget()
    try:
        yield calls
    finally:
        BUILTIN_HANDLERS.remove(handler)
        aws.forget()


def _planned(step: Step, arrival: Arrival) -> list[Plan]:
    id, finding = arrival.capabilities[step.id].action, arrival.finding
    target = Target(
        subject=finding.subject, incident="incident/floor", step=step.id, at=datetime.now(UTC)
    )
    order = Order(target=target, params=resolve(step.params, finding), policy=arrival.policy)
    return plan_all(id, actions()[id], order)


def _each(plans: Sequence[Plan], phase: str) -> list[Any]:
    done = []
    for plan in plans:
        subject = plan.target.subject
        perform = getattr(actions()[plan.action], phase)
        done.append(perform(plan, aws.connect(subject.account, subject.region)))
    return done


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    match value:
        case str():
            return names.get(value, value)
        case dict():
            return {key: _renamed(item, names) for key, item in value.items()}
        case list() | tuple():
            return [_renamed(item, names) for item in value]
        case _:
            return value
