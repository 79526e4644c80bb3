"""Findings of Amazon GuardDuty, as EventBridge, the S3 export and GetFindings write them.

https://docs.aws.amazon.com/guardduty/latest/APIReference/API_Finding.html names the members. The
tables say in which of them a thing stands; `[]` stands for each element of a list.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, Literal

from pydantic import Field

from firedoor.errors import NotAFinding
from firedoor.findings._attack_sequence import Sequence
from firedoor.findings._aws import Place, Subject
from firedoor.model.finding import Cloud, Finding, Kind, Side
from firedoor.source import (
    Instant,
    Source,
    Tolerant,
    addresses,
    members,
    text,
    texts,
    unique,
    validated,
)

# The member of `resource` that a type is about.
ABOUT = {
    "AccessKey": "accessKeyDetails",
    "Container": "containerDetails",
    "ECSCluster": "ecsClusterDetails",
    "EKSCluster": "eksClusterDetails",
    "Instance": "instanceDetails",
    "Lambda": "lambdaDetails",
    "RDSDBInstance": "rdsDbInstanceDetails",
    "RDSLimitlessDB": "rdsLimitlessDbDetails",
    "S3Bucket": "s3BucketDetails",
    "S3Object": "s3BucketDetails",
}
# Members that keep others company: the node that a container runs on, the principal that called.
# A type that is not above is about the first member that is none of these.
COMPANY = {
    "accessKeyDetails",
    "containerDetails",
    "ebsVolumeDetails",
    "instanceDetails",
    "kubernetesDetails",
}
# What they name, beside principals and Kubernetes workloads. Left out, as they are not certain to
# be what they seem: the role of an instance, for its profile can have another name, and the
# snapshots of scanned volumes, for those are mostly GuardDuty's own.
NAMES = {
    "s3BucketDetails[].name": Kind.BUCKET,
    "eksClusterDetails.name": Kind.CLUSTER,
    "ecsClusterDetails.name": Kind.CLUSTER,
    "ecsClusterDetails.taskDetails.arn": Kind.WORKLOAD,
    "lambdaDetails.functionName": Kind.FUNCTION,
    "rdsDbInstanceDetails.dbInstanceIdentifier": Kind.DATABASE,
    "rdsLimitlessDbDetails.dbShardGroupArn": Kind.DATABASE,
    "ebsSnapshotDetails.snapshotArn": Kind.SNAPSHOT,
    "ec2ImageDetails.imageArn": Kind.IMAGE,
    "recoveryPointDetails.recoveryPointArn": Kind.OTHER,
    "bedrockGuardrailDetails.guardrailArn": Kind.OTHER,
    "modelDetails[].modelId": Kind.OTHER,
    "containerDetails.id": Kind.WORKLOAD,
    "instanceDetails.instanceId": Kind.INSTANCE,
    "ebsVolumeDetails.scannedVolumeDetails[].volumeArn": Kind.VOLUME,
}
# What the session of a stolen credential is named after, by type. Those of an ECS task have the
# task's id, which says not in which cluster it is.
SESSIONS = {
    "/InstanceCredentialExfiltration": ("i-[0-9a-f]+", Kind.INSTANCE),
    "/ResourceCredentialExfiltration": ("(?![0-9a-f]{32}$)[A-Za-z0-9_-]{1,64}", Kind.FUNCTION),
}
PRINCIPAL = ("accessKeyDetails.userName", "accessKeyDetails.principalId")
WORKLOAD = (  # the parts of its id
    "eksClusterDetails.name",
    "kubernetesDetails.kubernetesWorkloadDetails.namespace",
    "kubernetesDetails.kubernetesWorkloadDetails.type",
    "kubernetesDetails.kubernetesWorkloadDetails.name",
)

# Where `service.action` names the far end. The sourceIPs of a Kubernetes call are left out: they
# are the proxies on the way as well as the caller.
REMOTE = (
    "awsApiCallAction.remoteIpDetails",
    "kubernetesApiCallAction.remoteIpDetails",
    "networkConnectionAction.remoteIpDetails",
    "portProbeAction.portProbeDetails[].remoteIpDetails",
    "rdsLoginAttemptAction.remoteIpDetails",
)
LOCAL = (
    "networkConnectionAction.localIpDetails",
    "portProbeAction.portProbeDetails[].localIpDetails",
)
PORTS = (
    "networkConnectionAction.localPortDetails.port",
    "portProbeAction.portProbeDetails[].localPortDetails.port",
)
DOMAINS = ("dnsRequestAction.domain", "awsApiCallAction.domainDetails.domain")
CALLER = "awsApiCallAction.remoteAccountDetails.accountId"

SIDES = {"ACTOR": Side.ACTOR, "TARGET": Side.TARGET}


class _Detection(Tolerant):
    sequence: Sequence = Sequence()


class _Service(Tolerant):
    action: dict[str, Any] = {}
    additional_info: Any = None
    count: int = 1
    detection: _Detection = _Detection()
    event_first_seen: Instant | None = None
    event_last_seen: Instant | None = None
    resource_role: str = ""


class _Detail(Tolerant):
    id: str
    type: str
    severity: float = Field(ge=0, le=10)
    updated_at: Instant
    created_at: Instant | None = None
    account_id: str | None = None
    region: str | None = None
    title: str | None = None
    description: str = ""
    resource: dict[str, Any] = {}
    service: _Service = _Service()


class _Event(Tolerant):
    detail_type: Literal["GuardDuty Finding"] | None = Field(default=None, alias="detail-type")
    account: str | None = None
    region: str | None = None
    detail: _Detail


def recognises(document: Any) -> bool:
    """Tell a finding or an event of GuardDuty, by the event's source or the finding's ARN."""
    return text(document, "source") == "aws.guardduty" or any(
        ":guardduty:" in arn for arn in texts(document, "arn", "detail.arn")
    )


def parse(document: Any, name: str) -> tuple[Finding, ...]:
    """Return the one finding of an event, of an exported line or of an entry of GetFindings.

    Raises `NotAFinding`.
    """
    if text(document, "arn"):
        path, event = "", _Event(detail=validated(_Detail, document, name))
    else:
        path, event = "detail.", validated(_Event, document, name)
    detail = event.detail
    account = detail.account_id or event.account
    region = detail.region or event.region
    if account is None or region is None:
        member = "region" if account else "accountId"
        raise NotAFinding(name, path + member, "expected, but missing")
    if unnamed := _unnamed(detail.resource):
        raise NotAFinding(name, f"{path}resource.{unnamed}", "expected a name")
    return (_finding(detail, Place(account, region)),)


SOURCE = Source(title="Amazon GuardDuty", recognises=recognises, parse=parse)


def _finding(detail: _Detail, place: Place) -> Finding:
    service, sequence = detail.service, detail.service.detection.sequence
    subject, *related = unique(_subjects(detail, place))
    created = detail.created_at or detail.updated_at
    local = unique((*addresses(_ips(service.action, LOCAL)), *sequence.local_addresses))
    remote = unique((*addresses(_ips(service.action, REMOTE)), *sequence.addresses))
    return Finding(
        id=detail.id,
        source="guardduty",
        type=detail.type,
        title=detail.title or detail.type,
        description=detail.description,
        severity=detail.severity,
        cloud=Cloud.AWS,
        account=place.account,
        region=place.region,
        created_at=created,
        updated_at=detail.updated_at,
        first_seen=sequence.first_seen or service.event_first_seen or created,
        last_seen=sequence.last_seen or service.event_last_seen or detail.updated_at,
        count=max(1, service.count),
        sample=_is_sample(service.additional_info),
        side=SIDES.get(service.resource_role.upper()),
        subject=subject,
        related=tuple(related),
        addresses=tuple(address for address in remote if address not in local),
        local_addresses=local,
        ports=_ports(service.action),
        domains=unique((*texts(service.action, *DOMAINS), *sequence.domains)),
        access_keys=unique(
            (*texts(detail.resource, "accessKeyDetails.accessKeyId"), *sequence.access_keys)
        ),
        techniques=sequence.techniques,
    )


def _subjects(detail: _Detail, place: Place) -> Iterator[Subject]:
    """Yield all that a finding names, what it is about first; some come twice."""
    hit, company = _in_resource(detail, place)
    hit_in_sequence, involved = detail.service.detection.sequence.subjects(detail.type, place)
    if not (hit or hit_in_sequence):
        # What it is about has no name, so no other finding can be told to be about the same.
        yield place.resource(Kind.OTHER, detail.id)
    yield from (*hit, *hit_in_sequence, *company, *involved)


def _in_resource(detail: _Detail, place: Place) -> tuple[list[Subject], list[Subject]]:
    """Return what the member that `resource` is about names, and what the others name."""
    resource, about = detail.resource, _about(detail.resource)
    hit: list[Subject] = []
    others: list[Subject] = []
    for path, kind in NAMES.items():
        named = hit if _member(path) == about else others
        named += [place.resource(kind, name) for name in texts(resource, path)]
    for name in texts(resource, *PRINCIPAL)[:1]:
        principal = place.principal(text(resource, "accessKeyDetails.userType"), name)
        if about == "accessKeyDetails":
            hit.append(principal)
        # A caller from another account can have the name of a principal of ours.
        elif text(detail.service.action, CALLER, default=place.account) == place.account:
            others.append(principal)
    if text(resource, WORKLOAD[-1]):
        parts = (text(resource, path, default="-") for path in WORKLOAD)
        others.append(place.resource(Kind.WORKLOAD, "/".join(parts)))
    if role := text(resource, "lambdaDetails.role"):
        others.append(place.principal("Role", role.rpartition("/")[2]))
    # EC2 and Lambda name the sessions of a role after the instance or function. So can others, to
    # point us at an innocent one: only findings of these types have established that it is theirs.
    session = text(resource, "accessKeyDetails.principalId").partition(":")[2]
    for stolen, (pattern, kind) in SESSIONS.items():
        if stolen in detail.type and re.fullmatch(pattern, session):
            others.append(place.resource(kind, session))
    return hit, others


def _about(resource: dict[str, Any]) -> str | None:
    """Return the member that a resource is about."""
    if known := ABOUT.get(text(resource, "resourceType")):
        return known
    present = (_member(path) for path in NAMES if any(members(resource, _member(path))))
    return next((member for member in present if member not in COMPANY), None)


def _unnamed(resource: dict[str, Any]) -> str | None:
    """Return where a resource should say which thing it is about, if it does not."""
    about = _about(resource)
    if about is None or not any(members(resource, about)):
        return None
    paths = [path for path in (*PRINCIPAL, *NAMES) if _member(path) == about]
    return None if texts(resource, *paths) else paths[0]


def _member(path: str) -> str:
    return path.partition(".")[0].removesuffix("[]")


def _ips(action: dict[str, Any], paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        for end in members(action, path):
            yield from texts(end, "ipAddressV4", "ipAddressV6")


def _ports(action: dict[str, Any]) -> tuple[int, ...]:
    ports = (port for path in PORTS for port in members(action, path))
    return unique(port for port in ports if type(port) is int and 0 < port < 65536)


def _is_sample(info: Any) -> bool:
    """Tell from `additionalInfo`: an object in events, JSON text in its `value` from the API."""
    said = [info, *members(info, "value")]
    for one in [one for one in said if isinstance(one, str)]:
        with suppress(ValueError, RecursionError):
            said.append(json.loads(one))
    return any(str(answer).lower() == "true" for one in said for answer in members(one, "sample"))
