"""More requests within a minute than one client makes."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import MINUTE, REQUEST, TIME, every
from firedoor.model.finding import Side

DETECTION = Detection(
    title="A flood of requests by one client",
    description=(
        "One client made more requests within a minute than people do. An office or a content"
        " network stands for many people: look who it is before it is blocked."
    ),
    type="Impact:WebApp/RequestFlood.Client",
    severity=5,
    techniques=("T1499.002",),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(minutes=10),
    params={"requests": 2000},
    sql="""
        WITH minutes AS (
            SELECT cloud, account, region, resource, src_key, count(*) AS count,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM http_activity
            WHERE time >= :since AND time < :until AND NOT src_inside
            GROUP BY cloud, account, region, resource, src_key, time - time % 60000
            HAVING count(*) >= :requests
        )
        SELECT cloud, account, region, resource, src_key AS remote_key, max(count) AS most,
               sum(count) AS count, min(first_seen) AS first_seen, max(last_seen) AS last_seen
        FROM minutes
        GROUP BY cloud, account, region, resource, src_key
    """,
    summary="{remote_ip} made up to {most} requests in a minute",
    examples=(
        Example("two thousand in a minute", {"http_activity": (REQUEST,) * 2000}, matches=1),
        Example("one request fewer", {"http_activity": (REQUEST,) * 1999}, matches=0),
        Example(
            "three thousand in two minutes",
            {"http_activity": (REQUEST, {**REQUEST, "time": TIME - MINUTE}) * 1500},
            matches=0,
        ),
        Example(
            "a health check of our own",
            {"http_activity": ({**REQUEST, "src_ip": "10.0.0.9"},) * 2000},
            matches=0,
        ),
        Example(
            "a busy client, all the time", {"http_activity": every(REQUEST, 100, 3000)}, matches=0
        ),
    ),
)
