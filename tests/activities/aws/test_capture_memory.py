"""Dumping memory, against an emulated Systems Manager that runs nothing."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import boto3
import pytest

from activities.aws import capture_memory
from activities.aws.capture_memory import ACTION, Params, apply, verify
from firedoor import evidence
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.action import Barrier
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Receipt, Target, Verdict
from firedoor.settings import settings
from firedoor.testing import NOW

MEMORY = b"what was in memory"
SHA256 = hashlib.sha256(MEMORY).hexdigest()
AGENT = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"


@pytest.fixture
def ready(scene: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The scene with an agent on the web server, a tool and a bucket with Object Lock."""
    boto3.client("iam").attach_role_policy(RoleName=scene.role_name, PolicyArn=AGENT)
    boto3.client("s3").create_bucket(Bucket="example-memory", ObjectLockEnabledForBucket=True)
    set_up(
        monkeypatch,
        MEMORY="s3://example-memory/kept/",
        MEMORY_TOOL="s3://example-tools/avml",
        MEMORY_TOOL_SHA256="0" * 64,
    )
    return scene


def set_up(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"FIREDOOR_{name}", value)
    settings.cache_clear()


def planned(id: str, aws: Aws, **params: Any) -> Plan:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, kind=Kind.INSTANCE, id=id
    )
    target = Target(subject=subject, incident="incident/1", step="memory", at=NOW)
    (plan,) = capture_memory.plan(target, Params.model_validate(params), aws)
    return plan


def say(id: str, **tags: str) -> None:
    """Let the emulated agent or command be so."""
    listed = [{"Key": f"lab:{name}", "Value": value} for name, value in tags.items()]
    boto3.client("ec2").create_tags(Resources=[id], Tags=listed)


def stored(plan: Plan, content: bytes = MEMORY, **lock: Any) -> None:
    """Do what the command does: store the memory, and print its hash and size."""
    dump = capture_memory._dump(plan)
    bucket, key = dump.uri.removeprefix("s3://").split("/", 1)
    boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=content, **lock)
    say(plan.target.subject.id, stdout=f"firedoor-memory sha256={SHA256} size={len(MEMORY)}")


def policies(scene: Scene) -> list[str]:
    names = boto3.client("iam").list_role_policies(RoleName=scene.role_name)["PolicyNames"]
    return [name for name in names if name.startswith("firedoor")]


def commands() -> list[dict[str, Any]]:
    return list(boto3.client("ssm").list_commands()["Commands"])


def document(receipt: Receipt) -> dict[str, Any]:
    return dict(json.loads(evidence.fetch(receipt.evidence[0].uri)))


def test_plan_holds_the_right_the_command_and_the_end_of_the_right(ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws)

    assert [call.operation for call in plan.calls] == [
        "PutRolePolicy",
        "SendCommand",
        "DeleteRolePolicy",
    ]
    assert plan.calls[1].parameters["DocumentName"] == "AWS-RunShellScript"
    assert plan.summary == f"Dump the memory of {ready.web_id}, for at most 10 minutes."
    assert ACTION.barrier is Barrier.ENDED


def test_role_that_is_given_a_right_can_be_protected(ready: Scene, aws: Aws) -> None:
    tag = {"Key": "firedoor:protected", "Value": "yes"}
    boto3.client("iam").tag_role(RoleName=ready.role_name, Tags=[tag])

    touched = planned(ready.web_id, aws).touched

    assert touched.resources[f"role/{ready.role_name}"]["firedoor:protected"] == "yes"
    assert ready.web_id in touched.resources


def test_right_is_for_this_instance_this_place_and_a_day(ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws)

    fetch, store = json.loads(str(plan.calls[0].parameters["PolicyDocument"]))["Statement"]
    assert fetch["Action"] == "s3:GetObject"
    assert fetch["Resource"] == "arn:aws:s3:::example-tools/avml"
    assert store["Resource"].startswith(
        f"arn:aws:s3:::example-memory/kept/123456789012/{ready.web_id}/firedoor-memory-"
    )
    here = f"arn:aws:ec2:us-east-1:123456789012:instance/{ready.web_id}"
    until = f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    assert store["Condition"] == {
        "ArnEquals": {"ec2:SourceInstanceARN": here},
        "DateLessThan": {"aws:CurrentTime": until},
    }


def test_no_secret_is_in_what_is_sent(ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws)

    receipt = apply(plan, aws)

    said = receipt.model_dump_json() + json.dumps(commands(), default=str)
    assert not [
        word for word in ("AKIA", "ASIA", "X-Amz-Signature", "SessionToken") if word in said
    ]


