"""A login that succeeded after many that failed."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import FAILED, LOGIN, MINUTE, TIME, every
from firedoor.model.finding import Side

TRIES = tuple({**row, "time": row["time"] - MINUTE} for row in every(FAILED, 1000, 20))

DETECTION = Detection(
    title="A login succeeds after many that failed",
    description=(
        "A user failed to sign in many times and then did, from an address from which it had"
        " failed: a password was guessed, or remembered."
    ),
    type="UnauthorizedAccess:IAMUser/LoginAfterFailures",
    severity=7,
    techniques=("T1110", "T1078.004"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"failures": 20},
    sql="""
        WITH failed AS (
            SELECT cloud, coalesce(account, '') AS account, user_name, src_key,
                   count(*) AS failures, min(time) AS first_seen, max(time) AS failed_last
            FROM authentication
            WHERE time >= :since AND time < :until AND activity = 'Logon' AND status = 'Failure'
            GROUP BY cloud, coalesce(account, ''), user_name, src_key
            HAVING count(*) >= :failures
        )
        SELECT f.cloud, f.account, 'global' AS region, a.user_type AS actor_type,
               f.user_name AS actor, f.src_key AS remote_key, f.failures, count(*) AS count,
               f.first_seen, max(a.time) AS last_seen
        FROM authentication AS a
        JOIN failed AS f
          ON f.cloud = a.cloud AND f.account = coalesce(a.account, '')
         AND f.user_name = a.user_name AND f.src_key = a.src_key
        WHERE a.time >= :since AND a.time < :until AND a.activity = 'Logon'
          AND a.status = 'Success' AND a.time > f.failed_last
        GROUP BY f.cloud, f.account, a.user_type, f.user_name, f.src_key, f.failures, f.first_seen
    """,
    summary="{actor} signed in from {remote_ip} after {failures} logins that failed",
    examples=(
        Example("twenty failures", {"authentication": (*TRIES, LOGIN)}, matches=1),
        Example("one failure fewer", {"authentication": (*TRIES[1:], LOGIN)}, matches=0),
        Example(
            "a login before: a program that has an old password",
            {"authentication": ({**LOGIN, "time": TIME - 30 * MINUTE}, *TRIES)},
            matches=0,
        ),
        Example(
            "the user at home, while somebody else tries",
            {"authentication": (*TRIES, {**LOGIN, "src_ip": "203.0.113.5"})},
            matches=0,
        ),
    ),
)
