"""How many logins fail in an hour."""

from firedoor.baseline import Measure, Metric, Period, Unit
from firedoor.detection import About
from firedoor.model.finding import Side

METRIC = Metric(
    title="Failed logins",
    description="Logins that failed in an hour, of each user and of the account.",
    unit=Unit.LOGINS,
    relation="authentication",
    period=Period.HOUR,
    measure=Measure.AMOUNT,
    sql="""
        SELECT cloud, account, '' AS region, coalesce(user_type, '') AS kind,
               coalesce(user_name, user_id, '') AS entity,
               time - time % :period AS start, count(*) AS value
        FROM authentication
        WHERE time >= :since AND time < :until AND status = 'Failure'
        GROUP BY cloud, account, user_type, user_name, user_id, time - time % :period
    """,
    usual=10,
    alert=100,
    scale=5,
    type="Behavior:IAMUser/FailedLogins",
    severity=5,
    techniques=("T1110",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
)
