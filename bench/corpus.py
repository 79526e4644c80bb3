"""A day of logs from a seed, with attacks planted in it: the same bytes whenever it is made.

Flows are those of one account: hosts that talk to each other and to the Internet, a busy few, a
backup within the private network that is larger than any theft, and refused noise from everywhere.
"""

import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from isal import igzip

ACCOUNT: Final = "123456789012"
START: Final = 1_780_012_800
"""The midnight at which the day begins, in epoch seconds: 2026-05-29."""
OBJECTS: Final = 288
PERIOD: Final = 86_400 // OBJECTS
LINES: Final = 34_722
"""Lines of an object: ten million in the day."""
TRAILS: Final = 200
CALLS: Final = 5_000
REFUSED: Final = 0.06
"""The part of all flows that are refused noise."""
LEVEL: Final = 2  # of ISA-L, which then packs as tightly as gzip does

HEADER: Final = (
    "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start"
    " end action log-status vpc-id subnet-id instance-id tcp-flags type pkt-srcaddr pkt-dstaddr\n"
)
"""The format that seed.txt turns on."""

HOSTS: Final = tuple(f"10.0.{n // 250}.{n % 250 + 1}" for n in range(500))
SERVICES: Final = (443, 443, 443, 80, 22, 53, 3306, 5432, 6379, 8080)


@dataclass(frozen=True)
class Plant:
    """An attack that was planted, and the detections that should tell of it."""

    name: str
    rules: tuple[str, ...]
    address: str
    """The address of whoever is outside, by which a finding is recognised."""


PLANTS: Final = (
    Plant("vertical scan", ("port_scan",), "198.51.100.11"),
    Plant("horizontal scan", ("port_sweep",), "198.51.100.12"),
    Plant("theft of 5 GB", ("outbound_volume",), "203.0.113.21"),
    Plant("slow theft of 1.8 GB", ("outbound_volume",), "203.0.113.22"),
    Plant("SSH brute force", ("ssh_brute_force",), "198.51.100.13"),
    Plant("RDP brute force", ("rdp_brute_force",), "198.51.100.14"),
    Plant("entry after many tries", ("accepted_after_rejects",), "198.51.100.15"),
    Plant("beacon every five minutes", ("beaconing",), "203.0.113.23"),
)


def make(
    folder: Path, objects: int = OBJECTS, lines: int = LINES, trails: int = TRAILS,
    refused: float = REFUSED,
) -> Path:  # fmt: skip
    """Make the corpus in a folder, or take what is there already."""
    flows, calls = folder / "flows", folder / "calls"
    done = folder / f"{objects}-{lines}-{trails}"
    if done.exists():
        return folder
    flows.mkdir(parents=True, exist_ok=True)
    calls.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(partial(_write_flows, flows, lines, refused), range(objects)))
        list(workers.map(partial(_write_calls, calls), range(trails)))
    done.touch()
    return folder


def _write_flows(folder: Path, lines: int, refused: float, number: int) -> None:
    text = HEADER + "".join(noise(number, lines, refused)) + "".join(_planted(number))
    file = folder / f"{ACCOUNT}_vpcflowlogs_eu-central-1_fl-0a1b2c3d_{number:03}.log.gz"
    file.write_bytes(igzip.compress(text.encode(), LEVEL))


def noise(number: int, lines: int, refused: float = REFUSED) -> Iterator[str]:
    """Yield ordinary flows of a period, which is of a day before where its number is below 0."""
    chance = random.Random(number)  # noqa: S311
    begin = START + number * PERIOD
    pick, uniform = chance.randrange, chance.random
    for _ in range(lines):
        kind, host = uniform(), pick(500) if uniform() < 0.7 else pick(20)
        inside = HOSTS[host]
        at = begin + pick(PERIOD)
        size = int(chance.lognormvariate(8, 1.6))
        if kind < refused:  # refused noise of the Internet
            yield line(
                host, _outside(chance), inside, pick(1024, 65535), pick(1, 10_000), 40, at,
                "REJECT", 2,
            )  # fmt: skip
        elif kind < 0.55:
            yield line(
                host, inside, HOSTS[pick(500)], pick(1024, 65535), SERVICES[pick(10)], size, at,
                "ACCEPT", 19,
            )  # fmt: skip
        elif kind < 0.8:
            yield line(
                host, inside, _partner(chance), pick(1024, 65535), 443, size, at, "ACCEPT", 19
            )
        else:
            yield line(
                host, _partner(chance), inside, 443, pick(1024, 65535), size * 4, at, "ACCEPT", 18
            )


