"""Blocking of remote addresses in the network ACLs of an EC2 instance's subnets."""

from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from pydantic import Field, model_validator

from activities.aws import _acl, _network, _ours, _reading
from activities.aws._acl import Network
from activities.aws._network import Remarks
from activities.aws._reading import GONE, counted, strings, tags, terminated
from firedoor.action import (
    Action,
    Permissions,
    outstanding,
    proof,
    receipt,
    restorable,
)
from firedoor.cloud.aws import Aws, Permit
from firedoor.errors import CloudError, NotFound, PlanStale, Refused
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import (
    Call,
    Change,
    Check,
    Outcome,
    Plan,
    Proof,
    Receipt,
    Target,
    Touched,
)

Address = IPv4Address | IPv6Address

ALWAYS = (
    "Open connections with the address stall at once, and may resume when the rules are removed",
    "The sender of UDP traffic can be forged: make sure that the address is not one that is needed",
)


class Params(Model):
    """What a runbook may set."""

    addresses: tuple[Address, ...] = Field(
        default=(), description="remote addresses; a runbook says $addresses for the finding's own"
    )
    egress: bool = Field(
        default=True, description="also deny what goes out: command channels are opened from inside"
    )
    first_rule: int = Field(
        default=1, ge=1, le=_acl.LAST_RULE, description="lowest rule number to use"
    )
    last_rule: int = Field(
        default=_acl.LAST_RULE, ge=1, le=_acl.LAST_RULE, description="highest rule number to use"
    )

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> "Params":
        if self.first_rule > self.last_rule:
            raise ValueError(f"first_rule {self.first_rule} is above last_rule {self.last_rule}")
        return self

    @property
    def band(self) -> range:
        """The rule numbers that may be used."""
        return range(self.first_rule, self.last_rule + 1)


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Deny all traffic with remote addresses in the network ACLs of the instance's subnets.

    One plan for each network ACL and address. A network ACL has no state, so this also cuts
    connections that are open.
    """
    networks = tuple(dict.fromkeys(_network_of(address) for address in params.addresses))
    if not networks:
        return ()
    reads: list[Callable[[], Any]] = [
        partial(_network.interfaces, aws, target.subject.id),
        partial(aws.pages, "ec2", "DescribeAddresses", "Addresses"),
        partial(aws.pages, "ec2", "DescribeNatGateways", "NatGateways"),
        partial(_acl.limit, aws),
    ]
    interfaces, addresses, gateways, limit = aws.together(*reads)
    if not interfaces:
        instance = _reading.instance(aws, target.subject.id)
        gone = instance is None or terminated(instance)
        return (_gone(target, params, networks),) if gone else ()
    acls, vpcs = aws.together(
        lambda: _acl.of_subnets(aws, [i["SubnetId"] for i in interfaces]),
        lambda: _network.by_filter(aws, "DescribeVpcs", "vpc-id", [i["VpcId"] for i in interfaces]),
    )
    ours = {**_ours.networks(vpcs), **_ours.addresses(interfaces, addresses, gateways)}
    plans = [
        _plan_one(target, params, acl, network, interfaces, ours, limit)
        for acl in acls
        for network in networks
    ]
    return _with_remarks(plans, acls, interfaces, aws)


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Add the deny rules that are not there yet."""
    if not plan.calls:
        return receipt(plan)
    acl = _acl.read(aws, _acl_of(plan))
    todo = outstanding(plan, _acl.state(acl))
    if todo and len(todo) == len(plan.changes):
        _expect_as_planned(plan, acl)
    with aws.only(plan.calls) as permit:
        _create(plan, todo, permit, aws)
    return receipt(plan, permit.made)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that our rules stand, that nothing before them lets the address in, and for whom."""
    return _network.settled(lambda: _look(plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Remove the deny rules that still are as we added them."""
    ours, left = restorable(plan, _acl.state(_acl.read(aws, _acl_of(plan))))
    calls = [plan.undo[-1 - plan.changes.index(change)] for change in ours]
    with aws.only(plan.undo) as permit:
        aws.together(*(partial(_delete, call, aws) for call in calls))
    return receipt(plan, permit.made, left=left)


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.INSTANCE}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            "ec2:DescribeAddresses",
            "ec2:DescribeInstances",
            "ec2:DescribeNatGateways",
            "ec2:DescribeNetworkAcls",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeVpcs",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "servicequotas:GetServiceQuota",
        ),
        apply=("ec2:CreateNetworkAclEntry", "ec2:DescribeNetworkAcls"),
        verify=("ec2:DescribeNetworkAcls",),
        revert=("ec2:DeleteNetworkAclEntry", "ec2:DescribeNetworkAcls"),
    ),
    techniques=("T1041", "T1046", "T1071", "T1110", "T1190", "T1595"),
    countermeasures=("D3-ITF", "D3-OTF"),
)


