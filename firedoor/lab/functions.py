"""Lambda: concurrency that counts, sources that take a moment, and code that can be fetched.

Not in moto and here: GetAccountSettings, ListFunctionUrlConfigs (moto keeps one URL for a function,
that of $LATEST), and provisioned concurrency. Invocations are refused at a reserved concurrency of
0; at least 100 executions of 1,000 stay unreserved; provisioned concurrency may not exceed what is
reserved. A mapping that was turned on or off says so, and takes no further change, until it has
been listed once. GetFunction names a place of the code that answers without a signature.
"""

import json
from collections.abc import Callable
from typing import Any

from flask import request
from moto.awslambda import urls
from moto.awslambda.exceptions import InvalidParameterValueException
from moto.awslambda.models import EventSourceMapping, LambdaBackend, LambdaFunction
from moto.awslambda.responses import LambdaResponse
from moto.core.exceptions import JsonRESTError
from moto.s3.models import s3_backends

from firedoor.lab import patch

LIMIT, UNRESERVED = 1000, 100

_AWS_ITSELF = "000000000000"


def install() -> None:
    """Add to moto's Lambda what it lacks."""
    base = r"{0}/(?P<api_version>[^/]+)"
    function = base + r"/functions/(?P<function_name>[\w_:%-]+)"
    for path in (
        f"{base}/account-settings/?$",
        f"{function}/urls/?$",
        f"{function}/provisioned-concurrency/?$",
    ):
        urls.url_paths[path] = LambdaResponse.dispatch
    patch.add(
        LambdaResponse,
        get_account_settings,
        list_function_url_configs,
        list_provisioned_concurrency_configs,
        put_provisioned_concurrency_config,
        delete_provisioned_concurrency_config,
    )
    patch.around(LambdaBackend, "put_function_concurrency", _within_limits)
    patch.around(LambdaBackend, "invoke", _unless_frozen)
    patch.around(LambdaBackend, "update_event_source_mapping", _unless_turning)
    patch.around(LambdaResponse, "list_event_source_mappings", _then_at_rest)
    patch.around(EventSourceMapping, "get_configuration", _with_transition)
    patch.around(LambdaFunction, "get_code", _with_location)


def get_account_settings(self: LambdaResponse) -> str:
    """GET /2016-08-19/account-settings."""
    functions = list(self.backend.list_functions())
    return json.dumps(
        {
            "AccountLimit": {
                "ConcurrentExecutions": LIMIT,
                "UnreservedConcurrentExecutions": LIMIT - _reserved(self.backend),
            },
            "AccountUsage": {"FunctionCount": len(functions)},
        }
    )


def list_function_url_configs(self: LambdaResponse) -> str:
    """GET /2021-10-31/functions/NAME/urls."""
    function = self.backend.get_function(_name(self))
    told = function.url_config.to_dict() if function.url_config else {}
    config = {name: value for name, value in told.items() if value is not None}  # as moto says it
    return json.dumps({"FunctionUrlConfigs": [config] if config else []})


def list_provisioned_concurrency_configs(self: LambdaResponse) -> str:
    """GET /2019-09-30/functions/NAME/provisioned-concurrency?List=ALL."""
    function = self.backend.get_function(_name(self))
    configs = [
        {
            "FunctionArn": f"{function.function_arn.removesuffix(':$LATEST')}:{qualifier}",
            **_provisioned_as_told(number),
        }
        for qualifier, number in _provisioned(function).items()
    ]
    return json.dumps({"ProvisionedConcurrencyConfigs": configs})


def put_provisioned_concurrency_config(self: LambdaResponse) -> tuple[int, dict[str, Any], str]:
    """PUT /2019-09-30/functions/NAME/provisioned-concurrency."""
    function = self.backend.get_function(_name(self))
    number = int(json.loads(self.body)["ProvisionedConcurrentExecutions"])
    qualifier = self.querystring["Qualifier"][0]
    others = sum(n for q, n in _provisioned(function).items() if q != qualifier)
    reserved = function.reserved_concurrency
    if reserved is not None and others + number > int(reserved):
        raise InvalidParameterValueException(
            "Requested Provisioned Concurrency should not be greater than the"
            " reservedConcurrentExecution for function"
        )
    _provisioned(function)[qualifier] = number
    return 202, {"status": 202}, json.dumps(_provisioned_as_told(number))


