"""One host of ours at which many sources are refused."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DENIED, each
from firedoor.model.finding import Side

SOURCES = [f"198.51.100.{n}" for n in range(100)]

DETECTION = Detection(
    title="A host at which many are refused",
    description=(
        "Many sources outside were refused at one host of ours: it stands in somebody's list of"
        " targets, or something that it offered was just closed."
    ),
    type="Recon:Network/RejectedTarget",
    severity=3,
    techniques=("T1595", "T1498"),
    about=About.RESOURCE,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"rejects": 2000, "sources": 100},
    sql="""
        SELECT cloud, account, region, max(resource) AS resource, max(interface) AS interface,
               dst_key AS local_key, count(DISTINCT src_key) AS sources, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND action = 'Denied' AND NOT src_inside AND dst_inside
        GROUP BY cloud, account, region, dst_key
        HAVING count(*) >= :rejects AND count(DISTINCT src_key) >= :sources
    """,
    summary="{sources} sources were refused {count} times at {local_ip}",
    examples=(
        Example(
            "a hundred sources, twenty times each",
            {"network_activity": each(DENIED, "src_ip", SOURCES) * 20},
            matches=1,
        ),
        Example(
            "one source fewer",
            {"network_activity": each(DENIED, "src_ip", SOURCES[1:]) * 25},
            matches=0,
        ),
        Example(
            "one reject fewer",
            {"network_activity": (each(DENIED, "src_ip", SOURCES) * 20)[1:]},
            matches=0,
        ),
        Example(
            "the noise of the Internet: each source once",
            {
                "network_activity": each(
                    DENIED, "src_ip", [f"198.51.{n // 250}.{n % 250}" for n in range(1500)]
                )
            },
            matches=0,
        ),
    ),
)
