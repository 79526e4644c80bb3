import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]
DENY_ALL = json.dumps(
    {"Version": "2012-10-17", "Statement": {"Effect": "Deny", "Action": "*", "Resource": "*"}}
)


@pytest.fixture
def iam(stock: Stock) -> Any:
    return stock("iam")


@pytest.fixture
def alice(stock: Stock, scene: Scene) -> Stock:
    def client(service: str) -> Any:
        return stock(
            service,
            aws_access_key_id=scene.access_key_id,
            aws_secret_access_key=scene.secret_access_key,
        )

    return client


def _code(call: Callable[..., Any], **parameters: Any) -> str:
    try:
        call(**parameters)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "ok"


def _role_session(stock: Stock, scene: Scene, name: str = "somebody") -> Stock:
    credentials = stock("sts").assume_role(RoleArn=scene.role_arn, RoleSessionName=name)[
        "Credentials"
    ]
    session = boto3.Session(
        credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"]
    )
    return session.client


def _report(scene: Scene) -> dict[str, str]:
    return {"Bucket": scene.bucket, "Key": "2026/q1.csv"}


def test_user_may_do_what_the_policy_allows_and_no_more(alice: Stock, scene: Scene) -> None:
    codes = [
        _code(alice("ec2").describe_instances),
        _code(alice("s3").get_object, **_report(scene)),
        _code(alice("ec2").terminate_instances, InstanceIds=[scene.web_id]),
        _code(alice("iam").list_users),
    ]

    assert codes == ["ok", "ok", "UnauthorizedOperation", "AccessDenied"]


def test_inactive_key_is_refused_everywhere(iam: Any, alice: Stock, scene: Scene) -> None:
    iam.update_access_key(UserName="alice", AccessKeyId=scene.access_key_id, Status="Inactive")

    codes = [
        _code(alice("sts").get_caller_identity),
        _code(alice("ec2").describe_instances),
        _code(alice("s3").get_object, **_report(scene)),
    ]

    assert codes == ["InvalidClientTokenId", "AuthFailure", "InvalidAccessKeyId"]


def test_key_works_again_when_it_is_active_again(iam: Any, alice: Stock, scene: Scene) -> None:
    for status in ("Inactive", "Active"):
        iam.update_access_key(UserName="alice", AccessKeyId=scene.access_key_id, Status=status)

    assert _code(alice("ec2").describe_instances) == "ok"


def test_deleted_key_is_refused(iam: Any, alice: Stock, scene: Scene) -> None:
    iam.delete_access_key(UserName="alice", AccessKeyId=scene.access_key_id)

    assert _code(alice("sts").get_caller_identity) == "InvalidClientTokenId"


def test_explicit_deny_takes_effect_and_leaves_identity_readable(iam: Any, alice: Stock) -> None:
    iam.put_user_policy(UserName="alice", PolicyName="deny", PolicyDocument=DENY_ALL)

    codes = [
        _code(alice("ec2").describe_instances),
        _code(alice("sts").get_caller_identity),
    ]

    assert codes == ["UnauthorizedOperation", "ok"]


def test_policy_of_aws_can_be_attached_and_takes_effect(iam: Any, alice: Stock) -> None:
    iam.attach_user_policy(UserName="alice", PolicyArn="arn:aws:iam::aws:policy/AWSDenyAll")

    assert _code(alice("ec2").describe_instances) == "UnauthorizedOperation"


def test_boundary_takes_effect_and_can_be_taken_away(iam: Any, alice: Stock) -> None:
    arn = iam.create_policy(PolicyName="nothing", PolicyDocument=DENY_ALL)["Policy"]["Arn"]

    iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=arn)
    user = iam.get_user(UserName="alice")["User"]
    limited = _code(alice("ec2").describe_instances)
    iam.delete_user_permissions_boundary(UserName="alice")

    assert (
        user["PermissionsBoundary"]["PermissionsBoundaryArn"],
        limited,
        _code(alice("ec2").describe_instances),
        "PermissionsBoundary" in iam.get_user(UserName="alice")["User"],
    ) == (arn, "UnauthorizedOperation", "ok", False)


