"""What tests of the emulated AWS share: stock clients, and AWS's service models to compare with."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape

from firedoor.cloud.aws import Aws

Stock = Callable[..., Any]
Strangers = Callable[[str, str, Any], list[str]]


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


def _strangers(shape: Shape, value: Any, path: str) -> Iterator[str]:
    match shape:
        case StructureShape():
            members = {m.serialization.get("name", n): m for n, m in shape.members.items()}
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
    return [shape.members[n].serialization.get("name", n) for n in shape.required_members]


_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "double": (int, float),
    "float": (int, float),
    "integer": int,
    "long": int,
    "string": str,
    "timestamp": (int, float),
}
