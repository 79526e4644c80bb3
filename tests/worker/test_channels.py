"""Channels as activities: what their errors become on the way to the workflow."""

import threading
import time
import traceback
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from firedoor.channel import Busy, Channel
from firedoor.discovery import find
from firedoor.errors import BadInput, Refused, Unreachable
from firedoor.model.finding import Severity
from firedoor.model.message import Delivered, Message, Occasion
from firedoor.testing import NOW
from worker import channels

MESSAGE = Message(
    id="1",
    occasion=Occasion.ALARM,
    at=NOW,
    incident="incident/1",
    run="run",
    step="isolate",
    subject="aws/123456789012/us-east-1/instance/i-0aaaaaaaaaaaaaaaa",
    severity=Severity.HIGH,
    title="It drifted",
)


def made(deliver: Any) -> Any:
    channel = Channel(deliver=deliver, check=lambda: None, setting="FIREDOOR_NONE")
    (one,) = channels.activities_of({"owl": channel})
    return one


def raising(error: Exception) -> Any:
    def deliver(_: Message) -> Delivered:
        raise error

    return made(deliver)


async def caught(error: Exception) -> ApplicationError:
    with pytest.raises(ApplicationError) as found:
        await ActivityEnvironment().run(raising(error), MESSAGE)
    return found.value


def test_every_channel_has_an_activity_and_a_test() -> None:
    names = {activity._Definition.must_from_callable(one).name for one in channels.activities()}

    assert names == {
        f"records.{name}.deliver"
        for name in ("slack", "teams", "pagerduty", "sns", "email", "webhook")
    }
    assert len(names) == len(find("activities.records", Channel))


async def test_answer_comes_back_and_the_server_hears_that_we_are_alive() -> None:
    beats: list[object] = []
    threads: list[str] = []

    def deliver(message: Message) -> Delivered:
        threads.append(threading.current_thread().name)
        time.sleep(0.8)
        return Delivered(channel="owl", answer=message.id)

    environment = ActivityEnvironment()
    environment.on_heartbeat = lambda *details: beats.append(details)

    delivered = await environment.run(made(deliver), MESSAGE)

    assert delivered == Delivered(channel="owl", answer="1")
    assert beats
    assert threads[0].startswith("channel")


async def test_busy_is_tried_again_when_the_other_side_says() -> None:
    error = await caught(Busy("owl: HTTP 429", timedelta(seconds=7)))

    assert (error.type, error.non_retryable) == ("Busy", False)
    assert error.next_retry_delay == timedelta(seconds=7)


async def test_unreachable_is_tried_again_by_the_workflows_own_pace() -> None:
    error = await caught(Unreachable("owl: no answer in time"))

    assert (error.type, error.non_retryable) == ("Unreachable", False)
    assert error.next_retry_delay is None


@pytest.mark.parametrize(
    "error", [Refused("owl: HTTP 403"), BadInput("settings", "FIREDOOR_OWL", "not set")]
)
async def test_what_a_repeat_cannot_mend_is_not_tried_again(error: Exception) -> None:
    mapped = await caught(error)

    assert (mapped.type, mapped.non_retryable) == (type(error).__name__, True)
    assert mapped.message == str(error)


async def test_bug_of_a_channel_says_where_and_not_what_could_be_secret() -> None:
    with capture_logs() as logged:
        error = await caught(ValueError("Invalid header value b'Bearer s3cr3t'"))

    assert (error.type, error.non_retryable) == ("Bug", True)
    assert "owl: ValueError at deliver, line" in error.message
    assert "s3cr3t" not in "".join(traceback.format_exception(error)) + str(logged)
    assert (logged[0]["event"], logged[0]["incident"]) == ("action.broken", "incident/1")
