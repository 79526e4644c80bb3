"""Logs as JSON lines or for a terminal, and metrics: one set-up for Firedoor and for Temporal."""

import logging
import sys
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.types import EventDict, Processor

from firedoor.errors import BadInput

if TYPE_CHECKING:
    from temporalio.runtime import Runtime

# They tell at INFO what they do for every request.
CHATTY = ("asyncio", "azure", "boto3", "botocore", "urllib3", "httpx")


def configure(
    *, json: bool = True, stream: TextIO | None = None, level: int = logging.INFO
) -> None:
    """Send all logs of the process to a stream, stderr by default, one line for each event.

    Every line has the time in UTC, the level, the event, the incident and the step, which are null
    where there is none. Lines of workflows and activities say of which, and are not repeated while
    a history is replayed.
    """
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.addFilter(_is_new)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *_common()],
            processors=[ProcessorFormatter.remove_processors_meta, *_rendering(json, stream)],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *_common(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


def bind(*, incident: str, step: str) -> AbstractContextManager[None]:
    """Put an incident and a step on every line that is logged inside the context."""
    return structlog.contextvars.bound_contextvars(incident=incident, step=step)


@cache
def runtime(metrics: str | None) -> "Runtime":
    """Return the Temporal runtime of this process, whose own logs go where ours go.

    `metrics` is the host:port on which Prometheus finds the metrics; None means no metrics. Raises
    `BadInput` if it is no address, or taken.
    """
    from temporalio import activity, workflow  # takes 0.1 s, which not every command has to pay
    from temporalio import runtime as temporal

    # Which workflow and activity it is stands in fields of its own.
    workflow.logger.workflow_info_on_message = workflow.logger.workflow_info_on_extra = False
    activity.logger.activity_info_on_message = activity.logger.activity_info_on_extra = False
    logs = temporal.LoggingConfig(
        filter=temporal.TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=temporal.LogForwardingConfig(
            logging.getLogger("temporal.core"), append_target_to_name=False
        ),
    )
    prometheus = metrics and temporal.PrometheusConfig(
        bind_address=metrics,
        durations_as_seconds=True,
        counters_total_suffix=True,
        unit_suffix=True,
    )
    try:
        return temporal.Runtime(
            telemetry=temporal.TelemetryConfig(
                logging=logs, metrics=prometheus or None, global_tags={"service": "firedoor"}
            ),
            worker_heartbeat_interval=timedelta(seconds=10),
        )
    except (RuntimeError, ValueError) as error:
        if metrics is None:
            raise
        raise BadInput("metrics", metrics, str(error)) from error


def _common() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _add_time,
        _add_place,
        structlog.processors.StackInfoRenderer(),
    ]


def _rendering(json: bool, stream: TextIO) -> list[Processor]:
    if json:
        return [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(sort_keys=True, default=str),
        ]
    return [_without_nulls, structlog.dev.ConsoleRenderer(colors=stream.isatty())]


def _is_new(_: logging.LogRecord) -> bool:
    workflow = sys.modules.get("temporalio.workflow")
    return not (
        workflow and workflow.in_workflow() and workflow.unsafe.is_replaying_history_events()
    )


def _add_time(_: Any, __: str, event: EventDict) -> EventDict:
    record = event.get("_record")  # of a library; Temporal's core hands its lines on a little later
    at = datetime.fromtimestamp(record.created, UTC) if record else datetime.now(UTC)
    return {"timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), **event}


def _add_place(_: Any, __: str, event: EventDict) -> EventDict:
    return {"incident": None, "step": None, **_place(), **event}


def _place() -> dict[str, Any]:
    """Return where in Temporal this is, without importing Temporal for those who are not in it."""
    workflow = sys.modules.get("temporalio.workflow")
    activity = sys.modules.get("temporalio.activity")
    if workflow and workflow.in_workflow():
        info = workflow.info()
        return {**_incident(info.workflow_id), "workflow": info.workflow_id, "run": info.run_id}
    if activity and activity.in_activity():
        info = activity.info()
        return {
            **_incident(info.workflow_id),
            "workflow": info.workflow_id,
            "run": info.workflow_run_id,
            "activity": info.activity_type,
            "attempt": info.attempt,
        }
    return {}


def _incident(workflow_id: str | None) -> dict[str, str]:
    return {"incident": workflow_id} if workflow_id and workflow_id.startswith("incident/") else {}


def _without_nulls(_: Any, __: str, event: EventDict) -> EventDict:
    return {name: value for name, value in event.items() if value is not None}
