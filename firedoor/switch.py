"""The contract of a switch: one kind of log or of detection that a cloud can be told to start."""

from collections.abc import Callable
from dataclasses import dataclass

from firedoor.model.plan import Call


@dataclass(frozen=True, kw_only=True)
class Order:
    """Where something is to be switched on, and where its logs are to go."""

    account: str
    """The AWS account, the Azure subscription or the project of Google Cloud."""
    region: str = ""
    """The region; of Azure, the location."""
    destination: str = ""
    """`s3://bucket/prefix`, the resource id of a storage account, or `gs://bucket`."""
    only: tuple[str, ...] = ()
    """The networks, load balancers ... that are meant, by id; none of them means all."""
    all_fields: bool = False
    """Whether flow logs are to have every field, not only those that we ask of them."""
    organization: str = ""
    """The number of the organization in Google Cloud."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change, or the finding that it is not needed."""

    title: str
    """What is there afterwards: one sentence."""
    found: str = ""
    """What is there already."""
    calls: tuple[Call, ...] = ()
    """The calls that do it; none where we print commands only."""
    commands: tuple[str, ...] = ()
    """The same as commands of the cloud's own CLI."""
    undo: tuple[str, ...] = ()
    """The commands that take it back."""
    cost: str = ""
    """What it costs, roughly, and where the price is written."""
    note: str = ""
    """What one has to know besides."""

    @property
    def done(self) -> bool:
        """Whether there is nothing to do."""
        return not self.commands


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One kind of log or detection. Its id is the name of its module below `firedoor.enabling`.

    `plan(order)` only looks, and returns the steps, those that are not needed too. `apply(step,
    order)` makes the calls of a step and no others; where it is None, the commands are printed for
    a person, and nobody has looked at what is there. Both raise `BadInput` for an order that lacks
    something, and `CloudError` for what the cloud answers.
    """

    title: str
    cloud: str
    """`aws`, `azure` or `gcp`."""
    plan: Callable[[Order], tuple[Step, ...]]
    apply: Callable[[Step, Order], None] | None = None
    permissions: tuple[str, ...] = ()
    """What whoever plans and applies it has to be allowed."""
