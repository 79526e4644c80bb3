import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firedoor.lab import findings
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws

Stock = Callable[..., Any]
AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def guardduty(stock: Stock) -> Any:
    return stock("guardduty")


def _received(stock: Stock, scene: Scene) -> list[dict[str, Any]]:
    answer = stock("sqs").receive_message(QueueUrl=scene.queue_url, MaxNumberOfMessages=10)
    return [json.loads(m["Body"]) for m in answer.get("Messages", [])]


def _ids(guardduty: Any, scene: Scene, **criterion: Any) -> list[str]:
    return list(
        guardduty.list_findings(
            DetectorId=scene.detector_id, FindingCriteria={"Criterion": criterion}
        )["FindingIds"]
    )


def test_samples_are_marked_and_reach_the_queue(guardduty: Any, stock: Stock, scene: Scene) -> None:
    guardduty.create_sample_findings(
        DetectorId=scene.detector_id, FindingTypes=["Backdoor:EC2/C&CActivity.B"]
    )

    (event,) = _received(stock, scene)

    assert (
        event["detail"]["type"],
        event["detail"]["service"]["additionalInfo"]["sample"],
        event["detail"]["title"][:8],
    ) == ("Backdoor:EC2/C&CActivity.B", True, "[SAMPLE]")


def test_samples_of_all_types_validate_against_the_service_model(
    guardduty: Any, scene: Scene, raw: Callable[..., Any], strangers: Callable[..., list[str]]
) -> None:
    guardduty.create_sample_findings(DetectorId=scene.detector_id)
    ids = _ids(guardduty, scene)
    bodies = raw(guardduty)
    guardduty.get_findings(DetectorId=scene.detector_id, FindingIds=ids)

    problems = strangers("guardduty", "GetFindingsResponse", bodies[0])

    assert (len(ids), problems) == (8, [])


def test_unknown_sample_type_is_refused(guardduty: Any, scene: Scene) -> None:
    with pytest.raises(ClientError) as caught:
        guardduty.create_sample_findings(
            DetectorId=scene.detector_id, FindingTypes=["Nothing:EC2/AtAll"]
        )

    assert caught.value.response["Error"]["Code"] == "BadRequestException"


def test_real_finding_reaches_the_queue_in_a_whole_envelope(
    lab: EmulatedAws, stock: Stock, scene: Scene
) -> None:
    finding = findings.ssh_brute_force(scene, at=AT)

    lab.control("POST", "firedoor/findings", finding)

    (event,) = _received(stock, scene)
    detail = {**finding, "service": {**finding["service"], "detectorId": scene.detector_id}}
    assert {k: v for k, v in event.items() if k not in ("id", "time")} == {
        "version": "0",
        "detail-type": "GuardDuty Finding",
        "source": "aws.guardduty",
        "account": scene.account,
        "region": scene.region,
        "resources": [],
        "detail": detail,
    }


def test_real_finding_is_listed_and_described(
    lab: EmulatedAws, guardduty: Any, scene: Scene
) -> None:
    finding = findings.api_abuse(scene, at=AT)
    lab.control("POST", "firedoor/findings", finding)

    (found,) = guardduty.get_findings(
        DetectorId=scene.detector_id, FindingIds=_ids(guardduty, scene)
    )["Findings"]

    assert (found["Id"], found["Resource"]["AccessKeyDetails"]["UserName"]) == (
        finding["id"],
        "alice",
    )


