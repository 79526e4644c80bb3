from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Stock = Callable[..., Any]
PRODUCT = "arn:aws:securityhub:us-east-1::product/aws/guardduty"


def _finding(id_: str, **members: Any) -> dict[str, Any]:
    return {
        "SchemaVersion": "2018-10-08",
        "Id": id_,
        "ProductArn": PRODUCT,
        "GeneratorId": "detector",
        "AwsAccountId": "123456789012",
        "Types": ["TTPs/Initial Access"],
        "CreatedAt": "2026-03-01T12:00:00.000Z",
        "UpdatedAt": "2026-03-01T12:00:00.000Z",
        "Severity": {"Label": "LOW", "Normalized": 20},
        "Title": f"finding {id_}",
        "Description": "something",
        "Resources": [{"Type": "AwsEc2Instance", "Id": f"arn:aws:ec2:::instance/i-{id_}"}],
        **members,
    }


@pytest.fixture
def hub(stock: Stock) -> Any:
    client = stock("securityhub")
    client.enable_security_hub()
    client.batch_import_findings(
        Findings=[
            _finding("1"),
            _finding(
                "2",
                Severity={"Label": "HIGH", "Normalized": 80},
                ProductFields={"aws/guardduty/service/archived": "false"},
            ),
        ]
    )
    return client


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["1", "2"]),
        ({"SeverityLabel": [{"Value": "HIGH", "Comparison": "EQUALS"}]}, ["2"]),
        ({"SeverityLabel": [{"Value": "HIGH", "Comparison": "NOT_EQUALS"}]}, ["1"]),
        ({"SeverityNormalized": [{"Gte": 20.0, "Lte": 50.0}]}, ["1"]),
        ({"Title": [{"Value": "finding", "Comparison": "PREFIX"}]}, ["1", "2"]),
        (
            {
                "Id": [
                    {"Value": "1", "Comparison": "EQUALS"},
                    {"Value": "2", "Comparison": "EQUALS"},
                ],
                "ResourceId": [{"Value": "i-2", "Comparison": "CONTAINS"}],
            },
            ["2"],
        ),
        (
            {
                "ProductFields": [
                    {
                        "Key": "aws/guardduty/service/archived",
                        "Value": "false",
                        "Comparison": "EQUALS",
                    }
                ]
            },
            ["2"],
        ),
        ({"WorkflowStatus": [{"Value": "NEW", "Comparison": "EQUALS"}]}, ["1", "2"]),
    ],
)
def test_findings_are_filtered(hub: Any, filters: dict[str, Any], expected: list[str]) -> None:
    assert [f["Id"] for f in hub.get_findings(Filters=filters)["Findings"]] == expected


def test_filter_that_is_not_emulated_is_refused(hub: Any) -> None:
    with pytest.raises(ClientError) as caught:
        hub.get_findings(Filters={"MalwareName": [{"Value": "x", "Comparison": "EQUALS"}]})

    assert caught.value.response["Error"]["Code"] == "InvalidInputException"


def test_findings_come_in_pages(hub: Any) -> None:
    pages = hub.get_paginator("get_findings").paginate(PaginationConfig={"PageSize": 1})

    assert [[f["Id"] for f in p["Findings"]] for p in pages] == [["1"], ["2"]]


def test_update_takes_effect_and_names_what_is_missing(
    hub: Any, raw: Callable[..., Any], strangers: Callable[..., list[str]]
) -> None:
    bodies = raw(hub)

    answer = hub.batch_update_findings(
        FindingIdentifiers=[{"Id": i, "ProductArn": PRODUCT} for i in ("2", "9")],
        Workflow={"Status": "NOTIFIED"},
        Note={"Text": "contained", "UpdatedBy": "firedoor"},
    )

    notified = {"WorkflowStatus": [{"Value": "NOTIFIED", "Comparison": "EQUALS"}]}
    (found,) = hub.get_findings(Filters=notified)["Findings"]
    assert (
        [p["Id"] for p in answer["ProcessedFindings"]],
        [u["FindingIdentifier"]["Id"] for u in answer["UnprocessedFindings"]],
        (found["Id"], found["Note"]["Text"]),
        strangers("securityhub", "BatchUpdateFindingsResponse", bodies[0]),
    ) == (["2"], ["9"], ("2", "contained"), [])
