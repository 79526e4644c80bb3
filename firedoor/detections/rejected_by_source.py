"""One source that is refused again and again."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, each
from firedoor.model.finding import Side

DETECTION = Detection(
    title="A source that is refused again and again",
    description=(
        "One source outside was refused very often, at few ports of few hosts: scans are told"
        " apart, see port_scan and port_sweep."
    ),
    type="Recon:Network/RejectedSource",
    severity=3,
    techniques=("T1595",),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"rejects": 1000, "ports": 30, "hosts": 200},
    sql="""
        SELECT cloud, account, region, max(network) AS network, src_key AS remote_key,
               count(DISTINCT dst_key) AS hosts, count(DISTINCT dst_port) AS ports,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND action = 'Denied' AND NOT src_inside AND dst_inside
        GROUP BY cloud, account, region, src_key
        HAVING count(*) >= :rejects
           AND count(DISTINCT dst_port) < :ports AND count(DISTINCT dst_key) < :hosts
    """,
    summary="{remote_ip} was refused {count} times, at {ports} ports of {hosts} hosts",
    examples=(
        Example(
            "a thousand rejects at one port", {"network_activity": (DENIED,) * 1000}, matches=1
        ),
        Example("one reject fewer", {"network_activity": (DENIED,) * 999}, matches=0),
        Example(
            "a thousand rejects of a thousand sources",
            {
                "network_activity": each(
                    DENIED,
                    "src_ip",
                    [f"198.51.{100 + n // 250}.{n % 250}" for n in range(1000)],
                )
            },
            matches=0,
        ),
        Example(
            "a port scan",
            {"network_activity": each(DENIED, "dst_port", range(1, 1001))},
            matches=0,
        ),
    ),
)
