"""What must never be touched, and who may decide; pinned into each incident."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, IPvAnyNetwork, StringConstraints

from firedoor.model.base import Model, digest

TAGS: Mapping[str, str] = {"firedoor:protected": "*"}
"""Protects whatever carries it, under every policy."""


def _an_id(pattern: str) -> str:
    # An ARN would never match, and so protect nothing: plans name resources by their ids.
    if pattern.startswith("arn:"):
        raise ValueError("expected the id alone, as in i-0123456789abcdef0 or prod-*, not an ARN")
    return pattern


def _an_arn(pattern: str) -> str:
    # A bare name would never match either.
    if not pattern.startswith(("arn:", "*")):
        raise ValueError(
            "expected an ARN, as in arn:aws:iam::123456789012:role/break-glass or *:root"
        )
    return pattern


Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Protected(Model):
    """What no plan may lay hands on. Upper and lower case are not told apart."""

    tags: dict[Text, Text] = Field(
        default={**TAGS}, description="tag to value; * stands for any characters"
    )
    resources: tuple[Annotated[Text, AfterValidator(_an_id)], ...] = Field(
        default=(),
        description="ids, those of Firedoor's own hosts too; * stands for any characters",
    )
    principals: tuple[Annotated[Text, AfterValidator(_an_arn)], ...] = Field(
        default=(), description="ARNs, for one of the break-glass role; * stands for any characters"
    )
    accounts: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-z-]+$")], ...] = ()
    networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="never blocked, beside private, reserved and catch-all networks"
    )


class Policy(Model):
    """The guard rails and the responders of one day."""

    responders: tuple[Text, ...] = Field(default=(), description="names of those who may decide")
    protected: Protected = Protected()

    @property
    def digest(self) -> str:
        """The name by which a history refers to this exact policy."""
        return digest(self)
