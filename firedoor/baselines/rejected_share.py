"""Which part of the flows is rejected in an hour."""

from firedoor.baseline import Measure, Metric, Period, Unit
from firedoor.detection import About
from firedoor.model.finding import Side

METRIC = Metric(
    title="Rejected flows",
    description="The part of the flows that was denied in an hour, of at least a thousand.",
    unit=Unit.SHARE,
    relation="network_activity",
    period=Period.HOUR,
    measure=Measure.SHARE,
    sql="""
        SELECT cloud, account, region,
               CASE WHEN network IS NULL THEN '' ELSE 'network' END AS kind,
               coalesce(network, '') AS entity, time - time % :period AS start,
               sum(CASE WHEN action = 'Denied' THEN 1 ELSE 0 END) AS value, count(*) AS total
        FROM network_activity
        WHERE time >= :since AND time < :until
        GROUP BY cloud, account, region, network, time - time % :period
    """,
    usual=0.01,
    alert=0.05,
    least=1000,
    type="Behavior:Network/RejectedFlows",
    severity=3,
    techniques=("T1046",),
    about=About.RESOURCE,
    side=Side.TARGET,
)
