"""The SQL that means the same to DuckDB and to Athena, and its parameters.

A query is never translated: the same text is asked everywhere. What one of the two would refuse, or
understand in another way, is refused here, before it is asked. What is allowed is listed, and all
else is not: neither engine can surprise with what it has beyond that.

https://trino.io/docs/current/sql/select.html, https://duckdb.org/docs/stable/sql/introduction
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

import sqlglot
from sqlglot import Token, TokenType, exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from firedoor.errors import BadQuery
from firedoor.relations import RELATIONS, Relation, Type

Value = int | float | str
"""What a parameter can be."""

FUNCTIONS: Final = frozenset(
    {
        "abs", "avg", "bool_and", "bool_or", "cast", "coalesce", "count", "dense_rank", "floor",
        "lag", "lead", "length", "lower", "max", "min", "nullif", "rank", "round", "row_number",
        "sqrt", "stddev_pop", "strpos", "sum", "try_cast", "upper",
    }
)  # fmt: skip
"""In both engines by this name, with the same answer, also for null."""

CASTS: Final = ("BIGINT", "DOUBLE", "VARCHAR", "BOOLEAN")
"""What both can cast to, and make alike."""

# What stands in the tree of a query, each with the members that it may have. DuckDB's own, as
# GROUP BY ALL or UNION BY NAME, are further members of the same nodes.
_BOTH: Final = ("this", "expression")
_SET: Final = (*_BOTH, "distinct", "order", "limit", "with_")
_NODES: Final[Mapping[type[exp.Expr], tuple[str, ...]]] = {
    exp.Select: (
        "expressions", "from_", "joins", "where", "group", "having", "order", "limit", "with_",
        "distinct",
    ),
    exp.Union: _SET, exp.Intersect: _SET, exp.Except: _SET,
    exp.With: ("expressions",), exp.CTE: ("this", "alias"), exp.Subquery: ("this", "alias"),
    exp.From: ("this",), exp.Table: ("this", "alias"), exp.TableAlias: ("this",),
    exp.Join: ("this", "on", "using", "side", "kind"),
    exp.Where: ("this",), exp.Group: ("expressions",), exp.Having: ("this",),
    exp.Order: ("expressions",), exp.Ordered: ("this", "desc", "nulls_first"),
    exp.Limit: ("expression",), exp.Distinct: ("expressions",),
    exp.Alias: ("this", "alias"), exp.Column: ("this", "table"), exp.Identifier: ("this", "quoted"),
    exp.Literal: ("this", "is_string"), exp.Placeholder: ("this",), exp.Null: (), exp.Star: (),
    exp.Boolean: ("this",), exp.DataType: ("this", "nested"), exp.Paren: ("this",),
    exp.Neg: ("this",), exp.Not: ("this",), exp.And: _BOTH, exp.Or: _BOTH,
    exp.EQ: _BOTH, exp.NEQ: _BOTH, exp.GT: _BOTH, exp.GTE: _BOTH, exp.LT: _BOTH, exp.LTE: _BOTH,
    exp.NullSafeEQ: _BOTH, exp.NullSafeNEQ: _BOTH, exp.Is: (*_BOTH, "negate"),
    exp.Between: ("this", "low", "high", "negate"),
    exp.In: ("this", "expressions", "query", "negate"),
    exp.Exists: ("this",), exp.Like: (*_BOTH, "negate"), exp.Escape: _BOTH,
    exp.Add: _BOTH, exp.Sub: _BOTH, exp.Mul: _BOTH, exp.Mod: _BOTH, exp.DPipe: (*_BOTH, "safe"),
    exp.Div: (*_BOTH, "typed", "safe"), exp.Case: ("this", "ifs", "default"),
    exp.If: ("this", "true"),
    exp.Cast: ("this", "to"), exp.TryCast: ("this", "to", "requires_string"),
    exp.Filter: _BOTH,
    exp.Window: ("this", "partition_by", "order", "spec", "over"),
    exp.WindowSpec: ("kind", "start", "start_side", "end", "end_side"),
    exp.Abs: ("this",), exp.Avg: ("this",), exp.LogicalAnd: ("this",), exp.LogicalOr: ("this",),
    exp.Coalesce: ("this", "expressions", "is_nvl"), exp.Count: ("this", "expressions", "big_int"),
    exp.DenseRank: (), exp.Floor: ("this",), exp.Lag: ("this", "offset", "default"),
    exp.Lead: ("this", "offset", "default"), exp.Length: ("this",), exp.Lower: ("this",),
    exp.Max: ("this",), exp.Min: ("this",), exp.Nullif: _BOTH, exp.Rank: (), exp.RowNumber: (),
    exp.Round: ("this", "decimals"), exp.Sqrt: ("this",), exp.StddevPop: ("this",),
    exp.StrPosition: ("this", "substr"), exp.Sum: ("this",), exp.Upper: ("this",),
}  # fmt: skip
# Words that may stand before a parenthesis and are no function.
_WORDS: Final = frozenset(
    {
        "all", "and", "as", "between", "by", "case", "distinct", "else", "except", "exists",
        "filter", "from", "having", "in", "intersect", "is", "join", "like", "limit", "not", "on",
        "or", "over", "select", "then", "union", "using", "when", "where",
    }
)  # fmt: skip
# Trino reserves these, which DuckDB takes for names.
_RESERVED: Final = frozenset(
    {
        "alter", "cube", "current_path", "deallocate", "delete", "describe", "drop", "escape",
        "execute", "extract", "grouping", "insert", "listagg", "localtime", "localtimestamp",
        "normalize", "prepare", "rollup", "skip", "trim", "uescape", "unnest", "values",
    }
)  # fmt: skip
ALL: Final = "*"
Source = exp.Table | Scope
"""What a query looks at: a relation, or a query within it."""

_COMPARISONS: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between)
_ADDRESS: Final = re.compile(r"(src|dst)_(ip|key)")
_WORD: Final = re.compile(r"[A-Za-z_]\w*")

_PARAMETER: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|(?<![:\w]):([a-z_][a-z0-9_]*)\b""",
    re.DOTALL,
)


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
    """Return a value as SQL writes it; raises `BadQuery` for a number that has no literal."""
    match value:
        case bool():
            return str(value).upper()
        case int() | float() if not math.isfinite(value):
            raise BadQuery("query", str(value), "expected a finite number")
        case int():
            text = str(value)
        case float():
            # With an exponent it is a DOUBLE to both; without, a DECIMAL.
            text = repr(value) if "e" in repr(value) else f"{value!r}e0"
        case str():
            return "'" + value.replace("'", "''") + "'"
    # After a minus, another one would begin a comment.
    return f"({text})" if text.startswith("-") else text


