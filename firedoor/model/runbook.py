"""A runbook: which findings it answers, and with which steps, in which order, approved by whom."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum

from pydantic import Field, JsonValue, field_validator
from pydantic_core import PydanticCustomError

from firedoor.model.base import Model, digest
from firedoor.model.finding import Finding, Kind, Side
from firedoor.model.length import Length

NAME = r"^[a-z][a-z0-9_]*$"
REFERENCE = "$"

# What a step may take over from the finding, written `$addresses`, and how it is written down then.
FACTS: Mapping[str, Callable[[Finding], JsonValue]] = {
    "access_keys": lambda finding: list(finding.access_keys),
    "addresses": lambda finding: [str(address) for address in finding.addresses],
    "domains": lambda finding: list(finding.domains),
    "first_seen": lambda finding: finding.first_seen.isoformat(),
    "local_addresses": lambda finding: [str(address) for address in finding.local_addresses],
    "ports": lambda finding: list(finding.ports),
    "region": lambda finding: finding.region,
}


class Approval(StrEnum):
    """Whether a person decides on a step's plan before it is applied."""

    ASK = "ask"
    AUTO = "auto"


class When(Model):
    """The findings that a runbook answers: any of the types, on any of the kinds."""

    types: tuple[str, ...] = Field(
        min_length=1, description="patterns of type names; * stands for any characters"
    )
    kinds: tuple[Kind, ...] = Field(default=(), description="kinds of subject; none means any")
    side: Side | None = Field(
        default=None,
        description="where the subject stands: brute force by our instance is not brute force"
        " against it; none means either",
    )
    min_severity: float = Field(default=0, ge=0, le=10)

    def matches(self, finding: Finding) -> int | None:
        """Return how exactly it matches, as fixed characters of the best pattern, or None.

        The runbook that matches a finding most exactly answers it. Two that could match one finding
        equally well are an error in the catalogue, so the choice never depends on their order.
        """
        if finding.severity < self.min_severity:
            return None
        if self.kinds and finding.subject.kind not in self.kinds:
            return None
        if self.side is not None and finding.side is not self.side:
            return None
        fits = [exactness(pattern) for pattern in self.types if _fits(pattern, finding.type)]
        return max(fits, default=None)


def exactness(pattern: str) -> int:
    """Return how many characters of a pattern are fixed."""
    return len(pattern.replace("*", ""))


def resolve(params: Mapping[str, JsonValue], finding: Finding) -> dict[str, JsonValue]:
    """Return a step's parameters with every reference replaced by what the finding says.

    Pure: workflows call it, and every replay must find the same.
    """
    return {name: _resolved(value, finding) for name, value in params.items()}


class Step(Model):
    """One effect; the subject's cloud decides which action brings it about."""

    id: str = Field(pattern=NAME)
    do: str = Field(pattern=NAME, description="an effect without its cloud, e.g. isolate_instance")
    on: Kind | None = Field(
        default=None, description="act on the finding's subjects of this kind; none: on the first"
    )
    needs: tuple[str, ...] = Field(default=(), description="ids of steps that come first")
    approval: Approval = Approval.ASK
    deadline: Length = Field(
        default=timedelta(minutes=15), gt=timedelta(0), description="silence until then is no"
    )
    term: Length | None = Field(
        default=None,
        gt=timedelta(0),
        description="how long it holds until people are asked to open it again; none: until they do"
        " so by themselves. Doubles with each time that the same was held before",
    )
    params: dict[str, JsonValue] = Field(
        default_factory=dict,
        alias="with",
        description="for the action; $addresses and the like are taken from the finding",
    )
    waives: tuple[str, ...] = Field(
        default=(), description="evidence that the action wants first, and that is given up here"
    )
    because: str = Field(
        default="", description="why nobody is asked before a containment, or evidence is waived"
    )

    model_config = {**Model.model_config, "validate_by_name": True, "validate_by_alias": True}

    @field_validator("params")
    @classmethod
    def _references_are_known(cls, params: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for name in sorted(set(_references(list(params.values())))):
            if name not in FACTS:
                known = ", ".join(REFERENCE + fact for fact in FACTS)
                raise PydanticCustomError(
                    "unknown_fact",
                    "${name} is not a fact that a finding states: expected one of {known}",
                    {"name": name, "known": known},
                )
        return params


class Runbook(Model):
    """A file of `runbooks/`, as it is pinned into each incident."""

    id: str = Field(pattern=NAME)
    title: str = Field(min_length=1)
    description: str = ""
    when: When | None = Field(default=None, description="none only in the default runbook")
    steps: tuple[Step, ...] = Field(min_length=1)

    @field_validator("steps")
    @classmethod
    def _steps_fit_together(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        ids = [step.id for step in steps]
        for index, step in enumerate(steps):
            if step.id in ids[:index]:
                raise _misfit(index, "id", f"step {step.id} occurs twice", "give it another id")
            for need in step.needs:
                if need in ids[index:]:
                    problem = f"needs {need}, which is not an earlier step"
                    raise _misfit(index, "needs", problem, f"move {need} up, before {step.id}")
                if need not in ids:
                    earlier = ", ".join(ids[:index]) or "none"
                    problem = f"needs {need}, which is no step at all"
                    raise _misfit(index, "needs", problem, f"earlier steps are {earlier}")
        return steps

    @property
    def digest(self) -> str:
        """The name by which a history refers to this exact text."""
        return digest(self)


def _misfit(index: int, member: str, problem: str, mend: str) -> PydanticCustomError:
    context = {"problem": problem, "mend": mend, "index": index, "member": member}
    return PydanticCustomError("misfit", "step {index}: {problem}: {mend}", context)


def _fits(pattern: str, text: str) -> bool:
    # Not fnmatch: to it ? and [ are special, too.
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text, re.DOTALL) is not None


def _references(value: JsonValue) -> list[str]:
    match value:
        case str() if value.startswith(REFERENCE):
            return [value.removeprefix(REFERENCE)]
        case dict():
            return [name for inner in value.values() for name in _references(inner)]
        case list():
            return [name for inner in value for name in _references(inner)]
        case _:
            return []


def _resolved(value: JsonValue, finding: Finding) -> JsonValue:
    match value:
        case str() if value.startswith(REFERENCE):
            return FACTS[value.removeprefix(REFERENCE)](finding)
        case dict():
            return {name: _resolved(inner, finding) for name, inner in value.items()}
        case list():
            return [_resolved(inner, finding) for inner in value]
        case _:
            return value
