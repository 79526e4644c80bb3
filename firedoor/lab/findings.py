"""GuardDuty findings about the scene, as they stand in the detail of an EventBridge event.

Types, members and default severities are GuardDuty's; what happened is invented, and every address
outside of the scene is one of those reserved for documentation.
"""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from firedoor.lab.scene import IMAGE, Scene

ATTACKER = "198.51.100.7"


def ssh_brute_force(
    scene: Scene, attacker: str = ATTACKER, at: datetime | None = None
) -> dict[str, Any]:
    """Somebody outside tries passwords on the web server."""
    return finding(
        "UnauthorizedAccess:EC2/SSHBruteForce",
        2.0,
        f"{attacker} is performing SSH brute force attacks against {scene.web_id}.",
        account=scene.account,
        region=scene.region,
        resource={"resourceType": "Instance", "instanceDetails": _web(scene)},
        service={
            "resourceRole": "TARGET",
            "action": connection("INBOUND", scene.web_address, 22, "SSH", attacker, 50764),
        },
        at=at,
    )


def command_and_control(
    scene: Scene, on: str = "app", server: str = "203.0.113.66", at: datetime | None = None
) -> dict[str, Any]:
    """The `app` or the `web` server talks to a command and control server."""
    details, address = (
        (_web(scene), scene.web_address) if on == "web" else (_app(scene), scene.app_address)
    )
    return finding(
        "Backdoor:EC2/C&CActivity.B",
        8.0,
        f"{details['instanceId']} is communicating with a known command and control server.",
        account=scene.account,
        region=scene.region,
        resource={"resourceType": "Instance", "instanceDetails": details},
        service={
            "resourceRole": "ACTOR",
            "action": connection("OUTBOUND", address, 41892, "Unknown", server, 443),
            "additionalInfo": additional({"threatListName": "Example threat list"}),
        },
        at=at,
    )


def api_abuse(scene: Scene, at: datetime | None = None) -> dict[str, Any]:
    """Alice's access key is used from an address on a threat list."""
    return finding(
        "UnauthorizedAccess:IAMUser/MaliciousIPCaller.Custom",
        5.0,
        f"API GetCallerIdentity was invoked with alice's key from the listed address {ATTACKER}.",
        account=scene.account,
        region=scene.region,
        resource={"resourceType": "AccessKey", "accessKeyDetails": _alice(scene)},
        service={
            "resourceRole": "TARGET",
            "action": api_call("GetCallerIdentity", "sts.amazonaws.com", ATTACKER),
            "additionalInfo": additional({"threatListName": "Example threat list"}),
        },
        at=at,
    )


def credential_exfiltration(scene: Scene, at: datetime | None = None) -> dict[str, Any]:
    """The web server's own role credentials are used from outside of AWS."""
    return finding(
        "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS",
        8.0,
        f"Credentials of {scene.role_name} created for {scene.web_id} were used from {ATTACKER}.",
        account=scene.account,
        region=scene.region,
        resource={
            "resourceType": "AccessKey",
            "accessKeyDetails": {
                "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
                "principalId": f"{scene.role_id}:{scene.web_id}",
                "userType": "AssumedRole",
                "userName": scene.role_name,
            },
            "instanceDetails": _web(scene),
        },
        service={
            "resourceRole": "TARGET",
            "action": api_call("GetObject", "s3.amazonaws.com", ATTACKER),
        },
        at=at,
    )


def data_exfiltration(scene: Scene, at: datetime | None = None) -> dict[str, Any]:
    """Alice's access key reads the bucket as it never did before."""
    bucket = {
        "arn": scene.bucket_arn,
        "name": scene.bucket,
        "type": "Destination",
        "createdAt": 1767225600.0,  # 2026-01-01
        "owner": {"id": "canonical-id-of-the-account"},
        "defaultServerSideEncryption": {"encryptionType": "SSEAlgorithm"},
        "publicAccess": {"effectivePermission": "NOT_PUBLIC"},
        "tags": [],
    }
    return finding(
        "Exfiltration:S3/AnomalousBehavior",
        8.0,
        f"User alice read objects of {scene.bucket} in an unusual manner.",
        account=scene.account,
        region=scene.region,
        resource={
            "resourceType": "S3Bucket",
            "s3BucketDetails": [bucket],
            "accessKeyDetails": _alice(scene),
        },
        service={
            "resourceRole": "TARGET",
            "action": api_call("GetObject", "s3.amazonaws.com", ATTACKER),
            "featureName": "S3DataEvents",
        },
        at=at,
    )


def again(finding: dict[str, Any], at: datetime) -> dict[str, Any]:
    """Return the same finding seen once more: GuardDuty counts up and keeps the id."""
    service = finding["service"]
    seen = {"count": service["count"] + 1, "eventLastSeen": _text(at)}
    return {**finding, "updatedAt": _text(at), "service": {**service, **seen}}


def envelope(finding: dict[str, Any]) -> dict[str, Any]:
    """Return the EventBridge event in which GuardDuty sends a finding."""
    return {
        "version": "0",
        "id": "cd2d702e-ab31-411b-9344-793ce56b1bc7",
        "detail-type": "GuardDuty Finding",
        "source": "aws.guardduty",
        "account": finding["accountId"],
        "time": finding["updatedAt"][:19] + "Z",
        "region": finding["region"],
        "resources": [],
        "detail": finding,
    }


