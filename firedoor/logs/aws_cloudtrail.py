"""AWS CloudTrail: calls to the API of AWS, and the logins among them.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference.html
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec

from firedoor.log_source import Getter, Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs._values import address, time_of
from firedoor.relations import API_ACTIVITY, AUTHENTICATION

NOTHING: Final = msgspec.Raw(b"")


class Attributes(msgspec.Struct, gc=False, rename="camel"):
    """How a session began."""

    mfa_authenticated: str | bool | None = None


class Issuer(msgspec.Struct, gc=False, rename="camel"):
    """What a session is of: a role, or a user."""

    user_name: str | None = None
    arn: str | None = None


class Session(msgspec.Struct, gc=False, rename="camel"):
    """What is told of temporary credentials."""

    session_issuer: Issuer | None = None
    attributes: Attributes | None = None


class OnBehalfOf(msgspec.Struct, gc=False, rename="camel"):
    """A user of IAM Identity Center."""

    user_id: str | None = None


class Identity(msgspec.Struct, gc=False, rename="camel"):
    """Who called."""

    type: str | None = None
    user_name: str | None = None
    arn: str | None = None
    principal_id: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None
    invoked_by: str | None = None
    session_context: Session | None = None
    on_behalf_of: OnBehalfOf | None = None
    # Worked out, and never in a record.
    name: str | None = msgspec.field(default=None, name="-name")
    uid: str | None = msgspec.field(default=None, name="-uid")
    role: str | None = msgspec.field(default=None, name="-role")
    mfa: bool | None = msgspec.field(default=None, name="-mfa")


class Record(msgspec.Struct, gc=False, rename="camel"):
    """An event; a digest file has none of these members."""

    event_time: str | None = None
    event_name: str | None = None
    event_source: str | None = None
    event_id: str | None = msgspec.field(default=None, name="eventID")
    event_category: str | None = None
    aws_region: str | None = None
    recipient_account_id: str | None = None
    source_ip: str | None = msgspec.field(default=None, name="sourceIPAddress")
    user_agent: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    read_only: bool | str | None = None
    digest: str | None = msgspec.field(default=None, name="digestS3Object")
    user_identity: msgspec.Raw = NOTHING
    request_parameters: msgspec.Raw = NOTHING
    response_elements: msgspec.Raw = NOTHING
    additional_event_data: msgspec.Raw = NOTHING
    service_event_details: msgspec.Raw = NOTHING
    resources: msgspec.Raw = NOTHING
    raw: msgspec.Raw = NOTHING
    # Worked out, and never in a record.
    who: Identity | None = msgspec.field(default=None, name="-who")


class Resource(msgspec.Struct):
    """What a call was about."""

    ARN: str | None = None


# What a call was about, where it does not say so: the first of these parameters that is a text.
NAMED_BY: Final = (
    "roleArn", "resourceArn", "secretId", "functionName", "bucketName", "roleName", "userName",
    "groupName", "policyArn", "instanceId", "snapshotId", "keyId", "dBInstanceIdentifier",
    "dBSnapshotIdentifier", "tableName", "clusterName", "groupId", "name",
)  # fmt: skip

DENIED: Final = re.compile(
    "AccessDenied|Unauthori[sz]ed|NotAuthori[sz]ed|AuthorizationError|Forbidden"
)

MFA_USED: Final = re.compile(rb'"MFAUsed"\s*:\s*"(Yes|No)"')

LOGON, ASSUME, SWITCH = "Logon", "Assume", "Switch"
# What is a step of a login only, as CheckMfa, is none of its own: ConsoleLogin tells how it ended.
ACTIVITIES: Final[Mapping[str, Mapping[str, str]]] = {
    "signin.amazonaws.com": {
        "ConsoleLogin": LOGON,
        "UserAuthentication": LOGON,
        "CredentialVerification": LOGON,
        "ExternalIdPDirectoryLogin": LOGON,
        "GetSigninToken": ASSUME,
        "SwitchRole": SWITCH,
        "RenewRole": SWITCH,
        "ExitRole": SWITCH,
    },
    "sts.amazonaws.com": {
        "AssumeRole": ASSUME,
        "AssumeRoleWithSAML": ASSUME,
        "AssumeRoleWithWebIdentity": ASSUME,
        "AssumeRoot": ASSUME,
        "GetFederationToken": ASSUME,
        "GetSessionToken": ASSUME,
    },
    "sso.amazonaws.com": {
        "Authenticate": LOGON,
        "Federate": ASSUME,
        "GetRoleCredentials": ASSUME,
    },
}


def recognises(sample: Sample) -> bool:
    """Tell an event by the members that all of them have, a digest file by its own."""
    record = sample.record
    if {"digestS3Object", "logFiles"} <= record.keys():
        return True
    if str(record.get("eventSource")).startswith("aws:"):
        return False  # a notification of S3 has the same members
    members = {"userIdentity", "eventName", "insightDetails"}
    return {"eventVersion", "eventTime"} <= record.keys() and bool(members & record.keys())


def parse(piece: Piece) -> Parsed:
    """Return calls, and logins; insights and digests are passed over."""
    place: dict[str, Getter] = {
        "account": _account_or(piece.place.account),
        "region": _region_or(piece.place.region),
    }
    return records(
        Record,
        Into(API_ACTIVITY, {**API_COLUMNS, **place}, _calls),
        Into(AUTHENTICATION, {**LOGIN_COLUMNS, **place}, _logins),
    )(piece)


SOURCE = LogSource(
    title="AWS CloudTrail",
    relations=(API_ACTIVITY.name, AUTHENTICATION.name),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _calls(record: Record) -> Sequence[Record]:
    """Return an event with its caller, unless it is an insight, or a digest that lists files."""
    if record.digest is not None or record.event_category == "Insight":
        return ()
    if not (record.event_time and record.event_name and record.event_source):
        raise ValueError(f"{_missing(record)}: expected a text")
    record.who = _identity(bytes(record.user_identity))
    return (record,)


def _missing(record: Record) -> str:
    if not record.event_time:
        return "eventTime"
    return "eventSource" if record.event_name else "eventName"


def _logins(record: Record) -> Sequence[Record]:
    if not _activity(record):
        return ()
    # Of a wrong password in IAM Identity Center only this tells; of a right one, a later event too.
    is_step = record.event_name == "CredentialVerification" and _status(record) == "Success"
    return () if is_step else (record,)


def _activity(record: Record) -> str | None:
    activities = ACTIVITIES.get(record.event_source or "")
    return activities.get(record.event_name or "") if activities else None


_identities: Final = msgspec.json.Decoder(Identity | None)
_resources: Final = msgspec.json.Decoder(list[Resource] | None)
_request: Final = msgspec.json.Decoder(
    msgspec.defstruct("Request", [(name, msgspec.Raw, NOTHING) for name in NAMED_BY]) | None
)
_text: Final = msgspec.json.Decoder(str)


# Sessions make many calls each.
@lru_cache(maxsize=1 << 12)
def _identity(text: bytes) -> Identity:
    try:
        who = _identities.decode(text or b"null") or Identity()
    except msgspec.MsgspecError as error:
        raise ValueError(f"userIdentity: {error}") from error
    session = who.session_context or Session()
    issuer, attributes = session.session_issuer or Issuer(), session.attributes or Attributes()
    on_behalf_of = who.on_behalf_of or OnBehalfOf()
    who.uid = who.arn or who.principal_id or on_behalf_of.user_id
    who.role = issuer.arn
    who.mfa = _flag(attributes.mfa_authenticated)
    if who.type == "Root":
        who.name = "root"
    else:
        who.name = who.user_name or issuer.user_name or who.invoked_by or _last(who.uid)
    return who


def _last(uid: str | None) -> str | None:
    """Return the name in an ARN: of `assumed-role/admin/session` it is `admin`."""
    kind, _, name = (uid or "").rpartition(":")[2].partition("/")
    return (name.partition("/")[0] if kind == "assumed-role" else name.rpartition("/")[2]) or uid


def _flag(value: str | bool | None) -> bool | None:
    return value.lower() == "true" if isinstance(value, str) else value


def _account_or(account: str) -> Getter:
    return lambda record: record.recipient_account_id or record.who.account_id or account


def _region_or(region: str) -> Getter:
    return lambda record: record.aws_region or region


def _time(record: Record) -> int:
    return time_of(record.event_time or "", "eventTime")


def _status(record: Record) -> str:
    if record.error_code or record.error_message:
        return "Failure"
    # `{"ConsoleLogin": "Failure"}`
    told = (record.response_elements, record.service_event_details) if _is_signin(record) else ()
    return "Failure" if any(b'"Failure"' in bytes(one) for one in told) else "Success"


def _denied(record: Record) -> bool:
    return record.error_code is not None and DENIED.search(record.error_code) is not None


def _mfa(record: Record) -> bool | None:
    used = MFA_USED.search(record.additional_event_data) if _is_signin(record) else None
    if used:
        return used[1] == b"Yes"
    return record.who.mfa if record.who else None


def _is_signin(record: Record) -> bool:
    return record.event_source == "signin.amazonaws.com"


def _resource(record: Record) -> str | None:
    """Return the first resource that is named, or else what the request names."""
    try:
        resources = _resources.decode(record.resources) if record.resources else None
        request = _request.decode(record.request_parameters) if record.request_parameters else None
    except msgspec.MsgspecError:
        return None  # a service may write there what it likes
    for one in resources or ():
        if one.ARN:
            return one.ARN
    for value in msgspec.structs.astuple(request) if request else ():
        if value and bytes(value).startswith(b'"'):
            return _text.decode(value)
    return None


def _role(record: Record) -> str | None:
    """Return the role that somebody took: after a switch it is the caller's own."""
    activity = _activity(record)
    if activity == SWITCH and record.who:
        return record.who.role or record.who.uid
    return None if activity == LOGON else _resource(record)


