"""One source that fails to sign in as many users."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import FAILED, each
from firedoor.model.finding import Side

USERS = [f"user{number}" for number in range(20)]

DETECTION = Detection(
    title="One source fails to sign in as many users",
    description=(
        "Logins of many users failed from one address within an hour: somebody tries one password"
        " with all of them, so that nobody is locked out. An office whose directory is down looks"
        " alike."
    ),
    type="CredentialAccess:API/PasswordSpraying",
    severity=5,
    techniques=("T1110.003",),
    about=About.ACCOUNT,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"users": 20},
    sql="""
        SELECT cloud, account, 'global' AS region, src_key AS remote_key,
               count(DISTINCT user_name) AS users, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM authentication
        WHERE time >= :since AND time < :until AND activity = 'Logon' AND status = 'Failure'
        GROUP BY cloud, account, src_key
        HAVING count(DISTINCT user_name) >= :users
    """,
    summary="{count} logins of {users} users failed from {remote_ip}",
    examples=(
        Example("twenty users", {"authentication": each(FAILED, "user_name", USERS)}, matches=1),
        Example(
            "one user fewer", {"authentication": each(FAILED, "user_name", USERS[1:])}, matches=0
        ),
        Example("one user, twenty times", {"authentication": (FAILED,) * 20}, matches=0),
        Example(
            "twenty users, each at home",
            {
                "authentication": tuple(
                    {**row, "src_ip": f"198.51.100.{number}"}
                    for number, row in enumerate(each(FAILED, "user_name", USERS))
                )
            },
            matches=0,
        ),
    ),
)
