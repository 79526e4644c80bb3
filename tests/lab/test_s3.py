"""Bucket policies in the emulated AWS."""

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

BUCKET = "shelf"
OWN = "arn:aws:iam::123456789012:user/moto"


@pytest.fixture
def s3(scene: Scene) -> Any:
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    client.put_object(Bucket=BUCKET, Key="a", Body=b"x")
    return client


def put(s3: Any, **members: Any) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject*",
        "Resource": [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"],
        **members,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=BUCKET, Policy=policy)


def test_deny_hits_whom_its_conditions_mean(scene: Scene, s3: Any) -> None:
    allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    boto3.client("iam").put_user_policy(
        UserName=scene.user_name,
        PolicyName="s3",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]}),
    )
    keys = (scene.access_key_id, scene.secret_access_key)
    user = boto3.Session(*keys).client("s3")

    put(s3, Condition={"ArnNotLike": {"aws:PrincipalArn": OWN}})
    with pytest.raises(ClientError, match="AccessDenied"):
        user.get_object(Bucket=BUCKET, Key="a")
    spared = s3.get_object(Bucket=BUCKET, Key="a")["Body"].read()
    put(s3, Condition={"ArnNotLike": {"aws:PrincipalArn": scene.user_arn}})

    assert spared == b"x"
    assert user.get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"x"


def test_deny_of_deletion_stops_each_object_of_a_batch(s3: Any) -> None:
    put(s3, Action="s3:DeleteObject", Resource=f"arn:aws:s3:::{BUCKET}/*")

    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "a"}]})

    assert [error["Code"] for error in answer["Errors"]] == ["AccessDenied"]


def test_bucket_of_another_owner_than_expected_is_denied(s3: Any) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.get_bucket_versioning(Bucket=BUCKET, ExpectedBucketOwner="210987654321")

    assert s3.get_bucket_versioning(Bucket=BUCKET, ExpectedBucketOwner="123456789012")


def test_blocked_public_policy_is_not_stored(s3: Any) -> None:
    s3.put_public_access_block(
        Bucket=BUCKET, PublicAccessBlockConfiguration={"BlockPublicPolicy": True}
    )

    with pytest.raises(ClientError, match="AccessDenied"):
        put(s3, Effect="Allow")
    put(s3)

    assert "Deny" in s3.get_bucket_policy(Bucket=BUCKET)["Policy"]
