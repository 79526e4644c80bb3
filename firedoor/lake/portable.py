"""The SQL that means the same to DuckDB and to Athena, and its parameters.

A query is never translated: the same text is asked everywhere. What one of the two would refuse, or
understand in another way, is refused here, before it is asked.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from firedoor.errors import BadQuery
from firedoor.relations import RELATIONS

Value = int | float | str
"""What a parameter can be."""

# In both engines by this name, with the same answer.
FUNCTIONS: Final = (
    exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg, exp.AnyValue, exp.StddevPop, exp.Coalesce,
    exp.Abs, exp.Lower, exp.Upper, exp.Length, exp.Lag, exp.Lead, exp.RowNumber, exp.Rank, exp.Case,
    exp.If, exp.Cast, exp.Nullif, exp.Greatest, exp.Least, exp.Floor, exp.Round, exp.Sqrt,
    exp.Concat, exp.And, exp.Or,
)  # fmt: skip
# What both casts can make, and make alike.
CASTS: Final = ("BIGINT", "DOUBLE", "VARCHAR", "TEXT", "BOOLEAN")
ADDRESSES: Final = re.compile(r"(src|dst)_(ip|key)")

_PARAMETER: Final = re.compile(r"'(?:[^']|'')*'|--[^\n]*|(?<![:\w]):([a-z_]+)\b")


def bound(sql: str, params: Mapping[str, Value]) -> str:
    """Return a query with its parameters written into it as literals.

    Both engines get the same text so. Raises `BadQuery` for one that is missing.
    """

    def written(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return found[0]
        if name not in params:
            raise BadQuery("query", f":{name}", "expected a parameter, but it is not given")
        return literal(params[name])

    return _PARAMETER.sub(written, sql)


def literal(value: Value) -> str:
    """Return a value as SQL writes it."""
    match value:
        case bool():
            return str(value).upper()
        case int():
            return str(value)
        case float():
            return f"{value!r}e0" if "e" not in repr(value) else repr(value)
        case str():
            return "'" + value.replace("'", "''") + "'"


def parameters(sql: str) -> frozenset[str]:
    """Return the names of the parameters of a query."""
    return frozenset(found[1] for found in _PARAMETER.finditer(sql) if found[1])


@lru_cache(maxsize=512)
def columns(sql: str) -> Mapping[str, frozenset[str]]:
    """Return the columns of each relation that a query may look at.

    Where that is not clear, because a name occurs in several relations, it is counted for all.
    """
    tree = _parsed(sql)
    relations = {table.name for table in tree.find_all(exp.Table)} & RELATIONS.keys()
    if any(isinstance(star.parent, exp.Select) for star in tree.find_all(exp.Star)):
        return {name: frozenset(c.name for c in RELATIONS[name].columns) for name in relations}
    named = {column.name for column in tree.find_all(exp.Column)}
    return {
        name: frozenset(c.name for c in RELATIONS[name].columns if c.name in named)
        for name in relations
    }


@lru_cache(maxsize=512)
def scans(sql: str) -> Mapping[str, int]:
    """Return how many times a query reads each table.

    What a name in WITH stands for is read as often as the name is used: Athena works it out anew
    each time.
    """
    tree = _parsed(sql)
    named = {cte.alias for cte in tree.find_all(exp.CTE)}
    tables = [(table.name, _owner(table)) for table in tree.find_all(exp.Table)]

    def times(owner: str) -> int:
        uses = [user for name, user in tables if name == owner and user != owner]
        return sum(map(times, uses)) if owner else 1

    found: dict[str, int] = {}
    for name, owner in tables:
        if name not in named:
            found[name] = found.get(name, 0) + times(owner)
    return found


def _owner(table: exp.Expression) -> str:
    """Return the name in WITH that a table is read for, or nothing if it is for the query itself."""
    cte = table.find_ancestor(exp.CTE)
    return cte.alias if cte else ""


def _parsed(sql: str) -> exp.Expression:
    text = _PARAMETER.sub(lambda found: "0" if found[1] else found[0], sql)
    try:
        trees = sqlglot.parse(text, read="duckdb")
    except SqlglotError as error:
        raise BadQuery("query", "", str(error).partition("\n")[0]) from error
    if len(trees) != 1 or trees[0] is None:
        raise BadQuery("query", "", "expected one statement")
    return trees[0]


def check(sql: str) -> None:
    """Raise `BadQuery` for what would not run on both engines, or not mean the same there."""
    tree = _parsed(sql)
    if not isinstance(tree, exp.Query):
        raise BadQuery("query", "", "expected a SELECT")
    for node in tree.walk():
        if problem := _problem(node):
            raise BadQuery("query", node.sql(dialect="duckdb")[:80], problem)


def _problem(node: exp.Expression) -> str:
    match node:
        case exp.Anonymous() | exp.Func() if not isinstance(node, FUNCTIONS):
            return "expected a function that both engines have"
        case exp.Cast() if node.to.sql(dialect="duckdb").upper() not in CASTS:
            return f"expected a cast to one of {', '.join(CASTS)}"
        case exp.Div() if not _is_real(node.this) and not _is_real(node.expression):
            return "Athena divides whole numbers without a rest: cast one side to DOUBLE"
        case exp.Table() if node.db:
            return "expected the name of a relation alone"
        case exp.CTE() if node.alias in RELATIONS:
            return "expected a name that no relation has"
        case exp.Like() | exp.ILike() if ADDRESSES.fullmatch(node.this.name):
            return "addresses are compared by their keys and sides, not as text"
    return ""


def _is_real(node: exp.Expression) -> bool:
    return isinstance(node, exp.Cast) and node.to.is_type("double")
