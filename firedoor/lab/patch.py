"""How the emulator changes moto: by wrapping its own functions, not by a fork."""

from collections.abc import Callable
from functools import wraps
from typing import Any


def around(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Let `wrapper` stand before a function of a class or module; it gets the original first."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(owner, name, wrapped)


def add(owner: Any, *functions: Callable[..., Any]) -> None:
    """Give a class these functions as methods, in place of those with the same names."""
    for function in functions:
        setattr(owner, function.__name__, function)


def replace(owner: Any, name: str, value: Any) -> None:
    """Put something in the place of an attribute that is there."""
    getattr(owner, name)
    setattr(owner, name, value)
