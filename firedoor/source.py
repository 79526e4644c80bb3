"""The contract of a finding source, and what all of them need to read a document of others."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from firedoor.errors import NotAFinding
from firedoor.model.finding import Finding


@dataclass(frozen=True, kw_only=True)
class Source:
    """One detector. Its id is the name of its module below `firedoor.findings`: `guardduty`.

    `recognises(document)` says whether a decoded JSON document is one of its own, be it damaged.
    `parse(document, name)` returns the findings in it; `name` is what people call the document.
    It raises `NotAFinding` that tells them the member that is wrong.
    """

    title: str
    recognises: Callable[[Any], bool]
    parse: Callable[[Any, str], tuple[Finding, ...]]


class Tolerant(BaseModel):
    """What we read of a document that others write.

    Unknown members are ignored. Null, empty text and empty objects count as absent. The case of
    names does not matter: one API writes `instanceId` in events and `InstanceId` in answers.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _known_members(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        known = {_fold(name): field.alias or name for name, field in cls.model_fields.items()}
        present = {_fold(name): member for name, member in value.items() if not _is_void(member)}
        return {known[name]: member for name, member in present.items() if name in known}


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except OverflowError as error:
        raise ValueError("expected a time within the years 1 to 9999") from error


Instant = Annotated[datetime, AfterValidator(_in_utc)]
"""A time as others write it: in any zone, in none, which means UTC, or in epoch seconds."""

T = TypeVar("T", bound=Tolerant)
V = TypeVar("V")


def validated(model: type[T], document: Any, name: str) -> T:
    """Return the document as a model.

    Raises `NotAFinding` with the path of the first member that is wrong.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise NotAFinding(name, _path(first), _expectation(first)) from error


def members(document: Any, path: str) -> Iterator[Any]:
    """Yield what stands at a path such as `portProbeDetails[].remoteIpDetails`.

    What is absent, void or of another shape yields nothing; the case of names does not matter.
    """
    name, _, rest = path.partition(".")
    if not isinstance(document, dict):
        return
    wanted = _fold(name.removesuffix("[]"))
    value = next((v for k, v in document.items() if _fold(k) == wanted and not _is_void(v)), None)
    found = value if name.endswith("[]") and isinstance(value, list) else [value]
    for one in found:
        if rest:
            yield from members(one, rest)
        elif not _is_void(one):
            yield one


def texts(document: Any, *paths: str) -> tuple[str, ...]:
    """Return every text that stands at one of the paths, in their order."""
    found = (value for path in paths for value in members(document, path))
    return tuple(value for value in found if isinstance(value, str))


def text(document: Any, *paths: str, default: str = "") -> str:
    """Return the first text that stands at one of the paths."""
    return next(iter(texts(document, *paths)), default)


def unique(values: Iterable[V]) -> tuple[V, ...]:
    """Return the values in their order, each once."""
    return tuple(dict.fromkeys(values))


def addresses(found: Iterable[str]) -> tuple[IPv4Address | IPv6Address, ...]:
    """Return the texts that are addresses, each once; another is no reason to lose a finding."""
    known = []
    for one in found:
        with suppress(ValueError):
            known.append(ip_address(one))
    return unique(known)


def _fold(name: object) -> str:
    return str(name).replace("_", "").replace("-", "").lower()


def _is_void(value: Any) -> bool:
    return value is None or value in ("", {}, [])


def _path(error: ErrorDetails) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    return path.removeprefix(".")


def _expectation(error: ErrorDetails) -> str:
    match error["type"]:
        case "missing":
            return "expected, but missing"
        case "model_type" | "dict_type":
            return "expected an object"
        case "value_error":
            return str(error["ctx"]["error"])
    return error["msg"].replace("Input should be", "expected").partition(", ")[0]
