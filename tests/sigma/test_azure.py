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


def test_finding_of_a_login_is_about_who_logged_in(shared_rules: tuple[Rule, ...]) -> None:
    record = json.dumps(changed(SIGN_IN, {}, resultType="50053")).encode()
    with Duck() as duck:
        for parsed in Reading(io.BytesIO(record), Place("object")):
            duck.put(parsed.tables)
        [finding] = running.findings(shared_rules, duck, 0, 1 << 60)

    assert finding.subject.path == f"azure/{TENANT}/global/principal/user/ada@example.com"
    assert finding.description == "Logon of Azure Portal from 198.51.100.7"
