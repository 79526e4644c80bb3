"""The queue: nothing is lost, whatever is in it and whatever fails."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import boto3
import pytest

from firedoor.errors import BadInput, Unreachable
from firedoor.intake import sqs
from firedoor.intake.sqs import Pace
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Finding

FAST = Pace(
    poll=timedelta(seconds=1),
    visibility=timedelta(seconds=20),
    patience=timedelta(seconds=10),
    again=timedelta(seconds=1),
    pause=timedelta(milliseconds=10),
    longest_pause=timedelta(milliseconds=50),
)


@dataclass(frozen=True)
class Queues:
    """A queue whose unreadable messages go to another."""

    client: Any
    url: str
    dead: str

    def send(self, *bodies: str) -> list[str]:
        """Put messages into the queue, and return their ids."""
        return [
            self.client.send_message(QueueUrl=self.url, MessageBody=body)["MessageId"]
            for body in bodies
        ]

    def held(self) -> int:
        """Return how many messages are in the queue, visible or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def dead_letters(self) -> list[dict[str, Any]]:
        """Take the messages out of the dead-letter queue."""
        answer = self.client.receive_message(
            QueueUrl=self.dead, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return list(answer.get("Messages", []))


@pytest.fixture
def queues(aws: object) -> Queues:
    client = boto3.client("sqs")
    dead = client.create_queue(QueueName="dead")["QueueUrl"]
    arn = client.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": "50"}
    url = client.create_queue(
        QueueName="findings", Attributes={"RedrivePolicy": json.dumps(redrive)}
    )["QueueUrl"]
    return Queues(client, url, dead)


def event(id: str) -> str:
    """Return what EventBridge puts into the queue for a GuardDuty finding."""
    detail = {
        "schemaVersion": "2.0",
        "accountId": "123456789012",
        "region": "us-east-1",
        "partition": "aws",
        "id": id,
        "arn": f"arn:aws:guardduty:us-east-1:123456789012:detector/d/finding/{id}",
        "type": "UnauthorizedAccess:EC2/SSHBruteForce",
        "resource": {
            "resourceType": "Instance",
            "instanceDetails": {"instanceId": "i-0aaaaaaaaaaaaaaaa"},
        },
        "service": {
            "serviceName": "guardduty",
            "detectorId": "d",
            "action": {},
            "resourceRole": "TARGET",
            "eventFirstSeen": "2026-01-01T11:50:00.000Z",
            "eventLastSeen": "2026-01-01T11:55:00.000Z",
            "archived": False,
            "count": 1,
        },
        "severity": 5,
        "createdAt": "2026-01-01T12:00:00.000Z",
        "updatedAt": "2026-01-01T12:00:00.000Z",
        "title": "SSH brute force attacks",
        "description": "Somebody tries passwords.",
    }
    return json.dumps(
        {
            "version": "0",
            "id": "00000000-0000-0000-0000-000000000000",
            "detail-type": "GuardDuty Finding",
            "source": "aws.guardduty",
            "account": "123456789012",
            "time": "2026-01-01T12:00:00Z",
            "region": "us-east-1",
            "resources": [],
            "detail": detail,
        }
    )


async def drain(
    queues: Queues,
    deliver: Callable[[Finding], Awaitable[object]],
    *,
    until: Callable[[], bool],
    pace: Pace = FAST,
    dead_letter_url: str | None = None,
) -> None:
    """Run the intake until something is so."""
    stop = asyncio.Event()
    running = asyncio.create_task(sqs.run(queues.url, dead_letter_url, deliver, stop, pace=pace))
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(until) and not running.done():
            await asyncio.sleep(0.05)
        stop.set()
        await running


class Inbox:
    """Takes findings, and keeps their ids in the order of their arrival."""

    def __init__(self, *trouble: Exception) -> None:
        self.ids: list[str] = []
        self.trouble = list(trouble)

    async def deliver(self, finding: Finding) -> None:
        """Take a finding, unless there is trouble left."""
        if self.trouble:
            raise self.trouble.pop()
        self.ids.append(finding.id)


async def test_delivered_messages_are_deleted(queues: Queues) -> None:
    inbox = Inbox()
    queues.send(event("a"), event("b"))

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 0)

    assert sorted(inbox.ids) == ["a", "b"]


async def test_a_message_that_came_through_sns_is_unwrapped(queues: Queues) -> None:
    inbox = Inbox()
    queues.send(json.dumps({"Type": "Notification", "MessageId": "m", "Message": event("a")}))

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 0)

    assert inbox.ids == ["a"]


