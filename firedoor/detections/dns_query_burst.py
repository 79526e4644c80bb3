"""More queries within a minute than a host asks."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import MINUTE, QUERY, TIME, every
from firedoor.model.finding import Side

DETECTION = Detection(
    title="A burst of DNS queries",
    description=(
        "A host of ours asked its resolver for more names within a minute than hosts do: something"
        " loops, floods a victim's name servers, or carries data. A host that resolves for others,"
        " or sends mail, has to have a higher `queries`."
    ),
    type="Behavior:DNS/QueryBurst",
    severity=3,
    techniques=("T1498", "T1071.004"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(hours=1),
    params={"queries": 3000},
    sql="""
        WITH minutes AS (
            SELECT cloud, account, region, src_key, max(resource) AS resource,
                   max(network) AS network, count(*) AS count, max(domain) AS sample,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM dns_activity
            WHERE time >= :since AND time < :until
            GROUP BY cloud, account, region, src_key, time - time % 60000
            HAVING count(*) > :queries
        )
        SELECT cloud, account, region, max(resource) AS resource, max(network) AS network,
               src_key AS local_key, count(*) AS minutes, max(count) AS most,
               max(sample) AS sample, sum(count) AS count,
               min(first_seen) AS first_seen, max(last_seen) AS last_seen
        FROM minutes
        GROUP BY cloud, account, region, src_key
    """,
    summary="{local_ip} asked up to {most} times a minute, as for {sample}",
    examples=(
        Example("3001 queries in a minute", {"dns_activity": (QUERY,) * 3001}, matches=1),
        Example("3000 queries in a minute", {"dns_activity": (QUERY,) * 3000}, matches=0),
        Example(
            "4000 queries in two minutes",
            {"dns_activity": (QUERY, {**QUERY, "time": TIME - MINUTE}) * 2000},
            matches=0,
        ),
        Example("4000 queries in an hour", {"dns_activity": every(QUERY, 800, 4000)}, matches=0),
    ),
)
