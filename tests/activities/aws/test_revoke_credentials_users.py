"""Every kind of credential that a user has: turned off, put back, and told of."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from activities.aws import _trail, revoke_credentials
from activities.aws._denials import everything as everything_is_denied
from activities.aws.revoke_credentials import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, PlanStale, Throttled, Unavailable
from firedoor.lab.policy import Decision, decide
from firedoor.lab.scene import Scene
from firedoor.lab.server import ACCOUNT, EmulatedAws
from firedoor.model.finding import Cloud, Principal, PrincipalType
from firedoor.model.plan import Plan, Proof, Target, Verdict

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(hours=2)
MFA = f"arn:aws:iam::{ACCOUNT}:mfa/phone"


@pytest.fixture(autouse=True)
def _quickly(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing, in an account that has one region only."""
    monkeypatch.setattr(revoke_credentials, "SETTLE", ())
    monkeypatch.setattr(_trail, "PAUSE", 0.0)
    only = {"Regions": [{"RegionName": aws.region}]}

    def regions(**_: Any) -> Any:
        return AWSResponse("", 200, {}, None), only

    aws.client("ec2").meta.events.register("before-call.ec2.DescribeRegions", regions)


@pytest.fixture
def iam(scene: Scene) -> Any:
    """The clients of somebody else, who changes what they like."""
    return boto3.client("iam")


@pytest.fixture
def credentials(iam: Any) -> list[str]:
    """One more of each kind for alice: for one service, for SSH, for signing; in this order."""
    service = iam.create_service_specific_credential(
        UserName="alice", ServiceName="codecommit.amazonaws.com"
    )["ServiceSpecificCredential"]["ServiceSpecificCredentialId"]
    ssh = iam.upload_ssh_public_key(UserName="alice", SSHPublicKeyBody="ssh-rsa AAAA alice")
    signing = iam.upload_signing_certificate(UserName="alice", CertificateBody=certificate())
    return [
        service,
        ssh["SSHPublicKey"]["SSHPublicKeyId"],
        signing["Certificate"]["CertificateId"],
    ]


def certificate() -> str:
    key, name = ec.generate_private_key(ec.SECP256R1()), "alice.example.com"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def planned(aws: Aws, at: datetime = LONG_AGO, **params: Any) -> Plan:
    alice = Principal(
        cloud=Cloud.AWS,
        account=ACCOUNT,
        type=PrincipalType.USER,
        name="alice",
        id="user/alice",
    )
    target = Target(subject=alice, incident="incident/1", step="revoke", at=at)
    (plan,) = revoke_credentials.plan(target, Params(**params), aws)
    return plan


def everything(iam: Any) -> dict[str, Any]:
    """Read all that IAM knows of alice."""
    own = {"UserName": "alice"}
    names = iam.list_user_policies(**own)["PolicyNames"]
    return {
        "keys": iam.list_access_keys(**own)["AccessKeyMetadata"],
        "service": iam.list_service_specific_credentials(**own)["ServiceSpecificCredentials"],
        "ssh": iam.list_ssh_public_keys(**own)["SSHPublicKeys"],
        "signing": iam.list_signing_certificates(**own)["Certificates"],
        "mfa": iam.list_mfa_devices(**own)["MFADevices"],
        "policies": {
            name: iam.get_user_policy(**own, PolicyName=name)["PolicyDocument"] for name in names
        },
    }


def statuses(iam: Any) -> dict[str, set[str]]:
    kinds = ("keys", "service", "ssh", "signing")
    return {kind: {one["Status"] for one in everything(iam)[kind]} for kind in kinds}


def enrol(iam: Any) -> None:
    iam.enable_mfa_device(
        UserName="alice",
        SerialNumber=MFA,
        AuthenticationCode1="123456",
        AuthenticationCode2="654321",
    )


def residual(proof: Proof, credential: str) -> tuple[str, datetime | None, bool]:
    (found,) = (one for one in proof.residual if one.credential == credential)
    return found.state, found.until, found.open