@pytest.mark.parametrize("body", ["no JSON", '{"an": "order"}', "[" * 9000, '"\\u0000"', "null"])
async def test_an_unreadable_message_is_set_aside_with_the_reason_and_the_others_go_on(
    queues: Queues, body: str
) -> None:
    inbox = Inbox()
    _, unreadable, _ = queues.send(event("a"), body, event("b"))

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 0)
    (letter,) = queues.dead_letters()
    attributes = {name: v["StringValue"] for name, v in letter["MessageAttributes"].items()}

    assert sorted(inbox.ids) == ["a", "b"]
    assert letter["Body"] == body
    assert attributes.pop("firedoor.reason").startswith(f"message {unreadable}: ")
    assert attributes == {"firedoor.message": unreadable}


async def test_without_a_dead_letter_queue_an_unreadable_message_stays(queues: Queues) -> None:
    queues.client.set_queue_attributes(QueueUrl=queues.url, Attributes={"RedrivePolicy": ""})
    inbox = Inbox()
    queues.send("no JSON", event("a"))

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 1)

    assert inbox.ids == ["a"]
    assert queues.held() == 1


async def test_a_named_dead_letter_queue_comes_before_that_of_the_redrive_policy(
    queues: Queues,
) -> None:
    other = queues.client.create_queue(QueueName="other")["QueueUrl"]
    queues.send("no JSON")

    await drain(queues, Inbox().deliver, until=lambda: queues.held() == 0, dead_letter_url=other)
    answer = queues.client.receive_message(QueueUrl=other)

    assert [message["Body"] for message in answer["Messages"]] == ["no JSON"]
    assert queues.dead_letters() == []


async def test_an_unreadable_message_of_a_fifo_queue_is_set_aside_too(queues: Queues) -> None:
    fifo = {"Attributes": {"FifoQueue": "true"}}
    source = queues.client.create_queue(QueueName="findings.fifo", **fifo)["QueueUrl"]
    dead = queues.client.create_queue(QueueName="dead.fifo", **fifo)["QueueUrl"]
    queues = Queues(queues.client, source, dead)
    queues.client.send_message(
        QueueUrl=source, MessageBody="no JSON", MessageGroupId="g", MessageDeduplicationId="1"
    )

    await drain(queues, Inbox().deliver, until=lambda: queues.held() == 0, dead_letter_url=dead)

    assert [letter["Body"] for letter in queues.dead_letters()] == ["no JSON"]


@pytest.mark.parametrize(
    "trouble", [Unreachable("Temporal does not answer"), KeyError("a bug")], ids=["outage", "bug"]
)
async def test_rule_15_no_finding_is_lost_when_delivery_fails(
    queues: Queues, trouble: Exception
) -> None:
    inbox = Inbox(trouble)
    queues.send(event("a"), event("b"), event("c"))

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 0)

    assert sorted(inbox.ids) == ["a", "b", "c"]


async def test_rule_15_no_finding_is_lost_when_nothing_can_be_delivered(queues: Queues) -> None:
    inbox = Inbox(*[Unreachable("Temporal does not answer")] * 6)
    queues.send(event("a"), event("b"), event("c"))

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 0)

    assert sorted(inbox.ids) == ["a", "b", "c"]


async def test_rule_15_no_finding_is_lost_when_it_cannot_be_set_aside(queues: Queues) -> None:
    queues.send("no JSON")
    nowhere = f"{queues.dead}-gone"
    tries = 0

    def tried() -> bool:
        nonlocal tries
        tries += 1
        return tries > 5

    await drain(queues, Inbox().deliver, until=tried, dead_letter_url=nowhere)

    assert queues.held() == 1


async def test_one_delivery_that_hangs_stops_neither_its_neighbours_nor_the_receiver(
    queues: Queues,
) -> None:
    inbox = Inbox()
    hung = False

    async def deliver(finding: Finding) -> None:
        nonlocal hung
        if finding.id == "slow" and not hung:
            hung = True
            await asyncio.sleep(60)
        await inbox.deliver(finding)

    queues.send(event("slow"), event("a"))
    pace = replace(FAST, patience=timedelta(seconds=0.3))

    await drain(queues, deliver, until=lambda: queues.held() == 0, pace=pace)

    assert sorted(inbox.ids) == ["a", "slow"]


