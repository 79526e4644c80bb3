"""Engagement of what stands ready against denial of service: AWS WAF, Shield Advanced, and people.

What a runbook names is pre-authorised and is done; the rest is for people.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, IPvAnyAddress, StringConstraints, model_validator

from activities.aws import _aws_case, _preflight, _rate_rule, _shield
from activities.aws._reading import Blind, counted
from activities.aws._window import Window, proven, unproven
from firedoor.action import Action, Permissions, State, outstanding, receipt, restorable
from firedoor.cloud.aws import Aws
from firedoor.errors import AccessDenied, CloudError, NotFound, Refused
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import (
    Call,
    Change,
    Check,
    Plan,
    Proof,
    Receipt,
    Target,
    Touched,
    Verdict,
)

ID = "aws.engage_ddos_response"

NAMED = 5
"""How many of several are named."""

# What AWS says where a plan of support, a subscription or a membership is lacking.
NOT_SUBSCRIBED = {"SubscriptionRequiredException", "InvalidOperationException"}

WebAcl = Annotated[
    str,
    StringConstraints(pattern=r"^arn:[a-z-]+:wafv2:[a-z0-9-]+:\d{12}:(regional|global)/webacl/"),
]
Role = Annotated[str, StringConstraints(pattern=r"^arn:[a-z-]+:iam::\d{12}:role/.+$")]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Mode(StrEnum):
    """What happens to requests that are too many."""

    COUNT = "count"
    BLOCK = "block"


class Contact(Model):
    """Whom Shield's response team calls."""

    email: Annotated[str, StringConstraints(pattern=r"^\S+@\S+\.\S+$")]
    phone: Annotated[str, StringConstraints(pattern=r"^\+[1-9]\d{1,14}$")]
    notes: Text


class Membership(Model):
    """Where an organisation's membership of AWS Security Incident Response is."""

    account: str = Field(
        pattern=r"^\d{12}$", description="the management or delegated administrator account"
    )
    region: str = Field(description="where the membership was begun, and cases are kept")


