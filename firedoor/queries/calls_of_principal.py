"""What a principal called."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="All calls of a principal",
    description=(
        "The calls of a user, role or service account, one after another: give its name as `actor`."
    ),
    params={"actor": "alice"},
    sql="""
        SELECT time, account, region, service, operation, status, error, src_ip, credential,
               user_agent, resource, event_id
        FROM api_activity
        WHERE time >= :since AND time < :until AND actor = :actor
        ORDER BY time, event_id
        LIMIT 10000
    """,
)
