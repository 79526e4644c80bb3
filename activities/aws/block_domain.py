"""Blocking of domain names for the VPC of an EC2 instance, in Route 53 Resolver DNS Firewall."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, JsonValue

from activities.aws import _contended, _network, _preflight, _reading, _resolver
from activities.aws._calls import filled, planned
from activities.aws._reading import GONE, counted, strings, terminated
from activities.aws._resolver import Installed
from activities.aws._window import proven, unproven
from firedoor.action import Action, Permissions, outstanding, receipt, restorable
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, NotFound, PlanStale, Refused
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import LATER, Call, Change, Check, Plan, Proof, Receipt, Target, Touched

# Names below which whole parts of the internet, or what we need of AWS, have theirs. A name below
# one of these is somebody's own and can be blocked; the name itself cannot.
SHARED = frozenset(
    {
        "ac.jp", "ac.uk", "akamaiedge.net", "akamai.net", "azure.com", "azureedge.net",
        "azurewebsites.net", "cloudflare.com", "co.jp", "co.uk", "com.au", "com.br", "com.cn",
        "co.in", "co.kr", "co.za", "fastly.net", "github.io", "gov.uk", "google.com",
        "googleapis.com", "googleusercontent.com", "microsoft.com", "ne.jp", "net.au", "or.jp",
        "org.au", "org.uk", "windows.net", "windowsupdate.com", "workers.dev",
    }
)  # fmt: skip

# What instances need of AWS is below these, and so is what attackers rent there: contain those by
# address, or have AWS take them down.
OF_AWS = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "aws",
    "aws.amazon.com",
    "compute.internal",
    "internal",
)

ROUND = (
    "DNS over HTTPS on port 443, and any resolver but the VPC's own, are not filtered: block known"
    " ones by address, and ports 53 and 853 to everywhere but the VPC's resolver",
    "Answers that clients have already live on until their TTL ends, and open connections after it",
    "Who knows the server's IP address needs no DNS: block that address as well",
)

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")

_BUSY = {"ConflictException"}


def _a_domain(text: str) -> str:
    name = _resolver.plain(text)
    if len(name) > 253 or not all(map(_LABEL.fullmatch, name.removeprefix("*.").split("."))):
        raise ValueError("expected the name of a domain, as in example.com or *.example.com")
    return name


class Params(Model):
    """What a runbook may set."""

    domains: tuple[Annotated[str, AfterValidator(_a_domain)], ...] = Field(
        default=(), description="names; a runbook says $domains for the finding's own"
    )
    below: bool = Field(default=True, description="also block all names below each")
    response: Literal["NXDOMAIN", "NODATA"] = Field(
        default="NXDOMAIN", description="what is answered; NODATA says that the name exists"
    )
    own_domains: tuple[Annotated[str, AfterValidator(_a_domain)], ...] = Field(
        default=(), description="ours, which are never blocked, beside those hosted in the account"
    )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Answer no queries for domains that come from the instance's VPC to its own resolver.

    One plan for each domain and VPC. Security groups and network ACLs do not filter queries to the
    VPC's resolver, so this is the only thing that does.
    """
    names = tuple(dict.fromkeys(domain.removeprefix("*.") for domain in params.domains))
    if not names:
        return ()
    interfaces = _network.interfaces(aws, target.subject.id)
    if not interfaces:
        instance = _reading.instance(aws, target.subject.id)
        gone = instance is None or terminated(instance)
        return (_gone(target, names),) if gone else ()
    vpcs = sorted({interface["VpcId"] for interface in interfaces})
    hosted, unseen = _hosted(aws)
    ours = (*params.own_domains, *hosted)
    plans = [_plan_one(target, params, name, vpc, ours, aws) for vpc in vpcs for name in names]
    return tuple(_with(plan, unseen) for plan in _preflight.asked(plans, aws))


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Make the list, the domain on it, the rule group, its rule and its association."""
    if not plan.calls:
        return receipt(plan)
    vpc = _vpc(plan)
    todo = outstanding(plan, _resolver.state(_resolver.read(aws, vpc), vpc))
    if len(todo) == len(plan.changes):
        _expect_priority(plan, aws)
    with aws.only(plan.calls) as permit:
        for make in (_list, _add, _group, _rule, _associate):
            _contended.retried(partial(make, plan, aws), _BUSY)
        _contended.awaited(partial(_is_ready, plan, aws), f"DNS Firewall of {vpc} is not ready yet")
    return receipt(plan, permit.made)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Ask the rules in their order what a query is answered, and whether they are in force."""
    proof = _network.settled(lambda: proven(plan, _look(plan, aws)))
    if any(not check.ok for check in proof.checks):
        return proof
    why = (
        "queries that reach other resolvers, and answers that are cached, do not show in AWS: look"
        f" into the flow logs for ports 53 and 853, and into the query log of {_vpc(plan)}"
    )
    return proven(plan, proof.checks, unproven("no answer reaches the instance", why))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Take the domain off the list; with the last one, all that Firedoor made in the VPC."""
    if not plan.undo:
        return receipt(plan)
    vpc = _vpc(plan)
    ours, left = restorable(plan, _resolver.state(_resolver.read(aws, vpc), vpc))
    domains = [c.attribute.partition(" ")[2] for c in ours if c.attribute.startswith("domain ")]
    domains = [domain for domain in domains if domain != "list"]
    with aws.only(plan.undo) as permit:
        _contended.retried(partial(_remove, plan, domains, aws), _BUSY)
        if plan.before["ours"]:
            left = (*left, *_clear_away(plan, aws))
    return receipt(plan, permit.made, left=left)


_READ = (
    "route53resolver:GetFirewallDomainList",
    "route53resolver:GetFirewallRuleGroupAssociation",
    "route53resolver:ListFirewallDomainLists",
    "route53resolver:ListFirewallDomains",
    "route53resolver:ListFirewallRuleGroupAssociations",
    "route53resolver:ListFirewallRuleGroups",
    "route53resolver:ListFirewallRules",
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
            "ec2:DescribeDhcpOptions",
            "ec2:DescribeInstances",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeVpcs",
            "route53:ListHostedZones",
            "route53resolver:GetFirewallConfig",
            "route53resolver:ListTagsForResource",
            *_preflight.PERMISSIONS,
            *_READ,
        ),
        apply=(
            "ec2:DescribeVpcs",
            "route53resolver:AssociateFirewallRuleGroup",
            "route53resolver:CreateFirewallDomainList",
            "route53resolver:CreateFirewallRule",
            "route53resolver:CreateFirewallRuleGroup",
            "route53resolver:TagResource",
            "route53resolver:UpdateFirewallDomains",
            *_READ,
        ),
        verify=_READ,
        revert=(
            "route53resolver:DeleteFirewallDomainList",
            "route53resolver:DeleteFirewallRule",
            "route53resolver:DeleteFirewallRuleGroup",
            "route53resolver:DisassociateFirewallRuleGroup",
            "route53resolver:UpdateFirewallDomains",
            "route53resolver:UpdateFirewallRuleGroupAssociation",
            *_READ,
        ),
    ),
    techniques=("T1071.004", "T1568", "T1572"),
    countermeasures=("D3-DNSDL",),
)


# What a plan holds


def _with(plan: Plan, unseen: tuple[Check, ...]) -> Plan:
    """Add what could not be seen to a plan that changes something."""
    if not plan.calls:
        return plan
    return plan.model_copy(update={"preflight": (*plan.preflight, *unseen)})


def _plan_one(
    target: Target, params: Params, domain: str, vpc: str, ours: Sequence[str], aws: Aws
) -> Plan:
    head: dict[str, Any] = {
        "action": "aws.block_domain",
        "target": target,
        "lease": f"{vpc}/{domain}",
        "params": {"domain": domain, "vpc": vpc, "response": params.response},
        "touched": Touched(resources={vpc: {}}),
    }
    try:
        _expect_foreign(domain, ours)
        installed = _resolver.read(aws, vpc)
        return _planned(head, params, domain, vpc, installed, target, aws)
    except Refused as refusal:
        summary = f"{domain} cannot be blocked for {vpc}."
        return Plan(**head, summary=summary, refusals=(str(refusal),))


def _planned(
    head: dict[str, Any],
    params: Params,
    domain: str,
    vpc: str,
    installed: Installed,
    target: Target,
    aws: Aws,
) -> Plan:
    names = (domain, f"*.{domain}") if params.below else (domain,)
    missing = [name for name in names if name not in installed.domains]
    ours = installed.list is None or _resolver.made_by_us(aws, installed.list["Arn"])
    if not ours and not (installed.rule and installed.association):
        # A rule of ours would put all that others have on it into effect.
        raise Refused(
            f"list {_resolver.name_of(vpc)} is not of Firedoor's making, and {vpc} does not use it:"
            " associate it with a rule group, or remove it"
        )
    changes = tuple(_changes(params, vpc, missing, installed, aws, domain))
    calls = _calls(vpc, params, missing, changes, installed, target)
    association = installed.association
    protected = association is None or association["MutationProtection"] == "ENABLED"
    listed = ", ".join(names)
    # A rule that stands answers for all that are on its list.
    answer = installed.rule["BlockResponse"] if installed.rule else params.response
    return Plan(
        **head,
        summary=f"Answer queries of {vpc} for {listed} with {answer}."
        if calls
        else f"{vpc} blocks {listed} already.",
        before={"names": [*names], "ours": ours, "protected": protected},
        changes=changes,
        calls=calls,
        undo=_undo(installed, ours) if calls else (),
        blast_radius=(_crowd(aws, vpc), *ROUND) if calls else (),
        preflight=tuple(_beforehand(aws, vpc)) if calls else (),
    )


def _changes(
    params: Params,
    vpc: str,
    missing: Sequence[str],
    installed: Installed,
    aws: Aws,
    domain: str,
) -> Iterator[Change]:
    name = _resolver.name_of(vpc)
    if installed.list is None:
        yield Change(resource=name, attribute="domain list", before=None, after="made")
    for one in missing:
        yield Change(resource=name, attribute=f"domain {one}", before=None, after="blocked")
    if installed.group is None:
        yield Change(resource=name, attribute="rule group", before=None, after="made")
    if installed.rule is None:
        yield Change(resource=name, attribute="rule", before=None, after=params.response)
    elif installed.rule["Action"] != "BLOCK":
        raise Refused(f"rule {name} does not block any more: ask who changed it, and remove it")
    if installed.association is None:
        priority = _resolver.free_priority(aws, vpc, domain)
        yield Change(resource=vpc, attribute=f"association of {name}", before=None, after=priority)


def _calls(
    vpc: str,
    params: Params,
    missing: Sequence[str],
    changes: Sequence[Change],
    installed: Installed,
    target: Target,
) -> tuple[Call, ...]:
    name = _resolver.name_of(vpc)
    token = sha256(f"{target.incident}/{target.step}/{vpc}/{target.at}".encode()).hexdigest()
    made: dict[str, JsonValue] = {"CreatorRequestId": token, "Name": name}
    tags: list[JsonValue] = [
        {"Key": "firedoor:incident", "Value": target.incident},
        {"Key": "firedoor:step", "Value": target.step},
    ]
    list_id = installed.list["Id"] if installed.list else LATER
    group_id = installed.group["Id"] if installed.group else LATER
    kinds = {change.attribute: change.after for change in changes}
    calls: list[tuple[str, dict[str, JsonValue]]] = []
    if "domain list" in kinds:
        calls.append(("CreateFirewallDomainList", {**made, "Tags": tags}))
    if missing:
        added: dict[str, JsonValue] = {"Operation": "ADD", "Domains": [*missing]}
        calls.append(("UpdateFirewallDomains", {"FirewallDomainListId": list_id, **added}))
    if "rule group" in kinds:
        calls.append(("CreateFirewallRuleGroup", {**made, "Tags": tags}))
    if "rule" in kinds:
        rule: dict[str, JsonValue] = {
            **made,
            "FirewallRuleGroupId": group_id,
            "FirewallDomainListId": list_id,
            "Priority": 1,
            "Action": "BLOCK",
            "BlockResponse": params.response,
        }
        calls.append(("CreateFirewallRule", rule))
    if (association := f"association of {name}") in kinds:
        associated: dict[str, JsonValue] = {
            **made,
            "FirewallRuleGroupId": group_id,
            "VpcId": vpc,
            "Priority": kinds[association],
            "MutationProtection": "ENABLED",
            "Tags": tags,
        }
        calls.append(("AssociateFirewallRuleGroup", associated))
    return tuple(_call(operation, parameters) for operation, parameters in calls)


def _undo(installed: Installed, ours: bool) -> tuple[Call, ...]:
    list_id = installed.list["Id"] if installed.list else LATER
    group_id = installed.group["Id"] if installed.group else LATER
    removed: dict[str, JsonValue] = {"Operation": "REMOVE", "Domains": LATER}
    remove = _call("UpdateFirewallDomains", {"FirewallDomainListId": list_id, **removed})
    if not ours:
        return (remove,)
    association: dict[str, JsonValue] = {
        "FirewallRuleGroupAssociationId": installed.association["Id"]
        if installed.association
        else LATER
    }
    unprotected: dict[str, JsonValue] = {**association, "MutationProtection": "DISABLED"}
    both: dict[str, JsonValue] = {"FirewallRuleGroupId": group_id, "FirewallDomainListId": list_id}
    return (
        remove,
        _call("UpdateFirewallRuleGroupAssociation", unprotected),
        _call("DisassociateFirewallRuleGroup", association),
        _call("DeleteFirewallRule", both),
        _call("DeleteFirewallRuleGroup", {"FirewallRuleGroupId": group_id}),
        _call("DeleteFirewallDomainList", {"FirewallDomainListId": list_id}),
    )


def _call(operation: str, parameters: dict[str, JsonValue]) -> Call:
    return Call(service="route53resolver", operation=operation, parameters=parameters)


def _gone(target: Target, names: Sequence[str]) -> Plan:
    id = target.subject.id
    return Plan(
        action="aws.block_domain",
        target=target,
        lease=id,
        params={"domains": [*names]},
        summary=f"{', '.join(names)} cannot be blocked for {id}.",
        refusals=(f"{id} {GONE}, so it asks no resolver: block the domain for another instance",),
        gone=True,
    )


def _expect_foreign(domain: str, ours: Sequence[str]) -> None:
    """Raise `Refused` if a domain is ours, of AWS, or one that too many people share."""
    if "." not in domain or domain in SHARED:
        raise Refused(f"{domain} is shared by too many: block the names below it that attack")
    for own in ours:
        if _within(domain, own) or _within(own, domain):
            raise Refused(f"{domain} meets {own}, which is our own, and is never blocked")
    for known in OF_AWS:
        if _within(domain, known) or _within(known, domain):
            raise Refused(
                f"{domain} meets {known}, where the services of AWS are: block the address, or"
                " report what is there to AWS (abuse@amazonaws.com)"
            )


def _within(domain: str, other: str) -> bool:
    return domain == other or domain.endswith(f".{other}")


# What an approver reads


def _crowd(aws: Aws, vpc: str) -> str:
    found = _network.by_filter(aws, "DescribeNetworkInterfaces", "vpc-id", [vpc])
    instances = {(i.get("Attachment") or {}).get("InstanceId") for i in found} - {None}
    return (
        f"{counted(len(instances), 'instance')} with {counted(len(found), 'network interface')} in"
        f" {vpc} ask its resolver: none of them gets an answer for the domain"
    )


def _beforehand(aws: Aws, vpc: str) -> Iterator[Check]:
    yield _asked(aws, vpc)
    try:
        open_ = _resolver.fail_open(aws, vpc)
    except CloudError as error:
        yield Check(name="fails closed", ok=False, detail=str(error))
        return
    yield Check(
        name="fails closed",
        ok=not open_,
        detail="FirewallFailOpen is enabled: while DNS Firewall does not work, all is answered"
        if open_
        else "",
    )


def _asked(aws: Aws, vpc: str) -> Check:
    """Return whether instances ask the VPC's resolver, as its DHCP options tell them."""
    name = "instances ask the VPC's resolver"
    try:
        servers = _resolver.servers(aws, vpc)
    except CloudError as error:
        return Check(name=name, ok=False, detail=str(error))
    others = [server for server in servers if server != _resolver.OF_THE_VPC]
    detail = (
        f"DHCP gives them {', '.join(others)}: block the domain there, unless that asks the VPC's"
    )
    return Check(name=name, ok=not others, detail=detail if others else "")


