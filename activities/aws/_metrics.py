"""Figures of CloudWatch, for how much a thing is used and whether it has come to rest."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from firedoor.cloud.aws import Aws

MOST_POINTS = 1440
"""Of one answer: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html."""


def points(
    aws: Aws,
    metric: str,
    dimensions: Mapping[str, str],
    since: datetime,
    until: datetime,
    *,
    statistic: str = "Sum",
    period: timedelta = timedelta(minutes=1),
) -> list[tuple[datetime, float]]:
    """Read a metric, `AWS/Lambda Invocations`, as the beginnings of periods and their values."""
    namespace, _, name = metric.partition(" ")
    answer = aws.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=since,
        EndTime=until,
        Period=int(period.total_seconds()),
        Statistics=[statistic],
    )
    return sorted((point["Timestamp"], point[statistic]) for point in answer["Datapoints"])
