"""AWS WAF: what containment leans on and moto has differently from AWS.

AWS, and in brackets moto:

- The name of an IP set or web ACL is taken once in a scope: WAFDuplicateItemException (IP sets of
  one name are made side by side, and web ACLs are refused with a code of its own).
- Addresses are CIDR blocks of the set's family, not /0, at most 10,000 (anything is taken). IPv6
  blocks are shown in full length (as they were given).
- An IP set that a web ACL refers to cannot be deleted: WAFAssociatedItemException (it can).
- No two rules of a web ACL have one priority, and what they refer to exists (nothing is checked).
- UpdateWebACL with an empty list of rules takes them all away (keeps them).
- The scope CLOUDFRONT is only served in us-east-1 (everywhere).
- GetSampledRequests, whose sample here is always empty (lacking), as are the addresses that a rule
  of rates keeps out; ListResourcesForWebACL (lacking).
"""

import json
from collections.abc import Iterator
from ipaddress import IPv6Network, ip_network
from typing import Any

from moto.wafv2 import models
from moto.wafv2.exceptions import WAFv2ClientError
from moto.wafv2.models import FakeIPSet, FakeWebACL, WAFV2Backend
from moto.wafv2.responses import WAFV2Response

from firedoor.lab import patch

MOST_ADDRESSES = 10_000


class DuplicateError(WAFv2ClientError):
    """The code that AWS has for it."""

    def __init__(self) -> None:
        super().__init__("WAFDuplicateItemException", "A resource with this name exists already.")


def install() -> None:
    """Set moto's WAF right."""
    patch.around(WAFV2Response, "call_action", _in_its_region)
    patch.around(WAFV2Backend, "create_ip_set", _created_set)
    patch.around(WAFV2Backend, "update_ip_set", _updated_set)
    patch.around(WAFV2Backend, "delete_ip_set", _deleted_set)
    patch.around(WAFV2Backend, "create_web_acl", _created_acl)
    patch.around(WAFV2Backend, "update_web_acl", _updated_acl)
    patch.replace(models, "WAFV2DuplicateItemException", DuplicateError)
    patch.add(
        WAFV2Response,
        get_sampled_requests,
        get_rate_based_statement_managed_keys,
        list_resources_for_web_acl,
    )


def get_sampled_requests(self: WAFV2Response) -> str:
    """Nobody sends requests through the emulated WAF, so there is nothing to sample."""
    body = json.loads(self.body)
    self.wafv2_backend.get_web_acl(body["WebAclArn"], None, None)
    return json.dumps(
        {"SampledRequests": [], "PopulationSize": 0, "TimeWindow": body["TimeWindow"]}
    )


def get_rate_based_statement_managed_keys(self: WAFV2Response) -> str:
    """Nobody sends requests through the emulated WAF, so nobody sends too many."""
    body = json.loads(self.body)
    acl = self.wafv2_backend.get_web_acl(None, body["WebACLName"], body["WebACLId"])
    if all(rule.name != body["RuleName"] for rule in acl.rules):
        raise WAFv2ClientError("WAFNonexistentItemException", "There is no such rule.")
    return json.dumps(
        {
            key: {"IPAddressVersion": version, "Addresses": []}
            for key, version in (("ManagedKeysIPV4", "IPV4"), ("ManagedKeysIPV6", "IPV6"))
        }
    )


def list_resources_for_web_acl(self: WAFV2Response) -> str:
    """List the load balancers and stages that a web ACL stands before."""
    body = json.loads(self.body)
    acl = self.wafv2_backend.get_web_acl(body["WebACLArn"], None, None)
    kind = body.get("ResourceType", "APPLICATION_LOAD_BALANCER")
    part = {"APPLICATION_LOAD_BALANCER": ":loadbalancer/", "API_GATEWAY": ":apigateway:"}.get(kind)
    found = [arn for arn in acl.associated_resources if part and part in arn]
    return json.dumps({"ResourceArns": found})


