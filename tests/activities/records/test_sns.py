"""SNS, against the emulated AWS, and read back from a queue that is subscribed."""

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from activities.records import sns
from activities.records.sns import CHANNEL
from firedoor.cloud.aws import Aws
from firedoor.errors import BadInput, Refused, Unreachable
from firedoor.lab.server import EmulatedAws
from firedoor.model.base import canonical
from firedoor.model.message import Message

Read = Callable[[], list[Any]]


@pytest.fixture(autouse=True)
def own_clients(aws: Aws) -> None:
    """Work in an account that is empty, with clients that remember no other."""
    sns._client.cache_clear()


def subscribed(name: str, **attributes: str) -> tuple[str, Read]:
    """Make a topic and a queue; return its ARN, and what reads the queue."""
    topics, queues = boto3.client("sns"), boto3.client("sqs")
    topic = topics.create_topic(
        Name=name, Attributes={"FifoTopic": "true", **attributes} if attributes else {}
    )["TopicArn"]
    queue = queues.create_queue(
        QueueName=name, Attributes={"FifoQueue": "true"} if attributes else {}
    )["QueueUrl"]
    named = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=named["Attributes"]["QueueArn"])

    def read() -> list[Any]:
        got = queues.receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, AttributeNames=["MessageGroupId"]
        )
        return [{**json.loads(m["Body"]), **m.get("Attributes", {})} for m in got["Messages"]]

    return topic, read


def test_subscribers_get_the_message_and_can_filter(use: Any, message: Any) -> None:
    topic, read = subscribed("incidents")
    use(sns_topic=topic)
    sent = message()

    delivered = CHANNEL.deliver(sent)

    (got,) = read()
    assert delivered.answer == got["MessageId"]
    assert got["Subject"] == "Decide on isolate: i-0aaaaaaaaaaaaaaaa"
    assert got["Message"].encode() == canonical(sent)
    assert {key: value["Value"] for key, value in got["MessageAttributes"].items()} == {
        "incident": sent.incident,
        "step": "isolate",
        "occasion": "asked",
        "severity": "high",
    }


def test_fifo_topic_takes_a_repeat_once(use: Any, message: Any) -> None:
    topic, read = subscribed("incidents.fifo", ContentBasedDeduplication="false")
    use(sns_topic=topic)

    for id in ("a/1", "a/1", "a/2"):
        CHANNEL.deliver(message(id=id))

    got = read()
    assert [json.loads(one["Message"])["id"] for one in got] == ["a/1", "a/2"]
    assert len({one["MessageGroupId"] for one in got}) == 1


@pytest.mark.parametrize(
    ("title", "subject"),
    [
        ("é\nX-Header: 1\x00", "? X-Header: 1\\u0000"),
        ("t" * 200, "t" * 98 + "~"),
        ("\u3000 \t", "Firedoor"),
    ],
)
def test_subject_is_one_that_sns_takes(title: str, subject: str, use: Any, message: Any) -> None:
    topic, read = subscribed("incidents")
    use(sns_topic=topic)

    CHANNEL.deliver(message(title=title))

    (got,) = read()
    assert got["Subject"] == subject
    assert len(subject) < 100


def test_people_get_text_and_programs_json(message: Any, said: tuple[str, ...]) -> None:
    topic = sns._Topic("arn:aws:sns:us-east-1:123456789012:t", "us-east-1", is_fifo=False)

    texts = json.loads(sns._request(topic, message())["Message"])

    assert [text for text in said if text not in texts["email"]] == []
    assert texts["sms"] == "Decide on isolate: i-0aaaaaaaaaaaaaaaa"


def test_message_that_is_too_large_loses_what_does_not_decide(use: Any, message: Any) -> None:
    topic, read = subscribed("incidents")
    use(sns_topic=topic)
    many = tuple("x" * 1000 for _ in range(1000))
    sent = message(text="y" * 10**6, plans=many, blast_radius=many, lost=many)

    CHANNEL.deliver(sent)

    (got,) = read()
    assert len(got["Message"]) < 256 * 1024
    arrived = Message.model_validate_json(got["Message"])
    kept = ("id", "incident", "run", "step", "plan_digest", "deadline", "how", "to")
    assert [getattr(arrived, key) for key in kept] == [getattr(sent, key) for key in kept]


def test_topic_that_is_not_there_is_named(use: Any, message: Any) -> None:
    use(sns_topic="arn:aws:sns:us-east-1:123456789012:nowhere")

    with pytest.raises(BadInput, match="FIREDOOR_SNS_TOPIC: there is no such topic"):
        CHANNEL.deliver(message())


def test_region_is_that_of_the_topic(use: Any, message: Any) -> None:
    region = "eu-central-1"
    topic = boto3.client("sns", region_name=region).create_topic(Name="there")["TopicArn"]
    use(sns_topic=topic)

    assert CHANNEL.deliver(message()).answer


def test_aws_that_does_not_answer_is_tried_again(
    use: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(sns_topic="arn:aws:sns:us-east-1:123456789012:t")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    with pytest.raises(Unreachable, match="sns in us-east-1"):
        CHANNEL.deliver(message())


@pytest.mark.parametrize("status", [500, 503])
def test_aws_that_fails_is_tried_again(
    status: int, use: Any, receiver: Any, message: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(sns_topic="arn:aws:sns:us-east-1:123456789012:t")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{receiver.server_port}")
    receiver.answers((status, b""))

    with pytest.raises(Unreachable):
        CHANNEL.deliver(message())

    assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("code", "status", "retryable"),
    [("Throttling", 400, True), ("AuthorizationError", 403, False)],
)
def test_what_aws_refuses_is_tried_again_only_if_it_was_too_much(
    code: str,
    status: int,
    retryable: bool,
    use: Any,
    receiver: Any,
    message: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(sns_topic="arn:aws:sns:us-east-1:123456789012:t")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{receiver.server_port}")
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error></ErrorResponse>"
    receiver.answers((status, body.encode()))

    with pytest.raises((Unreachable, Refused), match=code) as found:
        CHANNEL.deliver(message())

    assert found.value.retryable is retryable


def test_without_credentials_nothing_is_tried_again(
    use: Any, message: Any, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(sns_topic="arn:aws:sns:us-east-1:123456789012:t")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(Refused, match="credentials"):
        CHANNEL.deliver(message())


@pytest.mark.parametrize(
    "arn", ["incidents", "arn:aws:sqs:us-east-1:123456789012:q", "arn:aws:sns"]
)
def test_what_is_no_topic_is_not_used(arn: str, use: Any) -> None:
    use(sns_topic=arn)

    with pytest.raises(BadInput, match="FIREDOOR_SNS_TOPIC: expected the ARN of a topic"):
        CHANNEL.check()
