"""ECS: the protection of tasks from scale-in, which moto lacks, and tasks that keep running.

moto's tasks go on towards their end each time that they are described, and are listed whatever
their service and state. A task that no service runs cannot be protected; a protection ends by
itself when its time is over.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult
from moto.ecs.exceptions import ServiceNotFoundException
from moto.ecs.models import EC2ContainerServiceBackend, Task
from moto.ecs.responses import EC2ContainerServiceResponse

from firedoor.lab import patch

MINUTES = 120


def install() -> None:
    """Set moto's ECS right."""
    patch.add(EC2ContainerServiceResponse, get_task_protection, update_task_protection)
    patch.around(Task, "advance", _if_asked_to_stop)
    patch.around(EC2ContainerServiceBackend, "list_tasks", _listed)


def get_task_protection(self: EC2ContainerServiceResponse) -> ActionResult:
    """Return the protection of tasks."""
    found, missing = _tasks(self, json.loads(self.body))
    return ActionResult({"protectedTasks": [_said(task) for task in found], "failures": missing})


def update_task_protection(self: EC2ContainerServiceResponse) -> ActionResult:
    """Protect tasks, or do so no more."""
    body = json.loads(self.body)
    found, failures = _tasks(self, body)
    failures += [
        {"arn": task.task_arn, "reason": "TASK_NOT_VALID", "detail": "no service runs it"}
        for task in found
        if not _of_service(task)
    ]
    served = [task for task in found if _of_service(task)]
    for task in served:
        until = datetime.now(UTC) + timedelta(minutes=body.get("expiresInMinutes", MINUTES))
        task.protected_until = until if body["protectionEnabled"] else None  # type: ignore[attr-defined]
    return ActionResult({"protectedTasks": [_said(task) for task in served], "failures": failures})


def _if_asked_to_stop(advance: Any, task: Task) -> None:
    if task.desired_status != "RUNNING":
        advance(task)


def _listed(
    original: Callable[..., list[Task]],
    backend: EC2ContainerServiceBackend,
    cluster: str,
    *by: str | None,
) -> list[Task]:
    *others, service, status = by
    found = original(backend, cluster, *others, service, status or "RUNNING")
    if not service:
        return found
    if f"{cluster.rpartition('/')[2]}:{service}" not in backend.services:
        raise ServiceNotFoundException
    return [task for task in found if task.group == f"service:{service}"]


def _tasks(
    response: EC2ContainerServiceResponse, body: dict[str, Any]
) -> tuple[list[Task], list[dict[str, str]]]:
    ids = {text.rpartition("/")[2] for text in body.get("tasks") or ()}
    cluster = body["cluster"].rpartition("/")[2]
    known = response.ecs_backend.tasks.get(cluster, {}).values()
    found = [task for task in known if not ids or task.id in ids]
    missing = sorted(ids - {task.id for task in found})
    return found, [{"arn": id, "reason": "MISSING"} for id in missing]


def _said(task: Task) -> dict[str, Any]:
    until = getattr(task, "protected_until", None)
    if until is None or until < datetime.now(UTC):
        return {"taskArn": task.task_arn, "protectionEnabled": False}
    return {"taskArn": task.task_arn, "protectionEnabled": True, "expirationDate": until}


def _of_service(task: Task) -> bool:
    return str(task.group or "").startswith("service:")