def parameters(sql: str) -> frozenset[str]:
    """Return the names of the parameters of a query."""
    return frozenset(found[1] for found in _PARAMETER.finditer(sql) if found[1])


@lru_cache(maxsize=512)
def columns(sql: str) -> Mapping[str, frozenset[str]]:
    """Return the columns of each relation that a query looks at, and of no other relation.

    Where a name could be of several relations it is counted for all that have it.
    """
    found: dict[str, set[str]] = {}
    for scope in _scopes(_parsed(sql)):
        for source in _own(scope).values():
            if relation := _relation(source):
                found.setdefault(relation.name, set())
        for alias, name in _named(scope):
            for source in _holders(alias, name, scope).values():
                if relation := _relation(source):
                    every = {column.name for column in relation.columns}
                    found[relation.name] |= every if name == ALL else {name}
    return {relation: frozenset(names) for relation, names in found.items()}


@lru_cache(maxsize=512)
def conditions(sql: str) -> Mapping[str, str]:
    """Return which rows of each relation a query may look at, as a condition; "" is all.

    It is what WHERE says without parameters, where a relation is looked at alone.
    """
    found: dict[str, list[str]] = {}
    for scope in _scopes(_parsed(sql)):
        sources = _own(scope)
        for source in sources.values():
            if relation := _relation(source):
                alone = len(sources) == 1
                found.setdefault(relation.name, []).append(_condition(scope) if alone else "")
    return {name: either(each) for name, each in found.items()}


def either(conditions: Iterable[str]) -> str:
    """Return the condition that one of several holds; "" always does."""
    each = [*dict.fromkeys(conditions)]
    return "" if "" in each else " OR ".join(f"({one})" for one in each)


