"""AWS clients: what they let through, what they record, and what their errors become."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from firedoor import errors
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import SIDE_BY_SIDE, Aws, connect
from firedoor.cloud.roles import Role
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.plan import LATER, Call, Outcome
from firedoor.settings import settings

OTHER = "222222222222"


def entry(scene: Scene, number: int = 50, **changed: object) -> Call:
    parameters = {
        "NetworkAclId": scene.public_acl_id,
        "RuleNumber": number,
        "Protocol": "-1",
        "RuleAction": "deny",
        "Egress": False,
        "CidrBlock": "198.51.100.7/32",
    }
    return Call(service="ec2", operation="CreateNetworkAclEntry", parameters=parameters | changed)


def test_rule_1_nothing_happens_that_was_not_planned(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    lab.control("DELETE", "firedoor/calls")

    with pytest.raises(errors.UnplannedCall, match="CreateNetworkAclEntry"):
        aws.call(entry(scene))
    with aws.only([entry(scene)]), pytest.raises(errors.UnplannedCall):
        aws.call(entry(scene, CidrBlock="203.0.113.0/24"))
    with aws.only([entry(scene, Tags=[])]), pytest.raises(errors.UnplannedCall):
        aws.call(entry(scene))
    with aws.only([entry(scene)]), pytest.raises(errors.UnplannedCall):
        aws.client("ec2").terminate_instances(InstanceIds=[scene.web_id])

    assert lab.control("GET", "firedoor/calls") == []


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("sts", "get_session_token"),  # hands out credentials
        ("sts", "get_federation_token"),
        ("ecr", "get_authorization_token"),
        ("cognito-identity", "get_open_id_token"),
    ],
)
def test_rule_1_what_only_sounds_like_reading_is_a_change(
    aws: Aws, service: str, operation: str
) -> None:
    arguments = {"get_federation_token": {"Name": "x"}, "get_open_id_token": {"IdentityId": "r:x"}}

    with pytest.raises(errors.UnplannedCall):
        getattr(aws.client(service), operation)(**arguments.get(operation, {}))


def test_rule_1_plan_in_force_ends_with_its_block(aws: Aws, scene: Scene) -> None:
    with aws.only([entry(scene)]) as permit:
        aws.call(entry(scene))

    assert [made.operation for made in permit.made] == ["CreateNetworkAclEntry"]
    with pytest.raises(errors.UnplannedCall):
        aws.call(entry(scene, 51))


def test_rule_1_holds_in_the_threads_of_an_action(aws: Aws, scene: Scene) -> None:
    calls = [entry(scene, number) for number in (50, 51)]

    with aws.only(calls) as permit:
        aws.together(*(_caller(aws, call) for call in calls))
        with pytest.raises(errors.UnplannedCall):
            aws.together(_caller(aws, entry(scene, 52)))

    assert sorted(str(made.parameters["RuleNumber"]) for made in permit.made) == ["50", "51"]


def test_together_takes_any_number_of_reads_and_keeps_their_order(aws: Aws) -> None:
    assert aws.together() == []
    assert aws.together(*(partial(int, number) for number in range(40))) == list(range(40))


def test_together_reads_no_more_at_once_than_aws_bears(aws: Aws) -> None:
    full = threading.Barrier(SIDE_BY_SIDE)
    running: list[int] = []
    seen: list[int] = []

    def read() -> None:
        running.append(1)
        seen.append(len(running))
        full.wait(10)
        running.pop()

    aws.together(*[read] * (2 * SIDE_BY_SIDE))

    assert max(seen) == SIDE_BY_SIDE


def test_what_only_an_earlier_call_can_tell_may_be_anything(aws: Aws, scene: Scene) -> None:
    with aws.only([entry(scene, NetworkAclId=LATER)]) as permit:
        aws.call(entry(scene))

    assert permit.made[0].parameters["NetworkAclId"] == scene.public_acl_id


def test_record_of_a_call_has_its_request_and_outcome(aws: Aws, scene: Scene) -> None:
    with aws.only([entry(scene)]) as permit:
        aws.call(entry(scene))
        with pytest.raises(errors.CloudError) as refused:
            aws.call(entry(scene))

    first, second = permit.made
    assert (first.outcome, second.outcome) == (Outcome.OK, Outcome.ERROR)
    assert first.request_id
    assert refused.value.code == "NetworkAclEntryAlreadyExists"
    assert "NetworkAclEntryAlreadyExists" in second.detail


def test_error_carries_what_was_made_before_it(aws: Aws, scene: Scene) -> None:
    def work() -> None:
        with aws.only([entry(scene)]):
            aws.call(entry(scene))
            aws.client("ec2").describe_instances(InstanceIds=["i-0ffffffffffffffff"])

    with pytest.raises(errors.NotFound) as failed:
        work()

    assert [made.operation for made in failed.value.made] == ["CreateNetworkAclEntry"]


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("RequestLimitExceeded", 503, errors.Throttled),
        ("Throttling", 400, errors.Throttled),
        ("SomethingNew", 429, errors.Throttled),
        ("ThrottledException", 400, errors.Throttled),
        ("DependencyThrottle", 400, errors.Throttled),
        # Of Organizations, Shield and IAM Identity Center: another change is not through yet.
        ("PolicyChangesInProgressException", 400, errors.Throttled),
        ("OptimisticLockException", 400, errors.Throttled),
        ("ConflictException", 400, errors.Throttled),
        ("UnauthorizedOperation", 403, errors.AccessDenied),
        ("InvalidInstanceID.NotFound", 400, errors.NotFound),
        ("NetworkAclEntryLimitExceeded", 400, errors.QuotaExceeded),
        ("InternalError", 500, errors.Unavailable),
        ("InvalidParameterValue", 400, errors.CloudError),
    ],
)
def test_every_error_has_one_kind(
    aws: Aws, lab: EmulatedAws, code: str, status: int, expected: type[errors.CloudError]
) -> None:
    fault = {"service": "ec2", "operation": "DescribeVpcs", "code": code, "status": status}
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(errors.CloudError) as raised:
        aws.client("ec2").describe_vpcs()

    assert type(raised.value) is expected
    assert raised.value.code == code


def test_lost_answer_is_unknown_and_not_sent_again(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    lab.control("DELETE", "firedoor/calls")
    fault = {"service": "ec2", "operation": "CreateNetworkAclEntry", "kind": "lost"}
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(errors.Unavailable) as lost, aws.only([entry(scene)]):
        aws.call(entry(scene))

    assert lost.value.retryable
    assert lost.value.made[0].outcome is Outcome.UNKNOWN
    assert len(lab.control("GET", "firedoor/calls")) == 1


def test_dry_run_asks_and_changes_nothing(aws: Aws, scene: Scene) -> None:
    check = aws.allowed(entry(scene))

    assert check.ok
    assert aws.client("ec2").describe_network_acls(NetworkAclIds=[scene.public_acl_id])
    with aws.only([entry(scene)]):
        aws.call(entry(scene))  # the number is still free


@pytest.fixture
def with_role(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role in other accounts, by settings."""
    monkeypatch.setenv("FIREDOOR_AWS_ROLE", "firedoor-responder")
    settings.cache_clear()


