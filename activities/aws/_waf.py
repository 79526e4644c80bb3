"""AWS WAF: one IP set of each family for a web ACL, and a rule that blocks it before any allow.

Each web ACL has sets of its own: what one containment takes out of a set, another that holds the
same address at another web ACL still needs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any

from pydantic import JsonValue

from activities.aws import _acl, _contended
from activities.aws._acl import Network
from activities.aws._calls import filled, planned
from activities.aws._layer import Parts
from activities.aws._reading import or_none, strings
from firedoor.action import State, outstanding
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, PlanStale, Refused
from firedoor.model.plan import LATER, Call, Change, Check, Plan, Target

# https://docs.aws.amazon.com/waf/latest/developerguide/limits.html
MOST_ADDRESSES = 10_000

# CloudFront is everywhere, and its web ACLs are asked for here.
# https://docs.aws.amazon.com/waf/latest/APIReference/API_UpdateIPSet.html
CLOUDFRONT, CLOUDFRONT_REGION = "CLOUDFRONT", "us-east-1"

# What a sample of requests may go back.
LONGEST_SAMPLE = timedelta(hours=3)

DESCRIPTION = "Addresses that Firedoor blocks"

PROPAGATION = (
    "AWS WAF takes seconds to minutes to block the address everywhere, and answers it 403 from then"
    " on; requests that are being answered go on to their end"
)

_RACES = {
    "WAFDuplicateItemException",
    "WAFOptimisticLockException",
    "WAFUnavailableEntityException",
}
_GONE = "WAFNonexistentItemException"

_MANAGED_FIRST = "no rule group of Firewall Manager lets the address in"


@dataclass(frozen=True)
class Door:
    """A web ACL, and what it guards: a load balancer or a distribution, by ARN.

    `forwarded` says that the client's own address is only seen in the header X-Forwarded-For, and
    `planned` which priorities the plans that were made before this one take.
    """

    acl: dict[str, Any]
    resource: str
    forwarded: bool = False
    planned: dict[str, int] = field(default_factory=dict)

    @property
    def scope(self) -> str:
        """REGIONAL, or CLOUDFRONT."""
        return CLOUDFRONT if ":global/webacl/" in self.acl["ARN"] else "REGIONAL"


def door(aws: Aws, arn: str, resource: str, *, forwarded: bool = False) -> Door:
    """Read a web ACL by its ARN."""
    scope = CLOUDFRONT if ":global/webacl/" in arn else "REGIONAL"
    name, id = arn.split("/")[-2:]
    named = {"Name": name, "Id": id, "Scope": scope}
    return Door(_client(aws, scope).get_web_acl(**named)["WebACL"], resource, forwarded)


def denial(aws: Aws, door: Door, network: Network, target: Target) -> Parts:
    """Return what is missing to block a network at a web ACL.

    The rule counts as made from now on. Raises `Refused` if there is no place for it.
    """
    acl, scope = door.acl, door.scope
    name = f"firedoor-{acl['Id']}-ipv{network.version}"
    found = _ip_set(aws, scope, name)
    members = [ip_network(block) for block in found["Addresses"]] if found else []
    ours = found is None or _made_by_us(aws, scope, found["ARN"])
    blocked = any(_acl.covers(member, network) for member in members)
    if not blocked and len(members) >= MOST_ADDRESSES:
        raise Refused(f"IP set {name} is full, {len(members)} addresses: {_acl.ELSEWHERE}")
    _expect_ours(acl, name, found, ours=ours)
    changes = [
        *([] if found else [_set_change(name, network.version)]),
        *([] if blocked else [_member_change(name, network)]),
        *([] if _rule(acl, name) else [_rule_change(aws, door, name, network)]),
    ]
    before: dict[str, JsonValue] = {
        "layer": "waf",
        "acl": {"Name": acl["Name"], "Id": acl["Id"], "ARN": acl["ARN"]},
        "scope": scope,
        "set": name,
        "version": network.version,
        "resource": door.resource,
        "forwarded": door.forwarded,
        "ours": ours,
    }
    calls = _calls(aws, door, name, network, found, target, changes)
    return Parts(
        lease=f"webacl/{acl['Name']}/{acl['Id']}/{network}",
        places=f"web ACL {acl['Name']} of {door.resource}",
        before=before,
        changes=tuple(changes),
        calls=calls,
        undo=_undo(aws, door, name, found, ours) if not blocked else (),
        blast_radius=(
            f"Web ACL {acl['Name']} guards {door.resource}: the address is denied to all behind it",
            PROPAGATION,
        ),
        preflight=(
            Check(
                name=f"room in {name}",
                ok=True,
                detail=f"{len(members)} of {MOST_ADDRESSES} addresses used",
            ),
            *_unforeseen(partial(_first, aws, acl, network)),
        ),
        resources={acl["Id"]: _tags(aws, scope, acl["ARN"])},
    )


def apply(plan: Plan, aws: Aws) -> None:
    """Make the set, the member and the rule that are not there yet, inside a permit."""
    todo = outstanding(plan, _state(plan, aws))
    rules = [change for change in todo if change.attribute.startswith("rule ")]
    if rules and len(todo) == len(plan.changes):
        _expect_settings(plan, aws)
    for change in todo:
        kind = change.attribute.partition(" ")[0]
        make = {"set": _create_set, "address": _add, "rule": _put_rule}[kind]
        _contended.retried(partial(make, plan, change, aws), _RACES)


def revert(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Take our address out; then what Firedoor made, if it is empty. Return what was left alone."""
    member = next((c for c in plan.changes if c.attribute.startswith("address ")), None)
    if member is None:
        return ()
    _contended.retried(partial(_remove, plan, member, aws), _RACES)
    if not plan.before["ours"]:
        return ()
    return _contended.retried(partial(_clear_away, plan, aws), _RACES)


