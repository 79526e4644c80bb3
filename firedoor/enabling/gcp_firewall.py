"""Logs of firewall rules in Google Cloud, as commands to run.

https://cloud.google.com/firewall/docs/firewall-rules-logging
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

COST: Final = (
    "about $0.50 for each GB that is made: https://cloud.google.com/vpc/network-pricing"
    " (network telemetry)"
)
NOTE: Final = (
    "of TCP and UDP only. The implied rules cannot be logged: a rule of the lowest priority that"
    " denies everything can. Rules of firewall policies have their own command: `gcloud compute"
    " network-firewall-policies rules update PRIORITY --firewall-policy=POLICY"
    " --global-firewall-policy --enable-logging`"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to log what every firewall rule of networks did, or those that are named."""
    project, meant = _printed.project(order), _printed.only(order)
    if meant:
        return tuple(_one(rule, project) for rule in meant)
    listed = 'gcloud compute firewall-rules list --project={} --filter="{}" --format="value(name)"'
    each = f"{listed.format(project, 'NOT logConfig.enable=true')} | while read -r name; do"
    every = f"{listed.format(project, 'logConfig.enable=true')} | while read -r name; do"
    update = f'gcloud compute firewall-rules update "$name" --project={project}'
    title = f"What all firewall rules of {project} did is logged"
    on = f"{each} {update} {_ON} </dev/null; done"
    off = f"{every} {update} {_OFF} </dev/null; done"
    return (_printed.step(title, [on], [off], COST, NOTE),)


SWITCH = Switch(title="Firewall rules (printed, not applied)", cloud="gcp", plan=plan)

_ON, _OFF = "--enable-logging --logging-metadata=include-all", "--no-enable-logging"


def _one(rule: str, project: str) -> Step:
    update = f"gcloud compute firewall-rules update {rule} --project={project}"
    title = f"What the firewall rule {rule} did is logged"
    return _printed.step(title, [f"{update} {_ON}"], [f"{update} {_OFF}"], COST, NOTE)
