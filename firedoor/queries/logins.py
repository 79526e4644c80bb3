"""Who signed in, and who failed to."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Logins by user and address",
    description=(
        "Users, the addresses from which they signed in, how often they failed, and whether a "
        "second factor was always used."
    ),
    sql="""
        SELECT account, user_type, user_name, src_key, max(src_ip) AS src_ip,
               count(*) FILTER (WHERE status = 'Success') AS succeeded,
               count(*) FILTER (WHERE status = 'Failure') AS failed, bool_and(mfa) AS always_mfa,
               min(time) AS first_seen, max(time) AS last_seen
        FROM authentication
        WHERE time >= :since AND time < :until AND activity = 'Logon'
        GROUP BY account, user_type, user_name, src_key
        ORDER BY failed DESC, succeeded DESC, account, user_type, user_name, src_key
        LIMIT 1000
    """,
)
