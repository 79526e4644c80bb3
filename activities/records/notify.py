"""Telling people what happens: a line in the log, and a webhook where one is set."""

import json
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import structlog
from pydantic import Field, JsonValue

from firedoor.action import Action, Permissions, receipt
from firedoor.errors import BadInput, Unreachable
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import Plan, Receipt, Target
from firedoor.settings import settings

TIMEOUT = 10  # seconds

LOG = "log"

log = structlog.get_logger()


class Params(Model):
    """What a runbook may set."""

    message: str = Field(default="", description="what people should know or do")


def plan(target: Target, params: Params, cloud: None) -> tuple[Plan, ...]:  # noqa: ARG001 - told, not looked up
    """Tell people about the incident, in the log and by the webhook."""
    url = settings().notify_webhook
    told = [LOG, _host(url)] if url else [LOG]
    return (
        Plan(
            action="records.notify",
            target=target,
            lease=f"{target.incident}/{target.step}",
            params={"message": _text(target, params.message)},
            summary=f"Tell {' and '.join(told)} about {target.subject.kind} {target.subject.id}.",
            before={"told": [*told]},
        ),
    )


def apply(plan: Plan, cloud: None) -> Receipt:  # noqa: ARG001
    """Write the log line, and post to the webhook.

    Raises `Unreachable` if the webhook does not take it. A repeat says the same under the same id.
    """
    message = {
        "id": plan.digest,
        "text": plan.params["message"],
        "incident": plan.target.incident,
        "step": plan.target.step,
        "subject": plan.target.subject.path,
        "summary": plan.summary,
    }
    log.info("incident.notified", **message)
    told: dict[str, JsonValue] = {LOG: "incident.notified"}
    # The address is a secret with many services, so it is in no plan.
    if url := settings().notify_webhook:
        told[_host(url)] = _post(url, message)
    return receipt(plan, created=told)


ACTION = Action(
    nature=Nature.RECORD,
    kinds=frozenset(Kind),
    plan=plan,
    apply=apply,
    params=Params,
    permissions=Permissions(plan=()),
    function="RS.CO",
)


class _StayHere(HTTPRedirectHandler):
    """Follows no redirect: a POST would arrive elsewhere as a GET, without its body."""

    def redirect_request(
        self,
        req: Request,  # noqa: ARG002
        fp: IO[bytes],  # noqa: ARG002
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,  # noqa: ARG002
    ) -> None:
        """Make the redirect the error that it is."""
        return


def _text(target: Target, message: str) -> str:
    subject = target.subject
    where = f"{subject.kind} {subject.id} in {subject.cloud} {subject.account} {subject.region}"
    return f"{target.incident}: {where}" + (f": {message}" if message else "")


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"}:
        raise BadInput("settings", "notify_webhook", "a URL of http or https")
    return host


def _post(url: str, message: Mapping[str, JsonValue]) -> str:
    """Post a message as JSON, and return the status of the answer."""
    request = Request(  # noqa: S310 - the scheme was checked
        url,
        data=json.dumps(message).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "firedoor"},
        method="POST",
    )
    try:
        with build_opener(_StayHere).open(request, timeout=TIMEOUT) as answer:
            return f"HTTP {answer.status}"
    except HTTPError as error:
        raise Unreachable(f"webhook at {_host(url)}: HTTP {error.code}") from None
    except OSError as error:
        raise Unreachable(f"webhook at {_host(url)}: {error}") from error
    except HTTPException as error:  # its text may hold the whole address
        raise Unreachable(f"webhook at {_host(url)}: {type(error).__name__}") from None
