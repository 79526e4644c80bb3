from collections.abc import Callable
from typing import Any

Stock = Callable[..., Any]


def test_there_is_a_service_for_denial_of_service(
    stock: Stock, raw: Callable[..., Any], strangers: Callable[..., list[str]]
) -> None:
    support = stock("support")
    bodies = raw(support)

    services = support.describe_services()["services"]

    assert any("Denial of Service" in service["name"] for service in services)
    assert strangers("support", "DescribeServicesResponse", bodies[0]) == []


def test_a_case_stays_as_it_was_opened(stock: Stock) -> None:
    support = stock("support")
    opened = support.create_case(subject="help", communicationBody="help", severityCode="urgent")

    seen = [support.describe_cases(caseIdList=[opened["caseId"]])["cases"][0] for _ in range(3)]

    assert {(case["status"], case["severityCode"]) for case in seen} == {("opened", "urgent")}
