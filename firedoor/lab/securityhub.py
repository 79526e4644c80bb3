"""Security Hub: findings can be searched and updated.

moto ignores the filters of GetFindings and lacks BatchUpdateFindings. Modelled of the filters:
those in `_PATHS`, strings, numbers and maps, joined as AWS does: values of one filter by OR
(negative ones by AND), filters by AND. Any other filter is refused.
"""

import json
from datetime import UTC, datetime
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.securityhub import urls
from moto.securityhub.models import SecurityHubBackend
from moto.securityhub.responses import SecurityHubResponse

from firedoor.lab import patch
from firedoor.lab.paths import values

_PATHS = {
    "AwsAccountId": "AwsAccountId",
    "ComplianceStatus": "Compliance.Status",
    "Criticality": "Criticality",
    "GeneratorId": "GeneratorId",
    "Id": "Id",
    "ProductArn": "ProductArn",
    "ProductFields": "ProductFields",
    "ProductName": "ProductName",
    "RecordState": "RecordState",
    "Region": "Region",
    "ResourceId": "Resources.Id",
    "ResourceType": "Resources.Type",
    "SeverityLabel": "Severity.Label",
    "SeverityNormalized": "Severity.Normalized",
    "Title": "Title",
    "Type": "Types",
    "UserDefinedFields": "UserDefinedFields",
    "VerificationState": "VerificationState",
    "WorkflowStatus": "Workflow.Status",
}
_UPDATABLE = (
    "Confidence",
    "Criticality",
    "RelatedFindings",
    "Severity",
    "Types",
    "UserDefinedFields",
    "VerificationState",
    "Workflow",
)


def install() -> None:
    """Set moto's Security Hub right."""
    urls.url_paths["{0}/findings/batchupdate$"] = SecurityHubResponse.dispatch
    patch.add(SecurityHubResponse, get_findings, batch_update_findings)


def get_findings(self: SecurityHubResponse) -> str:
    """POST /findings."""
    body = json.loads(self.body or "{}")
    backend: SecurityHubBackend = self.securityhub_backend
    found = [f.data for f in backend.findings if _matches(f.data, body.get("Filters") or {})]
    start = int(body.get("NextToken") or 0)
    end = start + int(body.get("MaxResults") or 20)
    more = {"NextToken": str(end)} if end < len(found) else {}
    return json.dumps({"Findings": found[start:end], **more})


def batch_update_findings(self: SecurityHubResponse) -> str:
    """PATCH /findings/batchupdate."""
    body = json.loads(self.body)
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    updates = {name: body[name] for name in _UPDATABLE if name in body}
    if "Note" in body:
        updates["Note"] = {**body["Note"], "UpdatedAt": now}
    known = {
        (f.data["Id"], f.data["ProductArn"]): f.data for f in self.securityhub_backend.findings
    }
    processed, unprocessed = [], []
    for identifier in body["FindingIdentifiers"]:
        finding = known.get((identifier["Id"], identifier["ProductArn"]))
        if finding is None:
            unprocessed.append(
                {
                    "FindingIdentifier": identifier,
                    "ErrorCode": "FindingNotFound",
                    "ErrorMessage": "Finding Not Found",
                }
            )
        else:
            finding |= {**updates, "UpdatedAt": now}
            processed.append(identifier)
    return json.dumps({"ProcessedFindings": processed, "UnprocessedFindings": unprocessed})


def _matches(finding: dict[str, Any], filters: dict[str, list[dict[str, Any]]]) -> bool:
    if unknown := filters.keys() - _PATHS.keys():
        raise JsonRESTError("InvalidInputException", f"not emulated: {sorted(unknown)}")
    # What was never triaged is new.
    finding = {"Workflow": {"Status": "NEW"}, "RecordState": "ACTIVE", **finding}
    return all(
        _holds(list(values(finding, _PATHS[name])), tests) for name, tests in filters.items()
    )


def _holds(values: list[Any], tests: list[dict[str, Any]]) -> bool:
    negative = [t for t in tests if "NOT" in t.get("Comparison", "")]
    positive = [t for t in tests if "NOT" not in t.get("Comparison", "")]
    return all(not any(_is(v, t) for v in values) for t in negative) and (
        not positive or any(_is(v, t) for v in values for t in positive)
    )


def _is(value: Any, test: dict[str, Any]) -> bool:
    """Compare, leaving a NOT to the caller."""
    if "Key" in test:
        value = value.get(test["Key"], "")
    if "Comparison" not in test:
        compare = {
            "Eq": value == test.get("Eq"),
            "Gte": value >= test.get("Gte", value),
            "Lte": value <= test.get("Lte", value),
            "Gt": value > test.get("Gt", value - 1),
            "Lt": value < test.get("Lt", value + 1),
        }
        return all(bool(compare[name]) for name in test)
    wanted = str(test["Value"])
    if "PREFIX" in test["Comparison"]:
        return str(value).startswith(wanted)
    if "CONTAINS" in test["Comparison"]:
        return wanted in str(value)
    return str(value) == wanted
