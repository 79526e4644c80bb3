"""What can be seen of the groups of an instance that is, or is to be, in quarantine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from activities.aws import _groups, _quarantine, _untracked
from activities.aws._case import Case
from firedoor.action import State
from firedoor.model.plan import Change

GROUPS = "groups"
"""The attribute of an interface that says which groups it is in."""


@dataclass(frozen=True)
class Sight:
    """Interfaces, and by VPC the quarantine group and the group that takes off the tracking."""

    instance: str
    interfaces: list[dict[str, Any]]
    groups: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    passages: Mapping[str, dict[str, Any]] = field(default_factory=dict)

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
    def squatted(self) -> tuple[dict[str, Any], ...]:
        """The groups in its VPCs that have the name of the untracking one, and are not ours."""
        found = (self.passages[vpc] for vpc in self.vpcs if vpc in self.passages)
        return tuple(group for group in found if not _untracked.is_ours(group))

    @property
    def state(self) -> State:
        """The groups of the interfaces, by id.

        Only the groups that we make go by name, as a plan may not know their ids yet.
        """
        ours = {_quarantine.NAME, _untracked.name(self.instance)}
        return {
            (interface["NetworkInterfaceId"], GROUPS): sorted(
                group["GroupName"] if group["GroupName"] in ours else group["GroupId"]
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

    def on_the_way(self, change: Change) -> bool:
        """Return whether an interface is where it is only for the seconds before quarantine."""
        now = self.state.get((change.resource, change.attribute))
        return now == [_untracked.name(self.instance)]


def read(case: Case) -> Sight:
    """Read the interfaces of an instance, and our groups in all VPCs."""
    interfaces, groups = case.aws.together(lambda: case.interfaces, partial(groups_of, case))
    return seen(case, interfaces, groups)


def groups_of(case: Case) -> list[dict[str, Any]]:
    """Read the groups that we make, in all VPCs."""
    names = [_quarantine.NAME, _untracked.name(case.id)]
    return case.once("our groups", partial(_groups.named, case.aws, names))


def goes_untracked(case: Case) -> bool:
    """Return whether it goes by way of the untracking group, which must be ours wherever it is."""
    sight = read(case)
    return case.untracks and not sight.squatted


def seen(case: Case, interfaces: list[dict[str, Any]], groups: Iterable[dict[str, Any]]) -> Sight:
    """Sort what was read."""
    quarantine: dict[str, dict[str, Any]] = {}
    passages: dict[str, dict[str, Any]] = {}
    for group in groups:
        place = quarantine if group["GroupName"] == _quarantine.NAME else passages
        place[group["VpcId"]] = group
    return Sight(case.id, interfaces, quarantine, passages)