# What a plan holds


def _gone(target: Target, params: Params, networks: tuple[Network, ...]) -> Plan:
    id, addresses = target.subject.id, [str(network.network_address) for network in networks]
    return Plan(
        action="aws.block_address",
        target=target,
        lease=id,
        params={"addresses": [*addresses], "egress": params.egress},
        summary=f"{', '.join(addresses)} cannot be blocked for {id}.",
        touched=Touched(networks=networks),
        refusals=(f"{id} {GONE}, so it has no network ACL: if others need it, {_acl.ELSEWHERE}",),
    )


def _plan_one(
    target: Target,
    params: Params,
    acl: dict[str, Any],
    network: Network,
    interfaces: list[dict[str, Any]],
    ours: dict[Network, str],
    limit: int,
) -> Plan:
    acl_id = acl["NetworkAclId"]
    rules: tuple[_acl.Rule, ...] = ()
    checks: tuple[Check, ...] = ()
    refusals: tuple[str, ...] = ()
    try:
        _ours.expect_foreign(network, ours)
        rules, checks = _acl.denials(
            acl, network, band=params.band, limit=limit, egress=params.egress
        )
    except Refused as refusal:
        refusals = (str(refusal),)
    subnets = {interface["SubnetId"] for interface in interfaces}
    return Plan(
        action="aws.block_address",
        target=target,
        lease=f"{acl_id}/{network}",
        params={"address": str(network.network_address), "egress": params.egress},
        summary=_summary(acl_id, network, rules, refusals),
        before={"subnets": sorted(subnets & _acl.subnets(acl))},
        changes=tuple(rule.change for rule in rules),
        calls=tuple(rule.creation for rule in rules),
        undo=tuple(rule.deletion for rule in reversed(rules)),
        preflight=checks,
        touched=Touched(resources={acl_id: tags(acl)}, networks=(network,)),
        refusals=refusals,
    )


# What an approver reads


def _summary(
    acl: str, network: Network, rules: tuple[_acl.Rule, ...], refusals: tuple[str, ...]
) -> str:
    address = network.network_address
    if refusals:
        return f"{address} cannot be blocked in {acl}."
    if not rules:
        return f"{acl} denies {address} already."
    places = " and ".join(rule.change.attribute for rule in rules)
    return f"Deny all traffic with {address} in {acl} (rule {places})."


def _with_remarks(
    plans: Sequence[Plan], acls: list[dict[str, Any]], interfaces: list[dict[str, Any]], aws: Aws
) -> tuple[Plan, ...]:
    firsts = {_acl_of(plan): plan.calls[0] for plan in reversed(plans) if plan.calls}
    balancers, behind, *allowed = aws.together(
        lambda: _network.tried("load balancers", lambda: _balanced(interfaces, aws)),
        lambda: _network.tried("who else is behind the ACL", lambda: _behind(acls, aws)),
        *(partial(_may, call, aws) for call in firsts.values()),
    )
    may = dict(zip(firsts, allowed, strict=True))
    crowds = dict(zip((acl["NetworkAclId"] for acl in acls), behind.blast_radius, strict=False))
    return tuple(
        plan.model_copy(
            update={
                "blast_radius": (
                    crowds.get(_acl_of(plan), "Who else is behind it is not known"),
                    *ALWAYS,
                ),
                "preflight": (
                    *may[_acl_of(plan)].preflight,
                    *plan.preflight,
                    *balancers.preflight,
                    *behind.preflight,
                ),
            }
        )
        if plan.calls
        else plan
        for plan in plans
    )


def _behind(acls: list[dict[str, Any]], aws: Aws) -> Remarks:
    subnets = [subnet for acl in acls for subnet in _acl.subnets(acl)]
    interfaces = _network.by_filter(aws, "DescribeNetworkInterfaces", "subnet-id", subnets)
    lines = []
    for acl in acls:
        here = [i for i in interfaces if i["SubnetId"] in _acl.subnets(acl)]
        instances = {(i.get("Attachment") or {}).get("InstanceId") for i in here} - {None}
        shared = ", the VPC's default," if acl["IsDefault"] else ""
        lines.append(
            f"{acl['NetworkAclId']}{shared} rules {counted(len(_acl.subnets(acl)), 'subnet')} with"
            f" {counted(len(instances), 'instance')} and"
            f" {counted(len(here), 'network interface')}: the address is denied to all of them"
        )
    return Remarks(blast_radius=tuple(lines))


