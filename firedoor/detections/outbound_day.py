"""More sent outside in a day by one host than hosts do."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import OUTBOUND, each
from firedoor.model.finding import Side

SHARES = {**OUTBOUND, "bytes": 500_000_000}
CLIENTS = [f"203.0.113.{n}" for n in range(100)]

DETECTION = Detection(
    title="A host sends unusually much outside",
    description=(
        "A host of ours sent more than fifty gigabytes outside within a day, to however many; ten"
        " are normal. Data may leave in parts to many addresses, as of a content network. Servers"
        " that serve so much have to have a higher `bytes`, or a baseline of their own."
    ),
    type="Behavior:Network/TrafficVolume",
    severity=4,
    techniques=("T1048", "T1030"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(days=1),
    params={"bytes": 50_000_000_000},
    sql="""
        SELECT cloud, account, region, max(resource) AS resource, max(interface) AS interface,
               src_key AS local_key, sum(bytes) AS bytes, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND src_inside AND NOT dst_inside AND coalesce(action, 'Allowed') = 'Allowed'
          AND coalesce(direction, 'Outbound') = 'Outbound'
        GROUP BY cloud, account, region, src_key
        HAVING sum(bytes) > :bytes
    """,
    summary="{local_ip} sent {bytes:,} bytes outside in {count} flows",
    examples=(
        Example(
            "51 gigabytes to a hundred addresses",
            {"network_activity": each({**SHARES, "bytes": 510_000_000}, "dst_ip", CLIENTS)},
            matches=1,
        ),
        Example("fifty gigabytes", {"network_activity": each(SHARES, "dst_ip", CLIENTS)}, 0),
        Example(
            "a backup of sixty gigabytes to a network of our own",
            {"network_activity": ({**OUTBOUND, "dst_ip": "172.20.9.9", "bytes": 60 * 10**9},)},
            matches=0,
        ),
    ),
)