def look(plan: Plan, aws: Aws) -> tuple[Check, ...]:
    """Evaluate the web ACL's rules in their order for a request from the address."""
    network, name = _network(plan), str(plan.before["set"])
    acl = _web_acl(plan, aws)
    found = _ip_set(aws, _scope(plan), name)
    members = [ip_network(block) for block in found["Addresses"]] if found else []
    rule = _rule(acl, name) if acl else None
    blocks = rule is not None and found is not None and _blocks(rule, found["ARN"])
    earlier = _letting(aws, acl, network, rule["Priority"]) if acl and rule else None
    return (
        Check(
            name=f"IP set {name} holds {network}",
            ok=any(_acl.covers(member, network) for member in members),
            detail=f"{len(members)} of {MOST_ADDRESSES} addresses used",
        ),
        Check(
            name=f"rule {name} blocks the set",
            ok=blocks,
            detail=_shown(rule) if rule else "no such rule",
        ),
        Check(
            name="no rule before it lets the address in",
            ok=earlier is None,
            detail=f"{earlier['Name']}, priority {earlier['Priority']}, may" if earlier else "",
        ),
        *(_first(aws, acl, network) if acl else ()),
        *_guards(plan, aws),
    )


def let_in(plan: Plan, aws: Aws, since: datetime) -> datetime | None:
    """Return when the address was last let in, as far as the sampled requests show.

    Raises `Refused` if the web ACL keeps no samples, as their silence would say nothing.
    https://docs.aws.amazon.com/waf/latest/APIReference/API_GetSampledRequests.html
    """
    now = datetime.now(UTC)
    acl = _existing(_web_acl(plan, aws), _named(plan)["Name"])
    if not acl["VisibilityConfig"]["SampledRequestsEnabled"]:
        raise Refused(f"web ACL {acl['Name']} keeps no samples of requests: turn that on in it")
    window = {"StartTime": max(since, now - LONGEST_SAMPLE), "EndTime": now}
    answer = _client(aws, _scope(plan)).get_sampled_requests(
        WebAclArn=acl["ARN"],
        RuleMetricName=acl["VisibilityConfig"]["MetricName"],
        Scope=_scope(plan),
        TimeWindow=window,
        MaxItems=500,
    )
    return max(
        (
            one["Timestamp"]
            for one in answer["SampledRequests"]
            if one.get("Action") == "ALLOW" and _is_from(one["Request"], plan)
        ),
        default=None,
    )