class Params(Model):
    """What a runbook may set, and so authorises beforehand."""

    mode: Mode = Field(
        default=Mode.COUNT, description="first count, to see whom a limit would hit; then block"
    )
    web_acl: WebAcl | None = Field(default=None, description="ARN of what gets a rate-based rule")
    limit: int = Field(
        default=2000, ge=10, le=2_000_000_000, description="requests of one address in the window"
    )
    window: Literal[60, 120, 300, 600] = Field(default=300, description="seconds")
    forwarded_header: str = Field(
        default="", description="where the client's address is, behind a proxy: X-Forwarded-For"
    )
    resources: tuple[Text, ...] = Field(
        default=(),
        description="ARNs of load balancers and distributions where Shield Advanced may answer by"
        " itself",
    )
    drt_role: Role | None = Field(
        default=None, description="what Shield's response team may act as; replaces the one it has"
    )
    log_buckets: tuple[Text, ...] = Field(
        default=(), description="names of buckets with logs that the response team may read"
    )
    contacts: tuple[Contact, ...] = Field(
        default=(), max_length=10, description="people whom the response team calls by itself"
    )
    case: Literal["support", "security-ir"] | None = Field(
        default=None, description="where a case is opened, which AWS's people then work on"
    )
    membership: Membership | None = Field(
        default=None,
        description="for a case at security-ir; by default the subject's account and region",
    )
    severity: Literal["low", "normal", "high", "urgent", "critical"] = "urgent"
    watchers: tuple[Text, ...] = Field(default=(), description="addresses that hear of the case")
    addresses: tuple[IPvAnyAddress, ...] = Field(
        default=(), description="attackers' addresses for the case; $addresses in a runbook"
    )

    @model_validator(mode="after")
    def _somebody_watches(self) -> "Params":
        if self.case == _aws_case.SECURITY_IR and not self.watchers:
            raise ValueError("a case at security-ir needs watchers")
        return self

    @property
    def block(self) -> bool:
        """Whether requests are blocked."""
        return self.mode is Mode.BLOCK

    @property
    def shield(self) -> bool:
        """Whether anything of Shield Advanced is named."""
        return bool(self.resources or self.drt_role or self.log_buckets or self.contacts)


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Limit rates in AWS WAF, have Shield Advanced answer, let its team in, and open a case.

    One plan for the web ACL, one for Shield and one for the case. What is not named is a task.
    """
    makers: list[tuple[bool, str, Callable[[Target, Params, Aws], Plan]]] = [
        (params.web_acl is not None, "rate", _plan_rate),
        (params.shield, "shield", _plan_shield),
        (params.case is not None, "case", _plan_case),
    ]
    plans = [_tried(part, make, target, params, aws) for named, part, make in makers if named]
    rest = tuple(_rest(target, params))
    if not plans:
        return (
            _plan(target, "rest", "Nothing was authorised beforehand.").model_copy(
                update={"tasks": rest}
            ),
        )
    first = plans[0].model_copy(update={"tasks": (*plans[0].tasks, *rest)})
    return _preflight.asked((first, *plans[1:]), aws)


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Make the differences that are still to be made."""
    if not plan.calls:
        return receipt(plan)
    todo = outstanding(plan, _state(plan, aws))
    created: dict[str, Any] = {}
    with aws.only(plan.calls) as permit:
        for change, call in zip(plan.changes, plan.calls, strict=True):
            if change in todo:
                created |= _make(plan, call, change.after, aws)
    return receipt(plan, permit.made, created=created)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that all is set as it was, and what does not stop an attack yet."""
    now = _state(plan, aws)
    values = [(change, now.get((change.resource, change.attribute))) for change in plan.changes]
    checks = [
        Check(
            name=f"{change.resource} {change.attribute} is as we set it",
            ok=value == change.after,
            detail="" if value == change.after else str(value),
        )
        for change, value in values
    ]
    return proven(plan, checks, *_windows(plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Take back what still is as we set it; a case stays open."""
    if plan.before["part"] == "case":
        stays = "the case stays open: resolve it where it was opened"
        return receipt(plan, left=(stays,) if plan.calls else ())
    if not plan.undo:
        return receipt(plan)
    ours, left = restorable(plan, _state(plan, aws))
    with aws.only(plan.undo) as permit:
        for change in ours:
            try:
                _make(plan, plan.undo[-1 - plan.changes.index(change)], change.before, aws)
            except NotFound:
                continue  # taken back by others meanwhile, as was wanted
    return receipt(plan, permit.made, left=left)


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.INSTANCE, Kind.ACCOUNT, Kind.OTHER}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            "cloudfront:ListDistributionsByWebACLId",
            "iam:ListAttachedRolePolicies",
            *_preflight.PERMISSIONS,
            "security-ir:ListCases",
            "security-ir:ListMemberships",
            "shield:DescribeDRTAccess",
            "shield:DescribeEmergencyContactSettings",
            "shield:DescribeProtection",
            "shield:DescribeSubscription",
            "shield:ListAttacks",
            "support:DescribeCases",
            "support:DescribeServices",
            "wafv2:GetWebACL",
            "wafv2:ListResourcesForWebACL",
            "wafv2:ListTagsForResource",
        ),
        apply=(
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "iam:PassRole",
            "s3:GetBucketPolicy",
            "s3:PutBucketPolicy",
            "security-ir:CreateCase",
            "security-ir:ListCases",
            "shield:AssociateDRTLogBucket",
            "shield:AssociateDRTRole",
            "shield:AssociateProactiveEngagementDetails",
            "shield:DescribeDRTAccess",
            "shield:DescribeEmergencyContactSettings",
            "shield:DescribeProtection",
            "shield:DescribeSubscription",
            "shield:EnableApplicationLayerAutomaticResponse",
            "shield:EnableProactiveEngagement",
            "shield:UpdateApplicationLayerAutomaticResponse",
            "shield:UpdateEmergencyContactSettings",
            "support:CreateCase",
            "support:DescribeCases",
            "wafv2:GetWebACL",
            "wafv2:UpdateWebACL",
        ),
        verify=(
            "security-ir:ListCases",
            "shield:DescribeDRTAccess",
            "shield:DescribeEmergencyContactSettings",
            "shield:DescribeProtection",
            "shield:DescribeSubscription",
            "support:DescribeCases",
            "wafv2:GetRateBasedStatementManagedKeys",
            "wafv2:GetWebACL",
        ),
        revert=(
            "iam:PassRole",
            "s3:DeleteBucketPolicy",
            "s3:GetBucketPolicy",
            "s3:PutBucketPolicy",
            "shield:AssociateDRTRole",
            "shield:DescribeDRTAccess",
            "shield:DescribeEmergencyContactSettings",
            "shield:DescribeProtection",
            "shield:DescribeSubscription",
            "shield:DisableApplicationLayerAutomaticResponse",
            "shield:DisableProactiveEngagement",
            "shield:DisassociateDRTLogBucket",
            "shield:DisassociateDRTRole",
            "shield:UpdateApplicationLayerAutomaticResponse",
            "shield:UpdateEmergencyContactSettings",
            "wafv2:GetWebACL",
            "wafv2:UpdateWebACL",
        ),
    ),
    techniques=("T1498", "T1499"),
    countermeasures=("D3-ITF", "D3-NTF"),
)


