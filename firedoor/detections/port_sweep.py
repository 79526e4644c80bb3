"""One port of many hosts tried by one source: a horizontal scan."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, INBOUND, each
from firedoor.model.finding import Side

DETECTION = Detection(
    title="Sweep of one port over many hosts",
    description="One source outside was refused at the same port of many hosts of ours.",
    type="Recon:Network/PortSweep",
    severity=3,
    techniques=("T1046", "T1595.001"),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(hours=1),
    # A busy client of a service that moves about is seen at up to 140 hosts.
    params={"hosts": 200},
    sql="""
        SELECT cloud, account, region, max(network) AS network, src_key AS remote_key,
               dst_port AS port, count(DISTINCT dst_key) AS hosts, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND action = 'Denied' AND NOT src_inside AND dst_inside
        GROUP BY cloud, account, region, src_key, dst_port
        HAVING count(DISTINCT dst_key) >= :hosts
    """,
    summary="{remote_ip} was refused at port {port} of {hosts} hosts",
    examples=(
        Example(
            "port 445 of two hundred hosts",
            {
                "network_activity": each(
                    {**DENIED, "dst_port": 445}, "dst_ip", [f"10.0.2.{n}" for n in range(200)]
                )
            },
            matches=1,
        ),
        Example(
            "one host fewer",
            {
                "network_activity": each(
                    {**DENIED, "dst_port": 445}, "dst_ip", [f"10.0.2.{n}" for n in range(199)]
                )
            },
            matches=0,
        ),
        Example(
            "a client that is let in everywhere",
            {"network_activity": each(INBOUND, "dst_ip", [f"10.0.2.{n}" for n in range(200)])},
            matches=0,
        ),
        Example(
            "many ports of one host",
            {"network_activity": each(DENIED, "dst_port", range(1, 500))},
            matches=0,
        ),
    ),
)
