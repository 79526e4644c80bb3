"""SQS as the way in: findings that EventBridge or SNS put into a queue.

A message is deleted only when all its findings are delivered. One that cannot be read goes to the
dead-letter queue with the reason. Whatever else goes wrong, the message comes back later, so that
a finding can be delivered twice, and delivery has to allow for that.
"""

import asyncio
import json
import math
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from firedoor.errors import BadInput, FiredoorError, NotAFinding, Unreachable
from firedoor.model.finding import Finding
from firedoor.reading import parse

T = TypeVar("T")

BATCH = 10  # the most that SQS gives or takes at once
RECEIVERS = 4
CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=3,
    read_timeout=30,  # longer than the longest poll
    max_pool_connections=4 * RECEIVERS,
    user_agent_extra="firedoor",
)

log = structlog.get_logger()

Deliver = Callable[[Finding], Awaitable[object]]
"""Returns when the finding is in safe hands; raises when it is not. May be called twice for one."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long to wait for what."""

    poll: timedelta = timedelta(seconds=20)  # SQS allows no more
    visibility: timedelta = timedelta(seconds=60)  # prolonged while a message is in work
    patience: timedelta = timedelta(minutes=2)  # for one message to be delivered
    again: timedelta = timedelta(seconds=30)  # after a failure; doubled at each further one
    longest_again: timedelta = timedelta(minutes=15)
    pause: timedelta = timedelta(seconds=1)  # of a receiver to which nothing succeeds; doubled too
    longest_pause: timedelta = timedelta(seconds=30)


async def run(
    queue_url: str,
    dead_letter_url: str | None,
    deliver: Deliver,
    stop: asyncio.Event,
    *,
    pace: Pace | None = None,
) -> None:
    """Deliver every finding of a queue until `stop` is set.

    Without `dead_letter_url` unreadable messages go to the target of the queue's redrive policy.
    Where the queue has none they are left in it. Raises `BadInput` if the queue cannot be used and
    `Unreachable` if SQS does not answer at the start; later on it keeps trying.
    """
    intake = await asyncio.to_thread(_open, queue_url, dead_letter_url, deliver, pace or Pace())
    log.info("queue.opened", queue=queue_url, dead_letter=intake.dead_letter_url)
    async with asyncio.TaskGroup() as receivers:
        intake.begin(stop, receivers)
    log.info("queue.left", queue=queue_url)


def _open(queue_url: str, dead_letter_url: str | None, deliver: Deliver, pace: Pace) -> "_Intake":
    try:
        client = boto3.client("sqs", config=CONFIG)
        answer = client.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["RedrivePolicy"])
        policy = answer.get("Attributes", {}).get("RedrivePolicy")
        if dead_letter_url is None and policy:
            account, name = json.loads(policy)["deadLetterTargetArn"].split(":")[-2:]
            url = client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
            dead_letter_url = url["QueueUrl"]
    except (NoConnection, HTTPClientError) as error:
        raise Unreachable(f"SQS does not answer: {error}") from error
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
            raise Unreachable(f"SQS does not answer: {error}") from error
        raise BadInput("queue", queue_url, str(error)) from error
    except BotoCoreError as error:  # no region, no credentials
        raise BadInput("queue", queue_url, str(error)) from error
    return _Intake(client, queue_url, dead_letter_url, deliver, pace)


@dataclass(frozen=True)
class _Message:
    id: str
    receipt: str
    body: str
    received: int  # how many times so far


