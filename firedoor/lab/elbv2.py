"""Load balancing: deregistering a target that is not there is fine (an error in moto).

AWS goes on to list a target for some time as draining; here it is gone at once. As in moto, a
target is known by its id alone, so it has one port in a group.
"""

from typing import Any

from moto.elbv2.models import FakeTargetGroup

from firedoor.lab import patch


def install() -> None:
    """Set moto's load balancing right."""
    patch.around(FakeTargetGroup, "deregister", _deregistered)


def _deregistered(deregister: Any, group: Any, targets: list[dict[str, Any]]) -> None:
    known = [
        target
        for target in targets
        if (there := group.targets.get(target["Id"]))
        and str(target.get("Port") or there["Port"]) == str(there["Port"])
    ]
    deregister(group, known)
