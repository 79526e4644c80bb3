"""The root user of an account did something."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import CALL
from firedoor.model.finding import Side

ROOT = {**CALL, "actor_type": "Root", "actor": "root", "operation": "ConsoleLogin"}

DETECTION = Detection(
    title="Use of the root user",
    description="The root user of an account called, or signed in. Nobody should work as root.",
    type="Policy:IAMUser/RootCredentialUsage",
    severity=6,
    techniques=("T1078.004",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    # What a service of the cloud does for root, as when an account is closed, nobody did.
    sql="""
        SELECT cloud, account, 'global' AS region, actor_type, 'root' AS actor,
               max(actor_account) AS actor_account, max(credential) AS credential,
               src_key AS remote_key, min(operation) AS operation, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND actor_type = 'Root' AND src_key IS NOT NULL
        GROUP BY cloud, account, actor_type, src_key
    """,
    summary="root made {count} calls from {remote_ip}, as {operation}",
    examples=(
        Example("root signed in", {"api_activity": (ROOT,)}, matches=1),
        Example(
            "a service acted for root",
            {"api_activity": ({**ROOT, "src_ip": None, "src_name": "health.amazonaws.com"},)},
            matches=0,
        ),
        Example("a user of that name", {"api_activity": ({**CALL, "actor": "root"},)}, matches=0),
    ),
)
