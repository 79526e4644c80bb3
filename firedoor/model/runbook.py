"""A runbook: which findings it answers, and with which steps, in which order, approved by whom."""

from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from pydantic import Field, JsonValue, field_validator

from firedoor.model.base import Model, digest
from firedoor.model.finding import Finding, Kind

NAME = r"^[a-z][a-z0-9_]*$"


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
    min_severity: float = Field(default=0, ge=0, le=10)

    def matches(self, finding: Finding) -> int | None:
        """Return how exactly it matches, as fixed characters of the best pattern, or None."""
        if finding.severity < self.min_severity:
            return None
        if self.kinds and finding.subject.kind not in self.kinds:
            return None
        fits = [len(t.replace("*", "")) for t in self.types if fnmatchcase(finding.type, t)]
        return max(fits, default=None)


class Step(Model):
    """One effect; the subject's cloud decides which action brings it about."""

    id: str = Field(pattern=NAME)
    do: str = Field(pattern=NAME, description="an effect without its cloud, e.g. isolate_instance")
    on: Kind | None = Field(
        default=None, description="act on the finding's subjects of this kind; none: on the first"
    )
    needs: tuple[str, ...] = ()
    approval: Approval = Approval.ASK
    deadline: timedelta = Field(
        default=timedelta(minutes=15), gt=timedelta(0), description="silence until then is no"
    )
    params: dict[str, JsonValue] = Field(default_factory=dict, alias="with")

    model_config = {**Model.model_config, "validate_by_name": True, "validate_by_alias": True}


class Runbook(Model):
    """A file of `runbooks/`, as it is pinned into each incident."""

    id: str = Field(pattern=NAME)
    title: str
    description: str = ""
    when: When | None = Field(default=None, description="none only in the default runbook")
    steps: tuple[Step, ...] = Field(min_length=1)

    @field_validator("steps")
    @classmethod
    def _steps_fit_together(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        ids: set[str] = set()
        for step in steps:
            if step.id in ids:
                raise ValueError(f"step {step.id} occurs twice")
            if unknown := [n for n in step.needs if n not in ids]:
                raise ValueError(f"step {step.id} needs {', '.join(unknown)}, which no earlier step is")
            ids.add(step.id)
        return steps

    @property
    def digest(self) -> str:
        """The name by which a history refers to this exact text."""
        return digest(self)
