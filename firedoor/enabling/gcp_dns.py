"""Logs of DNS queries in networks of Google Cloud, as commands to run.

https://cloud.google.com/dns/docs/monitoring
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

NAME: Final = "firedoor"
COST: Final = "as Cloud Logging, about $0.50 for a GB: https://cloud.google.com/stackdriver/pricing"
NOTE: Final = (
    "a network has one DNS policy at most: where it has one, `gcloud dns policies update POLICY"
    " --enable-logging` turns its logging on"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to log the DNS queries of all networks, or of those that are named."""
    project, meant = _printed.project(order), _printed.only(order)
    all_ = (
        f'"$(gcloud compute networks list --project={project} --format="value(name)" | paste -sd,)"'
    )
    create = (
        f"gcloud dns policies create {NAME} --networks={','.join(meant) or all_} --enable-logging"
        f' --description="Logs queries for Firedoor" --project={project}'
    )
    # A policy is deleted only without networks.
    undo = [
        f'gcloud dns policies update {NAME} --networks="" --project={project}',
        f"gcloud dns policies delete {NAME} --project={project}",
    ]
    what = ", ".join(meant) or f"all networks of {project}"
    return (_printed.step(f"The DNS queries of {what} are logged", [create], undo, COST, NOTE),)


SWITCH = Switch(title="DNS queries (printed, not applied)", cloud="gcp", plan=plan)
