"""An AWS request as the emulator sees it: who calls which operation of which service."""

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import UnknownServiceError
from botocore.model import OperationNotFoundError
from moto.core.exceptions import ServiceException
from moto.core.model import OperationModel
from moto.core.request import Request, determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound

Answer = tuple[str, list[tuple[str, str]], bytes]

# Names in signatures that are not the names of the SDK's clients.
_SIGNED_AS = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "servicequotas": "service-quotas",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}
_CREDENTIAL = re.compile(r"Credential=([^/,]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_ACTION = re.compile(rb"(?:^|&)Action=(\w+)")


@dataclass(frozen=True)
class AwsRequest:
    """What a WSGI environment says about the call."""

    environ: dict[str, Any]

    @cached_property
    def _credential(self) -> tuple[str, str, str]:
        query = unquote(self.environ["QUERY_STRING"])  # that of a presigned URL
        found = _CREDENTIAL.search(self.environ.get("HTTP_AUTHORIZATION", query))
        return (found[1], found[2], found[3]) if found else ("", "", "")

    @property
    def access_key(self) -> str:
        """The id of the access key that signed it, or nothing."""
        return self._credential[0]

    @property
    def service(self) -> str:
        """The SDK's name of the service, or nothing for a request that is not signed."""
        name = self._credential[2]
        return _SIGNED_AS.get(name, name)

    @property
    def region(self) -> str:
        """The region that the signature names."""
        return self._credential[1]

    @property
    def body(self) -> bytes:
        """All of the body; the emulator's connections hold it in memory."""
        return bytes(self.environ["wsgi.input"].getvalue())

    @property
    def is_dry_run(self) -> bool:
        """Whether it only asks EC2 for leave, and takes no effect."""
        return b"DryRun=true" in self.body

    @cached_property
    def operation(self) -> str:
        """The operation's name as in the service model, or nothing if there is none such."""
        if target := self.environ.get("HTTP_X_AMZ_TARGET"):
            return str(target).rpartition(".")[2]
        form = str(self.environ.get("CONTENT_TYPE")).startswith("application/x-www-form-urlencoded")
        if form and (action := _ACTION.search(self.body)):
            return action[1].decode()
        if "HTTP_SMITHY_PROTOCOL" in self.environ:
            return str(self.environ["PATH_INFO"]).rpartition("/")[2]
        try:
            return str(get_service_router(self.service).match(Request(self.environ))[0].name)
        except (NotFound, NotImplementedError, UnknownServiceError):
            return ""

    def error(self, code: str, message: str, status: int) -> Answer:
        """Say no in the protocol that the caller speaks."""
        try:
            model = get_service_model(self.service)
        except UnknownServiceError:
            return as_json({"__type": code, "message": message}, f"{status} {code}")
        try:
            operation = model.operation_model(self.operation)
        except OperationNotFoundError:
            operation = OperationModel({}, model)
        protocol = determine_request_protocol(model, self.environ.get("CONTENT_TYPE"))
        serializer = get_serializer_class(model.service_name, protocol)(operation)
        answer = serializer.serialize(_RefusalError(code, message))
        headers = [(name, str(value)) for name, value in answer["headers"].items()]
        body = answer["body"]
        return f"{status} {code}", headers, body if isinstance(body, bytes) else body.encode()


class _RefusalError(ServiceException):
    """An error of no service in particular; for those of its own module moto asks its models."""


def as_json(value: Any, status: str = "200 OK") -> Answer:
    """Answer a question to the emulator itself."""
    return status, [("Content-Type", "application/json")], json.dumps(value).encode()