def _in_its_region(call_action: Any, self: WAFV2Response) -> Any:
    scope = json.loads(self.body or "{}").get("Scope")
    if scope == "CLOUDFRONT" and self.region != "us-east-1":
        error = _invalid("The scope is not valid: CLOUDFRONT is served in us-east-1 only.")
        return error.code, {}, error.get_body()
    return call_action(self)


def _created_set(create: Any, backend: Any, name: str, scope: str, *rest: Any) -> FakeIPSet:
    if any((s.name, s.scope) == (name, scope) for s in backend.ip_sets.values()):
        raise DuplicateError
    description, version, addresses, tags = rest
    return create(  # type: ignore[no-any-return]
        backend, name, scope, description, version, _blocks(addresses, version), tags or []
    )


def _updated_set(update: Any, backend: Any, name: str, scope: str, id: str, *rest: Any) -> Any:
    description, addresses, token = rest
    version = backend.get_ip_set(name, scope, id).ip_address_version
    return update(backend, name, scope, id, description, _blocks(addresses, version), token)


def _deleted_set(delete: Any, backend: Any, name: str, scope: str, id: str, token: str) -> None:
    arn = backend.get_ip_set(name, scope, id).arn
    if any(arn in _references(rule.statement) for a in backend.wacls.values() for rule in a.rules):
        raise WAFv2ClientError(
            "WAFAssociatedItemException", "Your resource is in use by another resource."
        )
    delete(backend, name, scope, id, token)


def _created_acl(create: Any, backend: Any, *args: Any, **kwargs: Any) -> FakeWebACL:
    rules = kwargs["rules"] if "rules" in kwargs else args[6]
    _check_rules(backend, rules or [])
    return create(backend, *args, **kwargs)  # type: ignore[no-any-return]


def _updated_acl(
    update: Any, backend: Any, name: str, id: str, action: Any, rules: Any, *rest: Any
) -> str:
    _check_rules(backend, rules or [])
    token: str = update(backend, name, id, action, rules, *rest)
    if not rules:
        backend.get_web_acl(None, name, id).rules = []
    return token


def _check_rules(backend: Any, rules: list[dict[str, Any]]) -> None:
    priorities = [rule["Priority"] for rule in rules]
    names = [rule["Name"] for rule in rules]
    if len(set(priorities)) < len(priorities) or len(set(names)) < len(names):
        raise _invalid("Rules have the same priority or the same name.")
    for arn in (arn for rule in rules for arn in _references(rule["Statement"])):
        if arn not in backend.ip_sets:
            raise WAFv2ClientError(
                "WAFNonexistentItemException", f"The referenced item {arn} does not exist."
            )


def _references(statement: Any) -> Iterator[str]:
    """Return the ARNs of the IP sets that a statement looks at, however deep."""
    match statement:
        case {"IPSetReferenceStatement": {"ARN": str(arn)}}:
            yield arn
        case dict():
            for part in statement.values():
                yield from _references(part)
        case list():
            for part in statement:
                yield from _references(part)


def _blocks(addresses: list[str], version: str) -> list[str]:
    if len(addresses) > MOST_ADDRESSES:
        raise WAFv2ClientError(
            "WAFLimitsExceededException", f"An IP set holds at most {MOST_ADDRESSES} addresses."
        )
    return [_block(address, version) for address in addresses]


def _block(address: str, version: str) -> str:
    try:
        network = ip_network(address)
    except ValueError:
        network = None
    if network is None or "/" not in address or not network.prefixlen:
        raise _invalid(f"The address {address} is not a block in CIDR notation, or it is all.")
    if version != f"IPV{network.version}":
        raise _invalid(f"The address {address} is not of the family {version}.")
    if isinstance(network, IPv6Network):
        return f"{network.network_address.exploded}/{network.prefixlen}"
    return str(network)


def _invalid(message: str) -> WAFv2ClientError:
    return WAFv2ClientError("WAFInvalidParameterException", message)