CALLER: Final[Mapping[str, Getter | str]] = {
    "time": _time,
    "cloud": "aws",
    "source": "aws_cloudtrail",
    "event_id": attrgetter("event_id"),
    "service": attrgetter("event_source"),
    "src_ip": lambda record: address(record.source_ip),
    "user_agent": attrgetter("user_agent"),
    "status": _status,
    "mfa": _mfa,
    "raw": attrgetter("raw"),
}
API_COLUMNS: Final[Mapping[str, Getter | str]] = {
    **CALLER,
    "operation": attrgetter("event_name"),
    "actor_type": attrgetter("who.type"),
    "actor": attrgetter("who.name"),
    "actor_id": attrgetter("who.uid"),
    "actor_account": attrgetter("who.account_id"),
    "credential": lambda record: record.who.access_key_id or None,
    "src_name": lambda record: None if address(record.source_ip) else record.source_ip,
    "error": attrgetter("error_code"),
    "message": attrgetter("error_message"),
    "denied": _denied,
    "read_only": lambda record: _flag(record.read_only),
    "resource": _resource,
    "request": attrgetter("request_parameters"),
    "response": attrgetter("response_elements"),
}
LOGIN_COLUMNS: Final[Mapping[str, Getter | str]] = {
    **CALLER,
    "activity": _activity,
    "user_type": attrgetter("who.type"),
    "user_name": attrgetter("who.name"),
    "user_id": attrgetter("who.uid"),
    "message": lambda record: record.error_message or record.error_code,
    "resource": _role,
}
