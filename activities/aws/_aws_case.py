"""Cases at AWS, for help by its people: AWS Support, or AWS Security Incident Response."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from firedoor.cloud.aws import Aws
from firedoor.errors import Refused
from firedoor.model.base import digest
from firedoor.model.finding import GLOBAL, Kind
from firedoor.model.plan import Call, Target

SUPPORT, SECURITY_IR = "support", "security-ir"

REGION = "us-east-1"
"""Where AWS Support is asked."""

MOST_ADDRESSES = 200


def title(target: Target) -> str:
    """Return the title of an incident's case; by it a repeat knows that there is one."""
    return f"DDoS attack on {target.subject.id} [{target.incident}]"[:300]


def text(target: Target, addresses: Sequence[str]) -> str:
    """Return what a case says."""
    subject = target.subject
    within = f"{subject.kind} {subject.id} in account {subject.account}, {subject.region},"
    what = f"Account {subject.account}" if subject.kind is Kind.ACCOUNT else within
    lines = [
        f"{what} is under a denial of service attack.",
        f"Incident {target.incident}, seen before {target.at:%Y-%m-%d %H:%M:%SZ}.",
        "Please help to mitigate it.",
    ]
    if addresses:
        lines.append(f"Addresses that took part: {', '.join(addresses[:MOST_ADDRESSES])}")
    return "\n".join(lines)


def support(
    aws: Aws, target: Target, addresses: Sequence[str], severity: str, emails: Sequence[str]
) -> Call:
    """Return the call that opens a case at AWS Support.

    Raises `Refused` if Support does not say to whom such a case goes.
    """
    services = aws.elsewhere(region=REGION).client("support").describe_services()["services"]
    service = next((one for one in services if _about_ddos(one)), None)
    if service is None or not service["categories"]:
        raise Refused(
            "AWS Support names no service for denial of service attacks here: open the case in the"
            " console"
        )
    parameters: dict[str, JsonValue] = {
        "subject": title(target),
        "communicationBody": text(target, addresses),
        "serviceCode": service["code"],
        "categoryCode": _category(service),
        "severityCode": severity,
        "issueType": "technical",
        "language": "en",
        "ccEmailAddresses": [*emails],
    }
    return Call(service=SUPPORT, operation="CreateCase", parameters=parameters, region=REGION)


def security_ir(home: Aws, target: Target, addresses: Sequence[str], emails: Sequence[str]) -> Call:
    """Return the call that opens a case at AWS Security Incident Response, in its home.

    Raises `Refused` if there is no membership there.
    https://docs.aws.amazon.com/security-ir/latest/userguide/considerations_important.html
    """
    memberships = home.pages("security-ir", "ListMemberships", "items")
    if not any(one.get("membershipStatus") == "Active" for one in memberships):
        raise Refused(
            f"account {home.account} has no membership of AWS Security Incident Response in"
            f" {home.region}: name the account and region of yours in `membership`, or open a case"
            " at AWS Support"
        )
    named: JsonValue = [{"ipAddress": address} for address in addresses[:MOST_ADDRESSES]]
    parameters: dict[str, JsonValue] = {
        "clientToken": digest(target),
        "resolverType": "AWS",
        "engagementType": "Security Incident",
        "title": title(target),
        "description": text(target, addresses),
        "reportedIncidentStartDate": f"{target.at:%Y-%m-%dT%H:%M:%SZ}",
        "impactedAccounts": [target.subject.account],
        "watchers": [{"email": email} for email in emails],
    }
    if addresses:
        parameters["threatActorIpAddresses"] = named
    if target.subject.region != GLOBAL:
        parameters["impactedAwsRegions"] = [{"region": target.subject.region}]
    return Call(
        service=SECURITY_IR,
        operation="CreateCase",
        parameters=parameters,
        account=home.account,
        region=home.region,
    )


def found(aws: Aws, where: str, name: str) -> bool:
    """Tell whether there is a case of this title, open or resolved; it is asked in its home."""
    if where == SECURITY_IR:
        return any(one.get("title") == name for one in aws.pages(SECURITY_IR, "ListCases", "items"))
    cases = aws.elsewhere(region=REGION).pages(
        SUPPORT, "DescribeCases", "cases", includeResolvedCases=True, includeCommunications=False
    )
    return any(one.get("subject") == name for one in cases)


def _about_ddos(service: Mapping[str, Any]) -> bool:
    name = str(service["name"]).lower()
    return "denial of service" in name or "ddos" in name


def _category(service: Mapping[str, Any]) -> str:
    inbound = [one for one in service["categories"] if "inbound" in str(one["name"]).lower()]
    return str((inbound or service["categories"])[0]["code"])
