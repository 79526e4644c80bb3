"""AWS Support: to whom cases go, which moto lacks, and cases that stay as they were opened.

moto resolves cases while one looks at them, and gives them another severity.
"""

import json

from moto.support.models import SupportBackend
from moto.support.responses import SupportResponse

from firedoor.lab import patch

SERVICES = [
    {
        "code": "general-info",
        "name": "General Info and Getting Started",
        "categories": [{"code": "using-aws", "name": "Using AWS & Services"}],
    },
    {
        "code": "distributed-denial-of-service",
        "name": "Distributed Denial of Service (DDoS)",
        "categories": [
            {"code": "outbound-from-aws", "name": "Outbound from AWS"},
            {"code": "inbound-to-aws", "name": "Inbound to AWS"},
        ],
    },
]
"""Made up, in AWS's shape: the real codes are what DescribeServices says."""


def install() -> None:
    """Set moto's Support right."""
    patch.add(SupportResponse, describe_services)
    patch.replace(SupportBackend, "advance_case_status", lambda *_: None)
    patch.replace(SupportBackend, "advance_case_severity_codes", lambda *_: None)


def describe_services(self: SupportResponse) -> str:  # noqa: ARG001
    """List the services to which a case can be about."""
    return json.dumps({"services": SERVICES})
