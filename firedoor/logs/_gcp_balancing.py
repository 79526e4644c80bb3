"""Entries of Google Cloud's load balancers: what their logs and those of Cloud Armor share.

https://cloud.google.com/load-balancing/docs/https/https-logging-monitoring and
https://cloud.google.com/armor/docs/request-logging name the fields.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from firedoor.log_source import Piece, Sample
from firedoor.logs import _gcp
from firedoor.logs._values import endpoint

CONNECTIONS: Final = (
    "loadbalancing.googleapis.com/connections",
    "loadbalancing.googleapis.com/flows",
)
POLICIES: Final = (
    "enforcedSecurityPolicy",
    "enforcedEdgeSecurityPolicy",
    "previewSecurityPolicy",
    "previewEdgeSecurityPolicy",
)
# The log of requests is called `requests` by other services too: what is told apart is whose.
RESOURCE: Final = re.compile(r"http_load_balancer|.*_lb_rule")
URL: Final = re.compile(
    r"(?:[a-z]+://)?(?:[^/?]*@)?(\[[^\]/?]*\]|[^/:?]*)(?::\d*)?([^?]*)\??(.*)", re.I | re.S
)
DEFAULT: Final = 2147483647
"""The priority of the rule that is there for whatever no other one matches."""
DENIALS: Final = ("denied_by_security_policy", "body_denied_by_security_policy")
# Who is sent elsewhere, or to prove to be human, has not been let in.
OUTCOMES: Final = {
    "ACCEPT": "Allowed", "EXEMPT": "Allowed", "DENY": "Denied", "REDIRECT": "Denied",
}  # fmt: skip


class HttpRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A request, and the answer to it."""

    request_method: str = ""
    request_url: str = ""
    request_size: _gcp.Count | None = None
    status: int | None = None
    response_size: _gcp.Count | None = None
    user_agent: str = ""
    remote_ip: str = ""
    server_ip: str = ""
    latency: Annotated[str, msgspec.Meta(pattern=r"^\d+(\.\d+)?s$")] | None = None


class Policy(msgspec.Struct, frozen=True, rename="camel"):
    """The rule of a security policy that matched, and what came of it."""

    outcome: str = ""
    name: str = ""
    priority: int | None = None


class RemoteInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What Cloud Armor knows of an address."""

    region_code: str = ""


class RequestData(msgspec.Struct, frozen=True, rename="camel"):
    """What Cloud Armor knows of a request."""

    remote_ip_info: RemoteInfo = RemoteInfo()
    tls_ja4_fingerprint: str = ""
    tls_ja3_fingerprint: str = ""


class Connection(msgspec.Struct, frozen=True, rename="camel"):
    """The two ends of a connection."""

    client_ip: str = ""
    client_port: _gcp.Port = 0
    server_ip: str = ""
    server_port: _gcp.Port = 0
    protocol: _gcp.Port | None = None


class Payload(msgspec.Struct, frozen=True, rename="camel"):
    """What a load balancer adds to a request, or says of a connection."""

    status_details: str = ""
    enforced_security_policy: Policy | None = None
    enforced_edge_security_policy: Policy | None = None
    preview_security_policy: Policy | None = None
    preview_edge_security_policy: Policy | None = None
    security_policy_request_data: RequestData = RequestData()
    connection: Connection | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    server_bytes_received: _gcp.Count | None = None
    server_bytes_sent: _gcp.Count | None = None
    bytes_received: _gcp.Count | None = None
    bytes_sent: _gcp.Count | None = None
    packets_received: _gcp.Count | None = None
    packets_sent: _gcp.Count | None = None


class Entry(_gcp.LogEntry, frozen=True, kw_only=True):
    """An entry of these logs."""

    http_request: HttpRequest | None = None
    json_payload: Payload = Payload()


class Url(NamedTuple):
    """The parts of a URL, as they were sent; the host in lower case."""

    host: str | None
    path: str | None
    query: str | None


def is_request(sample: Sample) -> bool:
    """Tell the requests of a load balancer from those that other services log."""
    resource = sample.record.get("resource")
    kind = resource.get("type") if isinstance(resource, dict) else None
    return (
        isinstance(kind, str)
        and RESOURCE.fullmatch(kind) is not None
        and isinstance(sample.record.get("httpRequest"), dict)
    )


def has_policy(sample: Sample) -> bool:
    """Tell a request at which a security policy of Cloud Armor was asked."""
    payload = sample.record.get("jsonPayload")
    return isinstance(payload, dict) and not payload.keys().isdisjoint(POLICIES)


def policies(payload: Payload) -> tuple[Policy | None, ...]:
    """Return the policies of a payload, in the order of `POLICIES`."""
    return (
        payload.enforced_security_policy,
        payload.enforced_edge_security_policy,
        payload.preview_security_policy,
        payload.preview_edge_security_policy,
    )


def require_request(entry: Entry, *, policy: bool) -> None:
    """Raise `ValueError` for an entry that is no request, or is that of the other source."""
    if entry.http_request is None or not RESOURCE.fullmatch(entry.resource.type):
        raise ValueError("httpRequest: expected one of a load balancer")
    if any(policies(entry.json_payload)) != policy:
        raise ValueError(f"jsonPayload: expected {'a' if policy else 'no'} security policy")


def verdict(payload: Payload) -> tuple[str | None, str | None]:
    """Return the action that was taken, and the rule for it: `policy/1000`, `policy/default`.

    A rule on trial that would not have let pass what passed is told as observed, for nobody else
    says it; so is one where none is enforced.
    """
    enforced = [one for one in policies(payload)[:2] if one]
    tried = [one for one in policies(payload)[2:] if one]
    stopped = [one for one in enforced if OUTCOMES.get(one.outcome) == "Denied"]
    warned = [one for one in tried if OUTCOMES.get(one.outcome) == "Denied"]
    if stopped:
        return "Denied", _rule(stopped[0])
    if warned or (tried and not enforced):
        return "Observed", _rule((warned or tried)[0])
    if enforced:
        return OUTCOMES.get(enforced[0].outcome), _rule(enforced[0])
    return ("Denied" if payload.status_details in DENIALS else None), None


def request_columns(piece: Piece, source: str) -> dict[str, Any]:
    """Return how the columns of `http_activity` are got from an entry of a request."""
    return {
        **_gcp.common(piece, source),
        "src_ip": lambda row: endpoint(row.http_request.remote_ip)[0],
        "src_port": lambda row: endpoint(row.http_request.remote_ip)[1],
        "dst_ip": lambda row: endpoint(row.http_request.server_ip)[0],
        "dst_port": lambda row: endpoint(row.http_request.server_ip)[1],
        "method": lambda row: row.http_request.request_method or None,
        "host": lambda row: url(row.http_request.request_url).host,
        "path": lambda row: url(row.http_request.request_url).path,
        "query": lambda row: url(row.http_request.request_url).query,
        "user_agent": lambda row: row.http_request.user_agent or None,
        "status": lambda row: row.http_request.status,
        "bytes_in": lambda row: _gcp.whole(row.http_request.request_size),
        "bytes_out": lambda row: _gcp.whole(row.http_request.response_size),
        "duration": lambda row: _duration(row.http_request.latency),
        "action": lambda row: verdict(row.json_payload)[0],
        "rule": lambda row: verdict(row.json_payload)[1],
        "resource": lambda row: balancer(row.resource.labels),
        "country": lambda row: _data(row).remote_ip_info.region_code or None,
        "fingerprint": lambda row: (
            _data(row).tls_ja4_fingerprint or _data(row).tls_ja3_fingerprint or None
        ),
        "request_id": lambda row: row.insert_id or None,
    }


@lru_cache(maxsize=1 << 14)
def url(text: str) -> Url:
    """Return the parts of a URL, whatever a client has put into it."""
    parts = URL.fullmatch(text)
    if parts is None:
        return Url(None, text or None, None)
    host, path, query = parts.groups()
    return Url(host.strip("[]").lower().removesuffix(".") or None, path or None, query or None)


def balancer(labels: Mapping[str, str]) -> str | None:
    """Return the name of a load balancer: that of its URL map, or of what stands for one."""
    names = ("url_map_name", "load_balancer_name", "forwarding_rule_name", "target_proxy_name")
    return next((labels[name] for name in names if labels.get(name)), None)


def _data(entry: Entry) -> RequestData:
    return entry.json_payload.security_policy_request_data


def _rule(policy: Policy) -> str | None:
    number = "default" if policy.priority == DEFAULT else policy.priority
    return "/".join(str(part) for part in (policy.name, number) if part not in ("", None)) or None


def _duration(latency: str | None) -> float | None:
    """Return milliseconds of a duration in seconds: `0.102951s`."""
    return None if latency is None else round(float(latency.removesuffix("s")) * 1000, 6)
