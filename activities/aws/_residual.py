"""The residual-access statement: what each kind of credential of a principal can still do.

To it belong the role sessions that a principal began: they outlive what it began them with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from activities.aws import _denials, _roles
from activities.aws._denials import Denial
from activities.aws._reading import counted
from activities.aws._trail import Event, lookup
from activities.aws._users import ACTIVE, CREDENTIALS, Held
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.finding import PrincipalType
from firedoor.model.plan import Check, Residual

# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_request.html
LONGEST_TOKEN = timedelta(hours=36)

# A set of credentials of the metadata service; it hands out the next before that.
HANDED_OUT = timedelta(hours=6)

ALL_DENIED = "denied everything"

# A role session lasts as long at most, whatever the role says.
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html
LONGEST = timedelta(hours=12)

CHAINED = timedelta(hours=1)
"""How long a session lasts at most that was begun in another session."""

GLOBAL_ENDPOINT = {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}
"""Where the calls are recorded that went to no region's own STS."""

BEGINNINGS = ("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity")


@dataclass(frozen=True)
class Denied:
    """How much is denied, before which beginning of a session, and as of when that is said."""

    how: Denial
    before: datetime | None
    now: datetime

    @property
    def all(self) -> bool:
        """Whether nothing at all works."""
        return self.how is Denial.ALL

    @property
    def every_session(self) -> bool:
        """Whether no session that has begun by now works."""
        return self.all or (self.before is not None and self.before >= self.now)


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


def of_user(held: Held, denied: Denied, sessions: Sessions) -> tuple[Residual, ...]:
    """Say what the credentials of a user can still do."""
    return (
        *_long_lived(held, denied),
        _password(held, denied),
        *(_tokens(kind, denied) for kind in ("GetSessionToken", "GetFederationToken")),
        *_devices(held, denied),
        *_begun(sessions, denied.now, LONGEST),
    )


def of_role(
    role: Mapping[str, Any],
    denied: Denied,
    sessions: Sessions,
    *,
    trust: str,
    instances: str,
) -> tuple[Residual, ...]:
    """Say what the sessions of a role can still do, by its denials and its trust policy."""
    longest = timedelta(seconds=role.get("MaxSessionDuration", 3_600))
    return (
        _old(denied, longest),
        _new(denied, longest, trust),
        _handed_out(denied, trust, instances),
        *_begun(sessions, denied.now, CHAINED),
    )


def of_one(what: str, denied: bool, sessions: Sessions, now: datetime) -> tuple[Residual, ...]:
    """Say what the credentials can still do that one instance or function was handed."""
    state = f"{ALL_DENIED}, wherever it is used" if denied else "works, and is renewed"
    return (
        Residual(credential=what, state=state, open=not denied),
        *_begun(sessions, now, CHAINED),
    )


def of_deleted(sessions: Sessions, now: datetime) -> tuple[Residual, ...]:
    """Say what outlives a user or role that does not exist any more."""
    return tuple(_begun(sessions, now, LONGEST))


def of_permission_set(
    label: str, cutoff: datetime | None, denied: bool, now: datetime
) -> tuple[Residual, ...]:
    """Say what a user of IAM Identity Center can still do through a permission set."""
    sessions = f"role sessions of {label}"
    if cutoff and denied:
        sessions += f" begun before {_denials.instant(cutoff)}"
    until = None if denied else now + LONGEST
    works = "works until a person ends it, and begins new role sessions"
    return (
        Residual(
            credential=sessions,
            state=ALL_DENIED if denied else "work",
            until=until,
            open=not denied,
        ),
        # No API of AWS ends it, nor tells of it; how long it lasts is set at Identity Center.
        Residual(
            credential="access portal session",
            state=works if cutoff else f"{works}, which are denied in {label}",
            open=True,
        ),
    )


def checks(residual: tuple[Residual, ...]) -> list[Check]:
    """Return as checks what a plan will leave: what stays open is not ok."""
    return [
        Check(
            name=f"afterwards, {one.credential}",
            ok=not one.open,
            detail=one.state + (f", until {_denials.instant(one.until)}" if one.until else ""),
        )
        for one in residual
    ]