def test_memory_that_is_stored_is_proven_with_its_hash(ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws)
    stored(plan, ObjectLockLegalHoldStatus="ON")

    first, pending = apply(plan, aws), verify(plan, aws)
    second, proof = apply(plan, aws), verify(plan, aws)

    assert pending.verdict is Verdict.PENDING
    assert [call.operation for call in (*first.calls, *second.calls)] == [
        "PutRolePolicy",
        "SendCommand",
        "DeleteRolePolicy",
    ]
    assert proof.verdict is Verdict.PROVEN
    memory = proof.evidence[1]
    assert (memory.sha256, memory.size) == (SHA256, len(MEMORY))
    assert memory.uri.endswith("/memory.lime")
    assert [c.detail for c in proof.checks if c.name == "Object Lock"] == ["legal hold"]
    assert policies(ready) == []


def test_memory_that_is_not_locked_is_proven_and_said_to_be_open(ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws)
    stored(plan)
    apply(plan, aws)
    apply(plan, aws)

    proof = verify(plan, aws)

    assert proof.verdict is Verdict.PROVEN
    (lock,) = [check for check in proof.checks if check.name == "Object Lock"]
    assert (lock.ok, lock.detail.endswith("is not locked")) == (False, True)


@pytest.mark.parametrize("content", [b"less", None], ids=["another size", "nothing"])
def test_memory_that_is_not_there_is_unproven(
    content: bytes | None, ready: Scene, aws: Aws
) -> None:
    plan = planned(ready.web_id, aws)
    if content:
        stored(plan, content)
    say(ready.web_id, stdout=f"firedoor-memory sha256={SHA256} size={len(MEMORY)}")
    apply(plan, aws)
    apply(plan, aws)

    assert verify(plan, aws).verdict is Verdict.UNPROVEN


def test_command_under_way_is_pending_and_keeps_its_right(ready: Scene, aws: Aws) -> None:
    say(ready.web_id, seconds="60")
    plan = planned(ready.web_id, aws)

    apply(plan, aws)
    again, proof = apply(plan, aws), verify(plan, aws)

    assert (again.calls, proof.verdict) == ((), Verdict.PENDING)
    assert proof.checks[0].detail.endswith("InProgress")
    assert len(policies(ready)) == 1


@pytest.mark.parametrize(
    ("status", "code", "why"),
    [
        ("Failed", "12", "the tool is not the one that is pinned: its SHA-256 is another"),
        ("Failed", "99", "Failed, exit status 99"),
        ("TimedOut", "-1", "it did not end within 600 seconds"),
        ("Success", "0", "Success, exit status 0"),
    ],
)
def test_command_that_gives_no_dump_is_unproven_with_the_reason(
    status: str, code: str, why: str, ready: Scene, aws: Aws
) -> None:
    say(ready.web_id, status=status, code=code)
    plan = planned(ready.web_id, aws)
    apply(plan, aws)
    receipt = apply(plan, aws)

    proof = verify(plan, aws)

    assert proof.verdict is Verdict.UNPROVEN
    assert document(receipt)["problems"] == [why]
    assert why in [check.detail for check in proof.checks]
    assert policies(ready) == []


