"""Amazon GuardDuty with its protection plans, which are `features` today and no data sources.

https://docs.aws.amazon.com/guardduty/latest/ug/guardduty-features-activation-model.html
"""

from typing import Any, Final

from firedoor.cloud.aws import Aws
from firedoor.enabling import _aws
from firedoor.enabling._aws import apply, call
from firedoor.switch import Order, Step, Switch

FEATURES: Final = (
    "S3_DATA_EVENTS", "EKS_AUDIT_LOGS", "EBS_MALWARE_PROTECTION", "RDS_LOGIN_EVENTS",
    "LAMBDA_NETWORK_LOGS", "RUNTIME_MONITORING",
)  # fmt: skip
COST: Final = (
    "free for 30 days, then by what is looked at: about $4 for a million management events, $1 for"
    " a GB of flow and DNS logs, $0.80 for a million S3 events, $1.60 for a million EKS audit"
    " events, $1.50 for a vCPU and month of runtime monitoring:"
    " https://aws.amazon.com/guardduty/pricing"
)
AGENTS: Final = (
    "runtime monitoring sees only where its agent runs: GuardDuty installs it by itself once that"
    " is turned on for EKS, ECS or EC2, which this leaves to you"
)


def plan(order: Order) -> tuple[Step, ...]:
    """Have GuardDuty look at this region, with all that it can look at."""
    aws = _aws.clients(order)
    title = f"GuardDuty watches {order.account} in {order.region}"
    detectors = aws.pages("guardduty", "ListDetectors", "DetectorIds")
    if not detectors:
        return (_created(title, aws),)
    id_ = detectors[0]
    detector = aws.client("guardduty").get_detector(DetectorId=id_)
    return _enabled(title, id_, detector, aws), _completed(id_, detector, aws)


SWITCH = Switch(
    title="Threat detection (GuardDuty)",
    cloud="aws",
    plan=plan,
    apply=apply,
    permissions=(
        "guardduty:ListDetectors", "guardduty:GetDetector", "guardduty:CreateDetector",
        "guardduty:TagResource", "guardduty:UpdateDetector", "iam:CreateServiceLinkedRole",
    ),
)  # fmt: skip


def _created(title: str, aws: Aws) -> Step:
    create = call(
        "guardduty",
        "CreateDetector",
        Enable=True,
        FindingPublishingFrequency="FIFTEEN_MINUTES",
        Features=_features(FEATURES, "ENABLED"),
        Tags={_aws.TAG["Key"]: _aws.TAG["Value"]},
    )
    listed = (
        f"aws guardduty list-detectors --query DetectorIds[0] --output text --region {aws.region}"
    )
    undo = f'aws guardduty delete-detector --detector-id "$({listed})" --region {aws.region}'
    note = f"{AGENTS}. Deleting the detector deletes its findings too"
    return _aws.step(title, aws, create, undo=[undo], cost=COST, note=note)


def _enabled(title: str, id_: str, detector: dict[str, Any], aws: Aws) -> Step:
    if detector["Status"] == "ENABLED":
        return Step(title=title, found=f"detector {id_}")
    on, off = (
        call("guardduty", "UpdateDetector", DetectorId=id_, Enable=wanted)
        for wanted in (True, False)
    )
    return _aws.step(title, aws, on, undo=[off], cost=COST)


def _completed(id_: str, detector: dict[str, Any], aws: Aws) -> Step:
    title = f"Detector {id_} has its protection plans: {', '.join(FEATURES)}"
    status = {one["Name"]: one["Status"] for one in detector.get("Features", ())}
    # The old plan for EKS alone cannot be on beside the one that took its place.
    if status.get("EKS_RUNTIME_MONITORING") == "ENABLED":
        status["RUNTIME_MONITORING"] = "ENABLED"
    missing = [name for name in FEATURES if status.get(name) != "ENABLED"]
    if not missing:
        return Step(title=title, found="all of them")
    on, off = (
        call("guardduty", "UpdateDetector", DetectorId=id_, Features=_features(missing, wanted))
        for wanted in ("ENABLED", "DISABLED")
    )
    note = AGENTS if "RUNTIME_MONITORING" in missing else ""
    return _aws.step(title, aws, on, undo=[off], cost=COST, note=note)


def _features(names: tuple[str, ...] | list[str], status: str) -> list[dict[str, str]]:
    return [{"Name": name, "Status": status} for name in names]
