"""AWS Network Firewall: rule groups, firewall policies and flow flushes, which moto lacks.

Modelled: stateful rule groups of `StatefulRules` or a rules string, policies that refer to them,
update tokens (a stale one is InvalidTokenException), dry runs, capacities, what is in use, and
endpoints: a firewall gets one in each of its subnets, `vpce-` and the digits of the subnet, which
routes can lead to. Everything is active and in sync at once.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.ec2.models import ec2_backends
from moto.ec2.models.route_tables import RouteBackend
from moto.moto_api._internal import mock_random
from moto.networkfirewall.models import NetworkFirewallBackend, networkfirewall_backends
from moto.networkfirewall.responses import NetworkFirewallResponse

from firedoor.lab import patch

Answer = ActionResult


class Error(ServiceException):
    """An error of Network Firewall."""


def install() -> None:
    """Add what moto's Network Firewall lacks."""
    patch.around(NetworkFirewallBackend, "__init__", _with_stores)
    patch.around(NetworkFirewallResponse, "describe_firewall", _with_endpoints)
    patch.around(RouteBackend, "create_route", _routed)
    patch.add(
        NetworkFirewallResponse,
        create_firewall_policy,
        create_rule_group,
        delete_rule_group,
        describe_firewall_policy,
        describe_flow_operation,
        describe_rule_group,
        list_flow_operations,
        list_rule_groups,
        start_flow_flush,
        update_firewall_policy,
        update_rule_group,
    )


def create_rule_group(self: NetworkFirewallResponse) -> Answer:
    """Make a rule group; its capacity is for ever."""
    name, kind = self._get_param("RuleGroupName"), self._get_param("Type")
    arn = _arn(self, f"{kind.lower()}-rulegroup", name)
    groups = self.networkfirewall_backend.rule_groups  # type: ignore[attr-defined]
    if arn in groups:
        raise _invalid("A resource with the specified name already exists")
    group = {
        "RuleGroup": _param(self, "RuleGroup"),
        "Response": {
            "RuleGroupArn": arn,
            "RuleGroupName": name,
            "RuleGroupId": _id(),
            "Type": kind,
            "Capacity": self._get_param("Capacity"),
            "RuleGroupStatus": "ACTIVE",
            "Tags": _param(self, "Tags") or [],
            **_if_given(self, "Description", "EncryptionConfiguration"),
        },
        "Token": _id(),
    }
    _check_capacity(group["RuleGroup"], group["Response"]["Capacity"])
    if not self._get_param("DryRun"):
        groups[arn] = group
    return _rule_group(self, group)


def describe_rule_group(self: NetworkFirewallResponse) -> Answer:
    """Show a rule group with its rules."""
    group = _group(self)
    return _rule_group(self, group, RuleGroup=group["RuleGroup"])


def update_rule_group(self: NetworkFirewallResponse) -> Answer:
    """Put other rules in the place of all that a rule group has."""
    group = _group(self)
    _expect_token(self, group)
    rules = _param(self, "RuleGroup")
    _check_capacity(rules, group["Response"]["Capacity"])
    if not self._get_param("DryRun"):
        group["RuleGroup"], group["Token"] = rules, _id()
        group["Response"].pop("Description", None)
        group["Response"] |= _if_given(self, "Description")
    return _rule_group(self, group)


def delete_rule_group(self: NetworkFirewallResponse) -> Answer:
    """Remove a rule group that no policy refers to."""
    group = _group(self)
    if _users(self, group):
        raise Error("InvalidOperationException", "The rule group is in use by a policy")
    del self.networkfirewall_backend.rule_groups[group["Response"]["RuleGroupArn"]]  # type: ignore[attr-defined]
    return ActionResult({"RuleGroupResponse": {**group["Response"], "RuleGroupStatus": "DELETING"}})


def list_rule_groups(self: NetworkFirewallResponse) -> Answer:
    """List all rule groups of the account in one page."""
    groups = self.networkfirewall_backend.rule_groups  # type: ignore[attr-defined]
    return ActionResult(
        {
            "RuleGroups": [
                {"Name": g["Response"]["RuleGroupName"], "Arn": arn} for arn, g in groups.items()
            ]
        }
    )


def create_firewall_policy(self: NetworkFirewallResponse) -> Answer:
    """Make a firewall policy."""
    name = self._get_param("FirewallPolicyName")
    arn = _arn(self, "firewall-policy", name)
    policy = {
        "FirewallPolicy": _checked_policy(self),
        "Response": {
            "FirewallPolicyName": name,
            "FirewallPolicyArn": arn,
            "FirewallPolicyId": _id(),
            "FirewallPolicyStatus": "ACTIVE",
            **_if_given(self, "Description", "EncryptionConfiguration"),
        },
        "Token": _id(),
    }
    self.networkfirewall_backend.policies[arn] = policy  # type: ignore[attr-defined]
    return _policy_answer(policy)