# What plans hold


def _tried(
    part: str,
    make: Callable[[Target, Params, Aws], Plan],
    target: Target,
    params: Params,
    aws: Aws,
) -> Plan:
    """Make one of the plans; what it lacks must not keep the others from being made."""
    try:
        return make(target, params, aws)
    except Refused as refusal:
        why = str(refusal)
    except AccessDenied as error:
        why = f"Firedoor may not look: {error}"
    except CloudError as error:
        if error.code not in NOT_SUBSCRIBED:
            raise
        why = f"AWS has no agreement for it with this account: {error}"
    task = f"{_BY_HAND[part]} ({why})"
    refused = _plan(target, part, f"{_NAMES[part]} cannot be engaged.")
    return refused.model_copy(update={"refusals": (why,), "tasks": (task,)})


def _plan(target: Target, part: str, summary: str, lease: str = "", **before: Any) -> Plan:
    return Plan(
        action=ID,
        target=target,
        lease=lease or f"{part}/{target.subject.id}",
        summary=summary,
        before={"part": part, **before},
    )


def _plan_rate(target: Target, params: Params, aws: Aws) -> Plan:
    arn = str(params.web_acl)
    found = _rate_rule.read(aws, arn)
    if found is None:
        raise Refused(f"the web ACL {arn} does not exist: name the one that guards the target")
    acl, _ = found
    wanted = _rate_rule.rule(
        acl,
        limit=params.limit,
        seconds=params.window,
        header=params.forwarded_header,
        block=params.block,
    )
    change = _rate_rule.change(acl, wanted)
    done = change.before == change.after
    blind = Blind()
    guarded = blind.tried("what the web ACL guards", partial(_rate_rule.guarded, aws, arn), None)
    each = f"addresses with more than {params.limit} requests in {params.window} seconds"
    made = _plan(
        target,
        "rate",
        f"Web ACL {acl['Name']} {params.mode}s {each} already."
        if done
        else f"{params.mode.capitalize()} {each} in web ACL {acl['Name']}.",
        lease=f"webacl/{acl['Name']}/{acl['Id']}/rate",
        web_acl=arn,
        mode=params.mode.value,
    )
    return made.model_copy(
        update={
            "changes": () if done else (change,),
            "calls": () if done else (_rate_rule.update(aws, acl, exact=True),),
            "undo": () if done else (_rate_rule.update(aws, acl, exact=False),),
            "blast_radius": tuple(_felt(params, guarded)),
            "preflight": (_rate_rule.room(acl), *_attached(guarded), *blind.checks),
            "touched": Touched(resources={acl["Id"]: _rate_rule.tags(aws, arn)}),
        }
    )


