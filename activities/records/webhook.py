"""Any system of one's own, by a webhook that is signed as Standard Webhooks has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import hmac
import time

from activities.records._post import Address, address, post, secret
from activities.records._words import name
from firedoor.channel import Channel
from firedoor.errors import BadInput
from firedoor.model.base import canonical
from firedoor.model.message import Delivered, Message
from firedoor.settings import settings

URL = "FIREDOOR_NOTIFY_WEBHOOK"
SECRET = "FIREDOOR_NOTIFY_SECRET"  # noqa: S105 - the name of it

PREFIX = "whsec_"
SHORTEST, LONGEST = 24, 64
"""Bytes that a secret may have."""

EXPECTED = (
    f"{PREFIX} and the base64 of {SHORTEST} to {LONGEST} random bytes,"
    " as in `echo whsec_$(openssl rand -base64 32)`"
)


def deliver(message: Message) -> Delivered:
    """Post the message as it is, in canonical JSON, signed with each of the secrets.

    A receiver knows a repeat by its `webhook-id`, which is made of the message's id.
    """
    to, keys = _target()
    body = canonical(message)
    id, now = f"msg_{name(message.id)}", str(int(time.time()))
    signed = b".".join((id.encode(), now.encode(), body))
    signatures = [
        base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys
    ]
    headers = {
        "webhook-id": id,
        "webhook-timestamp": now,
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
    post("webhook", to, body, headers)
    return Delivered(channel="webhook", answer=id)


def check() -> None:
    """Raise `BadInput` unless there are an address and a secret."""
    _target()


CHANNEL = Channel(deliver=deliver, check=check, setting=f"{URL} and {SECRET}")


def _target() -> tuple[Address, tuple[bytes, ...]]:
    # Inside a network of one's own there may be no TLS; the signature holds there, too.
    to = address(settings().notify_webhook, URL, tls=False)
    value = settings().notify_secret
    if value is None or not (secrets := value.get_secret_value().split()):
        raise BadInput("settings", SECRET, f"not set; expected {EXPECTED}")
    return to, tuple(_key(secret(one, SECRET, EXPECTED)) for one in secrets)


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.startswith(PREFIX) or not SHORTEST <= len(key) <= LONGEST:
        raise BadInput("settings", SECRET, f"expected {EXPECTED}")
    return key
