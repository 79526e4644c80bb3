"""What findings of GuardDuty come to mean."""

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from firedoor.errors import NotAFinding
from firedoor.model.finding import Finding, Side
from firedoor.reading import parse

FIXTURES = Path(__file__).parents[1] / "data" / "guardduty"
INSTANCE = "us-east-1/instance/i-0a1b2c3d4e5f60718"
ECS_TASK = "us-east-1/workload/arn:aws:ecs:us-east-1:123456789012:task/orders/0123456789abcdef"

# By fixture: the subject, and the related ones, all of them in aws/123456789012.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "access_key_federated": ("global/principal/federated/bob",),
    "access_key_role": ("global/principal/role/app",),
    "access_key_root": ("global/principal/root/root",),
    "access_key_user": ("global/principal/user/alice",),
    "attack_sequence_bare": ("us-east-1/other/00000000000000000000000000000028",),
    "attack_sequence_ec2": (
        "us-east-1/instance/i-0aaaaaaaaaaaaaaaa",
        "us-east-1/instance/i-0bbbbbbbbbbbbbbbb",
        "us-east-1/other/arn:aws:autoscaling:us-east-1:123456789012"
        ":autoScalingGroup:1:autoScalingGroupName/web",
        "us-east-1/image/ami-0a1b2c3d",
    ),
    "attack_sequence_ecs": ("us-east-1/cluster/orders", ECS_TASK),
    "attack_sequence_eks": (
        "us-east-1/cluster/prod",
        "us-east-1/workload/workload-1",
        "us-east-1/workload/c-1",
    ),
    "attack_sequence_iam": (
        "global/principal/user/alice",
        "aws/210987654321/global/principal/role/break-glass",
    ),
    "attack_sequence_s3": (
        "us-east-1/bucket/customer-data",
        "us-east-1/bucket/archive",
        "global/principal/user/alice",
        "global/principal/role/deploy",
        INSTANCE,
    ),
    "caller_is_a_service": ("global/principal/service/cloudformation.amazonaws.com",),
    "command_and_control": (INSTANCE,),
    "command_and_control_dns": (INSTANCE,),
    "container_malware": ("us-east-1/workload/c0ffee0123", INSTANCE),
    "ebs_malware": (INSTANCE, "us-east-1/volume/vol-0a1b2c3d4e5f60718"),
    "ecs_runtime": ("us-east-1/cluster/orders", ECS_TASK),
    "eks_api_call": (
        "us-east-1/cluster/prod",
        "global/principal/role/eks-admin",
        "us-east-1/workload/prod/shop/pods/web",
    ),
    "eks_permission_checked": ("us-east-1/cluster/prod",),
    "eks_runtime": (
        "us-east-1/cluster/prod",
        "us-east-1/workload/c0ffee0123",
        INSTANCE,
        "us-east-1/workload/prod/shop/pods/web",
    ),
    "guardrail": (
        "global/principal/role/chat",
        "us-east-1/other/arn:aws:bedrock:us-east-1:123456789012:guardrail/g1",
        "us-east-1/other/example.model-v1",
    ),
    "image_malware": ("us-east-1/image/ami-0f1e2d3c4b5a69788",),
    "instance_credential_exfiltration": ("global/principal/role/app", INSTANCE),
    "instance_runtime": (INSTANCE,),
    "ipv6": (INSTANCE,),
    "lambda_command_and_control": (
        "us-east-1/function/resize",
        "global/principal/role/resize-role",
    ),
    "no_resource": ("us-east-1/other/00000000000000000000000000000022",),
    "port_probe": (INSTANCE,),
    "rds_limitless_login": (
        "us-east-1/database/arn:aws:rds:us-east-1:123456789012:shard-group:shardgroup-1",
    ),
    "rds_login": ("us-east-1/database/orders-1",),
    "recovery_point_malware": (
        "us-east-1/other/arn:aws:backup:us-east-1:123456789012"
        ":recovery-point:1EB3B5E7-9EB0-435A-A80B-108B488B0D45",
    ),
    "resource_credential_exfiltration": (
        "global/principal/role/app",
        "us-east-1/function/resize-images",
    ),
    "s3_exfiltration": (
        "us-east-1/bucket/customer-data",
        "us-east-1/bucket/customer-archive",
        "global/principal/user/alice",
    ),
    "s3_foreign_caller": ("us-east-1/bucket/customer-data",),
    "s3_malware": ("us-east-1/bucket/uploads",),
    "sample_event": ("us-east-1/instance/i-99999999",),
    "sample_export": ("us-east-1/instance/i-99999999",),
    "snapshot_malware": ("us-east-1/snapshot/snap-0f1e2d3c4b5a69788",),
    "ssh_brute_force_actor": (INSTANCE,),
    "ssh_brute_force_target": (INSTANCE,),
    "unknown_resource": ("us-east-1/other/00000000000000000000000000000021", INSTANCE),
    "unknown_type": (INSTANCE,),
}

