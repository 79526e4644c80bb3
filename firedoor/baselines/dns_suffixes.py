"""Which top-level domains are asked for that nobody of the account asked for before."""

from firedoor.baseline import Measure, Metric, Period, Unit
from firedoor.detection import About
from firedoor.model.finding import Side

METRIC = Metric(
    title="New top-level domains",
    description="Top-level domains that were asked for the first time in an account, an hour.",
    unit=Unit.SUFFIXES,
    relation="dns_activity",
    period=Period.HOUR,
    measure=Measure.NOVELTY,
    # A name that does not exist says more of who misspelt it.
    sql="""
        SELECT cloud, account, region,
               CASE WHEN resource IS NULL THEN '' ELSE 'resource' END AS kind,
               coalesce(resource, '') AS entity, suffix AS item,
               min(time - time % :period) AS start
        FROM dns_activity
        WHERE time >= :since AND time < :until AND suffix IS NOT NULL AND suffix <> ''
          AND coalesce(rcode, '') <> 'NXDOMAIN'
        GROUP BY cloud, account, region, resource, suffix
    """,
    usual=0,
    alert=None,
    scale=0.2,
    # What machines in a cloud ask for without anybody's doing.
    known=frozenset(
        ("com", "net", "org", "arpa", "internal", "local", "aws", "goog", "google", "microsoft")
    ),
    type="Behavior:Network/NewTopLevelDomain",
    severity=3,
    techniques=("T1583.001",),
    about=About.RESOURCE,
    side=Side.ACTOR,
)
