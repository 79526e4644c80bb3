from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from firedoor.cloud.aws import Aws

Stock = Callable[..., Any]

OTHER = "210987654321"


@pytest.fixture
def kms(stock: Stock) -> Any:
    return stock("kms")


@pytest.fixture
def theirs(aws: Aws) -> Any:
    role = boto3.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{OTHER}:role/firedoor", RoleSessionName="other"
    )
    given = role["Credentials"]
    return boto3.client(
        "kms",
        aws_access_key_id=given["AccessKeyId"],
        aws_secret_access_key=given["SecretAccessKey"],
        aws_session_token=given["SessionToken"],
    )


def _grant(kms: Any, key: str) -> str:
    return str(
        kms.create_grant(
            KeyId=key,
            GranteePrincipal=f"arn:aws:iam::{OTHER}:role/firedoor",
            Operations=["DescribeKey"],
            Name="one",
        )["GrantId"]
    )


def test_default_key_is_managed_by_aws(kms: Any) -> None:
    own = kms.create_key()["KeyMetadata"]

    managed = kms.describe_key(KeyId="alias/aws/ebs")["KeyMetadata"]

    assert (managed["KeyManager"], own["KeyManager"]) == ("AWS", "CUSTOMER")


def test_same_grant_is_made_once(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]

    assert _grant(kms, key) == _grant(kms, key)
    (grant,) = kms.list_grants(KeyId=key)["Grants"]
    assert grant["CreationDate"].timestamp() > 0


def test_grant_takes_no_alias(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/sharing", TargetKeyId=key)

    with pytest.raises(ClientError, match="NotFoundException"):
        _grant(kms, "alias/sharing")


def test_key_of_another_account_answers_whom_a_grant_lets(kms: Any, theirs: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]

    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.describe_key(KeyId=key)
    id = _grant(kms, key)
    seen = theirs.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    kms.revoke_grant(KeyId=key, GrantId=id)

    assert seen == key
    with pytest.raises(ClientError, match="AccessDenied"):
        theirs.describe_key(KeyId=key)