def finding(
    kind: str,
    severity: float,
    title: str,
    *,
    account: str,
    region: str,
    resource: dict[str, Any],
    service: dict[str, Any],
    at: datetime | None,
) -> dict[str, Any]:
    """Return a finding with the members that all findings have; `at` is when it is published."""
    at = at or datetime.now(UTC)
    id_ = secrets.token_hex(16)
    detector = "12abc34d567e8fa901bc2d34e56789f0"
    seen = _text(at - timedelta(minutes=5))
    return {
        "schemaVersion": "2.0",
        "accountId": account,
        "region": region,
        "partition": "aws",
        "id": id_,
        "arn": f"arn:aws:guardduty:{region}:{account}:detector/{detector}/finding/{id_}",
        "type": kind,
        "resource": resource,
        "service": {
            "serviceName": "guardduty",
            "detectorId": detector,
            "eventFirstSeen": seen,
            "eventLastSeen": seen,
            "archived": False,
            "count": 1,
            "additionalInfo": additional({}),
            **service,
        },
        "severity": severity,
        "createdAt": _text(at),
        "updatedAt": _text(at),
        "title": title,
        "description": title,
    }


def connection(
    direction: str, local: str, local_port: int, port_name: str, remote: str, remote_port: int
) -> dict[str, Any]:
    """Return the action of a finding about a TCP connection."""
    return {
        "actionType": "NETWORK_CONNECTION",
        "networkConnectionAction": {
            "connectionDirection": direction,
            "protocol": "TCP",
            "blocked": False,
            "localIpDetails": {"ipAddressV4": local},
            "localPortDetails": {"port": local_port, "portName": port_name},
            "remoteIpDetails": _remote(remote),
            "remotePortDetails": {"port": remote_port, "portName": "Unknown"},
        },
    }


def api_call(api: str, service: str, remote: str) -> dict[str, Any]:
    """Return the action of a finding about a call to AWS."""
    return {
        "actionType": "AWS_API_CALL",
        "awsApiCallAction": {
            "api": api,
            "serviceName": service,
            "callerType": "Remote IP",
            "remoteIpDetails": _remote(remote),
            "affectedResources": {},
        },
    }


def additional(info: dict[str, Any]) -> dict[str, Any]:
    """Return additional information as events have it: as members, and as JSON in `value`."""
    return {**info, "value": json.dumps(info), "type": "default"}


def _web(scene: Scene) -> dict[str, Any]:
    return _instance(
        scene,
        scene.web_id,
        "web",
        [(scene.web_interface_id, scene.public_subnet_id, scene.web_address)],
        (scene.web_group_id, "web"),
        public_address=scene.web_public_address,
        profile={"arn": scene.profile_arn, "id": scene.profile_id},
    )


def _app(scene: Scene) -> dict[str, Any]:
    subnets = (scene.private_subnet_id, scene.public_subnet_id)
    return _instance(
        scene,
        scene.app_id,
        "app",
        list(zip(scene.app_interface_ids, subnets, scene.app_addresses, strict=True)),
        (scene.app_group_id, "app"),
        profile={"arn": scene.app_profile_arn, "id": scene.app_profile_id},
    )


def _instance(
    scene: Scene,
    instance_id: str,
    name: str,
    interfaces: list[tuple[str, str, str]],
    group: tuple[str, str],
    public_address: str | None = None,
    profile: dict[str, str] | None = None,
) -> dict[str, Any]:
    public = (
        {"publicDnsName": "", "publicIp": public_address}
        if public_address
        else {"publicDnsName": ""}
    )
    return {
        "instanceId": instance_id,
        "instanceType": "t3.micro",
        "launchTime": "2026-01-01T08:00:00.000Z",
        "platform": None,
        "productCodes": [],
        "iamInstanceProfile": profile,
        "networkInterfaces": [
            {
                "networkInterfaceId": interface_id,
                "subnetId": subnet_id,
                "vpcId": scene.vpc_id,
                "privateIpAddress": address,
                "privateIpAddresses": [{"privateIpAddress": address, "privateDnsName": ""}],
                "privateDnsName": "",
                "ipv6Addresses": [],
                "securityGroups": [{"groupId": group[0], "groupName": group[1]}],
                **public,
            }
            for interface_id, subnet_id, address in interfaces
        ],
        "tags": [{"key": "Name", "value": name}],
        "instanceState": "running",
        "availabilityZone": "us-east-1a",
        "imageId": IMAGE,
        "imageDescription": "Example Linux",
    }


def _alice(scene: Scene) -> dict[str, str]:
    return {
        "accessKeyId": scene.access_key_id,
        "principalId": scene.user_id,
        "userType": "IAMUser",
        "userName": scene.user_name,
    }


def _remote(address: str) -> dict[str, Any]:
    return {
        "ipAddressV4": address,
        "organization": {"asn": "64500", "asnOrg": "Example", "isp": "Example", "org": "Example"},
        "country": {"countryName": "Example"},
        "city": {"cityName": ""},
        "geoLocation": {"lat": 0.0, "lon": 0.0},
    }


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
