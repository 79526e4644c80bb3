"""What a detector says, and what it is about; member names follow OCSF Detection Finding (2004)."""

from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Final, Literal

from pydantic import Field

from firedoor.model.base import Model, UtcDatetime


class Cloud(StrEnum):
    """The clouds that findings come from."""

    AWS = "aws"
    AZURE = "azure"
    GCP = "gcp"


class Kind(StrEnum):
    """What a subject can be."""

    INSTANCE = "instance"
    PRINCIPAL = "principal"
    BUCKET = "bucket"
    DATABASE = "database"
    FUNCTION = "function"
    CLUSTER = "cluster"
    WORKLOAD = "workload"
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    IMAGE = "image"
    ACCOUNT = "account"
    OTHER = "other"


GLOBAL: Final = "global"
"""The region of what has none: IAM principals and accounts."""


class _Subject(Model):
    cloud: Cloud
    account: str
    region: str
    id: str

    @property
    def path(self) -> str:
        """The identity as one string: cloud/account/region/kind/id."""
        return f"{self.cloud}/{self.account}/{self.region}/{self.kind}/{self.id}"  # type: ignore[attr-defined]


class Resource(_Subject):
    """A thing that runs or holds data; `id` is the provider's own (`i-0abc`, a bucket's name)."""

    kind: Literal[
        Kind.INSTANCE, Kind.BUCKET, Kind.DATABASE, Kind.FUNCTION, Kind.CLUSTER, Kind.WORKLOAD,
        Kind.VOLUME, Kind.SNAPSHOT, Kind.IMAGE, Kind.ACCOUNT, Kind.OTHER,
    ]  # fmt: skip


class PrincipalType(StrEnum):
    """Who can hold credentials."""

    USER = "user"
    ROLE = "role"
    ROOT = "root"
    FEDERATED = "federated"
    SERVICE = "service"
    ACCOUNT = "account"
    UNKNOWN = "unknown"


class Principal(_Subject):
    """Who acted, or whose credentials are at risk.

    `id` is `type/name` (`user/alice`, `role/app`), and `region` is always `global`, so that what is
    seen of one principal in two regions is one subject.
    """

    kind: Literal[Kind.PRINCIPAL] = Kind.PRINCIPAL
    region: Literal["global"] = GLOBAL
    type: PrincipalType
    name: str


Subject = Annotated[Resource | Principal, Field(discriminator="kind")]


class Severity(StrEnum):
    """How grave something is, by the names of OCSF."""

    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


def severity_named(score: float) -> Severity:
    """Return the name of a severity from 0 to 10, with the bounds of GuardDuty.

    https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings-severity.html
    """
    bounds = ((9, Severity.CRITICAL), (7, Severity.HIGH), (4, Severity.MEDIUM), (1, Severity.LOW))
    return next((name for bound, name in bounds if score >= bound), Severity.INFORMATIONAL)


class Side(StrEnum):
    """On which side of the activity the subject is (GuardDuty's `service.resourceRole`)."""

    ACTOR = "actor"
    TARGET = "target"


class Finding(Model):
    """One statement of one detector about one subject and, possibly, related ones."""

    id: str
    source: str = Field(description="the finding source that read it, e.g. guardduty")
    type: str = Field(description="the detector's own type name")
    title: str
    description: str = ""
    severity: float = Field(ge=0, le=10, description="0 to 10; 9 and above is critical")
    cloud: Cloud
    account: str
    region: str
    created_at: UtcDatetime
    updated_at: UtcDatetime
    first_seen: UtcDatetime
    last_seen: UtcDatetime
    count: int = Field(default=1, ge=1)
    sample: bool = Field(default=False, description="made to try things out; never acts")
    side: Side | None = None
    subject: Subject
    related: tuple[Subject, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(), description="remote addresses that took part, in the order of the finding"
    )
    local_addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    ports: tuple[int, ...] = Field(default=(), description="local ports concerned")
    domains: tuple[str, ...] = ()
    access_keys: tuple[str, ...] = Field(default=(), description="ids of access keys, not secrets")
    techniques: tuple[str, ...] = Field(
        default=(), description="MITRE ATT&CK ids, if the detector gives them"
    )

    @property
    def subjects(self) -> tuple[Resource | Principal, ...]:
        """All subjects, the one that the finding is about first."""
        return (self.subject, *self.related)
