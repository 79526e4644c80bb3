"""Freezing of a Lambda function: no invocation begins, and what it was is kept."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws import _function, _identity, _network
from activities.aws._function import BUSY, ENABLED, LATEST, PROVISIONED, RESERVED, URL, Sight
from activities.aws._network import Remarks
from activities.aws._reading import counted, named
from activities.aws._window import Window, pending, proven, silent, stamp, unproven
from firedoor.action import (
    Action,
    NoParams,
    Permissions,
    outstanding,
    receipt,
    restorable,
)
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, FiredoorError, PlanStale, Refused, Throttled, Unreachable
from firedoor.model.action import Nature
from firedoor.model.evidence import Evidence
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
)

SIGNED = "AWS_IAM"
"""The access of a function URL that only signed calls have; the URL itself stays the same."""

# On release what runs comes first: a source that is polled while nothing runs loses its messages.
_BACK = (RESERVED, PROVISIONED, URL, ENABLED)


def plan(target: Target, params: NoParams, aws: Aws) -> tuple[Plan, ...]:  # noqa: ARG001 - it has none
    """Stop a Lambda function from running, whoever calls it, and keep its code and settings."""
    name = _function.name_of(target.subject.id)
    sight = _function.look(aws, name)
    if sight is None:
        why = f"function {name} does not exist"
        return (_plan(target, name, summary=f"{why}.", refusals=(why,), gone=True),)
    if sight.configuration.get("CapacityProviderConfig"):
        return (_unlimited(target, name),)
    changes = _changes(sight)
    reads: list[Callable[[], Any]] = [
        partial(_function.surroundings, aws, sight, target.at),
        partial(_identity.may, aws, _needed(changes), sight.arn),
    ]
    remarks, may = aws.together(*reads)
    publication = _publication(target, sight)
    return (
        _plan(
            target,
            name,
            summary=(
                f"Freeze function {name}: nothing of it begins to run any more."
                if changes
                else f"Nothing to freeze: function {name} is so already."
            ),
            before={
                "name": name,
                "arn": sight.arn,
                "timeout": int(sight.timeout.total_seconds()),
                "code": sight.configuration["CodeSha256"],
            },
            changes=changes,
            calls=(
                *(_call(c, c.after, name) for c in changes),
                *([publication] if changes else []),
            ),
            undo=tuple(_call(change, change.before, name) for change in _backwards(changes)),
            blast_radius=_felt(sight, changes, remarks) if changes else (),
            preflight=(may, *_unread(sight), *remarks.preflight),
            lost=_lost(sight, changes),
            touched=Touched(resources={name: dict(sight.function.get("Tags") or {})}),
            tasks=_tasks(name, remarks),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Cut first, then keep code and settings, and publish what was there as a version.

    Nothing that cannot be kept holds up the freezing; the receipt says what that is.
    """
    if not plan.calls:
        return receipt(plan)
    name = str(plan.before["name"])
    sight = _expected(plan, aws)
    todo = outstanding(plan, _settled(sight))
    with aws.only(plan.calls) as permit:
        for change in todo:
            aws.call(_call(change, change.after, name))
        kept, left = _preserved(plan, sight, aws)
        version, problem = _published(plan, aws)
    created: dict[str, JsonValue] = {"version": version} if version else {}
    return receipt(plan, permit.made, evidence=kept, created=created, left=(*left, *problem))


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that nothing can begin to run, and tell until when what began before can still run."""
    return _network.settled(partial(_looked_at, plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Give back what still is as we set it, concurrency first, and the sources last."""
    name = str(plan.before.get("name"))
    if not plan.undo:
        return receipt(plan)
    sight = _function.look(aws, name)
    if sight is None:
        return receipt(plan, left=(f"function {name} does not exist any more",))
    ours, left = restorable(plan, _settled(sight))
    with aws.only(plan.undo) as permit:
        for change in _backwards(ours):
            _give_back(change, name, aws)
    return receipt(plan, permit.made, left=left)


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.FUNCTION}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    permissions=Permissions(
        plan=(
            "cloudfront:ListDistributions",
            "cloudwatch:GetMetricStatistics",
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "lambda:GetAccountSettings",
            "lambda:GetFunction",
            "lambda:GetFunctionConcurrency",
            "lambda:GetPolicy",
            "lambda:ListAliases",
            "lambda:ListEventSourceMappings",
            "lambda:ListFunctionUrlConfigs",
            "lambda:ListProvisionedConcurrencyConfigs",
            "sts:GetCallerIdentity",
        ),
        apply=(
            "lambda:DeleteProvisionedConcurrencyConfig",
            "lambda:GetFunction",
            "lambda:GetFunctionConcurrency",
            "lambda:ListEventSourceMappings",
            "lambda:ListFunctionUrlConfigs",
            "lambda:ListProvisionedConcurrencyConfigs",
            "lambda:ListVersionsByFunction",
            "lambda:PublishVersion",
            "lambda:PutFunctionConcurrency",
            "lambda:UpdateEventSourceMapping",
            "lambda:UpdateFunctionUrlConfig",
            "sts:GetCallerIdentity",
        ),
        verify=(
            "lambda:GetFunction",
            "lambda:GetFunctionConcurrency",
            "lambda:ListEventSourceMappings",
            "lambda:ListFunctionUrlConfigs",
            "lambda:ListProvisionedConcurrencyConfigs",
        ),
        revert=(
            "lambda:DeleteFunctionConcurrency",
            "lambda:GetFunction",
            "lambda:GetFunctionConcurrency",
            "lambda:ListEventSourceMappings",
            "lambda:ListFunctionUrlConfigs",
            "lambda:ListProvisionedConcurrencyConfigs",
            "lambda:PutFunctionConcurrency",
            "lambda:PutProvisionedConcurrencyConfig",
            "lambda:UpdateEventSourceMapping",
            "lambda:UpdateFunctionUrlConfig",
        ),
    ),
    techniques=("T1496", "T1525", "T1546", "T1648"),
    countermeasures=("D3-EI", "D3-PT"),
)


