"""The plans of Microsoft Defender for Cloud, as commands to run.

https://learn.microsoft.com/en-us/cli/azure/security/pricing
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

PLANS: Final = {
    "VirtualMachines": "P2",
    "StorageAccounts": "DefenderForStorageV2",
    "KeyVaults": "PerKeyVault",
    "SqlServers": "",
    "SqlServerVirtualMachines": "",
    "OpenSourceRelationalDatabases": "",
    "CosmosDbs": "",
    "AppServices": "",
    "Arm": "PerSubscription",
    "Containers": "",
    "Api": "P1",
    "AI": "",
    "CloudPosture": "",
}
"""Each plan of today, with its variant: `Dns`, `KubernetesService` and `ContainerRegistry` were
taken into others."""
COST: Final = (
    "free for 30 days, then by plan, for one about $15 for a server and month:"
    " https://azure.microsoft.com/en-us/pricing/details/defender-for-cloud"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to turn on every plan, or those that are named."""
    subscription = _printed.subscription(order)
    meant = _printed.only(order) or tuple(PLANS)
    return tuple(_step(name, subscription) for name in meant)


SWITCH = Switch(
    title="Threat detection (Defender for Cloud; printed, not applied)", cloud="azure", plan=plan
)


def _step(name: str, subscription: str) -> Step:
    variant = PLANS.get(name, "")
    with_ = f" --subplan {variant}" if variant else ""
    create = f"az security pricing create --name {name} --tier"
    return _printed.step(
        f"Defender for Cloud protects {subscription} by its plan {name}",
        [f"{create} Standard{with_} --subscription {subscription}"],
        [f"{create} Free --subscription {subscription}"],
        COST,
        f"`az security pricing show --name {name}` says what is on today",
    )
