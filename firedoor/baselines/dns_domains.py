"""How many domains are asked for that nobody of the account asked for before."""

from firedoor.baseline import Measure, Metric, Period, Unit
from firedoor.detection import About
from firedoor.model.finding import Side

METRIC = Metric(
    title="New domains",
    description="Registrable domains that were asked for the first time in an account, an hour.",
    unit=Unit.DOMAINS,
    relation="dns_activity",
    period=Period.HOUR,
    measure=Measure.NOVELTY,
    sql="""
        SELECT cloud, account, region,
               CASE WHEN resource IS NULL THEN '' ELSE 'resource' END AS kind,
               coalesce(resource, '') AS entity, domain AS item,
               min(time - time % :period) AS start
        FROM dns_activity
        WHERE time >= :since AND time < :until AND domain IS NOT NULL AND domain <> ''
        GROUP BY cloud, account, region, resource, domain
    """,
    usual=0,
    alert=None,
    scale=5,
    type="Behavior:Network/NewDomains",
    severity=4,
    techniques=("T1568.002",),
    about=About.RESOURCE,
    side=Side.ACTOR,
)