# What it takes


def _changes(sight: Sight) -> tuple[Change, ...]:
    """Return what is to be changed, in the order in which it is.

    Provisioned concurrency goes first, as it may not exceed what is reserved.
    https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
    """
    wanted: dict[tuple[str, str], JsonValue] = {}
    for key, value in sight.state.items():
        match key[1], value:
            case attribute, _ if attribute.startswith(PROVISIONED):
                wanted[key] = None
            case attribute, str() if attribute.startswith(URL) and value != SIGNED:
                wanted[key] = SIGNED
            case attribute, before if attribute == ENABLED and before is not False:
                wanted[key] = False
            case attribute, before if attribute == RESERVED and before != 0:
                wanted[key] = 0
    ranks = (PROVISIONED, RESERVED, URL, ENABLED)
    keys = sorted(wanted, key=lambda key: (_rank(key[1], ranks), key))
    return tuple(
        Change(
            resource=key[0],
            attribute=key[1],
            before=True if sight.state[key] == BUSY else sight.state[key],
            after=wanted[key],
        )
        for key in keys
    )


def _backwards(changes: Iterable[Change]) -> list[Change]:
    return sorted(changes, key=lambda c: (_rank(c.attribute, _BACK), c.resource, c.attribute))


def _rank(attribute: str, ranks: tuple[str, ...]) -> int:
    return next(number for number, name in enumerate(ranks) if attribute.startswith(name))


def _call(change: Change, value: JsonValue, name: str) -> Call:
    """Return the call that sets what a change is about to a value."""
    own: dict[str, JsonValue] = {"FunctionName": name}
    attribute = change.attribute
    if attribute == ENABLED:
        return _lambda("UpdateEventSourceMapping", {"UUID": change.resource, "Enabled": value})
    if attribute == RESERVED and value is None:
        return _lambda("DeleteFunctionConcurrency", own)
    if attribute == RESERVED:
        return _lambda("PutFunctionConcurrency", {**own, "ReservedConcurrentExecutions": value})
    if attribute.startswith(URL):
        qualifier = attribute.removeprefix(URL)
        which = {} if qualifier == LATEST else {"Qualifier": qualifier}
        return _lambda("UpdateFunctionUrlConfig", {**own, **which, "AuthType": value})
    own["Qualifier"] = attribute.removeprefix(PROVISIONED)
    if value is None:
        return _lambda("DeleteProvisionedConcurrencyConfig", own)
    return _lambda(
        "PutProvisionedConcurrencyConfig", {**own, "ProvisionedConcurrentExecutions": value}
    )


