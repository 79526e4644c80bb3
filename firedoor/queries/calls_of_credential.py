"""What was called with an access key."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="All calls with an access key",
    description=(
        "What was called with an access key, by service and operation, and from where: give "
        "its id as `credential`."
    ),
    params={"credential": "AKIAIOSFODNN7EXAMPLE"},
    sql="""
        SELECT account, actor, service, operation, src_key, max(src_ip) AS src_ip,
               count(*) AS calls, count(*) FILTER (WHERE denied) AS denied,
               min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND credential = :credential
        GROUP BY account, actor, service, operation, src_key
        ORDER BY first_seen, account, actor, service, operation, src_key
        LIMIT 10000
    """,
)
