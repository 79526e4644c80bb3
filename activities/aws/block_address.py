"""Blocking of remote addresses in the network ACLs of an EC2 instance's subnets."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any

from pydantic import Field, JsonValue, model_validator

from activities.aws import _network
from activities.aws._network import Remarks, counted
from firedoor.action import Action, Permissions, State, outstanding, restorable
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
    Verdict,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Not `is_private`, which also holds for the ranges reserved for documentation.
# https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry
NEVER: dict[str, tuple[Network, ...]] = {
    "a private address (RFC 1918)": tuple(
        map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    ),
    "a shared address (RFC 6598)": (ip_network("100.64.0.0/10"),),
    "a unique local address (RFC 4193)": (ip_network("fc00::/7"),),
    "a loopback address": tuple(map(ip_network, ("127.0.0.0/8", "::1/128"))),
    # AWS's resolver, time and metadata services are here.
    "a link-local address": tuple(map(ip_network, ("169.254.0.0/16", "fe80::/10"))),
    "a multicast address": tuple(map(ip_network, ("224.0.0.0/4", "ff00::/8"))),
    "an unspecified or reserved address": tuple(
        map(ip_network, ("0.0.0.0/8", "240.0.0.0/4", "::/128"))
    ),
}

QUOTA = "L-2AEEBF1A"  # rules per network ACL: for each direction, and for each family
DEFAULT_QUOTA = 20
LAST_RULE = 32766  # what comes after are the default rules, which cannot be changed but do count

ALWAYS = (
    "Open connections with the address stall at once, and may resume when the rules are removed",
    "The sender of UDP traffic can be forged: make sure that the address is not one that is needed",
)

ELSEWHERE = "block it in AWS WAF, Network Firewall or a security group with a prefix list"


class Params(Model):
    """What a runbook may set."""

    addresses: tuple[Address, ...] = Field(
        default=(), description="remote addresses; a runbook says $addresses for the finding's own"
    )
    egress: bool = Field(
        default=True, description="also deny what goes out: command channels are opened from inside"
    )
    first_rule: int = Field(default=1, ge=1, le=LAST_RULE, description="lowest rule number to use")
    last_rule: int = Field(
        default=LAST_RULE, ge=1, le=LAST_RULE, description="highest rule number to use"
    )

    @model_validator(mode="after")
    def _band_is_not_empty(self) -> "Params":
        if self.first_rule > self.last_rule:
            raise ValueError(f"first_rule {self.first_rule} is above last_rule {self.last_rule}")
        return self


@dataclass(frozen=True)
class Rule:
    """One deny rule, as it is shown, made and removed."""

    acl: str
    network: Network
    number: int
    egress: bool

    @property
    def change(self) -> Change:
        """The rule as a difference in the ACL."""
        after: JsonValue = {"cidr": str(self.network), "action": "deny", "protocol": "-1"}
        attribute = f"{_direction(self.egress)} {self.number}"
        return Change(resource=self.acl, attribute=attribute, before=None, after=after)

    @property
    def entry(self) -> dict[str, JsonValue]:
        """The rule as EC2 takes and describes it."""
        return {
            "RuleNumber": self.number,
            "Egress": self.egress,
            "Protocol": "-1",
            "RuleAction": "deny",
            _cidr_member(self.network): str(self.network),
        }

    @property
    def creation(self) -> Call:
        """The call that adds it."""
        return Call(
            service="ec2",
            operation="CreateNetworkAclEntry",
            parameters={"NetworkAclId": self.acl, **self.entry},
        )

    @property
    def deletion(self) -> Call:
        """The call that removes it."""
        return Call(
            service="ec2",
            operation="DeleteNetworkAclEntry",
            parameters={
                "NetworkAclId": self.acl,
                "RuleNumber": self.number,
                "Egress": self.egress,
            },
        )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Deny all traffic with remote addresses in the network ACLs of the instance's subnets.

    One plan for each network ACL and address. A network ACL has no state, so this also cuts
    connections that are open.
    """
    networks = tuple(dict.fromkeys(_network_of(address) for address in params.addresses))
    if not networks:
        return ()
    interfaces, addresses, gateways, quotas = aws.together(
        lambda: _network.interfaces(aws, target.subject.id),
        lambda: aws.pages("ec2", "DescribeAddresses", "Addresses"),
        lambda: aws.pages("ec2", "DescribeNatGateways", "NatGateways"),
        lambda: _quotas(aws),
    )
    if not interfaces:
        return ()
    acls, vpcs = aws.together(
        lambda: _acls(aws, [i["SubnetId"] for i in interfaces]),
        lambda: _network.by_filter(aws, "DescribeVpcs", "vpc-id", [i["VpcId"] for i in interfaces]),
    )
    ours = {**_own_networks(vpcs), **_own_addresses(interfaces, addresses, gateways)}
    limit = int(quotas[0]["Value"]) if quotas else DEFAULT_QUOTA
    plans = [
        _plan_one(target, params, acl, network, interfaces, ours, limit)
        for acl in acls
        for network in networks
    ]
    return _with_remarks(plans, acls, interfaces, aws)


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Add the deny rules that are not there yet."""
    if not plan.calls:
        return Receipt(plan_digest=plan.digest, at=datetime.now(UTC))
    acl = _acl(plan, aws)
    todo = outstanding(plan, _state(acl))
    if todo and len(todo) == len(plan.changes):
        _expect_as_planned(plan, acl)
    with aws.only(plan.calls) as permit:
        if todo:
            _create(plan, todo, permit, aws)
    return Receipt(plan_digest=plan.digest, at=datetime.now(UTC), calls=tuple(permit.made))


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that our rules stand, that nothing before them lets the address in, and for whom."""
    return _network.settled(lambda: _look(plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Remove the deny rules that still are as we added them."""
    ours, left = restorable(plan, _state(_acl(plan, aws)))
    calls = [plan.undo[-1 - plan.changes.index(change)] for change in ours]
    with aws.only(plan.undo) as permit:
        if calls:
            aws.together(*(partial(_delete, call, aws) for call in calls))
    return Receipt(
        plan_digest=plan.digest, at=datetime.now(UTC), calls=tuple(permit.made), left=left
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
            "ec2:DescribeAddresses",
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
    rules: tuple[Rule, ...] = ()
    checks: tuple[Check, ...] = ()
    refusals: tuple[str, ...] = ()
    try:
        _expect_foreign(network, ours)
        rules, checks = _rules(params, acl, network, limit)
    except Refused as refusal:
        refusals = (str(refusal),)
    subnets = {interface["SubnetId"] for interface in interfaces}
    return Plan(
        action="aws.block_address",
        target=target,
        lease=f"{acl_id}/{network}",
        params={"address": str(network.network_address), "egress": params.egress},
        summary=_summary(acl_id, network, rules, refusals),
        before={"subnets": sorted(subnets & _subnets(acl))},
        changes=tuple(rule.change for rule in rules),
        calls=tuple(rule.creation for rule in rules),
        undo=tuple(rule.deletion for rule in reversed(rules)),
        preflight=checks,
        touched=Touched(resources={acl_id: _network.tags(acl)}, networks=(network,)),
        refusals=refusals,
    )


def _rules(
    params: Params, acl: dict[str, Any], network: Network, limit: int
) -> tuple[tuple[Rule, ...], tuple[Check, ...]]:
    rules, checks = [], []
    for egress in _directions(params.egress):
        first = _first_allow(acl["Entries"], network, egress=egress)
        if first is None:
            continue  # denied already
        checks.append(_room(acl, network, limit, egress=egress))
        number = _free_number(acl, params, first, egress=egress)
        rules.append(Rule(acl["NetworkAclId"], network, number, egress))
    # The next address of the same step finds these numbers taken. A refused one takes none.
    acl["Entries"] += [rule.entry for rule in rules]
    return tuple(rules), tuple(checks)


def _free_number(acl: dict[str, Any], params: Params, first_allow: int, *, egress: bool) -> int:
    taken = {entry["RuleNumber"] for entry in acl["Entries"] if entry["Egress"] == egress}
    end = min(first_allow, params.last_rule + 1)
    for number in range(params.first_rule, end):
        if number not in taken:
            return number
    raise Refused(
        f"{acl['NetworkAclId']} {_direction(egress)} has no free rule number between"
        f" {params.first_rule} and {params.last_rule} before rule {first_allow}, which allows the"
        f" address: renumber that rule, or {ELSEWHERE}"
    )


def _room(acl: dict[str, Any], network: Network, limit: int, *, egress: bool) -> Check:
    # The default rule `*` counts, and IPv4 and IPv6 count separately.
    # https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
    alike = [
        entry
        for entry in acl["Entries"]
        if entry["Egress"] == egress and _cidr_member(network) in entry
    ]
    usable, used = limit - 1, sum(entry["RuleNumber"] <= LAST_RULE for entry in alike)
    where = f"{acl['NetworkAclId']} {_direction(egress)} (IPv{network.version})"
    if used >= usable:
        raise Refused(f"{where} is full, {used} of {usable} rules used: {ELSEWHERE}")
    return Check(name=f"room in {where}", ok=True, detail=f"{used} of {usable} rules used")


# What must not be blocked


def _expect_foreign(network: Network, ours: dict[Network, str]) -> None:
    for what, ranges in NEVER.items():
        if any(_covers(one, network) for one in ranges):
            raise Refused(f"{network.network_address} is {what} and is never blocked")
    for one, what in ours.items():
        if _covers(one, network):
            raise Refused(f"{network.network_address} is our own, {what}, and is never blocked")


def _own_networks(vpcs: list[dict[str, Any]]) -> dict[Network, str]:
    blocks = [
        (association[member], vpc["VpcId"])
        for vpc in vpcs
        for key, member in (
            ("CidrBlockAssociationSet", "CidrBlock"),
            ("Ipv6CidrBlockAssociationSet", "Ipv6CidrBlock"),
        )
        for association in vpc.get(key) or ()
    ]
    return {ip_network(block): f"in {block} of {vpc}" for block, vpc in blocks}


def _own_addresses(
    interfaces: list[dict[str, Any]],
    addresses: list[dict[str, Any]],
    gateways: list[dict[str, Any]],
) -> dict[Network, str]:
    own: dict[Network, str] = {}
    for interface in interfaces:
        for address in _network.addresses(interface):
            own[ip_network(address)] = f"of {interface['NetworkInterfaceId']}"
    for elastic in addresses:
        if public := elastic.get("PublicIp"):
            own[ip_network(public)] = f"the elastic address {elastic.get('AllocationId', public)}"
    for gateway in gateways:
        if gateway["State"] in {"pending", "available"}:
            for address in gateway.get("NatGatewayAddresses") or ():
                if public := address.get("PublicIp"):
                    own[ip_network(public)] = f"of the NAT gateway {gateway['NatGatewayId']}"
    return own


# What an approver reads


def _summary(acl: str, network: Network, rules: tuple[Rule, ...], refusals: tuple[str, ...]) -> str:
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
    subnets = [subnet for acl in acls for subnet in _subnets(acl)]
    interfaces = _network.by_filter(aws, "DescribeNetworkInterfaces", "subnet-id", subnets)
    lines = []
    for acl in acls:
        here = [i for i in interfaces if i["SubnetId"] in _subnets(acl)]
        instances = {(i.get("Attachment") or {}).get("InstanceId") for i in here} - {None}
        shared = ", the VPC's default," if acl["IsDefault"] else ""
        lines.append(
            f"{acl['NetworkAclId']}{shared} rules {counted(len(_subnets(acl)), 'subnet')} with"
            f" {counted(len(instances), 'instance')} and"
            f" {counted(len(here), 'network interface')}: the address is denied to all of them"
        )
    return Remarks(blast_radius=tuple(lines))


def _balanced(interfaces: list[dict[str, Any]], aws: Aws) -> Remarks:
    fronts = [
        f"{group['TargetGroupName']} behind {arn.partition('loadbalancer/')[2]}"
        for group in _network.target_groups(aws, interfaces)
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


def _acls(aws: Aws, subnets: Iterable[str]) -> list[dict[str, Any]]:
    return _network.by_filter(aws, "DescribeNetworkAcls", "association.subnet-id", subnets)


def _acl(plan: Plan, aws: Aws) -> dict[str, Any]:
    """Read the plan's ACL; one that was deleted has no rules and no subnets."""
    acl_id = _acl_of(plan)
    try:
        (acl,) = aws.pages("ec2", "DescribeNetworkAcls", "NetworkAcls", NetworkAclIds=[acl_id])
    except NotFound:
        return {"NetworkAclId": acl_id, "Entries": [], "Associations": []}
    return acl  # type: ignore[no-any-return]


def _acl_of(plan: Plan) -> str:
    return plan.lease.partition("/")[0]


def _quotas(aws: Aws) -> list[dict[str, Any]]:
    try:
        answer = aws.client("service-quotas").get_service_quota(ServiceCode="vpc", QuotaCode=QUOTA)
    except CloudError:
        return []  # AWS's default is the safe assumption
    return [answer["Quota"]]


def _state(acl: dict[str, Any]) -> State:
    return {
        (acl["NetworkAclId"], f"{_direction(entry['Egress'])} {entry['RuleNumber']}"): {
            "cidr": entry.get("CidrBlock") or entry.get("Ipv6CidrBlock"),
            "action": entry["RuleAction"],
            "protocol": entry["Protocol"],
        }
        for entry in acl["Entries"]
    }


def _first_allow(entries: list[dict[str, Any]], network: Network, *, egress: bool) -> int | None:
    """Return the number of the first rule that allows anything with a network, if it is reached."""
    same_way = [entry for entry in entries if entry["Egress"] == egress]
    for entry in sorted(same_way, key=lambda entry: int(entry["RuleNumber"])):
        block = entry.get(_cidr_member(network))
        if block is None or not _covers(ip_network(block, strict=False), network):
            continue
        if entry["RuleAction"] == "allow":
            return int(entry["RuleNumber"])
        if entry["Protocol"] == "-1":
            return None
    return None


def _subnets(acl: dict[str, Any]) -> set[str]:
    return {association["SubnetId"] for association in acl["Associations"]}


def _look(plan: Plan, aws: Aws) -> Proof:
    acl = _acl(plan, aws)
    now = _state(acl)
    checks = [
        Check(
            name=f"{change.resource} {change.attribute} is ours",
            ok=now.get((change.resource, change.attribute)) == change.after,
            detail=str(now.get((change.resource, change.attribute)) or "no such rule"),
        )
        for change in plan.changes
    ]
    network = _blocked_network(plan)
    for egress in _directions(bool(plan.params["egress"])):
        first = _first_allow(acl["Entries"], network, egress=egress)
        checks.append(
            Check(
                name=f"{_direction(egress)} denies {network}",
                ok=first is None,
                detail=f"rule {first} allows it" if first else "",
            )
        )
    moved = _moved_subnets(plan, acl)
    checks.append(Check(name="subnets still use this ACL", ok=not moved, detail=", ".join(moved)))
    verdict = Verdict.PROVEN if all(check.ok for check in checks) else Verdict.DRIFTED
    return Proof(
        plan_digest=plan.digest, at=datetime.now(UTC), verdict=verdict, checks=tuple(checks)
    )


def _moved_subnets(plan: Plan, acl: dict[str, Any]) -> list[str]:
    return [s for s in _network.strings(plan.before["subnets"]) if s not in _subnets(acl)]


def _blocked_network(plan: Plan) -> Network:
    return ip_network(str(plan.params["address"]))


def _network_of(address: Address) -> Network:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return ip_network(mapped or address)


def _covers(one: Network, other: Network) -> bool:
    return one.version == other.version and other.subnet_of(one)  # type: ignore[arg-type]


def _directions(egress: bool) -> tuple[bool, ...]:
    return (False, True) if egress else (False,)


def _direction(egress: bool) -> str:
    return "egress" if egress else "ingress"


def _cidr_member(network: Network) -> str:
    return "CidrBlock" if network.version == 4 else "Ipv6CidrBlock"


# What is changed


def _expect_as_planned(plan: Plan, acl: dict[str, Any]) -> None:
    if moved := _moved_subnets(plan, acl):
        raise PlanStale(
            f"{', '.join(moved)} uses another network ACL than {acl['NetworkAclId']} now"
        )
    network = _blocked_network(plan)
    for call in plan.calls:
        number, egress = call.parameters["RuleNumber"], bool(call.parameters["Egress"])
        first = _first_allow(acl["Entries"], network, egress=egress)
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
    now = _state(_acl(plan, aws))
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
