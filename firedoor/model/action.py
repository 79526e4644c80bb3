"""What an action is for, and when the steps that need it may go on."""

from enum import StrEnum


class Nature(StrEnum):
    """What an action is for, which settles how it is run."""

    CONTAINMENT = "containment"  # a lease: held, watched and reverted
    EVIDENCE = "evidence"  # preserved; never reverted, and never stops containment by failing
    RECORD = "record"  # people told, systems informed
    TASK = "task"  # a person's work, signed off when it is done
    RELEASE = "release"  # a containment that is to be let go, as its term is over


class Barrier(StrEnum):
    """When the steps that need an evidence step may go on."""

    STARTED = "started"
    ENDED = "ended"
