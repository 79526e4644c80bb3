"""Much data sent to a destination to which nobody of ours sent any in the days before."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DAY, OUTBOUND, TIME
from firedoor.model.finding import Side

MUCH = {**OUTBOUND, "bytes": 1_000_000_001}
EARLIER = {**OUTBOUND, "time": TIME - 5 * DAY}

DETECTION = Detection(
    title="Much data sent to a new destination",
    description=(
        "A host of ours sent more than a gigabyte within a day to an address outside to which"
        " nobody of the account sent anything in the week before. Where the account has no flows"
        " from before, nothing is known, and nothing is said."
    ),
    type="Exfiltration:Network/NewDestination",
    severity=7,
    techniques=("T1048", "T1567"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(days=1),
    history=timedelta(days=7),
    params={"bytes": 1_000_000_000},
    # By numbers alone first, which is many times quicker, and leaves hardly anything.
    sql="""
        WITH pairs AS (
            SELECT src_key, dst_key
            FROM network_activity
            WHERE time >= :since AND time < :until AND src_inside AND NOT dst_inside
            GROUP BY src_key, dst_key
            HAVING sum(bytes) > :bytes
        ),
        much AS (
            SELECT n.cloud, coalesce(n.account, '') AS account, n.region, n.src_key, n.dst_key,
                   max(n.resource) AS resource, max(n.interface) AS interface,
                   sum(n.bytes) AS bytes, count(*) AS count,
                   min(n.time) AS first_seen, max(n.time) AS last_seen
            FROM network_activity AS n
            JOIN pairs AS p ON p.src_key = n.src_key AND p.dst_key = n.dst_key
            WHERE n.time >= :since AND n.time < :until
              AND coalesce(n.action, 'Allowed') = 'Allowed'
              AND coalesce(n.direction, 'Outbound') = 'Outbound'
            GROUP BY n.cloud, coalesce(n.account, ''), n.region, n.src_key, n.dst_key
            HAVING sum(n.bytes) > :bytes
        ),
        known AS (
            SELECT cloud, coalesce(account, '') AS account, dst_key, count(*) AS count
            FROM network_activity
            WHERE time >= :earlier AND time < :since
              AND dst_key IN (SELECT dst_key FROM pairs)
              AND src_inside AND coalesce(action, 'Allowed') = 'Allowed'
            GROUP BY cloud, coalesce(account, ''), dst_key
        ),
        kept AS (
            SELECT cloud, coalesce(account, '') AS account, count(*) AS count
            FROM network_activity
            WHERE time >= :earlier AND time < :since
            GROUP BY cloud, coalesce(account, '')
        )
        SELECT m.cloud, m.account, m.region, m.resource, m.interface, m.src_key AS local_key,
               m.dst_key AS remote_key, m.bytes, m.count, m.first_seen, m.last_seen
        FROM much AS m
        JOIN kept AS k ON k.cloud = m.cloud AND k.account = m.account
        LEFT JOIN known AS o
          ON o.cloud = m.cloud AND o.account = m.account AND o.dst_key = m.dst_key
        WHERE o.count IS NULL
    """,
    summary="{local_ip} sent {bytes:,} bytes to {remote_ip}, to which nobody sent before",
    examples=(
        Example(
            "a gigabyte to whom nobody sent before",
            {"network_activity": (MUCH, {**EARLIER, "dst_ip": "203.0.113.200"})},
            matches=1,
        ),
        Example(
            "a gigabyte, and not a byte more",
            {
                "network_activity": (
                    {**MUCH, "bytes": 1_000_000_000},
                    {**EARLIER, "dst_ip": "203.0.113.200"},
                )
            },
            matches=0,
        ),
        Example(
            "a destination of always",
            {"network_activity": (MUCH, EARLIER)},
            matches=0,
        ),
        Example(
            "a destination of another host of ours",
            {"network_activity": (MUCH, {**EARLIER, "src_ip": "10.0.1.77"})},
            matches=0,
        ),
        Example(
            "an account whose logs have just begun",
            {"network_activity": (MUCH,)},
            matches=0,
        ),
    ),
)
