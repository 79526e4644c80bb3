"""What people are told while an incident runs: by every channel of the policy, beside the steps."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

from firedoor import telling
from firedoor.model.message import Delivered, Message, Occasion
from workflows.book import Book
from workflows.calls import PATIENCE_TO_DELIVER, call, reason


class Bulletin:
    """Brings messages to people. Nothing waits for that, and nothing depends on it."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.under_way: list[asyncio.Task[None]] = []

    def announce(self, occasion: Occasion, key: str, text: str = "") -> None:
        """Tell people of a step, by the channels that carry such messages."""
        message = self._message(occasion, key, text)
        for name, route in self._book.policy.channels.items():
            if route.carries(message):
                self.under_way.append(asyncio.create_task(self._deliver(name, message)))

    async def _deliver(self, channel: str, message: Message) -> None:
        """Bring a message; that it does not arrive decides nothing, and is on record."""
        what = f"{message.step}: {message.occasion} by {channel}"
        try:
            done = await call(
                f"records.{channel}.deliver", message, Delivered, PATIENCE_TO_DELIVER, what
            )
        except ActivityError as error:
            self._book.tell("message.failed", message.step, f"{channel}: {reason(error)}")
        else:
            self._book.tell("message.delivered", message.step, f"{channel}: {done.answer}")

    def _message(self, occasion: Occasion, key: str, text: str) -> Message:
        book = self._book
        return telling.message(
            book.steps[key],
            occasion,
            text,
            id=str(workflow.uuid4()),
            at=workflow.now(),
            incident=book.id,
            run=book.run,
            subject=book.subject.path,
            severity=book.severity(),
            voters=book.voters(key),
        )
