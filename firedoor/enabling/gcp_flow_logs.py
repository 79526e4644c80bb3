"""VPC flow logs of subnets in Google Cloud, as commands to run.

https://cloud.google.com/sdk/gcloud/reference/compute/networks/subnets/update
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.errors import BadInput
from firedoor.switch import Order, Step, Switch

OPTIONS: Final = (
    "--enable-flow-logs --logging-aggregation-interval=interval-1-min --logging-flow-sampling=1.0"
    " --logging-metadata=include-all"
)
COST: Final = (
    "about $0.50 for the first GBs that are made, less for more:"
    " https://cloud.google.com/vpc/network-pricing (network telemetry)"
)
NOTE: Final = "every packet that is sampled is told of; by default only half of the flows are"


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to log the flows of every subnet, or of those that are named `region/subnet`."""
    project, meant = _printed.project(order), _printed.only(order)
    if meant:
        return tuple(_one(subnet, project) for subnet in meant)
    listed = (
        f"gcloud compute networks subnets list --project={project} --filter=purpose=PRIVATE"
        ' --format="value(name,region.basename())"'
    )
    each = f"{listed} | while read -r name region; do"
    where = f'"$name" --region="$region" --project={project}'
    title = f"The flows of all subnets of {project} are logged"
    commands = [f"{each} {_update(where, wanted)} </dev/null; done" for wanted in _BOTH]
    return (_printed.step(title, commands[:1], commands[1:], COST, NOTE),)


SWITCH = Switch(title="VPC flow logs (printed, not applied)", cloud="gcp", plan=plan)

_BOTH = (OPTIONS, "--no-enable-flow-logs")


def _one(subnet: str, project: str) -> Step:
    region, slash, name = subnet.partition("/")
    if not slash:
        raise BadInput("subnet", subnet, "expected region/subnet")
    where = f"{name} --region={region} --project={project}"
    on, off = (_update(where, wanted) for wanted in _BOTH)
    return _printed.step(f"The flows of {subnet} are logged", [on], [off], COST, NOTE)


def _update(where: str, options: str) -> str:
    return f"gcloud compute networks subnets update {where} {options}"
