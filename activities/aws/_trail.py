"""CloudTrail: since when a principal is quiet, and whether it is refused.

Looked up is the event history, which every account has for 90 days without a trail. It holds
management events: that somebody reads objects or invokes functions is not in it.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from activities.aws._reading import counted, or_none
from activities.aws._window import Window, in_force, pending, silent, stamp, unproven
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, CloudError, Refused, Throttled
from firedoor.settings import settings

T = TypeVar("T")

NAME = "CloudTrail"

DELIVERY = timedelta(minutes=15)
"""By when an event is there, mostly."""

LONGEST_SESSION = timedelta(hours=12)
"""A session of a role that was opened earlier has ended."""

LONGEST_FEDERATION = timedelta(hours=36)
"""The same of what a user gets by GetFederationToken."""

MOST_PAGES = 4
"""Pages of 50 events that are read for each thing that is looked up, newest first."""

MOST_SESSIONS = 10
"""Sessions of a role that are looked up; each takes half a second in each region."""

PAUSE = 0.5
"""Seconds between lookups: AWS allows two a second in an account and region."""

ATTEMPTS = 3

UNSEEN = "what only data events show, as reading objects, is not in its history"

PERMISSIONS = ("cloudtrail:LookupEvents", "ec2:DescribeRegions", "iam:GetRole")

# Nobody can be denied these, so that they succeed says nothing.
UNDENIABLE = {("sts.amazonaws.com", "GetCallerIdentity")}

_REFUSALS = {
    "AccessDenied", "AccessDeniedException", "AuthFailure", "AuthorizationError",
    "AuthorizationErrorException", "ExpiredToken", "ExpiredTokenException", "Forbidden",
    "InvalidClientTokenId", "NotAuthorized", "SignatureDoesNotMatch", "UnauthorizedAccess",
    "UnauthorizedException", "UnauthorizedOperation", "UnrecognizedClientException",
}  # fmt: skip
# It was not even looked whether the caller may.
_UNDECIDED = {
    "RequestLimitExceeded", "ServiceUnavailable", "SlowDown", "ThrottledException", "Throttling",
    "ThrottlingException", "TooManyRequestsException",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Whose calls are looked for: a user, a role or one of its sessions, or some access keys.

    The session of an instance's role is named after the instance, that of a function's role after
    the function. `issued_before` leaves out sessions that are younger, as a revocation does.
    """

    user: str = ""  # `root` is the account's root user
    role: str = ""
    session: str = ""
    keys: tuple[str, ...] = ()
    issued_before: datetime | None = None

    def __str__(self) -> str:
        """Name it."""
        named = [f"user {self.user}"] if self.user else []
        if self.role:
            named.append(f"role {self.role}" + (f" of {self.session}" if self.session else ""))
        elif self.session:
            named.append(f"session {self.session}")
        named += [f"key {key}" for key in self.keys] if not named else []
        return ", ".join(named)


@dataclass(frozen=True)
class Event:
    """One event, as far as it matters here."""

    id: str
    at: datetime
    service: str
    name: str
    region: str
    error: str
    who: Mapping[str, Any]  # userIdentity
    record: Mapping[str, Any]

    def __str__(self) -> str:
        """Name the call: `ec2:RunInstances in eu-west-1 at 2026-01-02 14:03:10Z`."""
        service = self.service.removesuffix(".amazonaws.com")
        return f"{service}:{self.name} in {self.region} at {stamp(self.at)}"

    @property
    def refused(self) -> bool:
        """Whether it was refused for who the caller is."""
        if self.name == "ConsoleLogin":
            return not self._signed_in
        return self.error in _REFUSALS

    @property
    def passed(self) -> bool:
        """Whether the caller could do it; any other error comes after that was looked at."""
        if (self.service, self.name) in UNDENIABLE or self.error in _UNDECIDED:
            return False
        return not self.refused

    @property
    def _signed_in(self) -> bool:
        return (self.record.get("responseElements") or {}).get("ConsoleLogin") == "Success"


def quiet(
    aws: Aws,
    actor: Actor,
    since: datetime,
    now: datetime,
    *,
    regions: Sequence[str] | None = None,
) -> Window:
    """Return since when an actor does nothing any more, as the event history has it.

    `since` is when it was planned; what counts begins when it was applied, if that is known. It is
    asked in every region that the account uses, or in those given. Calls that were refused
    are no doing: they are the sign that a revocation works. Never raises a `CloudError`.
    """
    if not (actor.user or actor.role or actor.session or actor.keys):
        return unproven(NAME, "it is not known whose calls to look for")
    since, excused = in_force(aws, since)
    try:
        places = regions or _regions(aws)
        names = _names(aws, places, actor, since, now)
        found = _everywhere(aws, places, lambda there: _looked_up(there, actor, names, since, now))
    except (CloudError, Refused) as error:
        later = "; try later" if isinstance(error, Throttled) else ""
        return unproven(NAME, f"{error}{later}")
    return _judged(actor, [one for one in found if one], since, excused, now)


