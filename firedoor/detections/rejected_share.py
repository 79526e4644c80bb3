"""More of an account's flows refused than should be."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, INBOUND
from firedoor.model.finding import Side

DETECTION = Detection(
    title="An unusual share of flows is refused",
    description=(
        "Of all flows of an account more than one in twenty was refused; normal is less than one in"
        " a hundred. Somebody scans it, or a change has cut off what should pass."
    ),
    type="Behavior:Network/RejectedShare",
    severity=3,
    techniques=("T1595",),
    about=About.ACCOUNT,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"percent": 5, "flows": 1000},
    sql="""
        SELECT cloud, account, 'global' AS region, count(*) AS flows,
               count(*) FILTER (WHERE action = 'Denied') AS count,
               round(100 * CAST(count(*) FILTER (WHERE action = 'Denied') AS DOUBLE) / count(*), 1)
               AS percent,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
        GROUP BY cloud, account
        HAVING count(*) >= :flows
           AND 100 * count(*) FILTER (WHERE action = 'Denied') > :percent * count(*)
    """,
    summary="{percent} percent of {flows} flows were refused",
    examples=(
        Example(
            "51 of a thousand",
            {"network_activity": (DENIED,) * 51 + (INBOUND,) * 949},
            matches=1,
        ),
        Example(
            "50 of a thousand",
            {"network_activity": (DENIED,) * 50 + (INBOUND,) * 950},
            matches=0,
        ),
        Example(
            "half of few: an account that is hardly used",
            {"network_activity": (DENIED,) * 499 + (INBOUND,) * 500},
            matches=0,
        ),
    ),
)
