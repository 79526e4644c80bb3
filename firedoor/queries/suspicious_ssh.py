"""Who tried SSH again and again."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Suspicious SSH activity",
    description=(
        "Sources with more than a hundred tries at port 22. The usual query of this name "
        "counts rejects only: where the port is open, somebody who tries passwords is let in "
        "each time, shortly, and is not seen. Here short sessions count as well."
    ),
    params={"attempts": 100, "packets": 40},
    sql="""
        SELECT src_key, count(DISTINCT dst_key) AS hosts,
               count(*) FILTER (WHERE action = 'Denied') AS refused,
               count(*) FILTER (WHERE action = 'Allowed') AS short, count(*) AS attempts
        FROM network_activity
        WHERE time >= :since AND time < :until AND dst_port = 22
          AND (action = 'Denied' OR (action = 'Allowed' AND packets <= :packets))
        GROUP BY src_key
        HAVING count(*) > :attempts
        ORDER BY attempts DESC, src_key
    """,
)
