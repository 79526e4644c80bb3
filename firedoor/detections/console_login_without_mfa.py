"""A user who signed in with a password only."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import LOGIN
from firedoor.model.finding import Side

BARE = {**LOGIN, "mfa": False}

DETECTION = Detection(
    title="A login without a second factor",
    description=(
        "A user signed in with a password only. Who comes from an identity provider is asked for a"
        " second factor there, and does not count; nor does whoever is no person."
    ),
    type="Policy:IAMUser/LoginWithoutMFA",
    severity=3,
    techniques=("T1078.004", "T1556.006"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql="""
        SELECT cloud, account, 'global' AS region, user_type AS actor_type, user_name AS actor,
               src_key AS remote_key, count(*) AS count,
               min(time) AS first_seen, max(time) AS last_seen
        FROM authentication
        WHERE time >= :since AND time < :until AND activity = 'Logon' AND status = 'Success'
          AND NOT mfa AND lower(user_type) IN ('root', 'iamuser', 'member', 'guest', 'user')
        GROUP BY cloud, account, user_type, user_name, src_key
    """,
    summary="{actor} signed in from {remote_ip} with a password only",
    examples=(
        Example("a user with a password only", {"authentication": (BARE,)}, matches=1),
        Example(
            "a member of a tenant",
            {"authentication": ({**BARE, "cloud": "azure", "user_type": "Member"},)},
            matches=1,
        ),
        Example("a user with a second factor", {"authentication": (LOGIN,)}, matches=0),
        Example(
            "a user who failed", {"authentication": ({**BARE, "status": "Failure"},)}, matches=0
        ),
        Example(
            "a role that an identity provider lets in",
            {"authentication": ({**BARE, "user_type": "AssumedRole"},)},
            matches=0,
        ),
        Example(
            "a log that does not tell",
            {"authentication": ({**BARE, "mfa": None},)},
            matches=0,
        ),
    ),
)
