"""Sigma conditions as SQL of DuckDB, with the meaning that Sigma gives them.

The stock backend for DuckDB compares letters in their case, and lets a NOT over a missing field
miss. Here texts are compared in lower case, a missing field fulfils no condition and so every
negated one, and a field that is a list fulfils what one of its elements does. This SQL is not meant
for Athena: it asks a table that is made for the purpose, in memory.
"""

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, Final, Protocol

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError, SigmaPlaceholderError
from sigma.rule import SigmaRule
from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from firedoor.lake.portable import literal
from firedoor.sigma.fields import ANYWHERE, Log, folded

NUMBER: Final = r"-?[0-9]{1,15}(\.[0-9]{1,15})?"
"""What is compared by its size."""
TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z"
"""What has an hour, a week ..."""

_OPERATORS: Final = {
    CompareOperators.LT: "<",
    CompareOperators.LTE: "<=",
    CompareOperators.GT: ">",
    CompareOperators.GTE: ">=",
    CompareOperators.NEQ: "<>",
}
_MANY: Final = SpecialChars.WILDCARD_MULTI

Condition = Callable[[str], str]
"""The SQL of a condition on one value, which it gets by its name."""


class Form(StrEnum):
    """How a column of the flat table holds the values of a field."""

    FOLDED = "folded"
    """In lower case."""
    EXACT = "exact"
    """As they were logged."""
    ADDRESS = "address"
    """Addresses, written so that those of a network are between its first and its last."""


Key = tuple[str, Form]


class Columns:
    """The columns of the flat table, each of which is there because a condition asks for it."""

    def __init__(self, lists: Collection[Key] = (), names: Mapping[Key, str] | None = None) -> None:
        """Say which of them are lists; keywords always are. `names` are of those already there."""
        self._lists = frozenset(lists)
        self.names: dict[Key, str] = dict(names or {})

    def is_list(self, key: Key) -> bool:
        """Whether the column holds lists."""
        return key[0] == ANYWHERE or key in self._lists

    def any(self, field: str, form: Form, condition: Condition) -> str:
        """Return a condition that one of the values of a field has to fulfil."""
        column = self._name(field, form)
        if not self.is_list((field, form)):
            return condition(column)
        value = f"one_{column}"
        return f"list_bool_or(list_transform({column}, lambda {value}: {condition(value)}))"

    def missing(self, field: str) -> str:
        """Return the condition that a field has no value."""
        return f"({self._name(field, Form.FOLDED)} IS NULL)"

    def negated(self, condition: str) -> str:
        """Return a condition that is so where the other is not, or not known to be."""
        return f"(NOT coalesce({condition}, FALSE))"

    def _name(self, field: str, form: Form) -> str:
        return self.names.setdefault((field, form), f"{form}_{len(self.names)}")