def _condition(scope: Scope) -> str:
    where = scope.expression.args.get("where")
    if where is None:
        return ""
    parts = where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
    open_ = exp.Placeholder, exp.Parameter, exp.Query
    kept = [part.copy() for part in parts if not any(part.find_all(*open_))]
    for part in kept:
        for column in part.find_all(exp.Column):
            column.set("table", None)
    return " AND ".join(f"({part.sql(dialect='duckdb')})" for part in kept)


@lru_cache(maxsize=512)
def check(sql: str) -> None:
    """Raise `BadQuery` for what would not run on both engines, or not mean the same there."""
    tree = _parsed(sql)
    if not isinstance(tree, exp.Query):
        raise BadQuery("query", sql.strip()[:80], "expected a SELECT")
    for said, problem in _problems(sql, tree):
        raise BadQuery("query", said[:80], problem)


def _parsed(sql: str) -> exp.Expr:
    text = _PARAMETER.sub(lambda found: f"${found[1]}" if found[1] else found[0], sql)
    try:
        trees = [tree for tree in sqlglot.parse(text, read="duckdb") if tree is not None]
    except SqlglotError as error:
        reason = str(error).partition("\n")[0].removesuffix(".")
        raise BadQuery("query", "", f"expected SQL: {reason}") from error
    except RecursionError as error:
        raise BadQuery("query", "", "expected SQL that is less deeply nested") from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Expr):
        raise BadQuery("query", "", f"expected one statement, not {len(trees)}")
    return trees[0]


Remarks = Iterator[tuple[str, str]]
"""What is wrong in a query, and why."""


def _problems(sql: str, tree: exp.Query) -> Remarks:
    yield from _in_text(sql)
    named = parameters(sql)
    for node in tree.walk():
        if isinstance(node, exp.Placeholder) and node.name not in named:
            yield node.sql(dialect="duckdb"), "expected a parameter, as :name"
        for problem in _in_node(node):
            yield node.sql(dialect="duckdb"), problem
    for scope in _scopes(tree):
        yield from _in_scope(scope)
    yield from _in_answer(tree)


def _in_text(sql: str) -> Remarks:
    """Find what the tree no longer tells: how something was written."""
    tokens = [*sqlglot.tokenize(sql, read="duckdb")]
    if tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    for before, token in zip([None, *tokens], tokens, strict=False):
        said, earlier = token.text, before.text.lower() if before else ""
        if token.token_type is TokenType.DCOLON:
            yield said, "Athena knows only CAST(... AS ...)"
        elif token.token_type is TokenType.EQ and said != "=":
            yield said, "Athena compares with one ="
        elif said == "//":
            yield said, "Athena has no such division: subtract the rest, as in a - a % b"
        elif token.token_type is TokenType.FROM and earlier in ("", "(", "all", "union"):
            yield said, "Athena expects SELECT first"
        elif earlier == "," and _closes(token):
            yield f", {said}", "Athena takes no comma at the end of a list"
        elif said == "(" and before is not None and _is_unknown(before):
            yield before.text, "expected a function that both engines have, with the same answer"


def _closes(token: Token) -> bool:
    closing = (TokenType.FROM, TokenType.R_PAREN, TokenType.ORDER_BY, TokenType.HAVING)
    return token.token_type in closing


def _is_unknown(token: Token) -> bool:
    name = token.text.lower()
    return (
        token.token_type is not TokenType.STRING
        and bool(_WORD.fullmatch(name))
        and name not in FUNCTIONS | _WORDS
    )