def lookup(
    aws: Aws,
    attribute: str,
    value: str,
    since: datetime,
    until: datetime,
    *,
    pages: int = 0,
) -> tuple[tuple[Event, ...], bool]:
    """Return the newest events with an attribute, newest first, and whether these are all.

    At most `pages` pages of 50 are read, by default `MOST_PAGES`.

    Raises `Throttled` if AWS does not answer often enough.
    """
    parameters: dict[str, Any] = {
        "LookupAttributes": [{"AttributeKey": attribute, "AttributeValue": value}],
        "StartTime": since,
        "EndTime": until,
    }
    events: list[Event] = []
    for _ in range(pages or MOST_PAGES):
        answer = _patiently(aws, parameters)
        events += [_event(item) for item in answer["Events"]]
        if not (token := answer.get("NextToken")):
            return tuple(events), True
        parameters["NextToken"] = token
        time.sleep(PAUSE)
    return tuple(events), False


def begun(item: Mapping[str, Any]) -> str:
    """Return the name of the session of a role that began with an item of LookupEvents, or none."""
    event = _event(item)
    return _session(event) if _begins(event) else ""


@dataclass(frozen=True)
class _Found:
    """What the history of one region holds of an actor."""

    events: tuple[Event, ...]
    since: datetime  # what was before is not known, as there are more events than were read


def _everywhere(aws: Aws, regions: Sequence[str], look: Callable[[Aws], T]) -> list[T | None]:
    """Look in several regions side by side; what comes of those that are closed to all is None."""

    def in_region(region: str) -> T | None:
        try:
            return look(aws.elsewhere(region=region))
        except AccessDenied as error:
            # A policy of the organization that closes a region closes it for the actor too.
            if region != aws.region and "service control policy" in str(error):
                return None
            raise

    return aws.together(*(partial(in_region, region) for region in regions))


def _looked_up(
    aws: Aws, actor: Actor, names: Sequence[str], since: datetime, now: datetime
) -> _Found:
    wanted = [("AccessKeyId", key) for key in actor.keys] + [("Username", name) for name in names]
    events: dict[str, Event] = {}
    known = since
    for index, (attribute, value) in enumerate(wanted):
        if index:
            time.sleep(PAUSE)
        some, complete = lookup(aws, attribute, value, since, now)
        events |= {event.id: event for event in some if _is(event, actor)}
        if not complete:
            known = max(known, some[-1].at if some else now)
    return _Found(tuple(events.values()), known)


def _names(
    aws: Aws, regions: Sequence[str], actor: Actor, since: datetime, now: datetime
) -> list[str]:
    """Return the user names that events of the actor have; sessions are told by their beginning."""
    names = {actor.user, actor.session}
    end = min(now, actor.issued_before or now)
    if actor.user and actor.user != "root":
        begin, by = since - LONGEST_FEDERATION, ("EventName", "GetFederationToken")
        events = _beginnings(aws, regions, by, begin, end, f"user {actor.user}")
        names |= {_given(e, "name") for e in events if _user(e.who) == actor.user}
    if actor.role and not actor.session:
        names |= _sessions(aws, regions, actor.role, since - LONGEST_SESSION, end)
    names.discard("")
    if len(names) > MOST_SESSIONS:
        raise Refused(
            f"{actor} has {len(names)} sessions, more than the {MOST_SESSIONS} that are looked up"
        )
    return sorted(names)


def _sessions(
    aws: Aws, regions: Sequence[str], role: str, since: datetime, until: datetime
) -> set[str]:
    """Return the names of the sessions of a role.

    Raises `Refused` if there are some that cannot be looked up, as those that Cognito or Roles
    Anywhere hand out: whoever has one of them would seem to be quiet.
    """
    found = or_none(partial(aws.client("iam").get_role, RoleName=role))
    known: Mapping[str, Any] = found["Role"] if found else {}
    arn = known.get("Arn", f"arn:{aws.partition}:iam::{aws.account}:role/{role}")
    by = ("ResourceName", str(arn))
    events = _beginnings(aws, regions, by, since, until, f"role {role}")
    names = {_session(event) for event in events if _begins(event)}
    if "" in names:
        raise Refused(f"a session of role {role} has a name that CloudTrail does not show")
    used = (known.get("RoleLastUsed") or {}).get("LastUsedDate")
    if used and used > since and not names:
        raise Refused(
            f"role {role} was used at {stamp(used)}, but no session is on record whose calls could"
            " be looked for"
        )
    return names


