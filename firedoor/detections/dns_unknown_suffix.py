"""Names below a top-level domain that nobody of ours asked for in the weeks before."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import DAY, QUERY, TIME
from firedoor.model.finding import Side

STRANGE = {
    **QUERY, "hostname": "cdn.example.zip", "domain": "example.zip", "suffix": "zip",
}  # fmt: skip
EARLIER = {**QUERY, "time": TIME - 5 * DAY}

DETECTION = Detection(
    title="A top-level domain that is new here",
    description=(
        "A host of ours resolved names below a top-level domain for which nobody of the account"
        " asked in the two weeks before. Where the account has no queries from before, nothing is"
        " known, and nothing is said. Names that are only used inside are left out."
    ),
    type="Behavior:DNS/UnknownSuffix",
    severity=2,
    techniques=("T1071.004", "T1583.001"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(days=1),
    history=timedelta(days=14),
    params={"queries": 1},
    sql="""
        WITH daily AS (
            SELECT cloud, coalesce(account, '') AS account, region, src_key, suffix,
                   time >= :since AS today,
                   max(resource) AS resource, max(network) AS network, min(domain) AS domain,
                   count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
            FROM dns_activity
            WHERE time >= :earlier AND time < :until AND rcode = 'NOERROR'
              AND suffix NOT IN ('arpa', 'corp', 'home', 'internal', 'intranet', 'lan', 'local',
                                 'localdomain', 'localhost', 'private')
            GROUP BY cloud, coalesce(account, ''), region, src_key, suffix, time >= :since
        ),
        known AS (
            SELECT cloud, account, suffix, sum(count) AS count
            FROM daily WHERE NOT today GROUP BY cloud, account, suffix
        ),
        kept AS (
            SELECT cloud, account, sum(count) AS count FROM known GROUP BY cloud, account
        )
        SELECT d.cloud, d.account, d.region, d.resource, d.network, d.src_key AS local_key,
               d.suffix, d.domain, d.count, d.first_seen, d.last_seen
        FROM daily AS d
        JOIN kept AS k ON k.cloud = d.cloud AND k.account = d.account
        LEFT JOIN known AS o
          ON o.cloud = d.cloud AND o.account = d.account AND o.suffix = d.suffix
        WHERE d.today AND o.count IS NULL AND d.count >= :queries
    """,
    summary="{local_ip} resolved {domain}: nobody asked for names of .{suffix} before",
    examples=(
        Example("a suffix never seen", {"dns_activity": (STRANGE, EARLIER)}, matches=1),
        Example(
            "a suffix seen five days ago",
            {"dns_activity": (STRANGE, {**STRANGE, "time": TIME - 5 * DAY})},
            matches=0,
        ),
        Example(
            "a name that does not exist: a typing error",
            {"dns_activity": ({**STRANGE, "rcode": "NXDOMAIN"}, EARLIER)},
            matches=0,
        ),
        Example(
            "a name of the inside",
            {"dns_activity": ({**STRANGE, "suffix": "internal"}, EARLIER)},
            matches=0,
        ),
        Example("an account whose logs have just begun", {"dns_activity": (STRANGE,)}, matches=0),
    ),
)
