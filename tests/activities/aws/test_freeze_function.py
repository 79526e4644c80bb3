"""Freezing a function, against the emulated AWS."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from activities.aws import _function, _network, freeze_function
from activities.aws.freeze_function import apply, revert, verify
from firedoor import evidence
from firedoor.action import NoParams
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, Refused, Throttled, Unavailable
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Target, Verdict
from firedoor.settings import settings

NAME = "thumbnails"
SECRET = "correct-horse"
LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0.0)


@pytest.fixture
def functions(aws: Aws) -> Any:
    """The client of somebody else, and one function with a bit of everything."""
    role = boto3.client("iam").create_role(RoleName="thumbnails", AssumeRolePolicyDocument="{}")
    client = boto3.client("lambda")
    client.create_function(
        FunctionName=NAME,
        Runtime="python3.12",
        Role=role["Role"]["Arn"],
        Handler="main.handler",
        Timeout=60,
        Environment={"Variables": {"TOKEN": SECRET}},
        Code={"ZipFile": code()},
    )
    return client


def code() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("main.py"), "def handler(event, context): ...\n")
    return packed.getvalue()


def polled(functions: Any, *, enabled: bool = True, name: str = "uploads") -> str:
    queue = boto3.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:123456789012:{queue.rpartition('/')[2]}"
    made = functions.create_event_source_mapping(
        FunctionName=NAME, EventSourceArn=arn, Enabled=enabled
    )
    return str(made["UUID"])


def furnish(functions: Any) -> None:
    functions.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=50)
    functions.create_function_url_config(
        FunctionName=NAME, AuthType="NONE", Cors={"AllowOrigins": ["*"]}
    )
    functions.publish_version(FunctionName=NAME)
    functions.create_alias(FunctionName=NAME, Name="live", FunctionVersion="1")
    functions.put_provisioned_concurrency_config(
        FunctionName=NAME, Qualifier="live", ProvisionedConcurrentExecutions=5
    )
    polled(functions)
    polled(functions, enabled=False, name="backlog")


def state(functions: Any) -> Any:
    """All that AWS shows of the function and that freezing can change."""
    functions.list_event_source_mappings()  # lets what is turning come to rest
    mappings = functions.list_event_source_mappings()["EventSourceMappings"]
    provisioned = functions.list_provisioned_concurrency_configs(FunctionName=NAME)
    urls = functions.list_function_url_configs(FunctionName=NAME)["FunctionUrlConfigs"]
    return {
        "concurrency": functions.get_function_concurrency(FunctionName=NAME).get(
            "ReservedConcurrentExecutions"
        ),
        "mappings": {m["UUID"]: m["State"] for m in mappings},
        "provisioned": [
            (p["FunctionArn"], p["RequestedProvisionedConcurrentExecutions"])
            for p in provisioned["ProvisionedConcurrencyConfigs"]
        ],
        "urls": [(u["FunctionUrl"], u["AuthType"], u["Cors"], u["InvokeMode"]) for u in urls],
        "code": functions.get_function(FunctionName=NAME)["Configuration"]["CodeSha256"],
    }


def planned(aws: Aws, id: str = NAME, at: datetime = LONG_AGO) -> Plan:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, kind=Kind.FUNCTION, id=id
    )
    target = Target(subject=subject, incident="incident/1", step="freeze", at=at)
    (plan,) = freeze_function.plan(target, NoParams(), aws)
    return plan


def fail(lab: EmulatedAws, operation: str, **fault: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": "lambda", "operation": operation, **fault})


def test_everything_that_starts_it_is_frozen_and_comes_back_as_it_was(
    functions: Any, aws: Aws
) -> None:
    furnish(functions)
    before = state(functions)
    plan = planned(aws)

    applied = apply(plan, aws)
    during = state(functions)
    revert(plan, aws)

    assert [call.operation for call in applied.calls] == [
        "DeleteProvisionedConcurrencyConfig",
        "PutFunctionConcurrency",
        "UpdateFunctionUrlConfig",
        "UpdateEventSourceMapping",
    ]
    assert (during["concurrency"], during["provisioned"]) == (0, [])
    assert set(during["mappings"].values()) == {"Disabled"}
    assert [access for _, access, _, _ in during["urls"]] == ["AWS_IAM"]
    assert state(functions) == before


def test_concurrency_that_was_never_reserved_is_not_reserved_after_revert(
    functions: Any, aws: Aws
) -> None:
    plan = planned(aws)

    apply(plan, aws)
    reverted = revert(plan, aws)

    assert [call.operation for call in reverted.calls] == ["DeleteFunctionConcurrency"]
    assert state(functions)["concurrency"] is None


def test_frozen_function_answers_429(functions: Any, aws: Aws) -> None:
    apply(planned(aws), aws)

    with pytest.raises(ClientError, match="TooManyRequestsException"):
        functions.invoke(FunctionName=NAME, Payload=b"{}")


def test_function_runs_again_before_its_sources_are_read_again(functions: Any, aws: Aws) -> None:
    furnish(functions)

    undo = [call.operation for call in planned(aws).undo]

    assert undo == [
        "PutFunctionConcurrency",
        "PutProvisionedConcurrencyConfig",
        "UpdateFunctionUrlConfig",
        "UpdateEventSourceMapping",
    ]


def test_applying_and_reverting_twice_makes_each_call_once(functions: Any, aws: Aws) -> None:
    furnish(functions)
    plan = planned(aws)

    first, second = apply(plan, aws), apply(plan, aws)
    state(functions)
    back, again = revert(plan, aws), revert(plan, aws)

    assert (len(first.calls), second.calls) == (4, ())
    assert second.evidence == first.evidence
    assert second.created == first.created
    assert (len(back.calls), again.calls, again.left) == (4, (), ())


@pytest.mark.parametrize(
    "operation",
    ["PutFunctionConcurrency", "UpdateFunctionUrlConfig", "UpdateEventSourceMapping"],
)
def test_what_was_cut_short_is_completed_and_taken_back(
    functions: Any, aws: Aws, lab: EmulatedAws, operation: str
) -> None:
    furnish(functions)
    before = state(functions)
    plan = planned(aws)
    fail(lab, operation, kind="lost")

    with pytest.raises(Unavailable):
        apply(plan, aws)
    apply(plan, aws)
    frozen = state(functions)["concurrency"]
    revert(plan, aws)

    assert frozen == 0
    assert state(functions) == before


def test_partial_freeze_is_taken_back_without_being_completed(
    functions: Any, aws: Aws, lab: EmulatedAws
) -> None:
    furnish(functions)
    before = state(functions)
    plan = planned(aws)
    fail(lab, "UpdateFunctionUrlConfig", code="TooManyRequestsException", status=429)

    with pytest.raises(Throttled):
        apply(plan, aws)
    revert(plan, aws)

    assert state(functions) == before


def test_source_that_is_still_turning_is_waited_for(functions: Any, aws: Aws) -> None:
    polled(functions)
    plan = planned(aws)
    apply(plan, aws)

    pending = verify(plan, aws)
    settled = verify(plan, aws)

    assert [c.detail for c in pending.checks if "turned off" in c.detail]
    assert not [c.detail for c in settled.checks if "turned off" in c.detail]


def test_change_of_a_turning_source_is_tried_again_later(functions: Any, aws: Aws) -> None:
    id = polled(functions)
    plan = planned(aws)
    apply(plan, aws)
    client = aws.client("lambda")
    client.meta.events.register(
        "after-call.lambda.ListEventSourceMappings",
        lambda parsed, **_: [m.update(State="Updating") for m in parsed["EventSourceMappings"]],
    )

    with pytest.raises(Throttled, match=id):
        revert(plan, aws)


# What is kept


def test_code_and_settings_are_kept_without_the_secrets(functions: Any, aws: Aws) -> None:
    receipt = apply(planned(aws), aws)

    document, archive = (evidence.fetch(kept.uri) for kept in receipt.evidence)
    configuration = json.loads(document)["function"]["Configuration"]
    variables = json.dumps({"TOKEN": SECRET}).encode()
    assert archive == code()
    assert configuration["Environment"] == {
        "Names": ["TOKEN"],
        "SHA256": hashlib.sha256(variables).hexdigest(),
    }
    assert SECRET.encode() not in document
    assert b"Location" not in document
    assert receipt.left == ()


def test_code_that_cannot_be_fetched_stops_no_freeze_and_is_said(functions: Any, aws: Aws) -> None:
    on_code(aws, {"Location": "http://127.0.0.1:9/gone"})

    receipt = apply(planned(aws), aws)

    assert state(functions)["concurrency"] == 0
    assert [kept.name for kept in receipt.evidence] == [f"{NAME}-function.json"]
    assert receipt.left[0].startswith("code was not kept: fetching it failed")


def test_code_that_is_no_web_address_is_never_opened(functions: Any, aws: Aws) -> None:
    on_code(aws, {"Location": "file:///etc/passwd"})

    receipt = apply(planned(aws), aws)

    assert len(receipt.evidence) == 1
    assert "AWS names no place of it" in receipt.left[0]


def test_code_of_an_image_is_named_by_its_digest(functions: Any, aws: Aws) -> None:
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/app@sha256:00"
    on_code(aws, {"ImageUri": "app:latest", "ResolvedImageUri": image})

    receipt = apply(planned(aws), aws)

    assert receipt.left == (
        f"code was not kept: it is the image {image}: keep that in its registry",
    )


def test_code_that_is_not_what_runs_is_kept_and_doubted(functions: Any, aws: Aws) -> None:
    plan = planned(aws)
    on_answer(aws, "GetFunction", lambda a: a["Configuration"].update(CodeSha256="other"))

    receipt = apply(plan, aws)

    assert len(receipt.evidence) == 2
    assert "Lambda runs another" in receipt.left[0]


def test_store_that_takes_nothing_stops_no_freeze(
    functions: Any, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(aws)
    monkeypatch.setenv("FIREDOOR_EVIDENCE", "s3://no-such-bucket/evidence")
    settings.cache_clear()

    receipt = apply(plan, aws)
    proof = verify(plan, aws)
    settings.cache_clear()

    assert state(functions)["concurrency"] == 0
    assert receipt.left[0].startswith("code and settings were not kept")
    assert proof.verdict is Verdict.UNPROVEN


def test_version_is_published_once_and_stays(functions: Any, aws: Aws) -> None:
    plan = planned(aws)

    receipt = apply(plan, aws)
    revert(plan, aws)

    versions = functions.list_versions_by_function(FunctionName=NAME)["Versions"]
    assert receipt.created == {"version": "1"}
    assert [v["Version"] for v in versions] == ["$LATEST", "1"]
    assert any("published to keep its code if none has it" in line for line in plan.lost)


def test_version_that_cannot_be_published_is_said(
    functions: Any, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(aws)
    fail(lab, "PublishVersion", code="PreconditionFailedException", status=412)

    receipt = apply(plan, aws)

    assert receipt.created == {}
    assert receipt.left[0].startswith("no version was published")


# Whether it holds


def test_freeze_is_pending_until_the_longest_invocation_must_have_ended(
    functions: Any, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(aws)
    receipt = apply(plan, aws)

    early = verify(plan, aws)
    frozen = receipt.evidence[0].taken_at
    monkeypatch.setattr(_function, "kept_at", lambda _: frozen - timedelta(seconds=61))
    late = verify(plan, aws)

    assert early.verdict is Verdict.PENDING
    assert (late.verdict, late.since) == (Verdict.PROVEN, frozen - timedelta(seconds=1))


@pytest.mark.parametrize("undone", ["concurrency", "mapping", "new mapping"])
def test_somebody_who_thaws_it_is_noticed(functions: Any, aws: Aws, undone: str) -> None:
    id = polled(functions)
    plan = planned(aws)
    apply(plan, aws)
    state(functions)
    match undone:
        case "concurrency":
            functions.delete_function_concurrency(FunctionName=NAME)
        case "mapping":
            functions.update_event_source_mapping(UUID=id, Enabled=True)
        case _:
            polled(functions, name="more")

    assert verify(plan, aws).verdict is Verdict.DRIFTED


def test_what_somebody_else_changed_meanwhile_is_left_alone(functions: Any, aws: Aws) -> None:
    functions.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=50)
    plan = planned(aws)
    apply(plan, aws)
    functions.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=7)

    receipt = revert(plan, aws)

    assert state(functions)["concurrency"] == 7
    assert receipt.left == (f"{NAME} reserved concurrency was changed since, to 7",)


def test_source_added_after_planning_voids_the_plan(functions: Any, aws: Aws) -> None:
    plan = planned(aws)
    polled(functions)

    with pytest.raises(PlanStale, match="did not when planned"):
        apply(plan, aws)


def test_concurrency_that_others_took_meanwhile_is_a_clear_refusal(
    functions: Any, aws: Aws
) -> None:
    functions.put_function_concurrency(FunctionName=NAME, ReservedConcurrentExecutions=50)
    plan = planned(aws)
    apply(plan, aws)
    functions.create_function(
        FunctionName="greedy",
        Runtime="python3.12",
        Role="arn:aws:iam::123456789012:role/thumbnails",
        Handler="main.handler",
        Code={"ZipFile": code()},
    )
    functions.put_function_concurrency(FunctionName="greedy", ReservedConcurrentExecutions=900)

    with pytest.raises(Refused, match="50 executions cannot be reserved for thumbnails again"):
        revert(plan, aws)


def test_function_that_does_not_exist_is_gone(aws: Aws) -> None:
    plan = planned(aws, "no-such-function")

    assert (plan.gone, plan.calls) == (True, ())
    assert plan.refusals == ("function no-such-function does not exist",)


def test_function_that_no_concurrency_limits_is_refused_with_what_to_do_instead(
    functions: Any, aws: Aws
) -> None:
    arn = "arn:aws:lambda:us-east-1:123456789012:capacity-provider:large"
    provider = {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": arn}}
    on_answer(
        aws, "GetFunction", lambda a: a["Configuration"].update(CapacityProviderConfig=provider)
    )

    plan = planned(aws)

    assert (plan.calls, plan.gone) == ((), False)
    assert "PutFunctionScalingConfig" in plan.refusals[0]


def test_function_deleted_meanwhile_leaves_nothing_to_take_back(functions: Any, aws: Aws) -> None:
    plan = planned(aws)
    apply(plan, aws)
    functions.delete_function(FunctionName=NAME)

    assert verify(plan, aws).verdict is Verdict.DRIFTED
    assert revert(plan, aws).left == (f"function {NAME} does not exist any more",)


def test_frozen_function_needs_no_further_freeze(functions: Any, aws: Aws) -> None:
    apply(planned(aws), aws)

    again = planned(aws)

    assert (again.changes, again.calls, again.undo, again.lost) == ((), (), (), ())
    assert verify(again, aws).verdict is Verdict.PROVEN


@pytest.mark.parametrize(
    "id",
    [
        NAME,
        f"{NAME}:live",
        f"arn:aws:lambda:us-east-1:123456789012:function:{NAME}",
        f"arn:aws:lambda:us-east-1:123456789012:function:{NAME}:7",
        f"123456789012:function:{NAME}",
    ],
)
def test_function_is_found_by_whatever_names_it(id: str) -> None:
    assert _function.name_of(id) == NAME


def test_plan_says_who_will_feel_it_in_numbers(functions: Any, aws: Aws) -> None:
    furnish(functions)
    functions.add_permission(
        FunctionName=NAME,
        StatementId="uploads",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/Lambda",
        MetricData=[
            {
                "MetricName": "Invocations",
                "Dimensions": [{"Name": "FunctionName", "Value": NAME}],
                "Timestamp": LONG_AGO - timedelta(hours=2),
                "Value": 4321,
            }
        ],
    )

    plan = planned(aws)

    told = "\n".join(plan.blast_radius)
    assert f"{NAME} was invoked 4321 times in the last 24 h" in told
    assert "its resource policy lets s3.amazonaws.com call it (1 statement)" in told
    assert "its aliases stop too (1): live" in told
    assert "not read, and filling up: 1 event source, arn:aws:sqs:" in told
    assert "its 50 reserved executions join 950 unreserved ones" in told
    assert "invocations that run go on to their end, 60 s at most" in told
    assert "as role/thumbnails work on" in told


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("ListEventSourceMappings", "event sources"),
        ("ListFunctionUrlConfigs", "function URLs"),
        ("ListProvisionedConcurrencyConfigs", "provisioned concurrency"),
    ],
)
def test_what_may_not_be_listed_stops_no_freeze_and_is_said(
    functions: Any, aws: Aws, lab: EmulatedAws, operation: str, what: str
) -> None:
    fail(lab, operation, code="AccessDeniedException", status=403, times=9)

    plan = planned(aws)
    apply(plan, aws)

    assert what in [check.name for check in plan.preflight if not check.ok]
    assert state_of_concurrency(functions) == 0


def test_copies_at_the_edge_are_a_task(functions: Any, aws: Aws) -> None:
    arn = functions.get_function(FunctionName=NAME)["Configuration"]["FunctionArn"]
    item = {"EventType": "viewer-request", "LambdaFunctionARN": f"{arn}:3"}
    behavior = {"LambdaFunctionAssociations": {"Quantity": 1, "Items": [item]}}
    serving = {"Id": "E1", "DefaultCacheBehavior": behavior}
    aws.client("cloudfront").meta.events.register(
        "after-call.cloudfront.ListDistributions",
        lambda parsed, **_: parsed["DistributionList"].update(Items=[serving, {"Id": "E2"}]),
    )

    (task,) = planned(aws).tasks

    assert "run on in 1 CloudFront distribution: E1: CloudFront, the distribution" in task


def state_of_concurrency(functions: Any) -> Any:
    return functions.get_function_concurrency(FunctionName=NAME)["ReservedConcurrentExecutions"]


def on_code(aws: Aws, code: dict[str, str]) -> None:
    on_answer(aws, "GetFunction", lambda answer: answer.update(Code=code))


def on_answer(aws: Aws, operation: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Let AWS answer otherwise, where the emulator cannot."""
    aws.client("lambda").meta.events.register(
        f"after-call.lambda.{operation}",
        lambda parsed, **_: change(parsed) if "Error" not in parsed else None,
    )
