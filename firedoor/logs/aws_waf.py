"""AWS WAF logs: web requests, and what a web ACL decided.

https://docs.aws.amazon.com/waf/latest/developerguide/logging-fields.html
"""

from collections.abc import Iterator, Mapping
from operator import attrgetter
from typing import Final

import msgspec

from firedoor.log_source import Getter, Into, LogSource, Parsed, Piece, Sample, Shape, records
from firedoor.logs._values import address, time_of
from firedoor.relations import HTTP_ACTIVITY


class Rule(msgspec.Struct, gc=False, rename="camel"):
    """A rule that matched."""

    rule_id: str | None = None
    action: str | None = None


class Group(msgspec.Struct, gc=False, rename="camel"):
    """The rules of a group that matched."""

    terminating_rule: Rule | None = None
    non_terminating_matching_rules: list[Rule] | None = None
    excluded_rules: list[Rule] | None = None


class Header(msgspec.Struct, gc=False):
    """A header of the request."""

    name: str | None = None
    value: str | None = None


class Request(msgspec.Struct, gc=False, rename="camel"):
    """The request."""

    client_ip: str | None = None
    country: str | None = None
    headers: list[Header] | None = None
    uri: str | None = None
    args: str | None = None
    http_method: str | None = None
    request_id: str | None = None
    host: str | None = None


class Record(msgspec.Struct, gc=False, rename="camel"):
    """A request, and what was decided."""

    timestamp: int | str
    action: str
    http_request: Request
    webacl_id: str | None = None
    terminating_rule_id: str | None = None
    rule_group_list: list[Group] | None = None
    non_terminating_matching_rules: list[Rule] | None = None
    response_code_sent: int | str | None = None
    http_source_id: str | None = None
    request_body_size: int | None = None
    ja3: str | None = msgspec.field(default=None, name="ja3Fingerprint")
    ja4: str | None = msgspec.field(default=None, name="ja4Fingerprint")


DEFAULT: Final = "Default_Action"
# Who is asked to prove that it is human has not got what it asked for.
ACTIONS: Final[Mapping[str, str]] = {
    "ALLOW": "Allowed",
    "BLOCK": "Denied",
    "CAPTCHA": "Denied",
    "CHALLENGE": "Denied",
    "COUNT": "Observed",
    "EXCLUDED_AS_COUNT": "Observed",
}


def recognises(sample: Sample) -> bool:
    """Tell a request by the members that all of them have."""
    return {"webaclId", "action", "httpRequest", "timestamp"} <= sample.record.keys()


def parse(piece: Piece) -> Parsed:
    """Return the requests."""
    account, region = piece.place.account, piece.place.region
    columns: dict[str, Getter | str] = {
        **COLUMNS,
        "account": lambda record: _of_arn(record.webacl_id, 4) or _owner(record) or account,
        "region": lambda record: _of_arn(record.webacl_id, 3) or region,
    }
    return records(Record, Into(HTTP_ACTIVITY, columns))(piece)


SOURCE = LogSource(
    title="AWS WAF logs",
    relations=(HTTP_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _time(record: Record) -> int:
    if isinstance(record.timestamp, int):
        return record.timestamp
    return time_of(record.timestamp, "timestamp")


def _action(record: Record) -> str:
    if _counted(record):
        return "Observed"
    if record.action not in ACTIONS:
        raise ValueError(f"action: expected one of {', '.join(ACTIONS)}, not {record.action}")
    return ACTIONS[record.action]


def _rule(record: Record) -> str | None:
    """Return the rule that decided, and which of its group; or else the first that counted."""
    counted = _counted(record)
    if counted:
        return counted.rule_id
    within = [
        group.terminating_rule.rule_id
        for group in record.rule_group_list or ()
        if group.terminating_rule and group.terminating_rule.rule_id
    ]
    return "/".join(part for part in (record.terminating_rule_id, *within[:1]) if part) or None


def _counted(record: Record) -> Rule | None:
    """Return the first rule that only counted, where none decided."""
    if record.action != "ALLOW" or record.terminating_rule_id != DEFAULT:
        return None
    return next((rule for rule in _matching(record) if rule.rule_id), None)


def _matching(record: Record) -> Iterator[Rule]:
    for rule in record.non_terminating_matching_rules or ():
        if rule.action in (None, "COUNT"):
            yield rule
    for group in record.rule_group_list or ():
        yield from group.non_terminating_matching_rules or ()
        yield from group.excluded_rules or ()


def _header(name: str) -> Getter:
    def got(record: Record) -> str | None:
        for header in record.http_request.headers or ():
            if header.name and header.name.lower() == name:
                return header.value
        return None

    return got


def _host(record: Record) -> str | None:
    host = record.http_request.host or HOST(record)
    return host.lower() if host else None


def _of_arn(arn: str | None, part: int) -> str | None:
    parts = (arn or "").split(":")
    return parts[part] if len(parts) > 5 else None


def _owner(record: Record) -> str | None:
    """Return the account in `123456789012-app/my-balancer/0a1b`."""
    owner = (record.http_source_id or "").partition("-")[0]
    return owner if owner.isdecimal() and len(owner) == 12 else None


def _status(record: Record) -> int | None:
    sent = record.response_code_sent
    return int(sent) if sent not in (None, "", "-") else None


HOST: Final = _header("host")
COLUMNS: Final[Mapping[str, Getter | str]] = {
    "time": _time,
    "cloud": "aws",
    "source": "aws_waf",
    "src_ip": lambda record: address(record.http_request.client_ip),
    "method": attrgetter("http_request.http_method"),
    "host": _host,
    "path": attrgetter("http_request.uri"),
    "query": lambda record: record.http_request.args or None,
    "user_agent": _header("user-agent"),
    "status": _status,
    "bytes_in": attrgetter("request_body_size"),
    "action": _action,
    "rule": _rule,
    "resource": attrgetter("webacl_id"),
    "country": lambda record: (
        record.http_request.country if record.http_request.country != "-" else None
    ),
    "fingerprint": lambda record: record.ja4 or record.ja3,
    "request_id": attrgetter("http_request.request_id"),
}
