"""Auto Scaling: standby as AWS has it.

AWS, and in brackets moto:

- EnterStandby wants an instance in service, and a minimum that lets the wanted number sink (takes
  any).
- ExitStandby wants one in standby, and a maximum that lets the wanted number rise (takes any).
- In standby an instance gets no traffic from the group's load balancers (is registered again).
- A group that shrinks spares what is in standby (ends it first).
- SetInstanceProtection wants an instance in service or in standby (ignores others).
"""

from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup

from firedoor.lab import patch

_IN_SERVICE, _STANDBY = "InService", "Standby"


def install() -> None:
    """Set moto's Auto Scaling right."""
    patch.around(AutoScalingBackend, "enter_standby_instances", _enter)
    patch.around(AutoScalingBackend, "exit_standby_instances", _exit)
    patch.around(AutoScalingBackend, "set_instance_protection", _protect)
    patch.around(AutoScalingBackend, "update_attached_target_groups", _registered)
    patch.around(FakeAutoScalingGroup, "set_desired_capacity", _sparing)


def _enter(enter: Any, backend: Any, group_name: str, instance_ids: list[str], lower: bool) -> Any:
    group = backend.autoscaling_groups[group_name]
    _expect(group, instance_ids, _IN_SERVICE)
    if lower and group.desired_capacity - len(instance_ids) < group.min_size:
        raise ValidationError(
            f"AutoScalingGroup {group_name} has min-size={group.min_size}, and"
            f" desired-size={group.desired_capacity}. To place into standby"
            f" {len(instance_ids)} instance, please update the AutoScalingGroup sizes"
            " appropriately."
        )
    return enter(backend, group_name, instance_ids, lower)


def _exit(leave: Any, backend: Any, group_name: str, instance_ids: list[str]) -> Any:
    group = backend.autoscaling_groups[group_name]
    _expect(group, instance_ids, _STANDBY)
    if group.desired_capacity + len(instance_ids) > group.max_size:
        raise ValidationError(
            f"AutoScalingGroup {group_name} has max-size={group.max_size}, and cannot take"
            f" {len(instance_ids)} more."
        )
    return leave(backend, group_name, instance_ids)


def _protect(
    protect: Any, backend: Any, group_name: str, instance_ids: list[str], protected: bool
) -> Any:
    _expect(backend.autoscaling_groups[group_name], instance_ids, _IN_SERVICE, _STANDBY)
    return protect(backend, group_name, instance_ids, protected)


def _expect(group: Any, instance_ids: list[str], *states: str) -> None:
    known = {state.instance.id: state.lifecycle_state for state in group.instance_states}
    for id in instance_ids:
        if known.get(id) not in states:
            raise ValidationError(f"The instance {id} is not in {' or '.join(states)}.")


def _registered(update: Any, backend: Any, group_name: str) -> None:
    update(backend, group_name)
    group = backend.autoscaling_groups[group_name]
    resting = {s.instance.id for s in group.instance_states if s.lifecycle_state == _STANDBY}
    for arn in group.target_group_arns:
        target_group = backend.elbv2_backend.target_groups[arn]
        target_group.deregister([{"Id": id} for id in resting if id in target_group.targets])


def _sparing(set_capacity: Any, group: Any, new_capacity: int | None) -> None:
    resting = [state for state in group.instance_states if state.lifecycle_state == _STANDBY]
    protected = [state.protected_from_scale_in for state in resting]
    for state in resting:
        state.protected_from_scale_in = True
    try:
        set_capacity(group, new_capacity)
    finally:
        for state, before in zip(resting, protected, strict=True):
            state.protected_from_scale_in = before