# What a plan holds


def acl_settings(aws: Aws, acl: Mapping[str, Any]) -> dict[str, Any]:
    """Return what UpdateWebACL replaces beside the rules, as it is now."""
    model = aws.client("wafv2").meta.service_model.operation_model("UpdateWebACL")
    names = set(model.input_shape.members) - {"Name", "Id", "Scope", "Rules", "LockToken"}
    return {name: acl[name] for name in sorted(names) if acl.get(name) not in (None, "")}


def _set_change(name: str, version: int) -> Change:
    return Change(resource=name, attribute="set", before=None, after=f"IPV{version}")


def _member_change(name: str, network: Network) -> Change:
    return Change(resource=name, attribute=f"address {network}", before=None, after="blocked")


def _rule_change(aws: Aws, door: Door, name: str, network: Network) -> Change:
    acl = door.acl
    # The addresses of one step that need the same rule plan it alike, whichever comes first.
    planned = door.planned.get(name)
    if planned is None:
        letting = _letting(aws, acl, network)
        taken = {rule["Priority"] for rule in acl.get("Rules") or ()} | {*door.planned.values()}
        planned = next(number for number in range(len(taken) + 1) if number not in taken)
        if letting and planned > letting["Priority"]:
            raise Refused(
                f"web ACL {acl['Name']} has no free priority before {letting['Name']}"
                f" ({letting['Priority']}), which may let the address in: renumber its rules first"
            )
        door.planned[name] = planned
    return Change(
        resource=acl["Id"],
        attribute=f"rule {name}",
        before=None,
        after={"priority": planned, "action": "Block", "set": name},
    )


def _calls(
    aws: Aws,
    door: Door,
    name: str,
    network: Network,
    found: dict[str, Any] | None,
    target: Target,
    changes: Sequence[Change],
) -> tuple[Call, ...]:
    made = {change.attribute.partition(" ")[0] for change in changes}
    create = {
        "Name": name,
        "Scope": door.scope,
        "Description": DESCRIPTION,
        "IPAddressVersion": f"IPV{network.version}",
        "Addresses": [],
        "Tags": [
            {"Key": "firedoor:incident", "Value": target.incident},
            {"Key": "firedoor:step", "Value": target.step},
        ],
    }
    return (
        *([_call(door.scope, "CreateIPSet", create)] if "set" in made else []),
        *([_update_set(door.scope, name, found)] if "address" in made else []),
        *([_update_acl(aws, door, exact=True)] if "rule" in made else []),
    )


def _undo(
    aws: Aws, door: Door, name: str, found: dict[str, Any] | None, ours: bool
) -> tuple[Call, ...]:
    delete = {"Name": name, "Scope": door.scope, "Id": LATER, "LockToken": LATER}
    return (
        _update_set(door.scope, name, found),
        *((_update_acl(aws, door, exact=False),) if ours else ()),
        *((_call(door.scope, "DeleteIPSet", delete),) if ours else ()),
    )


def _update_set(scope: str, name: str, found: dict[str, Any] | None) -> Call:
    parameters = {
        "Name": name,
        "Scope": scope,
        "Id": found["Id"] if found else LATER,
        "Description": (found or {}).get("Description") or DESCRIPTION,
        "Addresses": LATER,  # those of others are kept as they are found then
        "LockToken": LATER,
    }
    return _call(scope, "UpdateIPSet", parameters)


def _update_acl(aws: Aws, door: Door, *, exact: bool) -> Call:
    """Return the call that puts the rules; days later other settings may have other values."""
    settings = acl_settings(aws, door.acl)
    kept = {name: value if exact else LATER for name, value in settings.items()}
    named = {"Name": door.acl["Name"], "Id": door.acl["Id"], "Scope": door.scope}
    return _call(door.scope, "UpdateWebACL", {**kept, **named, "Rules": LATER, "LockToken": LATER})


