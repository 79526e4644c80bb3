"""What the brute force rules have in common: one port, tried again and again by one source."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, INBOUND, each
from firedoor.model.finding import Side

SQL = """
    SELECT cloud, account, region, max(resource) AS resource, max(interface) AS interface,
           src_key AS remote_key, dst_key AS local_key, dst_port AS port,
           count(*) FILTER (WHERE action = 'Denied') AS refused,
           count(*) FILTER (WHERE action = 'Allowed' AND packets <= :packets) AS short,
           count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
    FROM network_activity
    WHERE time >= :since AND time < :until
      AND dst_port = :port AND protocol = 6 AND NOT src_inside AND dst_inside
    GROUP BY cloud, account, region, src_key, dst_key, dst_port
    HAVING count(*) FILTER (WHERE action = 'Denied') > :attempts
        OR count(*) FILTER (WHERE action = 'Allowed' AND packets <= :packets) > :attempts
"""


def detection(name: str, port: int, packets: int) -> Detection:
    """Return the rule for a port: `packets` is what a login that fails does not exceed."""
    denied = {**DENIED, "dst_port": port}
    short = {**INBOUND, "dst_port": port, "packets": packets}
    return Detection(
        title=f"Brute force against {name}",
        description=(
            f"One source outside tried {name} of one host of ours again and again: it was refused,"
            " or let in for no longer than a login takes that fails. Look into the log of sign-ins."
        ),
        type=f"UnauthorizedAccess:Network/{name}BruteForce",
        severity=5,
        techniques=("T1110",),
        about=About.RESOURCE,
        side=Side.TARGET,
        window=timedelta(hours=1),
        params={"port": port, "attempts": 100, "packets": packets},
        sql=SQL,
        summary=(
            "{remote_ip} tried port {port} of {local_ip} {count} times: refused {refused} times,"
            " let in shortly {short} times"
        ),
        examples=(
            Example("refused 101 times", {"network_activity": (denied,) * 101}, matches=1),
            Example(
                "let in 101 times, shortly",
                {"network_activity": each(short, "src_port", range(40_000, 40_101))},
                matches=1,
            ),
            Example("refused a hundred times", {"network_activity": (denied,) * 100}, matches=0),
            Example(
                "refused 101 times at another port",
                {"network_activity": ({**denied, "dst_port": 443},) * 101},
                matches=0,
            ),
            Example(
                "101 sessions in which somebody works",
                {"network_activity": ({**short, "packets": packets + 1},) * 101},
                matches=0,
            ),
            Example(
                "a host of ours that manages others",
                {"network_activity": ({**short, "src_ip": "10.0.9.9"},) * 101},
                matches=0,
            ),
        ),
    )
