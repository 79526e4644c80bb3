"""The Sigma rules of a file or a folder: each is converted, or refused with its reason."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import ValueListPlaceholderTransformation
from sigma.rule import SigmaRule

from firedoor.errors import BadInput, BadQuery
from firedoor.lake.duck import Duck
from firedoor.sigma import flat
from firedoor.sigma.backend import Columns, needed, sql
from firedoor.sigma.fields import LOGS, Log, log_of

SUFFIXES: Final = (".yml", ".yaml")
SEVERITIES: Final[Mapping[str, float]] = {
    "informational": 0.5, "low": 2, "medium": 5, "high": 8, "critical": 9.5,
}  # fmt: skip
"""The levels of Sigma, within the bounds of GuardDuty."""
PURPOSES: Final[Mapping[str, str]] = {
    "reconnaissance": "Recon",
    "initial-access": "InitialAccess",
    "persistence": "Persistence",
    "privilege-escalation": "PrivilegeEscalation",
    "defense-evasion": "DefenseEvasion",
    "defense-impairment": "DefenseEvasion",
    "stealth": "Stealth",
    "credential-access": "CredentialAccess",
    "discovery": "Discovery",
    "exfiltration": "Exfiltration",
    "impact": "Impact",
}
"""What GuardDuty calls the tactics of ATT&CK, and runbooks with it; others it has no word for."""
_MEDIUM: Final = SEVERITIES["medium"]


@dataclass(frozen=True)
class Rule:
    """A rule that can be matched."""

    id: str
    title: str
    description: str
    severity: float
    techniques: tuple[str, ...]
    purpose: str
    """The first of its tactics, in the words of GuardDuty: `DefenseEvasion`."""
    log: Log
    needed: str
    """What every match fulfils, in SQL over the relation of its log."""
    sigma: SigmaRule = field(compare=False)
    file: str
    """Where it was read, from the folder on."""


@dataclass(frozen=True)
class Refused:
    """What is not used, and why."""

    file: str
    title: str
    """Of the rule; empty where it is the whole file."""
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.title}: {self.reason}" if self.title else (
            f"{self.file}: {self.reason}"
        )  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """What a folder holds."""

    rules: tuple[Rule, ...]
    refused: tuple[Refused, ...]


def read(path: Path, placeholders: Mapping[str, Sequence[str]] | None = None) -> Rules:
    """Return the rules of a file, or of all files below a folder.

    `placeholders` are the values of `%names%` that rules expand. Raises `BadInput` only where there
    is nothing at the path.
    """
    if not path.exists():
        raise BadInput("Sigma rules", str(path), "expected a file or a folder")
    parsed: list[tuple[str, Any]] = []
    refused: list[Refused] = []
    for file in _files(path):
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for one in _parsed(file, name):
            if isinstance(one, Refused):
                refused.append(one)
            else:
                parsed.append((name, one))
    rules, more = _converted(parsed, placeholders or {})
    return Rules(tuple(rules), (*refused, *more))


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(one for one in path.rglob("*") if one.suffix in SUFFIXES and one.is_file())


def _parsed(file: Path, name: str) -> Iterator[Any]:
    """Return the rules, filters and correlations of a file, and what is none."""
    try:
        documents = list(yaml.safe_load_all(file.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError, OSError, ValueError, RecursionError) as error:
        yield Refused(name, "", f"expected YAML: {_line(error)}")
        return
    whole = any(isinstance(one, dict) and "action" in one for one in documents)
    for part in [documents] if whole else [[one] for one in documents]:
        if part != [None]:
            yield from _parts(part, name)


def _parts(documents: list[Any], name: str) -> Iterator[Any]:
    title = next((str(one.get("title", "")) for one in documents if isinstance(one, dict)), "")
    if not all(isinstance(one, dict) for one in documents):
        yield Refused(name, title, "expected a rule, a mapping with `logsource` and `detection`")
        return
    try:
        found = SigmaCollection.from_dicts(
            documents, collect_errors=True, collect_filters=True, resolve_references=False
        )
    except Exception as error:  # noqa: BLE001  pySigma stumbles over what it does not expect
        yield Refused(name, title, f"expected a rule: {_line(error)}")
        return
    of_rules = [wrong for one in (*found.rules, *found.filters) for wrong in one.errors]
    for wrong in found.errors:
        if wrong not in of_rules:
            yield Refused(name, title, _line(wrong))
    for one in (*found.rules, *found.filters):
        if one.errors:
            yield Refused(name, one.title or "", "; ".join(_line(wrong) for wrong in one.errors))
        else:
            yield one


def _converted(
    parsed: list[tuple[str, Any]], placeholders: Mapping[str, Sequence[str]]
) -> tuple[list[Rule], list[Refused]]:
    filters = [one for _, one in parsed if isinstance(one, SigmaFilter)]
    counted = _counted([one for _, one in parsed if isinstance(one, SigmaCorrelationRule)])
    rules: dict[str, Rule] = {}
    refused: list[Refused] = []
    with Duck() as duck:
        for name, one in parsed:
            if isinstance(one, SigmaFilter):
                continue
            try:
                rule = _rule(name, one, filters, counted, placeholders, duck)
                if known := rules.get(rule.id):
                    raise SigmaError(f"its id is that of another rule, in {known.file}")
                rules[rule.id] = rule
            except Exception as error:  # noqa: BLE001  a rule must not keep others from being read
                refused.append(Refused(name, one.title or "", _line(error)))
    return [*rules.values()], refused


def _counted(correlations: list[SigmaCorrelationRule]) -> dict[str, str]:
    """Return the titles of correlations, by the ids and names of rules that only count for them."""
    return {
        reference.reference: one.title
        for one in correlations
        if not one.generate
        for reference in one.rules or ()
    }


def _rule(
    name: str, rule: Any, filters: list[SigmaFilter], counted: Mapping[str, str],
    placeholders: Mapping[str, Sequence[str]], duck: Duck,
) -> Rule:  # fmt: skip
    """Return a rule with what is needed to match it; raises where it cannot be matched."""
    if isinstance(rule, SigmaCorrelationRule):
        raise SigmaError(f"correlations ({rule.type.name.lower()}) are not evaluated")
    for reference in (str(rule.id), rule.name):
        if reference in counted:
            raise SigmaError(
                f"it only counts for the correlation {counted[reference]!r}, which is not evaluated"
            )
    log = _log(rule)
    for one in filters:
        rule = one.apply_on_rule(rule)
    if placeholders:
        _expand(rule, placeholders)
    _check(rule, duck)
    return Rule(
        id=str(rule.id) if rule.id else name.rpartition(".")[0],
        title=rule.title,
        description=(rule.description or "").strip(),
        severity=SEVERITIES[rule.level.name.lower()] if rule.level else _MEDIUM,
        techniques=_techniques(rule),
        purpose=_purpose(rule),
        log=log,
        needed=needed(rule, log),
        sigma=rule,
        file=name,
    )


def _log(rule: SigmaRule) -> Log:
    source = rule.logsource
    log = log_of(source.product, source.service, source.category)
    if log is not None:
        return log
    told = {
        "product": source.product, "service": source.service, "category": source.category,
    }  # fmt: skip
    named = ", ".join(f"{key} {value}" for key, value in told.items() if value)
    ours = "; ".join(f"{product}, {service}" for product, service in LOGS)
    raise SigmaError(f"no log source of ours reads {named}; those that rules can name: {ours}")


def _expand(rule: SigmaRule, placeholders: Mapping[str, Sequence[str]]) -> None:
    values = ValueListPlaceholderTransformation(include=list(placeholders))
    known = {name: list(texts) for name, texts in placeholders.items()}
    ProcessingPipeline([ProcessingItem(values)], vars=known).apply(rule)


def _check(rule: SigmaRule, duck: Duck) -> None:
    """Raise for what cannot be asked, such as an expression that RE2 does not know."""
    columns = Columns()
    condition = sql(rule, columns)
    if not condition:
        raise SigmaError("its condition names no detection that is there")
    duck.put({"flat": flat.empty(columns)})
    try:
        duck.ask(f"SELECT 1 FROM flat WHERE {condition}")  # noqa: S608  its values are literals
    except BadQuery as error:
        raise SigmaError(f"DuckDB cannot evaluate it: {error.expected}") from error


def _techniques(rule: SigmaRule) -> tuple[str, ...]:
    tags = (tag.name.upper() for tag in rule.tags if tag.namespace.lower() == "attack")
    return tuple(dict.fromkeys(name for name in tags if re.fullmatch(r"T\d{4}(\.\d{3})?", name)))


def _purpose(rule: SigmaRule) -> str:
    tags = (tag.name.lower() for tag in rule.tags if tag.namespace.lower() == "attack")
    names = (name for name in tags if not re.fullmatch(r"[tgsc]\d+(\.\d+)?", name))
    return PURPOSES.get(next(names, "").replace("_", "-"), "UnauthorizedAccess")


def _line(error: Exception) -> str:
    """Return an error as one line."""
    return " ".join(str(error).split()) or type(error).__name__
