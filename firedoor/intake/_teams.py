"""What somebody said in Microsoft Teams, as an outgoing webhook brings it.

A message to the webhook says it in words: `@Firedoor approve INCIDENT RUN STEP DIGEST REASON`.
A bot of one's own that takes the buttons of cards can bring `value` instead, signed the same way.
https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-outgoing-webhook
https://learn.microsoft.com/azure/bot-service/rest-api/bot-framework-rest-connector-api-reference
"""

import base64
import binascii
import hmac
import html
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from firedoor.channel import Choice
from firedoor.errors import BadInput
from firedoor.intake._pressed import (
    Malformed,
    Pressed,
    Untrusted,
    check_fresh,
    checked_reason,
    nonce,
)
from firedoor.model.base import UtcDatetime
from firedoor.model.word import Answer

SCHEME = "HMAC "
MENTION = re.compile(r"<at[^>]*>[^<]*</at>")
TAG = re.compile(r"<[^>]*>")
WORDS = 5  # before the reason: the answer, and the four of a `Choice`

Named = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class _Sent(BaseModel):
    """Some members of what Teams sends; it adds others as it likes."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Somebody(_Sent):
    object_id: Named = Field(alias="aadObjectId")


class _Conversation(_Sent):
    id: str = ""


class _Value(_Sent):
    incident: Named
    run: Named
    step: Named
    plan_digest: Named
    answer: Answer
    reason: str = ""


class _Activity(_Sent):
    id: Named
    timestamp: UtcDatetime
    sender: _Somebody = Field(alias="from")
    conversation: _Conversation = _Conversation()
    text: str = ""
    value: _Value | None = None


def key(secret: str) -> bytes:
    """Return the key that the webhook's security token holds, or raise `BadInput`."""
    try:
        found = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not found:
        expected = "the security token that Teams shows when the outgoing webhook is made"
        raise BadInput("settings", "FIREDOOR_TEAMS_SECRET", f"expected {expected}, in base64")
    return found


def read(headers: Mapping[str, str], body: bytes, secret: bytes, now: datetime) -> Pressed:
    """Return what was said, by whom and when.

    Raises `Untrusted` unless Teams has signed it lately, and `Malformed` if it is something else.
    """
    expected = SCHEME + base64.b64encode(hmac.digest(secret, body, "sha256")).decode()
    if not hmac.compare_digest(expected.encode(), headers.get("Authorization", "").encode()):
        raise Untrusted("it is not signed with FIREDOOR_TEAMS_SECRET")
    try:
        activity = _Activity.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Malformed(f"activity: {where}: {first['msg']}") from None
    check_fresh(activity.timestamp, now)
    value = activity.value or _words(activity.text)
    return Pressed(
        platform="teams",
        user=activity.sender.object_id,
        choice=Choice(**value.model_dump(exclude={"answer", "reason"})),
        answer=value.answer,
        reason=checked_reason(value.reason),
        at=activity.timestamp,
        nonce=nonce("teams", activity.conversation.id, activity.sender.object_id, activity.id),
    )


def _words(text: str) -> _Value:
    """Read what was said in words; Teams sends them as HTML, with the mention of us among them."""
    plain = html.unescape(TAG.sub(" ", MENTION.sub(" ", text))).split()
    if len(plain) < WORDS or plain[0].lower() not in set(Answer):
        raise Malformed("expected: approve|deny INCIDENT RUN STEP DIGEST REASON")
    answer, incident, run, step, plan_digest, *reason = plain
    try:
        return _Value(
            incident=incident,
            run=run,
            step=step,
            plan_digest=plan_digest,
            answer=Answer(answer.lower()),
            reason=" ".join(reason),
        )
    except ValidationError:
        raise Malformed("a word of it is too long") from None
