"""A savepoint of all accounts: going back to it is faster than building anew."""

import copy
import copyreg
import threading
from dataclasses import dataclass
from typing import Any, Self
from weakref import WeakValueDictionary

from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.ec2.models.instances import Instance
from moto.moto_api._internal.models import moto_api_backend

# moto's models hold locks, each of which guards one object: a copy needs one of its own.
for make in (threading.Lock, threading.RLock, threading.Condition):
    copyreg.pickle(type(make()), lambda _, make=make: (make, ()))  # type: ignore[misc]


def _copied(these: WeakValueDictionary[Any, Any], memo: dict[int, Any]) -> Any:
    """Refer to copies: to what was copied, a function that is restored would not be found."""
    return WeakValueDictionary((key, copy.deepcopy(value, memo)) for key, value in these.items())


setattr(WeakValueDictionary, "__deepcopy__", _copied)  # noqa: B010

# What moto forgets is collected late: an instance would free its address in the restored subnet.
del Instance.__del__


@dataclass(frozen=True)
class Savepoint:
    """The backends of moto, by service, account and region, and copies of what was in them."""

    backends: tuple[tuple[Any, str, str, Any], ...]
    states: list[dict[str, Any]]

    @classmethod
    def take(cls) -> Self:
        """Copy all state."""
        backends = tuple(
            (services, account, region, backend)
            for services in list(BackendDict._instances)  # type: ignore[misc]
            for account, region, backend in services.iter_backends()
        )
        states = _copy(backends, [b.__dict__ for *_, b in backends])
        reset_model_data()  # moto's S3 closes, at a reset, every object that is listed here
        return cls(backends, states)

    def restore(self) -> None:
        """Forget what is, and put back what was."""
        moto_api_backend.reset()
        states = _copy(self.backends, self.states)
        for (services, account, region, backend), state in zip(self.backends, states, strict=True):
            backend.__dict__ = state
            services[account][region] = backend


def _copy(backends: tuple[Any, ...], states: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # In one go, so that what two services share stays shared; backends themselves are not copied.
    return copy.deepcopy(states, {id(b): b for *_, b in backends})
