"""Who sent much to whom outside, with when and how."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Large outbound transfers",
    description=(
        "Pairs of addresses over which more than a gigabyte left, in however many flows. The "
        "usual query of this name first leaves out every record of less than 100 MB, and so "
        "misses 1.8 GB that leave in two thousand flows; and it takes only 10.0.0.0/8 as "
        "inside. `largest` shows how it left: at once, or slowly."
    ),
    params={"bytes": 1000000000},
    sql="""
        SELECT src_key, dst_key,
               sum(bytes) AS bytes, count(*) AS flows, max(bytes) AS largest,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND src_inside AND NOT dst_inside AND coalesce(action, 'Allowed') = 'Allowed'
        GROUP BY src_key, dst_key
        HAVING sum(bytes) > :bytes
        ORDER BY bytes DESC, src_key, dst_key
    """,
)
