"""GuardDuty's sample findings: real types about things that do not exist."""

from datetime import datetime
from typing import Any

from firedoor.lab.findings import additional, api_call, connection, finding

# Type and default severity. AWS has one sample for each of its types; these are ours.
SAMPLE_TYPES = {
    "Backdoor:EC2/C&CActivity.B": 8.0,
    "CryptoCurrency:EC2/BitcoinTool.B!DNS": 8.0,
    "Exfiltration:S3/AnomalousBehavior": 8.0,
    "Policy:S3/BucketAnonymousAccessGranted": 8.0,
    "Recon:EC2/PortProbeUnprotectedPort": 2.0,
    "UnauthorizedAccess:EC2/SSHBruteForce": 2.0,
    "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS": 8.0,
    "UnauthorizedAccess:IAMUser/MaliciousIPCaller.Custom": 5.0,
}

_KEY = {
    "accessKeyId": "GeneratedFindingAccessKeyId",
    "principalId": "GeneratedFindingPrincipalId",
    "userType": "IAMUser",
    "userName": "GeneratedFindingUserName",
}
_BUCKET = {
    "arn": "arn:aws:s3:::bucketName",
    "name": "bucketName",
    "type": "Destination",
    "owner": {"id": "CanonicalId of Owner"},
    "tags": [{"key": "foo", "value": "bar"}],
}
_INSTANCE = {
    "instanceId": "i-99999999",
    "instanceType": "m3.xlarge",
    "instanceState": "running",
    "imageId": "ami-99999999",
    "tags": [{"key": "GeneratedFindingInstanceTag1", "value": "GeneratedFindingInstanceValue1"}],
    "networkInterfaces": [
        {
            "networkInterfaceId": "eni-abcdef00",
            "subnetId": "GeneratedFindingSubnetId",
            "vpcId": "GeneratedFindingVPCId",
            "privateIpAddress": "10.0.0.1",
            "publicIp": "198.51.100.0",
            "securityGroups": [
                {
                    "groupId": "GeneratedFindingSecurityId",
                    "groupName": "GeneratedFindingSecurityGroupName",
                }
            ],
        }
    ],
}
_RESOURCES: dict[str, dict[str, Any]] = {
    "EC2": {"resourceType": "Instance", "instanceDetails": _INSTANCE},
    "IAMUser": {"resourceType": "AccessKey", "accessKeyDetails": _KEY},
    "S3": {"resourceType": "S3Bucket", "s3BucketDetails": [_BUCKET], "accessKeyDetails": _KEY},
}


_ACTIONS = {
    "EC2": connection("OUTBOUND", "10.0.0.1", 2000, "Unknown", "198.51.100.0", 80),
    "IAMUser": api_call("GeneratedFindingAPIName", "GeneratedFindingServiceName", "198.51.100.0"),
    "S3": api_call("GeneratedFindingAPIName", "s3.amazonaws.com", "198.51.100.0"),
}


def sample(kind: str, account: str, region: str, detector: str, at: datetime) -> dict[str, Any]:
    """Return a sample finding; `kind` is one of `SAMPLE_TYPES`."""
    subject = kind.partition(":")[2].partition("/")[0]
    made = finding(
        kind,
        SAMPLE_TYPES[kind],
        f"[SAMPLE] {kind}",
        account=account,
        region=region,
        resource=_RESOURCES[subject],
        service={
            "resourceRole": "ACTOR" if subject == "EC2" else "TARGET",
            "action": _ACTIONS[subject],
            "additionalInfo": additional({"sample": True}),
        },
        at=at,
    )
    arn = f"arn:aws:guardduty:{region}:{account}:detector/{detector}/finding/{made['id']}"
    return {**made, "arn": arn}
