"""Rules about Entra ID find what they mean in records as Azure writes them."""

import io
import json
from typing import Any

import pytest

from firedoor.lake.duck import Duck
from firedoor.lake.objects import Reading
from firedoor.log_source import Place
from firedoor.sigma import oracle, running
from firedoor.sigma.reading import Rule

TENANT = "00000000-0000-0000-0000-0000000000aa"
SIGN_IN: dict[str, Any] = {
    "time": "2026-01-31T12:00:00Z",
    "resourceId": f"/tenants/{TENANT}/providers/Microsoft.aadiam",
    "operationName": "Sign-in activity",
    "category": "SignInLogs",
    "tenantId": TENANT,
    "resultType": "0",
    "callerIpAddress": "198.51.100.7",
    "location": "NL",
    "properties": {
        "id": "s1",
        "userPrincipalName": "ada@example.com",
        "userType": "Member",
        "userAgent": "Mozilla/5.0",
        "resourceDisplayName": "Azure Portal",
        "authenticationRequirement": "multiFactorAuthentication",
        "conditionalAccessStatus": "notApplied",
        "deviceDetail": {"deviceId": "d", "isCompliant": True, "trustType": "Azure AD joined"},
        "networkLocationDetails": [{"networkType": "trusted"}],
        "riskState": "none",
    },
}
WITHOUT_DEVICE = {"deviceDetail": {"deviceId": ""}, "networkLocationDetails": []}
ONE_FACTOR = {"authenticationRequirement": "singleFactorAuthentication"}


CHANGE: dict[str, Any] = {
    "time": "2026-01-31T12:00:00Z",
    "operationName": "Update group",
    "category": "AuditLogs",
    "tenantId": TENANT,
    "properties": {
        "id": "Directory_1",
        "category": "GroupManagement",
        "activityDisplayName": "Update group",
        "result": "success",
        "loggedByService": "Core Directory",
        "initiatedBy": {"user": {"userPrincipalName": "ada@example.com"}},
        "targetResources": [{"displayName": "staff", "type": "Group"}],
    },
}


def named(name: str, **properties: Any) -> dict[str, Any]:
    """Return a change of this name."""
    return changed(CHANGE, {"activityDisplayName": name} | properties, operationName=name)


def changed(record: dict[str, Any], properties: dict[str, Any], **members: Any) -> dict[str, Any]:
    """Return a record with other properties and members."""
    return {**record, **members, "properties": {**record["properties"], **properties}}


def matched(rules: tuple[Rule, ...], record: dict[str, Any]) -> set[str]:
    """Return the titles of the rules that a record matches, by SQL and by what they mean."""
    with Duck() as duck:
        for parsed in Reading(io.BytesIO(json.dumps(record).encode()), Place("object")):
            assert not parsed.refused
            duck.put(parsed.tables)
            [relation] = parsed.tables
            [source] = parsed.tables[relation]["source"].to_pylist()
        found = {match.rule.title for match in running.run(rules, duck, 0, 1 << 60)}
    meant = {
        rule.title
        for rule in rules
        if rule.log.source == source and oracle.matches(rule.sigma, rule.log, record)
    }
    assert found == meant
    return found


