"""One port of many hosts tried by a host of ours, without getting through."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import OUTBOUND, each
from firedoor.model.finding import Side

TRY = {**OUTBOUND, "dst_port": 445, "packets": 2, "bytes": 80}
HOSTS = [f"203.0.113.{n}" for n in range(200)]

DETECTION = Detection(
    title="A host of ours scans others",
    description=(
        "A host of ours tried the same port of many hosts, inside or outside, and was refused or"
        " not answered: flows of hardly a packet. A worm does so, or somebody who looks around."
    ),
    type="Recon:Network/OutboundPortSweep",
    severity=6,
    techniques=("T1046", "T1018"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(hours=1),
    params={"hosts": 200, "packets": 3},
    # A flow between two hosts of ours is logged at both: where it is not told which way it went,
    # only the interface of the sender sees all of the hosts, so interfaces are counted apart.
    sql="""
        SELECT cloud, account, region, max(resource) AS resource, interface,
               src_key AS local_key, dst_port AS port, count(DISTINCT dst_key) AS hosts,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until AND src_inside AND protocol IN (6, 17)
          AND coalesce(direction, 'Outbound') = 'Outbound'
          AND packets <= :packets AND dst_port < 32768 AND dst_port <> 53 AND dst_port <> 123
        GROUP BY cloud, account, region, interface, src_key, dst_port
        HAVING count(DISTINCT dst_key) >= :hosts
    """,
    summary="{local_ip} tried port {port} of {hosts} hosts and got through to hardly any",
    examples=(
        Example(
            "port 445 of two hundred hosts outside",
            {"network_activity": each(TRY, "dst_ip", HOSTS)},
            matches=1,
        ),
        Example(
            "port 445 of two hundred hosts inside",
            {"network_activity": each(TRY, "dst_ip", [f"10.0.2.{n}" for n in range(200)])},
            matches=1,
        ),
        Example(
            "one host fewer",
            {"network_activity": each(TRY, "dst_ip", HOSTS[1:])},
            matches=0,
        ),
        Example(
            "a proxy that talks to two hundred servers",
            {"network_activity": each(OUTBOUND, "dst_ip", HOSTS)},
            matches=0,
        ),
        Example(
            "answers to two hundred clients, each at a port of its own",
            {"network_activity": each({**TRY, "dst_port": 50_000}, "dst_ip", HOSTS)},
            matches=0,
        ),
    ),
)