def _plan_shield(target: Target, params: Params, aws: Aws) -> Plan:
    subscription = _shield.subscription(aws)
    if subscription is None:
        raise Refused(
            f"account {target.subject.account} has no subscription to Shield Advanced, and to take"
            " one out binds for a year: decide on it, or go by AWS WAF alone"
        )
    answers, unprotected, unfit = _shield.responses(aws, params.resources, block=params.block)
    letting_in, beyond = _shield.access(aws, params.drt_role or "", params.log_buckets)
    blind = Blind()
    look = partial(_shield.attacks, aws, params.resources, target.at)
    seen = blind.tried("attacks", look, None) if params.resources else None
    let = partial(_shield.can_act_as, aws, params.drt_role or "")
    may = blind.tried("the response team's role", let, ()) if letting_in and params.drt_role else ()
    contacts = [
        {"EmailAddress": c.email, "PhoneNumber": c.phone, "ContactNotes": c.notes}
        for c in params.contacts
    ]
    calling = list(_shield.engagement(aws, subscription, contacts)) if contacts else []
    effects = [*answers, *letting_in, *calling]
    what = ", ".join(dict.fromkeys(f"{c.resource} {c.attribute}" for c, _, _ in effects))
    made = _plan(
        target,
        "shield",
        f"Set in Shield Advanced: {what}." if effects else "Shield Advanced is set already.",
        lease="shield",
        mode=params.mode.value,
        proactive=bool(contacts),
    )
    return made.model_copy(
        update={
            "changes": tuple(change for change, _, _ in effects),
            "calls": tuple(call for _, call, _ in effects),
            "undo": tuple(undo for _, _, undo in reversed(effects)),
            "blast_radius": tuple(_felt_of_shield(answers, letting_in)),
            "lost": ("The request to be called stays on record, without contacts",)
            if any(c.operation.startswith("AssociateProactive") for _, c, _ in calling)
            else (),
            "preflight": (*_seen(seen), *may, *blind.checks),
            "touched": Touched(resources={arn: {} for arn in params.resources}),
            "tasks": tuple(_shield_tasks(unprotected, unfit, beyond)),
        }
    )


def _plan_case(target: Target, params: Params, aws: Aws) -> Plan:
    addresses = [str(address) for address in params.addresses]
    where, name = str(params.case), _aws_case.title(target)
    home = _home(params.membership, aws)
    if where == _aws_case.SUPPORT:
        call = _aws_case.support(aws, target, addresses, params.severity, params.watchers)
    else:
        call = _aws_case.security_ir(home, target, addresses, params.watchers)
    done = _aws_case.found(home, where, name)
    change = Change(resource=f"case/{where}", attribute=name, before=False, after=True)
    made = _plan(
        target,
        "case",
        f"A case at {where} is there already." if done else f"Open a case at {where}: {name}.",
        lease=f"case/{target.incident}",
        where=where,
        title=name,
        membership=params.membership and params.membership.model_dump(mode="json"),
    )
    return made.model_copy(
        update={
            "changes": () if done else (change,),
            "calls": () if done else (call,),
            "blast_radius": ("People at AWS are told of the incident, and call back",),
            "lost": () if done else ("The case stays open until somebody resolves it",),
        }
    )


# What approvers and responders read

_NAMES = {"rate": "The rate limit", "shield": "Shield Advanced", "case": "A case at AWS"}
_BY_HAND = {
    "rate": "Put a rate-based rule into the web ACL that guards the target, first with Count, and"
    " with Block once its metric shows only attackers; done when the metric shows blocked requests",
    "shield": "Decide who answers the attack without Shield Advanced, and raise capacity or take"
    " the target off the network; done when the service answers again",
    "case": "Open a case at AWS by the console or by phone, with the incident's name; done when the"
    " case has a number, and that stands in the sign-off",
}


def _rest(target: Target, params: Params) -> Iterator[str]:
    """Yield what nobody authorised beforehand, as tasks."""
    subject = target.subject
    at = f"{subject.kind} {subject.id}"
    if params.web_acl is None:
        yield f"{_BY_HAND['rate']} (target {at}: no web_acl is named)"
    elif not params.block:
        yield (
            "Look at the metric firedoor-rate for ten minutes, and run this step again with mode:"
            " block if it counts only attackers; done when the rule blocks"
        )
    if not params.shield:
        yield (
            f"See whether Shield Advanced protects {at}, and have its response team called and let"
            " in if it does; done when DescribeProtection and DescribeDRTAccess show it, or the"
            " sign-off says that there is no subscription"
        )
    if params.case is None:
        yield f"{_BY_HAND['case']} (target {at}: no case is authorised)"


def _attached(guarded: list[str] | None) -> Iterator[Check]:
    if guarded is not None:
        detail = "" if guarded else "it is attached to nothing, so the rule would see no request"
        yield Check(name="the web ACL guards something", ok=bool(guarded), detail=detail)


