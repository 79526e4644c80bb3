"""Who exchanged what with an address."""

from firedoor.saved_query import SavedQuery

QUERY = SavedQuery(
    title="Who talked to an address",
    description=(
        "Everybody who sent to an address, or to whom it sent: give it as `address`. Both "
        "ways count, and what was refused is told apart."
    ),
    params={"address": "203.0.113.9"},
    sql="""
        SELECT src_key, dst_key, dst_port, protocol, max(src_ip) AS src_ip, max(dst_ip) AS dst_ip,
               max(resource) AS resource, action, sum(bytes) AS bytes, count(*) AS flows,
               min(time) AS first_seen, max(time) AS last_seen
        FROM network_activity
        WHERE time >= :since AND time < :until AND (src_ip = :address OR dst_ip = :address)
        GROUP BY src_key, dst_key, dst_port, protocol, action
        ORDER BY bytes DESC, src_key, dst_key, dst_port, protocol, action
        LIMIT 1000
    """,
)
