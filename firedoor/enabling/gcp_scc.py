"""The services of Security Command Center that find threats, as commands to run.

https://cloud.google.com/sdk/gcloud/reference/scc/manage/services/update
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

SERVICES: Final = (
    "event-threat-detection", "container-threat-detection", "vm-threat-detection",
    "security-health-analytics", "web-security-scanner",
)  # fmt: skip
COST: Final = "by tier, Standard is free: https://cloud.google.com/security-command-center/pricing"
NOTE: Final = (
    "Security Command Center itself, and its tier, are activated in the console. `gcloud scc"
    " settings update --enable-asset-discovery`, as older guides have it, is no more: assets are"
    " those of Cloud Asset Inventory"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to turn on what finds threats in an organization, and how to see what it found."""
    organization = _printed.organization(order)
    meant = _printed.only(order) or SERVICES
    seen = f"`gcloud scc findings list {organization} --filter='state=\"ACTIVE\"'` shows findings"
    return tuple(_step(service, organization, f"{NOTE}. {seen}") for service in meant)


SWITCH = Switch(
    title="Threat detection (Security Command Center; printed, not applied)", cloud="gcp", plan=plan
)


def _step(service: str, organization: str, note: str) -> Step:
    update = (
        f"gcloud scc manage services update {service} --organization=organizations/{organization}"
    )
    return _printed.step(
        f"Security Command Center runs {service}",
        [f"{update} --enablement-state=ENABLED"],
        [f"{update} --enablement-state=INHERITED"],
        COST,
        note,
    )
