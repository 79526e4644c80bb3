"""The attack sequences of GuardDuty: many signals about many resources, told as one finding.

https://docs.aws.amazon.com/guardduty/latest/APIReference/API_Sequence.html names the members.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from firedoor.findings._aws import Place, Subject
from firedoor.model.finding import Kind
from firedoor.source import Instant, Tolerant, addresses, text, texts, unique

# What it is about, by the middle of its type: AttackSequence:S3/CompromisedData.
ABOUT = {
    "EC2": Kind.INSTANCE,
    "ECS": Kind.CLUSTER,
    "EKS": Kind.CLUSTER,
    "IAM": Kind.PRINCIPAL,
    "S3": Kind.BUCKET,
}
KINDS = {
    "CONTAINER": Kind.WORKLOAD,
    "EC2_IMAGE": Kind.IMAGE,
    "EC2_INSTANCE": Kind.INSTANCE,
    "ECS_CLUSTER": Kind.CLUSTER,
    "ECS_TASK": Kind.WORKLOAD,
    "EKS_CLUSTER": Kind.CLUSTER,
    "KUBERNETES_WORKLOAD": Kind.WORKLOAD,
    "S3_BUCKET": Kind.BUCKET,
    "S3_OBJECT": Kind.BUCKET,
}
INTERFACE = (
    "ec2NetworkInterface.publicIp",
    "ec2NetworkInterface.privateIpAddresses[].privateIpAddress",
    "ec2NetworkInterface.ipv6Addresses[]",
)
NEVER = datetime.max.replace(tzinfo=UTC)


class Signal(Tolerant):
    """One thing that happened."""

    first_seen_at: Instant | None = None
    last_seen_at: Instant | None = None
    resource_uids: tuple[str, ...] = ()
    actor_ids: tuple[str, ...] = ()
    signal_indicators: tuple[dict[str, Any], ...] = ()


class Involved(Tolerant):
    """A resource that took part."""

    uid: str
    resource_type: str = ""
    account_id: str | None = None
    region: str | None = None
    data: dict[str, Any] = {}

    def subjects(self, place: Place) -> Iterator[Subject]:
        """Yield what it is, if it can be a subject at all."""
        here = Place(self.account_id or place.account, self.region or place.region)
        match self.resource_type:
            case "ACCESS_KEY":
                identity = text(self.data, "accessKey.userType")
                for name in texts(self.data, "accessKey.userName", "accessKey.principalId")[:1]:
                    yield here.principal(identity, name)
            case "EC2_NETWORK_INTERFACE":
                pass  # a part of an instance, of which we want the addresses only
            case kind:
                yield here.resource(KINDS.get(kind, Kind.OTHER), self.uid)


class Actor(Tolerant):
    """Who acted."""

    id: str = ""
    user: dict[str, Any] = {}

    def subjects(self, place: Place) -> Iterator[Subject]:
        """Yield the principal, if it is one and not a process."""
        here = Place(text(self.user, "account.uid", default=place.account), place.region)
        for name in texts(self.user, "name", "uid")[:1]:
            yield here.principal(text(self.user, "type"), name)


class Sequence(Tolerant):
    """The member `service.detection.sequence`."""

    actors: tuple[Actor, ...] = ()
    endpoints: tuple[dict[str, Any], ...] = ()
    resources: tuple[Involved, ...] = ()
    sequence_indicators: tuple[dict[str, Any], ...] = ()
    signals: tuple[Signal, ...] = ()

    def subjects(self, type: str, place: Place) -> tuple[list[Subject], list[Subject]]:  # noqa: A002
        """Return what a sequence of the type is about, and what else it names.

        Ours come before those of other accounts, and then those that were hit first: so what it is
        about stays the same while the sequence grows.
        """
        hit: dict[str, datetime] = {}
        for signal in self.signals:
            for uid in (*signal.resource_uids, *signal.actor_ids):
                hit[uid] = min(hit.get(uid, NEVER), signal.first_seen_at or NEVER)
        named = [(actor.id, s) for actor in self.actors for s in actor.subjects(place)]
        named += [
            (resource.uid, s) for resource in self.resources for s in resource.subjects(place)
        ]
        named.sort(key=lambda one: (one[1].account != place.account, hit.get(one[0], NEVER)))
        kind = ABOUT.get(type.partition(":")[2].partition("/")[0])
        return (
            [subject for _, subject in named if subject.kind == kind],
            [subject for _, subject in named if subject.kind != kind],
        )

    @property
    def first_seen(self) -> datetime | None:
        """When the first signal began."""
        return min((s.first_seen_at for s in self.signals if s.first_seen_at), default=None)

    @property
    def last_seen(self) -> datetime | None:
        """When the last signal was seen."""
        return max((s.last_seen_at for s in self.signals if s.last_seen_at), default=None)

    @property
    def addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses of its endpoints."""
        return addresses(ip for endpoint in self.endpoints for ip in texts(endpoint, "ip"))

    @property
    def local_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        """The addresses of the network interfaces that took part."""
        return addresses(ip for one in self.resources for ip in texts(one.data, *INTERFACE))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of its endpoints."""
        return unique(domain for endpoint in self.endpoints for domain in texts(endpoint, "domain"))

    @property
    def access_keys(self) -> tuple[str, ...]:
        """The ids of the keys that were used."""
        keys = [key for actor in self.actors for key in texts(actor.user, "credentialUid")]
        used = [one.uid for one in self.resources if one.resource_type == "ACCESS_KEY"]
        return unique(re.split("[:/]", key)[-1] for key in (*keys, *used))

    @property
    def techniques(self) -> tuple[str, ...]:
        """The MITRE ATT&CK ids in its indicators, which read `T1078.004 - Valid Accounts: …`."""
        signals = (indicator for signal in self.signals for indicator in signal.signal_indicators)
        values = (
            value
            for indicator in (*self.sequence_indicators, *signals)
            if text(indicator, "key") == "ATTACK_TECHNIQUE"
            for value in texts(indicator, "values[]")
        )
        return unique(id_ for value in values for id_ in re.findall(r"\bT\d{4}(?:\.\d{3})?", value))