def _call(scope: str, operation: str, parameters: dict[str, Any]) -> Call:
    region = CLOUDFRONT_REGION if scope == CLOUDFRONT else ""
    return Call(service="wafv2", operation=operation, parameters=parameters, region=region)


def _first(aws: Aws, acl: Mapping[str, Any], network: Network) -> tuple[Check, ...]:
    """Check what lets a network in before every rule of ours: rule groups of Firewall Manager."""
    groups = acl.get("PreProcessFirewallManagerRuleGroups") or ()
    letting = [
        group["Name"]
        for group in groups
        if _may_let(aws, {"Statement": group["FirewallManagerStatement"]}, network)
    ]
    told = f"{', '.join(letting)} may: see in its policy" if letting else ""
    return (Check(name=_MANAGED_FIRST, ok=not letting, detail=told),) if groups else ()


def _unforeseen(look: Callable[[], tuple[Check, ...]]) -> tuple[Check, ...]:
    """Look ahead; a rule group that may not be read is said, and keeps nothing from being done."""
    try:
        return look()
    except CloudError as error:
        if error.retryable:
            raise
        return (Check(name=_MANAGED_FIRST, ok=False, detail=str(error)),)


def _expect_ours(
    acl: Mapping[str, Any], name: str, found: Mapping[str, Any] | None, *, ours: bool
) -> None:
    rule = _rule(acl, name)
    if not rule and not ours:
        # A rule of ours would put all that others have in it into effect.
        raise Refused(
            f"IP set {name} is not of Firedoor's making, and no rule of web ACL {acl['Name']} uses"
            " it: add the rule, or remove the set"
        )
    if rule and not (found and _blocks(rule, found["ARN"])):
        raise Refused(
            f"rule {name} of web ACL {acl['Name']} does not block our set any more"
            f" ({_shown(rule)}): ask who changed it, and remove it"
        )


# What is read


def _state(plan: Plan, aws: Aws) -> State:
    name = str(plan.before["set"])
    found, acl = _ip_set(aws, _scope(plan), name), _web_acl(plan, aws)
    state: dict[tuple[str, str], JsonValue] = {}
    if found:
        state[name, "set"] = found["IPAddressVersion"]
        for block in found["Addresses"]:
            state[name, f"address {ip_network(block)}"] = "blocked"
    if acl is None:
        raise PlanStale(f"web ACL {_named(plan)['Name']} does not exist any more")
    if rule := _rule(acl, name):
        blocks = found is not None and _blocks(rule, found["ARN"])
        state[acl["Id"], f"rule {name}"] = (
            {"priority": rule["Priority"], "action": "Block", "set": name}
            if blocks
            else _shown(rule)
        )
    return state


