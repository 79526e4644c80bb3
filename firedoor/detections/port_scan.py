"""Many ports of one host tried by one source: a vertical scan."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, each
from firedoor.model.finding import Side

DETECTION = Detection(
    title="Port scan of one host",
    description="One source outside was refused at many different ports of one host of ours.",
    type="Recon:Network/PortScan",
    severity=4,
    techniques=("T1046", "T1595.001"),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"ports": 30},
    sql="""
        SELECT cloud, account, region, max(resource) AS resource, max(interface) AS interface,
               src_key AS remote_key, dst_key AS local_key,
               count(DISTINCT dst_port) AS ports, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND action = 'Denied' AND NOT src_inside AND dst_inside
        GROUP BY cloud, account, region, src_key, dst_key
        HAVING count(DISTINCT dst_port) >= :ports
    """,
    summary="{remote_ip} was refused at {ports} ports of {local_ip} in {count} tries",
    examples=(
        Example(
            "thirty ports of one host",
            {"network_activity": each(DENIED, "dst_port", range(1, 31))},
            matches=1,
        ),
        Example(
            "thirty ports of one host, over IPv6",
            {
                "network_activity": each(
                    {**DENIED, "src_ip": "2001:db8::7", "dst_ip": "fd00::5"},
                    "dst_port",
                    range(1, 31),
                )
            },
            matches=1,
        ),
        Example(
            "one port fewer",
            {"network_activity": each(DENIED, "dst_port", range(1, 30))},
            matches=0,
        ),
        Example(
            "one port, again and again",
            {"network_activity": (DENIED,) * 1000},
            matches=0,
        ),
        Example(
            "a scanner of our own",
            {"network_activity": each({**DENIED, "src_ip": "10.9.9.9"}, "dst_port", range(1, 31))},
            matches=0,
        ),
    ),
)