def _lambda(operation: str, parameters: dict[str, Any]) -> Call:
    return Call(service="lambda", operation=operation, parameters=parameters)


def _publication(target: Target, sight: Sight) -> Call:
    return _lambda(
        "PublishVersion",
        {
            "FunctionName": sight.name,
            "CodeSha256": sight.configuration["CodeSha256"],
            "Description": f"firedoor {target.incident} {target.step}"[-256:],
        },
    )


def _needed(changes: tuple[Change, ...]) -> list[str]:
    named = {_call(change, change.after, "").operation for change in changes}
    # Of a mapping IAM asks with the mapping's ARN, so the function's would tell nothing.
    return [f"lambda:{name}" for name in sorted({*named, "PublishVersion"} - {_MAPPING})]


_MAPPING = "UpdateEventSourceMapping"


# What is done


def _expected(plan: Plan, aws: Aws) -> Sight:
    sight = _function.look(aws, str(plan.before["name"]))
    if sight is None:
        raise PlanStale(f"function {plan.before['name']} does not exist any more")
    known = {change.resource for change in plan.changes}
    for mapping in sight.mappings:
        if mapping["UUID"] not in known and sight.state[mapping["UUID"], ENABLED] is True:
            source = _function.source(mapping)
            raise PlanStale(f"{mapping['UUID']} polls {source}, and did not when planned")
    return sight


def _settled(sight: Sight) -> dict[tuple[str, str], JsonValue]:
    """Return the state; what is in between is no state to act upon, and comes to rest soon."""
    for (resource, _), value in sight.state.items():
        if value == BUSY:
            raise Throttled(
                "ResourceInUse", f"{resource} is being changed", "ListEventSourceMappings"
            )
    return dict(sight.state)


def _preserved(plan: Plan, sight: Sight, aws: Aws) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    try:
        kept = _function.preserve(plan, sight, datetime.now(UTC), aws)
        return kept, _function.not_captured(kept)
    except Unreachable as error:
        return (), (f"code and settings were not kept: {error}",)


def _published(plan: Plan, aws: Aws) -> tuple[str | None, tuple[str, ...]]:
    call = plan.calls[-1]
    try:
        found = _function.version_with_code(aws, str(plan.before["name"]), plan.before["code"])
        return found or str(aws.call(call)["Version"]), ()
    except FiredoorError as error:
        if not isinstance(error, CloudError) or error.retryable:
            raise
        return None, (f"no version was published: {error}",)


def _give_back(change: Change, name: str, aws: Aws) -> None:
    try:
        aws.call(_call(change, change.before, name))
    except CloudError as error:
        if change.attribute != RESERVED or error.code != "InvalidParameterValueException":
            raise
        raise Refused(
            f"{change.before} executions cannot be reserved for {name} again ({error}): others have"
            " reserved them meanwhile. Free some or have the limit raised, and release again; until"
            " then it stays frozen"
        ) from error


# What is so now


def _looked_at(plan: Plan, aws: Aws) -> Proof:
    name = str(plan.before["name"])
    sight = _function.look(aws, name)
    if sight is None:
        return proven(plan, [Check(name=name, ok=False, detail="does not exist any more")])
    checks = [
        _is_now(sight.state.get((c.resource, c.attribute)), c)
        for c in plan.changes
        if c.attribute != RESERVED
    ]
    reserved = sight.state[name, RESERVED]
    told = "0" if reserved == 0 else f"is {reserved}"
    checks.insert(0, Check(name=f"{name} {RESERVED}", ok=reserved == 0, detail=told))
    known = {change.resource for change in plan.changes}
    checks += [
        Check(name=f"{m['UUID']} {ENABLED}", ok=False, detail=f"polls {_function.source(m)}, new")
        for m in sight.mappings
        if m["UUID"] not in known and sight.state[m["UUID"], ENABLED] is True
    ]
    return proven(plan, checks, _at_rest(plan, sight), *_turning_off(plan, sight))


