"""Somebody switched off what records or detects."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import CALL
from firedoor.model.finding import Side

CHANGE = {**CALL, "read_only": False}
STOP = {**CHANGE, "service": "cloudtrail.amazonaws.com", "operation": "StopLogging"}
DETECTOR = {**CHANGE, "service": "guardduty.amazonaws.com", "operation": "UpdateDetector"}

DETECTION = Detection(
    title="Records or detectors were switched off",
    description=(
        "A principal stopped or deleted a trail, flow logs, a detector, a recorder, diagnostic"
        " settings or a sink, or took the account out of its organisation. Hardly ever is there a"
        " good reason, and what follows goes unseen."
    ),
    type="Stealth:IAMUser/LoggingDisabled",
    severity=8,
    techniques=("T1562.001", "T1562.008"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql="""
        SELECT cloud, account, 'global' AS region, actor_type, actor, operation,
               max(actor_account) AS actor_account, max(credential) AS credential,
               max(src_key) AS remote_key, max(coalesce(resource, 'what it did not name')) AS what,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND status = 'Success' AND (
            (cloud = 'aws' AND operation IN (
                'StopLogging', 'DeleteTrail', 'DeleteEventDataStore',
                'StopEventDataStoreIngestion', 'DeleteFlowLogs',
                'DeleteDetector', 'StopMonitoringMembers', 'DisassociateFromAdministratorAccount',
                'DisassociateFromMasterAccount', 'DisableSecurityHub',
                'StopConfigurationRecorder', 'DeleteConfigurationRecorder',
                'DeleteDeliveryChannel', 'LeaveOrganization', 'DeleteResolverQueryLogConfig',
                'DisassociateResolverQueryLogConfig', 'DeleteLoggingConfiguration'))
            OR (cloud = 'aws' AND operation = 'UpdateDetector' AND (
                request LIKE '%"enable":false%' OR request LIKE '%"enable": false%'))
            OR (cloud = 'aws' AND operation = 'PutEventSelectors' AND (
                request LIKE '%"includeManagementEvents":false%'
                OR request LIKE '%"includeManagementEvents": false%'))
            OR (cloud = 'aws' AND operation = 'UpdateTrail' AND (
                request LIKE '%"isMultiRegionTrail":false%'
                OR request LIKE '%"isMultiRegionTrail": false%'
                OR request LIKE '%"includeGlobalServiceEvents":false%'
                OR request LIKE '%"includeGlobalServiceEvents": false%'))
            OR (cloud = 'azure' AND lower(operation) IN (
                'microsoft.insights/diagnosticsettings/delete',
                'microsoft.insights/logprofiles/delete',
                'microsoft.network/networkwatchers/flowlogs/delete',
                'microsoft.network/networkwatchers/delete',
                'microsoft.operationalinsights/workspaces/delete',
                'microsoft.securityinsights/dataconnectors/delete',
                'microsoft.security/autoprovisioningsettings/delete'))
            OR (cloud = 'gcp' AND (
                lower(operation) LIKE '%configservicev2.deletesink'
                OR lower(operation) LIKE '%configservicev2.deletebucket'
                OR (lower(operation) LIKE '%configservicev2.updatesink'
                    AND (request LIKE '%"disabled":true%' OR request LIKE '%"disabled": true%'
                         OR request LIKE '%"exclusions":[{%'
                         OR request LIKE '%"exclusions": [{%'))
                OR (lower(operation) LIKE '%compute.subnetworks.patch'
                    AND (request LIKE '%"enableFlowLogs":false%'
                         OR request LIKE '%"enableFlowLogs": false%'))))
        )
        GROUP BY cloud, account, actor_type, actor, operation
    """,
    summary="{actor} called {operation} of {what}",
    examples=(
        Example("a trail was stopped", {"api_activity": (STOP,)}, matches=1),
        Example(
            "a detector was switched off",
            {"api_activity": ({**DETECTOR, "request": '{"detectorId":"1","enable":false}'},)},
            matches=1,
        ),
        Example(
            "a trail that no longer records who manages the account",
            {
                "api_activity": (
                    {
                        **STOP,
                        "operation": "PutEventSelectors",
                        "request": '{"eventSelectors":[{"includeManagementEvents":false}]}',
                    },
                )
            },
            matches=1,
        ),
        Example(
            "a trail that no longer records other regions",
            {
                "api_activity": (
                    {
                        **STOP,
                        "operation": "UpdateTrail",
                        "request": '{"name":"main","isMultiRegionTrail":false}',
                    },
                )
            },
            matches=1,
        ),
        Example(
            "a diagnostic setting was deleted",
            {
                "api_activity": (
                    {
                        **CHANGE,
                        "cloud": "azure",
                        "actor_type": "User",
                        "operation": "MICROSOFT.INSIGHTS/DIAGNOSTICSETTINGS/DELETE",
                    },
                )
            },
            matches=1,
        ),
        Example(
            "a sink leaves something out",
            {
                "api_activity": (
                    {
                        **CHANGE,
                        "cloud": "gcp",
                        "actor_type": "user",
                        "operation": "google.logging.v2.ConfigServiceV2.UpdateSink",
                        "request": '{"sink":{"exclusions":[{"filter":"*","name":"all"}]}}',
                    },
                )
            },
            matches=1,
        ),
        Example(
            "a sink was deleted",
            {
                "api_activity": (
                    {
                        **CHANGE,
                        "cloud": "gcp",
                        "actor_type": "user",
                        "operation": "google.logging.v2.ConfigServiceV2.DeleteSink",
                    },
                )
            },
            matches=1,
        ),
        Example(
            "somebody who was not let",
            {"api_activity": ({**STOP, "status": "Failure", "denied": True},)},
            matches=0,
        ),
        Example(
            "a trail was started",
            {"api_activity": ({**STOP, "operation": "StartLogging"},)},
            matches=0,
        ),
        Example(
            "a detector publishes less often",
            {"api_activity": ({**DETECTOR, "request": '{"detectorId":"1","enable":true}'},)},
            matches=0,
        ),
    ),
)
