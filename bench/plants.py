"""Attacks of every kind that a log can show, and what only looks like them, from a seed.

Beside the flows of `bench.corpus` these are small files: more flows, DNS queries, requests at a
balancer and a firewall, API calls and logins, with the quiet weeks before that some rules compare
with. Whoever attacks has an address or a name of its own, by which a finding is recognised.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from isal import igzip

from bench import corpus
from bench.corpus import ACCOUNT, HEADER, HOSTS, LEVEL, PERIOD, START, line

HOUR: Final = 3600
DAY: Final = 24 * HOUR
LINES: Final = 300
"""Lines of an object of ordinary flows."""
TRAILS: Final = 2
REFUSED: Final = 0.008
"""The part of ordinary flows that is refused: less than one in a hundred, as it should be."""
MALLORY: Final = "198.51.100.77"
OFFICE: Final = "192.0.2.44"


@dataclass(frozen=True)
class Plant:
    """What was planted, and which detections should tell of it."""

    name: str
    rules: tuple[str, ...]
    mark: str
    """A text that only a finding about it has: an address, a name."""
    also: tuple[str, ...] = ()
    """Detections that may tell of it, too."""
    hours: tuple[int, ...] = ()
    """The hours of the day in which it is seen; none are all."""
    hard: str = ""
    """Why it is not found, where that is known."""


@dataclass(frozen=True)
class Near:
    """What was planted and is no attack, though it looks like one to these detections."""

    name: str
    rules: tuple[str, ...]
    mark: str
    known: str = ""
    """Why the detections tell of it nevertheless, where that is known."""


def make(folder: Path) -> list[Path]:
    """Make everything, and return the folders to read."""
    made = corpus.make(folder, corpus.OBJECTS, LINES, TRAILS, REFUSED)
    writers: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
        "more-flows": _flow_files,
        "dns": _dns_files,
        "http": _http_files,
        "trail-attacks": _trail_files,
    }
    for name, files in writers.items():
        (made / name).mkdir(exist_ok=True)
        for file, text in files():
            (made / name / f"{file}.gz").write_bytes(igzip.compress(text.encode(), LEVEL))
    return [made / name for name in ("flows", "calls", *writers)]


# --- flows -------------------------------------------------------------------------------------

VOLUME: Final = ("outbound_volume", "outbound_new_destination")
FLOWS: Final = (
    *(
        Plant(
            plant.name,
            VOLUME if plant.rules == ("outbound_volume",) else plant.rules,
            plant.address,
            also=("ssh_brute_force",) if plant.rules == ("accepted_after_rejects",) else (),
        )
        for plant in corpus.PLANTS
    ),
    Plant("theft of 60 GB in parts", ("outbound_day",), "10.0.0.11"),
    Plant("worm", ("outbound_sweep",), "10.0.0.13"),
    Plant("everybody tries a host", ("rejected_by_destination",), "10.0.0.15"),
    Plant("everybody tries a port", ("rejected_by_port",), "port 9200"),
    Plant("one source tries a port", ("rejected_by_source",), "198.51.100.16"),
    Plant(
        "scan of 20 ports an hour", ("port_scan",), "198.51.100.18",
        hard="thirty ports in an hour are a scan",
    ),
    Plant(
        "60 tries of SSH an hour", ("ssh_brute_force",), "198.51.100.19",
        hard="a hundred tries in an hour are too many",
    ),
    Plant(
        "beacon that comes early and late", ("beaconing",), "203.0.113.24",
        hard="its gaps vary by more than a quarter",
    ),
    Plant("theft of 0.8 GB", VOLUME, "203.0.113.25", hard="a gigabyte is much"),
    Plant("much is refused", ("rejected_share",), ACCOUNT, hours=(10, 12, 23)),
)  # fmt: skip
NEAR_FLOWS: Final = (
    Near("29 ports", ("port_scan",), "198.51.100.61"),
    Near("199 hosts", ("port_sweep",), "198.51.100.62"),
    Near("a hundred tries of SSH", ("ssh_brute_force", "rdp_brute_force"), "198.51.100.63"),
    Near("in after 19 tries", ("accepted_after_rejects",), "198.51.100.64"),
    Near("999 tries", ("rejected_by_source",), "198.51.100.65"),
    Near("0.9 GB", ("outbound_volume", "outbound_new_destination"), "203.0.113.61"),
    Near("a person, who connects now and then", ("beaconing",), "203.0.113.62"),
    Near("five hosts that look for updates", ("beaconing",), "203.0.113.63"),
    Near("199 hosts inside", ("outbound_sweep",), "10.0.0.18"),
    Near("1,999 rejects at a host", ("rejected_by_destination",), "10.0.0.19"),
    Near("a port that is always tried", ("rejected_by_port",), "port 8088"),
    Near("49 GB in parts", ("outbound_day",), "10.0.0.21"),
    Near(
        "2 GB to a partner, as each day", ("outbound_volume",), "203.0.113.64",
        known="a rule of amounts knows no partners: outbound_new_destination is the one that does",
    ),
)  # fmt: skip
TRIED_DAILY: Final = 120
"""How many sources try the port that is always tried, each day."""


def _flow_files() -> Iterator[tuple[str, str]]:
    for day in range(1, 9):
        numbers = [-corpus.OBJECTS * day + part for part in (20, 110, 200)]
        text = "".join(one for number in numbers for one in corpus.noise(number, LINES, REFUSED))
        yield f"before-{day}", HEADER + text + "".join(_daily(START - day * DAY, TRIED_DAILY))
    today = (*_daily(START, 550), *_attacks(), *_hidden(), *_almost())
    yield "day", HEADER + "".join(today)


def _daily(midnight: int, tries: int) -> Iterator[str]:
    """Yield what happens each day: an upload to a partner, and a port that is tried."""
    for n in range(20):
        yield line(
            16, HOSTS[16], "203.0.113.64", 41_000 + n, 443, 100_000_000, midnight + 3 * HOUR + n,
            "ACCEPT", 19,
        )  # fmt: skip
    for n in range(tries):
        source = f"192.0.2.{n % 250}" if n < 250 else f"198.51.101.{n % 250}"
        at = midnight + n * (DAY // tries)
        yield line(n % 500, source, HOSTS[n % 500], 40_000 + n, 8088, 40, at, "REJECT", 2)


def _attacks() -> Iterator[str]:
    for n in range(100):
        yield line(
            10, HOSTS[10], f"203.0.113.{100 + n}", 42_000 + n, 443, 600_000_000,
            START + 2 * HOUR + 60 * n, "ACCEPT", 19,
        )  # fmt: skip
    for n in range(300):
        at = START + 4 * HOUR + n
        yield line(12, HOSTS[12], HOSTS[100 + n], 43_000, 445, 40, at, "ACCEPT", 2)
        at = START + 12 * HOUR + n
        for port in range(7):
            yield line(14, f"192.0.2.{n % 150}", HOSTS[14], n, 7000 + port, 40, at, "REJECT", 2)
    for n in range(600):
        source = f"198.51.{102 + n // 250}.{n % 250}"
        at = START + n * (DAY // 600)
        yield line(n % 500, source, HOSTS[n % 500], 40_000, 9200, 40, at, "REJECT", 2)
    for n in range(1100):
        at = START + 10 * HOUR + n
        yield line(17, "198.51.100.16", HOSTS[17], 40_000 + n, 5060, 40, at, "REJECT", 2)


def _hidden() -> Iterator[str]:
    """Yield attacks of those who know the rules."""
    chance = random.Random(9)  # noqa: S311
    for hour in range(10):
        at = START + hour * HOUR
        for n in range(20):
            port = 1000 + 20 * hour + n
            yield line(40, "198.51.100.18", HOSTS[40], 40_000, port, 40, at + n, "REJECT", 2)
        for n in range(60):
            yield line(41, "198.51.100.19", HOSTS[41], 600 + n, 22, 40, at + n, "REJECT", 2)
    for n in range(200):
        at = START + 400 * n + chance.randrange(395)
        yield line(42, HOSTS[42], "203.0.113.24", 45_000 + n, 443, 900, at, "ACCEPT", 19)
    for n in range(8):
        at = START + 5 * HOUR + n
        yield line(43, HOSTS[43], "203.0.113.25", 44_000 + n, 443, 100_000_000, at, "ACCEPT", 19)


def _almost() -> Iterator[str]:
    chance = random.Random(7)  # noqa: S311
    ten, twelve = START + 10 * HOUR, START + 12 * HOUR
    for n in range(29):
        yield line(3, "198.51.100.61", HOSTS[3], 40_000, 100 + n, 40, ten + n, "REJECT", 2)
    for n in range(199):
        yield line(n, "198.51.100.62", HOSTS[n], 40_000, 445, 40, ten + n, "REJECT", 2)
        yield line(17, HOSTS[17], HOSTS[100 + n], 43_000, 445, 40, ten + n, "ACCEPT", 2)
    for n in range(100):
        for port in (22, 3389):
            yield line(5, "198.51.100.63", HOSTS[5], 500 + n, port, 40, ten + n, "REJECT", 2)
    for n in range(19):
        yield line(8, "198.51.100.64", HOSTS[8], 40_000 + n, 22, 40, ten + n, "REJECT", 2)
    yield line(8, "198.51.100.64", HOSTS[8], 41_000, 22, 40_000, ten + 60, "ACCEPT", 19)
    for n in range(999):
        yield line(22, "198.51.100.65", HOSTS[22], n, 5060, 40, twelve + n, "REJECT", 2)
    for n in range(1999):
        yield line(18, f"192.0.2.{n % 150}", HOSTS[18], n, 7001, 40, twelve + n, "REJECT", 2)
    for n in range(9):
        yield line(
            23, HOSTS[23], "203.0.113.61", 44_000 + n, 443, 100_000_000, ten + n, "ACCEPT", 19
        )
    for n in range(100):
        yield line(
            20, HOSTS[20], f"203.0.114.{100 + n}", 42_000 + n, 443, 490_000_000, ten + n,
            "ACCEPT", 19,
        )  # fmt: skip
    at = START
    for n in range(150):
        at += int(chance.expovariate(1 / 500))
        yield line(24, HOSTS[24], "203.0.113.62", 45_000 + n, 443, 900, at, "ACCEPT", 19)
    for n in range(corpus.OBJECTS):
        for host in range(5):
            at = START + n * PERIOD + 20 * host
            yield line(
                30 + host, HOSTS[30 + host], "203.0.113.63", 50_000 + n, 443, 900, at, "ACCEPT", 19
            )


# --- DNS ---------------------------------------------------------------------------------------

DNS: Final = (
    Plant("tunnel", ("dns_tunnel",), "10.0.7.11"),
    Plant("domains made by an algorithm", ("dns_generated_domains",), "10.0.7.12"),
    Plant("burst", ("dns_query_burst",), "10.0.7.13"),
    Plant("a new top-level domain", ("dns_unknown_suffix",), "10.0.7.14"),
    Plant(
        "tunnel of 100 names an hour", ("dns_tunnel",), "10.0.7.15",
        hard="three hundred names in an hour are a tunnel",
    ),
    Plant(
        "domains made of words", ("dns_generated_domains",), "10.0.7.16",
        hard="a list of words makes names that look like words",
    ),
)  # fmt: skip
NEAR_DNS: Final = (
    Near("299 names below a domain", ("dns_tunnel",), "10.0.7.21"),
    Near("500 long names that words are made of", ("dns_tunnel",), "10.0.7.25"),
    Near("39 generated domains", ("dns_generated_domains",), "10.0.7.22"),
    Near("80 typing errors", ("dns_generated_domains",), "10.0.7.26"),
    Near("2,999 queries in a minute", ("dns_query_burst",), "10.0.7.23"),
    Near("a top-level domain that is none", ("dns_unknown_suffix",), "10.0.7.24"),
)
WORDS: Final = (
    "mail", "news", "shop", "cloud", "update", "static", "images", "login", "status", "support",
    "weather", "market", "travel", "garden", "kitchen", "library", "school", "music", "health",
    "bicycle",
)  # fmt: skip
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz234567"


def _dns_files() -> Iterator[tuple[str, str]]:
    chance = random.Random(11)  # noqa: S311
    for day in range(1, 15):
        yield f"before-{day}", "\n".join(_names(START - day * DAY, 300, chance))
    yield "day", "\n".join([*_names(START, 20_000, chance), *_dns_attacks(chance)])


def _names(midnight: int, count: int, chance: random.Random) -> Iterator[str]:
    for _ in range(count):
        name = f"{chance.choice(WORDS)}.{chance.choice(WORDS)}.{chance.choice(('com', 'org'))}"
        host = HOSTS[chance.randrange(500)]
        yield _query(host, name, midnight + chance.randrange(DAY))


def _dns_attacks(chance: random.Random) -> Iterator[str]:
    at = START + 9 * HOUR

    def label(length: int) -> str:
        return "".join(chance.choice(LETTERS) for _ in range(length))

    for host, names in (("10.0.7.11", 400), ("10.0.7.21", 299)):
        for n in range(names):
            yield _query(host, f"{label(45)}.t.example.com", at + n, "TXT")
    for n in range(600):
        then = START + n // 100 * HOUR + n
        yield _query("10.0.7.15", f"{label(45)}.t.example.com", then, "TXT")
    for n in range(60):
        name = f"{WORDS[n % 20]}{WORDS[n % 7]}{WORDS[n // 20]}.com"
        yield _query("10.0.7.16", name, at + n, rcode="NXDOMAIN")
    for n in range(500):
        name = "-".join(WORDS[(n + part) % 20] for part in range(2))
        yield _query("10.0.7.25", f"{name}.{n}.assets.example.com", at + n)
    for host, names in (("10.0.7.12", 60), ("10.0.7.22", 39)):
        for n in range(names):
            yield _query(host, f"{label(14)}.com", at + n, rcode="NXDOMAIN")
    for n in range(80):
        name = f"{WORDS[n % 20]}{WORDS[n // 20]}s.com"
        yield _query("10.0.7.26", name, at + n, rcode="NXDOMAIN")
    for host, queries in (("10.0.7.13", 3_100), ("10.0.7.23", 2_999)):
        for n in range(queries):
            yield _query(host, f"{WORDS[n % 20]}.example.com", at + n % 60)
    yield _query("10.0.7.14", "gate.example", at)
    yield _query("10.0.7.24", "printer.test", at, rcode="NXDOMAIN")


def _query(host: str, name: str, at: int, type_: str = "A", rcode: str = "NOERROR") -> str:
    answers = [{"Rdata": "192.0.2.80", "Type": type_, "Class": "IN"}] if rcode == "NOERROR" else []
    return json.dumps(
        {
            "version": "1.100000", "account_id": ACCOUNT, "region": "eu-central-1",
            "vpc_id": "vpc-0a1b2c3d4e5f60718", "query_timestamp": _time(at),
            "query_name": f"{name}.", "query_type": type_, "query_class": "IN", "rcode": rcode,
            "answers": answers, "srcaddr": host, "srcport": "51820", "transport": "UDP",
            "srcids": {},
        }
    )  # fmt: skip


# --- HTTP --------------------------------------------------------------------------------------

HTTP: Final = (
    Plant("flood of many clients", ("http_flood",), "app/shop/1"),
    Plant("flood of one client", ("http_flood_by_client",), "198.51.100.31"),
    Plant("flood that is blocked", ("waf_block_flood",), "webacl/edge/1"),
)
NEAR_HTTP: Final = (
    Near("5,999 requests in a minute", ("http_flood",), "app/forum/2"),
    Near("1,999 requests of a client", ("http_flood_by_client",), "198.51.100.32"),
    Near("999 are blocked", ("waf_block_flood",), "webacl/quiet/2"),
    Near("1,500 that are only counted", ("waf_block_flood",), "webacl/trial/3"),
)


def _http_files() -> Iterator[tuple[str, str]]:
    yield "alb", "\n".join(_requests()) + "\n"
    yield "waf", "\n".join(_decisions()) + "\n"


def _requests() -> Iterator[str]:
    noon = START + 14 * HOUR
    for minute in range(180):
        for n in range(20):
            for balancer in ("shop/1", "forum/2", "news/3"):
                yield _request(balancer, f"192.0.2.{n}", noon - HOUR + 60 * minute + n)
    for balancer, count in (("shop/1", 7_000), ("forum/2", 5_979)):
        for n in range(count):
            client = f"198.18.{n % 200}.{n % 250}"
            yield _request(balancer, client, noon + 6 * 60 + n % 60)
    for client, count in (("198.51.100.31", 2_100), ("198.51.100.32", 1_999)):
        for n in range(count):
            yield _request("news/3", client, noon + 30 * 60 + n % 60)


def _request(balancer: str, client: str, at: int) -> str:
    return (
        f"https {_time(at)[:-1]}.000000Z app/{balancer} {client}:40000 10.0.0.1:80 0.000 0.001"
        ' 0.000 200 200 34 366 "GET https://www.example.com:443/ HTTP/1.1" "curl/8"'
        " ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2"
        f" arn:aws:elasticloadbalancing:eu-central-1:{ACCOUNT}:targetgroup/web/0a1b2c3d"
        ' "Root=1-58337262-36d228ad5d99923122bbe354" "www.example.com" "-" 0'
        f' {_time(at)[:-1]}.000000Z "forward" "-" "-" "10.0.0.1:80" "200" "-" "-"'
    )


def _decisions() -> Iterator[str]:
    at = START + 15 * HOUR
    for acl, action, count in (
        ("edge/1", "BLOCK", 1_200), ("quiet/2", "BLOCK", 999), ("trial/3", "COUNT", 1_500),
    ):  # fmt: skip
        for n in range(count):
            yield _decision(acl, action, at + n % 60, f"198.18.{n % 200}.9")


def _decision(acl: str, action: str, at: int, client: str) -> str:
    counted = [{"ruleId": "limit", "action": "COUNT"}] if action == "COUNT" else []
    return json.dumps(
        {
            "timestamp": at * 1000, "formatVersion": 1,
            "webaclId": f"arn:aws:wafv2:eu-central-1:{ACCOUNT}:regional/webacl/{acl}",
            "terminatingRuleId": "Default_Action" if counted else "limit",
            "terminatingRuleType": "REGULAR", "action": "ALLOW" if counted else action,
            "terminatingRuleMatchDetails": [], "httpSourceName": "ALB",
            "httpSourceId": f"{ACCOUNT}-app/web/1", "ruleGroupList": [], "rateBasedRuleList": [],
            "nonTerminatingMatchingRules": counted,
            "httpRequest": {
                "clientIp": client, "country": "DE", "headers": [], "uri": "/", "args": "",
                "httpVersion": "HTTP/1.1", "httpMethod": "GET", "requestId": "1",
            },
        }
    )  # fmt: skip


# --- API calls and logins ----------------------------------------------------------------------

TRAIL: Final = (
    Plant("a trail that the ordinary calls stop", ("logging_disabled",), "StopLogging"),
    Plant("tries everything", ("api_enumeration",), "mallory-denied"),
    Plant("looks at everything", ("api_enumeration",), "mallory-looks"),
    Plant("root", ("root_usage",), "root"),
    Plant("deletes a trail", ("logging_disabled",), "mallory-blinds"),
    Plant("makes a key", ("new_access_key",), "mallory-keys"),
    Plant("reads a bucket", ("objects_read",), "mallory-reads"),
    Plant("has stolen keys", ("credential_new_network",), "carl"),
    Plant("works at night", ("unusual_hours",), "nina"),
    Plant("shares a snapshot", ("shared_outside",), "mallory-shares"),
    Plant("opens SSH", ("opened_to_the_world",), "mallory-opens"),
    Plant("opens a bucket", ("opened_to_the_world",), "mallory-bucket"),
    Plant("becomes administrator", ("privilege_granted",), "mallory-admin"),
    Plant("writes an own policy", ("privilege_granted",), "mallory-policy"),
    Plant("trusts another account", ("trust_given",), "mallory-trusts"),
    Plant("opens a function", ("trust_given",), "mallory-function"),
    Plant("runs commands", ("command_run_remotely",), "mallory-runs"),
    Plant("replaces code", ("code_replaced",), "mallory-codes"),
    Plant("reads secrets", ("secrets_read",), "mallory-secrets"),
    Plant("reads parameters", ("secrets_read",), "mallory-parameters"),
    Plant("deletes snapshots", ("backups_deleted",), "mallory-deletes"),
    Plant("schedules the end of a key", ("backups_deleted",), "mallory-kms"),
    Plant("starts miners", ("resources_hijacked",), "mallory-mines"),
    Plant("takes a firewall away", ("protection_removed",), "mallory-strips"),
    Plant("would leave the organisation", ("attempt_denied",), "mallory-leaves"),
    Plant("guesses a password in vain", ("failed_logins",), "victim-1"),
    Plant(
        "guesses a password", ("login_after_failures",), "victim-2",
        also=("console_login_without_mfa",),
    ),
    Plant("tries one password with all", ("password_spraying",), "198.51.100.79"),
    Plant(
        "tries one password with ten users an hour", ("password_spraying",), "198.51.100.80",
        hard="twenty users in an hour are too many",
    ),
    Plant(
        "reads three secrets", ("secrets_read",), "mallory-few", hard="ten secrets are many"
    ),
    Plant(
        "tries eight calls", ("api_enumeration",), "mallory-eight",
        hard="fifteen operations that are denied are too many",
    ),
    Plant("comes with a password only", ("console_login_without_mfa",), "victim-3"),
)  # fmt: skip
NEAR_TRAIL: Final = (
    Near("fourteen denied", ("api_enumeration",), "alice-denied"),
    Near("a trail that is made", ("logging_disabled",), "alice-trail"),
    Near("a key for herself", ("new_access_key",), "alice-keys"),
    Near("4,999 objects", ("objects_read",), "alice-reads"),
    Near("the network next door", ("credential_new_network",), "dora"),
    Near("an hour earlier than usual", ("unusual_hours",), "erin"),
    Near("a share taken back", ("shared_outside",), "alice-shares"),
    Near("opens the web", ("opened_to_the_world",), "alice-opens"),
    Near("a bucket that wants TLS", ("opened_to_the_world", "trust_given"), "alice-bucket"),
    Near("a policy to read", ("privilege_granted",), "alice-admin"),
    Near("trusts a service", ("trust_given",), "alice-trusts"),
    Near("trusts another user of ours", ("trust_given",), "alice-ours"),
    Near("operates machines each day", ("command_run_remotely",), "oscar"),
    Near("deploys each day", ("code_replaced",), "oscar"),
    Near("copies secrets each day", ("secrets_read",), "sync"),
    Near("nine secrets", ("secrets_read",), "alice-secrets"),
    Near("four snapshots", ("backups_deleted",), "alice-deletes"),
    Near("starts small machines", ("resources_hijacked",), "alice-runs"),
    Near("moves a firewall", ("protection_removed",), "alice-moves"),
    Near("may not look", ("attempt_denied",), "alice-looks"),
    Near("a hundred failed logins", ("failed_logins",), "clumsy-1"),
    Near("in after nineteen", ("login_after_failures",), "clumsy-2"),
    Near("an office where 19 fail", ("password_spraying",), "192.0.2.45"),
    Near("comes with a second factor", ("console_login_without_mfa",), "alice-login"),
)
Call = dict[str, Any]
OUTSIDER: Final = "arn:aws:iam::210987654321:root"


def _trail_files() -> Iterator[tuple[str, str]]:
    history = [*_habits()]
    day = [*_api_attacks(), *_api_almost(), *_logins()]
    for name, records in (("before", history), ("day", day)):
        yield name, json.dumps({"Records": records}, separators=(",", ":"))


def _habits() -> Iterator[Call]:
    """Yield four weeks of those who are known."""
    for day in range(1, 28):
        midnight = START - day * DAY
        for hour in range(8, 18):
            at = midnight + hour * HOUR
            yield _call("nina", "ec2", "DescribeInstances", at)
            yield _call("erin", "ec2", "DescribeInstances", at)
            for name in ("carl", "dora"):
                yield _call(name, "ec2", "DescribeInstances", at, source="192.0.2.20")
        yield _call("oscar", "ssm", "SendCommand", midnight + 9 * HOUR, {"instanceIds": ["i-1"]})
        yield _call(
            "oscar", "lambda", "UpdateFunctionCode20150331v2", midnight + 9 * HOUR,
            {"functionName": "f"},
        )  # fmt: skip
        for n in range(20):
            yield _secret("sync", n, midnight + 9 * HOUR)


def _api_attacks() -> Iterator[Call]:
    at = START + 9 * HOUR
    for n in range(16):
        yield _call("mallory-denied", "ec2", f"CreateThing{n}", at + n, error="AccessDenied")
    for n in range(85):
        yield _call("mallory-looks", "ec2", f"DescribeThing{n}", at + n, reads=True)
    for n in range(5_100):
        yield _call(
            "mallory-reads", "s3", "GetObject", at + n % 3000, {"bucketName": "b", "key": str(n)},
            reads=True,
        )  # fmt: skip
    yield _call("carl", "ec2", "DescribeInstances", at, source=MALLORY)
    for n in range(12):
        yield _call("nina", "ec2", "DescribeInstances", START + 2 * HOUR + n)
    for n in range(12):
        yield _secret("mallory-secrets", n, at + n)
    for n in range(3):
        yield _secret("mallory-few", n, at + n)
    for n in range(8):
        yield _call("mallory-eight", "ec2", f"CreateThing{n}", at + n, error="AccessDenied")
    for n in range(3):
        names = [f"/db/{n}/{one}" for one in range(10)]
        yield _call(
            "mallory-parameters", "ssm", "GetParameters", at + n,
            {"names": names, "withDecryption": True}, reads=True,
        )  # fmt: skip
    for n in range(6):
        yield _call("mallory-deletes", "ec2", "DeleteSnapshot", at + n, {"snapshotId": f"snap-{n}"})
    root = _call("root", "s3", "ListBuckets", at, reads=True)
    identity = {"type": "Root", "accountId": ACCOUNT, "arn": f"arn:aws:iam::{ACCOUNT}:root"}
    yield root | {"userIdentity": identity}
    yield _call("mallory-leaves", "organizations", "LeaveOrganization", at, error="AccessDenied")
    for actor, service, operation, request in SINGLE:
        yield _call(actor, service, operation, at, request)


def _trust(principal: object, effect: str = "Allow", **more: object) -> str:
    statement = {"Effect": effect, "Principal": principal, "Action": "sts:AssumeRole", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


SINGLE: Final[tuple[tuple[str, str, str, Call], ...]] = (
    ("mallory-blinds", "cloudtrail", "DeleteTrail", {"name": "main"}),
    ("mallory-keys", "iam", "CreateAccessKey", {"userName": "bob"}),
    (
        "mallory-shares", "ec2", "ModifySnapshotAttribute",
        {"snapshotId": "snap-1",
         "createVolumePermission": {"add": {"items": [{"userId": "210987654321"}]}}},
    ),
    (
        "mallory-opens", "ec2", "AuthorizeSecurityGroupIngress",
        {"groupId": "sg-1", "ipPermissions": {"items": [
            {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22,
             "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}}]}},
    ),
    (
        "mallory-bucket", "s3", "PutBucketPolicy",
        {"bucketName": "b", "bucketPolicy": json.loads(_trust("*"))},
    ),
    (
        "mallory-admin", "iam", "AttachUserPolicy",
        {"userName": "bob", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
    ),
    (
        "mallory-policy", "iam", "PutUserPolicy",
        {"userName": "bob", "policyDocument":
            json.dumps({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})},
    ),
    (
        "mallory-trusts", "iam", "UpdateAssumeRolePolicy",
        {"roleName": "r", "policyDocument": _trust({"AWS": OUTSIDER})},
    ),
    (
        "mallory-function", "lambda", "AddPermission20150331v2",
        {"functionName": "f", "principal": "*", "action": "lambda:InvokeFunction"},
    ),
    ("mallory-runs", "ssm", "SendCommand", {"instanceIds": ["i-1"]}),
    ("mallory-codes", "lambda", "UpdateFunctionCode20150331v2", {"functionName": "f"}),
    ("mallory-kms", "kms", "ScheduleKeyDeletion", {"keyId": "k", "pendingWindowInDays": 7}),
    ("mallory-mines", "ec2", "RunInstances", {"instanceType": "p3.16xlarge"}),
    ("mallory-strips", "wafv2", "DisassociateWebACL", {"resourceArn": "arn:aws:x"}),
)  # fmt: skip
HARMLESS: Final[tuple[tuple[str, str, str, Call], ...]] = (
    ("alice-trail", "cloudtrail", "CreateTrail", {"name": "main"}),
    ("alice-keys", "iam", "CreateAccessKey", {"userName": "alice-keys"}),
    (
        "alice-shares", "ec2", "ModifySnapshotAttribute",
        {"createVolumePermission": {"remove": {"items": [{"userId": "210987654321"}]}}},
    ),
    (
        "alice-opens", "ec2", "AuthorizeSecurityGroupIngress",
        {"groupId": "sg-1", "ipPermissions": {"items": [
            {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443,
             "ipRanges": {"items": [{"cidrIp": "0.0.0.0/0"}]}}]}},
    ),
    (
        "alice-bucket", "s3", "PutBucketPolicy",
        {"bucketName": "b", "bucketPolicy": json.loads(_trust("*", "Deny"))},
    ),
    (
        "alice-admin", "iam", "AttachUserPolicy",
        {"userName": "bob", "policyArn": "arn:aws:iam::aws:policy/ReadOnlyAccess"},
    ),
    (
        "alice-trusts", "iam", "UpdateAssumeRolePolicy",
        {"roleName": "r", "policyDocument": _trust({"Service": "ec2.amazonaws.com"})},
    ),
    (
        "alice-ours", "iam", "UpdateAssumeRolePolicy",
        {"roleName": "r", "policyDocument": _trust({"AWS": f"arn:aws:iam::{ACCOUNT}:user/a"})},
    ),
    ("oscar", "ssm", "SendCommand", {"instanceIds": ["i-1"]}),
    ("oscar", "lambda", "UpdateFunctionCode20150331v2", {"functionName": "f"}),
    ("alice-runs", "ec2", "RunInstances", {"instanceType": "t3.micro"}),
    ("alice-moves", "wafv2", "AssociateWebACL", {"resourceArn": "arn:aws:x"}),
)  # fmt: skip


def _api_almost() -> Iterator[Call]:
    at = START + 9 * HOUR
    for n in range(14):
        yield _call("alice-denied", "ec2", f"CreateThing{n}", at + n, error="AccessDenied")
    for n in range(4_999):
        yield _call("alice-reads", "s3", "GetObject", at + n % 3000, {"key": str(n)}, reads=True)
    yield _call("dora", "ec2", "DescribeInstances", at, source="192.0.2.200")
    for n in range(12):
        yield _call("erin", "ec2", "DescribeInstances", START + 7 * HOUR + n)
    for n in range(20):
        yield _secret("sync", n, at)
    for n in range(9):
        yield _secret("alice-secrets", n, at)
    for n in range(4):
        yield _call("alice-deletes", "ec2", "DeleteSnapshot", at + n, {"snapshotId": f"snap-{n}"})
    yield _call("alice-looks", "iam", "ListUsers", at, error="AccessDenied", reads=True)
    for actor, service, operation, request in HARMLESS:
        yield _call(actor, service, operation, at, request)


def _logins() -> Iterator[Call]:
    at = START + 11 * HOUR
    for n in range(110):
        yield _login("victim-1", at + n, MALLORY, good=False)
    for n in range(100):
        yield _login("clumsy-1", at + n, OFFICE, good=False)
    for name, failures, source in (("victim-2", 25, MALLORY), ("clumsy-2", 19, OFFICE)):
        for n in range(failures):
            yield _login(name, at + n, source, good=False)
        yield _login(name, at + 60, source, good=True, mfa=name == "clumsy-2")
    for source, users in (("198.51.100.79", 25), ("192.0.2.45", 19)):
        for n in range(users):
            yield _login(f"user-{n}", at + n, source, good=False)
    for n in range(50):
        then = START + n // 10 * HOUR + n
        yield _login(f"user-{n}", then, "198.51.100.80", good=False)
    yield _login("victim-3", at, MALLORY, good=True)
    yield _login("alice-login", at, OFFICE, good=True, mfa=True)


def _login(name: str, at: int, source: str, *, good: bool, mfa: bool = False) -> Call:
    answer = {"ConsoleLogin": "Success" if good else "Failure"}
    more = {"MFAUsed": "Yes" if mfa else "No", "LoginTo": "https://console.aws.amazon.com/"}
    record = _call(name, "signin", "ConsoleLogin", at, source=source)
    return record | {
        "eventType": "AwsConsoleSignIn", "responseElements": answer, "additionalEventData": more,
        **({} if good else {"errorMessage": "Failed authentication"}),
    }  # fmt: skip


def _secret(actor: str, number: int, at: int) -> Call:
    request = {"secretId": f"db/{number}"}
    return _call(actor, "secretsmanager", "GetSecretValue", at, request, reads=True)


def _call(
    actor: str, service: str, operation: str, at: int, request: Call | None = None, *,
    source: str = OFFICE, error: str = "", reads: bool = False,
) -> Call:  # fmt: skip
    return {
        "eventVersion": "1.09",
        "userIdentity": {
            "type": "IAMUser", "principalId": f"AIDA{actor.upper()}", "userName": actor,
            "arn": f"arn:aws:iam::{ACCOUNT}:user/{actor}", "accountId": ACCOUNT,
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
        },
        "eventTime": _time(at),
        "eventSource": f"{service}.amazonaws.com",
        "eventName": operation,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": source,
        "userAgent": "aws-cli/2.17",
        **({"errorCode": error} if error else {}),
        "requestParameters": request,
        "responseElements": None,
        "eventID": f"{actor}-{operation}-{at}",
        "readOnly": reads,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }  # fmt: skip


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


PLANTS: Final = (*FLOWS, *DNS, *HTTP, *TRAIL)
NEAR: Final = (*NEAR_FLOWS, *NEAR_DNS, *NEAR_HTTP, *NEAR_TRAIL)
