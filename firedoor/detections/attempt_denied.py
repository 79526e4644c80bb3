"""Somebody was denied what hardly anybody tries by mistake."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import any_of, aws, azure, gcp
from firedoor.detections._examples import call
from firedoor.model.finding import Side

DETECTION = Detection(
    title="A grave call was denied",
    description=(
        "A principal tried to stop records, to leave the organisation, to make users or keys or to"
        " give rights, and was denied. Nothing has happened; but it is no mistake that programs"
        " make, and whoever has these credentials will try something else."
    ),
    type="UnauthorizedAccess:IAMUser/AttemptDenied",
    severity=5,
    techniques=("T1078.004", "T1562.008", "T1098"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql=_calls.sql(
        any_of(
            aws(
                "LeaveOrganization",
                "StopLogging",
                "DeleteTrail",
                "PutEventSelectors",
                "DeleteFlowLogs",
                "DeleteDetector",
                "UpdateDetector",
                "StopMonitoringMembers",
                "DisassociateFromMasterAccount",
                "DisassociateFromAdministratorAccount",
                "StopConfigurationRecorder",
                "DeleteConfigurationRecorder",
                "DeleteDeliveryChannel",
                "DeactivateMFADevice",
                "CreateUser",
                "CreateAccessKey",
                "CreateLoginProfile",
                "UpdateLoginProfile",
                "AddUserToGroup",
                "AttachUserPolicy",
                "AttachGroupPolicy",
                "AttachRolePolicy",
                "PutUserPolicy",
                "PutGroupPolicy",
                "PutRolePolicy",
                "CreatePolicyVersion",
                "SetDefaultPolicyVersion",
                "DeleteUserPermissionsBoundary",
                "DeleteRolePermissionsBoundary",
                "UpdateAssumeRolePolicy",
                "ModifySnapshotAttribute",
                "ModifyImageAttribute",
                "ModifyDBSnapshotAttribute",
            ),
            azure(
                "microsoft.authorization/roleassignments/write",
                "microsoft.authorization/elevateaccess/action",
                "microsoft.insights/diagnosticsettings/delete",
            ),
            gcp("createserviceaccountkey", "configservicev2.deletesink"),
        ),
        outcome="denied",
    ),
    summary="{actor} was denied {operation} of {what}",
    examples=(
        Example("it would leave", call("LeaveOrganization", denied=True, status="Failure"), 1),
        Example(
            "it would make a key",
            call(
                "google.iam.admin.v1.CreateServiceAccountKey",
                cloud="gcp",
                actor_type="user",
                denied=True,
                status="Failure",
            ),
            matches=1,
        ),
        Example(
            "it looked at what it may not",
            call("DescribeInstances", denied=True, status="Failure"),
            matches=0,
        ),
        Example("a user of that name is there", call("CreateUser", status="Failure"), matches=0),
    ),
)
