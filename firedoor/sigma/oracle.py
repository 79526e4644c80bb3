"""The reference: what a Sigma rule means, told of one decoded record at a time.

It is slow and plain. Tests and the bench hold the SQL against it, match for match.
"""

import re
from datetime import UTC, datetime
from ipaddress import ip_address
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.rule import SigmaRule
from sigma.types import (
    CompareOperators,
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
    TimestampPart,
)

from firedoor.sigma.fields import ANYWHERE, Log, folded

_OPERATORS: Final = {
    CompareOperators.LT: lt,
    CompareOperators.LTE: le,
    CompareOperators.GT: gt,
    CompareOperators.GTE: ge,
    CompareOperators.NEQ: ne,
}


def matches(rule: SigmaRule, log: Log, record: Any) -> bool:
    """Tell whether a record fulfils one of the conditions of a rule."""
    return any(_is(one.parsed, log, record) or False for one in rule.detection.parsed_condition)


def _is(node: Any, log: Log, record: Any) -> bool | None:
    """Return whether a condition is fulfilled; None where it names nothing that is there."""
    match node:
        case ConditionOR() | ConditionAND():
            told = [one for arg in node.args if (one := _is(arg, log, record)) is not None]
            together = any if isinstance(node, ConditionOR) else all
            return together(told) if told else None
        case ConditionNOT():
            inner = _is(node.args[0], log, record)
            return None if inner is None else not inner
        case ConditionFieldEqualsValueExpression():
            return _has(node.field, node.value, log, record)
        case ConditionValueExpression():
            return _has(ANYWHERE, node.value, log, record)
    return None


def _has(field: str, value: Any, log: Log, record: Any) -> bool:
    texts = log.getter(field)(record)
    match value:
        case SigmaExpansion():
            return any(_has(field, one, log, record) for one in value.values)
        case SigmaNull():
            return not texts
        case SigmaExists():
            return bool(texts) is value.exists
        case SigmaFieldReference():
            others = log.getter(value.field)(record)
            return any(_refers(value, text, other) for text in texts for other in others)
    return any(_fits(value, text, anywhere=field == ANYWHERE) for text in texts)


def _refers(value: SigmaFieldReference, text: str, other: str) -> bool:
    text, other = folded(text), folded(other)
    if value.starts_with and value.ends_with:
        return other in text
    if value.starts_with:
        return text.startswith(other)
    return text.endswith(other) if value.ends_with else text == other


def _fits(value: Any, text: str, *, anywhere: bool) -> bool:
    match value:
        case SigmaString():
            return _is_like(value, text, anywhere=anywhere)
        case SigmaTimestampPart():
            return _has_part(value, text)
        case SigmaNumber():
            number = str(value.number)
            return number in text.lower() if anywhere else number == text.lower()
        case SigmaBool():
            return text.lower() == str(value.boolean).lower()
        case SigmaRegularExpression():
            flags = [value.sigma_to_python_flags[flag] for flag in value.flags]
            return re.search(str(value.regexp), text, sum(flags, re.ASCII)) is not None
        case SigmaCIDRExpression():
            return _is_in(value, text)
        case SigmaCompareExpression():
            if not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,15})?", text):
                return False
            compare = _OPERATORS.get(value.op, eq)
            return bool(compare(float(text), value.number.number))
    raise TypeError(type(value).__name__)


def _is_like(value: SigmaString, text: str, *, anywhere: bool) -> bool:
    cased = isinstance(value, SigmaCasedString)
    pattern = ""
    for part in value.s:
        if isinstance(part, str):
            pattern += re.escape(part if cased else folded(part))
        else:
            pattern += ".*" if part is SpecialChars.WILDCARD_MULTI else "."
    if anywhere:
        pattern = f".*{pattern}.*"
    return re.fullmatch(pattern, text if cased else folded(text), re.DOTALL) is not None


def _is_in(value: SigmaCIDRExpression, text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address) in value.network


def _has_part(value: SigmaTimestampPart, text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text, re.ASCII):
        return False
    try:
        time = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    part = value.timestamp_part
    if part is TimestampPart.WEEK:
        return time.isocalendar().week == value.number
    return bool(getattr(time, part.name.lower()) == value.number)
