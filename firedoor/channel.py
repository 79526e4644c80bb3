"""The channel contract: one way by which people, or their systems, are told of what happens."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from firedoor.errors import Unreachable
from firedoor.model.base import Model
from firedoor.model.message import Delivered, Message
from firedoor.settings import settings


@dataclass(frozen=True)
class Channel:
    """One way to tell people, found by discovery below `activities.records`; its id is its name.

    `deliver` tries once, in the caller's thread, for half a minute or so at most. Where the other
    side can tell a repeat from something new, a repeat of the same message is none there. It raises
    `Unreachable`, or `Busy`, for what may be tried again, and `BadInput` or `Refused` for what may
    not. No error says anything of a token, a password or the path of an address.

    `check` raises `BadInput` with the name of the setting that is missing or wrong; it asks nobody.
    """

    deliver: Callable[[Message], Delivered]
    check: Callable[[], None]
    setting: str
    """What turns the channel on: the names of its settings, as in `FIREDOOR_SMTP`."""

    @property
    def is_begun(self) -> bool:
        """Whether any of these is set: somebody then relies on the channel, and it has to work."""
        names = re.findall(r"FIREDOOR_([A-Z_]+)", self.setting)
        return any(getattr(settings(), name.lower()) is not None for name in names)


class Busy(Unreachable):
    """The other side wants to be left alone for a while, and may have said for how long."""

    def __init__(self, message: str, after: timedelta | None = None) -> None:
        super().__init__(message)
        self.after = after


class Choice(Model):
    """What a button in chat carries: which plan it is about. It has no power to decide.

    Whoever brings a press of the button to an incident has to prove who pressed it.
    """

    incident: str
    run: str
    step: str
    plan_digest: str

    @classmethod
    def of(cls, message: Message) -> "Choice | None":
        """Return what the buttons of a message carry, or None where chat cannot decide."""
        if not (message.chat and message.step and message.plan_digest):
            return None
        return cls(
            incident=message.incident,
            run=message.run,
            step=message.step,
            plan_digest=message.plan_digest,
        )
