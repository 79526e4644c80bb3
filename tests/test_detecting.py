"""Matches become findings: one of each subject and window, whatever a cloud calls things."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from structlog.testing import capture_logs

from firedoor import detecting
from firedoor.detection import About, Detection
from firedoor.detections import credential_new_network, outbound_volume, port_scan
from firedoor.detections._examples import CALL, DENIED, HOUR, MINUTE, OUTBOUND, TIME, each
from firedoor.errors import BadInput, BadQuery
from firedoor.lake import portable
from firedoor.lake.duck import Duck
from firedoor.model.finding import Cloud, Finding, Kind, PrincipalType, Side

SCAN = each(DENIED, "dst_port", range(1, 31))
UNTIL = datetime.fromtimestamp((TIME + 1) / 1000, UTC)
BEGIN_OF_HOUR = TIME - TIME % HOUR


def findings(
    rows: Any, until: datetime = UNTIL, detection: Detection = port_scan.DETECTION, **params: Any
) -> list[Finding]:
    """Return what a detection finds among flows."""
    with Duck() as duck:
        duck.put(detecting.tables({"network_activity": rows}))
        return detecting.findings("port_scan", detection, duck, until, params or None)


def made(*rows: Mapping[str, Any], detection: Detection | None = None) -> list[Finding]:
    """Return the findings that matches with these columns are."""
    base: dict[str, Any] = {
        "cloud": "aws", "account": "123456789012", "region": "eu-central-1", "remote_ip": "",
        "local_ip": "", "ports": 30, "count": 30, "first_seen": TIME, "last_seen": TIME,
    }  # fmt: skip
    return detecting.grouped(
        "it", detection or port_scan.DETECTION, [base | {**row} for row in rows]
    )


def about(about: About, sql: str = "") -> Detection:
    return replace(port_scan.DETECTION, about=about, sql=sql, summary="{actor_type}")


def principal(**row: Any) -> tuple[str, str, PrincipalType]:
    """Return the account, id and type of the principal of a match."""
    (finding,) = made({"actor_type": None, **row}, detection=about(About.PRINCIPAL))
    assert finding.subject.kind is Kind.PRINCIPAL
    return finding.subject.account, finding.subject.id, finding.subject.type


def resource(sql: str = "FROM http_activity", **row: Any) -> tuple[Kind, str]:
    """Return the kind and id of the resource of a match."""
    detection = replace(port_scan.DETECTION, sql=sql)
    (finding,) = made(row, detection=detection)
    return finding.subject.kind, finding.subject.id


def test_a_match_becomes_a_finding_with_all_that_it_tells() -> None:
    (finding,) = findings(SCAN)

    assert finding.source == "detections"
    assert finding.type == "Recon:Network/PortScan"
    assert finding.subject.path == ("aws/123456789012/eu-central-1/instance/i-0a1b2c3d4e5f60718")
    assert finding.addresses == (ip_address("198.51.100.7"),)
    assert finding.local_addresses == (ip_address("10.0.1.5"),)
    assert finding.description == ("198.51.100.7 was refused at 30 ports of 10.0.1.5 in 30 tries")
    assert (finding.count, finding.side, finding.severity) == (30, Side.TARGET, 4)
    assert finding.first_seen == finding.last_seen == datetime.fromtimestamp(TIME / 1000, UTC)


def test_ipv6_addresses_are_told_from_end_to_end() -> None:
    scan = each({**DENIED, "src_ip": "2001:db8::7", "dst_ip": "fd00::5"}, "dst_port", range(1, 31))
    other = each({**DENIED, "src_ip": "2001:db8::8", "dst_ip": "fd00::5"}, "dst_port", range(1, 31))

    (finding,) = findings((*scan, *other, *SCAN))

    assert {str(address) for address in finding.addresses} == {
        "2001:db8::7",
        "2001:db8::8",
        "198.51.100.7",
    }
    assert {str(address) for address in finding.local_addresses} == {"fd00::5", "10.0.1.5"}
    assert "2001:db8::8 was refused at 30 ports of fd00::5 in 30 tries" in finding.description


def test_every_question_is_bounded_and_portable() -> None:
    scan = each({**DENIED, "src_ip": "2001:db8::7"}, "dst_port", range(1, 31))
    bounded = []

    class Heard(Duck):
        def ask(self, sql: str, params: Mapping[str, Any] | None = None) -> Any:
            portable.check(sql)
            bounded.append((params or {}).keys() >= {"since", "until"})
            return super().ask(sql, params)

    with Heard() as duck:
        duck.put(detecting.tables({"network_activity": scan}))
        detecting.findings("port_scan", port_scan.DETECTION, duck, UNTIL)

    # The rule itself, and then the texts of senders and of receivers.
    assert bounded == [True, True, True]


def test_a_mapped_address_is_the_ipv4_address() -> None:
    mapped = tuple({**row, "src_ip": "::ffff:198.51.100.7"} for row in SCAN[:15])

    (finding,) = findings((*mapped, *SCAN[15:]))

    assert finding.addresses == (ip_address("198.51.100.7"),)


def test_all_matches_of_a_subject_in_a_window_are_one_finding() -> None:
    sources = tuple({**row, "src_ip": f"198.51.100.{n}"} for n in range(12) for row in SCAN)

    (finding,) = findings(sources)

    assert len(finding.addresses) == 12
    assert finding.count == 12 * 30
    lines = finding.description.splitlines()
    assert len(lines) == detecting.SHOWN + 1
    assert lines[-1] == "... and 2 more"


def test_two_subjects_are_two_findings() -> None:
    other = tuple({**row, "dst_ip": "10.0.1.6", "resource": "i-0fedcba9876543210"} for row in SCAN)

    found = findings((*SCAN, *other))

    assert {finding.subject.id for finding in found} == {
        "i-0a1b2c3d4e5f60718",
        "i-0fedcba9876543210",
    }
    assert len({finding.id for finding in found}) == 2


def test_the_same_address_in_two_accounts_is_two_subjects() -> None:
    other = tuple({**row, "account": "210987654321"} for row in SCAN)

    found = findings((*SCAN, *other))

    assert {finding.account for finding in found} == {"123456789012", "210987654321"}


def test_a_second_look_five_minutes_later_finds_the_same_finding() -> None:
    rows = tuple({**row, "time": BEGIN_OF_HOUR + 10 * MINUTE} for row in SCAN)
    first = datetime.fromtimestamp(BEGIN_OF_HOUR / 1000, UTC) + timedelta(minutes=20)

    (one,) = findings(rows, first)
    (other,) = findings(rows, first + timedelta(minutes=5))

    assert one == other


def test_what_goes_on_in_the_window_keeps_its_finding() -> None:
    begun = tuple({**row, "time": BEGIN_OF_HOUR + 10 * MINUTE} for row in SCAN)
    later = tuple({**row, "time": BEGIN_OF_HOUR + 22 * MINUTE} for row in SCAN)
    first = datetime.fromtimestamp(BEGIN_OF_HOUR / 1000, UTC) + timedelta(minutes=20)

    (one,) = findings((*begun, *later), first)
    (other,) = findings((*begun, *later), first + timedelta(minutes=5))

    assert one.id == other.id
    assert one.last_seen < other.last_seen
    assert one.count < other.count


def test_the_next_window_has_a_finding_of_its_own() -> None:
    later = tuple({**row, "time": row["time"] + HOUR} for row in SCAN)

    (one,) = findings((*SCAN, *later))
    (other,) = findings((*SCAN, *later), UNTIL + timedelta(hours=1))

    assert one.id != other.id
    assert one.subject == other.subject


def test_two_rules_never_share_a_finding() -> None:
    with Duck() as duck:
        duck.put(detecting.tables({"network_activity": SCAN}))
        ids = {
            detecting.findings(name, port_scan.DETECTION, duck, UNTIL)[0].id for name in ("a", "b")
        }

    assert len(ids) == 2


def test_an_answer_in_another_order_is_the_same_finding() -> None:
    rows = [{"remote_ip": f"198.51.100.{n}", "resource": "i-0a1b", "ports": n} for n in range(12)]

    assert made(*rows) == made(*rows[::-1])


def test_what_is_outside_of_the_window_does_not_count() -> None:
    before = UNTIL - timedelta(hours=1, milliseconds=1)

    assert findings(SCAN, UNTIL - timedelta(milliseconds=1)) == []
    assert findings(SCAN, before) == []
    assert findings(SCAN, UNTIL + timedelta(hours=1)) == []


def test_a_parameter_can_be_set_by_an_installation() -> None:
    assert findings(SCAN, ports=31) == []
    assert len(findings(SCAN[:5], ports=5)) == 1


def test_a_match_of_a_cloud_that_we_do_not_know_is_dropped_and_said() -> None:
    strange = [{"cloud": "oracle", "resource": "a"}, {"cloud": None, "resource": "b"}]

    with capture_logs() as logged:
        found = made(*strange, {"resource": "i-0a1b"})

    assert [finding.subject.id for finding in found] == ["i-0a1b"]
    assert logged == [
        {
            "event": "match.dropped",
            "log_level": "warning",
            "detection": "it",
            "clouds": ["None", "oracle"],
            "count": 2,
        }
    ]


def test_an_account_and_a_region_that_are_not_told_are_named_so() -> None:
    (finding,) = made({"account": None, "region": None, "resource": "i-0a1b"})

    assert finding.subject.path == "aws/unknown/global/instance/i-0a1b"
    assert (finding.account, finding.region) == ("unknown", "global")


def test_flows_without_an_account_are_found_all_the_same() -> None:
    rows = tuple({**row, "account": None, "region": None} for row in SCAN)

    (finding,) = findings(rows)

    assert finding.subject.path == "aws/unknown/global/instance/i-0a1b2c3d4e5f60718"


def test_of_an_account_the_subject_is_the_account() -> None:
    (finding,) = made({"actor_type": ""}, detection=about(About.ACCOUNT))

    assert (finding.subject.kind, finding.subject.id) == (Kind.ACCOUNT, "123456789012")


AZURE_VM = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/web/providers/"
    "Microsoft.Compute/virtualMachines/web1"
)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"resource": "i-0a1b"}, (Kind.INSTANCE, "i-0a1b")),
        (
            {"resource": "arn:aws:ec2:eu-central-1:123456789012:instance/i-0a1b"},
            (Kind.INSTANCE, "i-0a1b"),
        ),
        ({"resource": "app/web/0123456789abcdef"}, (Kind.OTHER, "app/web/0123456789abcdef")),
        ({"resource": None, "interface": "eni-0a1b"}, (Kind.OTHER, "eni-0a1b")),
        ({"interface": "i-0a1b"}, (Kind.OTHER, "i-0a1b")),
        ({"interface": "", "network": "vpc-0a1b"}, (Kind.OTHER, "vpc-0a1b")),
        ({"local_ip": "10.0.1.5"}, (Kind.OTHER, "10.0.1.5")),
        ({"local_ip": ""}, (Kind.OTHER, "123456789012")),
        ({"cloud": "azure", "resource": AZURE_VM}, (Kind.INSTANCE, AZURE_VM)),
        ({"cloud": "azure", "resource": AZURE_VM.upper()}, (Kind.INSTANCE, AZURE_VM.upper())),
        ({"cloud": "azure", "resource": "i-0a1b"}, (Kind.OTHER, "i-0a1b")),
        (
            {"cloud": "gcp", "resource": "projects/p/zones/europe-west3-a/instances/web-1"},
            (Kind.INSTANCE, "projects/p/zones/europe-west3-a/instances/web-1"),
        ),
        (
            {"cloud": "gcp", "resource": "projects/p/instances/a-database"},
            (Kind.OTHER, "projects/p/instances/a-database"),
        ),
        ({"cloud": "gcp", "resource": "web-map"}, (Kind.OTHER, "web-map")),
        (
            {"cloud": "gcp", "resource": "web-1", "sql": "FROM network_activity"},
            (Kind.INSTANCE, "web-1"),
        ),
    ],
)
def test_a_resource_is_an_instance_where_its_cloud_says_so(
    row: dict[str, Any], expected: tuple[Kind, str]
) -> None:
    assert resource(**row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"actor_type": "IAMUser", "actor": "alice"}, ("user/alice", PrincipalType.USER)),
        ({"actor_type": "AssumedRole", "actor": "app"}, ("role/app", PrincipalType.ROLE)),
        ({"actor_type": "Root", "actor": "a-name"}, ("root/root", PrincipalType.ROOT)),
        ({"actor_type": "User", "actor": "a@example.com"}, ("user/a@example.com", "user")),
        ({"actor_type": "Member", "actor": "a@example.com"}, ("user/a@example.com", "user")),
        ({"actor_type": "ServicePrincipal", "actor": "app"}, ("service/app", "service")),
        ({"actor_type": "ManagedIdentity", "actor": "app"}, ("service/app", "service")),
        ({"actor_type": "user", "actor": "a@example.com"}, ("user/a@example.com", "user")),
        (
            {"actor_type": "serviceAccount", "actor": "s@p.iam.gserviceaccount.com"},
            ("service/s@p.iam.gserviceaccount.com", "service"),
        ),
        ({"actor_type": None, "actor": None}, ("unknown/unknown", PrincipalType.UNKNOWN)),
        ({"actor_type": "Something", "actor": "x"}, ("unknown/x", PrincipalType.UNKNOWN)),
    ],
)
def test_a_principal_is_of_the_type_that_its_cloud_means(
    row: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert principal(**row) == ("123456789012", *expected)


def test_a_principal_of_another_account_is_of_that_account() -> None:
    row = {"actor_type": "IAMUser", "actor": "alice", "actor_account": "210987654321"}

    assert principal(**row) == ("210987654321", "user/alice", PrincipalType.USER)


@pytest.mark.parametrize("cloud", list(Cloud))
def test_a_rule_holds_for_every_cloud(cloud: Cloud) -> None:
    much = {**OUTBOUND, "cloud": cloud.value, "action": None, "bytes": 2_000_000_000}

    (finding,) = findings((much,), detection=outbound_volume.DETECTION)

    assert finding.cloud is cloud
    assert "2,000,000,000 bytes" in finding.description


def test_history_reaches_back_before_the_window_and_no_further() -> None:
    detection = credential_new_network.DETECTION
    elsewhere = {**CALL, "src_ip": "203.0.113.66"}

    def found(age: timedelta) -> int:
        at = TIME - int(age.total_seconds() * 1000)
        with Duck() as duck:
            duck.put(detecting.tables({"api_activity": (*({**CALL, "time": at},) * 50, elsewhere)}))
            return len(detecting.matches(detection, duck, UNTIL))

    assert found(detection.reach - timedelta(milliseconds=1)) == 1
    assert found(detection.reach + timedelta(milliseconds=1)) == 0


def test_ports_names_and_keys_of_credentials_go_into_the_finding_once() -> None:
    rows = [
        {"resource": "i-0a1b", "port": 22, "domain": "example.com", "credential": "AKIA1"},
        {"resource": "i-0a1b", "port": 22, "domain": None, "credential": "AKIA2"},
        {"resource": "i-0a1b", "port": 0, "domain": "", "credential": None},
    ]

    (finding,) = made(*rows)

    assert finding.ports == (22,)
    assert finding.domains == ("example.com",)
    assert sorted(finding.access_keys) == ["AKIA1", "AKIA2"]


def test_what_is_not_told_is_said_to_be_unknown() -> None:
    (finding,) = made({"resource": "i-0a1b", "ports": None})

    assert finding.description == "unknown was refused at unknown ports of unknown in 30 tries"


def test_a_column_that_is_not_of_the_relation_is_refused() -> None:
    with pytest.raises(BadInput, match="network_activity: scr_ip: expected columns"):
        detecting.tables({"network_activity": [{"scr_ip": "10.0.0.1"}]})


def test_a_parameter_that_is_missing_is_named() -> None:
    with Duck() as duck, pytest.raises(BadQuery, match=":ports"):
        detecting.matches(replace(port_scan.DETECTION, params={}), duck, UNTIL)