Load = Callable[[str], Any]
Read = Callable[[str], Finding]


def pascal(value: Any) -> Any:
    """Write the names of all members as GetFindings does."""
    match value:
        case dict():
            return {name[0].upper() + name[1:]: pascal(member) for name, member in value.items()}
        case list():
            return [pascal(member) for member in value]
    return value


def test_every_fixture_has_its_expected_subjects() -> None:
    assert {path.stem for path in FIXTURES.glob("*.json")} == SUBJECTS.keys()


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_subject_is_what_an_action_can_find_by_its_id(name: str, finding: Read) -> None:
    paths = [subject.path.removeprefix("aws/123456789012/") for subject in finding(name).subjects]

    assert paths == list(SUBJECTS[name])


@pytest.mark.parametrize("name", SUBJECTS)
def test_events_exports_and_answers_say_the_same(name: str, document: Load, finding: Read) -> None:
    written = document(name)
    detail = written.get("detail", written)
    forms = [
        detail,
        pascal(detail),
        {"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": detail},
        {"source": "aws.guardduty", "detail-type": "GuardDuty Finding", "detail": pascal(detail)},
    ]

    assert [parse(form, name) for form in forms] == [(finding(name),)] * 4


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_finding_survives_being_written_and_read_back(name: str, finding: Read) -> None:
    read = finding(name)

    assert Finding.model_validate_json(read.model_dump_json()) == read


def test_the_same_attack_is_told_apart_by_its_side(finding: Read) -> None:
    attacked, attacking = finding("ssh_brute_force_target"), finding("ssh_brute_force_actor")

    assert attacked.subject == attacking.subject
    assert (attacked.side, attacked.addresses) == (Side.TARGET, (ip_address("198.51.100.7"),))
    assert (attacking.side, attacking.addresses) == (Side.ACTOR, (ip_address("198.51.100.99"),))


def test_a_runtime_finding_has_no_side(finding: Read) -> None:
    assert finding("instance_runtime").side is None


def test_the_members_of_a_finding_are_taken_over(finding: Read) -> None:
    read = finding("command_and_control")

    assert read.model_dump(exclude={"subject", "related"}) == {
        "id": "00000000000000000000000000000004",
        "source": "guardduty",
        "type": "Backdoor:EC2/C&CActivity.B",
        "title": "The instance talks to a command and control server.",
        "description": "The instance talks to a command and control server.",
        "severity": 8,
        "cloud": "aws",
        "account": "123456789012",
        "region": "us-east-1",
        "created_at": datetime(2025, 3, 4, 9, 15, 0, 123000, UTC),
        "updated_at": datetime(2025, 3, 4, 9, 45, 0, 456000, UTC),
        "first_seen": datetime(2025, 3, 4, 9, 10, 11, tzinfo=UTC),
        "last_seen": datetime(2025, 3, 4, 9, 40, 41, tzinfo=UTC),
        "count": 3,
        "sample": False,
        "side": Side.TARGET,
        "addresses": (ip_address("203.0.113.66"),),
        "local_addresses": (ip_address("192.0.2.10"),),
        "ports": (40123,),
        "domains": (),
        "access_keys": (),
        "techniques": (),
    }


def test_a_port_probe_names_each_address_and_port_once(finding: Read) -> None:
    read = finding("port_probe")

    assert read.addresses == (ip_address("198.51.100.9"), ip_address("198.51.100.8"))
    assert read.ports == (22, 3306)


def test_addresses_of_version_6_are_read(finding: Read) -> None:
    read = finding("ipv6")

    assert read.addresses == (ip_address("2001:db8:ffff::7"),)
    assert read.local_addresses == (ip_address("2001:db8:0:1::5"),)


def test_an_unreadable_address_does_not_lose_the_finding(document: Load) -> None:
    event = document("ssh_brute_force_target")
    action = event["detail"]["service"]["action"]["networkConnectionAction"]
    action["remoteIpDetails"]["ipAddressV4"] = "198.051.100.7"

    (read,) = parse(event, "event")

    assert read.addresses == ()


