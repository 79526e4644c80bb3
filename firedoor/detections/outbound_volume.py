"""Much data sent to one destination outside."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, INBOUND, OUTBOUND
from firedoor.model.finding import Side

PART = {**OUTBOUND, "bytes": 900_000}

DETECTION = Detection(
    title="Much data sent to one destination outside",
    description=(
        "A host of ours sent more than a gigabyte to one address outside within a day, in however"
        " many flows. Backups and uploads to a partner do so as well: raise `bytes` for them, or"
        " tell our own networks."
    ),
    type="Exfiltration:Network/OutboundVolume",
    severity=5,
    techniques=("T1048", "T1041"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(days=1),
    params={"bytes": 1_000_000_000},
    # By numbers alone first, which is many times quicker, and leaves hardly anything.
    sql="""
        WITH pairs AS (
            SELECT src_key, dst_key
            FROM network_activity
            WHERE time >= :since AND time < :until AND src_inside AND NOT dst_inside
            GROUP BY src_key, dst_key
            HAVING sum(bytes) > :bytes
        )
        SELECT n.cloud, n.account, n.region, max(n.resource) AS resource,
               max(n.interface) AS interface, n.src_key AS local_key, n.dst_key AS remote_key,
               sum(n.bytes) AS bytes, count(*) AS count,
               min(n.time) AS first_seen, max(n.time) AS last_seen
        FROM network_activity AS n
        JOIN pairs AS p ON p.src_key = n.src_key AND p.dst_key = n.dst_key
        WHERE n.time >= :since AND n.time < :until
          AND coalesce(n.action, 'Allowed') = 'Allowed'
          AND coalesce(n.direction, 'Outbound') = 'Outbound'
        GROUP BY n.cloud, n.account, n.region, n.src_key, n.dst_key
        HAVING sum(n.bytes) > :bytes
    """,
    summary="{local_ip} sent {bytes:,} bytes to {remote_ip} in {count} flows",
    examples=(
        Example(
            "five gigabytes at once",
            {"network_activity": ({**OUTBOUND, "bytes": 5_000_000_000},)},
            matches=1,
        ),
        Example(
            "1.8 gigabytes in two thousand small flows",
            {"network_activity": (PART,) * 2000},
            matches=1,
        ),
        Example(
            "one byte over a gigabyte",
            {"network_activity": ({**OUTBOUND, "bytes": 1_000_000_001},)},
            matches=1,
        ),
        Example(
            "a gigabyte",
            {"network_activity": ({**OUTBOUND, "bytes": 1_000_000_000},)},
            matches=0,
        ),
        Example(
            "a backup to a network of our own",
            {"network_activity": ({**OUTBOUND, "dst_ip": "172.20.9.9", "bytes": 5 * 10**9},)},
            matches=0,
        ),
        Example(
            "a backup to a network of our own, over IPv6",
            {
                "network_activity": (
                    {**OUTBOUND, "src_ip": "fd00::5", "dst_ip": "fd01::9", "bytes": 5 * 10**9},
                )
            },
            matches=0,
        ),
        Example(
            "a download",
            {"network_activity": ({**INBOUND, "bytes": 5_000_000_000},)},
            matches=0,
        ),
        Example(
            "the same flow, logged again where it left the subnet",
            {
                "network_activity": (
                    {**OUTBOUND, "bytes": 600_000_000},
                    {**OUTBOUND, "bytes": 600_000_000, "direction": "Inbound"},
                )
            },
            matches=0,
        ),
        Example(
            "what was refused",
            {
                "network_activity": (
                    {**DENIED, "src_ip": "10.0.1.5", "dst_ip": "203.0.113.9", "bytes": 2 * 10**9},
                )
            },
            matches=0,
        ),
    ),
)
