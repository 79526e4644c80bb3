"""Snapshots on their way to a forensic account: keys, shares, copies, locks, and failures."""

import json
import time
from typing import Any

import boto3
import pytest

from activities.aws import _custody, _keys, _snapshots, snapshot_volumes
from activities.aws.snapshot_volumes import ACTION, apply, verify
from firedoor import evidence
from firedoor.action import NoParams
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws
from firedoor.lab.scene import IMAGE, Scene
from firedoor.lab.server import ACCOUNT, REGION, EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Proof, Receipt, Target, Verdict
from firedoor.settings import settings
from firedoor.testing import NOW

FORENSIC = "210987654321"
GRANTEE = f"arn:aws:iam::{FORENSIC}:role/firedoor"


@pytest.fixture
def here(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """Clients of the account of the scene, which know of a forensic account with a key."""
    monkeypatch.setenv("FIREDOOR_AWS_ROLE", "firedoor")
    monkeypatch.setenv("FIREDOOR_FORENSIC_ACCOUNT", FORENSIC)
    monkeypatch.setenv("FIREDOOR_FORENSIC_KEY", "alias/evidence")
    monkeypatch.setenv("FIREDOOR_SHARING_KEY", "alias/sharing")
    settings.cache_clear()
    cloud.forget()
    _key(boto3.client("kms"), "alias/sharing")
    _key(_forensic_client("kms"), "alias/evidence")
    return cloud.connect(ACCOUNT, REGION, incident="incident/1")


@pytest.fixture
def there(here: Aws) -> Aws:
    return here.elsewhere(account=FORENSIC)


def _forensic_client(service: str) -> Any:
    given = boto3.client("sts").assume_role(RoleArn=GRANTEE, RoleSessionName="test")["Credentials"]
    return boto3.client(
        service,
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def _key(kms: Any, alias: str = "") -> str:
    key = kms.create_key()["KeyMetadata"]
    if alias:
        kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    return str(key["Arn"])


def instance(*volumes: dict[str, Any]) -> tuple[str, list[str]]:
    """Run an instance with just these volumes, and return its id and theirs."""
    ec2 = boto3.client("ec2")
    id = ec2.run_instances(ImageId=IMAGE, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    attached = [{"Name": "attachment.instance-id", "Values": [id]}]
    for root in ec2.describe_volumes(Filters=attached)["Volumes"]:
        ec2.detach_volume(VolumeId=root["VolumeId"], InstanceId=id)
    ids = []
    for number, volume in enumerate(volumes):
        made = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1, **volume)["VolumeId"]
        ec2.attach_volume(VolumeId=made, InstanceId=id, Device=f"/dev/sd{'fghij'[number]}")
        ids.append(made)
    return id, ids


def planned(id: str, aws: Aws) -> Plan:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, kind=Kind.INSTANCE, id=id
    )
    target = Target(subject=subject, incident="incident/1", step="snapshot", at=NOW)
    (plan,) = snapshot_volumes.plan(target, NoParams(), aws)
    return plan


def follow(plan: Plan, aws: Aws, rounds: int = 8) -> tuple[list[Receipt], Proof]:
    """Apply and verify by turns, as an incident does, until it is settled."""
    receipts = [apply(plan, aws)]
    while (proof := verify(plan, aws)).verdict is Verdict.PENDING and len(receipts) < rounds:
        receipts.append(apply(plan, aws))
    return receipts, proof


def made(receipts: list[Receipt]) -> list[tuple[str, str]]:
    return [(c.operation, c.account) for receipt in receipts for c in receipt.calls]


def manifest(proof: Proof) -> dict[str, Any]:
    return dict(json.loads(evidence.fetch(proof.evidence[-1].uri)))


def own_snapshots(aws: Aws) -> list[dict[str, Any]]:
    return list(aws.client("ec2").describe_snapshots(OwnerIds=["self"])["Snapshots"])


def shares(aws: Aws, plan: Plan) -> list[str]:
    found = _snapshots.found(plan.target, aws)
    return [s["SnapshotId"] for s in found if _snapshots.is_shared(s["SnapshotId"], FORENSIC, aws)]


def preflight(plan: Plan) -> dict[str, tuple[bool, str]]:
    return {check.name: (check.ok, check.detail) for check in plan.preflight}


def tag(id: str, name: str, value: str) -> None:
    boto3.client("ec2").create_tags(Resources=[id], Tags=[{"Key": name, "Value": value}])


def fail(lab: EmulatedAws, operation: str, service: str = "ec2", **fault: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": service, "operation": operation, **fault})


DENIED = {"code": "UnauthorizedOperation", "status": 403}


def test_set_is_copied_to_the_forensic_account_under_its_own_key(here: Aws, there: Aws) -> None:
    own = _key(boto3.client("kms"))
    id, (plain, encrypted) = instance({}, {"Encrypted": True, "KmsKeyId": own})
    plan = planned(id, here)

    _, proof = follow(plan, here)

    assert proof.verdict is Verdict.PROVEN
    theirs = there.client("kms").describe_key(KeyId="alias/evidence")["KeyMetadata"]["Arn"]
    copies = own_snapshots(there)
    assert [(c["Encrypted"], c["KmsKeyId"], c["State"]) for c in copies] == [
        (True, theirs, "completed"),
        (True, theirs, "completed"),
    ]
    volumes = {one["volume"]: one["forensic copy"]["id"] for one in manifest(proof)["volumes"]}
    assert volumes.keys() == {plain, encrypted}
    assert set(volumes.values()) == {c["SnapshotId"] for c in copies}
    assert len(proof.evidence) == 5  # two snapshots, two copies, the manifest


def test_every_call_that_is_made_was_planned_in_its_account(here: Aws) -> None:
    id, _ = instance({"Encrypted": True, "KmsKeyId": _key(boto3.client("kms"))})
    plan = planned(id, here)

    receipts, _ = follow(plan, here)

    calls = [
        ("CreateSnapshots", ACCOUNT),
        ("CreateGrant", ACCOUNT),
        ("ModifySnapshotAttribute", ACCOUNT),
        ("CopySnapshot", FORENSIC),
        ("ModifySnapshotAttribute", ACCOUNT),
        ("RevokeGrant", ACCOUNT),
    ]
    assert [(call.operation, call.account or ACCOUNT) for call in plan.calls] == calls
    assert made(receipts) == calls


def test_share_and_grant_are_taken_back_when_the_copy_is_made(here: Aws) -> None:
    own = _key(boto3.client("kms"))
    id, _ = instance({"Encrypted": True, "KmsKeyId": own})
    plan = planned(id, here)

    apply(plan, here)
    open_before = (shares(here, plan) != [], _keys.found(plan.target, own, here) is not None)
    _, proof = follow(plan, here)

    assert open_before == (True, True)
    assert (shares(here, plan), _keys.found(plan.target, own, here)) == ([], None)
    (closed,) = [c for c in proof.checks if c.name == "nothing is shared any more"]
    assert closed.ok


def test_what_aws_own_key_encrypts_is_copied_under_one_that_can_be_shared_first(
    here: Aws, there: Aws
) -> None:
    id, (volume,) = instance({"Encrypted": True})
    plan = planned(id, here)

    receipts, proof = follow(plan, here)

    sharing = here.client("kms").describe_key(KeyId="alias/sharing")["KeyMetadata"]["Arn"]
    assert proof.verdict is Verdict.PROVEN
    assert [one for one in made(receipts) if one[0] == "CopySnapshot"] == [
        ("CopySnapshot", ACCOUNT),
        ("CopySnapshot", FORENSIC),
    ]
    (entry,) = manifest(proof)["volumes"]
    assert entry["volume"] == volume
    assert entry["copy under a key that can be shared"]["key"] == sharing
    assert len(own_snapshots(there)) == 1


def test_grant_is_on_the_key_itself_as_it_takes_no_alias(here: Aws) -> None:
    id, _ = instance({"Encrypted": True})

    (grant,) = [call for call in planned(id, here).calls if call.operation == "CreateGrant"]

    assert str(grant.parameters["KeyId"]).startswith("arn:aws:kms:us-east-1:123456789012:key/")
    assert grant.parameters["GranteePrincipal"] == GRANTEE


def test_without_a_sharing_key_the_snapshot_is_taken_and_stays(
    here: Aws, there: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FIREDOOR_SHARING_KEY")
    settings.cache_clear()
    id, (_, default) = instance({}, {"Encrypted": True})
    plan = planned(id, here)

    _, proof = follow(plan, here)

    ok, why = preflight(plan)[f"copy of {default}"]
    assert (ok, "set FIREDOOR_SHARING_KEY" in why) == (False, True)
    assert plan.summary.endswith(f"and copy 1 of them to account {FORENSIC}.")
    assert proof.verdict is Verdict.PROVEN
    assert len(own_snapshots(there)) == 1


def test_what_the_marketplace_sells_cannot_be_shared_and_stays(here: Aws, there: Aws) -> None:
    id, (volume,) = instance({})
    tag(volume, "lab:product-code", "abc123")
    plan = planned(id, here)

    _, proof = follow(plan, here)

    assert "Marketplace" in preflight(plan)[f"copy of {volume}"][1]
    assert (proof.verdict, own_snapshots(there)) == (Verdict.PROVEN, [])


@pytest.mark.parametrize("lacking", ["FIREDOOR_FORENSIC_KEY", "FIREDOOR_AWS_ROLE"])
def test_set_up_that_lacks_something_takes_the_set_all_the_same(
    lacking: str, here: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(lacking)
    settings.cache_clear()
    id, _ = instance({})

    plan = planned(id, here)

    assert [call.operation for call in plan.calls] == ["CreateSnapshots"]
    assert lacking in preflight(plan)[f"copies in account {FORENSIC}"][1]


def test_forensic_account_itself_copies_nothing(here: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREDOOR_FORENSIC_ACCOUNT", ACCOUNT)
    settings.cache_clear()
    id, _ = instance({})

    assert [call.operation for call in planned(id, here).calls] == ["CreateSnapshots"]


def test_copy_waits_for_its_snapshot_and_nobody_waits_meanwhile(here: Aws, there: Aws) -> None:
    id, (volume,) = instance({})
    tag(volume, "lab:seconds", "0.5")
    plan = planned(id, here)

    first = apply(plan, here)
    before = (verify(plan, here).verdict, own_snapshots(there))
    time.sleep(0.5)
    second = apply(plan, here)
    copying = verify(plan, here)
    time.sleep(0.5)
    apply(plan, here)

    assert made([first]) == [("CreateSnapshots", ACCOUNT)]
    assert before == (Verdict.PENDING, [])
    assert ("CopySnapshot", FORENSIC) in made([second])
    assert copying.verdict is Verdict.PENDING
    assert verify(plan, here).verdict is Verdict.PROVEN


def test_forensic_account_is_not_asked_before_there_is_something_to_copy(
    here: Aws, lab: EmulatedAws
) -> None:
    own = _key(boto3.client("kms"))
    id, (volume,) = instance({"Encrypted": True, "KmsKeyId": own})
    tag(volume, "lab:seconds", "60")
    plan = planned(id, here)
    cloud.forget()
    fail(lab, "AssumeRole", "sts", times=50, code="AccessDenied", status=403)

    receipt = apply(plan, here)

    assert [call.operation for call in receipt.calls] == ["CreateSnapshots", "CreateGrant"]
    assert receipt.evidence == ()  # it is not settled: nothing has failed


def test_too_many_copies_at_once_are_waited_for(here: Aws, there: Aws, lab: EmulatedAws) -> None:
    id, _ = instance({}, {})
    plan = planned(id, here)
    fail(lab, "CopySnapshot", code="ResourceLimitExceeded", status=400)

    _, proof = follow(plan, here)

    assert proof.verdict is Verdict.PROVEN
    assert len(own_snapshots(there)) == 2


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("ec2", "CreateSnapshots"),
        ("kms", "CreateGrant"),
        ("ec2", "ModifySnapshotAttribute"),
        ("ec2", "CopySnapshot"),
        ("ec2", "LockSnapshot"),
        ("kms", "RevokeGrant"),
    ],
)
def test_call_whose_answer_was_lost_is_not_made_again(
    service: str, operation: str, here: Aws, there: Aws, lab: EmulatedAws, lock: None
) -> None:
    id, _ = instance({"Encrypted": True, "KmsKeyId": _key(boto3.client("kms"))})
    plan = planned(id, here)
    fail(lab, operation, service, kind="lost")

    receipts: list[Receipt] = []
    if operation == "CreateSnapshots":
        with pytest.raises(Exception, match="ConnectionClosedError"):
            apply(plan, here)
    further, proof = follow(plan, here)

    assert proof.verdict is Verdict.PROVEN
    planned_calls = [call.operation for call in plan.calls]
    expected = planned_calls.count(operation)
    times = [name for name, _ in made([*receipts, *further])].count(operation)
    assert times == (0 if operation == "CreateSnapshots" else expected)
    assert len(own_snapshots(there)) == 1


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch, here: Aws) -> None:
    monkeypatch.setenv("FIREDOOR_SNAPSHOT_LOCK", "governance")
    settings.cache_clear()


def test_copy_is_locked_in_the_forensic_account(here: Aws, there: Aws, lock: None) -> None:
    id, _ = instance({})
    plan = planned(id, here)

    _, proof = follow(plan, here)

    (copy,) = own_snapshots(there)
    (held,) = there.client("ec2").describe_locked_snapshots()["Snapshots"]
    assert (held["SnapshotId"], held["LockState"]) == (copy["SnapshotId"], "governance")
    assert here.client("ec2").describe_locked_snapshots()["Snapshots"] == []
    assert "locked, governance" in proof.checks[0].detail


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("kms", "CreateGrant"),
        ("ec2", "ModifySnapshotAttribute"),
        ("ec2", "CopySnapshot"),
        ("ec2", "LockSnapshot"),
    ],
)
def test_stage_that_fails_takes_nothing_back_and_is_in_the_manifest(
    service: str, operation: str, here: Aws, lab: EmulatedAws, lock: None
) -> None:
    id, (encrypted, plain) = instance(
        {"Encrypted": True, "KmsKeyId": _key(boto3.client("kms"))}, {}
    )
    plan = planned(id, here)
    fail(lab, operation, service, times=9 if service == "kms" else 2, **DENIED)

    receipts, proof = follow(plan, here)

    assert proof.verdict is Verdict.UNPROVEN
    assert encrypted in manifest(proof)["problems"]
    assert len(receipts[0].created) == 2
    assert {e.name for e in proof.evidence} >= {f"snapshot of {encrypted}", f"snapshot of {plain}"}
    assert shares(here, plan) == []
    assert all(_keys.found(plan.target, key, here) is None for key in _custody.of(plan).keys)