def _outside(chance: random.Random) -> str:
    return f"{chance.randrange(1, 9)}.{chance.randrange(256)}.{chance.randrange(256)}.7"


def _partner(chance: random.Random) -> str:
    """Return one of a few thousand addresses that this account often talks to."""
    return f"52.{chance.randrange(8)}.{chance.randrange(16)}.{chance.randrange(1, 33)}"


def _planted(number: int) -> Iterator[str]:
    """Yield the flows of the attacks that fall into an object."""
    at = START + number * PERIOD
    scan, sweep, big, slow, ssh, rdp, entry, beacon = (plant.address for plant in PLANTS)
    yield line(7, HOSTS[7], beacon, 50_000 + number, 443, 900, at + 100 + number % 3, "ACCEPT", 19)
    # What must not be reported: a backup within, and traffic to the carrier's own range.
    yield line(1, HOSTS[1], "172.20.9.9", 40_000, 873, 20_000_000, at + 5, "ACCEPT", 19)
    yield line(2, HOSTS[2], "100.64.3.4", 40_000, 443, 9_000_000, at + 6, "ACCEPT", 19)
    for n in range(7):
        yield line(9, HOSTS[9], slow, 40_000 + n, 443, 900_000, at + 30 * n, "ACCEPT", 19)
    if number == 280:
        for port in range(1, 601):
            yield line(3, scan, HOSTS[3], 40_000, port, 40, at + port % 300, "REJECT", 2)
    if number == 281:
        for host in range(400):
            yield line(host, sweep, HOSTS[host], 40_000, 445, 40, at + host % 300, "REJECT", 2)
    if number == 282:
        for n in range(100):
            yield line(4, HOSTS[4], big, 40_000 + n, 443, 50_000_000, at + n, "ACCEPT", 19)
    if number in (283, 284):
        for n in range(400):
            yield line(5, ssh, HOSTS[5], 30_000 + n, 22, 40, at + n % 300, "REJECT", 2)
            yield line(6, rdp, HOSTS[6], 30_000 + n, 3389, 40, at + n % 300, "REJECT", 2)
            yield line(8, entry, HOSTS[8], 30_000 + n, 22, 40, at + n % 200, "REJECT", 2)
    if number == 285:
        yield line(8, entry, HOSTS[8], 33_000, 22, 40_000, at + 250, "ACCEPT", 19)


def line(
    host: int, source: str, target: str, sport: int, dport: int, size: int, at: int, action: str,
    flags: int,
) -> str:  # fmt: skip
    """Return a flow in the format of `HEADER`."""
    return (
        f"3 {ACCOUNT} eni-{host:017x} {source} {target} {sport} {dport} 6 {size // 900 + 1} {size}"
        f" {at} {at + 60} {action} OK vpc-0a1b2c3d4e5f60718 subnet-{host % 8:017x} i-{host:017x}"
        f" {flags} IPv4 {source} {target}\n"
    )


ACTIONS: Final = (
    ("s3.amazonaws.com", "GetObject", True), ("s3.amazonaws.com", "PutObject", False),
    ("ec2.amazonaws.com", "DescribeInstances", True), ("sts.amazonaws.com", "AssumeRole", True),
    ("kms.amazonaws.com", "Decrypt", True), ("iam.amazonaws.com", "GetRole", True),
    ("logs.amazonaws.com", "CreateLogStream", False), ("ssm.amazonaws.com", "GetParameter", True),
)  # fmt: skip


