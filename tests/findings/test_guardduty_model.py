"""The fixtures and the reading of findings, held against AWS's own model of GuardDuty."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firedoor.findings import _attack_sequence as sequence
from firedoor.findings import guardduty

FIXTURES = Path(__file__).parents[1] / "data" / "guardduty"

# What of the model we leave unread, and why. A botocore that brings a new member makes the test
# below fail until somebody has looked at it.
IGNORED = {
    "Finding": {
        "Arn": "tells that it is GuardDuty's; the id is what identifies it",
        "AssociatedAttackSequenceArn": "the sequence arrives as a finding of its own",
        "Confidence": "changes nothing in the response",
        "CustomDetectionRuleName": "the type says what was detected",
        "Partition": "the account and the region settle it",
        "SchemaVersion": "we read by member, not by version",
    },
    "Service": {
        "Archived": "suppressed findings are not sent, and archiving one does not undo the attack",
        "DetectorId": "of no use to a response",
        "EbsVolumeScanDetails": "what was found; the scanned volumes are in resource",
        "Evidence": "names of threats, for people to read where the finding is kept",
        "FeatureName": "the type says it",
        "MalwareScanDetails": "what was found; where is in resource",
        "RuntimeDetails": "processes, which no action can reach from outside",
        "ServiceName": "always guardduty",
        "UserFeedback": "not part of the detection",
    },
    "Resource": {
        "RdsDbUserDetails": "a user inside the database, not of the account",
    },
    "Action": {
        "ActionType": "the member that is present says it",
        "KubernetesPermissionCheckedDetails": "what was asked inside the cluster; it has no ends",
        "KubernetesRoleBindingDetails": "an object inside the cluster; it has no ends",
        "KubernetesRoleDetails": "an object inside the cluster; it has no ends",
    },
    "Detection": {"Anomaly": "statistics, for people to read"},
    "Sequence": {
        "AdditionalSequenceTypes": "the sequence's own type decides on the runbook",
        "Description": "the finding has it too",
        "Uid": "the finding's id identifies it",
    },
    "Signal": {
        "Activities": "for people to read",
        "Count": "the finding counts itself",
        "CreatedAt": "when it was noticed; when it happened counts",
        "Description": "for people to read",
        "EndpointIds": "all endpoints took part",
        "Name": "for people to read",
        "Severity": "the finding has one",
        "Type": "all signals count alike",
        "Uid": "the finding's id identifies it",
        "UpdatedAt": "when it was noticed; when it happened counts",
    },
    "FindingResourceType": {
        "AUTOSCALING_AUTO_SCALING_GROUP": "what instances have in common; OTHER",
        "BEDROCK_APPLICATION_INFERENCE_PROFILE": "no kind of its own; OTHER",
        "BEDROCK_CUSTOM_MODEL": "no kind of its own; OTHER",
        "BEDROCK_CUSTOM_MODEL_DEPLOYMENT": "no kind of its own; OTHER",
        "BEDROCK_GUARDRAIL": "no kind of its own; OTHER",
        "BEDROCK_IMPORTED_MODEL": "no kind of its own; OTHER",
        "BEDROCK_INFERENCE_PROFILE": "no kind of its own; OTHER",
        "BEDROCK_PROMPT": "no kind of its own; OTHER",
        "BEDROCK_PROMPT_ROUTER": "no kind of its own; OTHER",
        "BEDROCK_PROVISIONED_MODEL": "no kind of its own; OTHER",
        "CLOUDFORMATION_STACK": "what instances have in common; OTHER",
        "EC2_LAUNCH_TEMPLATE": "what instances have in common; OTHER",
        "EC2_VPC": "what instances have in common; OTHER",
        "IAM_INSTANCE_PROFILE": "what instances have in common; OTHER",
        "SAGEMAKER_ENDPOINT": "no kind of its own; OTHER",
    },
}


def fold(name: str) -> str:
    return name.replace("_", "").lower()


def heads(*paths: str) -> set[str]:
    return {fold(path.partition(".")[0].removesuffix("[]")) for path in paths}


READ = {
    "Finding": {fold(name) for name in guardduty._Detail.model_fields},
    "Service": {fold(name) for name in guardduty._Service.model_fields},
    "Resource": heads(
        "resourceType", *guardduty.NAMES, *guardduty.PRINCIPAL, *guardduty.WORKLOAD
    ),
    "Action": heads(
        *guardduty.REMOTE, *guardduty.LOCAL, *guardduty.PORTS, *guardduty.DOMAINS, guardduty.CALLER
    ),
    "Detection": {fold(name) for name in guardduty._Detection.model_fields},
    "Sequence": {fold(name) for name in sequence.Sequence.model_fields},
    "Signal": {fold(name) for name in sequence.Signal.model_fields},
    "FindingResourceType": {
        fold(name) for name in (*sequence.KINDS, "ACCESS_KEY", "EC2_NETWORK_INTERFACE")
    },
}  # fmt: skip


def names(shape: dict[str, Any]) -> set[str]:
    return set(shape["members"] if "members" in shape else shape["enum"])


@pytest.mark.parametrize("shape", IGNORED)
def test_every_member_is_read_or_ignored_for_a_reason(shape: str, shapes: dict[str, Any]) -> None:
    unread = {name for name in names(shapes[shape]) if fold(name) not in READ[shape]}

    assert unread == IGNORED[shape].keys()


@pytest.mark.parametrize("shape", IGNORED)
def test_nothing_is_read_that_the_model_does_not_have(shape: str, shapes: dict[str, Any]) -> None:
    assert READ[shape] - {fold(name) for name in names(shapes[shape])} == set()


PATHS = [
    *(("Resource", path) for path in (*guardduty.NAMES, *guardduty.PRINCIPAL, *guardduty.WORKLOAD)),
    *(("Resource", path) for path in ("lambdaDetails.role", "accessKeyDetails.userType")),
    *(
        ("Action", f"{path}.{family}")
        for path in (*guardduty.REMOTE, *guardduty.LOCAL)
        for family in ("ipAddressV4", "ipAddressV6")
    ),
    *(("Action", path) for path in (*guardduty.PORTS, *guardduty.DOMAINS, guardduty.CALLER)),
    *(("ResourceData", path) for path in sequence.INTERFACE),
    *(("ResourceData", f"accessKey.{name}") for name in ("userType", "userName", "principalId")),
    *(("User", path) for path in ("name", "uid", "type", "credentialUid", "account.uid")),
    *(("NetworkEndpoint", path) for path in ("ip", "domain")),
    *(("Indicator", path) for path in ("key", "values[]")),
]


@pytest.mark.parametrize(("shape", "path"), PATHS, ids=lambda part: str(part))
def test_every_path_leads_to_a_value_of_the_model(
    shape: str, path: str, shapes: dict[str, Any]
) -> None:
    at = shapes[shape]
    for part in path.split("."):
        members = {fold(name): member["shape"] for name, member in at["members"].items()}
        at = shapes[members[fold(part.removesuffix("[]"))]]
        if part.endswith("[]"):
            assert at["type"] == "list"
            at = shapes[at["member"]["shape"]]

    assert at["type"] in ("string", "integer")


def test_the_key_of_an_attack_technique_is_the_models(shapes: dict[str, Any]) -> None:
    assert "ATTACK_TECHNIQUE" in shapes["IndicatorType"]["enum"]


TYPES = {
    "string": str,
    "integer": int,
    "long": int,
    "double": (int, float),
    "boolean": bool,
    "timestamp": (str, int, float),
    "list": list,
    "map": dict,
    "structure": dict,
}


def deviations(value: Any, name: str, shapes: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield where a document in camelCase is not as the model wants it."""
    shape = shapes[name]
    if value is None or name == "ServiceAdditionalInfo":  # which is free form in events
        return
    if not isinstance(value, TYPES[shape["type"]]):
        yield f"{at} is not a {shape['type']}"
    elif shape["type"] == "structure":
        known = {m.get("locationName", n): m["shape"] for n, m in shape["members"].items()}
        for member, inner in value.items():
            if member not in known:
                yield f"{at}.{member} is unknown"
            else:
                yield from deviations(inner, known[member], shapes, f"{at}.{member}")
    elif shape["type"] == "list":
        for inner in value:
            yield from deviations(inner, shape["member"]["shape"], shapes, f"{at}[]")
    elif "enum" in shape and value not in shape["enum"]:
        yield f"{at} is none of the model's: {value}"


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_fixture_is_as_guardduty_would_write_it(path: Path, shapes: dict[str, Any]) -> None:
    written = json.loads(path.read_text())

    assert list(deviations(written.get("detail", written), "Finding", shapes)) == []