class _Relation:
    """What a match fulfils at least, over columns of the relation of its log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def any(self, field: str, form: Form, condition: Condition) -> str:
        column = self._log.columns.get(field)
        if column is None or form is Form.ADDRESS:
            return "TRUE"
        # A source may say nothing where the record says "".
        told = f"coalesce({column}, '')"
        return condition(f"lower({told})" if form is Form.FOLDED else told)

    def missing(self, _: str) -> str:
        return "TRUE"

    negated = missing


class _Place(Protocol):
    def any(self, field: str, form: Form, condition: Condition) -> str: ...
    def missing(self, field: str, /) -> str: ...
    def negated(self, condition: str, /) -> str: ...


def sql(rule: SigmaRule, columns: Columns) -> str:
    """Return the condition of a rule, over columns of the flat table; raises `SigmaError`.

    It is empty where the rule has none.
    """
    return _condition(rule, columns)


def needed(rule: SigmaRule, log: Log) -> str:
    """Return what every match of a rule fulfils, over columns of the relation of its log.

    Conditions on what no column holds, and negated ones, are taken to be fulfilled.
    """
    return _condition(rule, _Relation(log))


def ordered(address: Any) -> str:
    """Return an address so that the order of texts is that of addresses, with IPv4 by itself."""
    return f"{address.version}:{int(address):032x}"


def _condition(rule: SigmaRule, place: _Place) -> str:
    return _linked([one.parsed for one in rule.detection.parsed_condition], "OR", place)


def _sql(node: Any, place: _Place) -> str:
    """Return a condition, which is empty where a rule names detections that are not there."""
    match node:
        case ConditionOR():
            return _linked(node.args, "OR", place)
        case ConditionAND():
            return _linked(node.args, "AND", place)
        case ConditionNOT():
            inner = _sql(node.args[0], place)
            return inner and place.negated(inner)
        case ConditionFieldEqualsValueExpression():
            return _field(node.field, node.value, place)
        case ConditionValueExpression():
            return _keyword(node.value, place)
    return ""


def _linked(nodes: list[Any], word: str, place: _Place) -> str:
    told = [part for node in nodes if (part := _sql(node, place))]
    return f"({f' {word} '.join(told)})" if told else ""


def _field(field: str, value: Any, place: _Place) -> str:
    match value:
        case SigmaExpansion():
            return f"({' OR '.join(_field(field, one, place) for one in value.values)})"
        case SigmaNull():
            return place.missing(field)
        case SigmaExists():
            return place.any(field, Form.FOLDED, _exists) if value else place.missing(field)
        case SigmaFieldReference():
            return _compared(field, value, place)
    return place.any(field, _form(value), _tested(value))


def _form(value: Any) -> Form:
    match value:
        case SigmaCasedString() | SigmaRegularExpression() | SigmaTimestampPart():
            return Form.EXACT
        case SigmaCIDRExpression():
            return Form.ADDRESS
    return Form.FOLDED


def _tested(value: Any) -> Condition:
    """Return how one value of a field is tested."""
    match value:
        case SigmaCasedString():
            return _like(_parts(value, str))
        case SigmaString():
            return _like(_parts(value, folded))
        case SigmaTimestampPart():
            return _part_of_time(value)
        case SigmaNumber():
            return _like([str(value.number)])
        case SigmaBool():
            return _like(["true" if value.boolean else "false"])
        case SigmaRegularExpression():
            return _search(value)
        case SigmaCIDRExpression():
            first, last = (literal(ordered(value.network[at])) for at in (0, -1))
            return lambda column: f"({column} BETWEEN {first} AND {last})"
        case SigmaCompareExpression():
            return _size(value)
    raise SigmaFeatureNotSupportedByBackendError(f"values as {type(value).__name__}")


def _keyword(value: Any, place: _Place) -> str:
    """Return the condition that something stands anywhere in an event."""
    match value:
        case SigmaExpansion():
            return f"({' OR '.join(_keyword(one, place) for one in value.values)})"
        case SigmaString():
            written = str if isinstance(value, SigmaCasedString) else folded
            within = _like(_merged([_MANY, *_parts(value, written), _MANY]))
            return place.any(ANYWHERE, _form(value), within)
        case SigmaNumber():
            return place.any(ANYWHERE, Form.FOLDED, _like([_MANY, str(value.number), _MANY]))
        case SigmaRegularExpression():
            return place.any(ANYWHERE, Form.EXACT, _search(value))
    raise SigmaFeatureNotSupportedByBackendError(f"keywords as {type(value).__name__}")


def _compared(field: str, value: SigmaFieldReference, place: _Place) -> str:
    """Return a comparison of two fields of an event."""
    function = {
        (True, True): "contains({}, {})",
        (True, False): "starts_with({}, {})",
        (False, True): "ends_with({}, {})",
        (False, False): "({} = {})",
    }[value.starts_with, value.ends_with]
    if value.field == field:
        return place.any(field, Form.FOLDED, _exists)

    def with_other(one: str) -> str:
        return place.any(value.field, Form.FOLDED, lambda other: function.format(one, other))

    return place.any(field, Form.FOLDED, with_other)


def _exists(column: str) -> str:
    return f"({column} IS NOT NULL)"


def _size(value: SigmaCompareExpression) -> Condition:
    """Return a comparison of sizes, which what is no number does not fulfil."""
    operator, number = _OPERATORS[value.op], literal(value.number.number)
    return lambda column: (
        f"(regexp_full_match({column}, {literal(NUMBER)})"
        f" AND TRY_CAST({column} AS DOUBLE) {operator} {number})"
    )


def _part_of_time(value: SigmaTimestampPart) -> Condition:
    part, number = value.timestamp_part.name, literal(value.number)
    return lambda column: (
        f"(regexp_full_match({column}, {literal(TIME)})"
        f" AND extract({part} FROM TRY_CAST({column} AS TIMESTAMP)) = {number})"
    )


def _search(value: SigmaRegularExpression) -> Condition:
    if value.contains_placeholder():
        raise SigmaPlaceholderError("a placeholder in a regular expression stands for nothing here")
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    text = f"(?{flags}){value.regexp}" if flags else str(value.regexp)
    return lambda column: f"regexp_matches({column}, {literal(text)})"


_Part = str | SpecialChars


def _parts(value: SigmaString, written: Callable[[str], str]) -> list[_Part]:
    """Return the texts and the wildcards of a value."""
    parts: list[_Part] = []
    for part in value.s:
        if isinstance(part, Placeholder):
            raise SigmaPlaceholderError(f"the placeholder %{part.name}% stands for nothing here")
        parts.append(written(part) if isinstance(part, str) else part)
    return _merged(parts)


def _merged(parts: list[_Part]) -> list[_Part]:
    """Return a pattern in which two `*` in succession are one."""
    return [
        part
        for at, part in enumerate(parts)
        if not (part is _MANY and parts[at - 1 : at] == [part])
    ]


def _like(pattern: list[_Part]) -> Condition:
    """Return a comparison with a pattern; those without `?`, or `*` in their midst, are quick."""
    match pattern:
        case []:
            return lambda column: f"({column} = '')"
        case [str() as text]:
            return lambda column: f"({column} = {literal(text)})"
        case [SpecialChars.WILDCARD_MULTI]:
            return _exists
        case [str() as text, SpecialChars.WILDCARD_MULTI]:
            return lambda column: f"starts_with({column}, {literal(text)})"
        case [SpecialChars.WILDCARD_MULTI, str() as text]:
            return lambda column: f"ends_with({column}, {literal(text)})"
        case [SpecialChars.WILDCARD_MULTI, str() as text, SpecialChars.WILDCARD_MULTI]:
            return lambda column: f"contains({column}, {literal(text)})"
    like = literal("".join(_escaped(part) for part in pattern))
    return lambda column: f"({column} LIKE {like} ESCAPE '\\')"


def _escaped(part: _Part) -> str:
    match part:
        case str():
            return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        case SpecialChars.WILDCARD_MULTI:
            return "%"
    return "_"
