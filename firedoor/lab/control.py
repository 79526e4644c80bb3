"""What a test or a drill asks of the emulator itself: delays, faults, a record of calls, findings.

    POST   /moto-api/firedoor/delay     {"milliseconds": 50}
    POST   /moto-api/firedoor/faults    {"service": "ec2", "operation": "CreateSnapshots",
                                         "times": 1, "kind": "error",
                                         "code": "RequestLimitExceeded", "status": 503}
    POST   /moto-api/firedoor/hold      {"service": "ec2", "operation": "CreateSnapshots",
                                         "seconds": 5}
    DELETE /moto-api/firedoor/faults    forgets faults and holds
    GET    /moto-api/firedoor/calls     [{"service", "operation", "at", "status"}, …]
    DELETE /moto-api/firedoor/calls     forgets them
    POST   /moto-api/firedoor/findings  a GuardDuty finding as in an EventBridge event's detail
    POST   /moto-api/firedoor/trail     a CloudTrail record, or what it is to differ in from one
    POST   /moto-api/firedoor/save      marks the state of all accounts
    POST   /moto-api/firedoor/restore   goes back to the mark
    GET    /moto-api/firedoor/changes   what differs from the mark, by path: [then, now]

A call is recorded once it has taken effect, before its answer is held or lost.
"""

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from firedoor.lab import cloudtrail, state
from firedoor.lab.connection import NoAnswerError
from firedoor.lab.guardduty import detect
from firedoor.lab.iam import refusal
from firedoor.lab.request import Answer, AwsRequest, as_json
from firedoor.lab.savepoint import Savepoint
from firedoor.model.base import Model

ROOT = "/moto-api/firedoor/"

_DOCUMENT = TypeAdapter(dict[str, Any])


class Kind(StrEnum):
    """What goes wrong."""

    ERROR = "error"  # refused, no effect
    DROPPED = "dropped"  # no answer, no effect
    LOST = "lost"  # no answer, but it took effect
    HOLD = "hold"  # it took effect, and the answer comes late


TOOK_EFFECT = frozenset({Kind.LOST, Kind.HOLD})


class Fault(Model):
    """Something that goes wrong with the next calls of an operation."""

    service: str
    operation: str
    times: int = 1
    kind: Kind = Kind.ERROR
    code: str = "InternalError"
    status: int = 500
    seconds: float = 0.0


class Delay(Model):
    """How long every call takes at least."""

    milliseconds: float


class Control:
    """A WSGI application around moto's."""

    def __init__(self, moto: Callable[..., Iterable[bytes]]) -> None:
        self._moto = moto
        self._lock = threading.Lock()
        self._savepoint: Savepoint | None = None
        self._marked: state.State | None = None
        self._forget()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer a request."""
        path = environ["PATH_INFO"]
        if path.startswith(ROOT):
            answer = self._control(environ["REQUEST_METHOD"], path.removeprefix(ROOT), environ)
        elif path.startswith("/moto-api"):
            if path == "/moto-api/reset":
                self._forget()
            answer = self._pass_on(environ)
        else:
            answer = self._call(AwsRequest(environ))
        status, headers, body = answer
        start_response(status, headers)
        return [body]

    def _call(self, request: AwsRequest) -> Answer:
        time.sleep(self._delay)
        fault = self._next_fault(request)
        if fault and fault.kind == Kind.DROPPED:
            raise NoAnswerError
        answer = self._answer(request, fault)
        self._calls.append(
            {
                "service": request.service,
                "operation": request.operation,
                "at": datetime.now(UTC).isoformat(),
                "status": int(answer[0].split()[0]),
            }
        )
        cloudtrail.record(request, answer)
        if fault and fault.kind == Kind.LOST:
            raise NoAnswerError
        if fault and fault.kind == Kind.HOLD:
            time.sleep(fault.seconds)
        return answer

    def _answer(self, request: AwsRequest, fault: Fault | None) -> Answer:
        if fault and fault.kind == Kind.ERROR:
            return request.error(fault.code, "Injected by a fault drill.", fault.status)
        if no := refusal(request):
            return request.error(*no)
        try:
            return self._pass_on(request.environ)
        except NotImplementedError as error:
            return request.error("InternalFailure", f"not emulated: {error}", 501)
        except Exception as error:  # noqa: BLE001 - whatever moto lacks, a client must be told in its protocol
            traceback.print_exc(file=sys.stderr)
            return request.error("InternalFailure", f"emulator: {error!r}", 500)

    def _pass_on(self, environ: dict[str, Any]) -> Answer:
        answered: list[Any] = []
        chunks = self._moto(
            environ, lambda status, headers, _=None: answered.extend((status, headers))
        )
        body = b"".join(chunks)
        return answered[0], answered[1], body

    def _next_fault(self, request: AwsRequest) -> Fault | None:
        with self._lock:
            for index, (fault, left) in enumerate(self._faults):
                if fault.kind in TOOK_EFFECT and request.is_dry_run:
                    continue
                if (fault.service, fault.operation) == (request.service, request.operation):
                    self._faults[index : index + 1] = [(fault, left - 1)] if left > 1 else []
                    return fault
        return None

    def _control(self, method: str, name: str, environ: dict[str, Any]) -> Answer:
        body = environ["wsgi.input"].getvalue()
        try:
            match method, name:
                case "POST", "delay":
                    self._delay = Delay.model_validate_json(body).milliseconds / 1000
                case "POST", "faults":
                    self._add(Fault.model_validate_json(body))
                case "POST", "hold":
                    hold = Fault.model_validate_json(body)
                    self._add(hold.model_copy(update={"kind": Kind.HOLD}))
                case "DELETE", "faults":
                    self._faults.clear()
                case "GET", "calls":
                    return as_json(list(self._calls))
                case "DELETE", "calls":
                    self._calls.clear()
                case "POST", "findings":
                    return as_json(detect(_DOCUMENT.validate_json(body)))
                case "POST", "trail":
                    return as_json(cloudtrail.put(_DOCUMENT.validate_json(body)))
                case "POST", "save":
                    self._savepoint, self._marked = Savepoint.take(), None
                case "POST", "restore" if self._savepoint:
                    self._forget()
                    self._savepoint.restore()
                case "GET", "changes" if self._savepoint:
                    if self._marked is None:
                        self._marked = state.at(self._savepoint)
                    then = self._marked | state.since(self._savepoint)
                    return as_json(state.differences(then, state.now()))
                case _:
                    return as_json({"error": f"no {method} {ROOT}{name}"}, "404 Not Found")
        except ValidationError as error:
            return as_json({"error": str(error)}, "400 Bad Request")
        return as_json({})

    def _add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append((fault, fault.times))

    def _forget(self) -> None:
        self._delay = 0.0
        self._faults: list[tuple[Fault, int]] = []
        self._calls: deque[dict[str, Any]] = deque(maxlen=100_000)
