"""What alarms on the metrics of Shield and of AWS WAF come to mean."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from firedoor.errors import NotAFinding
from firedoor.model.finding import Finding
from firedoor.reading import parse

FIXTURES = Path(__file__).parents[1] / "data" / "shield"
BALANCER = (
    "aws/123456789012/eu-west-1/other/arn:aws:elasticloadbalancing:eu-west-1:123456789012"
    ":loadbalancer/app/shop/0123456789abcdef"
)

# By fixture: the type of the finding, and its subjects.
EXPECTED: dict[str, tuple[str, ...]] = {
    "distribution": (
        "Impact:Shield/DDoSAttackRequestsPerSecond",
        "aws/123456789012/us-east-1/other/arn:aws:cloudfront::123456789012:distribution/E1EXAMPLE",
    ),
    "elastic_address": (
        "Impact:Shield/DDoSDetected",
        "aws/123456789012/us-east-1/other/arn:aws:ec2:us-east-1:123456789012"
        ":eip-allocation/eipalloc-0a1b2c3d4e5f60718",
    ),
    "instance": (
        "Impact:Shield/DDoSDetected",
        "aws/123456789012/us-east-1/instance/i-0a1b2c3d4e5f60718",
    ),
    "load_balancer": ("Impact:Shield/DDoSDetected", BALANCER),
    "metric_math": (
        "Impact:Shield/DDoSDetected",
        "aws/123456789012/eu-west-1/other/regional/webacl/shop",
        BALANCER,
    ),
    "protection_group": (  # which metrics do not resolve into its members
        "Impact:Shield/DDoSDetected",
        "aws/123456789012/us-east-1/other/arn:aws:cloudwatch:us-east-1:123456789012"
        ":alarm:all-flooded",
    ),
    "web_acl": (
        "Impact:WAFV2/BlockedRequests",
        "aws/123456789012/us-east-1/other/regional/webacl/shop",
    ),
    "web_acl_global": (
        "Impact:WAFV2/BlockedRequests",
        "aws/123456789012/us-east-1/other/global/webacl/cdn",
    ),
}


def document(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def changed(name: str, path: str, value: Any) -> Any:
    """A fixture in which a member is another, or gone if it is None."""
    event = deepcopy(document(name))
    *parents, last = path.split(".")
    holder = event
    for parent in parents:
        holder = holder[parent]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return event


def test_every_fixture_has_its_expectation() -> None:
    assert {path.stem for path in FIXTURES.glob("*.json")} == {*EXPECTED, "at_rest"}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_alarm_is_about_what_its_metric_names(name: str) -> None:
    (read,) = parse(document(name), name)

    assert (read.type, *(subject.path for subject in read.subjects)) == EXPECTED[name]
    assert Finding.model_validate_json(read.model_dump_json()) == read


def test_the_members_of_an_alarm_are_taken_over() -> None:
    at = datetime(2026, 3, 4, 9, 15, 0, 123000, UTC)

    (read,) = parse(document("instance"), "event")

    assert read.model_dump(exclude={"subject", "description"}, exclude_defaults=True) == {
        "id": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:game-flooded",
        "source": "shield",
        "type": "Impact:Shield/DDoSDetected",
        "title": "Alarm game-flooded: i-0a1b2c3d4e5f60718 is flooded",
        "severity": 8,
        "cloud": "aws",
        "account": "123456789012",
        "region": "us-east-1",
        "created_at": at,
        "updated_at": at,
        "first_seen": at,
        "last_seen": at,
        "side": "target",
    }
    assert read.description.startswith("Threshold Crossed")


@pytest.mark.parametrize("state", ["OK", "INSUFFICIENT_DATA"])
def test_an_alarm_that_comes_to_rest_is_no_finding(state: str) -> None:
    assert parse(changed("at_rest", "detail.state.value", state), "event") == ()


def test_an_alarm_that_goes_off_again_is_the_same_finding_seen_later() -> None:
    (first,) = parse(document("instance"), "event")

    (again,) = parse(
        changed("instance", "detail.state.timestamp", "2026-03-05T10:00:00.000+0100"), "event"
    )

    assert again.id == first.id
    assert again.updated_at == datetime(2026, 3, 5, 9, tzinfo=UTC)


def test_a_protected_resource_of_another_account_is_that_account_s() -> None:
    event = document("load_balancer")
    event["account"] = "210987654321"  # which watches over others

    (read,) = parse(event, "event")

    assert (read.account, read.subject.account) == ("123456789012", "123456789012")


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("detail-type", "CloudWatch Alarm Configuration Change", "detail-type"),
        ("account", None, "account"),
        ("region", "", "region"),
        ("resources", None, "resources"),
        ("detail.alarmName", None, "detail.alarmName"),
        ("detail.state", None, "detail.state"),
        ("detail.state.timestamp", "yesterday", "detail.state.timestamp"),
    ],
)
def test_a_damaged_alarm_is_refused_with_the_member(path: str, value: Any, where: str) -> None:
    with pytest.raises(NotAFinding) as caught:
        parse(changed("instance", path, value), "message m-1")

    assert (caught.value.what, caught.value.where) == ("message m-1", where)


@pytest.mark.parametrize("metrics", [[], [{"id": "e1", "expression": "1"}], None, "metrics", [5]])
def test_an_alarm_on_other_metrics_is_nobody_s(metrics: Any) -> None:
    with pytest.raises(NotAFinding, match="expected a finding of Amazon GuardDuty or AWS Shield"):
        parse(changed("instance", "detail.configuration.metrics", metrics), "event")


def test_an_alarm_on_a_metric_of_the_same_name_elsewhere_is_nobody_s() -> None:
    event = document("instance")
    metric = event["detail"]["configuration"]["metrics"][0]["metricStat"]["metric"]
    metric["namespace"] = "Custom/DDoSProtection"

    with pytest.raises(NotAFinding):
        parse(event, "event")
