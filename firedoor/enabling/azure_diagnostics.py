"""Diagnostic settings of Azure: activity, load balancers, firewalls and DNS, as commands to run.

https://learn.microsoft.com/en-us/azure/azure-monitor/platform/diagnostic-settings
"""

import json
from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

NAME: Final = "firedoor"
ACTIVITY: Final = (
    "Administrative", "Security", "ServiceHealth", "Alert", "Recommendation", "Policy",
    "Autoscale", "ResourceHealth",
)  # fmt: skip
RESOURCES: Final = {
    "application gateways, with their firewall": "Microsoft.Network/applicationGateways",
    "Front Doors": "Microsoft.Cdn/profiles",
    "Azure Firewalls": "Microsoft.Network/azureFirewalls",
    "DNS security policies": "Microsoft.Network/dnsResolverPolicies",
    "key vaults": "Microsoft.KeyVault/vaults",
}
COST: Final = (
    "the activity log is free, resource logs cost about $0.25 for each GB that is sent to storage:"
    " https://azure.microsoft.com/en-us/pricing/details/monitor"
)
DNS: Final = (
    "queries are logged of networks that are linked to a DNS security policy:"
    " https://learn.microsoft.com/en-us/azure/dns/dns-security-policy"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to keep the activity log, and what resources of several kinds log."""
    subscription, storage = _printed.subscription(order), _printed.storage(order)
    location, meant = _printed.location(order), _printed.only(order)
    if meant:
        return tuple(_one(resource, storage) for resource in meant)
    activity = _activity(subscription, storage, location)
    kinds = [_kind(what, type_, subscription, storage) for what, type_ in RESOURCES.items()]
    return activity, *kinds


SWITCH = Switch(
    title="Activity, load balancers, firewalls and DNS (printed, not applied)",
    cloud="azure",
    plan=plan,
)

_ID = '"$id"'
_LOGS = json.dumps([{"categoryGroup": "allLogs", "enabled": True}])


def _activity(subscription: str, storage: str, location: str) -> Step:
    logs = json.dumps([{"category": one, "enabled": True} for one in ACTIVITY])
    setting = f"az monitor diagnostic-settings subscription {{}} --name {NAME}"
    return _printed.step(
        f"The activity log of {subscription} is kept",
        [
            f"{setting.format('create')} --location {location} --storage-account {storage}"
            f" --logs '{logs}' --subscription {subscription}"
        ],
        [f"{setting.format('delete')} --yes --subscription {subscription}"],
        COST,
    )


def _kind(what: str, type_: str, subscription: str, storage: str) -> Step:
    listed = (
        f"az resource list --resource-type {type_} --subscription {subscription}"
        " --query '[].id' --output tsv"
    )
    each = f"{listed} | while read -r id; do"
    return _printed.step(
        f"What all {what} log is kept",
        [f"{each} {_create(_ID, storage)} </dev/null; done"],
        [f"{each} {_delete(_ID)} </dev/null; done"],
        COST,
        DNS if "DNS" in what else "",
    )


def _one(resource: str, storage: str) -> Step:
    title = f"What {resource} logs is kept"
    return _printed.step(title, [_create(resource, storage)], [_delete(resource)], COST)


def _create(resource: str, storage: str) -> str:
    return (
        f"az monitor diagnostic-settings create --name {NAME} --resource {resource}"
        f" --storage-account {storage} --logs '{_LOGS}'"
    )


def _delete(resource: str) -> str:
    return f"az monitor diagnostic-settings delete --name {NAME} --resource {resource}"