def test_every_kind_of_credential_is_turned_off_and_put_back_exactly(
    iam: Any, credentials: list[str], aws: Aws
) -> None:
    before = everything(iam)
    plan = planned(aws)

    apply(plan, aws)
    during, proof = statuses(iam), verify(plan, aws)
    revert(plan, aws)

    off = {"Inactive"}
    assert during == {"keys": off, "service": off, "ssh": off, "signing": off}
    assert proof.verdict is Verdict.PROVEN
    assert everything(iam) == before
    assert [call.operation for call in plan.calls] == [
        "PutUserPolicy",
        "UpdateAccessKey",
        "UpdateServiceSpecificCredential",
        "UpdateSSHPublicKey",
        "UpdateSigningCertificate",
    ]


def test_rotation_leaves_every_kind_off(iam: Any, credentials: list[str], aws: Aws) -> None:
    plan = planned(aws, rotate=True)
    apply(plan, aws)

    receipt = revert(plan, aws)

    assert set.union(*statuses(iam).values()) == {"Inactive"}
    assert len(plan.lost) == len(receipt.left) == 4


def test_ssh_key_uploaded_since_planning_makes_the_plan_stale(iam: Any, aws: Aws) -> None:
    plan = planned(aws)
    iam.upload_ssh_public_key(UserName="alice", SSHPublicKeyBody="ssh-rsa AAAA intruder")

    with pytest.raises(PlanStale, match="SSH public key"):
        apply(plan, aws)

    assert "FiredoorDenyAll" not in everything(iam)["policies"]


def test_credential_made_after_containment_is_drift(
    iam: Any, credentials: list[str], aws: Aws
) -> None:
    plan = planned(aws)
    apply(plan, aws)
    iam.create_service_specific_credential(UserName="alice", ServiceName="codecommit.amazonaws.com")

    assert verify(plan, aws).verdict is Verdict.DRIFTED


