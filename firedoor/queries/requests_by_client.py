"""Which clients asked for what."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Requests by client",
    description=(
        "Clients of load balancers and firewalls, with what they asked for and what they got."
    ),
    sql="""
        SELECT src_key, max(src_ip) AS src_ip, max(country) AS country,
               max(user_agent) AS user_agent, count(*) AS requests, count(DISTINCT path) AS paths,
               count(*) FILTER (WHERE status >= 400 AND status < 500) AS refused,
               count(*) FILTER (WHERE status >= 500) AS failed,
               count(*) FILTER (WHERE action = 'Denied') AS blocked, sum(bytes_out) AS bytes_out
        FROM http_activity
        WHERE time >= :since AND time < :until
        GROUP BY src_key
        ORDER BY requests DESC, src_key
        LIMIT 100
    """,
)
