"""Somebody made credentials of another, or of an application, by which to come back."""

from datetime import timedelta

from firedoor.detection import About, Detection, Example
from firedoor.detections._examples import CALL
from firedoor.model.finding import Side

KEY = {
    **CALL, "service": "iam.amazonaws.com", "operation": "CreateAccessKey", "read_only": False,
    "resource": "bob",
}  # fmt: skip

DETECTION = Detection(
    title="New credentials for somebody else",
    description=(
        "A principal made an access key, a password or a secret of another user, of a service"
        " account or of an application. Administrators do so when somebody begins; an attacker, to"
        " come back when the stolen credentials are revoked."
    ),
    type="Persistence:IAMUser/NewCredentials",
    severity=5,
    techniques=("T1098.001",),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    sql="""
        SELECT cloud, account, 'global' AS region, actor_type, actor, operation,
               max(actor_account) AS actor_account, max(credential) AS credential,
               max(src_key) AS remote_key, max(coalesce(resource, 'an application')) AS whom,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND status = 'Success' AND (
            (cloud = 'aws' AND service = 'iam.amazonaws.com' AND operation IN (
                'CreateAccessKey', 'CreateLoginProfile', 'UpdateLoginProfile',
                'CreateServiceSpecificCredential', 'UploadSSHPublicKey',
                'UploadSigningCertificate')
             AND resource IS NOT NULL AND resource <> coalesce(actor, '')
             AND resource NOT LIKE '%/' || coalesce(actor, ''))
            OR (cloud = 'azure' AND (
                lower(operation) IN (
                    'add service principal credentials',
                    'update application - certificates and secrets management',
                    'microsoft.aadiam/applications/credentials/write',
                    'microsoft.managedidentity/userassignedidentities/federatedidentitycredentials/write')))
            OR (cloud = 'gcp' AND (
                lower(operation) LIKE '%iam.admin.v1.createserviceaccountkey'
                OR lower(operation) LIKE '%iam.admin.v1.uploadserviceaccountkey'))
        )
        GROUP BY cloud, account, actor_type, actor, operation
    """,
    summary="{actor} called {operation} of {whom}",
    examples=(
        Example("a key of another user", {"api_activity": (KEY,)}, matches=1),
        Example(
            "a key of a service account",
            {
                "api_activity": (
                    {
                        **KEY,
                        "cloud": "gcp",
                        "actor_type": "user",
                        "operation": "google.iam.admin.v1.CreateServiceAccountKey",
                    },
                )
            },
            matches=1,
        ),
        Example(
            "a credential of an identity",
            {
                "api_activity": (
                    {
                        **KEY,
                        "cloud": "azure",
                        "actor_type": "User",
                        "operation": "Microsoft.ManagedIdentity/userAssignedIdentities/"
                        "federatedIdentityCredentials/write",
                    },
                )
            },
            matches=1,
        ),
        Example(
            "secrets of an application, and of its service principal",
            {
                "api_activity": tuple(
                    {**KEY, "cloud": "azure", "actor_type": "User", "operation": operation}
                    for operation in (
                        "Update application - Certificates and secrets management",
                        "Add service principal credentials",
                    )
                )
            },
            matches=2,
        ),
        Example(
            "a key of one's own: it is being rotated",
            {"api_activity": ({**KEY, "resource": "app"},)},
            matches=0,
        ),
        Example(
            "a key of one's own, by its ARN",
            {"api_activity": ({**KEY, "resource": "arn:aws:iam::123456789012:user/ops/app"},)},
            matches=0,
        ),
        Example(
            "somebody who was not let",
            {"api_activity": ({**KEY, "status": "Failure", "denied": True},)},
            matches=0,
        ),
    ),
)
