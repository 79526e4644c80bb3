"""Amazon SNS, and whatever is subscribed to a topic: queues, functions, mail, telephones.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

import json
import re
from functools import cache
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnection

from activities.records._post import secret
from activities.records._words import headline, name, plain, shortened
from firedoor.channel import Busy, Channel
from firedoor.cloud.aws import CONFIG
from firedoor.errors import BadInput, Refused, Unreachable
from firedoor.model.base import canonical
from firedoor.model.message import Delivered, Message
from firedoor.settings import settings

TOPIC = "FIREDOOR_SNS_TOPIC"

ARN = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]+):\d{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?")

SUBJECT = 99
SMS = 140
LARGEST = 250_000
"""Bytes of a message; SNS takes 262,144 with its attributes."""

LISTED = 20
SENTENCE = 600
"""What is left of the lists, and of each sentence, if a message is larger."""

THROTTLED = frozenset({"KMSThrottling", "Throttled", "Throttling", "ThrottlingException"})


class _Topic(NamedTuple):
    arn: str
    region: str
    is_fifo: bool


def deliver(message: Message) -> Delivered:
    """Publish the message: as canonical JSON for programs, as text for mail and telephones.

    A FIFO topic knows a repeat within five minutes; elsewhere receivers know it by the `id`.
    Needs `sns:Publish` on the topic, and `kms:GenerateDataKey` and `kms:Decrypt` on a key of one's
    own by which it is encrypted.
    """
    topic = _topic()
    try:
        answer = _client(topic.region).publish(**_request(topic, message))
    except ClientError as error:
        raise _refusal(error) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise Refused(f"sns: {error}") from error
    except (NoConnection, HTTPClientError) as error:
        raise Unreachable(f"sns in {topic.region}: {error}") from error
    except BotoCoreError as error:
        raise Refused(f"sns: {error}") from error
    return Delivered(channel="sns", answer=answer["MessageId"])


def check() -> None:
    """Raise `BadInput` unless there is the ARN of a topic."""
    _topic()


CHANNEL = Channel(deliver=deliver, check=check, setting=TOPIC)


def _topic() -> _Topic:
    expected = "the ARN of a topic, as in arn:aws:sns:us-east-1:123456789012:incidents"
    arn = secret(settings().sns_topic, TOPIC, expected)
    if not (found := ARN.fullmatch(arn)):
        raise BadInput("settings", TOPIC, f"expected {expected}")
    return _Topic(arn, found[1], found[2] is not None)


@cache
def _client(region: str) -> Any:
    return boto3.session.Session().client("sns", region_name=region, config=CONFIG)


def _request(topic: _Topic, message: Message) -> dict[str, Any]:
    text = {
        "default": _fitting(message),
        "email": plain(message),
        "sms": _ascii(headline(message), SMS),
    }
    filtered = {
        "incident": message.incident,
        "step": message.step,
        "occasion": message.occasion.value,
        "severity": message.severity.value,
    }
    request = {
        "TopicArn": topic.arn,
        "Subject": _ascii(headline(message), SUBJECT),
        "Message": json.dumps(text),
        "MessageStructure": "json",
        "MessageAttributes": {
            key: {"DataType": "String", "StringValue": value}
            for key, value in filtered.items()
            if value
        },
    }
    if topic.is_fifo:
        request |= {
            "MessageGroupId": name(message.incident),
            "MessageDeduplicationId": name(message.id),
        }
    return request


def _fitting(message: Message) -> str:
    """Return the message in canonical JSON, with shorter lists if it would be too large for SNS."""
    whole = canonical(message)
    if len(whole) > LARGEST:
        less = {
            key: tuple(shortened(text, SENTENCE) for text in getattr(message, key)[:LISTED])
            for key in ("plans", "blast_radius", "lost")
        }
        text = shortened(message.text, SENTENCE)
        to = message.to[:LISTED]
        whole = canonical(message.model_copy(update={**less, "text": text, "to": to}))
    return whole.decode()


def _ascii(text: str, longest: int) -> str:
    """Return a line as SNS takes it for a subject; what is not ASCII becomes a question mark."""
    line = shortened(text, longest).replace("…", "~").encode("ascii", "replace").decode()
    return line.lstrip() or "Firedoor"


def _refusal(error: ClientError) -> Busy | Unreachable | BadInput | Refused:
    code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]
    said = f"sns: {error}"
    if code in THROTTLED or status["HTTPStatusCode"] == 429:
        return Busy(said)
    if status["HTTPStatusCode"] >= 500:
        return Unreachable(said)
    if code in {"NotFound", "NotFoundException"}:
        return BadInput("settings", TOPIC, f"there is no such topic ({error})")
    return Refused(said)