def test_the_domain_that_was_looked_up_is_read(finding: Read) -> None:
    assert finding("command_and_control_dns").domains == ("c2.example.com",)


def test_the_access_key_is_read(finding: Read) -> None:
    assert finding("access_key_user").access_keys == ("AKIAEXAMPLE000000001",)


def test_proxies_of_a_kubernetes_caller_are_not_its_address(finding: Read) -> None:
    assert finding("eks_api_call").addresses == (ip_address("198.51.100.7"),)


@pytest.mark.parametrize("type_", ["PrivilegeEscalation:IAMUser/AnomalousBehavior", "Anything:New"])
def test_a_session_named_after_an_instance_points_at_it_only_if_guardduty_says_so(
    type_: str, document: Load
) -> None:
    event = document("instance_credential_exfiltration")
    event["detail"]["type"] = type_

    (read,) = parse(event, "event")

    assert read.related == ()


def test_a_caller_of_another_account_is_not_taken_for_ours(document: Load) -> None:
    event = document("s3_foreign_caller")
    action = event["detail"]["service"]["action"]["awsApiCallAction"]
    (foreign,) = parse(event, "event")
    action["remoteAccountDetails"]["accountId"] = "123456789012"
    (ours,) = parse(event, "event")

    assert [subject.id for subject in foreign.related] == []
    assert [subject.id for subject in ours.related] == ["user/alice"]


SAMPLES = {
    "boolean": ({"sample": True}, True),
    "text": ({"sample": "true"}, True),
    "of the API": ({"type": "default", "value": '{"sample":true}'}, True),
    "of the API in its own case": ({"Type": "default", "Value": '{"sample":true}'}, True),
    "all of it text": ('{"sample": true}', True),
    "no": ({"sample": False}, False),
    "no text": ({"value": "{}"}, False),
    "damaged text": ({"value": "{"}, False),
    "endless text": ({"value": "[" * 100_000}, False),
    "void": (None, False),
    "sample as a value": ({"threatListName": "sample"}, False),
}


@pytest.mark.parametrize(("info", "expected"), SAMPLES.values(), ids=SAMPLES)
def test_a_sample_is_known_however_it_is_marked(info: Any, expected: bool, document: Load) -> None:
    event = document("command_and_control")
    event["detail"]["service"]["additionalInfo"] = info

    (read,) = parse(event, "event")

    assert read.sample is expected


@pytest.mark.parametrize("name", ["sample_event", "sample_export"])
def test_sample_fixtures_are_samples(name: str, finding: Read) -> None:
    assert finding(name).sample is True


class TestAttackSequence:
    def test_it_spans_its_signals(self, finding: Read) -> None:
        read = finding("attack_sequence_s3")

        assert read.first_seen == datetime(2025, 3, 4, 9, 10, tzinfo=UTC)
        assert read.last_seen == datetime(2025, 3, 4, 10, 10, tzinfo=UTC)

    def test_its_addresses_are_those_of_endpoints_that_are_not_ours(self, finding: Read) -> None:
        read = finding("attack_sequence_s3")

        assert [str(address) for address in read.addresses] == ["198.51.100.7", "2001:db8:ffff::7"]
        assert ip_address("203.0.113.10") in read.local_addresses

    def test_its_keys_domains_and_techniques_are_read(self, finding: Read) -> None:
        read = finding("attack_sequence_s3")

        assert read.access_keys == ("AKIAEXAMPLE000000001", "AKIAEXAMPLE000000002")
        assert read.domains == ("drop.example.com",)
        assert read.techniques == ("T1078.004", "T1485", "T1526")

    def test_its_subject_stays_the_same_when_the_order_changes(
        self, document: Load, finding: Read
    ) -> None:
        event = document("attack_sequence_s3")
        event["detail"]["service"]["detection"]["sequence"]["resources"].reverse()
        event["detail"]["service"]["detection"]["sequence"]["signals"].reverse()

        (read,) = parse(event, "event")

        assert read.subject == finding("attack_sequence_s3").subject

    def test_a_resource_without_uid_is_named_by_its_place(self, document: Load) -> None:
        event = document("attack_sequence_s3")
        del event["detail"]["service"]["detection"]["sequence"]["resources"][1]["uid"]

        with pytest.raises(NotAFinding) as caught:
            parse(event, "event")

        assert caught.value.where == "detail.service.detection.sequence.resources[1].uid"