def test_revocation_stops_old_sessions_and_lets_new_ones_work(
    iam: Any, stock: Stock, scene: Scene
) -> None:
    old = _role_session(stock, scene)
    time.sleep(1.1)  # AWS counts sessions in whole seconds
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    revoke = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": now}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [revoke]})
    before = _code(old("s3").get_object, **_report(scene))

    iam.put_role_policy(
        RoleName=scene.role_name, PolicyName="AWSRevokeOlderSessions", PolicyDocument=document
    )

    after = _code(old("s3").get_object, **_report(scene))
    new = _code(_role_session(stock, scene)("s3").get_object, **_report(scene))
    assert (before, after, new) == ("ok", "AccessDenied", "ok")


def test_role_that_does_not_exist_may_do_everything(stock: Stock, scene: Scene) -> None:
    missing = scene.model_copy(update={"role_arn": "arn:aws:iam::123456789012:role/missing"})

    assert _code(_role_session(stock, missing)("iam").list_users) == "ok"


def test_simulator_decides_by_the_identitys_policies(iam: Any, scene: Scene) -> None:
    answer = iam.simulate_principal_policy(
        PolicySourceArn=scene.role_arn,
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=[f"{scene.bucket_arn}/2026/q1.csv", "arn:aws:s3:::other/q1.csv"],
    )

    assert [
        (r["EvalActionName"], r["EvalResourceName"], r["EvalDecision"])
        for r in answer["EvaluationResults"]
    ] == [
        ("s3:GetObject", f"{scene.bucket_arn}/2026/q1.csv", "allowed"),
        ("s3:GetObject", "arn:aws:s3:::other/q1.csv", "implicitDeny"),
        ("s3:PutObject", f"{scene.bucket_arn}/2026/q1.csv", "implicitDeny"),
        ("s3:PutObject", "arn:aws:s3:::other/q1.csv", "implicitDeny"),
    ]


def test_simulator_takes_policies_of_the_asker(iam: Any, scene: Scene) -> None:
    answer = iam.simulate_principal_policy(
        PolicySourceArn=scene.user_arn,
        ActionNames=["ec2:DescribeInstances"],
        PolicyInputList=[DENY_ALL],
    )

    assert answer["EvaluationResults"][0]["EvalDecision"] == "explicitDeny"


def test_simulator_does_not_know_strangers(iam: Any) -> None:
    code = _code(
        iam.simulate_principal_policy,
        PolicySourceArn="arn:aws:iam::123456789012:user/nobody",
        ActionNames=["s3:GetObject"],
    )

    assert code == "NoSuchEntity"


def test_service_specific_credential_is_made_listed_and_turned_off(iam: Any, scene: Scene) -> None:
    own = {"UserName": scene.user_name}
    made = iam.create_service_specific_credential(**own, ServiceName="codecommit.amazonaws.com")
    id = made["ServiceSpecificCredential"]["ServiceSpecificCredentialId"]

    iam.update_service_specific_credential(**own, ServiceSpecificCredentialId=id, Status="Inactive")

    (listed,) = iam.list_service_specific_credentials(**own)["ServiceSpecificCredentials"]
    assert (listed["ServiceSpecificCredentialId"], listed["Status"]) == (id, "Inactive")
    assert "ServicePassword" in made["ServiceSpecificCredential"]
    assert "ServicePassword" not in listed


def test_service_specific_credential_that_does_not_exist_is_not_found(iam: Any) -> None:
    code = _code(
        iam.update_service_specific_credential,
        UserName="alice",
        ServiceSpecificCredentialId="ACCA00000000000000000",
        Status="Inactive",
    )

    assert code == "NoSuchEntity"


def test_session_carries_the_arn_of_the_instance_that_it_is_named_after(
    iam: Any, stock: Stock, scene: Scene
) -> None:
    arn = f"arn:aws:ec2:us-east-1:{scene.account}:instance/{scene.web_id}"
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    condition = {"Condition": {"ArnEquals": {"ec2:SourceInstanceARN": arn}}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny | condition]})
    iam.put_role_policy(RoleName=scene.role_name, PolicyName="deny", PolicyDocument=document)

    codes = [
        _code(_role_session(stock, scene, name)("s3").get_object, **_report(scene))
        for name in (scene.web_id, scene.app_id)
    ]

    assert codes == ["AccessDenied", "ok"]


def test_user_id_looks_like_one(scene: Scene) -> None:
    assert (scene.user_id[:4], len(scene.user_id)) == ("AIDA", 21)


def test_keys_stay_with_a_user_that_is_renamed(iam: Any, scene: Scene) -> None:
    iam.update_user(UserName=scene.user_name, NewUserName="mallory")

    answer = iam.get_access_key_last_used(AccessKeyId=scene.access_key_id)

    assert answer["UserName"] == "mallory"
