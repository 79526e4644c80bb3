"""Service Quotas: the defaults of VPC, which moto knows, listed as well as named.

AWS lists the quotas applied to the account; here these are always the defaults.
"""

import json

from moto.servicequotas.models import ServiceQuotasBackend
from moto.servicequotas.resources.default_quotas.vpc import VPC_DEFAULT_QUOTAS
from moto.servicequotas.responses import ServiceQuotasResponse

from firedoor.lab import patch

RULES_PER_NACL = "L-2AEEBF1A"


def install() -> None:
    """Add ListServiceQuotas."""
    patch.add(ServiceQuotasResponse, list_service_quotas)


def list_service_quotas(self: ServiceQuotasResponse) -> str:
    """List the quotas of a service in one page."""
    backend: ServiceQuotasBackend = self.backend
    service = json.loads(self.body).get("ServiceCode")
    return json.dumps({"Quotas": backend.list_aws_default_service_quotas(service)})


def quota(service: str, code: str) -> float:
    """Return the value of a quota, which the emulator itself obeys."""
    (value,) = (
        q["Value"]
        for q in VPC_DEFAULT_QUOTAS
        if (q["ServiceCode"], q["QuotaCode"]) == (service, code)
    )
    return float(str(value))