def _in_node(node: exp.Expr) -> Iterator[str]:
    if type(node) not in _NODES:
        yield _stranger(node)
        return
    odd = [name for name, value in node.args.items() if value and name not in _NODES[type(node)]]
    if odd:
        yield f"expected what both engines know, but not {', '.join(odd).rstrip('_')}"
    match node:
        case exp.Star() if not isinstance(node.parent, exp.Count):
            yield "name the columns: the two engines have them in different orders"
        case exp.Cast() if node.to.this.value.replace("TEXT", "VARCHAR") not in CASTS:
            yield f"expected a cast to one of {', '.join(CASTS)}"
        case exp.Div() if not _is_real(node.this) and not _is_real(node.expression):
            yield "Athena divides whole numbers without a rest: cast one side to DOUBLE"
        case exp.Like() if any(_ADDRESS.fullmatch(c.name) for c in node.find_all(exp.Column)):
            yield "addresses are compared by their keys and sides, not as text"
        case exp.Is() if not isinstance(node.expression, exp.Null):
            yield "Athena knows only IS NULL and IS NOT NULL"
        case exp.Count() if node.expressions or len(_distinct(node)) > 1:
            yield "expected one expression to count"
        case exp.Window() if isinstance(node.this, exp.Filter) or node.this.find(exp.Distinct):
            yield "Athena knows no FILTER and no DISTINCT in windows: use sum(CASE ...)"
        case exp.Join() if node.args.get("kind") not in (None, "", "INNER", "OUTER", "CROSS"):
            yield f"expected a join that both engines know, not {node.args['kind']}"
        case exp.Table() if not isinstance(node.this, exp.Identifier):
            yield "expected the name of a relation"
        case exp.Identifier() if node.name.lower() in _RESERVED:
            yield f"{node.name} is a reserved word in Athena: choose another name"


def _stranger(node: exp.Expr) -> str:
    match node:
        case exp.ILike():
            return "Athena has no ILIKE: compare lower(...)"
        case exp.IntDiv():
            return "Athena has no such division: subtract the rest, as in a - a % b"
        case exp.Offset():
            return "the two engines expect OFFSET in different places"
        case exp.Func():
            return "expected a function that both engines have, with the same answer"
    return "expected what both engines know, and understand in the same way"


def _distinct(node: exp.Count) -> list[exp.Expr]:
    return node.this.expressions if isinstance(node.this, exp.Distinct) else []


def _is_real(node: exp.Expr) -> bool:
    match node:
        case exp.Cast():
            return bool(node.to.is_type("double"))
        case exp.Literal():
            return not node.is_string and "e" in node.name.lower()
        case exp.Avg() | exp.StddevPop() | exp.Sqrt():
            return True
        case exp.Paren() | exp.Neg() | exp.Sum() | exp.Min() | exp.Max() | exp.Abs():
            return _is_real(node.this)
        case exp.Nullif() | exp.Coalesce():
            return _is_real(node.this)
        case exp.Add() | exp.Sub() | exp.Mul() | exp.Div():
            return _is_real(node.this) or _is_real(node.expression)
    return False


def _in_answer(tree: exp.Query) -> Remarks:
    """Find columns of the answer without a name, or with that of another."""
    seen: set[str] = set()
    for one in tree.selects:
        name = one.alias_or_name.lower()
        if not isinstance(one, exp.Alias | exp.Column):
            yield one.sql(dialect="duckdb"), "each engine names it otherwise: add AS and a name"
        elif name in seen:
            yield name, "expected a name that no other column of the answer has"
        seen.add(name)


def _in_scope(scope: Scope) -> Remarks:
    """Find relations and columns that are not there, and comparisons of what is not alike."""
    sources = _own(scope)
    for source in sources.values():
        if isinstance(source, exp.Table) and _relation(source) is None:
            known = ", ".join(RELATIONS)
            yield source.sql(dialect="duckdb"), f"expected a relation, one of {known}"
            return
    for node in scope.walk():
        if isinstance(node, exp.Column) and not _is_alias_in_order(node, scope):
            if problem := _unresolved(node, scope):
                yield node.sql(dialect="duckdb"), problem
        elif isinstance(node, _COMPARISONS):
            kinds = {kind for side in _sides(node) if (kind := _kind(side, scope))}
            if len(kinds) > 1:
                said = " and ".join(sorted(kinds))
                yield node.sql(dialect="duckdb"), f"Athena does not compare {said}"


def _unresolved(column: exp.Column, scope: Scope) -> str:
    alias, name = column.table.lower(), column.name.lower()
    holders = _holders(alias, name, scope)
    if alias and alias not in _all(scope):
        return f"there is no {alias} here"
    if not holders and name in _aliases(scope):
        return "Athena knows a name of the answer only in ORDER BY: write the expression again"
    if not holders:
        return "there is no such column"
    if len(holders) > 1 and not _joined_by(name, scope):
        return f"it could be of {' or '.join(holders)}: write whose it is"
    return ""


