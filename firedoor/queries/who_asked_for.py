"""Which hosts asked for a domain."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Who asked for a domain",
    description=(
        "Hosts that asked for names below a domain: give it as `domain`, as `example.com`."
    ),
    params={"domain": "example.com"},
    sql="""
        SELECT src_key, max(src_ip) AS src_ip, max(resource) AS resource,
               count(DISTINCT hostname) AS names, count(*) AS queries,
               min(time) AS first_seen, max(time) AS last_seen
        FROM dns_activity
        WHERE time >= :since AND time < :until AND domain = :domain
        GROUP BY src_key
        ORDER BY queries DESC, src_key
        LIMIT 1000
    """,
)