class _Intake:
    """One queue with what is done to its messages."""

    def __init__(
        self, client: Any, url: str, dead_letter_url: str | None, deliver: Deliver, pace: Pace
    ) -> None:
        self.dead_letter_url = dead_letter_url
        self._client = client
        self._url = url
        self._deliver = deliver
        self._pace = pace
        self._receivers = 0

    def begin(self, stop: asyncio.Event, receivers: asyncio.TaskGroup) -> None:
        """Start one more receiver."""
        self._receivers += 1
        receivers.create_task(self._receive(stop, receivers, helping=self._receivers > 1))

    async def _receive(
        self, stop: asyncio.Event, receivers: asyncio.TaskGroup, *, helping: bool
    ) -> None:
        """Take batch after batch; a full one calls for help, which leaves when there is no more."""
        pause = self._pace.pause
        while not stop.is_set():
            batch = await self._next(stop)
            if helping and not batch:
                break
            if batch and len(batch) == BATCH and self._receivers < RECEIVERS:
                self.begin(stop, receivers)
            if batch is None or (batch and not await self._work(batch)):
                await _sleep(pause, stop)
                pause = min(2 * pause, self._pace.longest_pause)
            else:
                pause = self._pace.pause
        self._receivers -= 1

    async def _next(self, stop: asyncio.Event) -> list[_Message] | None:
        """Return the messages that are there, or None if SQS does not say."""
        try:
            return await _unless(stop, lambda: self._poll(stop)) or []
        except (ClientError, BotoCoreError) as error:
            log.error("queue.not_read", queue=self._url, error=str(error))
            return None

    def _poll(self, stop: asyncio.Event) -> list[_Message]:
        answer = self._client.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=_seconds(self._pace.poll),
            VisibilityTimeout=_seconds(self._pace.visibility),
            MessageSystemAttributeNames=["ApproximateReceiveCount"],
        )
        messages = [_message(raw) for raw in answer.get("Messages", [])]
        if messages and stop.is_set():  # nobody waits for them here any more, but others may
            self._hide(messages, timedelta(0))
            return []
        return messages

    async def _work(self, batch: Sequence[_Message]) -> int:
        """Deliver messages side by side, delete what is done, and return how many that were."""
        async with self._hidden(batch) as unfinished:
            settled = await asyncio.gather(*(self._settle(m, unfinished) for m in batch))
            done = [message for message, ok in zip(batch, settled, strict=True) if ok]
            await self._delete(done)
        log.info("queue.batch", received=len(batch), done=len(done))
        return len(done)

    async def _settle(self, message: _Message, unfinished: set[_Message]) -> bool:
        """Deliver one message or set it aside, and tell whether it may be deleted."""
        try:
            async with asyncio.timeout(self._pace.patience.total_seconds()):
                await self._handle(message)
        except Exception as error:  # whatever it was, the message stays and the others go on
            again = self._pace.again * 2 ** min(message.received - 1, 16)
            again = min(again, self._pace.longest_again)
            log.error(
                "message.stays",
                message=message.id,
                again_in=again.total_seconds(),
                error=str(error) or type(error).__name__,
                exc_info=not isinstance(error, FiredoorError | TimeoutError),
            )
            unfinished.discard(message)
            await self._try(self._hide, [message], again)
            return False
        return True

    async def _handle(self, message: _Message) -> None:
        try:
            findings = parse(_document(message), f"message {message.id}")
        except NotAFinding as error:
            if self.dead_letter_url is None:
                raise
            await asyncio.to_thread(self._set_aside, message, str(error))
            return
        for finding in findings:
            await self._deliver(finding)

    def _set_aside(self, message: _Message, reason: str) -> None:
        log.warning(
            "message.unreadable", message=message.id, reason=reason, to=self.dead_letter_url
        )
        url = str(self.dead_letter_url)
        fifo = {"MessageGroupId": "unreadable", "MessageDeduplicationId": message.id}
        self._client.send_message(
            QueueUrl=url,
            MessageBody=message.body,
            MessageAttributes={
                "firedoor.reason": {"DataType": "String", "StringValue": _legal(reason)},
                "firedoor.message": {"DataType": "String", "StringValue": message.id},
            },
            **fifo if url.endswith(".fifo") else {},
        )

    @asynccontextmanager
    async def _hidden(self, batch: Sequence[_Message]) -> AsyncIterator[set[_Message]]:
        """Keep messages from being given to others for as long as they are in work here."""
        unfinished = set(batch)

        async def prolong() -> None:
            while True:
                await asyncio.sleep(self._pace.visibility.total_seconds() / 2)
                if unfinished:
                    await self._try(self._hide, tuple(unfinished), self._pace.visibility)

        prolonging = asyncio.create_task(prolong())
        try:
            yield unfinished
        finally:
            prolonging.cancel()

    def _hide(self, messages: Sequence[_Message], span: timedelta) -> None:
        entries = [{**entry, "VisibilityTimeout": _seconds(span)} for entry in _entries(messages)]
        self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    async def _delete(self, messages: Sequence[_Message]) -> None:
        """Delete messages; one that stays all the same comes again, which does no harm."""
        left = list(messages)
        for _ in range(2):
            if left:
                entries = _entries(left)
                answer = await self._try(
                    self._client.delete_message_batch, QueueUrl=self._url, Entries=entries
                )
                deleted = {int(entry["Id"]) for entry in (answer or {}).get("Successful", [])}
                left = [message for n, message in enumerate(left) if n not in deleted]
        if left:
            log.warning("message.not_deleted", messages=[message.id for message in left])

    async def _try(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T | None:
        try:
            return await asyncio.to_thread(call, *args, **kwargs)
        except (ClientError, BotoCoreError) as error:
            log.warning("queue.not_told", queue=self._url, error=str(error))
            return None


def _message(raw: dict[str, Any]) -> _Message:
    received = int(raw.get("Attributes", {}).get("ApproximateReceiveCount", 1))
    return _Message(raw["MessageId"], raw["ReceiptHandle"], raw["Body"], received)


def _document(message: _Message) -> Any:
    """Return what a message holds, out of the envelope of SNS if it came that way."""
    document = _json(message.body, message.id)
    match document:
        case {"Type": "Notification", "Message": str(inner)}:
            return _json(inner, message.id)
    return document


def _json(text: str, message: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotAFinding(f"message {message}", "", f"expected JSON, but {error}") from error


def _entries(messages: Sequence[_Message]) -> list[dict[str, Any]]:
    return [{"Id": str(n), "ReceiptHandle": m.receipt} for n, m in enumerate(messages)]


def _legal(text: str) -> str:
    # SQS refuses the characters that XML 1.0 does not know.
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)[:500] or "?"


def _seconds(span: timedelta) -> int:
    return math.ceil(span.total_seconds())


async def _sleep(span: timedelta, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), span.total_seconds())


async def _unless(stop: asyncio.Event, poll: Callable[[], T]) -> T | None:
    """Return what a long poll returns, or None as soon as `stop` is set.

    The poll has a thread to itself for which nobody has to wait, not even the end of the process.
    """
    polled: Future[T] = Future()
    polled.set_running_or_notify_cancel()

    def work() -> None:
        try:
            polled.set_result(poll())
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            polled.set_exception(error)

    threading.Thread(target=work, name="sqs-poll", daemon=True).start()
    answer = asyncio.wrap_future(polled)
    stopped = asyncio.ensure_future(stop.wait())
    either: set[asyncio.Future[Any]] = {answer, stopped}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return answer.result() if answer.done() else None
    finally:
        stopped.cancel()
        answer.cancel()