def _beginnings(
    aws: Aws,
    regions: Sequence[str],
    by: tuple[str, str],
    since: datetime,
    until: datetime,
    whose: str,
) -> list[Event]:
    """Return the events by which sessions of a user or role began, wherever that was."""
    found = _everywhere(aws, regions, lambda there: lookup(there, *by, since, until))
    if any(not complete for _, complete in filter(None, found)):
        raise Refused(f"sessions of {whose} begin too often to look them all up")
    return [event for events, _ in filter(None, found) for event in events]


def _begins(event: Event) -> bool:
    return event.name.startswith("AssumeRole") and not event.error


def _session(event: Event) -> str:
    """Return the name of the session that began; of a pod, only the answer says it."""
    user = (event.record.get("responseElements") or {}).get("assumedRoleUser") or {}
    return _given(event, "roleSessionName") or str(user.get("arn", "")).rpartition("/")[2]


def _given(event: Event, parameter: str) -> str:
    return str((event.record.get("requestParameters") or {}).get(parameter, ""))


def _is(event: Event, actor: Actor) -> bool:
    """Return whether the actor did it: a user and a session of a role can have the same name."""
    if event.who.get("type") == "AWSService":
        return False  # assumes the role for the instance or function, which is not its doing
    context = event.who.get("sessionContext") or {}
    created = (context.get("attributes") or {}).get("creationDate")
    if actor.issued_before and created and _instant(created) >= actor.issued_before:
        return False
    if event.who.get("accessKeyId") in actor.keys:
        return True
    return any(
        (
            actor.user and _user(event.who) == actor.user,
            actor.role and _role(event.who) == actor.role and _of_session(event.who, actor.session),
            actor.session and not actor.role and _of_session(event.who, actor.session),
        )
    )


def _user(who: Mapping[str, Any]) -> str:
    match who.get("type"):
        case "Root":
            return "root"
        case "FederatedUser":  # by the name of the user who asked for its credentials
            return str(_issuer(who).get("userName", ""))
        case "IAMUser":
            return str(who.get("userName", ""))
        case _:
            return ""


def _role(who: Mapping[str, Any]) -> str:
    return str(_issuer(who).get("userName", "")) if who.get("type") == "AssumedRole" else ""


def _issuer(who: Mapping[str, Any]) -> Mapping[str, Any]:
    return (who.get("sessionContext") or {}).get("sessionIssuer") or {}


def _of_session(who: Mapping[str, Any], session: str) -> bool:
    if who.get("type") != "AssumedRole":
        return False
    return not session or str(who.get("arn", "")).rpartition("/")[2] == session


def _judged(
    actor: Actor, found: Sequence[_Found], since: datetime, excused: datetime, now: datetime
) -> Window:
    window = settings().proof_window_identity
    events = sorted({e.id: e for one in found for e in one.events}.values(), key=lambda e: e.at)
    passed = [event for event in events if event.passed and event.at > since]
    refused = [event for event in events if event.refused and event.at > since]
    known = max(one.since for one in found)
    dark = max(known, passed[-1].at) if passed else known
    seen = _said(passed, refused)
    due = dark + window + DELIVERY
    if now >= due:
        return silent(NAME, f"{actor} is quiet since {stamp(dark)}{seen}; {UNSEEN}", dark)
    if passed and passed[-1].at > excused:
        return unproven(NAME, f"{actor} still acts{seen}", dark)
    if known > since:
        return unproven(NAME, f"{actor} has more events than can be read{seen}", dark)
    return pending(NAME, f"{actor} is quiet since {stamp(dark)}{seen}", dark, due)


def _said(passed: Sequence[Event], refused: Sequence[Event]) -> str:
    last = f"; last call that was not refused: {passed[-1]}" if passed else ""
    if not refused:
        return last
    return f"{last}; {counted(len(refused), 'call')} refused, last {refused[-1]}"


def _regions(aws: Aws) -> list[str]:
    """Return the regions that are enabled, our own first."""
    described = aws.client("ec2").describe_regions()["Regions"]
    return list(dict.fromkeys((aws.region, *sorted(r["RegionName"] for r in described))))


def _patiently(aws: Aws, parameters: Mapping[str, Any]) -> dict[str, Any]:
    client = aws.client("cloudtrail")
    for attempt in range(1, ATTEMPTS):
        try:
            return client.lookup_events(**parameters)  # type: ignore[no-any-return]
        except Throttled:
            time.sleep(PAUSE * 2 * attempt)
    return client.lookup_events(**parameters)  # type: ignore[no-any-return]


def _event(item: Mapping[str, Any]) -> Event:
    """Read an item of LookupEvents; the event itself is JSON in it."""
    record = json.loads(item.get("CloudTrailEvent") or "{}")
    return Event(
        id=item["EventId"],
        at=item["EventTime"].astimezone(UTC),
        service=item.get("EventSource", record.get("eventSource", "")),
        name=item["EventName"],
        region=record.get("awsRegion", ""),
        error=str(record.get("errorCode") or "").removeprefix("Client."),
        who=record.get("userIdentity") or {},
        record=record,
    )


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
