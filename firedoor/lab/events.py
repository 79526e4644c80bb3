"""EventBridge: whole envelopes, and only AWS speaks for AWS.

moto leaves `account` out of the envelope, lets customers put events with a source of `aws.*` (AWS
refuses each with NotAuthorizedForSourceException), and obeys disabled rules.
"""

import json
from typing import Any

from moto.events.models import EventsBackend, Rule, events_backends
from moto.events.responses import EventsHandler
from moto.events.utils import EventTemplateParser

from firedoor.lab import patch

_NOT_FOR_YOU = {
    "ErrorCode": "NotAuthorizedForSourceException",
    "ErrorMessage": "Not authorized for the source.",
}


def install() -> None:
    """Set moto's EventBridge right."""
    patch.around(EventTemplateParser, "parse", _whole)
    patch.around(Rule, "send_to_targets", _unless_disabled)
    patch.add(EventsHandler, put_events)


def emit(account: str, region: str, source: str, detail_type: str, detail: dict[str, Any]) -> None:
    """Put an event on the default bus as an AWS service does."""
    event = {"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}
    events_backends[account][region].put_events([event])


def put_events(self: EventsHandler) -> str:
    """Take the events of a customer, who may not claim to be AWS."""
    backend: EventsBackend = self.events_backend
    events = self._get_param("Entries")
    own = iter(backend.put_events([e for e in events if not _claims_to_be_aws(e)]))
    entries = [_NOT_FOR_YOU if _claims_to_be_aws(e) else next(own) for e in events]
    failed = sum("ErrorCode" in e for e in entries)
    return json.dumps({"FailedEntryCount": failed, "Entries": entries})


def _whole(
    transformed: Any, input_template: str | None, input_paths_map: Any, event: dict[str, Any]
) -> Any:
    """Without an input transformer a target gets the matched event itself, every member of it."""
    if input_template:
        return transformed(input_template, input_paths_map, event)
    return {name: value for name, value in event.items() if name != "ingestion-time"}


def _unless_disabled(send: Any, rule: Rule, *args: Any, **kwargs: Any) -> None:
    if rule.state != "DISABLED":
        send(rule, *args, **kwargs)


def _claims_to_be_aws(event: dict[str, Any]) -> bool:
    return str(event.get("Source", "")).startswith("aws.")
