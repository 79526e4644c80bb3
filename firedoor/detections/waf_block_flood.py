"""Many requests blocked by a web application firewall within a minute."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import REQUEST, each
from firedoor.model.finding import Side

BLOCKED = {**REQUEST, "action": "Denied", "rule": "RateLimit", "status": 403}

DETECTION = Detection(
    title="A web application firewall blocks very much",
    description=(
        "A web application firewall blocked very many requests within a minute: an attack that it"
        " holds, or a rule that blocks users since its last change. Look which rule it was."
    ),
    type="Impact:WebApp/BlockedRequests",
    severity=5,
    techniques=("T1499.002", "T1595.002"),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(minutes=10),
    params={"requests": 1000},
    sql="""
        WITH minutes AS (
            SELECT cloud, account, region, resource, count(*) AS count, max(rule) AS rule,
                   count(DISTINCT src_key) AS clients,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM http_activity
            WHERE time >= :since AND time < :until AND action = 'Denied'
            GROUP BY cloud, account, region, resource, time - time % 60000
            HAVING count(*) >= :requests
        )
        SELECT cloud, account, region, resource, max(rule) AS rule, max(clients) AS clients,
               max(count) AS most, sum(count) AS count,
               min(first_seen) AS first_seen, max(last_seen) AS last_seen
        FROM minutes
        GROUP BY cloud, account, region, resource
    """,
    summary="up to {most} requests a minute of {clients} clients were blocked, as by {rule}",
    examples=(
        Example("a thousand in a minute", {"http_activity": (BLOCKED,) * 1000}, matches=1),
        Example("one fewer", {"http_activity": (BLOCKED,) * 999}, matches=0),
        Example(
            "a rule that only counts",
            {"http_activity": ({**BLOCKED, "action": "Observed"},) * 1000},
            matches=0,
        ),
        Example(
            "a thousand, of as many firewalls",
            {"http_activity": each(BLOCKED, "resource", [f"acl-{n}" for n in range(1000)])},
            matches=0,
        ),
    ),
)
