"""Flow logs of virtual networks in Azure, as commands to run.

https://learn.microsoft.com/en-us/azure/network-watcher/vnet-flow-logs-cli
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

COST: Final = (
    "about $0.50 for each GB that is collected, and the storage's own price:"
    " https://azure.microsoft.com/en-us/pricing/details/network-watcher"
)
NOTE: Final = (
    "the storage account has to be in the same region as the network. New flow logs of network"
    " security groups cannot be made since June 2025, and old ones end in September 2027"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to log the flows of every virtual network, or of those that are named by id."""
    subscription, storage = _printed.subscription(order), _printed.storage(order)
    location, meant = _printed.location(order), _printed.only(order)
    where = f"--location {location} --subscription {subscription}"
    if meant:
        return tuple(_one(vnet, storage, where) for vnet in meant)
    listed = (
        f"az network vnet list --subscription {subscription}"
        f" --query \"[?location=='{location}'].[id,name]\" --output tsv"
    )
    each = f"{listed} | while read -r id name; do"
    name = '"firedoor-$name"'
    create, delete = _create(name, '"$id"', storage, where), _delete(name, where)
    return (
        _printed.step(
            f"The flows of all virtual networks in {location} are logged",
            [f"{each} {create} </dev/null; done"],
            [f"{each} {delete} </dev/null; done"],
            COST,
            NOTE,
        ),
    )


SWITCH = Switch(
    title="Flow logs of virtual networks (printed, not applied)", cloud="azure", plan=plan
)


def _one(vnet: str, storage: str, where: str) -> Step:
    name = f"firedoor-{vnet.rpartition('/')[2]}"
    return _printed.step(
        f"The flows of {vnet} are logged",
        [_create(name, vnet, storage, where)],
        [_delete(name, where)],
        COST,
        NOTE,
    )


def _create(name: str, vnet: str, storage: str, where: str) -> str:
    return (
        f"az network watcher flow-log create --name {name} --vnet {vnet}"
        f" --storage-account {storage} --enabled true --log-version 2 {where}"
    )


def _delete(name: str, where: str) -> str:
    return f"az network watcher flow-log delete --name {name} {where}"
