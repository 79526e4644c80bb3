"""Somebody took away what protects."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, azure, says
from firedoor.detections._examples import call
from firedoor.model.finding import Side

DETECTION = Detection(
    title="A protection is taken away",
    description=(
        "A principal took a firewall from a service, a second factor from a user, encryption, a"
        " lock or a guard rail, hid findings or let addresses pass. It is seldom done, and always"
        " with a reason that can be told."
    ),
    type="DefenseEvasion:IAMUser/ProtectionRemoved",
    severity=5,
    techniques=("T1562.001", "T1562.007", "T1556.006"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql=_calls.sql(
        any_of(
            aws(
                "DisassociateWebACL",
                "DeleteWebACL",
                "DeactivateMFADevice",
                "DisableEbsEncryptionByDefault",
                "DeleteAccountPasswordPolicy",
                "StopActivityStream",
                "DeleteGuardrail",
                "DeleteFirewallPolicy",
                "DeleteAccountPublicAccessBlock",
                "DisableMacie",
                "DeleteInsight",
            ),
            all_of(
                aws("UpdateFindings", "BatchUpdateFindings"),
                says('"SUPPRESSED"', '"RecordState":"ARCHIVED"', '"recordState":"ARCHIVED"'),
            ),
            # Of a single bucket it opens nothing yet: see opened_to_the_world.
            all_of(
                aws("PutAccountPublicAccessBlock"),
                says(
                    '"BlockPublicPolicy":false',
                    '"BlockPublicAcls":false',
                    '"RestrictPublicBuckets":false',
                    '"IgnorePublicAcls":false',
                ),
            ),
            "cloud = 'aws' AND service = 'guardduty.amazonaws.com'"
            " AND operation IN ('CreateIPSet', 'UpdateIPSet', 'ArchiveFindings')",
            all_of(
                aws("PutBucketLogging"),
                says('"BucketLoggingStatus":'),
                "request NOT LIKE '%\"LoggingEnabled\"%'",
            ),
            azure(
                "microsoft.network/firewallpolicies/delete",
                "microsoft.network/azurefirewalls/delete",
                "microsoft.authorization/locks/delete",
                "microsoft.authorization/policyassignments/delete",
                "microsoft.authorization/policyexemptions/write",
                "disable strong authentication",
            ),
        )
    ),
    summary="{actor} called {operation} of {what}",
    examples=(
        Example("a firewall", call("DisassociateWebACL"), matches=1),
        Example(
            "trusted addresses",
            call("UpdateIPSet", service="guardduty.amazonaws.com"),
            matches=1,
        ),
        Example(
            "access logs",
            call("PutBucketLogging", '{"BucketLoggingStatus":{"xmlns":"x"}}'),
            matches=1,
        ),
        Example(
            "a lock",
            call("Microsoft.Authorization/locks/delete", cloud="azure", actor_type="User"),
            matches=1,
        ),
        Example(
            "a list of a web application firewall, as automation changes it",
            call("UpdateIPSet", service="wafv2.amazonaws.com"),
            matches=0,
        ),
        Example(
            "access logs to another bucket",
            call("PutBucketLogging", '{"BucketLoggingStatus":{"LoggingEnabled":{}}}'),
            matches=0,
        ),
        Example("it was refused", call("DisassociateWebACL", status="Failure"), matches=0),
    ),
)