# What is read


def _hosted(aws: Aws) -> tuple[list[str], tuple[Check, ...]]:
    """Read the domains whose zones the account hosts; without leave to, only those named count."""
    try:
        zones = aws.pages("route53", "ListHostedZones", "HostedZones")
    except CloudError as error:
        return [], (Check(name="is none of our own domains", ok=False, detail=str(error)),)
    return [_resolver.plain(zone["Name"]) for zone in zones], ()


def _vpc(plan: Plan) -> str:
    return str(plan.params["vpc"])


def _look(plan: Plan, aws: Aws) -> tuple[Check, ...]:
    vpc, names = _vpc(plan), strings(plan.before["names"])
    installed = _resolver.read(aws, vpc)
    association, rule = installed.association, installed.rule
    priority = association["Priority"] if association else 0
    before = _resolver.associations(aws, vpc)
    domain = str(plan.params["domain"])
    letting = (
        _resolver.answered_before(aws, before, priority, domain) if association else None
    ) or _resolver.before_ours_in_group(aws, installed, domain)
    return (
        *(
            Check(
                name=f"{name} is on the list",
                ok=any(_resolver.on(name, one) for one in installed.domains),
            )
            for name in names
        ),
        _check("list", installed.list),
        Check(
            name="the rule blocks the list",
            ok=rule is not None and rule["Action"] == "BLOCK",
            detail=f"{rule['Action']} {rule.get('BlockResponse', '')}" if rule else "no such rule",
        ),
        _check("association", association),
        Check(name="no rule before it allows the domain", ok=letting is None, detail=letting or ""),
    )


