"""Who sent much to whom outside."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Unusual outbound traffic",
    description=(
        "Pairs of addresses over which more than a gigabyte left. In the usual query of this "
        "name, of 172.16.0.0/12 only 172.16 is taken as private, and of IPv6 nothing, so that "
        "a backup to 172.20.9.9 is reported as exfiltration; and it compares a number of "
        "seconds with a timestamp, which Athena refuses. Here what is inside was told when "
        "the log was read, our own networks included."
    ),
    params={"bytes": 1000000000},
    sql="""
        SELECT src_key, dst_key,
               sum(bytes) AS bytes, count(*) AS flows
        FROM network_activity
        WHERE time >= :since AND time < :until
          AND NOT dst_inside AND coalesce(action, 'Allowed') = 'Allowed'
        GROUP BY src_key, dst_key
        HAVING sum(bytes) > :bytes
        ORDER BY bytes DESC, src_key, dst_key
    """,
)