def _long_lived(held: Held, denied: Denied) -> list[Residual]:
    found = []
    for kind, items in held.credentials.items():
        if items is None:
            state = f"may not be read{_and_denied(denied)}"
            found.append(Residual(credential=f"{kind.noun}s", state=state, open=not denied.all))
        for item in items or ():
            on = item["Status"] == ACTIVE
            state = item["Status"].lower() + (_and_denied(denied) if on else "")
            found.append(
                Residual(
                    credential=f"{kind.noun} {item[kind.id]}",
                    state=state,
                    open=on and not denied.all,
                )
            )
    none = [kind for kind in CREDENTIALS if held.credentials[kind] == []]
    return found + [Residual(credential=f"{k.noun}s", state="none", open=False) for k in none]


def _password(held: Held, denied: Denied) -> Residual:
    devices = counted(len(held.mfa or ()), "MFA device")
    state = {
        None: f"may not be read{_and_denied(denied)}",
        False: "none",
        True: f"sign-in stays possible, with {devices}{_and_denied(denied)}",
    }[held.password]
    is_open = held.password is not False and not denied.all
    return Residual(credential="console password", state=state, open=is_open)


def _tokens(kind: str, denied: Denied) -> Residual:
    credential = f"sessions by {kind}"
    if denied.every_session:
        return Residual(credential=credential, state=ALL_DENIED, open=False)
    state = "none is denied"
    if denied.before:
        before = _denials.instant(denied.before)
        state = f"those begun before {before} are denied, one begun since with a key works on"
    return Residual(credential=credential, state=state, until=denied.now + LONGEST_TOKEN, open=True)


def _devices(held: Held, denied: Denied) -> list[Residual]:
    if held.mfa is None:
        return [Residual(credential="MFA devices", state="may not be read", open=not denied.all)]
    if not held.mfa:
        return [Residual(credential="MFA devices", state="none", open=False)]
    return [
        Residual(
            credential=f"MFA device {device['SerialNumber']}",
            state=f"enrolled {_denials.instant(device['EnableDate'])}, no use without the password",
            open=bool(held.password) and not denied.all,
        )
        for device in held.mfa
    ]


def _old(denied: Denied, longest: timedelta) -> Residual:
    if denied.all:
        return Residual(credential="role sessions", state=ALL_DENIED, open=False)
    if denied.before is None:
        until = denied.now + longest
        return Residual(credential="role sessions", state="work", until=until, open=True)
    before = _denials.instant(denied.before)
    return Residual(credential=f"role sessions begun before {before}", state=ALL_DENIED, open=False)


def _new(denied: Denied, longest: timedelta, trust: str) -> Residual:
    credential = "new sessions"
    if denied.all:
        return Residual(credential=credential, state=ALL_DENIED, open=False)
    if not _roles.is_narrowed(trust):
        state = f"begin as the trust policy allows: {_roles.trusted(trust)}"
        return Residual(credential=credential, state=state, open=True)
    if but := _roles.excepted(trust):
        state = f"none can begin, but those of {but}"
        return Residual(credential=credential, state=state, open=True)
    if denied.every_session:
        return Residual(credential=credential, state="none can begin", open=False)
    # Nobody can tell any more when the last one began, only that none begins from now on.
    state = "none can begin; one that began after the cut-off, and before that was so, works on"
    return Residual(credential=credential, state=state, until=denied.now + longest, open=True)


def _handed_out(denied: Denied, trust: str, instances: str) -> Residual:
    credential = "what instances are handed"
    if denied.all:
        return Residual(credential=credential, state=ALL_DENIED, open=False)
    if not _roles.is_narrowed(trust):
        state = f"renewed as new sessions ({instances})"
        return Residual(credential=credential, state=state, open=True)
    until = None if denied.every_session else denied.now + HANDED_OUT
    state = f"not renewed ({instances})"
    return Residual(credential=credential, state=state, until=until, open=until is not None)


def _begun(sessions: Sessions, now: datetime, longest: timedelta) -> list[Residual]:
    """Say which sessions of other roles live on, whatever is denied to who began them."""
    credential = "sessions of other roles that it began"
    found = [
        Residual(
            credential=f"{session.role} session {session.name}",
            state="lives on: revoke that role too",
            until=session.ends,
            open=True,
        )
        for session in sessions.known
    ]
    if sessions.gap:
        found.append(
            Residual(
                credential=credential,
                state=f"not known: {sessions.gap}",
                until=now + longest,
                open=True,
            )
        )
    return found or [
        Residual(
            credential=credential,
            state=f"none in CloudTrail of {sessions.where}, which is some minutes late",
            open=False,
        )
    ]


def _and_denied(denied: Denied) -> str:
    return f", and {ALL_DENIED}" if denied.all else ""


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