def _check(what: str, found: Mapping[str, Any] | None) -> Check:
    status = str(found["Status"]) if found else "missing"
    return Check(name=f"the {what} is in force", ok=status == _resolver.DONE, detail=status)


def _is_ready(plan: Plan, aws: Aws) -> bool | None:
    installed = _resolver.read(aws, _vpc(plan))
    found = (installed.list, installed.association)
    return all(one and one["Status"] == _resolver.DONE for one in found) or None


# What is changed


def _expect_priority(plan: Plan, aws: Aws) -> None:
    """Raise `PlanStale` if somebody took the priority, or allows the domain before it."""
    vpc = _vpc(plan)
    for change in plan.changes:
        if change.attribute.startswith("association "):
            priority, found = int(str(change.after)), _resolver.associations(aws, vpc)
            if any(one["Priority"] == priority for one in found):
                raise PlanStale(f"priority {priority} of {vpc} was taken by another rule group")
            domain = str(plan.params["domain"])
            if letting := _resolver.answered_before(aws, found, priority, domain):
                raise PlanStale(f"{vpc} asks {letting} {domain} first")


def _list(plan: Plan, aws: Aws) -> None:
    if _resolver.read(aws, _vpc(plan)).list is None:
        aws.call(planned(plan.calls, "CreateFirewallDomainList"))


