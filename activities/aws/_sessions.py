"""The role sessions that a principal began: they outlive what it began them with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from activities.aws._trail import Event, lookup
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.finding import PrincipalType

# A role session lasts as long at most, whatever the role says.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html
LONGEST = timedelta(hours=12)
CHAINED = timedelta(hours=1)
"""How long a session lasts at most that was begun in another session."""

GLOBAL_ENDPOINT = {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}
"""Where the calls are recorded that went to no region's own STS."""

BEGINNINGS = ("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity")


@dataclass(frozen=True)
class Origin:
    """Who begins sessions: a user, a role, or one session of a role."""

    type: PrincipalType
    name: str
    session: str = ""

    def began(self, identity: Mapping[str, Any]) -> bool:
        """Say whether a record's `userIdentity` is this one."""
        if self.type is PrincipalType.USER:
            # So too with the credentials of GetSessionToken; those of GetFederationToken cannot.
            return identity.get("type") == "IAMUser" and identity.get("userName") == self.name
        issuer = (identity.get("sessionContext") or {}).get("sessionIssuer") or {}
        session = str(identity.get("principalId", "")).partition(":")[2]
        return issuer.get("userName") == self.name and self.session in {"", session}


@dataclass(frozen=True)
class Session:
    """A session of a role, and when it ends at the latest."""

    role: str
    name: str
    ends: datetime


@dataclass(frozen=True)
class Sessions:
    """The sessions that CloudTrail knows of; `gap` says why there may be more."""

    known: tuple[Session, ...]
    where: str
    gap: str = ""


def begun_by(origin: Origin, aws: Aws, now: datetime, *, everywhere: bool = False) -> Sessions:
    """Read the role sessions that somebody began and that may still live.

    Looked up is where most begin, in our own region and at STS's global endpoint, or everywhere.
    `gap` says where CloudTrail could not be read, or held more than is read of it.
    """
    # What is chained ends within an hour; only a user's own sessions can be longer.
    longest = LONGEST if origin.type is PrincipalType.USER else CHAINED
    name = origin.name if origin.type is PrincipalType.USER else origin.session
    attribute, value = ("Username", name) if name else ("EventName", "AssumeRole")
    try:
        regions = _regions(aws) if everywhere else _usual(aws)
    except CloudError as error:
        return Sessions((), "", f"the regions could not be read: {error}")
    events, gap = _looked_up(aws, regions, attribute, value, now - longest, now)
    found = (_session(event, origin) for event in events)
    known = {(s.role, s.name): s for s in found if s and s.ends > now}
    where = f"{len(regions)} regions" if len(regions) > 2 else ", ".join(regions)
    return Sessions(tuple(known.values()), where, gap)


def federated_by(name: str, aws: Aws, now: datetime) -> str | None:
    """Return the user that got the federation token of a name; None if CloudTrail has none."""
    # Federation tokens last for 36 hours at most.
    since = now - timedelta(hours=36)
    asked_for = ("EventName", "GetFederationToken")
    events, _ = _looked_up(aws, _usual(aws), *asked_for, since, now)
    for event in events:
        asked = event.record.get("requestParameters") or {}
        if asked.get("name") == name and event.who.get("type") == "IAMUser" and not event.error:
            return str(event.who["userName"])
    return None


def _usual(aws: Aws) -> list[str]:
    return sorted({aws.region, GLOBAL_ENDPOINT.get(aws.partition, aws.region)})


def _regions(aws: Aws) -> list[str]:
    described = aws.client("ec2").describe_regions()["Regions"]
    return sorted(region["RegionName"] for region in described)


def _looked_up(
    aws: Aws, regions: list[str], attribute: str, value: str, since: datetime, now: datetime
) -> tuple[list[Event], str]:
    """Return the newest events of some regions, and why there may be more."""

    def look(region: str) -> tuple[tuple[Event, ...], str]:
        try:
            events, complete = lookup(aws.elsewhere(region=region), attribute, value, since, now)
        except CloudError as error:
            return (), f"CloudTrail of {region} could not be read: {error}"
        return events, "" if complete else f"CloudTrail of {region} holds more than is read of it"

    found = aws.together(*(partial(look, region) for region in regions))
    gaps = [gap for _, gap in found if gap]
    more = f", and so of {len(gaps) - 1} more regions" if len(gaps) > 1 else ""
    return [event for events, _ in found for event in events], f"{gaps[0]}{more}" if gaps else ""


def _session(event: Event, origin: Origin) -> Session | None:
    """Return the session that an event began, if it did, and for this origin."""
    if event.name not in BEGINNINGS or event.error or not origin.began(event.who):
        return None
    asked = event.record.get("requestParameters") or {}
    lasts = timedelta(seconds=int(asked.get("durationSeconds") or CHAINED.total_seconds()))
    role = str(asked.get("roleArn", "an unknown role")).rpartition("/")[2]
    name = str(asked.get("roleSessionName", ""))
    return Session(role=f"role/{role}", name=name, ends=event.at + lasts)
