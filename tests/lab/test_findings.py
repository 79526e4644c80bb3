from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from firedoor.findings import guardduty
from firedoor.lab import findings
from firedoor.lab.scene import Scene

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MAKERS = [
    findings.api_abuse,
    findings.command_and_control,
    findings.credential_exfiltration,
    findings.data_exfiltration,
    findings.ssh_brute_force,
]


def _as_the_api_has_it(finding: dict[str, Any]) -> dict[str, Any]:
    # Events repeat members of additionalInfo outside of its value, and give null for what is not.
    info = finding["service"]["additionalInfo"]
    service = {**finding["service"], "additionalInfo": {k: info[k] for k in ("value", "type")}}
    resource = dict(finding["resource"])
    if details := resource.get("instanceDetails"):
        resource["instanceDetails"] = {k: v for k, v in details.items() if v is not None}
    return {**finding, "service": service, "resource": resource}


@pytest.mark.parametrize("make", MAKERS)
def test_finding_has_only_members_of_the_service_model(
    make: Callable[..., Any], scene: Scene, strangers: Callable[..., list[str]]
) -> None:
    finding = _as_the_api_has_it(make(scene, at=AT))

    assert strangers("guardduty", "Finding", finding) == []


@pytest.mark.parametrize(
    ("make", "subject"),
    [
        (findings.api_abuse, "user/alice"),
        (findings.command_and_control, "{app_id}"),
        (findings.credential_exfiltration, "role/firedoor-demo-web"),
        (findings.data_exfiltration, "example-reports"),
        (findings.ssh_brute_force, "{web_id}"),
    ],
)
def test_finding_is_about_what_is_in_the_scene(
    make: Callable[..., Any], subject: str, scene: Scene
) -> None:
    (parsed,) = guardduty.parse(findings.envelope(make(scene, at=AT)), "a finding of the lab")

    assert [parsed.subject.id, parsed.sample] == [subject.format_map(scene.model_dump()), False]


def test_web_is_the_target_of_a_brute_force(scene: Scene) -> None:
    finding = findings.ssh_brute_force(scene, attacker="203.0.113.9", at=AT)
    action = finding["service"]["action"]["networkConnectionAction"]

    assert (
        finding["service"]["resourceRole"],
        finding["resource"]["instanceDetails"]["instanceId"],
        action["connectionDirection"],
        action["remoteIpDetails"]["ipAddressV4"],
    ) == ("TARGET", scene.web_id, "INBOUND", "203.0.113.9")


@pytest.mark.parametrize("on", ["app", "web"])
def test_either_server_can_talk_to_a_command_server(scene: Scene, on: str) -> None:
    finding = findings.command_and_control(scene, on=on, at=AT)

    expected = {"app": scene.app_id, "web": scene.web_id}[on]
    assert (
        finding["service"]["resourceRole"],
        finding["resource"]["instanceDetails"]["instanceId"],
    ) == ("ACTOR", expected)


def test_repetition_keeps_the_id_and_counts_up(scene: Scene) -> None:
    first = findings.ssh_brute_force(scene, at=AT)

    second = findings.again(first, AT.replace(hour=13))

    assert (second["id"], second["service"]["count"], second["updatedAt"]) == (
        first["id"],
        2,
        "2026-03-01T13:00:00.000Z",
    )


def test_envelope_is_that_of_eventbridge(scene: Scene) -> None:
    finding = findings.ssh_brute_force(scene, at=AT)

    envelope = findings.envelope(finding)

    assert {k: v for k, v in envelope.items() if k not in ("id", "detail")} == {
        "version": "0",
        "detail-type": "GuardDuty Finding",
        "source": "aws.guardduty",
        "account": scene.account,
        "time": "2026-03-01T12:00:00Z",
        "region": scene.region,
        "resources": [],
    }
