"""VPC flow logs: what moto has differently from AWS in making them and in reading them back.

AWS, and in brackets moto:

- A bucket may be named with a folder below it (the folder counts as part of the bucket's name).
- A log group may be named by its ARN (HTTP 500).
- DestinationOptions come back as they were given (are forgotten).
- The filter `deliver-log-status` looks at the status (takes every one for SUCCESS).
- FilterLogEvents can be limited to streams whose names begin alike (reads all streams).

No records are written by themselves: a test puts them where AWS would, in the log stream
`eni-…-all` or in the bucket.
"""

from typing import Any

from moto.ec2.models.flow_logs import FlowLogs, FlowLogsBackend
from moto.ec2.responses import EC2Response
from moto.logs.responses import LogsResponse

from firedoor.lab import patch

_OPTIONS = {
    "FileFormat": "plain-text",
    "HiveCompatiblePartitions": False,
    "PerHourPartition": False,
}


_NO_STREAM = ":"  # a name that none can have


def install() -> None:
    """Set moto's flow logs right."""
    patch.around(FlowLogsBackend, "create_flow_logs", _where)
    patch.around(FlowLogs, "get_filter_value", _filtered)
    patch.around(EC2Response, "create_flow_logs", _with_options)
    patch.around(LogsResponse, "filter_log_events", _in_streams)
    FlowLogs.destination_options = None  # type: ignore[attr-defined]


def _where(create: Any, backend: Any, *args: Any, **given: Any) -> Any:
    """Let moto check that the bucket or the log group exists, and keep what was given."""
    destination = given.get("log_destination")
    kind = given.get("log_destination_type") or "cloud-watch-logs"
    if destination and kind == "s3":
        given["log_destination"] = destination.split("/", 1)[0]
    elif destination and kind == "cloud-watch-logs":
        given["log_group_name"] = destination.split(":log-group:", 1)[-1].removesuffix(":*")
    logs, errors = create(backend, *args, **given)
    for log in logs:
        log.log_destination = destination
    return logs, errors


def _filtered(value: Any, log: Any, name: str, method: str | None = None) -> Any:
    return log.deliver_logs_status if name == "deliver-log-status" else value(log, name, method)


def _with_options(create: Any, self: EC2Response) -> Any:
    answer = create(self)
    given = self._get_param("DestinationOptions") or {}
    for id in answer.result["FlowLogIds"]:
        log: Any = self.ec2_backend.flow_logs[id]
        if log.log_destination_type == "s3":
            log.destination_options = _OPTIONS | given
    return answer


def _in_streams(read: Any, self: LogsResponse) -> Any:
    prefix = self._get_param("logStreamNamePrefix")
    group = self.logs_backend.groups.get(self._get_param("logGroupName"))
    if not prefix or group is None:
        return read(self)
    # With no name in the list moto reads all streams, and AWS allows both parameters only singly.
    names = [name for name in group.streams if name.startswith(prefix)] or [_NO_STREAM]
    given: Any = self
    asked = self._get_param
    given._get_param = lambda name, *default: (
        names if name == "logStreamNames" else asked(name, *default)
    )
    return read(self)
