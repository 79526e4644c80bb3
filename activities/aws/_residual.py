"""The residual-access statement: what each kind of credential of a principal can still do.

To it belongs what no denial of its own reaches: role sessions that it began, which outlive what it
began them with, and who believes STS that it is who it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from activities.aws import _chain, _clusters, _denials, _roles
from activities.aws._chain import CHAINED, LONGEST, LONGEST_TOKEN, Origin, Sessions
from activities.aws._clusters import Clusters
from activities.aws._denials import Denial
from activities.aws._identity_center import Others
from activities.aws._reading import counted, named
from activities.aws._users import ACTIVE, CREDENTIALS, KEY, Held
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError
from firedoor.model.plan import Check, Residual

# A set of credentials of the metadata service; it hands out the next before that.
HANDED_OUT = timedelta(hours=6)

ALL_DENIED = "denied everything"


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
class Beyond:
    """What no denial to a principal reaches."""

    sessions: Sessions
    clusters: Clusters


def beyond(
    origin: Origin, arn: str, aws: Aws, now: datetime, *, everywhere: bool = False
) -> Beyond:
    """Read what no denial reaches, in the regions where most happens or in all."""
    try:
        regions = _regions(aws) if everywhere else _chain.usual(aws)
    except CloudError as error:
        gap = f"the regions could not be read: {error}"
        return Beyond(Sessions((), aws.account, "", gap), Clusters((), "", gap))
    sessions = _chain.begun_by(origin, aws, now, regions)
    return Beyond(sessions, _clusters.letting_in(arn, aws, regions))


def of_user(held: Held, denied: Denied, beyond: Beyond) -> tuple[Residual, ...]:
    """Say what the credentials of a user can still do."""
    tokens = [_tokens(kind, denied) for kind in ("GetSessionToken", "GetFederationToken")]
    long_lived = _long_lived(held, denied)
    keys = held.credentials[KEY]
    on = keys is None or any(key["Status"] == ACTIVE for key in keys)
    return (
        *long_lived,
        _password(held, denied),
        *tokens,
        _signed([*long_lived, *tokens]),
        *_devices(held, denied),
        _believed(beyond.clusters, None if on else denied.now + LONGEST_TOKEN),
        *_begun(beyond.sessions, denied.now, LONGEST),
    )


def of_role(
    role: Mapping[str, Any],
    denied: Denied,
    beyond: Beyond,
    *,
    trust: str,
    instances: str,
) -> tuple[Residual, ...]:
    """Say what the sessions of a role can still do, by its denials and its trust policy."""
    longest = timedelta(seconds=role.get("MaxSessionDuration", 3_600))
    old = _old(denied, longest)
    ended = _roles.is_narrowed(trust) and not _roles.excepted(trust)
    return (
        old,
        _new(denied, longest, trust),
        _handed_out(denied, trust, instances),
        _signed([old]),
        _believed(beyond.clusters, denied.now + max(longest, HANDED_OUT) if ended else None),
        *_begun(beyond.sessions, denied.now, CHAINED),
    )


def of_one(what: str, denied: bool, beyond: Beyond, now: datetime) -> tuple[Residual, ...]:
    """Say what the credentials can still do that one instance or function was handed."""
    state = f"{ALL_DENIED}, wherever it is used" if denied else "works, and is renewed"
    return (
        Residual(credential=what, state=state, open=not denied),
        _believed(beyond.clusters, None),  # it is handed the next ones all the same
        *_begun(beyond.sessions, now, CHAINED),
    )


def of_deleted(sessions: Sessions, now: datetime) -> tuple[Residual, ...]:
    """Say what outlives a user or role that does not exist any more."""
    return tuple(_begun(sessions, now, LONGEST))


def of_permission_set(
    label: str,
    cutoff: datetime | None,
    denied: bool,
    others: Others,
    beyond: Beyond,
    now: datetime,
) -> tuple[Residual, ...]:
    """Say what a user of IAM Identity Center can still do, by a permission set and beside it."""
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
        _others(others, now),
        _believed(beyond.clusters, None),
        *_begun(beyond.sessions, now, CHAINED),
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


def _others(others: Others, now: datetime) -> Residual:
    """Say through which other permission sets somebody can act; each is a role of its own."""
    credential = f"role sessions of {others.user or 'whoever acted'} by other permission sets"
    if others.known:
        state = f"are not denied: revoke {', '.join(others.known)} too"
    elif others.gap:
        state = f"not known: {others.gap}"
    else:
        return Residual(credential=credential, state="none is assigned", open=False)
    return Residual(credential=credential, state=state, until=now + LONGEST, open=True)


def _signed(signers: Sequence[Residual]) -> Residual:
    """Say what becomes of URLs that were signed beforehand: they work as what signed them does."""
    credential = "URLs that it signed beforehand"
    live = [one for one in signers if one.open]
    if not live:
        return Residual(credential=credential, state="dead with what signed them", open=False)
    ends = [one.until for one in live]
    return Residual(
        credential=credential,
        state=f"work as long as what signed them: {named([one.credential for one in live])}",
        until=max(end for end in ends if end) if all(ends) else None,
        open=True,
    )


def _believed(clusters: Clusters, until: datetime | None) -> Residual:
    """Say who lets a principal in that proves who it is, whatever it is denied."""
    credential = "proof of who it is, by sts:GetCallerIdentity"
    unseen = "aws-auth maps, and others that believe it, are not looked at"
    if clusters.known:
        state = (
            f"can be denied to nobody, and lets into EKS: delete its access entry of"
            f" {', '.join(clusters.known)}; {unseen}"
        )
        return Residual(credential=credential, state=state, until=until, open=True)
    if clusters.gap:
        state = f"can be denied to nobody; whom it lets in is not known: {clusters.gap}"
        return Residual(credential=credential, state=state, until=until, open=True)
    state = f"lets into no EKS cluster of {clusters.where} by an access entry; {unseen}"
    return Residual(credential=credential, state=state, open=False)


def _begun(sessions: Sessions, now: datetime, longest: timedelta) -> list[Residual]:
    """Say which sessions of other roles live on, whatever is denied to who began them."""
    credential = "sessions of other roles that it began"
    found = [
        Residual(
            credential=session.label(sessions.account),
            state=_lives_on(session.by),
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


def _lives_on(by: str) -> str:
    begun = f", begun by {by}" if by else ""
    return f"lives on{begun}, and can begin others: revoke that role too"


def _and_denied(denied: Denied) -> str:
    return f", and {ALL_DENIED}" if denied.all else ""


def _regions(aws: Aws) -> list[str]:
    described = aws.client("ec2").describe_regions()["Regions"]
    return sorted(region["RegionName"] for region in described)
