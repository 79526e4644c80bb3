"""AWS clients: what they let through, what they record, and what their errors become."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from firedoor import errors
from firedoor.cloud.aws import SIDE_BY_SIDE, Aws, connect
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.plan import LATER, Call, Outcome
from firedoor.settings import settings


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


def test_other_account_is_entered_by_its_role(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREDOOR_AWS_ROLE", "firedoor-responder")
    settings.cache_clear()

    other = connect("222222222222", "eu-west-1")

    assert other.identity == "arn:aws:sts::222222222222:assumed-role/firedoor-responder/firedoor"
    assert aws.identity.startswith("arn:aws:")


def _caller(aws: Aws, call: Call) -> Callable[[], object]:
    return lambda: aws.call(call)
