"""How much is sent to the Internet in a day."""

from firedoor.baseline import Measure, Metric, Period, Unit
from firedoor.detection import About
from firedoor.model.finding import Side

METRIC = Metric(
    title="Outbound traffic",
    description="Bytes that were sent from inside to outside in a UTC day.",
    unit=Unit.BYTES,
    relation="network_activity",
    period=Period.DAY,
    measure=Measure.AMOUNT,
    # The default format of AWS names the interface alone. What leaves through a NAT gateway is
    # logged at the machine and at the gateway, and so counts twice for the account.
    sql="""
        SELECT cloud, account, region,
               CASE WHEN resource IS NOT NULL THEN 'resource'
                    WHEN interface IS NOT NULL THEN 'interface' ELSE '' END AS kind,
               coalesce(resource, interface, '') AS entity,
               time - time % :period AS start, sum(bytes) AS value
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND action = 'Allowed' AND src_inside AND NOT dst_inside
        GROUP BY cloud, account, region, resource, interface, time - time % :period
    """,
    usual=10e9,
    alert=50e9,
    scale=500e6,
    since_seen=True,
    type="Behavior:Network/OutboundBytes",
    severity=6,
    techniques=("T1048", "T1567"),
    about=About.RESOURCE,
    side=Side.ACTOR,
)
