"""Connections of one host to one destination outside, as regular as a clock."""

from datetime import timedelta
from typing import Any

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import HOUR, MINUTE, OUTBOUND, TIME, Row
from firedoor.model.finding import Side


def beacon(
    gap: int = 5 * MINUTE, count: int = 24, jitter: float = 0.1, **row: Any
) -> tuple[Row, ...]:
    """Return connections, each from a port of its own, that come early and late in turns."""
    return tuple(
        {
            **OUTBOUND,
            "time": TIME - number * gap + round(jitter * gap * (-1) ** number),
            "src_port": 40_000 + number,
            **row,
        }
        for number in range(1, count + 1)
    )


# Gaps in turns short and long, as people's are: their deviation is as large as their mean.
BROWSING = tuple(
    {**row, "time": TIME - HOUR * (number // 3) - MINUTE * (number % 3)}
    for number, row in enumerate(beacon(count=30))
)

DETECTION = Detection(
    title="Connections as regular as a clock",
    description=(
        "A host of ours connected to one address outside at regular intervals, as what asks for"
        " commands does. Agents and updates do so, too, but mostly many hosts to one address: those"
        " are left out, and so are time servers. One connection that is kept open is not seen."
    ),
    type="Backdoor:Network/Beaconing",
    severity=6,
    techniques=("T1071", "T1573", "T1029"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(days=1),
    params={"connections": 24, "variation": 0.25, "gap": 10_000, "hosts": 3, "bytes": 100_000},
    # Pairs of few flows are left out before any sorting. Flows of one connection are one: they are
    # logged each minute, like a clock.
    sql="""
        WITH pairs AS (
            SELECT src_key, dst_key, dst_port
            FROM network_activity
            WHERE time >= :since AND time < :until AND src_inside AND NOT dst_inside
              AND protocol IN (6, 17) AND dst_port <> 123 AND dst_port < 32768
            GROUP BY src_key, dst_key, dst_port
            HAVING count(*) >= :connections AND sum(bytes) <= count(*) * :bytes
               AND max(time) - min(time) >= :connections * :gap
        ),
        connections AS (
            SELECT n.cloud, n.account, n.region, n.src_key, n.dst_key, n.dst_port, n.src_port,
                   max(n.resource) AS resource, max(n.interface) AS interface,
                   min(n.time) AS time, sum(n.bytes) AS bytes
            FROM network_activity AS n
            JOIN pairs AS p
              ON n.src_key = p.src_key AND n.dst_key = p.dst_key AND n.dst_port = p.dst_port
            WHERE n.time >= :since AND n.time < :until
              AND coalesce(n.action, 'Allowed') = 'Allowed' AND n.protocol IN (6, 17)
              AND coalesce(n.direction, 'Outbound') = 'Outbound'
            GROUP BY n.cloud, n.account, n.region, n.src_key, n.dst_key, n.dst_port, n.src_port
        ),
        gaps AS (
            SELECT cloud, account, region, src_key, dst_key, dst_port, resource, interface, time,
                   bytes,
                   time - lag(time) OVER (
                       PARTITION BY cloud, account, region, src_key, dst_key, dst_port ORDER BY time
                   ) AS gap
            FROM connections
        ),
        regular AS (
            SELECT cloud, account, region, src_key, dst_key, dst_port, max(resource) AS resource,
                   max(interface) AS interface, count(*) AS count, sum(bytes) AS bytes,
                   avg(gap) AS gap, stddev_pop(gap) / nullif(avg(gap), 0) AS variation,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM gaps
            GROUP BY cloud, account, region, src_key, dst_key, dst_port
            HAVING count(*) >= :connections AND avg(gap) >= :gap
               AND stddev_pop(gap) <= :variation * avg(gap)
        ),
        counted AS (
            SELECT cloud, account, region, src_key, dst_key, dst_port, resource, interface, count,
                   bytes, gap, variation, first_seen, last_seen,
                   count(*) OVER (PARTITION BY cloud, account, dst_key, dst_port) AS hosts
            FROM regular
        )
        SELECT cloud, account, region, resource, interface, src_key AS local_key,
               dst_key AS remote_key, dst_port, count, bytes,
               CAST(round(gap / 1e3) AS BIGINT) AS seconds, round(variation, 2) AS variation,
               first_seen, last_seen
        FROM counted WHERE hosts <= :hosts
    """,
    summary=(
        "{local_ip} connected to {remote_ip}, port {dst_port}, {count} times, every {seconds}"
        " seconds (variation {variation})"
    ),
    examples=(
        Example("every five minutes, for two hours", {"network_activity": beacon()}, matches=1),
        Example(
            "every forty minutes, without jitter",
            {"network_activity": beacon(gap=40 * MINUTE, jitter=0)},
            matches=1,
        ),
        Example("one connection fewer", {"network_activity": beacon(count=23)}, matches=0),
        Example(
            "too much jitter to be told from people",
            {"network_activity": beacon(jitter=0.2)},
            matches=0,
        ),
        Example("somebody who browses", {"network_activity": BROWSING}, matches=0),
        Example(
            "a time server",
            {"network_activity": beacon(dst_port=123, protocol=17)},
            matches=0,
        ),
        Example(
            "health checks of a load balancer",
            {"network_activity": beacon(src_ip="10.0.0.9", dst_ip="10.0.1.5")},
            matches=0,
        ),
        Example(
            "one connection that is kept open and logged each minute",
            {"network_activity": beacon(gap=MINUTE, count=200, src_port=40_000)},
            matches=0,
        ),
        Example(
            "an agent that reports from four hosts",
            {
                "network_activity": tuple(
                    {**row, "src_ip": f"10.0.1.{host}"} for host in range(4) for row in beacon()
                )
            },
            matches=0,
        ),
        Example(
            "a backup each half hour",
            {"network_activity": beacon(gap=30 * MINUTE, bytes=50_000_000)},
            matches=0,
        ),
    ),
)