def _rule(acl: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    rules = acl.get("Rules") or ()
    return next((rule for rule in rules if rule["Name"] == name), None)


def _blocks(rule: Mapping[str, Any], arn: str) -> bool:
    statement = rule["Statement"]
    parts = statement.get("OrStatement", {}).get("Statements", [statement])
    references = [part.get("IPSetReferenceStatement", {}).get("ARN") for part in parts]
    return "Block" in (rule.get("Action") or {}) and arn in references


def _letting(
    aws: Aws, acl: Mapping[str, Any], network: Network, before: int | None = None
) -> dict[str, Any] | None:
    """Return the first rule that may let a network in, before a priority."""
    rules: list[dict[str, Any]] = sorted(
        acl.get("Rules") or (), key=lambda rule: int(rule["Priority"])
    )
    for rule in rules:
        if before is not None and rule["Priority"] >= before:
            return None
        if _may_let(aws, rule, network):
            return rule
    return None


def _may_let(aws: Aws, rule: Mapping[str, Any], network: Network) -> bool:
    match rule["Statement"]:
        case {"RuleGroupReferenceStatement": {"ARN": str(arn)}}:
            scope = CLOUDFRONT if ":global/" in arn else "REGIONAL"
            group = _client(aws, scope).get_rule_group(ARN=arn)["RuleGroup"]
            return any(_may_let(aws, inner, network) for inner in group.get("Rules") or ())
        case {"ManagedRuleGroupStatement": managed}:
            # Managed groups do not allow anything unless told to.
            overrides = managed.get("RuleActionOverrides") or ()
            return any("Allow" in one["ActionToUse"] for one in overrides)
        case {"IPSetReferenceStatement": {"ARN": str(arn)} as reference} if (
            "Allow" in (rule.get("Action") or {}) and "IPSetForwardedIPConfig" not in reference
        ):
            return any(_overlap(ip_network(block), network) for block in _of_set(aws, arn))
        case _:
            return "Allow" in (rule.get("Action") or {})


def _overlap(one: Network, other: Network) -> bool:
    return _acl.covers(one, other) or _acl.covers(other, one)


def _of_set(aws: Aws, arn: str) -> list[str]:
    scope = CLOUDFRONT if ":global/" in arn else "REGIONAL"
    name, id = arn.split("/")[-2:]
    found = _client(aws, scope).get_ip_set(Name=name, Id=id, Scope=scope)
    return strings(found["IPSet"]["Addresses"])


def _is_from(request: Mapping[str, Any], plan: Plan) -> bool:
    """Return whether a request is from the address, by the same signs as our rule goes by."""
    signs = [request["ClientIP"]]
    if plan.before["forwarded"]:
        headers = request.get("Headers") or ()
        forwarded = [h["Value"] for h in headers if h["Name"].lower() == "x-forwarded-for"]
        signs += [value.rpartition(",")[2].strip() for value in forwarded]
    network = _network(plan)
    return any(_acl.covers(network, sign) for sign in map(_address, signs) if sign)


def _address(text: str) -> Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None  # a header says what its sender likes


def _guards(plan: Plan, aws: Aws) -> Iterator[Check]:
    """Check that the web ACL still guards what it guarded."""
    resource, arn = str(plan.before["resource"]), _named(plan)["ARN"]
    if _scope(plan) == CLOUDFRONT:
        client = aws.elsewhere(region=CLOUDFRONT_REGION).client("cloudfront")
        config = or_none(partial(client.get_distribution_config, Id=resource)) or {}
        found = config.get("DistributionConfig", {}).get("WebACLId")
    else:
        answer = _unless_gone(
            partial(aws.client("wafv2").get_web_acl_for_resource, ResourceArn=resource)
        )
        found = ((answer or {}).get("WebACL") or {}).get("ARN")
    yield Check(
        name=f"the web ACL still guards {resource}",
        ok=found == arn,
        detail=found or "no web ACL does",
    )


def _ip_set(aws: Aws, scope: str, name: str) -> dict[str, Any] | None:
    """Read an IP set by its name, with its lock token; None if there is none."""
    client = _client(aws, scope)
    for one in _listed(client, scope):
        if one["Name"] == name:
            named = {"Name": name, "Scope": scope, "Id": one["Id"]}
            answer = _unless_gone(partial(client.get_ip_set, **named))
            return {**answer["IPSet"], "LockToken": answer["LockToken"]} if answer else None
    return None


def _listed(client: Any, scope: str) -> Iterator[dict[str, Any]]:
    more: dict[str, Any] = {}
    while True:
        page = client.list_ip_sets(Scope=scope, Limit=100, **more)
        yield from page["IPSets"]
        if not page["IPSets"] or not page.get("NextMarker"):
            return
        more = {"NextMarker": page["NextMarker"]}


def _web_acl(plan: Plan, aws: Aws) -> dict[str, Any] | None:
    """Read the web ACL of a plan, with its lock token; None if it is gone."""
    named = _named(plan)
    client, where = _client(aws, _scope(plan)), {"Scope": _scope(plan)}
    answer = _unless_gone(partial(client.get_web_acl, Name=named["Name"], Id=named["Id"], **where))
    return {**answer["WebACL"], "LockToken": answer["LockToken"]} if answer else None


def _unless_gone(read: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Read what may not be there; WAF has a code of its own for that."""
    try:
        return read()
    except CloudError as error:
        if error.code != _GONE:
            raise
        return None


def _made_by_us(aws: Aws, scope: str, arn: str) -> bool:
    return "firedoor:incident" in _tags(aws, scope, arn)


def _tags(aws: Aws, scope: str, arn: str) -> dict[str, str]:
    answer = _client(aws, scope).list_tags_for_resource(ResourceARN=arn)
    return {
        tag["Key"]: tag["Value"]
        for tag in (answer.get("TagInfoForResource") or {}).get("TagList") or ()
    }


def _client(aws: Aws, scope: str) -> Any:
    region = CLOUDFRONT_REGION if scope == CLOUDFRONT else ""
    return aws.elsewhere(region=region).client("wafv2")


def _scope(plan: Plan) -> str:
    return str(plan.before["scope"])


def _named(plan: Plan) -> dict[str, str]:
    acl = plan.before["acl"]
    return {key: str(value) for key, value in acl.items()} if isinstance(acl, dict) else {}


def _network(plan: Plan) -> Network:
    return ip_network(str(plan.params["address"]))


def _shown(rule: Mapping[str, Any]) -> str:
    return f"priority {rule['Priority']}, {next(iter(rule.get('Action') or {}), 'no action')}"


# What is changed


def _expect_settings(plan: Plan, aws: Aws) -> None:
    """Raise `PlanStale` if the settings that the rule is put beside are not those of the plan."""
    acl = _web_acl(plan, aws) or {}
    (call,) = (call for call in plan.calls if call.operation == "UpdateWebACL")
    same = {"Name", "Id", "Scope", "Rules", "LockToken"}
    planned = {name: value for name, value in call.parameters.items() if name not in same}
    if acl_settings(aws, acl) != planned:
        raise PlanStale(f"settings of web ACL {_named(plan)['Name']} were changed")
    (rule,) = (c.after for c in plan.changes if c.attribute.startswith("rule "))
    priority = rule["priority"] if isinstance(rule, dict) else None
    for other in acl.get("Rules") or ():
        if other["Priority"] == priority:
            raise PlanStale(f"priority {priority} was taken by rule {other['Name']}")
    if letting := _letting(aws, acl, _network(plan), int(str(priority))):
        raise PlanStale(f"rule {letting['Name']} may let the address in before ours")


def _create_set(plan: Plan, change: Change, aws: Aws) -> None:
    if _ip_set(aws, _scope(plan), change.resource) is None:
        aws.call(planned(plan.calls, "CreateIPSet"))


def _add(plan: Plan, change: Change, aws: Aws) -> None:
    network = _network(plan)
    found = _existing(_ip_set(aws, _scope(plan), change.resource), change.resource)
    if network not in [ip_network(block) for block in found["Addresses"]]:
        _put_addresses(plan.calls, found, [*found["Addresses"], str(network)], aws)


def _put_rule(plan: Plan, change: Change, aws: Aws) -> None:
    name = str(plan.before["set"])
    acl = _existing(_web_acl(plan, aws), _named(plan)["Name"])
    found = _existing(_ip_set(aws, _scope(plan), name), name)
    if _rule(acl, name) is None and isinstance(change.after, dict):
        forwarded = bool(plan.before["forwarded"])
        rule = _made_rule(name, change.after["priority"], found["ARN"], forwarded=forwarded)
        _put_rules(plan.calls, acl, [*(acl.get("Rules") or ()), rule], aws)


def _remove(plan: Plan, change: Change, aws: Aws) -> None:
    found = _ip_set(aws, _scope(plan), change.resource)
    if found is None:
        return
    network = _network(plan)
    rest = [block for block in found["Addresses"] if ip_network(block) != network]
    if len(rest) < len(found["Addresses"]):
        _put_addresses(plan.undo, found, rest, aws)


def _clear_away(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Remove the rule and the set that Firedoor made, once nothing is in it."""
    name = str(plan.before["set"])
    found, acl = _ip_set(aws, _scope(plan), name), _web_acl(plan, aws)
    if found is None or found["Addresses"]:
        return ()
    rule = _rule(acl, name) if acl else None
    if acl and rule:
        if not _blocks(rule, found["ARN"]):
            return (f"rule {name} of web ACL {acl['Name']} was changed since: {_shown(rule)}",)
        if {*acl_settings(aws, acl)} != {*_settings_of(plan.undo)}:
            return (f"rule {name} stays with its empty set: {acl['Name']} has other settings now",)
        _put_rules(plan.undo, acl, [r for r in acl["Rules"] if r["Name"] != name], aws)
    try:
        call = planned(plan.undo, "DeleteIPSet")
        aws.call(filled(call, Id=found["Id"], LockToken=found["LockToken"]))
    except CloudError as error:
        if error.code == "WAFAssociatedItemException":
            return (f"IP set {name} is empty, and stays: something else refers to it",)
        if error.code not in {_GONE, *_RACES}:
            raise
        # Somebody put an address in meanwhile, who needs the rule that was taken away.
        now = _ip_set(aws, _scope(plan), name)
        acl = _web_acl(plan, aws)
        if now and now["Addresses"] and acl and rule and _rule(acl, name) is None:
            _put_rules(plan.undo, acl, [*(acl.get("Rules") or ()), rule], aws)
    return ()


def _put_addresses(
    calls: Sequence[Call], found: dict[str, Any], addresses: list[str], aws: Aws
) -> None:
    call = planned(calls, "UpdateIPSet")
    token = {"Id": found["Id"], "LockToken": found["LockToken"]}
    aws.call(filled(call, Addresses=addresses, **token))


def _put_rules(
    calls: Sequence[Call], acl: dict[str, Any], rules: list[dict[str, Any]], aws: Aws
) -> None:
    call = planned(calls, "UpdateWebACL")
    settings = acl_settings(aws, acl)
    expected = {key: call.parameters[key] for key in _settings_of(calls)}
    same = settings.keys() == expected.keys()
    if not same or any(expected[key] not in (LATER, settings[key]) for key in expected):
        raise PlanStale(f"web ACL {acl['Name']} has other settings than when it was planned")
    named = {name: call.parameters[name] for name in ("Name", "Id", "Scope")}
    client = _client(aws, str(named["Scope"]))
    # Rules can hold bytes, which no planned call can.
    client.update_web_acl(**settings, **named, Rules=rules, LockToken=acl["LockToken"])


def _made_rule(name: str, priority: JsonValue, arn: str, *, forwarded: bool) -> dict[str, Any]:
    direct: dict[str, Any] = {"IPSetReferenceStatement": {"ARN": arn}}
    # CloudFront appends the viewer's address; what stands before it is the viewer's own word.
    header = {"HeaderName": "X-Forwarded-For", "FallbackBehavior": "NO_MATCH", "Position": "LAST"}
    by_header = {"IPSetReferenceStatement": {"ARN": arn, "IPSetForwardedIPConfig": header}}
    return {
        "Name": name,
        "Priority": priority,
        "Statement": {"OrStatement": {"Statements": [direct, by_header]}} if forwarded else direct,
        "Action": {"Block": {}},
        "VisibilityConfig": {
            "SampledRequestsEnabled": True,
            "CloudWatchMetricsEnabled": True,
            "MetricName": name,
        },
    }


def _settings_of(calls: Sequence[Call]) -> set[str]:
    call = planned(calls, "UpdateWebACL")
    return set(call.parameters) - {"Name", "Id", "Scope", "Rules", "LockToken"}


def _existing(found: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if found is None:
        raise PlanStale(f"{name} does not exist any more")
    return found
