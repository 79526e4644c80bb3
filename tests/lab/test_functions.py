"""Lambda in the emulated AWS."""

import io
import zipfile
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from botocore.exceptions import ClientError

Stock = Callable[..., Any]


@pytest.fixture
def functions(stock: Stock) -> Any:
    boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    client = stock("lambda")
    client.create_function(
        FunctionName="f",
        Runtime="python3.12",
        Role="arn:aws:iam::123456789012:role/r",
        Handler="main.handler",
        Code={"ZipFile": code()},
        Publish=True,
    )
    return client


def code() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("main.py"), "def handler(event, context): ...\n")
    return packed.getvalue()


def test_code_is_had_from_where_it_is_said_to_be(functions: Any) -> None:
    location = functions.get_function(FunctionName="f")["Code"]["Location"]

    with urlopen(location) as answer:
        assert answer.read() == code()


def test_reserved_concurrency_of_none_lets_nothing_run(functions: Any) -> None:
    functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)

    with pytest.raises(ClientError, match="TooManyRequestsException"):
        functions.invoke(FunctionName="f")


def test_a_hundred_executions_stay_unreserved(functions: Any) -> None:
    with pytest.raises(ClientError, match="below its minimum value"):
        functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=901)
    functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=900)

    limit = functions.get_account_settings()["AccountLimit"]
    assert limit["UnreservedConcurrentExecutions"] == 100


def test_provisioned_concurrency_may_not_exceed_what_is_reserved(functions: Any) -> None:
    functions.put_provisioned_concurrency_config(
        FunctionName="f", Qualifier="1", ProvisionedConcurrentExecutions=3
    )

    with pytest.raises(ClientError, match="InvalidParameterValueException"):
        functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)
    functions.delete_provisioned_concurrency_config(FunctionName="f", Qualifier="1")
    functions.put_function_concurrency(FunctionName="f", ReservedConcurrentExecutions=0)

    listed = functions.list_provisioned_concurrency_configs(FunctionName="f")
    assert listed["ProvisionedConcurrencyConfigs"] == []


def test_source_that_is_turned_off_takes_a_moment(functions: Any, stock: Stock) -> None:
    stock("sqs").create_queue(QueueName="q")
    made = functions.create_event_source_mapping(
        FunctionName="f", EventSourceArn="arn:aws:sqs:us-east-1:123456789012:q"
    )["UUID"]

    answered = functions.update_event_source_mapping(UUID=made, Enabled=False)["State"]
    with pytest.raises(ClientError, match="ResourceInUseException"):
        functions.update_event_source_mapping(UUID=made, Enabled=True)
    listed = [functions.list_event_source_mappings()["EventSourceMappings"] for _ in range(2)]

    assert answered == "Disabling"
    assert [[m["State"] for m in found] for found in listed] == [["Disabling"], ["Disabled"]]


def test_url_of_a_function_is_listed(functions: Any) -> None:
    functions.create_function_url_config(FunctionName="f", AuthType="NONE")

    (url,) = functions.list_function_url_configs(FunctionName="f")["FunctionUrlConfigs"]

    assert url["AuthType"] == "NONE"
