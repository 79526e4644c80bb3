"""GuardDuty's findings, which moto does not have: sample and real ones, listed, archived, sent.

Our model of AWS, after its API reference. Findings are kept as an EventBridge event's detail has
them (camelCase). A filter with the action ARCHIVE suppresses what matches: archived at once and not
sent. Findings are sent at once; AWS takes up to five minutes and repeats updates less often.
"""

import json
import secrets
from datetime import UTC, datetime
from typing import Any, cast

from moto.core.exceptions import JsonRESTError
from moto.guardduty import urls
from moto.guardduty.models import Detector, guardduty_backends
from moto.guardduty.responses import GuardDutyResponse

from firedoor.lab import patch
from firedoor.lab.events import emit
from firedoor.lab.paths import values
from firedoor.lab.samples import SAMPLE_TYPES, sample

_PATHS = ("", "/create", "/get", "/archive", "/unarchive", "/feedback")


class InvalidInputError(JsonRESTError):
    """GuardDuty says no."""

    def __init__(self, message: str) -> None:
        super().__init__("BadRequestException", message)


def install() -> None:
    """Add the operations on findings to moto's GuardDuty."""
    for path in _PATHS:
        urls.url_paths[f"{{0}}/detector/(?P<detector_id>[^/]+)/findings{path}$"] = (
            GuardDutyResponse.dispatch
        )
    patch.add(
        GuardDutyResponse,
        create_sample_findings,
        list_findings,
        get_findings,
        archive_findings,
        unarchive_findings,
        update_findings_feedback,
    )


def detect(finding: dict[str, Any]) -> dict[str, str]:
    """Let GuardDuty find something for once: store it, and send it to EventBridge.

    A finding with a known id is a repetition: it replaces the former one.
    """
    backend = guardduty_backends[finding["accountId"]][finding["region"]]
    if not backend.detectors:
        backend.create_detector(True, "FIFTEEN_MINUTES", {}, {}, [])
    detector = next(iter(backend.detectors.values()))
    return {"id": _publish(detector, finding), "detectorId": detector.id}


def create_sample_findings(self: GuardDutyResponse) -> str:
    """POST /detector/{detectorId}/findings/create."""
    detector = _detector(self)
    kinds = self._get_param("findingTypes") or list(SAMPLE_TYPES)
    if unknown := set(kinds) - SAMPLE_TYPES.keys():
        raise InvalidInputError(
            f"The request is rejected because no sample is emulated of {sorted(unknown)}."
        )
    for kind in kinds:
        finding = sample(kind, self.current_account, self.region, detector.id, datetime.now(UTC))
        _publish(detector, finding)
    return "{}"


def list_findings(self: GuardDutyResponse) -> str:
    """POST /detector/{detectorId}/findings."""
    criterion = (self._get_param("findingCriteria") or {}).get("criterion") or {}
    sort = self._get_param("sortCriteria") or {}
    found = [f for f in _findings(_detector(self)).values() if _matches(f, criterion)]
    if attribute := sort.get("attributeName"):
        found.sort(
            key=lambda f: [_comparable(v) for v in values(f, attribute)],
            reverse=sort.get("orderBy") == "DESC",
        )
    start = int(self._get_param("nextToken") or 0)
    end = start + int(self._get_param("maxResults") or 50)
    more = {"nextToken": str(end)} if end < len(found) else {}
    return json.dumps({"findingIds": [f["id"] for f in found[start:end]], **more})


def get_findings(self: GuardDutyResponse) -> str:
    """POST /detector/{detectorId}/findings/get."""
    return json.dumps({"findings": [_as_described(f) for f in _named(self)]})


def archive_findings(self: GuardDutyResponse) -> str:
    """POST /detector/{detectorId}/findings/archive."""
    return _note(self, {"archived": True})


def unarchive_findings(self: GuardDutyResponse) -> str:
    """POST /detector/{detectorId}/findings/unarchive."""
    return _note(self, {"archived": False})


