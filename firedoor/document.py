"""YAML that people write: read strictly, and with the line of every value at hand."""

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from firedoor.model.base import Model

# Types by the characters that their values begin with. Lengths are bounded: an int of 5,000 digits
# is a mistake that Python itself trips over.
BOOL = ("tag:yaml.org,2002:bool", re.compile(r"(?:true|false)\Z"))
FLOAT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}\Z"))
INT = ("tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]{0,14})\Z"))
NULL = ("tag:yaml.org,2002:null", re.compile(r"(?:null|~|)\Z"))
RESOLVERS = {
    **{first: [INT, FLOAT] for first in "+-0123456789"},
    **{first: [BOOL] for first in "tf"},
    **{first: [NULL] for first in ("n", "~", "")},
}

Place = tuple[int | str, ...]
"""The way to a value: names of members and numbers of items."""


class Problem(Model):
    """What is wrong in a file, where, and what mends it."""

    file: str
    line: int
    step: str = ""
    problem: str
    mend: str

    def __str__(self) -> str:
        """Write it as compilers write theirs, so that editors find the place."""
        step = f"step {self.step}: " if self.step else ""
        return f"{self.file}:{self.line}: {step}{self.problem}: {self.mend}"


@dataclass(frozen=True)
class Document:
    """What a file says, and where."""

    file: str
    value: Any
    root: yaml.Node

    def line(self, place: Place = ()) -> int:
        """Return the line of a member or item, or of the last part of the way that is there."""
        node, line = self.root, _line(self.root)
        for part in place:
            found = next((c for c in _children(node) if c[0] == part), None)
            if found is None:
                break
            _, line, node = found
        return line

    def at(self, place: Place) -> Any:
        """Return what the file says at a place, or None if it says nothing there."""
        value = self.value
        for part in place:
            match value, part:
                case dict(), str():
                    value = value.get(part)
                case list(), int() if part < len(value):
                    value = value[part]
                case _:
                    return None
        return value


def read(text: str, file: str, *, only_text: bool = False) -> Document | Problem:
    """Read one YAML document, or say why it cannot be read.

    Only `true` and `false` are booleans, so that `on` is a name, and only plain decimals are
    numbers; with `only_text` not even these, so that an account number keeps its zeros. What people
    and machines could read differently is refused: names given twice, aliases and tags.
    """
    try:
        loader = (_TextLoader if only_text else _Loader)(text)
        root = loader.get_single_node()
        if root is None:
            return Problem(file=file, line=1, problem="it is empty", mend="write something into it")
        for node, said, mend in _misnamed(root):
            return Problem(file=file, line=_line(node), problem=said, mend=mend)
        return Document(file, loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        return _unreadable(error, file)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = "a character that cannot be printed"
        return Problem(file=file, line=line, problem=said, mend="remove it")
    except RecursionError:
        return Problem(file=file, line=1, problem="it is nested too deeply", mend="make it flatter")


def problems(
    document: Document, model: type[BaseModel], error: ValidationError, within: Place = ()
) -> list[Problem]:
    """Return what a model found wrong in a document, or at a place in it, in its writer's words."""
    return [
        _problem(document, model, details, within) for details in error.errors(include_url=False)
    ]


def problem(document: Document, place: Place, said: str, mend: str) -> Problem:
    """Return a problem at a place in a document."""
    line, step = document.line(place), _step(document, place)
    return Problem(file=document.file, line=line, step=step, problem=said, mend=mend)


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return what was probably meant, or else what there is."""
    names = sorted(known)
    if not names:
        return "there are none"
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"


class _Loader(yaml.SafeLoader):
    """YAML without its surprises: `on` and `no` are text, and so are 012, 1_000 and 12:30."""

    yaml_implicit_resolvers = RESOLVERS

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.tag is not None:
            what = "aliases" if isinstance(event, yaml.AliasEvent) else "tags"
            raise yaml.composer.ComposerError(
                None, None, f"{what} are not read here", event.start_mark
            )
        return super().compose_node(parent, index)


class _TextLoader(_Loader):
    """YAML in which every value is text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _children(node: yaml.Node) -> Iterator[tuple[int | str, int, yaml.Node]]:
    """Yield the name or number of each member or item, its line, and itself."""
    match node:
        case yaml.MappingNode():
            yield from ((key.value, _line(key), value) for key, value in node.value)
        case yaml.SequenceNode():
            yield from ((index, _line(item), item) for index, item in enumerate(node.value))


def _misnamed(node: yaml.Node) -> Iterator[tuple[yaml.Node, str, str]]:
    """Yield the names that are not text, and those that are given twice."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                yield key, "a name that is not text", "put it in quotes"
            elif key.value in lines:
                mend = f"keep this or line {lines[key.value]}"
                yield key, f"`{key.value}` is given twice", mend
            else:
                lines[key.value] = _line(key)
    for _, _, inner in _children(node):
        yield from _misnamed(inner)


def _unreadable(error: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    return Problem(
        file=file,
        line=mark.line + 1 if mark else 1,
        problem=error.problem or "it is not YAML",
        mend=f"mend the YAML {error.context}" if error.context else "write it out in plain YAML",
    )


def _problem(
    document: Document, model: type[BaseModel], details: ErrorDetails, within: Place
) -> Problem:
    if details["type"] == "misfit":  # a validator of a whole list says which item it means
        context = details["ctx"]
        place = (*within, *details["loc"], context["index"], context["member"])
        return problem(document, place, context["problem"], context["mend"])
    place = (*within, *details["loc"])
    return problem(document, place, *_words(document, model, details, within))


def _words(
    document: Document, model: type[BaseModel], details: ErrorDetails, within: Place
) -> tuple[str, str]:
    """Return what is wrong and what mends it."""
    place = (*within, *details["loc"])
    names = [str(part) for part in place if isinstance(part, str) and part != "steps"]
    name, last = f"`{'.'.join(names)}`" if names else "it", str(place[-1]) if place else ""
    match details["type"]:
        case "missing":
            return f"`{last}` is missing", f"add `{last}:`"
        case "extra_forbidden":
            known = _members(model, details["loc"][:-1])
            return f"unknown member `{last}`", suggestion(last, known)
        case "model_type" | "dict_type":
            return f"{name} is not a mapping", "write `name: value`"
        case "tuple_type":
            return f"{name} is not a list", "write [one, another]"
    written = document.at(place)
    shown = repr(details["input"] if written is None else written)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    mend = details["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{name} is {shown}", mend


def _members(model: type[BaseModel], place: Place) -> list[str]:
    """Return the names of the members that a model has at a place."""
    for part in place:
        if isinstance(part, int):
            continue
        named = {field.alias or name: field for name, field in model.model_fields.items()}
        if part in named and (inner := _model_in(named[part].annotation)):
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for inner in get_args(annotation) if (m := _model_in(inner))), None)


def _step(document: Document, place: Place) -> str:
    """Return which step a place is in: its id, or its number while it has none."""
    if place[:1] != ("steps",) or len(place) < 2 or not isinstance(place[1], int):
        return ""
    named = document.at((*place[:2], "id"))
    return named if isinstance(named, str) else str(place[1] + 1)
