"""For which names a host asked."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="DNS queries of a host",
    description=(
        "The domains for which a host asked, and how often: give its address as `address`."
    ),
    params={"address": "10.0.1.5"},
    sql="""
        SELECT domain, count(DISTINCT hostname) AS names, min(hostname) AS sample,
               count(*) AS queries, count(*) FILTER (WHERE rcode = 'NXDOMAIN') AS missing,
               max(entropy) AS entropy, max(generated) AS generated,
               min(time) AS first_seen, max(time) AS last_seen
        FROM dns_activity
        WHERE time >= :since AND time < :until AND src_ip = :address
        GROUP BY domain
        ORDER BY queries DESC, domain
        LIMIT 1000
    """,
)
