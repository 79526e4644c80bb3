import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Stock = Callable[..., Any]
SCP = "SERVICE_CONTROL_POLICY"
DENY = {"Effect": "Deny", "Action": "*", "Resource": "*"}
CONTENT = json.dumps({"Version": "2012-10-17", "Statement": [DENY]})


@pytest.fixture
def office(stock: Stock) -> Any:
    client = stock("organizations")
    client.create_organization(FeatureSet="ALL")
    (root,) = client.list_roots()["Roots"]
    client.enable_policy_type(RootId=root["Id"], PolicyType=SCP)
    return client


def _account(office: Any) -> str:
    made = office.create_account(AccountName="shop", Email="shop@example.com")
    return str(made["CreateAccountStatus"]["AccountId"])


def _policy(office: Any, name: str, content: str = CONTENT) -> str:
    made = office.create_policy(Name=name, Content=content, Description="", Type=SCP)
    return str(made["Policy"]["PolicySummary"]["Id"])


def _code(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_an_account_has_five_policies_of_its_own(office: Any) -> None:
    account = _account(office)
    for number in range(4):  # beside FullAWSAccess
        office.attach_policy(PolicyId=_policy(office, f"p{number}"), TargetId=account)
    sixth = _policy(office, "sixth")

    code = _code(lambda: office.attach_policy(PolicyId=sixth, TargetId=account))

    assert code == "ConstraintViolationException"


def test_a_policy_is_attached_once(office: Any) -> None:
    account, policy = _account(office), _policy(office, "p")
    office.attach_policy(PolicyId=policy, TargetId=account)

    code = _code(lambda: office.attach_policy(PolicyId=policy, TargetId=account))

    assert code == "DuplicatePolicyAttachmentException"


def test_a_type_that_is_not_enabled_is_not_attached(office: Any) -> None:
    account, policy = _account(office), _policy(office, "p")
    (root,) = office.list_roots()["Roots"]
    office.disable_policy_type(RootId=root["Id"], PolicyType=SCP)

    code = _code(lambda: office.attach_policy(PolicyId=policy, TargetId=account))

    assert code == "PolicyTypeNotEnabledException"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("deny", "MalformedPolicyDocumentException"),
        (CONTENT + " " * 5120, "ConstraintViolationException"),
    ],
)
def test_what_is_no_policy_is_refused(office: Any, content: str, expected: str) -> None:
    assert _code(lambda: _policy(office, "p", content)) == expected