def _add(plan: Plan, aws: Aws) -> None:
    installed = _resolver.read(aws, _vpc(plan))
    missing = [n for n in strings(plan.before["names"]) if n not in installed.domains]
    if missing:
        call = planned(plan.calls, "UpdateFirewallDomains")
        aws.call(filled(call, FirewallDomainListId=_id(installed.list), Domains=missing))


def _group(plan: Plan, aws: Aws) -> None:
    if _resolver.read(aws, _vpc(plan)).group is None:
        aws.call(planned(plan.calls, "CreateFirewallRuleGroup"))


def _rule(plan: Plan, aws: Aws) -> None:
    installed = _resolver.read(aws, _vpc(plan))
    if installed.rule is None:
        ids = {
            "FirewallRuleGroupId": _id(installed.group),
            "FirewallDomainListId": _id(installed.list),
        }
        aws.call(filled(planned(plan.calls, "CreateFirewallRule"), **ids))


def _associate(plan: Plan, aws: Aws) -> None:
    installed = _resolver.read(aws, _vpc(plan))
    if installed.association is None:
        call = planned(plan.calls, "AssociateFirewallRuleGroup")
        aws.call(filled(call, FirewallRuleGroupId=_id(installed.group)))


def _remove(plan: Plan, domains: Sequence[str], aws: Aws) -> None:
    installed = _resolver.read(aws, _vpc(plan))
    present = [domain for domain in domains if domain in installed.domains]
    if present:
        call = planned(plan.undo, "UpdateFirewallDomains")
        aws.call(filled(call, FirewallDomainListId=_id(installed.list), Domains=present))


