"""Data that leaves in the names that are asked for."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import QUERY, each
from firedoor.model.finding import Side

LABEL = "mzxw6ytboi4dqojzgiytkmrrgq3tmnbug"
LONG = {**QUERY, "entropy": 4.3, "type": "TXT", "domain": "t.example"}


def names(count: int, suffix: str = LABEL) -> tuple[str, ...]:
    """Return subdomains that are all different."""
    return tuple(f"{number:04}{suffix}" for number in range(count))


DETECTION = Detection(
    title="Data leaves in DNS queries",
    description=(
        "A host of ours asked for many different names below one domain, long and as good as"
        " random: so data is carried through the resolver, past every firewall. Some products that"
        " look up files and mail by their hash ask so as well, yet less often."
    ),
    type="Trojan:DNS/DataExfiltration",
    severity=8,
    techniques=("T1071.004", "T1048.003"),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(hours=1),
    params={"names": 300, "length": 30, "entropy": 3.5},
    sql="""
        SELECT cloud, account, region, max(resource) AS resource, max(network) AS network,
               src_key AS local_key, domain, count(DISTINCT hostname) AS names,
               count(*) AS count, CAST(sum(length(subdomain)) AS BIGINT) AS letters,
               min(time) AS first_seen, max(time) AS last_seen
        FROM dns_activity
        WHERE time >= :since AND time < :until
          AND length(subdomain) >= :length AND entropy >= :entropy AND suffix <> 'arpa'
        GROUP BY cloud, account, region, src_key, domain
        HAVING count(DISTINCT hostname) >= :names
    """,
    summary="{local_ip} asked for {names} names of {domain}, {letters} letters in {count} queries",
    examples=(
        Example(
            "three hundred names of forty letters",
            {
                "dns_activity": tuple(
                    {**LONG, "subdomain": one, "hostname": f"{one}.t.example"} for one in names(300)
                )
            },
            matches=1,
        ),
        Example(
            "one name fewer",
            {
                "dns_activity": tuple(
                    {**LONG, "subdomain": one, "hostname": f"{one}.t.example"} for one in names(299)
                )
            },
            matches=0,
        ),
        Example(
            "one long name, again and again",
            {
                "dns_activity": ({**LONG, "subdomain": LABEL, "hostname": f"{LABEL}.t.example"},)
                * 400
            },
            matches=0,
        ),
        Example(
            "a content network with a short name for each customer",
            {
                "dns_activity": tuple(
                    {**QUERY, "subdomain": one, "hostname": f"{one}.example.net", "entropy": 3.6}
                    for one in names(400, "d11abcdef8")
                )
            },
            matches=0,
        ),
        Example(
            "names of addresses, looked up from a log",
            {
                "dns_activity": each(
                    {**LONG, "suffix": "arpa", "domain": "ip6.arpa"},
                    "subdomain",
                    names(400),
                )
            },
            matches=0,
        ),
    ),
)
