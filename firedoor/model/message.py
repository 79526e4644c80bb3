"""What people are told: a view of the record, with how to decide, and never the power to."""

from enum import StrEnum

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime
from firedoor.model.finding import Severity


class Occasion(StrEnum):
    """Why people are told."""

    ASKED = "asked"  # a plan waits for a decision
    ESCALATED = "escalated"  # nobody decided, so others are asked too
    EXPIRED = "expired"  # nobody decided at all, which is no
    RATIFY = "ratify"  # something was done under standing authority
    ALARM = "alarm"  # what was contained is so no longer
    TOLD = "told"  # a step of the runbook tells people


class Addressee(Model):
    """One person who is meant, as the channels know them."""

    name: str
    email: str | None = None
    slack: str | None = None
    teams: str | None = None


class Message(Model):
    """One message, the same for every channel."""

    id: str = Field(description="the same for every attempt to deliver it")
    occasion: Occasion
    at: UtcDatetime
    incident: str
    run: str
    step: str = ""
    subject: str = Field(description="path of what the incident is about")
    severity: Severity
    title: str = Field(description="one line: what happened, to what")
    text: str = Field(default="", description="what people should know or do")
    plans: tuple[str, ...] = Field(default=(), description="one sentence for each plan")
    blast_radius: tuple[str, ...] = ()
    lost: tuple[str, ...] = Field(default=(), description="what undo cannot bring back")
    plan_digest: str = Field(default="", description="what a decision would be bound to")
    deadline: UtcDatetime | None = None
    how: str = Field(default="", description="the command that decides")
    chat: bool = Field(default=False, description="whether a decision in chat would count")
    to: tuple[Addressee, ...] = ()


class Route(Model):
    """Which messages a channel carries."""

    occasions: tuple[Occasion, ...] = Field(default=(), description="none means all")
    severities: tuple[Severity, ...] = Field(default=(), description="none means all")

    def carries(self, message: Message) -> bool:
        """Tell whether a message goes this way."""
        return (not self.occasions or message.occasion in self.occasions) and (
            not self.severities or message.severity in self.severities
        )


class Delivered(Model):
    """What a channel answered."""

    channel: str
    answer: str = Field(description="the other side's answer, for one its id of the message")
