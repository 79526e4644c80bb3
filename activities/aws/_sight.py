"""What can be seen of an instance that is, or is to be, in quarantine."""

from dataclasses import dataclass
from typing import Any

from activities.aws import _network, _quarantine
from firedoor.action import State
from firedoor.cloud.aws import Aws


@dataclass(frozen=True)
class Sight:
    """The interfaces of an instance, and the quarantine group of each VPC that has one."""

    interfaces: list[dict[str, Any]]
    groups: dict[str, dict[str, Any]]

    @property
    def vpcs(self) -> tuple[str, ...]:
        """The VPCs of the interfaces; an instance can have some in several."""
        return tuple(sorted({interface["VpcId"] for interface in self.interfaces}))

    @property
    def vpc_of(self) -> dict[str, str]:
        """The VPC of each interface."""
        return {i["NetworkInterfaceId"]: i["VpcId"] for i in self.interfaces}

    @property
    def existing(self) -> tuple[dict[str, Any], ...]:
        """The quarantine groups that the interfaces can be put into."""
        return tuple(self.groups[vpc] for vpc in self.vpcs if vpc in self.groups)

    @property
    def state(self) -> State:
        """The groups of the interfaces, by id.

        Only the quarantine group goes by its name, as a plan may not know its id yet.
        """
        return {
            (interface["NetworkInterfaceId"], "groups"): sorted(
                _quarantine.NAME if group["GroupName"] == _quarantine.NAME else group["GroupId"]
                for group in interface["Groups"]
            )
            for interface in self.interfaces
        }

    @property
    def rules(self) -> State:
        """The rules that should not be in the quarantine groups."""
        return {
            key: rule for group in self.existing for key, rule in _quarantine.rules(group).items()
        }


def read(aws: Aws, instance: str) -> Sight:
    """Read the interfaces of an instance, and the quarantine groups of all VPCs."""
    interfaces, groups = aws.together(
        lambda: _network.interfaces(aws, instance),
        lambda: _quarantine.groups(aws),
    )
    return Sight(interfaces, {group["VpcId"]: group for group in groups})