def _clear_away(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Remove what Firedoor made in the VPC, if no domain is on its list any more."""
    vpc = _vpc(plan)
    installed = _resolver.read(aws, vpc)
    if installed.list is None or installed.domains:
        return ()
    if installed.group and _has_others(installed, aws):
        return (f"{_resolver.name_of(vpc)} stays, though its list is empty: others use the group",)
    if association := installed.association:
        _contended.retried(partial(_disassociate, plan, association["Id"], aws), _BUSY)
        _contended.awaited(
            partial(_is_gone, association["Id"], aws), f"{association['Id']} is being removed"
        )
    group, found = installed.group, installed.list
    ids = {"FirewallDomainListId": found["Id"]}
    if group and installed.rule:
        both = {**ids, "FirewallRuleGroupId": group["Id"]}
        _delete(partial(aws.call, filled(planned(plan.undo, "DeleteFirewallRule"), **both)))
    if group:
        only = {"FirewallRuleGroupId": group["Id"]}
        _delete(partial(aws.call, filled(planned(plan.undo, "DeleteFirewallRuleGroup"), **only)))
    _delete(partial(aws.call, filled(planned(plan.undo, "DeleteFirewallDomainList"), **ids)))
    return ()


def _has_others(installed: Installed, aws: Aws) -> bool:
    """Return whether somebody else put a rule into our group, or uses it in another VPC."""
    id = _id(installed.group)
    rules = aws.pages("route53resolver", "ListFirewallRules", "FirewallRules",
                      FirewallRuleGroupId=id)  # fmt: skip
    used = aws.pages("route53resolver", "ListFirewallRuleGroupAssociations",
                     "FirewallRuleGroupAssociations", FirewallRuleGroupId=id)  # fmt: skip
    return len(rules) > 1 or len(used) > 1


def _disassociate(plan: Plan, id: str, aws: Aws) -> None:
    """Take the protection off, then begin to remove the association."""
    status = _resolver.status_of_association(aws, id)
    if status is None or status == "DELETING":
        return
    named = {"FirewallRuleGroupAssociationId": id}
    aws.call(filled(planned(plan.undo, "UpdateFirewallRuleGroupAssociation"), **named))
    aws.call(filled(planned(plan.undo, "DisassociateFirewallRuleGroup"), **named))


def _is_gone(id: str, aws: Aws) -> bool | None:
    return _resolver.status_of_association(aws, id) is None or None


def _delete(call: Callable[[], Any]) -> None:
    """Remove what may be removed already, and wait while something still refers to it."""

    def attempt() -> None:
        try:
            call()
        except NotFound:
            return

    _contended.retried(attempt, _BUSY)


def _id(found: Mapping[str, Any] | None) -> str:
    if found is None:
        raise PlanStale("what was there when it was planned is gone")
    return str(found["Id"])
