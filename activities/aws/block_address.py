"""Blocking of remote addresses where an instance's traffic with them really goes by."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any

from pydantic import Field, JsonValue, model_validator

from activities.aws import (
    _acl,
    _firewall,
    _flows,
    _layers,
    _network,
    _ours,
    _preflight,
    _reading,
    _subnets,
)
from activities.aws import _waf as _web
from activities.aws._acl import Network
from activities.aws._firewall import Firewall
from activities.aws._layer import Parts
from activities.aws._layers import Crossing, Open, Subnets
from activities.aws._reading import GONE, counted, strings, terminated
from activities.aws._waf import Door
from activities.aws._window import Window, in_force, pending, proven, silent, stamp, unproven
from firedoor.action import Action, Permissions, receipt
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, PlanStale, Refused
from firedoor.guard import WIDEST
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import Call, Check, Plan, Proof, Receipt, Target, Touched
from firedoor.settings import settings

Address = IPv4Address | IPv6Address

RESERVE = 2
"""Rules of an ACL that are left for people, and for what else must be denied during a flood."""

# A /28 is the least that hosters give to one customer by the piece, and holds 16 addresses; one
# host of IPv6 has a /64, within which it changes its address as it likes.
WIDEST_V4, WIDEST_V6 = 28, 64


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
    reserve: int = Field(
        default=RESERVE, ge=0, description="rules that are left free, by direction and family"
    )
    widest: int = Field(
        default=WIDEST_V4,
        ge=WIDEST[4],
        le=32,
        description="shortest prefix of an IPv4 block that joins addresses which find no room",
    )
    widest_v6: int = Field(
        default=WIDEST_V6, ge=WIDEST[6], le=128, description="the same of an IPv6 block"
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
    """Deny all traffic with remote addresses where it crosses into the instance's network.

    One plan for each place and address: the web ACL or the subnets of a load balancer that hides
    its clients from the instance, and the network ACLs of the instance's own subnets, unless nobody
    can come there. An ACL that is full passes on to a Network Firewall on the route, or takes
    neighbouring addresses of the same step as one block. What stands is never removed for what
    comes: an entry of an ACL does not say whose it is, and a flood of addresses would push it out.
    """
    networks = tuple(dict.fromkeys(_network_of(address) for address in params.addresses))
    if not networks:
        return ()
    interfaces = _network.interfaces(aws, target.subject.id)
    if not interfaces:
        instance = _reading.instance(aws, target.subject.id)
        gone = instance is None or terminated(instance)
        return (_gone(target, params, networks),) if gone else ()
    around = _look_around(interfaces, params, aws)
    planner = _Planner(target, params, aws, around)
    plans = [made for one in around.crossings for made in planner.at(one, networks)]
    # A subnet can be both the instance's own and that of its load balancer.
    by_lease = {made.lease: made for made in reversed(plans)}
    return _with_remarks(
        [by_lease[lease] for lease in dict.fromkeys(p.lease for p in plans)], around, aws
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Make what is not there yet, in the layer that the plan is about."""
    if not plan.calls:
        return receipt(plan)
    left: tuple[str, ...] = ()
    with aws.only(plan.calls) as permit:
        match _layer_of(plan):
            case "waf":
                _web.apply(plan, aws)
            case "firewall":
                left = _firewall.apply(plan, aws)
            case _:
                _subnets.apply(plan, permit, aws)
    return receipt(plan, permit.made, left=left)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Evaluate the layer's rules in their order, and see in the logs whether anything passes."""
    checks = _settled(lambda: _look(plan, aws))
    if not all(check.ok for check in checks):
        return proven(plan, checks)
    return proven(plan, checks, _window(plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Take back what still is as we made it, in the layer that the plan is about."""
    with aws.only(plan.undo) as permit:
        match _layer_of(plan):
            case "waf":
                left = _web.revert(plan, aws)
            case "firewall":
                left = _firewall.revert(plan, aws)
            case _:
                left = _subnets.revert(plan, aws)
    return receipt(plan, permit.made, left=left)


_WAF = ("wafv2:GetIPSet", "wafv2:GetWebACL", "wafv2:ListIPSets", "wafv2:ListTagsForResource")
_WAF_RULES = ("wafv2:GetRuleGroup", "wafv2:GetWebACLForResource")
_FIREWALL = (
    "network-firewall:DescribeFirewall",
    "network-firewall:DescribeFirewallPolicy",
    "network-firewall:DescribeRuleGroup",
)

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
            "cloudfront:ListDistributions",
            "ec2:DescribeAddresses",
            "ec2:DescribeInstances",
            "ec2:DescribeManagedPrefixLists",
            "ec2:DescribeNatGateways",
            "ec2:DescribeNetworkAcls",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeRouteTables",
            "ec2:DescribeVpcs",
            "ec2:GetManagedPrefixListEntries",
            "elasticloadbalancing:DescribeLoadBalancers",
            "elasticloadbalancing:DescribeTargetGroupAttributes",
            "elasticloadbalancing:DescribeTargetGroups",
            "elasticloadbalancing:DescribeTargetHealth",
            "network-firewall:ListFirewalls",
            "servicequotas:GetServiceQuota",
            *_preflight.PERMISSIONS,
            *_FIREWALL,
            *_WAF,
            *_WAF_RULES,
        ),
        apply=(
            "ec2:CreateNetworkAclEntry",
            "ec2:DescribeNetworkAcls",
            "network-firewall:CreateRuleGroup",
            "network-firewall:DescribeFlowOperation",
            "network-firewall:ListFlowOperations",
            "network-firewall:StartFlowFlush",
            "network-firewall:TagResource",
            "network-firewall:UpdateFirewallPolicy",
            "network-firewall:UpdateRuleGroup",
            "wafv2:CreateIPSet",
            "wafv2:TagResource",
            "wafv2:UpdateIPSet",
            "wafv2:UpdateWebACL",
            "wafv2:GetRuleGroup",
            *_FIREWALL,
            *_WAF,
        ),
        verify=tuple(
            sorted(
                {
                    "cloudfront:GetDistributionConfig",
                    "ec2:DescribeNetworkAcls",
                    "wafv2:GetSampledRequests",
                    *_FIREWALL,
                    *_WAF,
                    *_WAF_RULES,
                    *_flows.PERMISSIONS,
                }
            )
        ),
        revert=(
            "ec2:DeleteNetworkAclEntry",
            "ec2:DescribeNetworkAcls",
            "network-firewall:DeleteRuleGroup",
            "network-firewall:UpdateFirewallPolicy",
            "network-firewall:UpdateRuleGroup",
            "wafv2:DeleteIPSet",
            "wafv2:UpdateIPSet",
            "wafv2:UpdateWebACL",
            *_FIREWALL,
            *_WAF,
        ),
    ),
    techniques=("T1041", "T1046", "T1071", "T1110", "T1190", "T1595"),
    countermeasures=("D3-ITF", "D3-OTF"),
)


# What is read


@dataclass(frozen=True)
class _Around:
    """What plans for an instance are made from."""

    interfaces: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]
    crossings: tuple[Crossing, ...]
    acls: list[dict[str, Any]]
    ours: dict[Network, str]
    services: dict[Network, str]
    limit: int
    unseen: tuple[Check, ...]


def _look_around(interfaces: list[dict[str, Any]], params: Params, aws: Aws) -> _Around:
    vpcs = {interface["VpcId"] for interface in interfaces}
    reads: list[Callable[[], Any]] = [
        partial(_network.by_filter, aws, "DescribeNetworkInterfaces", "vpc-id", vpcs),
        partial(aws.pages, "ec2", "DescribeAddresses", "Addresses"),
        partial(aws.pages, "ec2", "DescribeNatGateways", "NatGateways"),
        partial(aws.pages, "ec2", "DescribeVpcs", "Vpcs"),
        partial(_acl.limit, aws),
        partial(_tried, "addresses of AWS services", partial(_ours.services, aws), {}),
        partial(_tried, "load balancers", partial(_layers.fronts, aws, interfaces), ()),
    ]
    neighbours, elastic, gateways, found, limit, services, fronts = aws.together(*reads)
    # What an instance opens itself goes out of its own subnets, whatever its clients come through.
    needed = params.egress or not fronts[0] or any(map(_layers.is_reachable, interfaces))
    own = (_layers.own(interfaces),) if needed else ()
    subnets = [id for one in (*fronts[0], *own) if isinstance(one, Subnets) for id in one.ids]
    known = {i["NetworkInterfaceId"]: i for i in (*neighbours, *interfaces)}
    return _Around(
        interfaces=interfaces,
        neighbours=list(known.values()),
        crossings=(*fronts[0], *own),
        acls=_acl.of_subnets(aws, subnets) if subnets else [],
        ours={
            **_ours.networks(found),
            **_ours.addresses(list(known.values()), elastic, gateways),
        },
        services=services[0],
        limit=limit[0],
        unseen=(*limit[1], *services[1], *fronts[1]),
    )


def _tried(name: str, look: Callable[[], Any], otherwise: Any) -> tuple[Any, tuple[Check, ...]]:
    """Read what helps to plan; containment does not wait for it."""
    try:
        return look(), ()
    except (CloudError, Refused) as error:
        return otherwise, (Check(name=name, ok=False, detail=str(error)),)


# What plans hold


@dataclass(frozen=True)
class _Planner:
    """Makes the plans of one step, place by place."""

    target: Target
    params: Params
    aws: Aws
    around: _Around

    def at(self, crossing: Crossing, networks: Sequence[Network]) -> Iterator[Plan]:
        """Plan to block networks at one place."""
        match crossing:
            case Open(way, instead):
                for network in networks:
                    yield self._refused(f"{way}/{network}", way, network, f"{way}: {instead}")
            case Door():
                where = f"web ACL {crossing.acl['Name']}"
                for network in networks:
                    make = partial(_web.denial, self.aws, crossing, network, self.target)
                    lease = f"webacl/{crossing.acl['Name']}/{crossing.acl['Id']}/{network}"
                    yield self._made(lease, where, network, make)
            case Subnets():
                for acl in self.around.acls:
                    if set(crossing.ids) & _acl.subnets(acl):
                        yield from self._in_acl(acl, crossing, networks)

    def _in_acl(
        self, acl: dict[str, Any], subnets: Subnets, networks: Sequence[Network]
    ) -> Iterator[Plan]:
        for network, firewall in self._fitted(acl, subnets, networks):
            if firewall:
                name = firewall.response["FirewallPolicyName"]
                make = partial(_firewall.denial, self.aws, firewall, network, self.target)
                lease = f"firewall-policy/{name}/{network}"
                yield self._made(lease, f"firewall policy {name}", network, make)
            else:
                make = partial(
                    _subnets.denial,
                    acl,
                    network,
                    self._all_subnets(),
                    subnets.balancer,
                    band=self.params.band,
                    limit=self.around.limit,
                    reserve=self.params.reserve,
                    egress=self.params.egress,
                )
                id = acl["NetworkAclId"]
                yield self._made(f"{id}/{network}", id, network, make)

    def _all_subnets(self) -> list[str]:
        crossings = self.around.crossings
        return [id for one in crossings if isinstance(one, Subnets) for id in one.ids]

    def _fitted(
        self, acl: dict[str, Any], subnets: Subnets, networks: Sequence[Network]
    ) -> Iterator[tuple[Network, Firewall | None]]:
        """Return what to deny in an ACL, and what finds no room there and goes to a firewall."""
        fits: list[Network] = []
        for version in (4, 6):
            alike = [network for network in networks if network.version == version]
            missing = [network for network in alike if self._is_missing(acl, network)]
            free = self._room(acl, missing)
            if len(missing) <= free:
                fits += alike
                continue
            vpc = acl["VpcId"]
            look = partial(_firewall.on_route, self.aws, vpc, subnets.ids)
            firewall, _ = _tried("firewalls on the route", look, None)
            if firewall:
                over = missing[free:]
                fits += [network for network in alike if network not in over]
                yield from ((network, firewall) for network in over)
            else:
                fits += [network for network in alike if network not in missing]
                fits += self._joined(missing, free)
        yield from ((network, None) for network in fits)

    def _is_missing(self, acl: dict[str, Any], network: Network) -> bool:
        return self._objection(network) is None and any(
            _acl.first_allow(acl, network, egress=egress) is not None
            for egress in _acl.directions(egress=self.params.egress)
        )

    def _room(self, acl: dict[str, Any], networks: Sequence[Network]) -> int:
        params = self.params
        if not networks:
            return 0
        return _acl.room(
            acl,
            networks[0],
            limit=self.around.limit,
            reserve=params.reserve,
            egress=params.egress,
        )

    def _joined(self, networks: Sequence[Network], free: int) -> list[Network]:
        """Join neighbours into blocks; never those with an address between that we need."""
        widest = self.params.widest if networks[0].version == 4 else self.params.widest_v6
        kept_out = (*self.around.ours, *self.around.services, *self.aws.protected)
        blocks = _acl.merged(networks, free, widest, kept_out)
        # The blocks that hold most come first: they find the room that there is.
        held = {block: sum(_acl.covers(block, one) for one in networks) for block in blocks}
        return sorted(blocks, key=lambda block: -held[block])

    def _objection(self, network: Network) -> str | None:
        try:
            _ours.expect_foreign(network, self.around.ours)
            _ours.expect_no_service(network, self.around.services)
        except Refused as refusal:
            return str(refusal)
        return None

    def _made(self, lease: str, where: str, network: Network, make: Callable[[], Parts]) -> Plan:
        if objection := self._objection(network):
            return self._refused(lease, where, network, objection)
        try:
            parts = make()
        except Refused as refusal:
            return self._refused(lease, where, network, str(refusal))
        except CloudError as error:
            if error.retryable:
                raise
            return self._refused(lease, where, network, str(error))  # the other places go on
        address = _ours.shown(network)
        return Plan(
            action="aws.block_address",
            target=self.target,
            lease=parts.lease,
            params=self._params(network),
            summary=f"Deny all traffic with {address} in {parts.places}."
            if parts.calls
            else f"{where} denies {address} already.",
            before=parts.before,
            changes=parts.changes,
            calls=parts.calls,
            undo=parts.undo,
            blast_radius=(*parts.blast_radius, *_width(network)),
            preflight=parts.preflight,
            lost=parts.lost,
            touched=Touched(resources=parts.resources, networks=(network,)),
        )

    def _refused(self, lease: str, where: str, network: Network, why: str) -> Plan:
        return Plan(
            action="aws.block_address",
            target=self.target,
            lease=lease,
            params=self._params(network),
            summary=f"{_ours.shown(network)} cannot be blocked in {where}.",
            touched=Touched(networks=(network,)),
            refusals=(why,),
        )

    def _params(self, network: Network) -> dict[str, JsonValue]:
        return {"address": _ours.shown(network), "egress": self.params.egress}


def _gone(target: Target, params: Params, networks: tuple[Network, ...]) -> Plan:
    id, addresses = target.subject.id, [_ours.shown(network) for network in networks]
    return Plan(
        action="aws.block_address",
        target=target,
        lease=id,
        params={"addresses": [*addresses], "egress": params.egress},
        summary=f"{', '.join(addresses)} cannot be blocked for {id}.",
        touched=Touched(networks=networks),
        refusals=(f"{id} {GONE}, so it has no network ACL: if others need it, {_acl.ELSEWHERE}",),
        gone=True,
    )


def _network_of(address: Address) -> Network:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return ip_network(mapped or address)


# What an approver reads


def _width(network: Network) -> Iterator[str]:
    if network.num_addresses > 1:
        yield (
            f"{network} joins neighbours that found no room one by one: it denies"
            f" {network.num_addresses} addresses, whoever has the others"
        )


def _with_remarks(plans: Sequence[Plan], around: _Around, aws: Aws) -> tuple[Plan, ...]:
    firsts = {_subnets.acl_of(plan): plan.calls[0] for plan in reversed(plans) if _in_an_acl(plan)}
    allowed = aws.together(*(partial(_may, call, aws) for call in firsts.values()))
    may = dict(zip(firsts, allowed, strict=True))
    crowds = {acl["NetworkAclId"]: _behind(acl, around.neighbours) for acl in around.acls}
    asked = iter(_preflight.asked([plan for plan in plans if not _in_an_acl(plan)], aws))
    return tuple(
        _with_its_remarks(plan if _in_an_acl(plan) else next(asked), may, crowds, around)
        for plan in plans
    )


def _with_its_remarks(
    plan: Plan, may: Mapping[str, Check], crowds: Mapping[str, str], around: _Around
) -> Plan:
    if not plan.calls:
        return plan
    blast_radius, preflight = plan.blast_radius, (*plan.preflight, *around.unseen)
    if _in_an_acl(plan):
        acl = _subnets.acl_of(plan)
        blast_radius, preflight = (crowds[acl], *blast_radius), (may[acl], *preflight)
    return plan.model_copy(update={"blast_radius": blast_radius, "preflight": preflight})


def _in_an_acl(plan: Plan) -> bool:
    return bool(plan.calls) and _layer_of(plan) == "acl"


def _behind(acl: dict[str, Any], interfaces: Iterable[dict[str, Any]]) -> str:
    here = [i for i in interfaces if i["SubnetId"] in _acl.subnets(acl)]
    instances = {(i.get("Attachment") or {}).get("InstanceId") for i in here} - {None}
    shared = ", the VPC's default," if acl["IsDefault"] else ""
    return (
        f"{acl['NetworkAclId']}{shared} rules {counted(len(_acl.subnets(acl)), 'subnet')} with"
        f" {counted(len(instances), 'instance')} and"
        f" {counted(len(here), 'network interface')}: the address is denied to all of them"
    )


def _may(call: Call, aws: Aws) -> Check:
    return aws.allowed(call)


# What is read back


def _layer_of(plan: Plan) -> str:
    return str(plan.before.get("layer", "acl"))


def _look(plan: Plan, aws: Aws) -> tuple[Check, ...]:
    match _layer_of(plan):
        case "waf":
            return _web.look(plan, aws)
        case "firewall":
            return _firewall.look(plan, aws)
        case _:
            return _subnets.look(plan, aws)


def _settled(look: Callable[[], tuple[Check, ...]]) -> tuple[Check, ...]:
    """Read back, and again before saying that something is wrong: answers lag behind changes."""
    checks = look()
    if all(check.ok for check in checks):
        return checks
    time.sleep(_network.SETTLE)
    return look()


def _window(plan: Plan, aws: Aws) -> Window:
    """Return what logs say of traffic with the address since the plan was made."""
    since, now = plan.target.at, datetime.now(UTC)
    if _layer_of(plan) == "waf":
        return _sampled(plan, since, now, aws)
    try:
        interfaces = _seeing(plan, aws)
    except CloudError as error:
        return unproven(_flows.NAME, str(error))
    ids = [interface["NetworkInterfaceId"] for interface in interfaces]
    return _flows.dark(aws, ids, since, now, remotes=[_subnets.network_of(plan)])


def _seeing(plan: Plan, aws: Aws) -> list[dict[str, Any]]:
    """Read the interfaces that would see packets of the address, if any came through."""
    if not plan.before.get("balancer"):
        return _network.interfaces(aws, plan.target.subject.id)
    subnets = strings(plan.before["subnets"])
    found = _network.by_filter(aws, "DescribeNetworkInterfaces", "subnet-id", subnets)
    return [one for one in found if str(one.get("Description", "")).startswith("ELB ")]


def _sampled(plan: Plan, since: datetime, now: datetime, aws: Aws) -> Window:
    """Judge by the requests that WAF samples: flow logs show the denied ones as accepted too."""
    name, length = "sampled requests", settings().proof_window_network
    since, excused = in_force(aws, since)
    try:
        last = _web.let_in(plan, aws, since)
    except (CloudError, PlanStale, Refused) as error:
        return unproven(name, str(error))
    quiet = max(since, last) if last else since
    if last and last > excused and now - last < length:
        return unproven(name, f"a request was let in at {stamp(last)}", quiet)
    if now - quiet < length:
        return pending(name, "none was let in so far", quiet, quiet + length)
    return silent(name, "none was let in, of those that were sampled", quiet)
