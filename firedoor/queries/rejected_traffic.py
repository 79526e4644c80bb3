"""What was refused: by source, destination and port."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Rejected traffic",
    description=(
        "Whom was refused at what, the most first. In the usual query of this name, `start`, "
        "a number of seconds, is compared with a timestamp, which Athena refuses; here the "
        "bounds are numbers, too. It orders by the count alone, so that among those with the "
        "same count the LIMIT keeps now these, now those; here the order is whole."
    ),
    sql="""
        SELECT src_key, dst_key, dst_port,
               count(*) AS count
        FROM network_activity
        WHERE time >= :since AND time < :until AND action = 'Denied'
        GROUP BY src_key, dst_key, dst_port
        ORDER BY count DESC, src_key, dst_key, dst_port
        LIMIT 100
    """,
)
