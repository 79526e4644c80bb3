"""What a run of the detections is told, and what it tells the next one."""

from typing import Final

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime

SCHEDULE: Final = "firedoor-detection"
"""The id of the schedule; the id of each run begins with it."""


class Watch(Model):
    """What a run looks at; where logs come from, the worker that keeps them knows."""

    rules: tuple[str, ...] = Field(default=(), description="detections; none: all of them")


class Ingested(Model):
    """What was read in one go, which ends before it takes too long."""

    objects: int = 0
    rows: int = 0
    left_out: int = Field(default=0, description="objects that were not read, or not whole")
    first: UtcDatetime | None = Field(default=None, description="the time of the earliest row")
    more: bool = Field(default=False, description="whether there is more to be read")

    def __add__(self, other: "Ingested") -> "Ingested":
        firsts = [one.first for one in (self, other) if one.first is not None]
        return Ingested(
            objects=self.objects + other.objects,
            rows=self.rows + other.rows,
            left_out=self.left_out + other.left_out,
            first=min(firsts, default=None),
            more=other.more,
        )


class Episode(Model):
    """The time of an incident, by its id."""

    id: str
    since: UtcDatetime
    until: UtcDatetime


class Look(Model):
    """A time to be looked at: whatever was seen first since then, up to an instant."""

    watch: Watch
    since: UtcDatetime
    until: UtcDatetime


class Found(Model):
    """What was found in it."""

    findings: int = 0
    incidents: tuple[str, ...] = Field(default=(), description="that were told of one of these")
    problems: tuple[str, ...] = Field(default=(), description="detections that could not be asked")


class Detected(Model):
    """What a run did; the next one goes on from `until`."""

    until: UtcDatetime
    read: Ingested
    found: Found