def _write_calls(folder: Path, number: int) -> None:
    chance = random.Random(10_000 + number)  # noqa: S311
    records = [_call(chance, number, n) for n in range(CALLS)]
    text = json.dumps({"Records": records}, separators=(",", ":"))
    file = folder / f"{ACCOUNT}_CloudTrail_eu-central-1_{number:03}.json.gz"
    file.write_bytes(igzip.compress(text.encode(), LEVEL))


def _call(chance: random.Random, number: int, n: int) -> dict[str, object]:
    service, name, reads = ACTIONS[chance.randrange(len(ACTIONS))]
    role = f"app-{chance.randrange(40)}"
    second = int(START + (number * CALLS + n) * 86_400 / (TRAILS * CALLS))
    hour, rest = divmod(second - START, 3600)
    if n == 4_000 and number % 20 == 0:  # now and then somebody does what rules look for
        service, name, reads = "cloudtrail.amazonaws.com", "StopLogging", False
    key = f"ASIA{chance.getrandbits(60):015X}0"
    session = {
        "sessionIssuer": {
            "type": "Role",
            "principalId": f"AROA{role.upper():>16}",
            "arn": f"arn:aws:iam::{ACCOUNT}:role/{role}",
            "accountId": ACCOUNT,
            "userName": role,
        },
        "attributes": {"creationDate": "2026-05-29T00:00:00Z", "mfaAuthenticated": "false"},
    }
    by_role = {
        "type": "AssumedRole",
        "principalId": f"AROA{role.upper():>16}:i-{n:017x}",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/i-{n:017x}",
        "accountId": ACCOUNT,
        "accessKeyId": key,
        "sessionContext": session,
    }
    by_user = {
        "type": "IAMUser",
        "principalId": f"AIDA{role.upper():>16}",
        "arn": f"arn:aws:iam::{ACCOUNT}:user/{role}",
        "accountId": ACCOUNT,
        "accessKeyId": f"AKIA{key[4:]}",
        "userName": role,
        "sessionContext": {"attributes": session["attributes"]},
    }
    return {
        "eventVersion": "1.09",
        "userIdentity": by_role if n % 20 == 0 else by_user,
        "eventTime": f"2026-05-29T{hour:02}:{rest // 60:02}:{rest % 60:02}Z",
        "eventSource": service,
        "eventName": name,
        "awsRegion": "eu-central-1",
        "sourceIPAddress": HOSTS[chance.randrange(500)],
        "userAgent": "Boto3/1.44.0 md/Botocore#1.44.0 ua/2.1 os/linux#6.1 lang/python#3.12.4",
        **({"errorCode": "AccessDenied"} if chance.random() < 0.01 else {}),
        "requestParameters": {
            "bucketName": f"bucket-{chance.randrange(50)}",
            "key": f"objects/{chance.getrandbits(80):020x}",
            "Host": f"bucket.s3.eu-central-1.amazonaws.com/{chance.getrandbits(64):016x}",
        },
        "responseElements": None,
        "additionalEventData": {
            "SignatureVersion": "SigV4",
            "CipherSuite": "TLS_AES_128_GCM_SHA256",
            "bytesTransferredIn": 0,
            "bytesTransferredOut": chance.randrange(100_000),
            "x-amz-id-2": f"{chance.getrandbits(256):064x}",
        },
        "requestID": f"{chance.getrandbits(64):016X}",
        "eventID": f"{number:08x}-0000-4000-8000-{n:012x}",
        "readOnly": reads,
        "resources": [
            {
                "type": "AWS::S3::Bucket",
                "ARN": f"arn:aws:s3:::bucket-{n % 50}",
                "accountId": ACCOUNT,
            }
        ],
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Data",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": "bucket.s3.eu-central-1.amazonaws.com",
        },
    }