class TestTolerance:
    def test_members_that_nobody_knows_yet_are_ignored(self, document: Load, finding: Read) -> None:
        event = document("command_and_control")
        event["detail"] |= {"novel": {"deep": [1]}}
        event["detail"]["service"] |= {"novel": None}
        event["detail"]["resource"]["instanceDetails"] |= {"novel": [None]}

        assert parse(event, "event") == (finding("command_and_control"),)

    def test_tags_are_not_taken_for_members(self, finding: Read) -> None:
        assert finding("command_and_control").subject.id == "i-0a1b2c3d4e5f60718"

    def test_account_and_region_are_the_findings_before_the_events(self, document: Load) -> None:
        event = document("command_and_control") | {"account": "210987654321", "region": "eu-west-1"}
        (own,) = parse(event, "event")
        del event["detail"]["accountId"], event["detail"]["region"]
        (fallback,) = parse(event, "event")

        assert (own.account, own.region) == ("123456789012", "us-east-1")
        assert (fallback.account, fallback.region) == ("210987654321", "eu-west-1")

    def test_what_is_not_said_of_times_follows_from_what_is(self, document: Load) -> None:
        event = document("command_and_control")
        del event["detail"]["createdAt"], event["detail"]["service"]

        (read,) = parse(event, "event")

        assert {read.created_at, read.first_seen, read.last_seen} == {read.updated_at}

    @pytest.mark.parametrize(
        "written",
        ["2025-03-04T11:45:00.5+02:00", "2025-03-04 09:45:00.500000000", 1741081500.5],
        ids=["another zone", "no zone", "epoch"],
    )
    def test_times_are_utc(self, written: Any, document: Load) -> None:
        event = document("command_and_control")
        event["detail"]["updatedAt"] = written

        (read,) = parse(event, "event")

        assert read.updated_at == datetime(2025, 3, 4, 9, 45, 0, 500000, UTC)

    @pytest.mark.parametrize("void", [None, {}, []])
    def test_details_that_are_void_leave_the_finding_without_a_named_subject(
        self, void: Any, document: Load
    ) -> None:
        event = document("command_and_control")
        event["detail"]["resource"]["instanceDetails"] = void

        (read,) = parse(event, "event")

        assert read.subject.path == f"aws/123456789012/us-east-1/other/{read.id}"


MISTAKES: dict[str, tuple[tuple[str, ...], Any, str]] = {
    "no id": (("id",), None, "detail.id: expected, but missing"),
    "severity is a word": (("severity",), "High", "detail.severity: expected a valid number"),
    "severity of another scale": (
        ("severity",), 90, "detail.severity: expected less than or equal to 10",
    ),
    "no account": (("accountId",), None, "detail.accountId: expected, but missing"),
    "no region": (("region",), None, "detail.region: expected, but missing"),
    "time before the calendar": (
        ("updatedAt",),
        "0001-01-01T00:00:00+05:00",
        "detail.updatedAt: expected a time within the years 1 to 9999",
    ),
    "resource is text": (("resource",), "i-1", "detail.resource: expected an object"),
    "service is a list": (("service",), [1], "detail.service: expected an object"),
    "instance without id": (
        ("resource", "instanceDetails", "instanceId"),
        None,
        "detail.resource.instanceDetails.instanceId: expected a name",
    ),
    "instance id is a number": (
        ("resource", "instanceDetails", "instanceId"),
        7,
        "detail.resource.instanceDetails.instanceId: expected a name",
    ),
    "details are text": (
        ("resource", "instanceDetails"),
        "i-1",
        "detail.resource.instanceDetails.instanceId: expected a name",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("place", "value", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line_that_names_the_member(
    place: tuple[str, ...], value: Any, expected: str, document: Load
) -> None:
    event = document("command_and_control")
    event.pop("account")
    event.pop("region")
    parent = event["detail"]
    for member in place[:-1]:
        parent = parent[member]
    parent[place[-1]] = value

    with pytest.raises(NotAFinding) as caught:
        parse(event, "event.json")

    assert str(caught.value) == f"event.json: {expected}"


def test_another_event_of_guardduty_is_not_a_finding() -> None:
    event = {"source": "aws.guardduty", "detail-type": "GuardDuty Runtime Coverage", "detail": {}}

    with pytest.raises(NotAFinding) as caught:
        parse(event, "event.json")

    assert str(caught.value) == "event.json: detail-type: expected 'GuardDuty Finding'"