def test_key_that_was_deleted_since_is_as_good_as_off(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(aws)
    apply(plan, aws)
    iam.delete_access_key(UserName="alice", AccessKeyId=scene.access_key_id)

    assert verify(plan, aws).verdict is Verdict.PROVEN


# MFA devices


def test_mfa_device_of_the_attacker_is_taken_off_and_cannot_be_put_back(iam: Any, aws: Aws) -> None:
    enrol(iam)
    plan = planned(aws, enrolled_since=NOW - timedelta(minutes=5))

    apply(plan, aws)
    during, proof = everything(iam)["mfa"], verify(plan, aws)
    receipt = revert(plan, aws)

    assert (during, proof.verdict) == ([], Verdict.PROVEN)
    assert plan.lost == (f"{MFA} cannot be enrolled again by us: only who has the device can",)
    assert receipt.left == (
        f"{MFA} stays off: it cannot be enrolled again by us: only who has the device can",
    )
    assert [call.operation for call in plan.calls][-1] == "DeactivateMFADevice"


@pytest.mark.parametrize("since", [None, NOW + timedelta(hours=1)])
def test_mfa_device_that_was_there_before_the_attack_stays(
    iam: Any, aws: Aws, since: datetime | None
) -> None:
    enrol(iam)

    apply(planned(aws, enrolled_since=since), aws)

    assert [device["SerialNumber"] for device in everything(iam)["mfa"]] == [MFA]


def test_mfa_device_enrolled_again_is_drift(iam: Any, aws: Aws) -> None:
    enrol(iam)
    plan = planned(aws, enrolled_since=NOW - timedelta(minutes=5))
    apply(plan, aws)
    enrol(iam)

    assert verify(plan, aws).verdict is Verdict.DRIFTED


@pytest.mark.parametrize(
    ("rotate", "password", "told"),
    [
        (False, True, ["release gives back the same keys and the same password: "]),
        (True, True, ["release gives back the same password: "]),
        (True, False, []),
    ],
)
def test_what_release_gives_back_to_whoever_knows_it_is_told(
    iam: Any, aws: Aws, rotate: bool, password: bool, told: list[str]
) -> None:
    if password:
        iam.create_login_profile(UserName="alice", Password="c0rrect-horse")

    lines = planned(aws, rotate=rotate).blast_radius

    ending = "replace before what others know"
    assert [line for line in lines if line.startswith("release")] == [f"{t}{ending}" for t in told]


# Sessions


@pytest.mark.parametrize("kind", ["GetSessionToken", "GetFederationToken"])
def test_what_the_keys_were_exchanged_for_is_denied_too(scene: Scene, aws: Aws, kind: str) -> None:
    plan = planned(aws)
    apply(plan, aws)

    token = {"aws:TokenIssueTime": f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"}
    decision = decide([everything_is_denied()], None, "s3:GetObject", None, token)
    assert decision == Decision.EXPLICIT_DENY
    assert residual(verify(plan, aws), f"sessions by {kind}") == ("denied everything", None, False)


def test_token_begun_between_plan_and_apply_is_told_of_with_its_latest_end(
    scene: Scene, aws: Aws
) -> None:
    plan = planned(aws, deny_all=False)
    apply(plan, aws)

    state, until, is_open = residual(verify(plan, aws), "sessions by GetFederationToken")

    assert is_open
    assert "one begun since" in state
    assert until is not None
    assert timedelta(hours=35) < until - NOW < timedelta(hours=37)


def test_signed_urls_are_told_with_what_signed_them(scene: Scene, aws: Aws) -> None:
    plan = planned(aws, deny_all=False)
    apply(plan, aws)

    state, until, is_open = residual(verify(plan, aws), "URLs that it signed beforehand")

    signers = "sessions by GetSessionToken, sessions by GetFederationToken"
    assert (state, is_open) == (f"work as long as what signed them: {signers}", True)
    assert until is not None
    assert timedelta(hours=35) < until - NOW < timedelta(hours=37)


def test_signed_urls_are_dead_with_everything_that_signs(scene: Scene, aws: Aws) -> None:
    plan = planned(aws)
    apply(plan, aws)

    told = ("dead with what signed them", None, False)
    assert residual(verify(plan, aws), "URLs that it signed beforehand") == told


def test_margin_closes_what_began_while_people_decided(scene: Scene, aws: Aws) -> None:
    plan = planned(aws, deny_all=False, margin=timedelta(hours=12))
    apply(plan, aws)

    assert residual(verify(plan, aws), "sessions by GetSessionToken")[2] is False


@pytest.fixture
def assumed(lab: EmulatedAws) -> Callable[..., None]:
    """Let alice have assumed a role some minutes ago."""

    def happened(minutes: int, role: str = "deploy", **asked: Any) -> None:
        at = NOW - timedelta(minutes=minutes)
        arn = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        event = {
            "eventTime": f"{at:%Y-%m-%dT%H:%M:%SZ}",
            "eventSource": "sts.amazonaws.com",
            "eventName": "AssumeRole",
            "requestParameters": {"roleArn": arn, "roleSessionName": "laptop", **asked},
            "responseElements": {"credentials": {"accessKeyId": "ASIALAPTOP"}},
            "userIdentity": {
                "type": "IAMUser",
                "arn": f"arn:aws:iam::{ACCOUNT}:user/alice",
                "accountId": ACCOUNT,
                "userName": "alice",
            },
        }
        lab.control("POST", "firedoor/trail", event)

    return happened


def test_role_session_that_outlives_the_user_is_told_with_its_end(
    scene: Scene, aws: Aws, assumed: Callable[..., None]
) -> None:
    assumed(30, durationSeconds=7_200)
    plan = planned(aws, at=NOW)
    apply(plan, aws)

    state = "lives on, and can begin others: revoke that role too"
    told = (state, NOW + timedelta(minutes=90), True)
    assert residual(verify(plan, aws), "role/deploy session laptop") == told
    told_before = [check.name for check in plan.preflight]
    assert "afterwards, role/deploy session laptop" in told_before


def test_role_session_that_outlives_a_deleted_user_is_told(
    scene: Scene, iam: Any, aws: Aws, assumed: Callable[..., None]
) -> None:
    plan = planned(aws, at=NOW)
    assumed(30, durationSeconds=7_200)
    delete_user(scene, iam)

    told = [one.credential for one in verify(plan, aws).residual if one.open]

    assert told == ["role/deploy session laptop"]


def test_role_session_that_has_ended_is_not_told(
    scene: Scene, aws: Aws, assumed: Callable[..., None]
) -> None:
    assumed(90)  # for an hour, as none other was asked for
    plan = planned(aws, at=NOW)

    proof = verify(plan, aws)

    state, until, is_open = residual(proof, "sessions of other roles that it began")
    assert (state.startswith("none in CloudTrail"), until, is_open) == (True, None, False)


def test_unreadable_trail_counts_as_a_session_that_may_live_for_12_hours(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    plan = planned(aws, at=NOW)
    apply(plan, aws)
    fault = {"service": "cloudtrail", "operation": "LookupEvents", "times": 9}
    denied = {"code": "AccessDeniedException", "status": 403}
    lab.control("POST", "firedoor/faults", fault | denied)

    proof = verify(plan, aws)

    state, until, is_open = residual(proof, "sessions of other roles that it began")
    assert (is_open, "could not be read" in state) == (True, True)
    assert until is not None
    assert timedelta(hours=11) < until - NOW < timedelta(hours=13)
    assert proof.verdict is Verdict.UNPROVEN


# The proof window


def test_revocation_is_pending_until_cloudtrail_was_silent_for_long_enough(
    scene: Scene, aws: Aws
) -> None:
    plan = planned(aws, at=datetime.now(UTC))

    apply(plan, aws)

    assert verify(plan, aws).verdict is Verdict.PENDING


def test_iam_that_shows_a_change_late_is_no_drift(
    scene: Scene, iam: Any, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(aws)
    apply(plan, aws)
    monkeypatch.setattr(revoke_credentials, "SETTLE", (0.0,))
    late = iter([True])

    def stale(parsed: Any, **_: Any) -> None:
        for key in parsed["AccessKeyMetadata"] if next(late, False) else ():
            key["Status"] = "Active"

    aws.client("iam").meta.events.register("after-call.iam.ListAccessKeys", stale)

    assert verify(plan, aws).verdict is Verdict.PROVEN


# Preflight


def test_plan_says_what_the_key_was_last_used_for(scene: Scene, aws: Aws) -> None:
    boto3.Session(scene.access_key_id, scene.secret_access_key).client("s3").list_buckets()

    told = planned(aws, at=NOW).blast_radius

    assert any(f"key {scene.access_key_id}" in line and "last used" in line for line in told)


def test_nothing_is_deleted_that_could_not_be_made_again(
    iam: Any, credentials: list[str], aws: Aws
) -> None:
    iam.create_login_profile(UserName="alice", Password="correct-horse-battery-9!A")
    plan = planned(aws, enrolled_since=NOW)

    assert [call for call in plan.calls if call.operation.startswith("Delete")] == []


def test_boundary_and_administrator_are_told_and_left_alone(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    boundary = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=boundary)
    iam.create_group(GroupName="admins")
    iam.attach_group_policy(
        GroupName="admins", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
    )
    iam.add_user_to_group(GroupName="admins", UserName="alice")

    told = {check.name: (check.ok, check.detail) for check in planned(aws).preflight}

    assert told["permissions boundary"] == (True, f"{boundary}, stays")
    assert told["no administrator"] == (False, "AdministratorAccess, attached")


@pytest.mark.parametrize("operation", ["ListUserPolicies", "ListGroupsForUser"])
def test_policies_that_may_not_be_listed_are_told_and_stop_nothing(
    scene: Scene, iam: Any, aws: Aws, lab: EmulatedAws, operation: str
) -> None:
    fault = {"service": "iam", "operation": operation, "times": 9}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDenied", "status": 403})

    plan = planned(aws)

    assert "may not be read" in "".join(c.detail for c in plan.preflight if not c.ok)
    assert len(apply(plan, aws).calls) == 2


def test_listing_that_is_forbidden_is_told_and_stops_nothing(
    scene: Scene, aws: Aws, lab: EmulatedAws
) -> None:
    fault = {"service": "iam", "operation": "ListSSHPublicKeys", "times": 9}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDenied", "status": 403})

    plan = planned(aws)

    told = {check.name: check.detail for check in plan.preflight}
    assert told["may ListSSHPublicKeys"] == "a SSH public key would not be turned off"
    assert len(apply(plan, aws).calls) == 2


# Faults


def delete_user(scene: Scene, iam: Any) -> None:
    for policy in iam.list_user_policies(UserName="alice")["PolicyNames"]:
        iam.delete_user_policy(UserName="alice", PolicyName=policy)
    iam.delete_access_key(UserName="alice", AccessKeyId=scene.access_key_id)
    iam.delete_user(UserName="alice")


def test_user_deleted_since_planning_makes_the_plan_stale(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(aws)
    delete_user(scene, iam)

    with pytest.raises(PlanStale, match="does not exist any more"):
        apply(plan, aws)


def test_user_renamed_before_planning_is_found_by_its_keys(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    iam.update_user(UserName="alice", NewUserName="mallory")

    plan = planned(aws, access_keys=(scene.access_key_id,))

    assert plan.lease == "user/mallory"
    assert "of user/mallory, which has the keys of user/alice" in plan.summary
    assert len(apply(plan, aws).calls) == 2


def test_user_renamed_since_planning_makes_the_plan_stale(scene: Scene, iam: Any, aws: Aws) -> None:
    plan = planned(aws)
    iam.update_user(UserName="alice", NewUserName="mallory")

    with pytest.raises(PlanStale, match="was renamed to user/mallory"):
        apply(plan, aws)


def test_user_renamed_while_contained_is_drift_and_stays_contained(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(aws)
    apply(plan, aws)
    iam.update_user(UserName="alice", NewUserName="mallory")

    proof, receipt = verify(plan, aws), revert(plan, aws)

    assert proof.verdict is Verdict.DRIFTED
    assert (receipt.calls, len(receipt.left)) == ((), 1)
    assert "user/mallory by now" in receipt.left[0]


def test_user_deleted_while_contained_is_proven_and_leaves_nothing_to_take_back(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    plan = planned(aws)
    apply(plan, aws)
    delete_user(scene, iam)

    proof, receipt = verify(plan, aws), revert(plan, aws)

    assert (proof.verdict, receipt.calls) == (Verdict.PROVEN, ())
    assert [one.credential for one in proof.residual if one.open] == []


@pytest.mark.parametrize("operation", ["PutUserPolicy", "UpdateAccessKey"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"code": "EntityTemporarilyUnmodifiable", "status": 409}, Throttled),
        ({"code": "Throttling", "status": 400}, Throttled),
        ({"code": "AccessDenied", "status": 403}, AccessDenied),
        ({"kind": "dropped"}, Unavailable),
        ({"kind": "lost"}, Unavailable),
    ],
)
def test_failure_anywhere_is_made_good_by_a_retry_or_taken_back_exactly(
    iam: Any,
    aws: Aws,
    lab: EmulatedAws,
    operation: str,
    fault: dict[str, Any],
    error: type[Exception],
) -> None:
    before = everything(iam)
    plan = planned(aws)
    lab.control("POST", "firedoor/faults", {"service": "iam", "operation": operation} | fault)

    with pytest.raises(error):
        apply(plan, aws)
    halfway = everything(iam)
    revert(plan, aws)
    taken_back = everything(iam)
    apply(plan, aws)

    assert taken_back == before
    assert verify(plan, aws).verdict is Verdict.PROVEN
    assert halfway["policies"].keys() - {"FiredoorDenyAll"} == {"operator"}


def test_inline_quota_of_a_user_is_read_from_the_account(scene: Scene, aws: Aws) -> None:
    def small(parsed: Any, **_: Any) -> None:
        parsed["SummaryMap"]["UserPolicySizeQuota"] = 100

    aws.client("iam").meta.events.register("after-call.iam.GetAccountSummary", small)

    assert "100 are allowed" in planned(aws).tasks[0]


def test_denial_cuts_a_key_that_the_attacker_turned_on_again(
    scene: Scene, iam: Any, aws: Aws
) -> None:
    apply(planned(aws), aws)
    iam.update_access_key(UserName="alice", AccessKeyId=scene.access_key_id, Status="Active")
    client = boto3.Session(scene.access_key_id, scene.secret_access_key).client("ec2")

    with pytest.raises(ClientError, match="explicit deny"):
        client.describe_instances()


def test_plan_is_one_that_json_can_carry(credentials: list[str], aws: Aws) -> None:
    plan = planned(aws, enrolled_since=NOW)

    assert Plan.model_validate(json.loads(plan.model_dump_json())) == plan
