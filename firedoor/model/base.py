"""The base of all values, and the digest by which people and histories refer to one."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated

import rfc8785
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict


class Model(BaseModel):
    """A frozen value whose members are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def canonical(value: BaseModel) -> bytes:
    """Return the value's canonical JSON (RFC 8785): the same bytes wherever it is made."""
    return rfc8785.dumps(value.model_dump(mode="json"))


def digest(value: BaseModel) -> str:
    """Return the SHA-256 of the value's canonical JSON, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:  # it is of another kind than pydantic reports
        raise ValueError("expected a time that UTC can say, too") from error


UtcDatetime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""An instant; naive times are refused, other zones are converted."""
