"""Role sessions that somebody began: they outlive what they were begun with, and begin others."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from activities.aws import _trail
from activities.aws._reading import counted
from activities.aws._trail import Event, lookup
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused
from firedoor.model.finding import PrincipalType

# A role session lasts as long at most, whatever the role says.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html
LONGEST = timedelta(hours=12)

CHAINED = timedelta(hours=1)
"""How long a session lasts at most that was begun in another session, and what it says if not."""

LONGEST_TOKEN = timedelta(hours=36)
"""How long credentials of GetSessionToken and GetFederationToken last at most.
https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_request.html"""

GLOBAL_ENDPOINT = {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}
"""Where the calls are recorded that went to no region's own STS."""

BEGINNINGS = ("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity")

MOST_FOLLOWED = 10
"""Sessions of which it is looked up what they began in turn; each takes half a second."""

# CloudTrail has had both.
EXPIRATIONS = ("%b %d, %Y, %I:%M:%S %p", "%b %d, %Y %I:%M:%S %p")


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

    def is_role(self, session: "Session", account: str) -> bool:
        """Say whether a session is one of this role itself, as a whole."""
        own = (PrincipalType.ROLE, "", self.name, account)
        return (self.type, self.session, session.role, session.account) == own


@dataclass(frozen=True)
class Session:
    """A session of a role: when it ends at the latest, and by which key its calls are found."""

    account: str
    role: str
    name: str
    ends: datetime
    key: str
    by: str = ""  # the session that began it, if it was not the origin itself

    def label(self, account: str) -> str:
        """Name it, as it is seen from an account."""
        where = "" if self.account == account else f" in account {self.account}"
        return f"role/{self.role} session {self.name}{where}"


@dataclass(frozen=True)
class Sessions:
    """The sessions that CloudTrail knows of; `gap` says why there may be more."""

    known: tuple[Session, ...]
    account: str
    where: str
    gap: str = ""


def usual(aws: Aws) -> list[str]:
    """Return where most sessions begin: our own region, and where STS's global endpoint is."""
    return sorted({aws.region, GLOBAL_ENDPOINT.get(aws.partition, aws.region)})


def begun_by(origin: Origin, aws: Aws, now: datetime, regions: Sequence[str]) -> Sessions:
    """Read the role sessions that somebody began and that may still live, and what those began.

    `gap` says where CloudTrail could not be read, or held more than is read of it.
    """
    # What is chained ends within an hour; only a user's own sessions can be longer.
    longest = LONGEST if origin.type is PrincipalType.USER else CHAINED
    name = origin.name if origin.type is PrincipalType.USER else origin.session
    attribute, value = ("Username", name) if name else ("EventName", "AssumeRole")
    events, gap = _looked_up(aws, regions, attribute, value, now - longest, now)
    first = _begun([event for event in events if origin.began(event.who)])
    further, cut = _followed(first, aws, regions, now)
    living = _latest(
        one for one in (*first, *further) if one.ends > now and not origin.is_role(one, aws.account)
    )
    where = f"{len(regions)} regions" if len(regions) > 2 else ", ".join(regions)
    return Sessions(tuple(living), aws.account, where, "; ".join(filter(None, [gap, cut])))


def federated_by(name: str, aws: Aws, now: datetime) -> str | None:
    """Return the user that got the federation token of a name; None if CloudTrail has none."""
    asked_for = ("EventName", "GetFederationToken")
    events, _ = _looked_up(aws, usual(aws), *asked_for, now - LONGEST_TOKEN, now)
    for event in events:
        asked = event.record.get("requestParameters") or {}
        if asked.get("name") == name and event.who.get("type") == "IAMUser" and not event.error:
            return str(event.who["userName"])
    return None


def _followed(
    first: Iterable[Session], aws: Aws, regions: Sequence[str], now: datetime
) -> tuple[list[Session], str]:
    """Return what sessions began, those began, and so on; and why there may be more.

    A session that has ended is followed as well: what it began may live.
    """
    waiting = sorted(first, key=lambda one: one.ends)
    seen = {one.key for one in waiting}
    found: list[Session] = []
    gaps: list[str] = []
    for _ in range(MOST_FOLLOWED):
        if not waiting:
            break
        time.sleep(_trail.PAUSE)
        begun, gap = _begun_in(one := waiting.pop(), aws, regions, now)
        gaps += [f"what {one.label(aws.account)} began: {gap}"] if gap else []
        new = [another for another in begun if not another.key or another.key not in seen]
        seen |= {another.key for another in new}
        found += new
        waiting += new
    if waiting:
        gaps.append(f"what {counted(len(waiting), 'more session')} began is not looked up")
    return found, "; ".join(dict.fromkeys(gaps))


def _begun_in(
    one: Session, aws: Aws, regions: Sequence[str], now: datetime
) -> tuple[list[Session], str]:
    """Return the sessions that a session began; its calls are on record in its own account."""
    if not (one.key and one.account):
        return [], "its key is not on record"
    try:
        there = aws.elsewhere(account=one.account)
    except Refused as error:
        return [], str(error)
    events, gap = _looked_up(there, regions, "AccessKeyId", one.key, now - LONGEST, now)
    return _begun(events, by=one.label(aws.account)), gap


def _begun(events: Iterable[Event], by: str = "") -> list[Session]:
    return [_session(event, by) for event in events if event.name in BEGINNINGS and not event.error]


def _session(event: Event, by: str) -> Session:
    """Return the session that an event began."""
    asked = event.record.get("requestParameters") or {}
    given = (event.record.get("responseElements") or {}).get("credentials") or {}
    lasts = timedelta(seconds=int(asked.get("durationSeconds") or CHAINED.total_seconds()))
    arn = str(asked.get("roleArn") or ":::::an unknown role")
    return Session(
        account=arn.split(":")[4],
        role=arn.rpartition("/")[2].rpartition(":")[2],
        name=str(asked.get("roleSessionName", "")),
        ends=max(event.at + lasts, *_expiration(given)),
        key=str(given.get("accessKeyId", "")),
        by=by,
    )


def _expiration(given: Mapping[str, Any]) -> list[datetime]:
    """Return when credentials expire, as CloudTrail writes it: Sep 17, 2026, 8:04:10 PM."""
    # Some records have a narrow space before the half of the day.
    text = " ".join(str(given.get("expiration", "")).split())
    found = []
    for form in EXPIRATIONS:
        try:
            found.append(datetime.strptime(text, form).replace(tzinfo=UTC))
        except ValueError:
            continue
    return found or [datetime.min.replace(tzinfo=UTC)]


def _latest(sessions: Iterable[Session]) -> Iterator[Session]:
    """Return one of each name: the one that ends last."""
    latest: dict[tuple[str, str, str], Session] = {}
    for one in sorted(sessions, key=lambda one: one.ends):
        latest[one.account, one.role, one.name] = one
    yield from latest.values()


def _looked_up(
    aws: Aws, regions: Sequence[str], attribute: str, value: str, since: datetime, now: datetime
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
