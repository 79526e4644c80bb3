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
    sql="""
        SELECT cloud, account, region, max(resource) AS resource, max(interface) AS interface,
               src_key AS local_key, dst_key AS remote_key, sum(bytes) AS bytes, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND src_inside AND NOT dst_inside AND coalesce(action, 'Allowed') = 'Allowed'
          AND coalesce(direction, 'Outbound') = 'Outbound'
        GROUP BY cloud, account, region, src_key, dst_key
        HAVING sum(bytes) > :bytes
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
