"""Somebody deleted what a loss could be made good with."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections._calls import all_of, any_of, aws, azure, gcp, says
from firedoor.detections._examples import CHANGE, call
from firedoor.model.finding import Side

VERSIONS: Final = says(
    '"Status":"Suspended"',
    '"Status":"Disabled"',
    '"MfaDelete":"Disabled"',
    '"MFADelete":"Disabled"',
)
GRAVE: Final = any_of(
    aws(
        "DeleteDBInstanceAutomatedBackup",
        "DeleteDBClusterAutomatedBackup",
        "DeleteBackupVault",
        "DeleteBackupVaultLockConfiguration",
        "DeleteBucketReplication",
        "ScheduleKeyDeletion",
        "DisableKey",
    ),
    all_of(aws("PutBucketVersioning"), VERSIONS),
    all_of(aws("DeleteDBInstance", "DeleteDBCluster"), says('"skipFinalSnapshot":true')),
    all_of(aws("UpdateContinuousBackups"), says('"pointInTimeRecoveryEnabled":false')),
    azure(
        "microsoft.recoveryservices/vaults/delete",
        "microsoft.recoveryservices/vaults/backupfabrics/protectioncontainers/protecteditems/delete",
        "microsoft.compute/restorepointcollections/delete",
        "microsoft.storage/storageaccounts/blobservices/containers/immutabilitypolicies/delete",
        "microsoft.keyvault/vaults/delete",
        "microsoft.keyvault/vaults/keys/purge/action",
        "microsoft.keyvault/locations/deletedvaults/purge/action",
    ),
    all_of(
        azure("microsoft.storage/storageaccounts/blobservices/write"),
        any_of(
            says('"isVersioningEnabled":false'),
            'lower(request) LIKE \'%"deleteretentionpolicy":{"enabled":false%\'',
        ),
    ),
    gcp("destroycryptokeyversion", "cloudsql.backupruns.delete"),
)
COPY: Final = any_of(
    aws(
        "DeleteSnapshot",
        "DeleteDBSnapshot",
        "DeleteDBClusterSnapshot",
        "DeregisterImage",
        "DeleteRecoveryPoint",
        "DeleteBackup",
    ),
    azure("microsoft.compute/snapshots/delete"),
    gcp("compute.snapshots.delete"),
)
DELETED: Final = {**CHANGE, "operation": "DeleteSnapshot"}

DETECTION = Detection(
    title="Backups are deleted",
    description=(
        "A principal deleted automated backups, a vault, a replication or a key, stopped keeping"
        " versions, or deleted several snapshots within an hour: extortion begins so. What deletes"
        " old snapshots at night does it, too: raise `copies` for as many as those are."
    ),
    type="Impact:IAMUser/BackupsDeleted",
    severity=7,
    techniques=("T1490", "T1485"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    params={"copies": 5},
    sql=f"""
        SELECT cloud, account, 'global' AS region, actor_type, actor,
               max(actor_account) AS actor_account, max(credential) AS credential,
               max(src_key) AS remote_key,
               min(operation) AS operation,
               max(coalesce(resource, 'what it did not name')) AS what,
               count(*) AS count, min(time) AS first_seen, max(time) AS last_seen
        FROM api_activity
        WHERE time >= :since AND time < :until AND status = 'Success' AND ({GRAVE} OR {COPY})
          AND coalesce(actor_type, '') <> 'AWSService'
        GROUP BY cloud, account, actor_type, actor
        HAVING count(*) >= :copies OR count(*) FILTER (WHERE {GRAVE}) > 0
    """,  # noqa: S608
    summary="{actor} made {count} calls, as {operation} of {what}",
    examples=(
        Example("five snapshots", {"api_activity": (DELETED,) * 5}, matches=1),
        Example("automated backups", call("DeleteDBInstanceAutomatedBackup"), matches=1),
        Example(
            "versions",
            call("PutBucketVersioning", '{"VersioningConfiguration":{"Status":"Suspended"}}'),
            matches=1,
        ),
        Example(
            "a vault of keys",
            call("MICROSOFT.KEYVAULT/VAULTS/DELETE", cloud="azure", actor_type="User"),
            matches=1,
        ),
        Example("four snapshots", {"api_activity": (DELETED,) * 4}, matches=0),
        Example(
            "versions that are kept",
            call("PutBucketVersioning", '{"VersioningConfiguration":{"Status":"Enabled"}}'),
            matches=0,
        ),
        Example(
            "a service that deletes what is old",
            {"api_activity": ({**DELETED, "actor_type": "AWSService"},) * 50},
            matches=0,
        ),
    ),
)