def describe_firewall_policy(self: NetworkFirewallResponse) -> Answer:
    """Show a firewall policy with what it refers to."""
    policy = _policy(self)
    return _policy_answer(policy, FirewallPolicy=policy["FirewallPolicy"])


def update_firewall_policy(self: NetworkFirewallResponse) -> Answer:
    """Put another policy in the place of one."""
    policy = _policy(self)
    _expect_token(self, policy)
    wanted = _checked_policy(self)
    if not self._get_param("DryRun"):
        policy["FirewallPolicy"], policy["Token"] = wanted, _id()
        for name in ("Description", "EncryptionConfiguration"):
            policy["Response"].pop(name, None)
        policy["Response"] |= _if_given(self, "Description", "EncryptionConfiguration")
    return _policy_answer(policy)


def start_flow_flush(self: NetworkFirewallResponse) -> Answer:
    """Begin to drop the flows that fit the filters; here it is done at once."""
    backend = self.networkfirewall_backend
    firewall = backend.describe_firewall("", self._get_param("FirewallArn"))
    id = _id()
    backend.flushes[id] = {  # type: ignore[attr-defined]
        "firewall": firewall.arn,
        "zone": self._get_param("AvailabilityZone"),
        "at": datetime.now(UTC).isoformat(),
        "filters": _param(self, "FlowFilters"),
    }
    return ActionResult(
        {"FirewallArn": firewall.arn, "FlowOperationId": id, "FlowOperationStatus": "COMPLETED"}
    )


def describe_flow_operation(self: NetworkFirewallResponse) -> Answer:
    """Show a flow flush."""
    id = self._get_param("FlowOperationId")
    flush = self.networkfirewall_backend.flushes.get(id)  # type: ignore[attr-defined]
    if flush is None:
        raise _missing("flow operation")
    return ActionResult(
        {
            "FirewallArn": flush["firewall"],
            "FlowOperation": {"FlowFilters": flush["filters"]},
            **_flush(id, flush),
        }
    )


def list_flow_operations(self: NetworkFirewallResponse) -> Answer:
    """List the flow flushes of a firewall in a zone, in one page."""
    place = (self._get_param("FirewallArn"), self._get_param("AvailabilityZone"))
    flushes = self.networkfirewall_backend.flushes.items()  # type: ignore[attr-defined]
    found = [_flush(id, f) for id, f in flushes if (f["firewall"], f["zone"]) == place]
    return ActionResult({"FlowOperations": found})


def _flush(id: str, flush: dict[str, Any]) -> dict[str, Any]:
    return {
        "FlowOperationId": id,
        "FlowOperationType": "FLOW_FLUSH",
        "FlowRequestTimestamp": datetime.fromisoformat(flush["at"]),
        "FlowOperationStatus": "COMPLETED",
    }


def _with_stores(init: Any, backend: Any, *args: Any, **kwargs: Any) -> None:
    init(backend, *args, **kwargs)
    backend.rule_groups, backend.policies, backend.flushes = {}, {}, {}


def _with_endpoints(describe: Any, self: NetworkFirewallResponse) -> Answer:
    answer: ActionResult = describe(self)
    firewall: dict[str, Any] = answer.result["Firewall"]  # type: ignore[index]
    backend = ec2_backends[self.current_account][self.region]
    states = {}
    for mapping in firewall["SubnetMappings"]:
        subnet = mapping["SubnetId"]
        zone = backend.get_subnet(subnet).availability_zone
        attachment = {"SubnetId": subnet, "EndpointId": _endpoint(subnet), "Status": "READY"}
        states[zone] = {"Attachment": attachment, "Config": {}}
    answer.result["FirewallStatus"] = {**answer.result["FirewallStatus"], "SyncStates": states}  # type: ignore[index]
    firewall["FirewallId"] = re.sub(r"\W", "-", firewall["FirewallArn"])
    return answer


def _routed(create: Any, backend: Any, *args: Any, **kwargs: Any) -> Any:
    """Let a route lead to a firewall; moto knows other endpoints only."""
    hop = kwargs.get("vpc_endpoint_id")
    firewalls = networkfirewall_backends[backend.account_id][backend.region_name].firewalls
    mappings = [m for firewall in firewalls.values() for m in firewall.subnet_mappings]
    if hop not in {_endpoint(mapping["SubnetId"]) for mapping in mappings}:
        return create(backend, *args, **kwargs)
    route = create(backend, *args, **kwargs | {"vpc_endpoint_id": None})
    route.vpc_endpoint_id = hop
    return route


def _endpoint(subnet: str) -> str:
    return f"vpce-{subnet.removeprefix('subnet-')}"


