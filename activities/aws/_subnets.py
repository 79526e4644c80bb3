"""Network ACLs as a layer that blocks addresses: what a plan holds, and what is done for it."""

from collections.abc import Iterable, Sequence
from functools import partial
from ipaddress import ip_network
from typing import Any

from activities.aws import _acl, _packet
from activities.aws._acl import Network
from activities.aws._layer import Parts
from activities.aws._packet import Packet
from activities.aws._reading import strings, tags
from firedoor.action import outstanding, restorable
from firedoor.cloud.aws import Aws, Permit
from firedoor.errors import CloudError, NotFound, PlanStale, QuotaExceeded
from firedoor.model.plan import Call, Change, Check, Outcome, Plan

ALWAYS = (
    "Open connections with the address stall at once, and may resume when the rules are removed",
    "The sender of UDP traffic can be forged: make sure that the address is not one that is needed",
)


def denial(
    acl: dict[str, Any],
    network: Network,
    subnets: Iterable[str],
    balancer: str,
    *,
    band: range,
    limit: int,
    reserve: int,
    egress: bool,
) -> Parts:
    """Return the rules that are missing to deny a network in an ACL.

    They count as taken from now on. Raises `Refused` if there is no place for them.
    """
    rules, checks = _acl.denials(
        acl, network, band=band, limit=limit, reserve=reserve, egress=egress
    )
    id, used = acl["NetworkAclId"], sorted(set(subnets) & _acl.subnets(acl))
    places = " and ".join(rule.change.attribute for rule in rules)
    whose = f", before load balancer {balancer}" if balancer else ""
    return Parts(
        lease=f"{id}/{network}",
        places=f"{id} (rule {places}){whose}",
        before={"layer": "acl", "subnets": [*used], "balancer": balancer, "limit": limit},
        changes=tuple(rule.change for rule in rules),
        calls=tuple(rule.creation for rule in rules),
        undo=tuple(rule.deletion for rule in reversed(rules)),
        blast_radius=ALWAYS,
        preflight=checks,
        resources={id: tags(acl)},
    )


def apply(plan: Plan, permit: Permit, aws: Aws) -> None:
    """Add the deny rules that are not there yet."""
    acl = _acl.read(aws, acl_of(plan))
    todo = outstanding(plan, _acl.state(acl))
    if todo and len(todo) == len(plan.changes):
        _expect_as_planned(plan, acl)
    _create(plan, todo, permit, aws)


def revert(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Remove the deny rules that still are as we added them; return what was left alone."""
    ours, left = restorable(plan, _acl.state(_acl.read(aws, acl_of(plan))))
    calls = [plan.undo[-1 - plan.changes.index(change)] for change in ours]
    aws.together(*(partial(_delete, call, aws) for call in calls))
    return left


def look(plan: Plan, aws: Aws) -> tuple[Check, ...]:
    """Evaluate the ACL's rules in their order for packets from and to the address."""
    acl = _acl.read(aws, acl_of(plan))
    now, network = _acl.state(acl), network_of(plan)
    rulings = [
        _packet.acl_rule(acl, Packet(network, egress=egress))
        for egress in _acl.directions(egress=bool(plan.params["egress"]))
    ]
    moved = _moved(plan, acl)
    return (
        *(
            Check(
                name=f"{change.resource} {change.attribute} is ours",
                ok=now.get((change.resource, change.attribute)) == change.after,
                detail=str(now.get((change.resource, change.attribute)) or "no such rule"),
            )
            for change in plan.changes
        ),
        *(
            Check(
                name=f"{_acl.direction(ruling.packet.egress)} denies {network}",
                ok=not ruling.allowed,
                detail=str(ruling),
            )
            for ruling in rulings
        ),
        Check(name="subnets still use this ACL", ok=not moved, detail=", ".join(moved)),
    )


def acl_of(plan: Plan) -> str:
    """Return the id of the ACL that a plan is about."""
    return plan.lease.partition("/")[0]


def network_of(plan: Plan) -> Network:
    """Return the network that a plan denies."""
    return ip_network(str(plan.params["address"]))


def _filled(plan: Plan) -> str:
    # Another plan finds the next layer, or joins blocks.
    return f"others filled {acl_of(plan)} after planning"


def _moved(plan: Plan, acl: dict[str, Any]) -> list[str]:
    return [s for s in strings(plan.before["subnets"]) if s not in _acl.subnets(acl)]


def _expect_as_planned(plan: Plan, acl: dict[str, Any]) -> None:
    if moved := _moved(plan, acl):
        raise PlanStale(
            f"{', '.join(moved)} uses another network ACL than {acl['NetworkAclId']} now"
        )
    network = network_of(plan)
    for call in plan.calls:
        number, egress = call.parameters["RuleNumber"], bool(call.parameters["Egress"])
        if _acl.is_full(acl, network, int(str(plan.before["limit"])), egress=egress):
            raise PlanStale(_filled(plan))
        first = _acl.first_allow(acl, network, egress=egress)
        if first is not None and first < int(str(number)):
            raise PlanStale(
                f"rule {first} of {acl['NetworkAclId']} allows {network} before {number}"
            )


def _create(plan: Plan, todo: Sequence[Change], permit: Permit, aws: Aws) -> None:
    calls = [plan.calls[plan.changes.index(change)] for change in todo]
    taken = [error for error in aws.together(*(partial(_add, c, aws) for c in calls)) if error]
    if not taken:
        return
    # PlanStale would say that nothing was done.
    begun = any(call.outcome is Outcome.OK for call in permit.made)
    if full := [error for error in taken if isinstance(error, QuotaExceeded)]:
        if begun:
            raise full[0]
        raise PlanStale(_filled(plan)) from full[0]
    # Somebody was faster, which is fine if it was with the same rule.
    now = _acl.state(_acl.read(aws, acl_of(plan)))
    others = [c for c in todo if now.get((c.resource, c.attribute)) != c.after]
    if not others:
        return
    if begun:
        raise taken[0]
    raise PlanStale(f"{others[0].resource} {others[0].attribute} was taken by another rule")


def _add(call: Call, aws: Aws) -> CloudError | None:
    try:
        aws.call(call)
    except CloudError as error:
        if error.code != "NetworkAclEntryAlreadyExists" and not isinstance(error, QuotaExceeded):
            raise
        return error
    return None


def _delete(call: Call, aws: Aws) -> None:
    try:
        aws.call(call)
    except NotFound:
        return  # removed meanwhile, as was wanted
