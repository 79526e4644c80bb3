"""Which of our rules answer to those of others, and where they differ on purpose.

Ours are detections by id, and Sigma rules by the name of their file behind `sigma/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Pair:
    """Our rules that answer to one of others; `why` says why answers differ, if they may."""

    ours: tuple[str, ...]
    why: str = ""


COUNTS: Final = "a rule that counts: one event is none"
WORLD: Final = "ours tells only of what is opened to everybody"
SHARES: Final = "ours tells of every share, not only of one with everybody"
FAILED: Final = "Sigma's tells of calls that failed, too"
ROOT: Final = "ours tells of every use of root"
SNAPSHOTS: Final = "ours wants several copies deleted: nightly jobs delete single ones"

PAIRS: Final[Mapping[str, Pair]] = {
    # AWS: records and protections
    "AWS.CloudTrail.AttemptToLeaveOrg": Pair(("logging_disabled", "attempt_denied")),
    "AWS.CloudTrail.EventSelectorsDisabled": Pair(("logging_disabled",)),
    "AWS.CloudTrail.DNSLogsDeleted": Pair(("logging_disabled",)),
    "AWS.CloudTrail.SecurityConfigurationChange": Pair(("logging_disabled", "protection_removed")),
    "AWS.ConfigService.DisabledDeleted": Pair(
        ("logging_disabled", "sigma/aws_config_disable_recording")
    ),
    "AWS.EC2.EBS.Encryption.Disabled": Pair(
        ("protection_removed", "sigma/aws_ec2_disable_encryption")
    ),
    "AWS.RDS.ActivityStreamStopped": Pair(("protection_removed",)),
    "AWS.S3.DisableBucketLogging": Pair(("protection_removed",)),
    "AWS.SecurityHub.Finding.Evasion": Pair(
        ("protection_removed", "sigma/aws_securityhub_finding_evasion")
    ),
    "AWS.WAF.Disassociation": Pair(("protection_removed",)),
    "AWS.IPSet.Modified": Pair(("protection_removed",)),
    "AWS.Bedrock.GuardrailUpdateDelete": Pair(
        ("protection_removed", "sigma/aws_cloudtrail_bedrock_guardrail_deleted"),
        "ours tells of a guard rail that is deleted, not of one that is changed",
    ),
    # AWS: what is shared or opened
    "AWS.CloudTrail.AMIModifiedForPublicAccess": Pair(("shared_outside",), SHARES),
    "AWS.CloudTrail.SnapshotMadePublic": Pair(("shared_outside",), SHARES),
    "AWS.RDS.SnapshotShared": Pair(("shared_outside",)),
    "AWS.CloudTrail.CodebuildProjectMadePublic": Pair(("opened_to_the_world",)),
    "AWS.RDS.InstanceMadePublic": Pair(("opened_to_the_world",)),
    "AWS.RDS.PublicRestore": Pair(("opened_to_the_world",)),
    "AWS.EC2.ManualSecurityGroupChange": Pair(
        ("opened_to_the_world", "sigma/aws_cloudtrail_security_group_change_ingress_egress"),
        "theirs knows by whom changes are made automatically",
    ),
    "AWS.EC2.SecurityGroupModified": Pair(
        ("opened_to_the_world", "sigma/aws_cloudtrail_security_group_change_ingress_egress")
    ),
    "AWS.EC2.NetworkACLModified": Pair(("sigma/aws_cloudtrail_new_acl_entries",)),
    "AWS.CloudTrail.NetworkACLPermissiveEntry": Pair(
        ("sigma/aws_cloudtrail_new_acl_entries",), "Sigma's tells of every entry"
    ),
    # AWS: rights and trust
    "AWS.IAM.AttachAdminRolePolicy": Pair(("privilege_granted",)),
    "AWS.IAM.AttachAdminUserPolicy": Pair(("privilege_granted",)),
    "AWS.IAM.BackdoorRole": Pair(("trust_given",)),
    "AWS.Potential.Backdoor.Lambda": Pair(
        ("trust_given",), "theirs tells of every permission, and its cases do not say for whom"
    ),
    "AWS.Suspicious.SAML.Activity": Pair(
        ("trust_given", "sigma/aws_susp_saml_activity", "sigma/aws_delete_saml_provider")
    ),
    "AWS.IAM.Backdoor.User.Keys": Pair(("new_access_key",)),
    "AWS.CloudTrail.LoginProfileCreatedOrModified": Pair(("new_access_key",)),
    # AWS: machines, code and secrets
    "AWS.EC2.Startup.Script.Change": Pair(
        ("command_run_remotely", "sigma/aws_ec2_startup_script_change")
    ),
    "AWS.EC2.MultiInstanceConnect": Pair(("command_run_remotely",)),
    "AWS.SSM.DistributedCommand": Pair(
        ("command_run_remotely",), "ours tells of a first command, to however many machines"
    ),
    "AWS.Lambda.UpdateFunctionCode": Pair(
        ("code_replaced",), "theirs leaves out roles; ours leaves out whoever did so before"
    ),
    "AWS.Lambda.UpdateFunctionConfiguration": Pair(
        ("code_replaced", "sigma/aws_new_lambda_layer_attached"),
        "the cases have the layers in the answer only, where all of them stand each time",
    ),
    "AWS.EC2.DownloadInstanceUserData": Pair(("secrets_read",), COUNTS),
    "AWS.EC2.ManyPasswordReadAttempts": Pair(("secrets_read",), COUNTS),
    "AWS.SecretsManager.BatchRetrieveSecrets": Pair(("secrets_read",), COUNTS),
    "AWS.SecretsManager.BatchRetrieveSecretsCatchAll": Pair(("secrets_read",), COUNTS),
    "AWS.SecretsManager.RetrieveSecretsMultiRegion": Pair(("secrets_read",), COUNTS),
    "AWS.SSM.DecryptSSMParams": Pair(("secrets_read",), COUNTS),
    "AWS.CloudTrail.EnableRegion": Pair(
        ("resources_hijacked", "sigma/aws_cloudtrail_region_enabled")
    ),
    # AWS: destruction
    "AWS.KMS.CustomerManagedKeyLoss": Pair(("backups_deleted",)),
    "AWS.RDS.AutomatedBackupDeleted": Pair(("backups_deleted",)),
    "AWS.RDS.InstanceDeletion": Pair(
        ("backups_deleted", "sigma/aws_rds_dbcluster_actions"),
        "ours tells of a database that is deleted without a last snapshot",
    ),
    "AWS.RDS.SnapshotDeleted": Pair(("backups_deleted",), SNAPSHOTS),
    "AWS.S3.DeleteBucketReplication": Pair(("backups_deleted",)),
    "AWS.S3.SuspendVersioning": Pair(("backups_deleted",)),
    "AWS.S3.DisableMfaDelete": Pair(("backups_deleted",)),
    # AWS: root, logins and looking around
    "AWS.Root.Activity": Pair(("root_usage", "sigma/aws_root_account_usage"), ROOT),
    "AWS.Console.RootLogin": Pair(("root_usage", "sigma/aws_root_account_usage"), ROOT),
    "AWS.Console.RootLoginFailed": Pair(("root_usage", "sigma/aws_root_account_usage"), ROOT),
    "AWS.CloudTrail.RootAccessKeyCreated": Pair(
        ("root_usage", "sigma/aws_root_account_usage"), ROOT
    ),
    "AWS.CloudTrail.RootPasswordChanged": Pair(
        ("root_usage", "sigma/aws_root_account_usage"), ROOT
    ),
    "AWS.Console.GetSigninToken.Abuse": Pair(("sigma/aws_console_getsignintoken",)),
    "AWS.CloudTrail.PasswordSpraying": Pair(("password_spraying", "failed_logins"), COUNTS),
    "AWS.IAMUser.ReconAccessDenied": Pair(("api_enumeration",), COUNTS),
    "AWS.CloudTrail.UnauthorizedAPICall": Pair(("api_enumeration",), COUNTS),
    # Azure
    "Azure.MonitorActivity.Network.WatcherDeleted": Pair(("logging_disabled",)),
    "Azure.MonitorActivity.Network.FirewallPolicyDeleted": Pair(("protection_removed",)),
    "Azure.MonitorActivity.Authorization.ResourceLockDeleted": Pair(("protection_removed",)),
    "Azure.MonitorActivity.KeyVault.Deleted": Pair(("backups_deleted",)),
    "Azure.MonitorActivity.KeyVault.Purged": Pair(("backups_deleted",)),
    "Azure.MonitorActivity.KeyVault.KeyPurged": Pair(("backups_deleted",)),
    "Azure.MonitorActivity.Compute.RestorePointCollectionDeleted": Pair(("backups_deleted",)),
    "Azure.MonitorActivity.Storage.ImmutabilityPolicyDeleted": Pair(("backups_deleted",)),
    "Azure.MonitorActivity.StorageAccount.VersioningDisabled": Pair(("backups_deleted",)),
    "Azure.MonitorActivity.StorageAccount.BlobSoftDeleteDisabled": Pair(("backups_deleted",)),
    "Azure.MonitorActivity.Compute.SnapshotDeleted": Pair(("backups_deleted",), SNAPSHOTS),
    "Azure.MonitorActivity.Compute.VMCommandExecuted": Pair(("command_run_remotely",)),
    "Azure.MonitorActivity.RoleAssignment.PrivilegedOrElevated": Pair(
        ("privilege_granted", "sigma/azure_subscription_permissions_elevation_via_activitylogs")
    ),
    "Azure.MonitorActivity.Network.VNetDeleted": Pair(
        ("sigma/azure_virtual_network_modified_or_deleted",)
    ),
    "Azure.MonitorActivity.Kubernetes.RoleBindingCreated": Pair(
        ("sigma/azure_kubernetes_rolebinding_modified_or_deleted",),
        "Sigma's knows clusters of Azure Arc only",
    ),
    "Azure.Audit.ManyFailedSignIns": Pair(("failed_logins",), COUNTS),
    "Azure.Audit.ExcessiveAccountLockouts": Pair(("failed_logins",), COUNTS),
    # Google Cloud
    "GCP.Logging.Sink.Modified": Pair(
        ("logging_disabled",), "ours tells of a sink that is deleted, or leaves something out"
    ),
    "GCP.Logging.Settings.Modified": Pair(
        ("logging_disabled",), "ours tells of a sink that is deleted, or leaves something out"
    ),
    "GCP.Service.Account.or.Keys.Created": Pair(
        ("new_access_key",), "ours tells of keys only: a new account has no rights yet"
    ),
    "GCP.Firewall.Rule.Created": Pair(("opened_to_the_world",), WORLD),
    "GCP.Workforce.Pool.Created.or.Updated": Pair(("trust_given",)),
    "GCP.Workload.Identity.Pool.Created.or.Updated": Pair(("trust_given",)),
    "GCP.Cloud.Storage.Buckets.Modified.Or.Deleted": Pair(
        ("sigma/gcp_bucket_modified_or_deleted",)
    ),
    "GCP.Service.Account.Access.Denied": Pair(("api_enumeration",), COUNTS),
    # StreamAlert
    "StreamAlert.cloudtrail_critical_api_calls": Pair(
        ("logging_disabled", "protection_removed", "backups_deleted")
    ),
    "StreamAlert.cloudtrail_snapshot_or_ami_made_public": Pair(("shared_outside",), SHARES),
    "StreamAlert.cloudtrail_put_object_acl_public_publisher_example": Pair(
        ("opened_to_the_world",)
    ),
    "StreamAlert.cloudtrail_mfa_policy_abuse_attempt": Pair(
        ("protection_removed",),
        "theirs goes by whether the session had a second factor, ours by what is taken away",
    ),
}
"""By the id of a rule of Panther, or the name of one of StreamAlert."""

DIFFERENT: Final[Mapping[tuple[str, str], str]] = {
    ("AWS.CloudTrail.LoginProfileCreatedOrModified", "ChangeOwnPassword"): (
        "whose it is stands only in the name that a session of a role gave itself"
    ),
    ("AWS.ConfigService.DisabledDeleted", "Error Deleting Config Recorder"): FAILED,
    ("AWS.EC2.NetworkACLModified", "Error Modifying Network ACL"): FAILED,
    ("AWS.EC2.SecurityGroupModified", "Error Mofidying Security Group"): FAILED,
    ("AWS.EC2.ManualSecurityGroupChange", "AWS Console - Ingress SG Authorization Error"): FAILED,
    ("AWS.RDS.PublicRestore", "RDS-Restore-Public"): (
        "only the answer tells it, and detections look at what is asked for"
    ),
    ("AWS.S3.DeleteBucketReplication", "Non-S3 Event"): "no other service has a call of that name",
    ("AWS.Suspicious.SAML.Activity", "DeleteSAMLProvider"): (
        "nobody is trusted by it, and Sigma's asks for a status that CloudTrail does not have"
    ),
    ("AWS.Suspicious.SAML.Activity", "Activity from AWSSSO Service Managed Role"): (
        "anybody can name a role so"
    ),
    ("Azure.MonitorActivity.KeyVault.Purged", "Different Operation"): (
        "ours tells of vaults that are deleted, too"
    ),
    ("Azure.MonitorActivity.Network.VNetDeleted", "Different Operation"): (
        "Sigma's tells of changes, too"
    ),
    **{
        ("StreamAlert.cloudtrail_critical_api_calls", case): why
        for case, why in {
            "Deleting an AWS subnet (DeleteSubnet) will create an alert.": "ordinary work",
            "Deleting an AWS VPC (DeleteVpc) will create an alert.": "ordinary work",
            "Updating an AWS CloudTrail trail (UpdateTrail) will create an alert.": (
                "ours tells of an update after which less is recorded"
            ),
            "Turning off S3 PublicAccessBlock for a single bucket": (
                "it opens nothing yet, and opened_to_the_world tells when something is"
            ),
        }.items()
    },
}
"""Why a single case is answered in another way, by rule and name."""

UNPAIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "ordinary work, which nothing of ours tells of": (
        "AWS.CloudTrail.Created", "AWS.ConfigService.Created", "AWS.EC2.Monitoring",
        "AWS.EC2.RouteTableModified", "AWS.EC2.StopInstances", "AWS.EC2.VPCModified",
        "AWS.ECR.CRUD", "AWS.CloudTrail.IAMAnythingChanged", "AWS.IAM.CreateRole",
        "AWS.IAM.CreateUser", "AWS.RDS.ClusterFailover", "AWS.RDS.IAMRoleAdded",
        "AWS.RDS.ManualSnapshotCreated", "AWS.RDS.SnapshotCopiedCrossRegion",
        "AWS.RDS.SnapshotExport", "AWS.S3.DeleteObjects", "AWS.IAM.CredentialsUpdated",
        "AWS.Console.Sign-In", "Retrieve.SSO.access.token", "Role.Assumed.by.AWS.Service",
        "Role.Assumed.by.User", "Sign-in.with.AWS.CLI.prompt", "AWS.CloudTrail.ShortLifecycle",
        "AWS.EC2.Traffic.Mirroring",
        "Azure.MonitorActivity.ActionGroups.Deleted",
        "Azure.MonitorActivity.Automation.RunbookDeleted",
        "Azure.MonitorActivity.Automation.WebhookCreated",
        "Azure.MonitorActivity.Automation.ServerlessExecution",
        "Azure.MonitorActivity.Compute.DiskDeleted", "Azure.MonitorActivity.EventHub.Deleted",
        "Azure.MonitorActivity.Policy.Violation", "Azure.MonitorActivity.ResourceGroup.Deleted",
        "Azure.MonitorActivity.SQL.ServerDeleted", "Azure.MonitorActivity.StorageAccount.Deleted",
        "Azure.MonitorActivity.StorageAccount.SharedKeyAccessEnabled",
        "Azure.MonitorActivity.StorageAccount.HttpsOnlyDisabled",
        "Azure.MonitorActivity.Storage.FileShareModified",
        "Azure.MonitorActivity.VirtualMachine.Deleted", "GCP.IAM.CustomRoleChanges",
        "GCP.Firewall.Rule.Deleted", "GCP.Firewall.Rule.Modified", "GCP.Tag.Binding.Creation",
        "GCP.Compute.SSHConnection", "GCP.Destructive.Queries", "GCP.BigQuery.Large.Scan",
        "GCP.Storage.Hmac.Keys.Create",
    ),
    "a call that only reads, which a rule that counts has to see among others": (
        "AWS.CloudTrail.Account.Discovery", "AWS.CloudTrail.SES.CheckIdentityVerifications",
        "AWS.CloudTrail.SES.CheckSendQuota", "AWS.CloudTrail.SES.CheckSESSendingEnabled",
        "AWS.IAM.Group.Read.Only.Events", "AWS.RDS.SnapshotEnumeration", "AWS.Software.Discovery",
        "Azure.MonitorActivity.Network.IPDiscovery",
        "Azure.MonitorActivity.KeyVault.CertificateAccessed",
        "Azure.MonitorActivity.KeyVault.KeyAccessed.Recovered",
    ),
    "it goes by lists of the installation: regions, roles, domains, images, addresses": (
        "AWS.CloudTrail.IAMAssumeRoleBlacklistIgnored", "AWS.UnusedRegion", "GCP.UnusedRegions",
        "GCP.IAM.CorporateEmail", "GCP.Compute.Snapshot.UnexpectedDomain",
        "AWS.EC2.Vulnerable.XZ.Image.Launched", "AWS.CloudTrail.VPCE.ExternalPrincipal",
        "AWS.CloudTrail.VPCE.S3ExternalIP", "AWS.CloudTrail.VPCE.SensitiveAPICalls",
        "AWS.CloudTrail.IAMEntityCreatedWithoutCloudFormation", "AWS.Console.LoginWithoutSAML",
        "GCP.IAM.OrgFolderIAMChanges", "GCP.User.Added.To.Privileged.Group",
        "Azure.Audit.InviteExternalUsers",
    ),
    "nothing of ours tells of it": (
        "AWS.Unsuccessful.MFA.attempt", "AWS.CloudTrail.IAMCompromisedKeyQuarantine",
        "AWS.IAM.AccessKeyCompromised", "AWS.CloudTrail.IMDSCredentialExfiltration",
        "AWS.S3.CopyObject.CrossAccount.Encryption.KMS",
        "AWS.S3.CopyObjectWithClientSideEncryption", "AWS.S3.RansomwareNoteUpload",
        "Azure.MonitorActivity.Storage.Blob.Uploaded", "Azure.Audit.OIDC.Changed",
        "Azure.Audit.DeviceCodeBrokerClient", "Azure.Audit.ElevateUserAccessAdministrator",
        "Azure.Audit.GraphSessionMultipleIPs", "Azure.Audit.HighRiskSignIn",
        "Azure.Audit.LegacyAuth", "Azure.Audit.RoleChangedPIM", "Azure.Audit.VSCodeOAuthPhishing",
        "GCP.Access.Attempts.Violating.VPC.Service.Controls", "GCP.Cloud.Run.Set.IAM.Policy",
        "GCP.CloudBuild.Potential.Privilege.Escalation",
        "GCP.compute.instances.create.Privilege.Escalation", "GCP.GCS.ObjectExfiltration",
        "GCP.GCS.Ransom.Note.Upload",
        "GCP.IAM.serviceAccounts.getAccessToken.Privilege.Escalation",
        "GCP.IAM.serviceAccounts.signBlob", "GCP.KMS.CrossProjectEncryption", "GCP.KMS.EnableKey",
        "GCP.serviceusage.apiKeys.create.Privilege.Escalation",
        "GCP.GKE.Kubernetes.Cron.Job.Created.Or.Modified", "GCP.K8s.New.Daemonset.Deployed",
        "GCP.K8s.Pod.Attached.To.Node.Host.Network",
        "GCP.K8S.Pod.Create.Or.Modify.Host.Path.Volume.Mount",
        "GCP.K8s.Pod.Using.Host.PID.Namespace",
    ),
}  # fmt: skip
"""Rules of Panther that nothing of ours answers to, by the reason."""

TECHNIQUES: Final[Mapping[str, tuple[str, ...]]] = {
    "aws.credential-access.ec2-get-password-data": ("T1552", "T1555"),
    "aws.credential-access.ec2-steal-instance-credentials": ("T1552", "T1651"),
    "aws.credential-access.secretsmanager-batch-retrieve-secrets": ("T1555",),
    "aws.credential-access.secretsmanager-retrieve-secrets": ("T1555",),
    "aws.credential-access.ssm-retrieve-securestring-parameters": ("T1555",),
    "aws.defense-evasion.cloudtrail-delete": ("T1562",),
    "aws.defense-evasion.cloudtrail-event-selectors": ("T1562",),
    "aws.defense-evasion.cloudtrail-stop": ("T1562",),
    "aws.defense-evasion.organizations-leave": ("T1562",),
    "aws.defense-evasion.vpc-remove-flow-logs": ("T1562",),
    "aws.discovery.ec2-download-user-data": ("T1552", "T1580"),
    "aws.execution.ec2-launch-unusual-instances": ("T1496", "T1578"),
    "aws.execution.ssm-send-command": ("T1651",),
    "aws.exfiltration.ec2-security-group-open-port-22-ingress": ("T1562",),
    "aws.exfiltration.ec2-share-ami": ("T1537",),
    "aws.exfiltration.ec2-share-ebs-snapshot": ("T1537",),
    "aws.exfiltration.rds-share-snapshot": ("T1537",),
    "aws.impact.bedrock-invoke-model": ("T1496",),
    "aws.initial-access.console-login-without-mfa": ("T1078",),
    "aws.lateral-movement.ec2-instance-connect": ("T1021", "T1651"),
    "aws.persistence.iam-backdoor-role": ("T1098",),
    "aws.persistence.iam-backdoor-user": ("T1098",),
    "aws.persistence.iam-create-admin-user": ("T1098", "T1136"),
    "aws.persistence.iam-create-user-login-profile": ("T1098",),
    "aws.persistence.lambda-backdoor-function": ("T1546",),
    "aws.persistence.lambda-layer-extension": ("T1525", "T1546", "T1648"),
    "aws.persistence.lambda-overwrite-code": ("T1525", "T1648"),
    "aws.persistence.sts-federation-token": ("T1098", "T1550"),
    "aws.privilege-escalation.iam-update-user-login-profile": ("T1098",),
}
"""The techniques of ATT&CK that an attack of Stratus Red Team shows, by its name."""

TAKEN_BACK: Final = "this part of the log has how it was taken back, and not the call"
MISSED: Final[Mapping[str, str]] = {
    "aws.credential-access.ec2-get-password-data": (
        "the log has five tries, and secrets_read tells of ten"
    ),
    "aws.defense-evasion.cloudtrail-event-selectors": (
        "the log has how the selectors were set right again"
    ),
    "aws.defense-evasion.organizations-leave": (
        "the log has the role that was assumed for it, and not the call"
    ),
    "aws.execution.ssm-send-command": (
        "the log has how its answer was fetched, and not the command"
    ),
    "aws.exfiltration.ec2-share-ebs-snapshot": TAKEN_BACK,
    "aws.exfiltration.rds-share-snapshot": TAKEN_BACK,
}
"""Why attacks cannot be found in the logs of the account that Invictus recorded."""