def _is_now(value: JsonValue, change: Change) -> Check:
    ok = value == change.after
    told = "as we set it" if ok else f"is {value}"
    return Check(name=f"{change.resource} {change.attribute}", ok=ok, detail=told)


def _at_rest(plan: Plan, sight: Sight) -> Window:
    """Tell whether what ran when the function was frozen must have ended: Lambda sees to that."""
    name = "running invocations"
    frozen = _function.kept_at(plan) if plan.changes else plan.target.at
    if frozen is None:
        return unproven(name, "when it was frozen is not on record, so they may still run")
    due = frozen + max(sight.timeout, _function.seconds(plan.before["timeout"]))
    if datetime.now(UTC) < due:
        return pending(name, f"what ran at {stamp(frozen)} may run on", frozen, due)
    return silent(name, f"the last ended by {stamp(due)}, its time limit", due)


def _turning_off(plan: Plan, sight: Sight) -> tuple[Window, ...]:
    turning = [m for m in sight.mappings if m["State"] == "Disabling"]
    now = datetime.now(UTC)
    return tuple(
        pending(f"{m['UUID']} {ENABLED}", "is being turned off", plan.target.at, now)
        for m in turning
    )


# What is told


def _plan(target: Target, name: str, **members: Any) -> Plan:
    return Plan(action="aws.freeze_function", target=target, lease=name, **members)


def _unlimited(target: Target, name: str) -> Plan:
    """Return the plan for a function on Managed Instances, which take no reserved concurrency.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-scaling.html
    """
    why = (
        f"{name} runs on instances of a capacity provider, which reserved concurrency does not"
        " limit: set the least and the most execution environments of each of its versions to 0"
        " (PutFunctionScalingConfig), turn its event sources off, and revoke its role's sessions"
    )
    return _plan(target, name, summary=f"{name} cannot be frozen.", refusals=(why,))


def _felt(sight: Sight, changes: tuple[Change, ...], remarks: Remarks) -> tuple[str, ...]:
    name, off = sight.name, {c.resource for c in changes if c.attribute == ENABLED}
    polled = [_function.source(m) for m in sight.mappings if m["UUID"] in off]
    urls = [c for c in changes if c.attribute.startswith(URL)]
    role = str(sight.configuration.get("Role", "its role")).rpartition("/")[2]
    lines = [f"every call of {name} is answered 429, whichever version or alias it names"]
    lines += remarks.blast_radius
    if polled:
        number = counted(len(polled), "event source")
        lines.append(f"not read, and filling up: {number}, {named(polled)}")
    if urls:
        number = counted(len(urls), "function URL")
        lines.append(f"for signed calls only, which are answered 429 too: {number}")
    return (
        *lines,
        f"invocations that run go on to their end, {int(sight.timeout.total_seconds())} s at most",
        f"credentials that {name} was handed as role/{role} work on wherever they were taken:"
        " revoke them too",
    )


def _unread(sight: Sight) -> list[Check]:
    told = "may not be listed, and so are not turned off; what they start is answered 429"
    return [Check(name=what, ok=False, detail=told) for what in sight.unread]


def _tasks(name: str, remarks: Remarks) -> tuple[str, ...]:
    if not (told := [c.detail for c in remarks.preflight if c.name == _function.EDGE]):
        return ()
    return (
        f"Take {name} off CloudFront, as freezing does not reach its copies at the edge, which"
        f" {told[0]}: CloudFront, the distribution, Behaviors, Function associations. It is done"
        " when the distribution is deployed without it.",
    )


def _lost(sight: Sight, changes: tuple[Change, ...]) -> tuple[str, ...]:
    if not changes:
        return ()
    lost = [
        "asynchronous events that wait longer than their maximum age, 6 h unless set lower, are"
        " dropped, or go where failures go",
        f"a version of {sight.name}, published to keep its code if none has it, stays",
    ]
    if any(change.attribute == ENABLED for change in changes):
        lost.append("what event sources keep for a shorter time than this lasts expires there")
    if any(change.attribute.startswith(PROVISIONED) for change in changes):
        lost.append("provisioned environments start anew on release, which takes minutes")
    return tuple(lost)