@pytest.mark.parametrize(
    ("criterion", "matches"),
    [
        ({"type": {"Equals": ["UnauthorizedAccess:EC2/SSHBruteForce"]}}, True),
        ({"type": {"NotEquals": ["UnauthorizedAccess:EC2/SSHBruteForce"]}}, False),
        ({"severity": {"GreaterThanOrEqual": 2}}, True),
        ({"severity": {"GreaterThan": 2}}, False),
        ({"service.archived": {"Equals": ["false"]}}, True),
        ({"service.archived": {"Equals": ["true"]}}, False),
        ({"updatedAt": {"GreaterThan": 1772366399000}}, True),
        ({"updatedAt": {"LessThan": 1772366400000}}, False),
        (
            {
                "resource.instanceDetails.networkInterfaces.privateIpAddress": {
                    "Equals": ["10.0.0.1"]
                }
            },
            False,
        ),
        ({"region": {"Eq": ["us-east-1"]}, "severity": {"Lt": 2}}, False),
    ],
)
def test_findings_are_listed_by_criteria(
    lab: EmulatedAws, guardduty: Any, scene: Scene, criterion: dict[str, Any], matches: bool
) -> None:
    finding = findings.ssh_brute_force(scene, at=AT)
    lab.control("POST", "firedoor/findings", finding)

    assert _ids(guardduty, scene, **criterion) == ([finding["id"]] if matches else [])


def test_findings_are_listed_in_pages(guardduty: Any, scene: Scene) -> None:
    guardduty.create_sample_findings(DetectorId=scene.detector_id)

    pages = guardduty.get_paginator("list_findings").paginate(
        DetectorId=scene.detector_id, PaginationConfig={"PageSize": 3}
    )

    assert [len(p["FindingIds"]) for p in pages] == [3, 3, 2]


def test_findings_are_sorted_by_an_attribute(guardduty: Any, scene: Scene) -> None:
    guardduty.create_sample_findings(DetectorId=scene.detector_id)
    ids = guardduty.list_findings(
        DetectorId=scene.detector_id,
        SortCriteria={"AttributeName": "severity", "OrderBy": "DESC"},
    )["FindingIds"]
    found = guardduty.get_findings(DetectorId=scene.detector_id, FindingIds=ids)["Findings"]

    severities = [f["Severity"] for f in found]

    assert severities == sorted(severities, reverse=True)


def test_finding_is_archived_and_back(lab: EmulatedAws, guardduty: Any, scene: Scene) -> None:
    finding = findings.ssh_brute_force(scene, at=AT)
    lab.control("POST", "firedoor/findings", finding)
    named = {"DetectorId": scene.detector_id, "FindingIds": [finding["id"]]}
    archived = {"service.archived": {"Equals": ["true"]}}

    guardduty.archive_findings(**named)
    after = _ids(guardduty, scene, **archived)
    guardduty.unarchive_findings(**named)

    assert (after, _ids(guardduty, scene, **archived)) == ([finding["id"]], [])


def test_feedback_is_kept(lab: EmulatedAws, guardduty: Any, scene: Scene) -> None:
    finding = findings.ssh_brute_force(scene, at=AT)
    lab.control("POST", "firedoor/findings", finding)
    named = {"DetectorId": scene.detector_id, "FindingIds": [finding["id"]]}

    guardduty.update_findings_feedback(**named, Feedback="USEFUL")

    (found,) = guardduty.get_findings(**named)["Findings"]
    assert found["Service"]["UserFeedback"] == "USEFUL"


def test_suppressed_finding_is_archived_and_not_sent(
    lab: EmulatedAws, guardduty: Any, stock: Stock, scene: Scene
) -> None:
    guardduty.create_filter(
        DetectorId=scene.detector_id,
        Name="scanner",
        Action="ARCHIVE",
        FindingCriteria={"Criterion": {"severity": {"LessThan": 4}}},
    )

    lab.control("POST", "firedoor/findings", findings.ssh_brute_force(scene, at=AT))

    archived = _ids(guardduty, scene, **{"service.archived": {"Equals": ["true"]}})
    assert (len(archived), _received(stock, scene)) == (1, [])


def test_finding_of_another_account_goes_to_that_account(
    lab: EmulatedAws, guardduty: Any, stock: Stock, scene: Scene
) -> None:
    finding = {**findings.ssh_brute_force(scene, at=AT), "accountId": "111122223333"}

    lab.control("POST", "firedoor/findings", finding)

    assert (_ids(guardduty, scene), _received(stock, scene)) == ([], [])
