"""Buttons that were pressed in Slack, as its interactivity sends them.

https://docs.slack.dev/authentication/verifying-requests-from-slack
https://docs.slack.dev/reference/interaction-payloads/block_actions-payload
"""

import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from firedoor.channel import Choice
from firedoor.intake._pressed import (
    Malformed,
    Pressed,
    Untrusted,
    check_fresh,
    checked_reason,
    nonce,
)
from firedoor.model.word import Answer

VERSION = "v0"
SECONDS = re.compile(r"[0-9]{1,11}")
REASON = "reason"
"""The `action_id` of the field in our messages that asks why."""


class _Sent(BaseModel):
    """Some members of what Slack sends; it adds others as it likes."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Somebody(_Sent):
    id: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    team_id: str = ""


class _Action(_Sent):
    action_id: Answer
    value: Annotated[str, StringConstraints(max_length=2000)]  # Slack's own limit
    action_ts: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,11}\.[0-9]{1,9}$")]


class _Field(_Sent):
    value: str | None = None


class _State(_Sent):
    values: dict[str, dict[str, _Field]] = {}


class _Payload(_Sent):
    type: Literal["block_actions"]
    user: _Somebody
    actions: Annotated[tuple[_Action, ...], Field(min_length=1, max_length=1)]
    state: _State | None = None
    response_url: str = ""


def read(headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime) -> Pressed:
    """Return which button was pressed, by whom and when.

    Raises `Untrusted` unless Slack has signed it lately, and `Malformed` if it is something else.
    """
    sent = headers.get("X-Slack-Request-Timestamp", "")
    if not SECONDS.fullmatch(sent):
        raise Untrusted("it has no time that Slack signed")
    mac = hmac.digest(secret, b":".join((VERSION.encode(), sent.encode(), body)), "sha256")
    given = headers.get("X-Slack-Signature", "").encode()
    if not hmac.compare_digest(f"{VERSION}={mac.hex()}".encode(), given):
        raise Untrusted("it is not signed with FIREDOOR_SLACK_SIGNING_SECRET")
    check_fresh(datetime.fromtimestamp(int(sent), UTC), now)
    payload = _payload(body)
    action = payload.actions[0]
    # Not the time of the request: a second delivery of one press has to be the same word.
    at = datetime.fromtimestamp(float(action.action_ts), UTC)
    check_fresh(at, now)
    return Pressed(
        platform="slack",
        user=payload.user.id,
        choice=_choice(action.value),
        answer=action.action_id,
        reason=_reason(payload.state),
        at=at,
        nonce=nonce("slack", payload.user.team_id, payload.user.id, action.action_ts),
        tell=payload.response_url,
    )


def _payload(body: bytes) -> _Payload:
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=4)
        (text,) = fields["payload"]
    except (KeyError, ValueError):
        raise Malformed("expected one form field, payload") from None
    try:
        return _Payload.model_validate_json(text)
    except ValidationError as error:
        raise Malformed(f"payload: {_first(error)}") from None


def _choice(value: str) -> Choice:
    try:
        return Choice.model_validate_json(value)
    except ValidationError as error:
        raise Malformed(f"value of the button: {_first(error)}") from None


def _reason(state: _State | None) -> str:
    fields = (block[REASON] for block in state.values.values() if REASON in block) if state else ()
    return checked_reason(next((field.value for field in fields), ""))


def _first(error: ValidationError) -> str:
    """Say what is wrong without saying what was there."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