async def test_a_message_in_work_is_given_to_nobody_else(queues: Queues) -> None:
    inbox = Inbox()

    async def deliver(finding: Finding) -> None:
        await asyncio.sleep(4.5)
        await inbox.deliver(finding)

    queues.send(event("a"))
    pace = replace(FAST, visibility=timedelta(seconds=3))

    stop = asyncio.Event()
    both = [asyncio.create_task(sqs.run(queues.url, None, deliver, stop, pace=pace)) for _ in "ab"]
    while await asyncio.to_thread(queues.held):
        await asyncio.sleep(0.1)
    stop.set()
    await asyncio.gather(*both)

    assert inbox.ids == ["a"]


async def test_a_backlog_is_worked_off_by_several_receivers(queues: Queues) -> None:
    inbox = Inbox()
    together = most = 0

    async def deliver(finding: Finding) -> None:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.5)
        together -= 1
        await inbox.deliver(finding)

    ids = [f"f-{n:03}" for n in range(60)]
    await asyncio.to_thread(queues.send, *map(event, ids))

    await drain(queues, deliver, until=lambda: queues.held() == 0)

    assert sorted(inbox.ids) == ids
    assert sqs.BATCH < most <= sqs.BATCH * sqs.RECEIVERS


async def test_stopping_ends_a_long_poll_at_once(queues: Queues) -> None:
    stop = asyncio.Event()
    pace = replace(FAST, poll=timedelta(seconds=5))
    running = asyncio.create_task(sqs.run(queues.url, None, Inbox().deliver, stop, pace=pace))
    await asyncio.sleep(0.5)

    stop.set()
    async with asyncio.timeout(2):
        await running


async def test_what_is_in_work_when_stopping_is_finished(queues: Queues) -> None:
    inbox = Inbox()
    begun = asyncio.Event()

    async def deliver(finding: Finding) -> None:
        begun.set()
        await asyncio.sleep(0.5)
        await inbox.deliver(finding)

    queues.send(event("a"))
    stop = asyncio.Event()
    running = asyncio.create_task(sqs.run(queues.url, None, deliver, stop, pace=FAST))
    await begun.wait()
    stop.set()
    await running

    assert inbox.ids == ["a"]
    assert queues.held() == 0


KILLED = """
import asyncio, sys
from datetime import timedelta
from firedoor import telemetry
from firedoor.intake import sqs

async def deliver(finding):
    print(finding.id, flush=True)
    await asyncio.sleep(60)

telemetry.configure()
pace = sqs.Pace(visibility=timedelta(seconds=2))
asyncio.run(sqs.run(sys.argv[1], None, deliver, asyncio.Event(), pace=pace))
"""


async def test_rule_15_no_finding_is_lost_when_the_process_is_killed_in_the_middle(
    queues: Queues,
) -> None:
    inbox = Inbox()
    queues.send(event("a"))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, queues.url], stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "a\n"
        process.send_signal(signal.SIGKILL)

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 0)

    assert inbox.ids == ["a"]


async def test_rule_15_no_finding_is_lost_while_sqs_itself_fails(
    queues: Queues, lab: EmulatedAws
) -> None:
    inbox = Inbox()
    queues.send(event("a"))
    for operation, times in {"ReceiveMessage": 3, "DeleteMessageBatch": 6}.items():
        fault = {"service": "sqs", "operation": operation, "times": times, "status": 503}
        lab.control("POST", "firedoor/faults", fault)
    pace = replace(FAST, visibility=timedelta(seconds=2))

    await drain(queues, inbox.deliver, until=lambda: queues.held() == 0, pace=pace)

    assert inbox.ids == ["a", "a"]


async def test_a_queue_that_does_not_exist_is_bad_input(queues: Queues) -> None:
    with pytest.raises(BadInput, match=r"queue: .*/missing: "):
        await sqs.run(f"{queues.url}/missing", None, Inbox().deliver, asyncio.Event())


async def test_a_queue_that_cannot_be_asked_now_is_unreachable(
    queues: Queues, lab: EmulatedAws
) -> None:
    fault = {"service": "sqs", "operation": "GetQueueAttributes", "times": 3, "status": 503}
    lab.control("POST", "firedoor/faults", fault)

    with pytest.raises(Unreachable, match="SQS does not answer"):
        await sqs.run(queues.url, None, Inbox().deliver, asyncio.Event())


async def test_without_a_region_the_queue_cannot_be_used(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)

    with pytest.raises(BadInput, match="region"):
        await sqs.run(queues.url, None, Inbox().deliver, asyncio.Event())


async def test_a_server_that_does_not_answer_is_unreachable(
    queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(Unreachable, match="SQS does not answer"):
        await sqs.run(queues.url, None, Inbox().deliver, asyncio.Event())