def test_other_account_is_entered_by_its_role(aws: Aws, with_role: None) -> None:
    other = connect(OTHER, "eu-west-1")

    assert other.identity == f"arn:aws:sts::{OTHER}:assumed-role/firedoor-responder/firedoor"
    assert aws.identity.startswith("arn:aws:")


def test_without_a_role_nothing_is_done_for_another_account(aws: Aws) -> None:
    with pytest.raises(errors.Refused, match=r"account 222222222222 .* FIREDOOR_AWS_ROLE"):
        aws.elsewhere(account=OTHER)


def test_session_in_another_account_is_named_after_the_incident(aws: Aws, with_role: None) -> None:
    there = connect(OTHER, "eu-west-1", incident="incident/aws/a", by="alice")
    further = there.elsewhere(region="eu-west-2").elsewhere(account="333333333333")
    home = connect(aws.account, aws.region, incident="incident/aws/b")

    assert there.identity.endswith("/aws.a")
    assert further.identity.endswith("/aws.a")
    assert (further.incident, further.by, further.region) == (
        "incident/aws/a",
        "alice",
        "eu-west-2",
    )
    assert home.elsewhere(account=OTHER).identity.endswith("/aws.b")


def test_accounts_and_regions_can_have_roles_of_their_own(aws: Aws, with_role: None) -> None:
    def roles(account: str, region: str) -> Role | None:
        return Role(f"{account[0]}-{region}", None) if account != "444444444444" else None

    there = connect(OTHER, "eu-west-1", roles=roles)

    assert "assumed-role/2-eu-west-1/" in there.identity
    assert (
        "assumed-role/3-eu-west-2/"
        in there.elsewhere(account="333333333333", region="eu-west-2").identity
    )
    with pytest.raises(errors.Refused, match="444444444444"):
        there.elsewhere(account="444444444444")