def delete_provisioned_concurrency_config(
    self: LambdaResponse,
) -> tuple[int, dict[str, Any], str]:
    """DELETE /2019-09-30/functions/NAME/provisioned-concurrency."""
    function = self.backend.get_function(_name(self))
    _provisioned(function).pop(self.querystring["Qualifier"][0], None)
    return 204, {"status": 204}, ""


def _name(response: LambdaResponse) -> str:
    return str(response.path.split("/functions/")[1].split("/")[0])


def _provisioned(function: LambdaFunction) -> dict[str, int]:
    found: dict[str, int] = function.__dict__.setdefault("provisioned", {})
    return found


def _provisioned_as_told(number: int) -> dict[str, Any]:
    return {
        "RequestedProvisionedConcurrentExecutions": number,
        "AvailableProvisionedConcurrentExecutions": number,
        "AllocatedProvisionedConcurrentExecutions": number,
        "Status": "READY",
        "LastModified": "2026-01-01T00:00:00+0000",
    }


def _reserved(backend: LambdaBackend, but: str = "") -> int:
    return sum(
        int(function.reserved_concurrency or 0)
        for function in backend.list_functions()
        if function.function_name != but
    )


def _within_limits(
    original: Callable[..., Any], backend: LambdaBackend, name: str, wanted: str
) -> Any:
    function, number = backend.get_function(name), int(wanted)
    if number and LIMIT - _reserved(backend, function.function_name) - number < UNRESERVED:
        raise InvalidParameterValueException(
            "Specified ReservedConcurrentExecutions for function decreases account's"
            f" UnreservedConcurrentExecution below its minimum value of [{UNRESERVED}]."
        )
    if number < sum(_provisioned(function).values()):
        raise InvalidParameterValueException(
            "Specified ReservedConcurrentExecutions for function should not be less than its total"
            " provisioned concurrency"
        )
    return original(backend, name, number)


def _unless_frozen(
    original: Callable[..., Any], backend: LambdaBackend, name: str, *args: Any, **kwargs: Any
) -> Any:
    function = backend.get_function(name)
    if function is not None and function.reserved_concurrency == 0:
        error = JsonRESTError("TooManyRequestsException", "Rate Exceeded.")
        error.code = 429
        raise error
    return original(backend, name, *args, **kwargs)


def _unless_turning(
    original: Callable[..., Any], backend: LambdaBackend, uuid: str, spec: dict[str, Any]
) -> Any:
    mapping = backend.get_event_source_mapping(uuid)
    if mapping is not None and mapping.__dict__.get("turning"):
        raise JsonRESTError(
            "ResourceInUseException",
            "Cannot update the event source mapping because it is in use.",
        )
    was = mapping.enabled if mapping else None
    changed = original(backend, uuid, spec)
    if mapping is not None and mapping.enabled != was:
        mapping.__dict__["turning"] = True
    return changed


def _then_at_rest(original: Callable[..., str], response: LambdaResponse) -> str:
    answer = original(response)
    for mapping in response.backend.list_event_source_mappings("", ""):
        mapping.__dict__["turning"] = False
    return answer


def _with_transition(
    original: Callable[..., dict[str, Any]], mapping: EventSourceMapping
) -> dict[str, Any]:
    told = original(mapping)
    if mapping.__dict__.get("turning"):
        told["State"] = "Enabling" if mapping.enabled else "Disabling"
    return told


def _with_location(
    original: Callable[..., dict[str, Any]], function: LambdaFunction
) -> dict[str, Any]:
    told = original(function)
    if function.reserved_concurrency is not None:
        told["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
    if "ImageUri" in function.code:
        return told
    key = f"snapshots/{function.account_id}/{function.function_name}-{function.code_digest}"
    bucket = f"awslambda-{function.region}-tasks"
    store = s3_backends[_AWS_ITSELF][function.partition]
    if bucket not in store.buckets:
        store.create_bucket(bucket, function.region)
    stored = store.put_object(bucket, key, function.code_bytes)
    stored.acl = None  # so that nobody needs to sign
    location = f"{request.host_url}{bucket}/{key}"
    return {**told, "Code": {"RepositoryType": "S3", "Location": location}}
