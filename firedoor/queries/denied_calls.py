"""Who was denied what."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Denied calls by principal",
    description=(
        "Principals and the operations that they were denied for want of a permission, the "
        "most first."
    ),
    sql="""
        SELECT account, actor_type, actor, service, operation, count(*) AS calls,
               count(DISTINCT src_key) AS addresses, max(src_ip) AS src_ip,
               min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND denied
        GROUP BY account, actor_type, actor, service, operation
        ORDER BY calls DESC, account, actor_type, actor, service, operation
        LIMIT 1000
    """,
)
