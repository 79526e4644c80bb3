"""What tests of the emulated AWS share: stock clients, and AWS's service models to compare with."""

import inspect
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from xml.etree import ElementTree as ET

import boto3
import botocore.session
import pytest
from botocore.endpoint import Endpoint
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.utils import parse_timestamp
from moto.core.responses import BaseResponse

from firedoor.cloud.aws import Aws
from firedoor.discovery import modules

Stock = Callable[..., Any]
Strangers = Callable[[str, str, Any], list[str]]
Handlers = dict[tuple[str, str], str]


@pytest.fixture
def stock(aws: Aws) -> Stock:
    """A stock boto3 client of a service in an empty account, free to change things."""
    session = boto3.Session()
    return lambda service, **options: session.client(service, **options)


@pytest.fixture(scope="session")
def strangers() -> Strangers:
    """What in a JSON value is not as a shape of AWS's service model has it."""
    models = botocore.session.get_session()

    def find(service: str, shape: str, value: Any) -> list[str]:
        return list(_strangers(models.get_service_model(service).shape_for(shape), value, shape))

    return find


@pytest.fixture
def raw() -> Callable[[Any], list[Any]]:
    """Record the JSON bodies that a client receives, before the SDK drops what it does not know."""

    def record(client: Any) -> list[Any]:
        bodies: list[Any] = []
        client.meta.events.register(
            "after-call",
            lambda http_response, **_: bodies.append(json.loads(http_response.content)),
        )
        return bodies

    return record


@pytest.fixture(scope="session")
def handlers() -> Handlers:
    """The handlers that are the emulator's own: service and operation to the function's name."""
    return {
        (_SIGNED_AS.get(service, service), function.__name__.replace("_", "")): function.__name__
        for name in modules("firedoor.lab")
        for function in vars(import_module(name)).values()
        if inspect.isfunction(function) and function.__module__ == name
        for service in _served_by(function)
    }


@pytest.fixture(autouse=True)
def answers(handlers: Handlers, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """Compare each answer of our own handlers with AWS's model, and fail where they differ."""
    met: dict[str, list[str]] = defaultdict(list)
    ask = Endpoint.make_request

    def compared(endpoint: Endpoint, model: OperationModel, request: Any) -> Any:
        answered, parsed = ask(endpoint, model, request)
        key = (model.service_model.service_name, model.name.lower())
        if key in handlers and answered.status_code < 300:
            met[handlers[key]] += _differences(model, answered.content)
        return answered, parsed

    monkeypatch.setattr(Endpoint, "make_request", compared)
    yield met
    assert {name: found for name, found in met.items() if found} == {}


def _served_by(function: Callable[..., Any]) -> list[str]:
    """Return the service that a function answers for as a method of moto's, if it does."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.name != "self" or function.__name__.startswith("_"):
        return []
    if not issubclass(first.annotation, BaseResponse):
        return []
    return [str(first.annotation().service_name)]


_SIGNED_AS = {"awslambda": "lambda"}


def _differences(model: OperationModel, body: bytes) -> list[str]:
    """Return what in the body of an answer is not as the output of its operation has it."""
    shape = model.output_shape
    if shape is None or not body:
        return []
    match model.service_model.resolved_protocol:
        case "json" | "rest-json":
            value = json.loads(body)
        case "query" | "ec2":
            root = ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", body))
            wrapper = shape.serialization.get("resultWrapper")
            value = _plain(shape, root.find(wrapper) if wrapper else root)
            value.pop("requestId", None)
        case protocol:
            return [f"{model.name} is answered in {protocol}, which is not looked at"]
    return list(_strangers(shape, value, model.name))


def _plain(shape: Shape | None, found: ET.Element) -> Any:
    """Return XML as JSON would have it: names as they are sent, values by their types."""
    match shape:
        case StructureShape():
            value: dict[str, Any] = {}
            members = {_name(n, m): m for n, m in shape.members.items()}
            for child in found:
                member = members.get(child.tag)
                if isinstance(member, ListShape) and member.serialization.get("flattened"):
                    value.setdefault(child.tag, []).append(_plain(member.member, child))
                else:
                    value[child.tag] = _plain(member, child)
            return value
        case ListShape():
            wanted = shape.member.serialization.get("name", "member")
            items = [_plain(shape.member, child) for child in found if child.tag == wanted]
            return items if len(items) == len(found) else [child.tag for child in found]
        case MapShape():
            return {e.findtext("key"): _plain(shape.value, e.find("value")) for e in found}
    text = found.text or ""
    match shape.type_name if shape else "string":
        case "boolean" | "integer" | "long" | "double" | "float":
            return json.loads(text)
        case "timestamp":
            return parse_timestamp(text).timestamp()
    return text


def _strangers(shape: Shape, value: Any, path: str) -> Iterator[str]:
    match shape:
        case StructureShape():
            if not isinstance(value, dict):
                yield f"{path} is {value!r}"
                return
            members = {_name(n, m): m for n, m in shape.members.items()}
            for name, item in value.items():
                if name not in members:
                    yield f"{path}.{name} is unknown"
                else:
                    yield from _strangers(members[name], item, f"{path}.{name}")
            yield from (f"{path} lacks {n}" for n in _required(shape) if n not in value)
        case ListShape():
            for item in value:
                yield from _strangers(shape.member, item, f"{path}[]")
        case MapShape():
            for item in value.values():
                yield from _strangers(shape.value, item, f"{path}{{}}")
        case _:
            if not isinstance(value, _TYPES[shape.type_name]):
                yield f"{path} is {value!r}"


def _required(shape: StructureShape) -> list[str]:
    return [_name(n, shape.members[n]) for n in shape.required_members]


def _name(name: str, member: Shape) -> str:
    return str(member.serialization.get("name", name))


_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "double": (int, float),
    "float": (int, float),
    "integer": int,
    "long": int,
    "string": str,
    "timestamp": (int, float),
}
