"""A port in which many more are interested than in the days before."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DAY, DENIED, TIME, each
from firedoor.model.finding import Side

SOURCES = [f"198.51.{100 + n // 250}.{n % 250}" for n in range(500)]
TODAY = each({**DENIED, "dst_port": 8443}, "src_ip", SOURCES)
BEFORE = each({**DENIED, "dst_port": 23, "time": TIME - 3 * DAY}, "src_ip", SOURCES[:10])

DETECTION = Detection(
    title="A port that many begin to try",
    description=(
        "Many sources outside were refused at a port today, many times more than a day of the week"
        " before: a weakness of what listens there has become known. Patch it before it is opened."
    ),
    type="Recon:Network/RejectedPort",
    severity=2,
    techniques=("T1595.002",),
    about=About.ACCOUNT,
    side=Side.TARGET,
    window=timedelta(days=1),
    history=timedelta(days=7),
    params={"sources": 500, "times": 5},
    sql="""
        WITH daily AS (
            SELECT cloud, coalesce(account, '') AS account, dst_port, time >= :since AS today,
                   count(DISTINCT src_key) AS sources, count(*) AS count,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM network_activity
            WHERE time >= :earlier AND time < :until
              AND action = 'Denied' AND NOT src_inside AND dst_inside
            GROUP BY cloud, coalesce(account, ''), dst_port, time >= :since,
                     time - time % 86400000
        ),
        before AS (
            SELECT cloud, account, dst_port, sum(sources) AS sources
            FROM daily WHERE NOT today GROUP BY cloud, account, dst_port
        ),
        kept AS (
            SELECT cloud, account, count(*) AS ports
            FROM daily WHERE NOT today GROUP BY cloud, account
        ),
        latest AS (
            SELECT cloud, account, dst_port, sum(sources) AS sources, sum(count) AS count,
                   min(first_seen) AS first_seen, max(last_seen) AS last_seen
            FROM daily WHERE today GROUP BY cloud, account, dst_port
        )
        SELECT n.cloud, n.account, 'global' AS region, n.dst_port AS port, n.sources, n.count,
               coalesce(b.sources, 0) AS sources_before, n.first_seen, n.last_seen
        FROM latest AS n
        JOIN kept AS k ON k.cloud = n.cloud AND k.account = n.account
        LEFT JOIN before AS b
          ON b.cloud = n.cloud AND b.account = n.account AND b.dst_port = n.dst_port
        WHERE n.sources >= :sources AND n.sources * 7 >= :times * coalesce(b.sources, 0)
    """,
    summary="{sources} sources were refused at port {port}; {sources_before} in the week before",
    examples=(
        Example("a port that nobody tried", {"network_activity": TODAY + BEFORE}, matches=1),
        Example("one source fewer", {"network_activity": TODAY[1:] + BEFORE}, matches=0),
        Example(
            "a port that is always tried",
            {
                "network_activity": TODAY
                + tuple(
                    {**row, "time": TIME - day * DAY} for row in TODAY[:200] for day in range(2, 8)
                )
            },
            matches=0,
        ),
        Example("no days before to compare with", {"network_activity": TODAY}, matches=0),
    ),
)
