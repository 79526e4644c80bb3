"""The webhook, against a receiver that knows only the specification of Standard Webhooks."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest

from activities.records.webhook import CHANNEL
from firedoor.errors import BadInput
from firedoor.model.base import canonical
from firedoor.model.message import Message

OLD = b"an old secret that lives on a while"
NEW = b"a new secret that is to replace it"


def shown(secret: bytes) -> str:
    return f"whsec_{base64.b64encode(secret).decode()}"


def is_ours(got: Any, secret: bytes, now: float) -> bool:
    """Verify a request as the specification wants a receiver to do it."""
    id, at = got.headers["webhook-id"], got.headers["webhook-timestamp"]
    signed = f"{id}.{at}.".encode() + got.body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    versions = [part.split(",", 1) for part in got.headers["webhook-signature"].split(" ")]
    return (
        "." not in id
        and abs(now - int(at)) < 300
        and any(v == "v1" and hmac.compare_digest(s, expected) for v, s in versions)
    )


@pytest.fixture
def webhook(use: Any, receiver: Any) -> Any:
    use(notify_webhook=receiver.url, notify_secret=shown(NEW))
    return receiver


def test_receiver_can_tell_that_it_was_us(webhook: Any, message: Any) -> None:
    CHANNEL.deliver(message())

    assert webhook.only.headers["content-type"].partition(";")[0] == "application/json"
    assert is_ours(webhook.only, NEW, time.time())
    assert not is_ours(webhook.only, OLD, time.time())


def test_body_is_the_message_in_canonical_json(webhook: Any, message: Any) -> None:
    sent = message(title="a \u202e title", plans=("\x1b[2J", "<b>&"))

    CHANNEL.deliver(sent)

    assert webhook.only.body == canonical(sent)
    assert Message.model_validate_json(webhook.only.body) == sent


def test_repeat_has_the_same_id_and_another_message_another(webhook: Any, message: Any) -> None:
    first, again, other = (
        CHANNEL.deliver(message(id=id)).answer for id in ("a.b/1", "a.b/1", "a.b/2")
    )

    ids = [got.headers["webhook-id"] for got in webhook.got]
    assert ids == [first, again, other]
    assert first == again != other
    assert all(is_ours(got, NEW, time.time()) for got in webhook.got)


def test_two_secrets_sign_while_one_replaces_the_other(
    use: Any, webhook: Any, message: Any
) -> None:
    use(notify_secret=f"{shown(NEW)} {shown(OLD)}")

    CHANNEL.deliver(message())

    assert is_ours(webhook.only, OLD, time.time())
    assert is_ours(webhook.only, NEW, time.time())


@pytest.mark.parametrize(
    "secret",
    ["", "hunter2", shown(b"short"), shown(b"l" * 65), "whsec_*", NEW.decode(), shown(NEW)[6:]],
)
def test_secret_of_another_form_is_not_used(
    secret: str, use: Any, webhook: Any, message: Any
) -> None:
    use(notify_secret=secret)

    with pytest.raises(BadInput, match="FIREDOOR_NOTIFY_SECRET") as found:
        CHANNEL.deliver(message())

    assert not secret or secret not in str(found.value)
    assert webhook.got == []


def test_message_carries_no_secret(webhook: Any, message: Any) -> None:
    CHANNEL.deliver(message())

    assert shown(NEW)[6:] not in json.dumps([webhook.only.headers, webhook.only.json])