def _felt(params: Params, guarded: list[str] | None) -> Iterator[str]:
    if guarded:
        yield f"It counts for {counted(len(guarded), 'resource')}: {', '.join(guarded)}"
    if not params.block:
        yield "Nothing is blocked yet: requests over the limit are counted"
        return
    yield f"Everybody behind one address, as of an office or a carrier, shares its {params.limit}"
    if not params.forwarded_header:
        yield "Behind a proxy or CDN all clients have its address: name forwarded_header if so"
    yield "AWS WAF takes up to some minutes to notice that an address is over its limit"


def _seen(attacks: list[str] | None) -> Iterator[Check]:
    if attacks is not None:
        detail = "; ".join(attacks[:NAMED]) or "it has seen none in the last day"
        yield Check(name="Shield sees an attack", ok=bool(attacks), detail=detail)


def _felt_of_shield(
    answers: list[_shield.Effect], letting_in: list[_shield.Effect]
) -> Iterator[str]:
    if answers:
        yield (
            f"Shield adds a rule group of its own to the web ACLs of"
            f" {counted(len(answers), 'resource')}, which takes 150 of their capacity"
        )
    for change, _, _ in letting_in:
        if change.attribute == "role" and change.before:
            yield f"The response team loses {change.before}: an account has one role for it"
        elif change.attribute != "role":
            name = change.attribute.partition(" ")[2]
            yield f"AWS's response team can read the logs in {name}"


def _shield_tasks(unprotected: list[str], unfit: list[str], beyond: list[str]) -> Iterator[str]:
    for arn in unprotected:
        yield (
            f"Protect {arn} in Shield Advanced, with a web ACL and a health check; done when"
            " DescribeProtection shows it, and then run this step again"
        )
    for arn in unfit:
        yield (
            f"Find a front for {arn}, as Shield answers by itself only at application load"
            " balancers and CloudFront; done when traffic comes through it"
        )
    for bucket in beyond:
        yield (
            f"Let the response team read {bucket}, for which it needs a role and less than"
            f" {_shield.MOST_BUCKETS} other buckets; done when DescribeDRTAccess shows it"
        )


# What is read and changed


def _state(plan: Plan, aws: Aws) -> State:
    match plan.before["part"]:
        case "rate":
            return _rate_rule.state(aws, str(plan.before["web_acl"]))
        case "shield":
            return _shield.state(aws, plan.changes)
        case "case":
            name, where = str(plan.before["title"]), str(plan.before["where"])
            kept = plan.before.get("membership")
            home = _home(Membership.model_validate(kept) if kept else None, aws)
            return {(f"case/{where}", name): _aws_case.found(home, where, name)}
        case _:
            return {}


def _home(membership: Membership | None, aws: Aws) -> Aws:
    """Return the clients for where cases at Security Incident Response are kept."""
    if membership is None:
        return aws
    return aws.elsewhere(account=membership.account, region=membership.region)


def _make(plan: Plan, call: Call, value: Any, aws: Aws) -> dict[str, Any]:
    if plan.before["part"] == "rate":
        _rate_rule.put(call, value, str(plan.before["web_acl"]), aws)
        return {}
    answer = aws.call(call)
    return {"case": answer["caseId"]} if "caseId" in answer else {}


def _windows(plan: Plan, aws: Aws) -> Iterator[Window]:
    if plan.before["part"] == "rate":
        yield _blocking(plan, aws)
    if plan.before.get("proactive") and _shield.engaged(aws) == "PENDING":
        yield unproven("proactive engagement", "the response team has yet to confirm the contacts")
    if plan.before["part"] == "case":
        yield unproven("the attack has stopped", "a case is open, and people work on it")


def _blocking(plan: Plan, aws: Aws) -> Window:
    """Judge by whom the rule keeps out: a rule that is there may be one that nobody meets."""
    name = "requests are blocked"
    if plan.before["mode"] == Mode.COUNT:
        return unproven(name, "the rule only counts them: mode is count")
    try:
        limited = _rate_rule.limited(aws, str(plan.before["web_acl"]))
    except CloudError as error:
        return unproven(name, str(error))
    if not limited:
        why = "nobody is over the limit now: the attack is over, passes elsewhere, or stays below"
        return unproven(name, why)
    more = len(limited) - NAMED
    some = ", ".join(limited[:NAMED]) + (f" and {more} more" if more > 0 else "")
    return Window(Verdict.PROVEN, Check(name=name, ok=True, detail=f"of {some}"))
