"""Channels as activities: `slack` becomes `records.slack.deliver`, and so on."""

import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from temporalio import activity

from firedoor.channel import Channel
from firedoor.discovery import find
from firedoor.errors import FiredoorError
from firedoor.model.message import Delivered, Message
from worker.performing import perform

# Of their own: a service that hangs keeps no action waiting.
THREADS = ThreadPoolExecutor(16, thread_name_prefix="channel")


class Broken(Exception):
    """A channel has a bug."""


@cache
def activities() -> tuple[Callable[..., Any], ...]:
    """Return the activities of all channels, found by discovery."""
    return activities_of(find("activities.records", Channel))


def activities_of(channels: Mapping[str, Channel]) -> tuple[Callable[..., Any], ...]:
    """Return the activities of these channels."""
    return tuple(_of(name, channel) for name, channel in channels.items())


def _of(name: str, channel: Channel) -> Callable[..., Any]:
    @activity.defn(name=f"records.{name}.deliver")
    async def deliver(message: Message) -> Delivered:
        return await perform(
            THREADS, message.incident, message.step, lambda: _deliver(name, channel, message)
        )

    return deliver


def _deliver(name: str, channel: Channel, message: Message) -> Delivered:
    try:
        return channel.deliver(message)
    except FiredoorError:
        raise
    except Exception as bug:  # noqa: BLE001 - raised anew
        # Its text could hold a token, and would end up in a history: say only what and where.
        *_, last = traceback.extract_tb(bug.__traceback__)
        raise Broken(f"{name}: {type(bug).__name__} at {last.name}, line {last.lineno}") from None
