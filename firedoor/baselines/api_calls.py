"""How often a caller calls the API of the cloud in an hour."""

from firedoor.baseline import Measure, Metric, Period, Unit
from firedoor.detection import About
from firedoor.model.finding import Side

METRIC = Metric(
    title="API calls",
    description="Calls of each caller in an hour, compared with the same hour of other days.",
    unit=Unit.CALLS,
    relation="api_activity",
    period=Period.HOUR,
    measure=Measure.AMOUNT,
    # The services of a cloud call each other day and night, and nobody has stolen their keys.
    sql="""
        SELECT cloud, account, '' AS region, coalesce(actor_type, '') AS kind, actor AS entity,
               time - time % :period AS start, count(*) AS value
        FROM api_activity
        WHERE time >= :since AND time < :until
          AND actor IS NOT NULL AND coalesce(actor_type, '') <> 'AWSService'
          AND actor NOT LIKE '%.amazonaws.com'
        GROUP BY cloud, account, actor_type, actor, time - time % :period
    """,
    usual=1000,
    alert=10_000,
    alert_at_night=1000,
    scale=50,
    since_seen=True,
    of_account=False,
    type="Behavior:IAMUser/ApiCalls",
    severity=4,
    techniques=("T1078.004", "T1580"),
    about=About.PRINCIPAL,
    side=Side.ACTOR,
)
