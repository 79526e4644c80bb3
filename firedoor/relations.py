"""The five relations into which every log is read, with the names of OCSF.

A column is named by the last words of its OCSF attribute, and typed so that the same SQL asks both
DuckDB and Athena: times are epoch milliseconds, and an address has, beside its text, a number to
group and join by (`…_key`) and whether it is one of our own or of nobody's (`…_inside`).

https://schema.ocsf.io/1.6.0/classes
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Type(StrEnum):
    """What a column holds."""

    TEXT = "text"
    WORD = "word"  # a text that repeats: kept as a dictionary
    INTEGER = "integer"  # 64 bits
    SMALL = "small"  # 32 bits: ports, numbers of protocols, statuses
    REAL = "real"
    FLAG = "flag"


@dataclass(frozen=True)
class Column:
    """One column, and the attribute of OCSF that it holds; "" where it is our own."""

    name: str
    type: Type
    ocsf: str
    description: str


@dataclass(frozen=True)
class Relation:
    """One kind of event, whoever logged it."""

    name: str
    class_uid: int
    description: str
    columns: tuple[Column, ...]

    def __getitem__(self, name: str) -> Column:
        """Return a column by its name; raises KeyError."""
        return next(iter(c for c in self.columns if c.name == name), None) or _missing(name)

    def __contains__(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)


def _missing(name: str) -> Column:
    raise KeyError(name)


def _address(side: str, whose: str, ocsf: str) -> tuple[Column, ...]:
    return (
        Column(f"{side}_ip", Type.WORD, f"{ocsf}.ip", f"address of {whose}"),
        Column(
            f"{side}_key",
            Type.INTEGER,
            "",
            "that address as a number: an IPv4 address itself, for IPv6 a negative digest",
        ),
        Column(
            f"{side}_inside",
            Type.FLAG,
            "",
            "whether that address is private, link-local, reserved, or of our own networks",
        ),
    )


PARTITIONS: Final = ("day", "account")
"""What files are partitioned by, as text: the UTC day of `time`, as 2026-01-31, and the account."""

_COMMON = (
    Column("time", Type.INTEGER, "time", "when it happened or began, in epoch milliseconds"),
    Column("day", Type.WORD, "", "the UTC day of `time`: 2026-01-31"),
    Column("cloud", Type.WORD, "cloud.provider", "aws, azure or gcp"),
    Column(
        "account", Type.WORD, "cloud.account.uid", "account, subscription or project that it is of"
    ),
    Column("region", Type.WORD, "cloud.region", "region or location; empty where there is none"),
    Column("source", Type.WORD, "metadata.log_name", "the log source that read it: aws_vpc_flow"),
)

_RESOURCE = Column(
    "resource", Type.WORD, "resources.uid", "what logged it: an instance, balancer, ACL, zone ..."
)

NETWORK_ACTIVITY: Final = Relation(
    "network_activity",
    4001,
    "Packets that went one way: who sent how many to whom. An answer is a row of its own.",
    (
        *_COMMON,
        Column("end_time", Type.INTEGER, "end_time", "when the counting ended"),
        *_address("src", "the sender", "src_endpoint"),
        Column("src_port", Type.SMALL, "src_endpoint.port", "its port; 0 where there are none"),
        *_address("dst", "the receiver", "dst_endpoint"),
        Column("dst_port", Type.SMALL, "dst_endpoint.port", "its port; 0 where there are none"),
        Column("protocol", Type.SMALL, "connection_info.protocol_num", "IANA number: 6 is TCP"),
        Column("tcp_flags", Type.SMALL, "connection_info.tcp_flags", "OR of the flags seen"),
        Column("direction", Type.WORD, "connection_info.direction", "Inbound or Outbound"),
        Column("action", Type.WORD, "action", "Allowed or Denied"),
        Column("packets", Type.INTEGER, "traffic.packets", "how many the sender sent"),
        Column("bytes", Type.INTEGER, "traffic.bytes", "how much the sender sent"),
        Column("interface", Type.WORD, "src_endpoint.interface_uid", "interface that logged it"),
        _RESOURCE,
        Column("network", Type.WORD, "src_endpoint.vpc_uid", "VPC or virtual network"),
        Column("subnet", Type.WORD, "src_endpoint.subnet_uid", "subnet"),
        Column("rule", Type.WORD, "firewall_rule.uid", "rule or reason that decided"),
    ),
)

DNS_ACTIVITY: Final = Relation(
    "dns_activity",
    4003,
    "A question to a resolver, and what it answered.",
    (
        *_COMMON,
        *_address("src", "who asked", "src_endpoint"),
        Column("src_port", Type.SMALL, "src_endpoint.port", "its port"),
        Column("hostname", Type.TEXT, "query.hostname", "the name, in lower case, no final dot"),
        Column("domain", Type.WORD, "", "its registrable domain: example.co.uk of a.example.co.uk"),
        Column("suffix", Type.WORD, "", "the last label of the name: its top-level domain"),
        Column("subdomain", Type.TEXT, "", "what stands before the registrable domain"),
        Column("entropy", Type.REAL, "", "Shannon entropy of subdomain and domain, bits a letter"),
        Column("generated", Type.REAL, "", "0 to 1: how unlike a word its registered label is"),
        Column("type", Type.WORD, "query.type", "A, AAAA, TXT ..."),
        Column("rcode", Type.WORD, "rcode", "NOERROR, NXDOMAIN ..."),
        Column("answers", Type.TEXT, "answers.rdata", "the answers, with commas between"),
        Column("protocol", Type.WORD, "connection_info.protocol_name", "UDP, TCP, DOH, DOT"),
        Column("action", Type.WORD, "action", "Allowed or Denied"),
        Column("rule", Type.WORD, "firewall_rule.uid", "rule or list that decided"),
        _RESOURCE,
        Column("network", Type.WORD, "src_endpoint.vpc_uid", "VPC or virtual network"),
    ),
)

API_ACTIVITY: Final = Relation(
    "api_activity",
    6003,
    "A call to the API of a cloud, and whether it was allowed.",
    (
        *_COMMON,
        Column("event_id", Type.TEXT, "metadata.uid", "the cloud's own id of the event"),
        Column("service", Type.WORD, "api.service.name", "iam.amazonaws.com, Microsoft.Compute"),
        Column("operation", Type.WORD, "api.operation", "the call: CreateAccessKey"),
        Column("actor_type", Type.WORD, "actor.user.type", "the cloud's own type of the caller"),
        Column("actor", Type.WORD, "actor.user.name", "user, role or service principal, by name"),
        Column("actor_id", Type.WORD, "actor.user.uid_alt", "its ARN, object id or e-mail"),
        Column("actor_account", Type.WORD, "actor.user.account.uid", "account of the caller"),
        Column("credential", Type.WORD, "actor.user.credential_uid", "id of the access key"),
        *_address("src", "the caller", "src_endpoint"),
        Column("src_name", Type.WORD, "src_endpoint.hostname", "a service that called, by name"),
        Column("user_agent", Type.WORD, "http_request.user_agent", "what it said it is"),
        Column("status", Type.WORD, "status", "Success or Failure"),
        Column("error", Type.WORD, "api.response.error", "the code of the error"),
        Column("message", Type.TEXT, "api.response.error_message", "and its message"),
        Column("denied", Type.FLAG, "", "whether it failed for want of a permission"),
        Column("read_only", Type.FLAG, "", "whether it could only read"),
        Column("mfa", Type.FLAG, "session.is_mfa", "whether the session had a second factor"),
        Column("resource", Type.WORD, "resources.uid", "what it was about, as far as it is told"),
        Column("request", Type.TEXT, "api.request.data", "the parameters, JSON"),
        Column("response", Type.TEXT, "api.response.data", "the answer, JSON"),
        Column("raw", Type.TEXT, "raw_data", "the record as it was logged, JSON"),
    ),
)

HTTP_ACTIVITY: Final = Relation(
    "http_activity",
    4002,
    "A request at a load balancer or a web application firewall.",
    (
        *_COMMON,
        *_address("src", "the client", "src_endpoint"),
        Column("src_port", Type.SMALL, "src_endpoint.port", "its port"),
        *_address("dst", "who served it", "dst_endpoint"),
        Column("dst_port", Type.SMALL, "dst_endpoint.port", "its port"),
        Column("method", Type.WORD, "http_request.http_method", "GET, POST ..."),
        Column("host", Type.WORD, "http_request.url.hostname", "the host that was asked for"),
        Column("path", Type.TEXT, "http_request.url.path", "path, as it was sent"),
        Column("query", Type.TEXT, "http_request.url.query_string", "what follows the `?`"),
        Column("user_agent", Type.WORD, "http_request.user_agent", "what the client said it is"),
        Column("status", Type.SMALL, "http_response.code", "status that the client got"),
        Column("bytes_in", Type.INTEGER, "traffic.bytes_in", "size of the request"),
        Column("bytes_out", Type.INTEGER, "traffic.bytes_out", "size of the response"),
        Column("duration", Type.REAL, "duration", "how long it took, in milliseconds"),
        Column("action", Type.WORD, "action", "Allowed, Denied, or Observed where it only counted"),
        Column("rule", Type.WORD, "firewall_rule.uid", "rule that decided"),
        _RESOURCE,
        Column("country", Type.WORD, "src_endpoint.location.country", "of the client, two letters"),
        Column("fingerprint", Type.WORD, "tls.ja4_fingerprint_list.value", "JA4, or else JA3"),
        Column("request_id", Type.TEXT, "http_request.uid", "id that the service gave it"),
    ),
)

AUTHENTICATION: Final = Relation(
    "authentication",
    3002,
    "Somebody logged in, or tried to.",
    (
        *_COMMON,
        Column("event_id", Type.TEXT, "metadata.uid", "the cloud's own id of the event"),
        Column("activity", Type.WORD, "activity_name", "Logon, Assume or Switch"),
        Column("service", Type.WORD, "service.name", "where: signin.amazonaws.com"),
        Column("user_type", Type.WORD, "user.type", "the cloud's own type of the user"),
        Column("user_name", Type.WORD, "user.name", "who, by name"),
        Column("user_id", Type.WORD, "user.uid_alt", "its ARN, object id or e-mail"),
        *_address("src", "whoever logged in", "src_endpoint"),
        Column("user_agent", Type.WORD, "http_request.user_agent", "what it said it is"),
        Column("status", Type.WORD, "status", "Success or Failure"),
        Column("message", Type.TEXT, "status_detail", "why it failed"),
        Column("mfa", Type.FLAG, "is_mfa", "whether a second factor was used"),
        Column("resource", Type.WORD, "", "the role that was assumed"),
        Column("raw", Type.TEXT, "raw_data", "the record as it was logged, JSON"),
    ),
)

RELATIONS: Final[Mapping[str, Relation]] = {
    relation.name: relation
    for relation in (NETWORK_ACTIVITY, DNS_ACTIVITY, API_ACTIVITY, HTTP_ACTIVITY, AUTHENTICATION)
}