def update_findings_feedback(self: GuardDutyResponse) -> str:
    """POST /detector/{detectorId}/findings/feedback."""
    if self._get_param("feedback") not in ("USEFUL", "NOT_USEFUL"):
        raise InvalidInputError(
            "The request is rejected because the parameter feedback has an invalid value."
        )
    return _note(self, {"userFeedback": self._get_param("feedback")})


def _as_described(finding: dict[str, Any]) -> dict[str, Any]:
    """Return it as the API has it: no nulls, and additional information only in `value`."""
    info = finding["service"].get("additionalInfo", {})
    info = {name: info[name] for name in ("value", "type") if name in info}
    described = {**finding, "service": {**finding["service"], "additionalInfo": info}}
    return cast("dict[str, Any]", _without_nulls(described))


def _without_nulls(value: Any) -> Any:
    match value:
        case dict():
            return {name: _without_nulls(v) for name, v in value.items() if v is not None}
        case list():
            return [_without_nulls(v) for v in value]
    return value


def _note(self: GuardDutyResponse, marks: dict[str, Any]) -> str:
    for finding in _named(self):
        finding["service"] |= marks
    return "{}"


def _named(self: GuardDutyResponse) -> list[dict[str, Any]]:
    ids = self._get_param("findingIds") or []
    if not 1 <= len(ids) <= 50:
        raise InvalidInputError(
            "The request is rejected because findingIds must name 1 to 50 findings."
        )
    findings = _findings(_detector(self))
    return [findings[i] for i in ids if i in findings]


def _detector(self: GuardDutyResponse) -> Detector:
    return self.guardduty_backend.get_detector(self.path.split("/")[2])


def _findings(detector: Detector) -> dict[str, dict[str, Any]]:
    findings: dict[str, dict[str, Any]] = detector.__dict__.setdefault("findings", {})
    return findings


def _publish(detector: Detector, finding: dict[str, Any]) -> str:
    finding = {"id": secrets.token_hex(16), **finding}
    suppressed = any(
        f.action == "ARCHIVE" and _matches(finding, f.finding_criteria["criterion"])
        for f in detector.filters.values()
    )
    finding["service"] = {
        **finding.get("service", {}),
        "detectorId": detector.id,
        "archived": suppressed,
    }
    _findings(detector)[finding["id"]] = finding
    if not suppressed:
        emit(finding["accountId"], finding["region"], "aws.guardduty", "GuardDuty Finding", finding)
    return str(finding["id"])


def _matches(finding: dict[str, Any], criterion: dict[str, dict[str, Any]]) -> bool:
    return all(
        _holds(list(values(finding, path)), name, wanted)
        for path, condition in criterion.items()
        for name, wanted in condition.items()
    )


def _holds(values: list[Any], condition: str, wanted: Any) -> bool:
    texts = {json.dumps(v) if isinstance(v, bool) else str(v) for v in values}
    numbers = [float(_comparable(v)) for v in values if not isinstance(_comparable(v), str)]
    match condition:
        case "eq" | "equals":
            return bool(texts & set(wanted))
        case "neq" | "notEquals":
            return not texts & set(wanted)
        case "gt" | "greaterThan":
            return any(n > wanted for n in numbers)
        case "gte" | "greaterThanOrEqual":
            return any(n >= wanted for n in numbers)
        case "lt" | "lessThan":
            return any(n < wanted for n in numbers)
        case "lte" | "lessThanOrEqual":
            return any(n <= wanted for n in numbers)
    raise InvalidInputError(
        f"The request is rejected because the condition {condition} is not emulated."
    )


def _comparable(value: Any) -> Any:
    # Criteria give times as milliseconds since 1970, findings as ISO 8601.
    if isinstance(value, str) and value.endswith("Z"):
        try:
            return datetime.fromisoformat(value).timestamp() * 1000
        except ValueError:
            return value
    return value
