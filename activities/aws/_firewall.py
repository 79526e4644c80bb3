"""AWS Network Firewall: one stateful rule group for a firewall policy, one drop rule an address."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_network
from typing import Any
from zlib import crc32

from pydantic import JsonValue

from activities.aws import _acl, _contended, _network
from activities.aws._acl import Network
from activities.aws._calls import filled, planned
from activities.aws._layer import Parts
from activities.aws._reading import or_none, tags
from firedoor.action import State, outstanding
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, PlanStale, Refused
from firedoor.model.plan import LATER, Call, Change, Check, Plan, Target

STRICT, BY_ACTION = "STRICT_ORDER", "DEFAULT_ACTION_ORDER"
FORWARD = "aws:forward_to_sfe"

CAPACITY = 1000
"""Rules that our group has room for; a group's capacity is for ever, and counts for the policy."""

DESCRIPTION = "Addresses that Firedoor blocks"

OPEN_FLOWS = (
    "The firewall keeps flows that it knows: those with the address are flushed, which its"
    " endpoints do within minutes"
)

_RACES = {"InvalidTokenException"}


@dataclass(frozen=True)
class Firewall:
    """A firewall that traffic is routed through, with its policy.

    `planned` is the priority that the plans which were made before this one take.
    """

    arn: str
    zones: tuple[str, ...]
    policy_arn: str
    policy: dict[str, Any]
    response: dict[str, Any]
    planned: dict[str, JsonValue] = field(default_factory=dict)

    @property
    def order(self) -> str:
        """How the policy orders its stateful rules."""
        options = self.policy.get("StatefulEngineOptions") or {}
        return str(options.get("RuleOrder", BY_ACTION))

    @property
    def group(self) -> str:
        """The name of our rule group."""
        return f"firedoor-{self.response['FirewallPolicyId']}"

    @property
    def group_arn(self) -> str:
        """The ARN that our rule group has, or will have."""
        head = self.policy_arn.partition(":firewall-policy/")[0]
        return f"{head}:stateful-rulegroup/{self.group}"


def on_route(aws: Aws, vpc: str, subnets: Iterable[str]) -> Firewall | None:
    """Return the firewall that traffic of subnets is routed through, if there is one.

    Its endpoint is in a route table of a subnet, or in that of the internet gateway.
    """
    tables = _network.by_filter(aws, "DescribeRouteTables", "vpc-id", [vpc])
    hops = set(_hops(tables, set(subnets)))
    if not hops:
        return None
    for one in aws.pages("network-firewall", "ListFirewalls", "Firewalls", VpcIds=[vpc]):
        answer = aws.client("network-firewall").describe_firewall(FirewallArn=one["FirewallArn"])
        states = (answer.get("FirewallStatus") or {}).get("SyncStates") or {}
        ends = {(state.get("Attachment") or {}).get("EndpointId") for state in states.values()}
        if ends & hops:
            return _firewall(aws, answer["Firewall"], tuple(sorted(states)))
    return None


def denial(aws: Aws, firewall: Firewall, network: Network, target: Target) -> Parts:
    """Return what is missing to drop all traffic with a network at a firewall.

    Raises `Refused` if there is no place for it, or if it would have no effect.
    """
    name = firewall.group
    found = _group(aws, name)
    dropped = network in _dropped(found)
    _expect_room(name, found)
    reference = _reference(firewall.policy, firewall.group_arn)
    ours = found is None or "firedoor:incident" in tags(found["RuleGroupResponse"])
    if not reference and not ours:
        # A reference of ours would put all that others have in it into effect.
        raise Refused(
            f"rule group {name} is not of Firedoor's making, and the policy does not refer to it:"
            " have the policy refer to it, or remove it"
        )
    changes = [
        *([] if found else [_change(name, "group", "STATEFUL")]),
        *([] if dropped else [_change(name, f"address {network}", "drop")]),
        *([] if reference else [_reference_change(aws, firewall, network)]),
    ]
    policy_name = firewall.response["FirewallPolicyName"]
    calls = _calls(firewall, found, network, target, changes)
    return Parts(
        lease=f"firewall-policy/{policy_name}/{network}",
        places=f"Network Firewall policy {policy_name}",
        before={
            "layer": "firewall",
            "firewall": firewall.arn,
            "policy": firewall.policy_arn,
            "group": name,
            "group_arn": firewall.group_arn,
            "ours": ours,
        },
        changes=tuple(changes),
        calls=calls,
        undo=() if dropped else _undo(firewall, found, ours),
        blast_radius=(
            f"{policy_name} rules all that is routed through its firewalls: the address is denied"
            " to all of it",
            OPEN_FLOWS,
        ),
        preflight=tuple(_may(aws, firewall, found, network)),
        lost=("Flows with the address that are flushed",) if calls else (),
        resources={firewall.response["FirewallPolicyId"]: tags(firewall.response)},
    )


