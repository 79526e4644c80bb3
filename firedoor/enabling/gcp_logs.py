"""A sink of Cloud Logging that keeps network, DNS, audit and load balancer logs in a bucket.

Commands to run: https://cloud.google.com/logging/docs/export/configure_export_v2
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

NAME: Final = "firedoor"
LOGS: Final = (
    "compute.googleapis.com%2Fvpc_flows",
    "networkmanagement.googleapis.com%2Fvpc_flows",
    "compute.googleapis.com%2Ffirewall",
    "dns.googleapis.com%2Fdns_queries",
    "requests",
    "loadbalancing.googleapis.com%2Fconnections",
    "cloudaudit.googleapis.com%2Factivity",
    "cloudaudit.googleapis.com%2Fdata_access",
    "cloudaudit.googleapis.com%2Fpolicy",
    "cloudaudit.googleapis.com%2Fsystem_event",
)
COST: Final = (
    "routing to a bucket is free, the bucket has its own price:"
    " https://cloud.google.com/stackdriver/pricing"
)
NOTE: Final = "objects come once an hour"


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to have the logs that we read kept in a bucket."""
    project, bucket = _printed.project(order), _printed.bucket(order)
    names = " OR ".join(f'"projects/{project}/logs/{log}"' for log in LOGS)
    writer = (
        f'"$(gcloud logging sinks describe {NAME} --project={project}'
        ' --format="value(writerIdentity)")"'
    )
    grant = (
        f"gcloud storage buckets {{}}-iam-policy-binding gs://{bucket} --member={writer}"
        " --role=roles/storage.objectCreator"
    )
    create = f"gcloud logging sinks create {NAME} storage.googleapis.com/{bucket}"
    delete = f"gcloud logging sinks delete {NAME} --project={project} --quiet"
    return (
        _printed.step(
            f"The logs of {project} are kept in gs://{bucket}",
            [f"{create} --log-filter='logName=({names})' --project={project}", grant.format("add")],
            [grant.format("remove"), delete],
            COST,
            NOTE,
        ),
    )


SWITCH = Switch(title="Logs kept in a bucket (printed, not applied)", cloud="gcp", plan=plan)
