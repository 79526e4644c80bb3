"""A source that was refused many times, and then let in."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, INBOUND, MINUTE, TIME, every
from firedoor.model.finding import Side

TRIES = tuple({**row, "time": row["time"] - MINUTE} for row in every(DENIED, 1000, 20))

DETECTION = Detection(
    title="Let in after having been refused",
    description=(
        "A source outside was refused many times at a port of a host of ours, and then let in: the"
        " port was opened meanwhile, by a change that somebody waited for, or by the attacker."
    ),
    type="UnauthorizedAccess:Network/AcceptedAfterRejects",
    severity=5,
    techniques=("T1190", "T1562.007"),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"rejects": 20},
    sql="""
        WITH refused AS (
            SELECT cloud, coalesce(account, '') AS account, region, src_key, dst_key, dst_port,
                   protocol, count(*) AS rejects, min(time) AS first_seen, max(time) AS refused_last
            FROM network_activity
            WHERE time >= :since AND time < :until
              AND action = 'Denied' AND NOT src_inside AND dst_inside
            GROUP BY cloud, coalesce(account, ''), region, src_key, dst_key, dst_port, protocol
            HAVING count(*) >= :rejects
        )
        SELECT r.cloud, r.account, r.region, max(n.resource) AS resource,
               max(n.interface) AS interface, r.src_key AS remote_key, r.dst_key AS local_key,
               r.dst_port AS port, r.rejects, count(*) AS count,
               r.first_seen, max(n.time) AS last_seen
        FROM network_activity AS n
        JOIN refused AS r
          ON n.src_key = r.src_key AND n.dst_key = r.dst_key AND n.dst_port = r.dst_port
         AND n.protocol = r.protocol AND n.cloud = r.cloud
         AND coalesce(n.account, '') = r.account
        WHERE n.time >= :since AND n.time < :until
          AND n.action = 'Allowed' AND n.time > r.refused_last
        GROUP BY r.cloud, r.account, r.region, r.src_key, r.dst_key, r.dst_port, r.rejects,
                 r.first_seen
    """,
    summary="{remote_ip} was refused {rejects} times at port {port} of {local_ip}, then let in",
    examples=(
        Example("twenty rejects, then let in", {"network_activity": (*TRIES, INBOUND)}, matches=1),
        Example("one reject fewer", {"network_activity": (*TRIES[1:], INBOUND)}, matches=0),
        Example(
            "let in at another port, which is open to all",
            {"network_activity": (*TRIES, {**INBOUND, "dst_port": 80})},
            matches=0,
        ),
        Example(
            "let in before: a port that was closed",
            {"network_activity": (*TRIES, {**INBOUND, "time": TIME - 30 * MINUTE})},
            matches=0,
        ),
        Example(
            "somebody else who is let in",
            {"network_activity": (*TRIES, {**INBOUND, "src_ip": "198.51.100.8"})},
            matches=0,
        ),
    ),
)
