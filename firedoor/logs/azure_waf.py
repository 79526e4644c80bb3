"""Azure Web Application Firewall logs, of Application Gateway and of Front Door.

https://learn.microsoft.com/azure/web-application-firewall/ag/web-application-firewall-logs and
https://learn.microsoft.com/azure/web-application-firewall/afds/waf-front-door-monitor name the
fields. A rule that matched has not decided yet: it observed. Front Door logs what a rule would have
done where its policy only detects.
"""

from typing import Any, Final, Literal

import msgspec

from firedoor.log_source import LogSource, Parsed, Piece, Sample, Shape
from firedoor.logs import _azure
from firedoor.logs._azure import Number, Text
from firedoor.relations import HTTP_ACTIVITY

CATEGORIES: Final = (
    "ApplicationGatewayFirewallLog",
    "FrontDoorWebApplicationFirewallLog",
    "FrontdoorWebApplicationFirewallLog",
)
DENIED, ALLOWED, OBSERVED = "Denied", "Allowed", "Observed"
ACTIONS: Final = {
    "blocked": DENIED,
    "block": DENIED,
    "redirect": DENIED,
    "jschallengeblock": DENIED,
    "captchachallengeblock": DENIED,
    "allowed": ALLOWED,
    "allow": ALLOWED,
}
"""All others go on to the next rule, or to the client that is to prove itself."""


class Properties(msgspec.Struct, rename="camel", kw_only=True, frozen=True):
    """What a record holds: Application Gateway writes clientIp, and Front Door clientIP."""

    client_ip: Text = None
    front_door_client_ip: Text = msgspec.field(name="clientIP", default=None)
    client_port: Number = None
    request_uri: Text = None
    action: Text = None
    rule_id: Text = None
    rule_name: Text = None
    hostname: Text = None
    host: Text = None
    transaction_id: Text = None
    tracking_reference: Text = None
    policy_mode: Text = None


class Record(_azure.Diagnostic, kw_only=True, frozen=True):
    """What a rule did about a request."""

    category: Literal[
        "ApplicationGatewayFirewallLog",
        "FrontDoorWebApplicationFirewallLog",
        "FrontdoorWebApplicationFirewallLog",
    ]
    properties: Properties


COLUMNS: Final[dict[str, Any]] = {
    "source": "azure_waf",
    "time": Record.at,
    "account": lambda row: _azure.subscription(row.resource_id),
    "region": lambda row: row.location,
    "resource": lambda row: _azure.same(row.resource_id),
    "src_ip": lambda row: _azure.address(
        row.properties.client_ip or row.properties.front_door_client_ip
    ),
    "src_port": lambda row: _azure.port(row.properties.client_port),
    "host": lambda row: _azure.host(
        row.properties.hostname
        or row.properties.host
        or _azure.url(row.properties.request_uri).host
    ),
    "path": lambda row: _azure.url(row.properties.request_uri).path,
    "query": lambda row: _azure.url(row.properties.request_uri).query,
    "action": lambda row: _action(row.properties),
    "rule": lambda row: _azure.said(row.properties.rule_name or row.properties.rule_id),
    "request_id": lambda row: _azure.said(
        row.properties.transaction_id or row.properties.tracking_reference
    ),
}


def recognises(sample: Sample) -> bool:
    """Tell a record by its category."""
    return sample.record.get("category") in CATEGORIES


def parse(piece: Piece) -> Parsed:
    """Return the requests that a rule matched, once for each rule."""
    return _azure.parse(piece, Record, HTTP_ACTIVITY, COLUMNS)


SOURCE = LogSource(
    title="Azure Web Application Firewall logs",
    relations=(HTTP_ACTIVITY.name,),
    shape=Shape.RECORDS,
    recognises=recognises,
    parse=parse,
)


def _action(told: Properties) -> str:
    if _azure.same(told.policy_mode) == "detection":
        return OBSERVED
    return ACTIONS.get(_azure.same(told.action) or "", OBSERVED)
