"""Every detection of our own is answered on purpose, and none by accident."""

from datetime import UTC, datetime

import pytest

from firedoor import detecting, runbooks
from firedoor.action import Action
from firedoor.detection import Detection
from firedoor.discovery import find
from firedoor.lake.duck import Duck
from firedoor.model.finding import Cloud, Finding

DETECTIONS = find("firedoor.detections", Detection)
ACTIONS = find("activities", Action)
RUNBOOKS = runbooks.load(ACTIONS)

EXPECTED = {
    "accepted_after_rejects": "brute_force",
    "api_enumeration": "api_abuse",
    "attempt_denied": "api_abuse",
    "backups_deleted": "api_abuse",
    "beaconing": "compromised_instance",
    "code_replaced": "default",  # mostly a deployment by somebody new: ask
    "command_run_remotely": "default",  # ask its owner first
    "console_login_without_mfa": "default",  # unwise, and no sign that anybody stole anything
    "credential_new_network": "api_abuse",
    "dns_generated_domains": "compromised_instance",
    "dns_query_burst": "default",  # mostly a loop; its owner has to look
    "dns_tunnel": "instance_doing_harm",
    "dns_unknown_suffix": "default",
    "failed_logins": "default",  # nobody is in; to revoke would help whoever tries
    "http_flood": "denial_of_service",
    "http_flood_by_client": "denial_of_service",
    "logging_disabled": "account_takeover",
    "login_after_failures": "api_abuse",
    "new_access_key": "api_abuse",
    "objects_read": "api_abuse",
    "opened_to_the_world": "default",  # mostly a mistake, which is taken back by hand
    "outbound_day": "compromised_instance",
    "outbound_new_destination": "instance_doing_harm",
    "outbound_sweep": "compromised_instance",
    "outbound_volume": "instance_doing_harm",
    "password_spraying": "default",
    "port_scan": "port_scan",
    "port_sweep": "default",  # of a network: no single instance to block for
    "privilege_granted": "api_abuse",
    "protection_removed": "api_abuse",
    "rdp_brute_force": "brute_force",
    "rejected_by_destination": "default",  # more sources than can be blocked
    "rejected_by_port": "default",
    "rejected_by_source": "default",
    "rejected_share": "default",
    "resources_hijacked": "api_abuse",
    "root_usage": "root_usage",
    "secrets_read": "api_abuse",
    "shared_outside": "api_abuse",
    "ssh_brute_force": "brute_force",
    "trust_given": "api_abuse",
    "unusual_hours": "default",  # ask its owner first
    "waf_block_flood": "denial_of_service",
}


def found(id_: str) -> Finding:
    """Return the finding of the first example of a detection that matches."""
    detection = DETECTIONS[id_]
    example = next(example for example in detection.examples if example.matches)
    last = max(row["time"] for rows in example.rows.values() for row in rows)
    with Duck() as duck:
        duck.put(detecting.tables(example.rows))
        until = datetime.fromtimestamp(last / 1000 + 1, UTC)
        return detecting.findings(id_, detection, duck, until)[0]


@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_what_a_detection_finds_is_answered_on_purpose(id_: str) -> None:
    assert runbooks.select(found(id_), RUNBOOKS).id == EXPECTED[id_]


def test_nothing_is_expected_of_what_is_no_detection() -> None:
    assert EXPECTED.keys() == DETECTIONS.keys()


@pytest.mark.parametrize("id_", ["port_scan", "ssh_brute_force", "outbound_volume", "beaconing"])
def test_what_is_blocked_is_in_the_finding(id_: str) -> None:
    runbook = RUNBOOKS[EXPECTED[id_]]

    assert any(step.params.get("addresses") == "$addresses" for step in runbook.steps)
    assert found(id_).addresses


@pytest.mark.parametrize("cloud", [Cloud.AZURE, Cloud.GCP])
@pytest.mark.parametrize("id_", sorted(DETECTIONS))
def test_answer_is_a_persons_where_the_cloud_has_no_action(id_: str, cloud: Cloud) -> None:
    runbook = RUNBOOKS[EXPECTED[id_]]
    chosen = [runbooks.action_for(step, cloud, ACTIONS) for step in runbook.steps]

    assert {action.partition(".")[0] for action in chosen} <= {cloud, "records"}
