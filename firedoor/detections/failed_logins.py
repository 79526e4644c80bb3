"""Many failed logins of one user."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import FAILED, LOGIN, each
from firedoor.model.finding import Side

DETECTION = Detection(
    title="Many failed logins of a user",
    description=(
        "A user failed to sign in more than a hundred times within an hour; less than ten are"
        " normal. Somebody tries passwords, or a program has an old one."
    ),
    type="CredentialAccess:API/FailedLogins",
    severity=4,
    techniques=("T1110.001",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"logins": 100},
    sql="""
        SELECT cloud, account, 'global' AS region, user_type AS actor_type, user_name AS actor,
               max(src_key) AS remote_key, count(DISTINCT src_key) AS sources, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM authentication
        WHERE time >= :since AND time < :until AND activity = 'Logon' AND status = 'Failure'
        GROUP BY cloud, account, user_type, user_name
        HAVING count(*) > :logins
    """,
    summary="{count} logins of {actor} failed, from {sources} addresses, as {remote_ip}",
    examples=(
        Example("101 failures of a user", {"authentication": (FAILED,) * 101}, matches=1),
        Example("a hundred failures", {"authentication": (FAILED,) * 100}, matches=0),
        Example("101 logins that succeeded", {"authentication": (LOGIN,) * 101}, matches=0),
        Example(
            "101 users who mistype once",
            {"authentication": each(FAILED, "user_name", [f"user{n}" for n in range(101)])},
            matches=0,
        ),
    ),
)
