"""Data Access audit logs of Google Cloud, as commands to run; Admin Activity is always logged.

https://cloud.google.com/logging/docs/audit/configure-data-access
"""

from typing import Final

from firedoor.enabling import _printed
from firedoor.switch import Order, Step, Switch

COST: Final = (
    "as Cloud Logging, about $0.50 for a GB, and there can be many:"
    " https://cloud.google.com/stackdriver/pricing"
)
NOTE: Final = (
    "it takes `jq`. What the policy says otherwise stays; keep policy.before.json to go back. A"
    " change made in between is refused by its etag, and loses nothing"
)
_CONFIG: Final = (
    '{"service": "allServices", "auditLogConfigs":'
    ' [{"logType": "ADMIN_READ"}, {"logType": "DATA_READ"}, {"logType": "DATA_WRITE"}]}'
)


def plan(order: Order) -> tuple[Step, ...]:
    """Print how to log who reads and writes data, of all services."""
    project = _printed.project(order)
    read = f"gcloud projects get-iam-policy {project} --format=json"
    write = f"gcloud projects set-iam-policy {project}"
    ours = f'[.auditConfigs[]? | select(.service != "allServices")] + [{_CONFIG}]'
    back = ".auditConfigs = ($old[0].auditConfigs // [])"
    return (
        _printed.step(
            f"Who reads and writes data in {project} is logged",
            [
                f"{read} > policy.before.json",
                f"jq '.auditConfigs = ({ours})' policy.before.json > policy.json",
                f"{write} policy.json",
            ],
            [
                f"{read} | jq --slurpfile old policy.before.json '{back}' > policy.json",
                f"{write} policy.json",
            ],
            COST,
            NOTE,
        ),
    )


SWITCH = Switch(title="Audit logs of data access (printed, not applied)", cloud="gcp", plan=plan)