def _holders(alias: str, name: str, scope: Scope) -> dict[str, Source]:
    """Return what a column could be of, by its alias: what stands nearest comes first."""
    for sources in (_own(scope), _all(scope)):
        found = {
            other: source
            for other, source in sources.items()
            if alias in ("", other) and (name == ALL or name in _names(source))
        }
        if found:
            return found
    return {}


def _own(scope: Scope) -> dict[str, Source]:
    """Return what is named after FROM and JOIN, by its alias."""
    return {alias.lower(): source for alias, (_, source) in scope.selected_sources.items()}


def _all(scope: Scope) -> dict[str, Source]:
    """Return that, and what a query around it names, where it can look there."""
    around = _all(scope.parent) if scope.is_subquery and scope.parent is not None else {}
    return around | _own(scope)


def _relation(source: Source) -> Relation | None:
    return RELATIONS.get(source.name.lower()) if isinstance(source, exp.Table) else None


def _names(source: Source) -> set[str]:
    if isinstance(source, exp.Table):
        relation = _relation(source)
        return {column.name for column in relation.columns} if relation else set()
    return _told(source)


def _joined_by(name: str, scope: Scope) -> bool:
    """Tell whether USING makes one column of two."""
    joins = scope.expression.args.get("joins") or []
    return any(name == using.name.lower() for join in joins for using in join.args.get("using", ()))


def _is_alias_in_order(column: exp.Column, scope: Scope) -> bool:
    order = column.find_ancestor(exp.Order, exp.Query)
    return (
        isinstance(order, exp.Order)
        and not isinstance(order.parent, exp.Window)
        and not column.table
        and column.name.lower() in _told(scope)
    )


def _aliases(scope: Scope) -> set[str]:
    """Return the names that the answer gives to what is not of that name."""
    query = scope.expression
    selects = query.selects if isinstance(query, exp.Query) else []
    return {one.alias.lower() for one in selects if isinstance(one, exp.Alias)}


def _told(scope: Scope) -> set[str]:
    """Return the names of the columns of the answer."""
    query = scope.expression
    return {name.lower() for name in query.named_selects} if isinstance(query, exp.Query) else set()


def _sides(node: exp.Expr) -> list[exp.Expr]:
    match node:
        case exp.In():
            return [node.this, *node.expressions]
        case exp.Between():
            return [node.this, node.args["low"], node.args["high"]]
    return [node.this, node.expression]


def _kind(node: exp.Expr, scope: Scope) -> str:
    """Return what a side of a comparison holds, where that is plain to see."""
    match node:
        case exp.Literal():
            return "text" if node.is_string else "number"
        case exp.Boolean():
            return "flag"
        case exp.Column():
            for source in _holders(node.table.lower(), node.name.lower(), scope).values():
                if relation := _relation(source):
                    return _KINDS[relation[node.name.lower()].type]
    return ""


_KINDS: Final[Mapping[Type, str]] = {
    Type.TEXT: "text", Type.WORD: "text", Type.INTEGER: "number", Type.SMALL: "number",
    Type.REAL: "number", Type.FLAG: "flag",
}  # fmt: skip


def _scopes(tree: exp.Expr) -> list[Scope]:
    try:
        return [*traverse_scope(tree)]
    except SqlglotError as error:
        reason = str(error).partition("\n")[0].removesuffix(".")
        raise BadQuery("query", "", reason) from error


def _named(scope: Scope) -> Iterator[tuple[str, str]]:
    """Yield each column that is named in a scope, with what it is said to be of, if it is said."""
    for node in scope.walk():
        if isinstance(node, exp.Column) and not _is_alias_in_order(node, scope):
            yield node.table.lower(), ALL if isinstance(node.this, exp.Star) else node.name.lower()
        elif isinstance(node, exp.Star) and isinstance(node.parent, exp.Select):
            yield "", ALL
        elif isinstance(node, exp.Join):
            yield from (("", using.name.lower()) for using in node.args.get("using", ()))
