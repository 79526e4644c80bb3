"""moto's lookups that never change, looked up once: they take much of the time of a small call."""

from functools import cache
from typing import Any

from moto import backends
from moto.core import responses
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from firedoor.lab import patch

_backend_of_host: dict[str | None, Any] = {}


def install() -> None:
    """Remember what moto works out anew for each request."""
    methods = vars(responses)["method_names_from_class"]
    patch.replace(responses, "method_names_from_class", cache(methods))
    modules = list(backends.list_of_moto_modules())
    patch.replace(backends, "list_of_moto_modules", lambda: modules)
    patch.around(DomainDispatcherApplication, "get_backend_for_host", _once_for_each_host)


def _once_for_each_host(find: Any, self: DomainDispatcherApplication, host: str | None) -> Any:
    if host not in _backend_of_host:
        _backend_of_host[host] = find(self, host)
    return _backend_of_host[host]