def _balanced(interfaces: list[dict[str, Any]], aws: Aws) -> Remarks:
    fronts = [
        f"{group['TargetGroupName']} behind {arn.partition('loadbalancer/')[2]}"
        for group, _ in _network.target_groups(aws, interfaces, _network.MOST_TARGET_GROUPS)
        for arn in group["LoadBalancerArns"]
        if _hides_clients(group)
    ]
    return Remarks(
        preflight=tuple(
            Check(
                name="sees the client's address",
                ok=False,
                detail=f"it serves {front}: the load balancer's clients do not show here by their"
                " own addresses, so block them in its subnets or in AWS WAF",
            )
            for front in fronts
        )
    )


def _hides_clients(group: dict[str, Any]) -> bool:
    # Application load balancers do; network ones, unless told otherwise, only from address targets.
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html
    protocol = group.get("Protocol")
    return protocol in {"HTTP", "HTTPS"} or (
        group.get("TargetType") == "ip" and protocol in {"TCP", "TLS"}
    )


def _may(call: Call, aws: Aws) -> Remarks:
    return Remarks(preflight=(aws.allowed(call),))


# What is read


def _acl_of(plan: Plan) -> str:
    return plan.lease.partition("/")[0]


def _look(plan: Plan, aws: Aws) -> Proof:
    acl = _acl.read(aws, _acl_of(plan))
    now = _acl.state(acl)
    checks = [
        Check(
            name=f"{change.resource} {change.attribute} is ours",
            ok=now.get((change.resource, change.attribute)) == change.after,
            detail=str(now.get((change.resource, change.attribute)) or "no such rule"),
        )
        for change in plan.changes
    ]
    network = _blocked_network(plan)
    for egress in _acl.directions(egress=bool(plan.params["egress"])):
        first = _acl.first_allow(acl, network, egress=egress)
        checks.append(
            Check(
                name=f"{_acl.direction(egress)} denies {network}",
                ok=first is None,
                detail=f"rule {first} allows it" if first else "",
            )
        )
    moved = _moved_subnets(plan, acl)
    checks.append(Check(name="subnets still use this ACL", ok=not moved, detail=", ".join(moved)))
    return proof(plan, checks)


def _moved_subnets(plan: Plan, acl: dict[str, Any]) -> list[str]:
    return [s for s in strings(plan.before["subnets"]) if s not in _acl.subnets(acl)]


def _blocked_network(plan: Plan) -> Network:
    return ip_network(str(plan.params["address"]))


def _network_of(address: Address) -> Network:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return ip_network(mapped or address)


# What is changed


def _expect_as_planned(plan: Plan, acl: dict[str, Any]) -> None:
    if moved := _moved_subnets(plan, acl):
        raise PlanStale(
            f"{', '.join(moved)} uses another network ACL than {acl['NetworkAclId']} now"
        )
    network = _blocked_network(plan)
    for call in plan.calls:
        number, egress = call.parameters["RuleNumber"], bool(call.parameters["Egress"])
        first = _acl.first_allow(acl, network, egress=egress)
        if first is not None and first < int(str(number)):
            raise PlanStale(
                f"rule {first} of {acl['NetworkAclId']} allows {network} before {number}"
            )


def _create(plan: Plan, todo: tuple[Change, ...], permit: Permit, aws: Aws) -> None:
    calls = [plan.calls[plan.changes.index(change)] for change in todo]
    taken = [error for error in aws.together(*(partial(_add, c, aws) for c in calls)) if error]
    if not taken:
        return
    # Somebody was faster, which is fine if it was with the same rule.
    now = _acl.state(_acl.read(aws, _acl_of(plan)))
    others = [c for c in todo if now.get((c.resource, c.attribute)) != c.after]
    if not others:
        return
    if any(call.outcome is Outcome.OK for call in permit.made):
        raise taken[0]  # PlanStale would say that nothing was done
    raise PlanStale(f"{others[0].resource} {others[0].attribute} was taken by another rule")


def _add(call: Call, aws: Aws) -> CloudError | None:
    try:
        aws.call(call)
    except CloudError as error:
        if error.code != "NetworkAclEntryAlreadyExists":
            raise
        return error
    return None


def _delete(call: Call, aws: Aws) -> None:
    try:
        aws.call(call)
    except NotFound:
        return  # removed meanwhile, as was wanted