def test_command_that_never_ends_is_given_up(
    ready: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(ready.web_id, seconds="600")
    plan = planned(ready.web_id, aws, limit="1m")
    apply(plan, aws)
    monkeypatch.setattr(capture_memory, "SLACK", -timedelta(minutes=10))

    receipt = apply(plan, aws)

    assert document(receipt)["problems"] == ["it did not end within 60 seconds"]
    assert verify(plan, aws).verdict is Verdict.UNPROVEN
    assert policies(ready) == []


@pytest.mark.parametrize("operation", ["PutRolePolicy", "SendCommand", "DeleteRolePolicy"])
def test_call_whose_answer_was_lost_is_not_made_again(
    operation: str, ready: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(ready.web_id, aws)
    stored(plan)
    service = "ssm" if operation == "SendCommand" else "iam"
    fault = {"service": service, "operation": operation, "kind": "lost"}
    if operation == "DeleteRolePolicy":
        apply(plan, aws)
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(Unavailable):
        apply(plan, aws)
    made = [call.operation for _ in range(2) for call in apply(plan, aws).calls]

    assert operation not in made
    assert len(commands()) == 1
    assert verify(plan, aws).verdict is Verdict.PROVEN


def test_command_that_cannot_be_sent_leaves_no_right_behind(ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws)
    say(ready.web_id, ping="ConnectionLost")

    with pytest.raises(CloudError, match="InvalidInstanceId"):
        apply(plan, aws)

    assert policies(ready) == []


def test_right_that_cannot_be_taken_away_is_said_to_end_by_itself(
    ready: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(ready.web_id, aws)
    stored(plan)
    apply(plan, aws)
    fault = {"code": "AccessDenied", "status": 403}
    lab.control(
        "POST", "firedoor/faults", {"service": "iam", "operation": "DeleteRolePolicy", **fault}
    )

    receipt = apply(plan, aws)

    (problem,) = document(receipt)["problems"]
    assert problem.startswith(f"role {ready.role_name} may store until 20")
    assert verify(plan, aws).verdict is Verdict.UNPROVEN


def test_settled_capture_is_left_alone(ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws)
    stored(plan)
    apply(plan, aws)
    settled = apply(plan, aws)

    again = apply(plan, aws)

    assert (again.calls, again.evidence) == ((), settled.evidence)


@pytest.mark.parametrize("limit", [0, "0m"])
def test_limit_of_zero_skips_it(limit: int | str, ready: Scene, aws: Aws) -> None:
    plan = planned(ready.web_id, aws, limit=limit)

    receipt, proof = apply(plan, aws), verify(plan, aws)

    assert plan.summary == "No memory is captured: skipped by policy: its limit is 0."
    assert (plan.refusals, receipt.calls, proof.evidence) == ((), (), ())
    assert proof.verdict is Verdict.PROVEN


def test_without_a_tool_it_is_refused_and_says_which_setting(
    ready: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIREDOOR_MEMORY_TOOL")
    settings.cache_clear()

    assert planned(ready.web_id, aws).refusals == (
        "no memory tool is set up for Linux: set FIREDOOR_MEMORY_TOOL and"
        " FIREDOOR_MEMORY_TOOL_SHA256",
    )


def test_windows_has_a_tool_of_its_own(
    ready: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(ready.web_id, platform="Windows")

    refused = planned(ready.web_id, aws)
    set_up(
        monkeypatch,
        MEMORY_TOOL_WINDOWS="s3://example-tools/winpmem.exe",
        MEMORY_TOOL_WINDOWS_SHA256="1" * 64,
    )
    plan = planned(ready.web_id, aws)

    assert "FIREDOOR_MEMORY_TOOL_WINDOWS" in refused.refusals[0]
    assert plan.calls[1].parameters["DocumentName"] == "AWS-RunPowerShellScript"


def test_without_a_place_it_is_refused(
    ready: Scene, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIREDOOR_MEMORY")
    settings.cache_clear()

    refused = planned(ready.web_id, aws)
    set_up(monkeypatch, EVIDENCE="s3://example-memory/kept")
    plan = planned(ready.web_id, aws)

    assert "set FIREDOOR_MEMORY" in refused.refusals[0]
    assert capture_memory._dump(plan).place.startswith("s3://example-memory/kept/memory/1234")


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"ping": "ConnectionLost"}, "is ConnectionLost, last seen 20"),
        ({"platform": "MacOS"}, "runs MacOS: dump its memory by hand"),
    ],
)
def test_agent_that_cannot_be_used_is_a_refusal(
    tags: dict[str, str], why: str, ready: Scene, aws: Aws
) -> None:
    say(ready.web_id, **tags)

    (refusal,) = planned(ready.web_id, aws).refusals

    assert why in refusal


def test_instance_that_is_not_managed_is_refused(ready: Scene, aws: Aws) -> None:
    (refusal,) = planned(ready.app_id, aws).refusals

    assert refusal == (f"{ready.app_id} is not managed by Systems Manager: dump its memory by hand")


def test_instance_that_is_gone_is_said_to_be(ready: Scene, aws: Aws) -> None:
    plan = planned("i-0123456789abcdef0", aws)

    assert (plan.gone, plan.calls) == (True, ())


def test_command_is_found_again_among_others(ready: Scene, aws: Aws) -> None:
    boto3.client("ssm").send_command(
        InstanceIds=[ready.web_id],
        DocumentName="AWS-RunShellScript",
        Parameters={"commands": ["true"]},
    )
    plan = planned(ready.web_id, aws)
    stored(plan)

    apply(plan, aws)
    apply(plan, aws)

    assert len(commands()) == 2
    assert verify(plan, aws).verdict is Verdict.PROVEN


def test_every_call_has_its_permission(ready: Scene, aws: Aws) -> None:
    called: set[str] = set()

    def note(model: Any, **_: Any) -> None:
        called.add(f"{model.service_model.signing_name}:{model.name}")

    for service in ("ec2", "iam", "ssm"):
        aws.client(service).meta.events.register("before-call", note)
    plan = planned(ready.web_id, aws)
    reads = set(called)
    called.clear()
    apply(plan, aws)
    verify(plan, aws)
    apply(plan, aws)

    assert reads - set(ACTION.permissions.plan) == set()
    assert called - set(ACTION.permissions.apply) == set()
