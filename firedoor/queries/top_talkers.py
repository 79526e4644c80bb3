"""Who sent most."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Top talkers",
    description=(
        "The addresses that sent most, with how much of it left to outside, and to how many."
    ),
    sql="""
        SELECT src_key, max(resource) AS resource, sum(bytes) AS bytes,
               sum(CASE WHEN NOT dst_inside THEN bytes ELSE 0 END) AS bytes_outside,
               count(DISTINCT dst_key) AS destinations, count(*) AS flows
        FROM network_activity
        WHERE time >= :since AND time < :until AND coalesce(action, 'Allowed') = 'Allowed'
        GROUP BY src_key
        ORDER BY bytes DESC, src_key
        LIMIT 100
    """,
)
