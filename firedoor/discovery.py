"""The only registry: the modules of a package that hold a descriptor of a kind."""

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TypeVar

T = TypeVar("T")


@cache
def find(package: str, kind: type[T]) -> dict[str, T]:
    """Return every descriptor of a kind below a package, by id.

    A descriptor is the one instance of `kind` in a module; its id is the module's dotted path
    below the package: `activities/aws/isolate_instance.py` holds `aws.isolate_instance`.
    """
    found = {}
    for name in modules(package):
        module = import_module(name)
        mine = [value for value in vars(module).values() if isinstance(value, kind)]
        if len(mine) > 1:
            raise TypeError(f"{name} holds {len(mine)} {kind.__name__} descriptors, expected one")
        if mine:
            found[name.removeprefix(f"{package}.")] = mine[0]
    return found


def modules(package: str) -> tuple[str, ...]:
    """Return the dotted names of all modules below a package, sorted."""
    root: ModuleType = import_module(package)
    walked = pkgutil.walk_packages(root.__path__, prefix=f"{package}.")
    return tuple(sorted(module.name for module in walked if not module.ispkg))
