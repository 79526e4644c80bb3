"""Far more requests to one service than in the hour before."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import HOUR, REQUEST, TIME, each
from firedoor.model.finding import Side

CLIENTS = [f"198.51.{100 + n // 250}.{n % 250}" for n in range(6000)]
FLOOD = each(REQUEST, "src_ip", CLIENTS)

DETECTION = Detection(
    title="A flood of requests to a service",
    description=(
        "A load balancer had many times more requests within a minute than its mean minute of the"
        " hour before, of however many clients. A campaign or a broken client does so, too: look"
        " whether the service suffers."
    ),
    type="Impact:WebApp/RequestFlood",
    severity=6,
    techniques=("T1499.002", "T1498"),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(minutes=10),
    history=timedelta(hours=1),
    params={"requests": 6000, "times": 10},
    sql="""
        WITH minutes AS (
            SELECT cloud, coalesce(account, '') AS account, region, resource,
                   time >= :since AS now, count(*) AS count,
                   count(DISTINCT src_key) AS clients,
                   count(*) FILTER (WHERE status >= 500) AS errors,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM http_activity
            WHERE time >= :earlier AND time < :until AND resource IS NOT NULL
            GROUP BY cloud, coalesce(account, ''), region, resource, time >= :since,
                     time - time % 60000
        ),
        before AS (
            SELECT cloud, account, region, resource, sum(count) AS count
            FROM minutes WHERE NOT now GROUP BY cloud, account, region, resource
        )
        SELECT m.cloud, m.account, m.region, m.resource, max(m.count) AS most,
               max(m.clients) AS clients, sum(m.errors) AS errors, sum(m.count) AS count,
               min(m.first_seen) AS first_seen, max(m.last_seen) AS last_seen
        FROM minutes AS m
        LEFT JOIN before AS b
          ON b.cloud = m.cloud AND b.account = m.account AND b.resource = m.resource
         AND coalesce(b.region, '') = coalesce(m.region, '')
        WHERE m.now AND m.count >= :requests AND m.count * 60 >= :times * coalesce(b.count, 0)
        GROUP BY m.cloud, m.account, m.region, m.resource
    """,
    summary="{most} requests in a minute, of {clients} clients; {errors} ended in errors of ours",
    examples=(
        Example("six thousand of as many clients", {"http_activity": FLOOD}, matches=1),
        Example("one request fewer", {"http_activity": FLOOD[1:]}, matches=0),
        Example(
            "a service that is always that busy",
            {
                "http_activity": FLOOD
                + each(REQUEST, "time", range(TIME - HOUR - 300_000, TIME - 600_000, 80))
            },
            matches=0,
        ),
    ),
)
