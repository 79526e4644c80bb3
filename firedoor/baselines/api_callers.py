"""How many callers call the API of the cloud that never did before."""

from firedoor.baseline import Measure, Metric, Period, Unit
from firedoor.detection import About
from firedoor.model.finding import Side

METRIC = Metric(
    title="New callers",
    description="Principals that called the API of an account for the first time, an hour.",
    unit=Unit.CALLERS,
    relation="api_activity",
    period=Period.HOUR,
    measure=Measure.NOVELTY,
    # A service of the cloud that begins to call is no new principal of the account.
    sql="""
        SELECT cloud, account, '' AS region, '' AS kind, '' AS entity,
               actor AS item, min(time - time % :period) AS start
        FROM api_activity
        WHERE time >= :since AND time < :until
          AND actor IS NOT NULL AND coalesce(actor_type, '') <> 'AWSService'
          AND actor NOT LIKE '%.amazonaws.com'
        GROUP BY cloud, account, actor
    """,
    usual=0,
    alert=None,
    scale=1,
    type="Behavior:IAMUser/NewCallers",
    severity=3,
    techniques=("T1136.003", "T1078.004"),
    about=About.ACCOUNT,
    side=Side.TARGET,
)