def _checked_policy(self: NetworkFirewallResponse) -> dict[str, Any]:
    policy: dict[str, Any] = _param(self, "FirewallPolicy")
    references = policy.get("StatefulRuleGroupReferences") or []
    groups = self.networkfirewall_backend.rule_groups  # type: ignore[attr-defined]
    order = (policy.get("StatefulEngineOptions") or {}).get("RuleOrder", "DEFAULT_ACTION_ORDER")
    for reference in references:
        group = groups.get(reference["ResourceArn"])
        if group is None:
            raise _invalid(f"rule group {reference['ResourceArn']} does not exist")
        options = group["RuleGroup"].get("StatefulRuleOptions") or {}
        if options.get("RuleOrder", "DEFAULT_ACTION_ORDER") != order:
            raise _invalid("the rule order of a rule group is not that of the policy")
        if (order == "STRICT_ORDER") != ("Priority" in reference):
            raise _invalid("references have priorities in strict order, and only there")
    priorities = [r["Priority"] for r in references if "Priority" in r]
    if len(set(priorities)) < len(priorities):
        raise _invalid("two references have one priority")
    return policy


def _check_capacity(group: dict[str, Any], capacity: int) -> None:
    if _consumed(group) > capacity:
        raise _invalid(f"the rules take more than the capacity of {capacity}")
    sids = [
        option["Settings"][0]
        for rule in group["RulesSource"].get("StatefulRules") or []
        for option in rule["RuleOptions"]
        if option["Keyword"] == "sid"
    ]
    if len(set(sids)) < len(sids):
        raise _invalid("two rules have one signature id")


def _consumed(group: dict[str, Any]) -> int:
    source = group["RulesSource"]
    lines = [line for line in source.get("RulesString", "").splitlines() if line.strip()]
    return len(source.get("StatefulRules") or []) + len(lines)


def _rule_group(
    self: NetworkFirewallResponse, group: dict[str, Any], **more: dict[str, Any]
) -> Answer:
    response = {
        **group["Response"],
        "ConsumedCapacity": _consumed(group["RuleGroup"]),
        "NumberOfAssociations": _users(self, group),
    }
    return ActionResult({"UpdateToken": group["Token"], "RuleGroupResponse": response, **more})


def _policy_answer(policy: dict[str, Any], **more: dict[str, Any]) -> Answer:
    return ActionResult(
        {"UpdateToken": policy["Token"], "FirewallPolicyResponse": policy["Response"], **more}
    )


def _users(self: NetworkFirewallResponse, group: dict[str, Any]) -> int:
    arn = group["Response"]["RuleGroupArn"]
    return sum(
        reference["ResourceArn"] == arn
        for policy in self.networkfirewall_backend.policies.values()  # type: ignore[attr-defined]
        for reference in policy["FirewallPolicy"].get("StatefulRuleGroupReferences") or []
    )


def _group(self: NetworkFirewallResponse) -> dict[str, Any]:
    groups = self.networkfirewall_backend.rule_groups  # type: ignore[attr-defined]
    kind = (self._get_param("Type") or "stateful").lower()
    arn = self._get_param("RuleGroupArn") or _arn(
        self, f"{kind}-rulegroup", self._get_param("RuleGroupName")
    )
    if arn not in groups:
        raise _missing("rule group")
    return groups[arn]  # type: ignore[no-any-return]


def _policy(self: NetworkFirewallResponse) -> dict[str, Any]:
    policies = self.networkfirewall_backend.policies  # type: ignore[attr-defined]
    arn = self._get_param("FirewallPolicyArn") or _arn(
        self, "firewall-policy", self._get_param("FirewallPolicyName")
    )
    if arn not in policies:
        raise _missing("firewall policy")
    return policies[arn]  # type: ignore[no-any-return]


def _expect_token(self: NetworkFirewallResponse, thing: dict[str, Any]) -> None:
    if self._get_param("UpdateToken") != thing["Token"]:
        raise Error("InvalidTokenException", "Update token is invalid.")


def _if_given(self: NetworkFirewallResponse, *names: str) -> dict[str, Any]:
    return {name: value for name in names if (value := _param(self, name))}


def _param(self: NetworkFirewallResponse, name: str) -> Any:
    # What moto parsed is its own kind of dictionary, which it would change on the way out.
    return json.loads(json.dumps(self._get_param(name), default=str))


def _arn(self: NetworkFirewallResponse, kind: str, name: str) -> str:
    return f"arn:aws:network-firewall:{self.region}:{self.current_account}:{kind}/{name}"


def _id() -> str:
    return str(mock_random.uuid4())


def _missing(what: str) -> Error:
    return Error("ResourceNotFoundException", f"The {what} could not be found")


def _invalid(message: str) -> Error:
    return Error("InvalidRequestException", message)
