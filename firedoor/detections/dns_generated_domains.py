"""Many names that do not exist and that nobody would think of."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import QUERY, each
from firedoor.model.finding import Side

MISSING = {**QUERY, "rcode": "NXDOMAIN", "generated": 0.97, "subdomain": None}
DOMAINS = [f"xkqwz{number:03}vjh.example" for number in range(40)]

DETECTION = Detection(
    title="Names made by an algorithm are asked for",
    description=(
        "A host of ours asked for many domains that do not exist and look made by a machine: so"
        " malware searches for the one that its master has registered today."
    ),
    type="Trojan:DNS/DGADomainRequest",
    severity=7,
    techniques=("T1568.002",),
    about=About.RESOURCE,
    side=Side.ACTOR,
    window=timedelta(hours=1),
    params={"domains": 40, "generated": 0.8},
    sql="""
        SELECT cloud, account, region, max(resource) AS resource, max(network) AS network,
               src_key AS local_key, count(DISTINCT domain) AS domains, min(domain) AS sample,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM dns_activity
        WHERE time >= :since AND time < :until
          AND rcode = 'NXDOMAIN' AND generated >= :generated
        GROUP BY cloud, account, region, src_key
        HAVING count(DISTINCT domain) >= :domains
    """,
    summary="{local_ip} asked for {domains} domains that do not exist, as {sample}",
    examples=(
        Example("forty domains", {"dns_activity": each(MISSING, "domain", DOMAINS)}, matches=1),
        Example(
            "one domain fewer", {"dns_activity": each(MISSING, "domain", DOMAINS[1:])}, matches=0
        ),
        Example(
            "domains that exist",
            {"dns_activity": each({**MISSING, "rcode": "NOERROR"}, "domain", DOMAINS)},
            matches=0,
        ),
        Example(
            "names of people with a typing error",
            {"dns_activity": each({**MISSING, "generated": 0.05}, "domain", DOMAINS)},
            matches=0,
        ),
        Example(
            "a browser that probes for a resolver that lies: three names, each of them twice",
            {"dns_activity": each(MISSING, "domain", DOMAINS[:3]) * 20},
            matches=0,
        ),
    ),
)
