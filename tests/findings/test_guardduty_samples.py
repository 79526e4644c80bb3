"""Findings from elsewhere, read where they are at hand; they are no part of the project."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firedoor.errors import NotAFinding
from firedoor.model.finding import Finding
from firedoor.reading import parse, read

SHARED = Path(__file__).parents[3] / "shared"
DATA = SHARED / "data"
TYPES = SHARED / "facts" / "guardduty_types.tsv"

GUARDDUTY_SOAR = "eventbridge-guardduty/guardduty-soar"
SCENARIOS = "eventbridge-guardduty/guardduty-soar-scenarios"
EXAMPLE = "us-east-1/instance/i-99999999"
RULE_CASE = "us-east-1/other/eeb88ab56556eb7771b266670dddee5a"

PLACEHOLDERS = {
    "bucket_name": "example-bucket",
    "bucket_arn": "arn:aws:s3:::example-bucket",
    "instance_id": "i-0a1b2c3d4e5f60718",
    "malicious_ip": "198.51.100.7",
    "role_name": "app",
    "user_name": "alice",
}

# By file: region, kind and id of the subject of each finding in it.
SUBJECTS: dict[str, list[str]] = {
    "eventbridge-guardduty/aws-gd-auto-response/guardduty_ec2_event.json": [
        "us-east-1/instance/i-05746eb48123455e0"
    ],
    "eventbridge-guardduty/aws-gd-auto-response/guardduty_s3_event.json": [
        "us-east-1/bucket/bucketName"
    ],
    "eventbridge-guardduty/c7n/ec2-duty-event.json": [EXAMPLE],
    "eventbridge-guardduty/oluolus/network-eventbridge.json": [
        "us-west-2/instance/i-0123456789abcdef0"
    ],
    f"{GUARDDUTY_SOAR}/Credential-Access-IAM-Anomalous-Behavior.json": [
        "global/principal/unknown/GeneratedFindingUserName"
    ],
    f"{GUARDDUTY_SOAR}/Recon-EC2-PortProbeUnprotectedPort.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/Recon-EC2-Portscan.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/Trojan-EC2-DGADomainRequest-B.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/Trojan-EC2-DNSDataExfiltration.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/Trojan-EC2-DropPoint.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/UnauthorizedAccess-EC2-MaliciousIPCaller.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/UnauthorizedAccess-EC2-MetadataDNSRebind.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/UnauthorizedAccess-EC2-RDPBruteForce.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/UnauthorizedAccess-EC2-SSHBruteForce.json": [EXAMPLE],
    f"{GUARDDUTY_SOAR}/UnauthorizedAccess-EC2-TorClient.json": [EXAMPLE],
    f"{SCENARIOS}/ec2-ec2-brute-force-source-event.json.tpl": [
        "us-east-1/instance/i-0a1b2c3d4e5f60718"
    ],
    f"{SCENARIOS}/ec2-ec2-brute-force-target-event.json.tpl": [
        "us-east-1/instance/i-0a1b2c3d4e5f60718"
    ],
    f"{SCENARIOS}/ec2-ec2-instance-compromise-full-event.json.tpl": [
        "us-east-1/instance/i-0a1b2c3d4e5f60718"
    ],
    f"{SCENARIOS}/ec2-ec2-instance-compromise-short-event.json.tpl": [
        "us-east-1/instance/i-0a1b2c3d4e5f60718"
    ],
    f"{SCENARIOS}/ec2-ec2-unprotected-port-event.json.tpl": [
        "us-east-1/instance/i-0a1b2c3d4e5f60718"
    ],
    f"{SCENARIOS}/iam-iam-role-forensics-event.json.tpl": ["global/principal/role/app"],
    f"{SCENARIOS}/iam-root-user-forensics-event.json": ["global/principal/root/root"],
    f"{SCENARIOS}/s3-bucket-exposure-single-event.json.tpl": ["us-east-1/bucket/example-bucket"],
    "guardduty/awscli/guardduty-get-findings.rst": ["global/principal/user/testuser"],
    # The first two tell an attack sequence without its resources, the others name none.
    "guardduty/panther-analysis/guardduty_rule_cases.jsonl": [
        "us-east-1/other/8c258d654378414b9bc26f61a93eb816",
        "us-east-1/other/b174b38d16e34da0a4c66012083bd8f7",
        *[RULE_CASE] * 6,
    ],
    "guardduty/stix-shifter/guardduty_getfindings.jsonl": [
        "us-east-1/instance/i-0bc12345678910",
        "us-east-1/bucket/bucketName",
        "global/principal/user/abc@abc.com",
        "us-east-1/other/01fc453c5efe4cfd895a83ee6111111",
        "us-east-1/instance/i-0999999999999999",
    ],
    # Parts of findings, put into a whole one; the fourth has no resource.
    "guardduty/stix-shifter/fragments.jsonl": [
        "us-east-1/cluster/GeneratedFindingEKSClusterName",
        "us-east-1/other/f",
        "us-east-1/cluster/GeneratedFindingECSClusterName",
        "us-east-1/other/f",
        "us-east-1/other/f",
        "us-east-1/database/GeneratedFindingDBInstanceId",
        "us-east-1/workload/abcdefghijklmn",
    ],
}
# An event of a tool's own making, without source, ARN, severity or times.
NO_FINDING = f"{SCENARIOS}/general-plugins-test-override_event.json"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the samples are not at hand")


def contents(path: Path) -> Iterator[str]:
    """Yield what a file holds in the forms in which findings arrive."""
    text = path.read_text()
    match path.suffix:
        case ".tpl":
            yield re.sub(r"\$\{(\w+)\}", lambda m: PLACEHOLDERS.get(m[1], f"{m[1]}-1"), text)
        case ".rst":  # shows the command first, then its output
            start = text.index("{", text.index("Output::"))
            yield json.dumps(json.JSONDecoder().raw_decode(text, start)[0])
        case _ if path.name == "fragments.jsonl":
            yield json.dumps({"Findings": [whole(json.loads(x)) for x in text.splitlines()]})
        case _:
            yield text


def whole(fragment: dict[str, Any]) -> dict[str, Any]:
    """Complete a part of a finding by what all findings have."""
    return {
        "Id": "f",
        "Arn": "arn:aws:guardduty:us-east-1:123456789012:detector/d/finding/f",
        "Type": "Execution:Runtime/NewBinaryExecuted",
        "AccountId": "123456789012",
        "Region": "us-east-1",
        "Severity": 5,
        "UpdatedAt": "2025-03-04T09:45:00Z",
    } | fragment


def findings(path: str) -> list[Finding]:
    return [found for text in contents(DATA / path) for found in read(text, path)]


def test_every_sample_has_its_expected_subjects() -> None:
    files = {
        str(path.relative_to(DATA))
        for folder in ("guardduty", "eventbridge-guardduty")
        for path in (DATA / folder).rglob("*.*")
    }

    assert files == SUBJECTS.keys() | {NO_FINDING}


@pytest.mark.parametrize("path", SUBJECTS)
def test_every_finding_is_read_with_its_subject(path: str) -> None:
    subjects = [found.subject for found in findings(path)]

    assert [f"{s.region}/{s.kind}/{s.id}" for s in subjects] == SUBJECTS[path]


@pytest.mark.parametrize(
    "path", [path for path in SUBJECTS if path.startswith(f"{GUARDDUTY_SOAR}/")]
)
def test_generated_samples_are_known_to_be_samples(path: str) -> None:
    assert [found.sample for found in findings(path)] == [True]


def test_what_is_no_finding_is_told_in_one_line() -> None:
    with pytest.raises(NotAFinding) as caught:
        list(read((DATA / NO_FINDING).read_bytes(), "event.json"))

    assert (
        str(caught.value)
        == "event.json: expected a finding of Amazon GuardDuty or AWS Shield or AWS WAF"
    )


@pytest.mark.skipif(not TYPES.is_file(), reason="the list of types is not at hand")
def test_every_known_type_is_read() -> None:
    types = [line.partition("\t")[0] for line in TYPES.read_text().splitlines()[1:]]

    read_types = [found.type for t in types for found in parse(whole({"Type": t}), t)]

    assert len(types) == 221
    assert read_types == types
