"""Calls of a principal at an hour of the day at which it never calls."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import CALL, DAY, HOUR, TIME
from firedoor.model.finding import Side

# Ten calls a day, in each of ten hours, for twenty days; now it is eight hours after the last.
HABIT = tuple(
    {**CALL, "time": TIME - day * DAY - hour * HOUR}
    for day in range(1, 21)
    for hour in range(8, 18)
)
NIGHT = (CALL,) * 10

DETECTION = Detection(
    title="Calls at an unusual hour",
    description=(
        "A principal called at an hour of the day at which, an hour more or less, it did not call"
        " in the four weeks before, although it called on many days. Its owner may be travelling or"
        " have been woken up: ask."
    ),
    type="Behavior:IAMUser/UnusualHours",
    severity=3,
    techniques=("T1078.004",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    history=timedelta(days=28),
    params={"calls": 10, "days": 10},
    sql="""
        WITH hours AS (
            SELECT cloud, coalesce(account, '') AS account, coalesce(actor_type, '') AS actor_type,
                   actor, time >= :since AS now, time - time % 86400000 AS date,
                   time % 86400000 - time % 3600000 AS hour,
                   max(actor_account) AS actor_account, max(credential) AS credential,
                   max(src_key) AS src_key, count(*) AS count,
                   min(time) AS first_seen, max(time) AS last_seen
            FROM api_activity
            WHERE time >= :earlier AND time < :until AND actor IS NOT NULL
              AND coalesce(actor_type, '') <> 'AWSService'
            GROUP BY cloud, coalesce(account, ''), coalesce(actor_type, ''), actor, time >= :since,
                     time - time % 86400000, time % 86400000 - time % 3600000
        ),
        habits AS (
            SELECT cloud, account, actor_type, actor, count(DISTINCT date) AS days
            FROM hours WHERE NOT now
            GROUP BY cloud, account, actor_type, actor
            HAVING count(DISTINCT date) >= :days
        ),
        known AS (
            SELECT DISTINCT cloud, account, actor_type, actor, hour FROM hours WHERE NOT now
        )
        SELECT h.cloud, h.account, 'global' AS region, h.actor_type, h.actor,
               max(h.actor_account) AS actor_account, max(h.credential) AS credential,
               max(h.src_key) AS remote_key, max(b.days) AS days, sum(h.count) AS count,
               CAST(min(h.hour) / CAST(3600000 AS DOUBLE) AS BIGINT) AS hour,
               min(h.first_seen) AS first_seen, max(h.last_seen) AS last_seen
        FROM hours AS h
        JOIN habits AS b
          ON b.cloud = h.cloud AND b.account = h.account AND b.actor_type = h.actor_type
         AND b.actor = h.actor
        LEFT JOIN known AS k
          ON k.cloud = h.cloud AND k.account = h.account AND k.actor_type = h.actor_type
         AND k.actor = h.actor AND (h.hour - k.hour + 90000000) % 86400000 <= 7200000
        WHERE h.now AND k.hour IS NULL
        GROUP BY h.cloud, h.account, h.actor_type, h.actor
        HAVING sum(h.count) >= :calls
    """,
    summary="{actor} made {count} calls about {hour}:00 UTC, unlike on {days} days before",
    examples=(
        Example("ten calls in the night", {"api_activity": HABIT + NIGHT}, matches=1),
        Example("one call fewer", {"api_activity": HABIT + NIGHT[1:]}, matches=0),
        Example(
            "an hour later than usual",
            {
                "api_activity": tuple({**row, "time": row["time"] + 7 * HOUR} for row in HABIT)
                + NIGHT
            },
            matches=0,
        ),
        Example(
            "too few days to know its habits",
            {"api_activity": HABIT[:90] + NIGHT},
            matches=0,
        ),
        Example(
            "a service that works day and night",
            {
                "api_activity": tuple({**CALL, "time": TIME - n * HOUR} for n in range(1, 400))
                + NIGHT
            },
            matches=0,
        ),
    ),
)