def test_incidents_share_the_clients_of_our_own_account_and_no_others(
    aws: Aws, with_role: None
) -> None:
    def clients(account: str) -> list[object]:
        asked = ("incident/1", "alice"), ("incident/1", "bob"), ("incident/2", "alice")
        return [connect(account, "us-east-1", incident=i, by=by).client("ec2") for i, by in asked]

    assert len({id(client) for client in clients(aws.account)}) == 1
    assert len({id(client) for client in clients(OTHER)}) == 3
    assert len({id(client) for client in [*clients(OTHER), *clients(OTHER)]}) == 3


def test_role_is_assumed_once_for_all_services(aws: Aws, with_role: None, lab: EmulatedAws) -> None:
    there = connect(OTHER, "eu-west-1", incident="incident/1")
    lab.control("DELETE", "firedoor/calls")

    there.client("ec2").describe_vpcs()
    there.client("iam").list_users()

    operations = [call["operation"] for call in lab.control("GET", "firedoor/calls")]
    assert operations == ["AssumeRole", "DescribeVpcs", "ListUsers"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"code": "AccessDenied", "status": 403}, errors.AccessDenied),
        ({"code": "InternalFailure", "status": 500}, errors.Unavailable),
        ({"kind": "dropped"}, errors.Unavailable),
    ],
    ids=["refused", "failed", "dropped"],
)
def test_change_for_which_there_are_no_credentials_was_not_made(
    aws: Aws,
    with_role: None,
    lab: EmulatedAws,
    fault: dict[str, object],
    expected: type[errors.CloudError],
) -> None:
    lab.control("POST", "firedoor/faults", {"service": "sts", "operation": "AssumeRole", **fault})
    there = connect(OTHER, "us-east-1")
    call = Call(service="ec2", operation="CreateVpc", parameters={"CidrBlock": "192.0.2.0/24"})

    with pytest.raises(expected) as failed, there.only([call]):
        there.call(call)

    assert type(failed.value) is expected
    assert failed.value.made == ()


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-2"])
def test_sts_is_asked_where_the_session_is_for(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_STS_REGIONAL_ENDPOINTS", "legacy")

    client = cloud._sts.__wrapped__(region)

    assert client.meta.endpoint_url == f"https://sts.{region}.amazonaws.com"


def test_throttled_call_changed_nothing_though_its_status_is_503(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    fault = {"service": "ec2", "operation": "CreateNetworkAclEntry", "status": 503}
    lab.control("POST", "firedoor/faults", {**fault, "code": "RequestLimitExceeded"})

    with pytest.raises(errors.Throttled) as throttled, aws.only([entry(scene)]):
        aws.call(entry(scene))

    assert [made.outcome for made in throttled.value.made] == [Outcome.ERROR]


def _caller(aws: Aws, call: Call) -> Callable[[], object]:
    return lambda: aws.call(call)