@pytest.mark.parametrize(
    ("record", "titles"),
    [
        (SIGN_IN, set()),
        (changed(SIGN_IN, {}, resultType="50053"), {"Account Lockout"}),
        (changed(SIGN_IN, {}, resultType=50053), {"Account Lockout"}),
        (changed(SIGN_IN, {"status": {"errorCode": 50053}}, resultType=None), {"Account Lockout"}),
        (
            changed(
                SIGN_IN, {"status": {"failureReason": "DeviceAuthenticationFailed"}},
                resultType="50155",
            ),
            {"Azure Unusual Authentication Interruption"},
        ),
        (
            changed(SIGN_IN, {}, resultType="53003"),
            {"User Access Blocked by Azure Conditional Access"},
        ),
        (changed(SIGN_IN, {"userAgent": "AzureHound/2"}), {"Discovery Using AzureHound"}),
        (changed(SIGN_IN, {"userAgent": "AzureHound/2"}, resultType="50126"), set()),
        (
            changed(SIGN_IN, {"deviceDetail": {"isCompliant": False}}),
            {"Sign-ins from Non-Compliant Devices"},
        ),
        (changed(SIGN_IN, ONE_FACTOR | WITHOUT_DEVICE), {"Sign-ins by Unknown Devices"}),
        (
            changed(SIGN_IN, ONE_FACTOR | {"riskState": "atRisk", "deviceDetail": {}}),
            {"Suspicious SignIns From A Non Registered Device"},
        ),
        (
            changed(SIGN_IN, {"authenticationProtocol": "deviceCode"}),
            {"Application Using Device Code Authentication Flow"},
        ),
        (
            changed(SIGN_IN, ONE_FACTOR | {
                "resourceDisplayName": "Device Registration Service",
                "conditionalAccessStatus": "success",
            }),
            {"Device Registration or Join Without MFA"},
        ),
    ],
)  # fmt: skip
def test_sign_in_matches(
    shared_rules: tuple[Rule, ...], record: dict[str, Any], titles: set[str]
) -> None:
    assert matched(shared_rules, record) == titles


@pytest.mark.parametrize(
    ("record", "titles"),
    [
        (CHANGE, set()),
        (named("Add owner to application"), {"Added Owner To Application"}),
        (named("Delete application"), {"Azure Application Deleted"}),
        (named("Add user"), {"Account Created And Deleted Within A Close Time Frame"}),
        (named("Add user", result="failure"), set()),
        (named("Invite external user", result="failure"),
         {"Guest User Invited By Non Approved Inviters"}),
        (named("Set device registration policies", category="Policy"),
         {"Changes to Device Registration Policy"}),
        (named("Set device registration policies"), set()),
        (
            named("Add eligible member to role", targetResources=[
                {"displayName": "worker", "type": "ServicePrincipal"}]),
            {"App Assigned To Azure RBAC/Microsoft Entra Role"},
        ),
        (
            named("Add member to role", category="RoleManagement", targetResources=[
                {"type": "User"},
                {"type": "Role", "modifiedProperties": [
                    {"newValue": "62e90394-69f5-4237-9190-012177145e10"}]},
            ]),
            {"Users Added to Global or Device Admin Roles"},
        ),
        (
            named("Update user", category="UserManagement", targetResources=[
                {"modifiedProperties": [{
                    "displayName": "StrongAuthenticationRequirement",
                    "newValue": '[{"State":0}]',
                }]}]),
            {"Multi Factor Authentication Disabled For User Account"},
        ),
        (
            named("Consent to application", result="failure", resultReason=(
                "Microsoft.online.Security.userConsentBlockedForRiskyAppsExceptions")),
            {"End User Consent Blocked"},
        ),
        (
            named("Recover device local administrator password", category="Device",
                  additionalDetails=[{"key": "Additional Info", "value":
                    "Successfully recovered local credential by device id d"}]),
            {"Windows LAPS Credential Dump From Entra ID"},
        ),
    ],
)  # fmt: skip
def test_change_matches(
    shared_rules: tuple[Rule, ...], record: dict[str, Any], titles: set[str]
) -> None:
    assert matched(shared_rules, record) == titles


def test_finding_of_a_login_is_about_who_logged_in(shared_rules: tuple[Rule, ...]) -> None:
    record = json.dumps(changed(SIGN_IN, {}, resultType="50053")).encode()
    with Duck() as duck:
        for parsed in Reading(io.BytesIO(record), Place("object")):
            duck.put(parsed.tables)
        [finding] = running.findings(shared_rules, duck, 0, 1 << 60)

    assert finding.subject.path == f"azure/{TENANT}/global/principal/user/ada@example.com"
    assert finding.description == "Logon of Azure Portal from 198.51.100.7"
