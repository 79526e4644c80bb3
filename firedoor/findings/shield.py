"""Floods of AWS Shield Advanced and AWS WAF, as alarms of CloudWatch that EventBridge sends.

Neither has findings of its own: they publish metrics, and somebody puts alarms on these.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html names
the members of the event, https://docs.aws.amazon.com/waf/latest/developerguide/shield-metrics.html
and https://docs.aws.amazon.com/waf/latest/developerguide/waf-metrics.html the metrics.
"""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from pydantic import Field

from firedoor.findings._aws import Place
from firedoor.model.finding import Cloud, Finding, Kind, Resource, Side
from firedoor.source import Instant, Source, Tolerant, members, text, unique, validated

SHIELD, WAF = "AWS/DDoSProtection", "AWS/WAFV2"
ALARM = "ALARM"


class Sign(NamedTuple):
    """What an alarm on a metric says, as the type of a finding and how severe that is."""

    type: str
    severity: float


class Metric(NamedTuple):
    """A metric of floods, and the member that tells of it."""

    sign: Sign
    told: dict[str, Any]


# Shield tells of floods that it sees. AWS WAF tells what it does not let through, so that is the
# lesser matter until something else says that the service suffers.
SIGNS = {
    (SHIELD, "DDoSDetected"): Sign("Impact:Shield/DDoSDetected", 8),
    (SHIELD, "DDoSAttackBitsPerSecond"): Sign("Impact:Shield/DDoSAttackBitsPerSecond", 8),
    (SHIELD, "DDoSAttackPacketsPerSecond"): Sign("Impact:Shield/DDoSAttackPacketsPerSecond", 8),
    (SHIELD, "DDoSAttackRequestsPerSecond"): Sign("Impact:Shield/DDoSAttackRequestsPerSecond", 8),
    (WAF, "BlockedRequests"): Sign("Impact:WAFV2/BlockedRequests", 5),
}

METRICS = "detail.configuration.metrics[].metricStat.metric"
ARN = re.compile(r"arn:[a-z-]+:[a-z0-9-]+:([a-z0-9-]*):(\d*):.+")


class _State(Tolerant):
    value: str
    timestamp: Instant
    reason: str = ""


class _Detail(Tolerant):
    alarm_name: str
    state: _State


class _Event(Tolerant):
    detail_type: Literal["CloudWatch Alarm State Change"] = Field(alias="detail-type")
    account: str
    region: str
    resources: tuple[str, ...] = Field(min_length=1, description="the ARN of the alarm")
    detail: _Detail


def recognises(document: Any) -> bool:
    """Tell an alarm on a metric of floods, whatever its state is."""
    return text(document, "source") == "aws.cloudwatch" and any(_metrics(document))


def parse(document: Any, name: str) -> tuple[Finding, ...]:
    """Return the finding of an alarm that went off, or none if the alarm has come to rest.

    An alarm is one finding however often it goes off. Raises `NotAFinding`.
    """
    event = validated(_Event, document, name)
    if event.detail.state.value != ALARM:
        return ()
    return (_finding(event, [*_metrics(document)]),)


SOURCE = Source(title="AWS Shield or AWS WAF", recognises=recognises, parse=parse)


def _metrics(document: Any) -> Iterator[Metric]:
    """Yield the metrics of floods that an alarm looks at; with metric math it can be several."""
    for metric in members(document, METRICS):
        key = text(metric, "namespace"), text(metric, "name")
        if key in SIGNS:
            yield Metric(SIGNS[key], metric)


def _finding(event: _Event, metrics: list[Metric]) -> Finding:
    alarm, state = event.resources[0], event.detail.state
    subject, *related = unique(_subject(metric, event) for metric in metrics)
    worst = max((metric.sign for metric in metrics), key=lambda sign: sign.severity)
    return Finding(
        id=alarm,
        source="shield",
        type=worst.type,
        title=f"Alarm {event.detail.alarm_name}: {subject.id} is flooded",
        description=state.reason,
        severity=worst.severity,
        cloud=Cloud.AWS,
        account=subject.account,
        region=event.region,
        created_at=state.timestamp,
        updated_at=state.timestamp,
        first_seen=state.timestamp,
        last_seen=state.timestamp,
        side=Side.TARGET,
        subject=subject,
        related=tuple(related),
    )


def _subject(metric: Metric, event: _Event) -> Resource:
    """Return what is flooded; where the metric does not say, people start from the alarm."""
    here = Place(event.account, event.region)
    if acl := text(metric.told, "dimensions.WebACL"):
        # Where the ACL guards CloudFront there is no such dimension. Its ARN would end in an id,
        # which metrics do not tell.
        scope = "regional" if text(metric.told, "dimensions.Region") else "global"
        return here.resource(Kind.OTHER, f"{scope}/webacl/{acl}")
    arn = text(metric.told, "dimensions.ResourceArn")
    found = ARN.fullmatch(arn)
    if found is None:
        return here.resource(Kind.OTHER, event.resources[0])
    region, account = found.groups()
    place = Place(account or event.account, region or event.region)
    return place.resource(Kind.INSTANCE if ":instance/" in arn else Kind.OTHER, arn)
