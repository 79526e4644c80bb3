"""Service control policies: the document of an emergency one, and what an organisation has."""

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from activities.aws._reading import or_none
from firedoor.cloud.aws import Aws

TYPE = "SERVICE_CONTROL_POLICY"

# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_reference_limits.html
MOST_ATTACHED = 5
MOST_CHARACTERS = 5120

REGION = "us-east-1"
"""Where Organizations is asked, whichever region a subject is in."""

SID = "FiredoorRestrict"

DESTRUCTIVE = (
    "backup:DeleteBackupVault*",
    "backup:DeleteRecoveryPoint",
    "backup:PutBackupVaultAccessPolicy",
    "backup:UpdateRecoveryPointLifecycle",
    "cloudtrail:DeleteTrail",
    "cloudtrail:PutEventSelectors",
    "cloudtrail:StopLogging",
    "cloudtrail:UpdateTrail",
    "config:DeleteConfigurationRecorder",
    "config:DeleteDeliveryChannel",
    "config:StopConfigurationRecorder",
    "dynamodb:DeleteBackup",
    "dynamodb:DeleteTable",
    "dynamodb:UpdateContinuousBackups",
    "ec2:DeleteFlowLogs",
    "ec2:DeleteSnapshot",
    "ec2:DeregisterImage",
    "ec2:DisableEbsEncryptionByDefault",
    "ec2:ModifySnapshotAttribute",
    "elasticfilesystem:DeleteFileSystem",
    "guardduty:Delete*",
    "guardduty:Disassociate*",
    "guardduty:StopMonitoringMembers",
    "guardduty:UpdateDetector",
    "kms:CreateKey",
    "kms:DisableKey",
    "kms:PutKeyPolicy",
    "kms:ScheduleKeyDeletion",
    "logs:DeleteLogGroup",
    "logs:DeleteLogStream",
    "logs:PutRetentionPolicy",
    "organizations:LeaveOrganization",
    "rds:DeleteDB*",
    "rds:ModifyDBClusterSnapshotAttribute",
    "rds:ModifyDBSnapshotAttribute",
    "s3:BypassGovernanceRetention",
    "s3:DeleteBucket*",
    "s3:DeleteObjectVersion",
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
    "securityhub:DisableSecurityHub",
)
"""What destroys data, its keys, its copies or the records of who did it."""

Object = dict[str, Any]


def document(actions: Sequence[str], exempt: Sequence[str]) -> str:
    """Return the policy that denies actions to all but the exempt principals."""
    statement: Object = {
        "Sid": SID,
        "Effect": "Deny",
        "Action": sorted(set(actions)),
        "Resource": "*",
    }
    if exempt:
        statement["Condition"] = {"ArnNotLike": {"aws:PrincipalArn": sorted(set(exempt))}}
    # White space counts.
    whole = {"Version": "2012-10-17", "Statement": [statement]}
    return json.dumps(whole, separators=(",", ":"))


def name(account: str, content: str) -> str:
    """Return the name of our policy: one of the same name says the same."""
    return f"firedoor-restrict-{account}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"


def by_name(aws: Aws, name: str) -> Object | None:
    """Read the policy of a name with its content; None if there is none."""
    found = aws.pages("organizations", "ListPolicies", "Policies", Filter=TYPE)
    id = next((policy["Id"] for policy in found if policy["Name"] == name), None)
    if id is None:
        return None
    read = or_none(partial(aws.client("organizations").describe_policy, PolicyId=id))
    return {"Id": id, "Content": read["Policy"]["Content"]} if read else None


def attached(aws: Aws, target: str) -> list[Object]:
    """Read the policies that are attached to an account itself, not to what it is in."""
    return aws.pages(
        "organizations", "ListPoliciesForTarget", "Policies", TargetId=target, Filter=TYPE
    )


def enabled(aws: Aws) -> bool:
    """Tell whether the organisation has policies of this type turned on."""
    roots = aws.pages("organizations", "ListRoots", "Roots")
    return any(
        kind["Type"] == TYPE and kind["Status"] == "ENABLED"
        for root in roots
        for kind in root.get("PolicyTypes") or ()
    )