def test_forensic_account_that_lets_us_not_in_keeps_the_set(here: Aws, lab: EmulatedAws) -> None:
    id, (volume,) = instance({})
    fail(lab, "AssumeRole", "sts", times=50, code="AccessDenied", status=403)
    plan = planned(id, here)

    _, proof = follow(plan, here)

    ok, why = preflight(plan)[f"copies in account {FORENSIC}"]
    assert (ok, "cannot act as role firedoor" in why) == (False, True)
    assert proof.verdict is Verdict.UNPROVEN
    assert "cannot act as role firedoor" in manifest(proof)["problems"][volume]
    assert [entry.name for entry in proof.evidence] == [
        f"snapshot of {volume}",
        "snapshots-manifest.json",
    ]


def test_copy_that_ends_in_error_is_tried_again_but_not_for_ever(
    here: Aws, there: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREDOOR_FORENSIC_KEY", "alias/missing")
    settings.cache_clear()
    id, (volume,) = instance({})
    plan = planned(id, here)

    _, proof = follow(plan, here)

    assert [one["State"] for one in own_snapshots(there)] == ["error"] * 3
    assert proof.verdict is Verdict.UNPROVEN
    assert "copying failed 3 times: Given key ID" in manifest(proof)["problems"][volume]
    assert shares(here, plan) == []


def test_copy_is_not_begun_before_the_grant_is_in_force(
    here: Aws, there: Aws, lab: EmulatedAws
) -> None:
    id, _ = instance({"Encrypted": True, "KmsKeyId": _key(boto3.client("kms"))})
    plan = planned(id, here)
    fail(lab, "DescribeKey", "kms", code="AccessDeniedException", status=400)

    first = apply(plan, here)
    waiting = own_snapshots(there)
    _, proof = follow(plan, here)

    assert ("CopySnapshot", FORENSIC) not in made([first])
    assert waiting == []
    assert proof.verdict is Verdict.PROVEN
    assert len(own_snapshots(there)) == 1  # none that ended in error


def test_grant_that_never_comes_into_force_is_given_up(
    here: Aws, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_keys, "IN_FORCE", -_keys.IN_FORCE)
    id, (volume,) = instance({"Encrypted": True, "KmsKeyId": _key(boto3.client("kms"))})
    plan = planned(id, here)
    fail(lab, "DescribeKey", "kms", code="AccessDeniedException", status=400, times=9)

    _, proof = follow(plan, here)

    assert proof.verdict is Verdict.UNPROVEN
    assert "has no effect" in manifest(proof)["problems"][volume]


def test_settled_set_is_left_alone(here: Aws) -> None:
    id, _ = instance({})
    plan = planned(id, here)
    (first, *_), _ = follow(plan, here)

    again = apply(plan, here)

    assert (again.calls, len(again.evidence)) == ((), 1)
    assert again.created == first.created


def test_every_call_has_its_permission(here: Aws, there: Aws, lock: None) -> None:
    called: set[str] = set()

    def note(model: Any, **_: Any) -> None:
        called.add(f"{model.service_model.signing_name}:{model.name}")

    for aws in (here, there):
        for service in ("ec2", "kms", "ebs"):
            aws.client(service).meta.events.register("before-call", note)
    id, _ = instance({"Encrypted": True})
    plan = planned(id, here)
    reads = set(called)
    called.clear()
    follow(plan, here)

    assert reads - set(ACTION.permissions.plan) == set()
    assert called - set(ACTION.permissions.apply) == set()