def apply(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Make the group, the rule and the reference that are not there yet, inside a permit.

    Returns what could not be done to the flows that are open.
    """
    todo = outstanding(plan, _state(plan, aws))
    if len(todo) == len(plan.changes):
        _expect_policy(plan, aws)
    for change in todo:
        kind = change.attribute.partition(" ")[0]
        make = {"group": _create, "address": _add, "reference": _refer}[kind]
        _contended.retried(partial(make, plan, aws), _RACES)
    return _flush(plan, aws)


def revert(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Take our rule out; with the last one, the group too if Firedoor made it."""
    if not any(change.attribute.startswith("address ") for change in plan.changes):
        return ()
    return _contended.retried(partial(_remove, plan, aws), _RACES)


def look(plan: Plan, aws: Aws) -> tuple[Check, ...]:
    """Evaluate the policy's rules in their order for a packet with the address."""
    network, name = _acl_network(plan), str(plan.before["group"])
    dropped = _dropped(_group(aws, name))
    answer = or_none(partial(_policy_of, aws, str(plan.before["policy"])))
    policy = answer["FirewallPolicy"] if answer else {}
    reference = _reference(policy, str(plan.before["group_arn"]))
    passing = _passing(aws, policy, network, reference) if policy else None
    describe = aws.client("network-firewall").describe_firewall
    firewall = or_none(partial(describe, FirewallArn=str(plan.before["firewall"])))
    sync = firewall["FirewallStatus"]["ConfigurationSyncStateSummary"] if firewall else "gone"
    used = firewall["Firewall"]["FirewallPolicyArn"] if firewall else "the firewall is gone"
    return (
        Check(
            name=f"{name} drops {network}",
            ok=any(_acl.covers(one, network) for one in dropped),
            detail=f"{len(dropped)} addresses",
        ),
        Check(name=f"the policy refers to {name}", ok=reference is not None),
        Check(
            name="the policy forwards packets to its stateful rules",
            ok=FORWARD in policy.get("StatelessDefaultActions", ()),
        ),
        Check(name="no rule passes it before", ok=passing is None, detail=passing or ""),
        Check(name="the firewall uses the policy", ok=used == plan.before["policy"], detail=used),
        Check(name="the firewall's endpoints have the rules", ok=sync == "IN_SYNC", detail=sync),
    )


# What a plan holds


def _change(resource: str, attribute: str, after: JsonValue) -> Change:
    return Change(resource=resource, attribute=attribute, before=None, after=after)


def _reference_change(aws: Aws, firewall: Firewall, network: Network) -> Change:
    name, policy_id = firewall.group, firewall.response["FirewallPolicyId"]
    _expect_reached(aws, firewall, network)
    if name not in firewall.planned:
        firewall.planned[name] = (
            _free_priority(aws, firewall, network) if firewall.order == STRICT else BY_ACTION
        )
    return _change(policy_id, f"reference {name}", firewall.planned[name])


def _expect_reached(aws: Aws, firewall: Firewall, network: Network) -> None:
    """Raise `Refused` if packets never reach our rules, or pass before."""
    name = firewall.response["FirewallPolicyName"]
    if FORWARD not in firewall.policy["StatelessDefaultActions"]:
        raise Refused(
            f"policy {name} does not forward packets to its stateful rules: {_acl.ELSEWHERE}"
        )
    if passing := _passing(aws, firewall.policy, network, {"Priority": 1}):
        raise Refused(f"policy {name} lets the address pass first, {passing}: change that rule")


def _free_priority(aws: Aws, firewall: Firewall, network: Network) -> int:
    references = firewall.policy.get("StatefulRuleGroupReferences") or []
    taken = {reference["Priority"] for reference in references}
    free = next(number for number in range(1, len(taken) + 2) if number not in taken)
    if passing := _passing(aws, firewall.policy, network, {"Priority": free}):
        raise Refused(
            f"policy {firewall.response['FirewallPolicyName']} has no free priority before what"
            f" passes the address, {passing}: renumber its rule groups first"
        )
    return free


def _expect_room(name: str, found: Mapping[str, Any] | None) -> None:
    if found is None:
        return
    if "StatefulRules" not in found["RuleGroup"]["RulesSource"]:
        raise Refused(f"rule group {name} is written as a string of rules: drop the address there")
    used, room = len(_rules(found)), found["RuleGroupResponse"]["Capacity"]
    if used >= room:
        raise Refused(f"rule group {name} is full, {used} of {room} rules: {_acl.ELSEWHERE}")


def _calls(
    firewall: Firewall,
    found: dict[str, Any] | None,
    network: Network,
    target: Target,
    changes: Sequence[Change],
) -> tuple[Call, ...]:
    made = {change.attribute.partition(" ")[0] for change in changes}
    calls = [
        *([_create_call(firewall, network, target)] if "group" in made else []),
        *([_update_call(firewall, found)] if "address" in made else []),
        *([_policy_call(firewall, _referring(firewall))] if "reference" in made else []),
    ]
    return (*calls, *(_flush_calls(firewall, network) if calls else ()))


def _undo(firewall: Firewall, found: dict[str, Any] | None, ours: bool) -> tuple[Call, ...]:
    delete: dict[str, JsonValue] = {"RuleGroupName": firewall.group, "Type": "STATEFUL"}
    return (
        _update_call(firewall, found),
        *((_policy_call(firewall, LATER), _call("DeleteRuleGroup", delete)) if ours else ()),
    )


def _create_call(firewall: Firewall, network: Network, target: Target) -> Call:
    parameters: dict[str, JsonValue] = {
        "RuleGroupName": firewall.group,
        "Type": "STATEFUL",
        "Capacity": CAPACITY,
        "Description": DESCRIPTION,
        # A group without rules is not taken.
        "RuleGroup": {
            "RulesSource": {"StatefulRules": [_rule(network, ())]},
            "StatefulRuleOptions": {"RuleOrder": firewall.order},
        },
        "Tags": [
            {"Key": "firedoor:incident", "Value": target.incident},
            {"Key": "firedoor:step", "Value": target.step},
        ],
    }
    return _call("CreateRuleGroup", parameters)


def _update_call(firewall: Firewall, found: Mapping[str, Any] | None) -> Call:
    described = found["RuleGroupResponse"].get("Description") if found else DESCRIPTION
    parameters: dict[str, JsonValue] = {
        "RuleGroupName": firewall.group,
        "Type": "STATEFUL",
        "RuleGroup": LATER,  # with the rules of others as they are found then
        "UpdateToken": LATER,
        **({"Description": described} if described else {}),
    }
    return _call("UpdateRuleGroup", parameters)


def _policy_call(firewall: Firewall, policy: JsonValue) -> Call:
    kept = {
        name: firewall.response[name]
        for name in ("Description", "EncryptionConfiguration")
        if firewall.response.get(name)
    }
    named = {"FirewallPolicyArn": firewall.policy_arn, "UpdateToken": LATER}
    return _call("UpdateFirewallPolicy", {**named, "FirewallPolicy": policy, **kept})


def _referring(firewall: Firewall) -> dict[str, JsonValue]:
    priority = firewall.planned[firewall.group]
    reference: dict[str, JsonValue] = {"ResourceArn": firewall.group_arn}
    if priority != BY_ACTION:
        reference["Priority"] = priority
    references = firewall.policy.get("StatefulRuleGroupReferences") or []
    return {**firewall.policy, "StatefulRuleGroupReferences": [*references, reference]}


def _flush_calls(firewall: Firewall, network: Network) -> Iterator[Call]:
    ends: list[JsonValue] = [
        {end: {"AddressDefinition": str(network)}}
        for end in ("SourceAddress", "DestinationAddress")
    ]
    for zone in firewall.zones:
        where = {"FirewallArn": firewall.arn, "AvailabilityZone": zone}
        yield _call("StartFlowFlush", {**where, "FlowFilters": ends})


def _may(
    aws: Aws, firewall: Firewall, found: dict[str, Any] | None, network: Network
) -> Iterator[Check]:
    """Ask the service itself whether it would take the rule: it checks syntax and capacity too."""
    client = aws.client("network-firewall")
    try:
        if found is None:
            options = {"StatefulRuleOptions": {"RuleOrder": firewall.order}}
            rules = {"RulesSource": {"StatefulRules": [_rule(network, ())]}, **options}
            named = {"RuleGroupName": firewall.group, "Type": "STATEFUL", "Capacity": CAPACITY}
            client.create_rule_group(**named, RuleGroup=rules, DryRun=True)
        else:
            rules = _with_rules(found, [*_rules(found), _rule(network, _rules(found))])
            named = {"RuleGroupName": firewall.group, "Type": "STATEFUL"}
            token = found["UpdateToken"]
            client.update_rule_group(**named, RuleGroup=rules, UpdateToken=token, DryRun=True)
    except CloudError as error:
        yield Check(name="the firewall would take the rule", ok=False, detail=str(error))
    else:
        yield Check(name="the firewall would take the rule", ok=True)


def _rule(network: Network, others: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the rule that drops a network either way, with a signature id of its own."""
    taken = {
        option["Settings"][0]
        for rule in others
        for option in rule.get("RuleOptions") or ()
        if option["Keyword"] == "sid"
    }
    sid = crc32(str(network).encode()) % 900_000_000 + 1
    while str(sid) in taken:
        sid += 1
    return {
        "Action": "DROP",
        "Header": {
            "Protocol": "IP",
            "Source": str(network),
            "SourcePort": "ANY",
            "Direction": "ANY",
            "Destination": "ANY",
            "DestinationPort": "ANY",
        },
        "RuleOptions": [{"Keyword": "sid", "Settings": [str(sid)]}],
    }


def _call(operation: str, parameters: dict[str, JsonValue]) -> Call:
    return Call(service="network-firewall", operation=operation, parameters=parameters)


# What is read


def _hops(tables: Iterable[Mapping[str, Any]], subnets: set[str]) -> Iterator[str]:
    """Return the endpoints in the route tables of subnets, and in those of gateways."""
    tables = list(tables)
    named = {a.get("SubnetId") for table in tables for a in table["Associations"]}
    for table in tables:
        own = any(
            a.get("SubnetId") in subnets
            or a.get("GatewayId")
            or (a.get("Main") and subnets - named)
            for a in table["Associations"]
        )
        if own:
            for route in table["Routes"]:
                if str(route.get("GatewayId", "")).startswith("vpce-"):
                    yield route["GatewayId"]


def _firewall(aws: Aws, firewall: Mapping[str, Any], zones: tuple[str, ...]) -> Firewall:
    answer = _policy_of(aws, firewall["FirewallPolicyArn"])
    return Firewall(
        arn=firewall["FirewallArn"],
        zones=zones,
        policy_arn=firewall["FirewallPolicyArn"],
        policy=answer["FirewallPolicy"],
        response=answer["FirewallPolicyResponse"],
    )


def _policy_of(aws: Aws, arn: str) -> dict[str, Any]:
    client = aws.client("network-firewall")
    return client.describe_firewall_policy(FirewallPolicyArn=arn)  # type: ignore[no-any-return]


def _group(aws: Aws, name: str) -> dict[str, Any] | None:
    client = aws.client("network-firewall")
    return or_none(partial(client.describe_rule_group, RuleGroupName=name, Type="STATEFUL"))


def _rules(group: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    source = group["RuleGroup"]["RulesSource"] if group else {}
    return list(source.get("StatefulRules") or [])


def _dropped(group: Mapping[str, Any] | None) -> list[Network]:
    return [network for rule in _rules(group) if (network := _dropped_by(rule))]


def _dropped_by(rule: Mapping[str, Any]) -> Network | None:
    """Return the network that a rule drops altogether, either way."""
    header = rule["Header"]
    everything = {"Protocol": "IP", "Direction": "ANY", "Destination": "ANY"}
    ports = {"SourcePort": "ANY", "DestinationPort": "ANY"}
    if rule["Action"] != "DROP" or {**header, **everything, **ports} != header:
        return None
    try:
        return ip_network(header["Source"])
    except ValueError:
        return None


def _reference(policy: Mapping[str, Any], arn: str) -> dict[str, Any] | None:
    references = policy.get("StatefulRuleGroupReferences") or ()
    return next((one for one in references if one["ResourceArn"] == arn), None)


def _passing(
    aws: Aws, policy: Mapping[str, Any], network: Network, ours: Mapping[str, Any] | None
) -> str | None:
    """Say what passes a network before our rule; what cannot be told counts as passing."""
    client = aws.client("network-firewall")
    for reference in policy.get("StatelessRuleGroupReferences") or ():
        arn = reference["ResourceArn"]
        group = client.describe_rule_group(RuleGroupArn=arn)["RuleGroup"]
        stateless = group["RulesSource"].get("StatelessRulesAndCustomActions") or {}
        if any(_passes_stateless(rule, network) for rule in stateless.get("StatelessRules") or ()):
            return f"by stateless rule group {arn.split('/')[-1]}"
    strict = (policy.get("StatefulEngineOptions") or {}).get("RuleOrder") == STRICT
    for reference in policy.get("StatefulRuleGroupReferences") or ():
        arn = reference["ResourceArn"]
        # Where actions have an order, every pass comes before every drop.
        if strict and reference["Priority"] >= (ours or {}).get("Priority", 0):
            continue
        if ":aws-managed:" in arn:
            continue  # AWS's own groups drop and alert
        group = client.describe_rule_group(RuleGroupArn=arn)["RuleGroup"]
        if _passes(group["RulesSource"], network):
            return f"by stateful rule group {arn.split('/')[-1]}"
    return None


def _passes(source: Mapping[str, Any], network: Network) -> bool:
    lines = [line.strip() for line in source.get("RulesString", "").splitlines()]
    listed = source.get("RulesSourceList") or {}
    return (
        any(line.startswith("pass ") for line in lines)
        or listed.get("GeneratedRulesType") == "ALLOWLIST"
        or any(
            rule["Action"] == "PASS"
            and (
                _may_be(rule["Header"]["Source"], network)
                or _may_be(rule["Header"]["Destination"], network)
            )
            for rule in source.get("StatefulRules") or ()
        )
    )


def _passes_stateless(rule: Mapping[str, Any], network: Network) -> bool:
    definition = rule["RuleDefinition"]
    if "aws:pass" not in definition["Actions"]:
        return False
    match = definition["MatchAttributes"]
    ends = [match.get(end) or [{"AddressDefinition": "ANY"}] for end in ("Sources", "Destinations")]
    return any(_may_be(one["AddressDefinition"], network) for end in ends for one in end)


def _may_be(address: str, network: Network) -> bool:
    """Tell whether an address of a rule may mean a network; a variable may."""
    try:
        known = ip_network(address, strict=False)
    except ValueError:
        return True
    return _acl.covers(known, network) or _acl.covers(network, known)


def _state(plan: Plan, aws: Aws) -> State:
    name = str(plan.before["group"])
    group = _group(aws, name)
    answer = or_none(partial(_policy_of, aws, str(plan.before["policy"])))
    if answer is None:
        raise PlanStale(f"{plan.before['policy']} does not exist any more")
    state: dict[tuple[str, str], JsonValue] = {}
    if group:
        state[name, "group"] = group["RuleGroupResponse"]["Type"]
        for network in _dropped(group):
            state[name, f"address {network}"] = "drop"
    if reference := _reference(answer["FirewallPolicy"], str(plan.before["group_arn"])):
        policy_id = answer["FirewallPolicyResponse"]["FirewallPolicyId"]
        state[policy_id, f"reference {name}"] = reference.get("Priority", BY_ACTION)
    return state


def _acl_network(plan: Plan) -> Network:
    return ip_network(str(plan.params["address"]))


# What is changed


def _expect_policy(plan: Plan, aws: Aws) -> None:
    """Raise `PlanStale` if the policy is not the one that our reference was planned into."""
    for call in plan.calls:
        if call.operation == "UpdateFirewallPolicy":
            now = _policy_of(aws, str(plan.before["policy"]))["FirewallPolicy"]
            planned: Any = call.parameters["FirewallPolicy"]
            ours = planned["StatefulRuleGroupReferences"][-1]
            references = [*(now.get("StatefulRuleGroupReferences") or ()), ours]
            if {**now, "StatefulRuleGroupReferences": references} != planned:
                raise PlanStale(f"{plan.before['policy']} was changed")


def _create(plan: Plan, aws: Aws) -> None:
    if _group(aws, str(plan.before["group"])) is None:
        aws.call(planned(plan.calls, "CreateRuleGroup"))


def _add(plan: Plan, aws: Aws) -> None:
    group = _existing(_group(aws, str(plan.before["group"])), plan)
    network, rules = _acl_network(plan), _rules(group)
    if network not in _dropped(group):
        _put(plan.calls, group, [*rules, _rule(network, rules)], aws)


def _refer(plan: Plan, aws: Aws) -> None:
    answer = _policy_of(aws, str(plan.before["policy"]))
    if _reference(answer["FirewallPolicy"], str(plan.before["group_arn"])) is None:
        call = planned(plan.calls, "UpdateFirewallPolicy")
        aws.call(filled(call, UpdateToken=answer["UpdateToken"]))


def _flush(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Drop the flows that are open, where that was not done since the plan was made.

    That it fails for good does not undo that new ones are dropped.
    """
    calls = [call for call in plan.calls if call.operation == "StartFlowFlush"]
    done = aws.together(*(partial(_is_flushed, call, plan, aws) for call in calls))
    todo = [call for call, is_done in zip(calls, done, strict=True) if not is_done]
    if todo:
        _contended.awaited(
            partial(_in_sync, plan, aws), f"{plan.before['firewall']} does not have the rules yet"
        )
    left = []
    for call in todo:
        try:
            aws.call(call)
        except CloudError as error:
            if error.retryable:
                raise
            zone = call.parameters["AvailabilityZone"]
            left.append(f"flows that are open in {zone} were not flushed: {error}")
    return tuple(left)


def _is_flushed(call: Call, plan: Plan, aws: Aws) -> bool:
    """Return whether a flush was begun; where we may not look, it is begun once more."""
    where = {name: call.parameters[name] for name in ("FirewallArn", "AvailabilityZone")}
    listed = {**where, "FlowOperationType": "FLOW_FLUSH"}
    describe = aws.client("network-firewall").describe_flow_operation
    try:
        found = aws.pages("network-firewall", "ListFlowOperations", "FlowOperations", **listed)
        ids = [one["FlowOperationId"] for one in found if _counts(one, plan)]
        flushes = aws.together(*(partial(describe, **where, FlowOperationId=id) for id in ids))
    except CloudError as error:
        if error.retryable:
            raise
        return False
    filters = call.parameters["FlowFilters"]
    return any(one["FlowOperation"]["FlowFilters"] == filters for one in flushes)


def _counts(flush: Mapping[str, Any], plan: Plan) -> bool:
    began = plan.target.at.replace(microsecond=0)
    return bool(flush["FlowOperationStatus"] != "FAILED" and flush["FlowRequestTimestamp"] >= began)


def _in_sync(plan: Plan, aws: Aws) -> bool | None:
    answer = aws.client("network-firewall").describe_firewall(
        FirewallArn=str(plan.before["firewall"])
    )
    return answer["FirewallStatus"]["ConfigurationSyncStateSummary"] == "IN_SYNC" or None


def _remove(plan: Plan, aws: Aws) -> tuple[str, ...]:
    group = _group(aws, str(plan.before["group"]))
    if group is None:
        return ()
    network, rules = _acl_network(plan), _rules(group)
    rest = [rule for rule in rules if _dropped_by(rule) != network]
    if rest or not plan.before["ours"]:
        if len(rest) < len(rules):
            _put(plan.undo, group, rest, aws)
        return ()
    answer = or_none(partial(_policy_of, aws, str(plan.before["policy"])))
    if answer and (
        reference := _reference(answer["FirewallPolicy"], str(plan.before["group_arn"]))
    ):
        call = planned(plan.undo, "UpdateFirewallPolicy")
        settings = {"Description", "EncryptionConfiguration"}
        now = {name for name in settings if answer["FirewallPolicyResponse"].get(name)}
        if now != settings & {*call.parameters}:
            return (f"{plan.before['group']} stays: the policy has other settings now",)
        policy = dict(answer["FirewallPolicy"])
        others = [r for r in policy["StatefulRuleGroupReferences"] if r != reference]
        policy["StatefulRuleGroupReferences"] = others
        current = {name: answer["FirewallPolicyResponse"][name] for name in now}
        token = answer["UpdateToken"]
        aws.call(filled(call, FirewallPolicy=policy, UpdateToken=token, **current))
    aws.call(planned(plan.undo, "DeleteRuleGroup"))
    return ()


def _put(
    calls: Sequence[Call], group: dict[str, Any], rules: list[dict[str, Any]], aws: Aws
) -> None:
    call = planned(calls, "UpdateRuleGroup")
    token = group["UpdateToken"]
    aws.call(filled(call, RuleGroup=_with_rules(group, rules), UpdateToken=token))


def _with_rules(group: Mapping[str, Any], rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {**group["RuleGroup"], "RulesSource": {"StatefulRules": rules}}


def _existing(group: dict[str, Any] | None, plan: Plan) -> dict[str, Any]:
    if group is None:
        raise PlanStale(f"rule group {plan.before['group']} does not exist any more")
    return group
