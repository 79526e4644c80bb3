"""Findings as OCSF says them: Detection Finding, class 2004, for those who collect them elsewhere.

https://schema.ocsf.io/1.6.0/classes/detection_finding
"""

from datetime import datetime
from typing import Any, Final

from firedoor import __version__
from firedoor.model.finding import (
    Cloud,
    Finding,
    Principal,
    Resource,
    Severity,
    severity_named,
)

VERSION: Final = "1.6.0"
CATEGORY, CLASS, CREATE, UPDATE = 2, 2004, 1, 2
SEVERITIES: Final = {
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 2,
    Severity.MEDIUM: 3,
    Severity.HIGH: 4,
    Severity.CRITICAL: 5,
}
ACCOUNTS: Final = {
    Cloud.AWS: (10, "AWS Account"),
    Cloud.AZURE: (99, "Azure Subscription"),
    Cloud.GCP: (99, "GCP Project"),
}
"""Types of accounts; only later versions have numbers for the last two."""
PROVIDERS: Final = {Cloud.AWS: "AWS", Cloud.AZURE: "Azure", Cloud.GCP: "GCP"}
RULE: Final = 1
NEW: Final = 1
HOSTNAME, ADDRESS, RESOURCE_UID = 1, 2, 10
"""Types of observables."""


def detection_finding(finding: Finding) -> dict[str, Any]:
    """Return a finding as an event of class 2004, all times in epoch milliseconds."""
    activity = UPDATE if finding.count > 1 else CREATE
    severity = severity_named(finding.severity)
    return {
        "activity_id": activity,
        "activity_name": "Update" if activity == UPDATE else "Create",
        "category_uid": CATEGORY,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + activity,
        "time": _ms(finding.updated_at),
        "severity_id": SEVERITIES[severity],
        "severity": severity.capitalize(),
        "status_id": NEW,
        "status": "New",
        "is_alert": True,
        "count": finding.count,
        "message": finding.description or finding.title,
        "metadata": {
            "version": VERSION,
            "profiles": ["cloud"],
            "product": {"name": "Firedoor", "vendor_name": "Firedoor", "version": __version__},
            "log_name": finding.source,
        },
        "cloud": {
            "provider": PROVIDERS[finding.cloud],
            "account": {
                "uid": finding.account,
                "name": finding.account,
                "type_id": ACCOUNTS[finding.cloud][0],
                "type": ACCOUNTS[finding.cloud][1],
            },
            "region": finding.region,
        },
        "finding_info": _info(finding),
        "resources": [_resource(subject) for subject in finding.subjects],
        "observables": _observables(finding),
    }


def _info(finding: Finding) -> dict[str, Any]:
    return {
        "uid": finding.id,
        "title": finding.title,
        "desc": finding.description,
        "types": [finding.type],
        "created_time": _ms(finding.created_at),
        "modified_time": _ms(finding.updated_at),
        "first_seen_time": _ms(finding.first_seen),
        "last_seen_time": _ms(finding.last_seen),
        "analytic": {"uid": finding.type, "name": finding.type, "type": "Rule", "type_id": RULE},
        "attacks": [_attack(technique) for technique in finding.techniques],
    }


def _attack(id_: str) -> dict[str, Any]:
    technique, dot, _ = id_.partition(".")
    told = {"technique": {"uid": technique, "name": technique}}
    return told | ({"sub_technique": {"uid": id_, "name": id_}} if dot else {})


def _resource(subject: Resource | Principal) -> dict[str, Any]:
    return {
        "uid": subject.id,
        "name": subject.id,
        "type": str(subject.kind),
        "region": subject.region,
    }


def _observables(finding: Finding) -> list[dict[str, Any]]:
    """Return what somebody would look for elsewhere, with where in the event it is of."""
    found = [
        *((HOSTNAME, "Hostname", "dst_endpoint.hostname", name) for name in finding.domains),
        *((ADDRESS, "IP Address", "src_endpoint.ip", str(ip)) for ip in finding.addresses),
        *(
            (RESOURCE_UID, "Resource UID", "resources[].uid", one.id)
            for one in finding.subjects
        ),
    ]  # fmt: skip
    return [
        {"type_id": id_, "type": type_, "name": name, "value": value}
        for id_, type_, name, value in found
    ]


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
