"""A principal that tries out what it may do, or looks at everything."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import CALL, each
from firedoor.model.finding import Side

REFUSED = {**CALL, "status": "Failure", "error": "AccessDenied", "denied": True}
OPERATIONS = [f"Describe{number}" for number in range(80)]

DETECTION = Detection(
    title="A principal tries out what it may do",
    description=(
        "A principal was denied many different operations within an hour, or made many different"
        " ones that only read: so somebody looks around who does not know the account. Scanners of"
        " configurations do so as well: raise the numbers for those that are your own."
    ),
    type="Discovery:IAMUser/Enumeration",
    severity=5,
    techniques=("T1580", "T1526", "T1069.003"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"denied": 15, "read": 80},
    sql="""
        SELECT cloud, account, 'global' AS region, actor_type, actor,
               max(actor_account) AS actor_account, max(credential) AS credential,
               max(src_key) AS remote_key,
               count(DISTINCT CASE WHEN denied THEN operation END) AS denied,
               count(DISTINCT CASE WHEN read_only THEN operation END) AS read,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND actor IS NOT NULL
          AND coalesce(actor_type, '') <> 'AWSService' AND (denied OR read_only)
        GROUP BY cloud, account, actor_type, actor
        HAVING count(DISTINCT CASE WHEN denied THEN operation END) >= :denied
            OR count(DISTINCT CASE WHEN read_only THEN operation END) >= :read
    """,
    summary="{actor} was denied {denied} operations and looked by {read}, in {count} calls",
    examples=(
        Example(
            "fifteen operations denied",
            {"api_activity": each(REFUSED, "operation", OPERATIONS[:15])},
            matches=1,
        ),
        Example(
            "eighty operations that read",
            {"api_activity": each(CALL, "operation", OPERATIONS)},
            matches=1,
        ),
        Example(
            "fourteen denied",
            {"api_activity": each(REFUSED, "operation", OPERATIONS[:14])},
            matches=0,
        ),
        Example("79 that read", {"api_activity": each(CALL, "operation", OPERATIONS[1:])}, 0),
        Example(
            "a job without a right, denied again and again",
            {"api_activity": (REFUSED,) * 1000},
            matches=0,
        ),
        Example(
            "a service of the cloud that records configurations",
            {
                "api_activity": each(
                    {**CALL, "actor_type": "AWSService", "actor": "config.amazonaws.com"},
                    "operation",
                    OPERATIONS,
                )
            },
            matches=0,
        ),
    ),
)
