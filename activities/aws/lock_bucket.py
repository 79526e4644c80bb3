"""Locking of an S3 bucket: nothing public, one deny statement, and nothing deleted for good."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, IPvAnyNetwork, JsonValue

from activities.aws import _bucket, _bucket_policy, _identity, _network
from activities.aws._bucket import BLOCK, LIFECYCLE, VERSIONING
from activities.aws._bucket_policy import Requests, Whose
from activities.aws._network import Remarks
from activities.aws._reading import counted
from activities.aws._window import Window, in_force, pending, proven, silent, stamp
from firedoor.action import (
    Action,
    Permissions,
    State,
    outstanding,
    proof,
    receipt,
    restorable,
)
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Kind
from firedoor.model.plan import (
    LATER,
    Call,
    Change,
    Check,
    Plan,
    Proof,
    Receipt,
    Target,
    Touched,
)
from firedoor.settings import settings

POLICY = "policy statement"
"""What a change of the policy is called, before the name of the statement."""

ENABLED, SUSPENDED = "Enabled", "Suspended"

DIRECTORY = "--x-s3"
"""What the name of a bucket of S3 Express One Zone ends with.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html"""


class Params(Model):
    """What a runbook may set.

    Exfiltration: `deny: reads`, as what cannot be written now is lost and what cannot be read is
    not. Destruction or ransom: `deny: writes`. A key at work that is not revoked yet: `deny: all`
    with `networks` and `vpcs`, so that production goes on from where it runs.
    """

    deny: Requests = Field(
        default=Requests.ALL,
        description="reads, writes or all; changes of the bucket's settings are denied with each",
    )
    to: Whose = Field(
        default=Whose.EVERYONE,
        description="everyone: also production, unless `networks` or `vpcs` spare it. outside:"
        " principals of other accounts and anonymous ones. presigned: whoever comes by a pre-signed"
        " URL. public: no statement, only the public access block",
    )
    exempt: tuple[str, ...] = Field(
        default=(),
        description="ARNs of who is never denied, beside Firedoor itself and the principals that"
        " the policy protects; * and ? are wild",
    )
    accounts: tuple[str, ...] = Field(
        default=(), description="of `outside`, other accounts that count as inside"
    )
    networks: tuple[IPvAnyNetwork, ...] = Field(
        default=(), description="whoever comes from these public networks is not denied"
    )
    vpcs: tuple[str, ...] = Field(
        default=(), description="whoever comes by an endpoint of these VPCs is not denied"
    )
    services: tuple[str, ...] = Field(
        default=_bucket_policy.DELIVERIES,
        description="services of AWS that are not denied; those that only deliver logs",
    )
    keep_versions: bool = Field(
        default=True, description="turn on versioning, so that what is overwritten can be had back"
    )
    stop_expiry: bool = Field(
        default=True, description="turn off the lifecycle rules that delete objects or versions"
    )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Deny requests to a bucket, make it private, and stop what deletes from it."""
    exempt = dict.fromkeys((*target.spared, *params.exempt))
    params = params.model_copy(update={"exempt": tuple(exempt)})
    bucket = target.subject.id
    if bucket.endswith(DIRECTORY):
        why = (
            f"{bucket} is a directory bucket, which has neither versions nor a public access block:"
            " deny s3express:CreateSession in its policy by hand"
        )
        return (_plan(target, params, summary=f"{bucket} cannot be locked.", refusals=(why,)),)
    if not _bucket.exists(aws, bucket):
        why = f"{bucket} does not exist"
        return (_plan(target, params, summary=f"{why}.", refusals=(why,), gone=True),)
    text = _bucket.policy(aws, bucket)
    reads: list[Callable[[], Any]] = [
        partial(_bucket.settings, aws, bucket),
        partial(_bucket.doors, aws, bucket, text),
        partial(_bucket.tags, aws, bucket),
        partial(_may, aws, bucket),
        partial(_delivered, aws, bucket, params),
    ]
    now, remarks, tags, may, delivered = aws.together(*reads)
    wanted = _wanted(target, params, now, aws)
    state = {**now, **_of_policy(bucket, text, wanted)}
    changes = _changes(bucket, state, wanted)
    calls, undo = _calls(bucket, text, changes, aws.account)
    return (
        _plan(
            target,
            params,
            summary=_summary(bucket, params, changes),
            before={"policy": text, "wanted": wanted},
            changes=changes,
            calls=calls,
            undo=undo,
            blast_radius=(*_felt(bucket, params, changes), *remarks.blast_radius),
            preflight=(may, *remarks.preflight),
            lost=_lost(bucket, changes),
            touched=Touched(resources={bucket: tags}),
            refusals=(*_refusals(aws, bucket, state, calls), *delivered),
            tasks=_tasks(bucket, remarks),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Make the settings that are not so yet: the policy first, as the block may refuse it after."""
    if not plan.calls:
        return receipt(plan)
    if not _bucket.exists(aws, plan.target.subject.id):
        raise PlanStale(f"{plan.target.subject.id} does not exist any more")
    text = _bucket.policy(aws, plan.target.subject.id)
    todo = outstanding(plan, _now(plan, text, aws))
    wanted = [_call_of(plan, change) for change in todo]
    same = _bucket_policy.alike(text, _text(plan.before["policy"]))
    if any(_is_policy(change) for change in todo) and not same:
        raise PlanStale(f"the policy of {plan.target.subject.id} is another than when planned")
    with aws.only(plan.calls) as permit:
        for call in wanted:
            aws.call(call)
    return receipt(plan, permit.made)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that the deny stands in the policy, and that nothing is public or deletes.

    S3 decides on each request anew, so nothing that was open before lives on behind the deny. That
    versions are kept, it may not heed everywhere at once.
    """
    return _network.settled(partial(_looked_at, plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Give back each setting that still is as we made it; of the policy, take out our statement."""
    bucket = plan.target.subject.id
    if not plan.undo:
        return receipt(plan)
    if not _bucket.exists(aws, bucket):
        return receipt(plan, left=(f"{bucket} does not exist any more",))
    text = _bucket.policy(aws, bucket)
    ours, left = restorable(plan, _now(plan, text, aws))
    with aws.only(plan.undo) as permit:
        for change in ours:
            aws.call(_back(plan, change, text, aws.account))
    return receipt(plan, permit.made, left=left)


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.BUCKET}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            "cloudfront:ListDistributions",
            "cloudtrail:DescribeTrails",
            "cloudtrail:GetEventSelectors",
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "s3:GetAccountPublicAccessBlock",
            "s3:GetBucketAcl",
            "s3:GetBucketPolicy",
            "s3:GetBucketPolicyStatus",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketTagging",
            "s3:GetBucketVersioning",
            "s3:GetBucketWebsite",
            "s3:GetLifecycleConfiguration",
            "s3:GetReplicationConfiguration",
            "s3:ListAccessPoints",
            "s3:ListMultiRegionAccessPoints",
            "sts:GetCallerIdentity",
        ),
        apply=(
            "s3:GetBucketPolicy",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketVersioning",
            "s3:GetLifecycleConfiguration",
            "s3:PutBucketPolicy",
            "s3:PutBucketPublicAccessBlock",
            "s3:PutBucketVersioning",
            "s3:PutLifecycleConfiguration",
        ),
        verify=(
            "s3:GetBucketPolicy",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketVersioning",
            "s3:GetLifecycleConfiguration",
        ),
        revert=(
            "s3:DeleteBucketPolicy",
            "s3:GetBucketPolicy",
            "s3:GetBucketPublicAccessBlock",
            "s3:GetBucketVersioning",
            "s3:GetLifecycleConfiguration",
            "s3:PutBucketPolicy",
            "s3:PutBucketPublicAccessBlock",
            "s3:PutBucketVersioning",
            "s3:PutLifecycleConfiguration",
        ),
    ),
    techniques=("T1485", "T1486", "T1530", "T1537", "T1619"),
    countermeasures=("D3-UAP",),
)


# What it takes


def _wanted(target: Target, params: Params, now: State, aws: Aws) -> dict[str, JsonValue]:
    """Return what each attribute shall be, in the order in which it is made so."""
    bucket = target.subject.id
    wanted: dict[str, JsonValue] = {}
    if params.to is not Whose.PUBLIC:
        statement = _bucket_policy.deny(
            bucket,
            aws.partition,
            whose=params.to,
            requests=params.deny,
            spared=(*_bucket_policy.who_we_are(aws.identity, aws.partition), *params.exempt),
            accounts=(aws.account, *params.accounts),
            services=params.services,
            networks=[str(network) for network in params.networks],
            vpcs=params.vpcs,
        )
        wanted[f"{POLICY} {statement['Sid']}"] = _bucket_policy.plain(statement)
    wanted[BLOCK] = dict(_bucket.CLOSED)
    if params.keep_versions:
        wanted[VERSIONING] = ENABLED
    if params.stop_expiry:
        wanted[LIFECYCLE] = _bucket.without_deletions(now[bucket, LIFECYCLE])
    return wanted


def _changes(bucket: str, now: State, wanted: dict[str, JsonValue]) -> tuple[Change, ...]:
    return tuple(
        Change(resource=bucket, attribute=name, before=now[bucket, name], after=after)
        for name, after in wanted.items()
        if now[bucket, name] != after
    )


def _calls(
    bucket: str, text: str | None, changes: tuple[Change, ...], account: str
) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """Return the calls that make the changes, and those that take them back."""
    calls, undo = [], []
    for change in changes:
        if not _is_policy(change):
            calls.append(_put(bucket, change.attribute, change.after, account))
            undo.append(_put(bucket, change.attribute, _before(change), account))
            continue
        statement = _members(change.after)
        calls.append(_put_policy(bucket, _bucket_policy.merged(text, statement), account))
        # If others edit the policy meanwhile, theirs stays and only our statement goes.
        exact = _put_policy(bucket, text, account)
        rest = [_put_policy(bucket, LATER, account), _put_policy(bucket, None, account)]
        undo += [*(call for call in reversed(rest) if call != exact), exact]
    return tuple(calls), tuple(reversed(undo))


def _put(bucket: str, attribute: str, value: JsonValue, account: str) -> Call:
    """Return the call that sets an attribute; what was never there is deleted again."""
    own = {"Bucket": bucket, "ExpectedBucketOwner": account}
    match attribute, value:
        case "public access block", None:
            return Call(service="s3", operation="DeletePublicAccessBlock", parameters={**own})
        case "public access block", flags:
            more = {"PublicAccessBlockConfiguration": flags}
            return Call(service="s3", operation="PutPublicAccessBlock", parameters={**own, **more})
        case "versioning", status:
            more = {"VersioningConfiguration": {"Status": status}}
            return Call(service="s3", operation="PutBucketVersioning", parameters={**own, **more})
        case _:
            return Call(
                service="s3",
                operation="PutBucketLifecycleConfiguration",
                parameters={**own, **_lifecycle(_members(value))},
            )


def _lifecycle(value: dict[str, Any]) -> dict[str, Any]:
    size = "TransitionDefaultMinimumObjectSize"
    more = {size: value[size]} if size in value else {}
    return {"LifecycleConfiguration": {"Rules": value["Rules"]}, **more}


def _put_policy(bucket: str, text: str | None, account: str) -> Call:
    own: dict[str, JsonValue] = {"Bucket": bucket, "ExpectedBucketOwner": account}
    if text is None:
        return Call(service="s3", operation="DeleteBucketPolicy", parameters=own)
    return Call(service="s3", operation="PutBucketPolicy", parameters={**own, "Policy": text})


def _call_of(plan: Plan, change: Change) -> Call:
    return plan.calls[plan.changes.index(change)]


def _back(plan: Plan, change: Change, text: str | None, account: str) -> Call:
    """Return the call that takes a change back, given the policy as it is now."""
    bucket = change.resource
    if not _is_policy(change):
        return _put(bucket, change.attribute, _before(change), account)
    original = _text(plan.before["policy"])
    statement = _members(change.after)
    if _bucket_policy.alike(text, _bucket_policy.merged(original, statement)):
        return _put_policy(bucket, original, account)
    if change.before is not None:
        return _put_policy(bucket, _bucket_policy.merged(text, _members(change.before)), account)
    return _put_policy(bucket, _bucket_policy.without(text, statement["Sid"]), account)


def _before(change: Change) -> JsonValue:
    """Return what a change is taken back to: versioning that was once on is never off again."""
    return SUSPENDED if change.attribute == VERSIONING else change.before


# What is so now


def _now(plan: Plan, text: str | None, aws: Aws) -> State:
    bucket = plan.target.subject.id
    now = {**_bucket.settings(aws, bucket), **_of_policy(bucket, text, _wanted_of(plan))}
    never = any((c.attribute, c.before) == (VERSIONING, None) for c in plan.changes)
    if never and now[bucket, VERSIONING] == SUSPENDED:  # as near to never as it gets
        now[bucket, VERSIONING] = None
    return now


def _of_policy(bucket: str, text: str | None, wanted: dict[str, JsonValue]) -> State:
    """Return our statement as it stands in a policy, if it does."""
    return {
        (bucket, name): _bucket_policy.find(text, name.removeprefix(f"{POLICY} "))
        for name in wanted
        if name.startswith(POLICY)
    }


def _looked_at(plan: Plan, aws: Aws) -> Proof:
    bucket = plan.target.subject.id
    if not _bucket.exists(aws, bucket):
        return proof(plan, [Check(name=bucket, ok=False, detail="does not exist any more")])
    wanted = _wanted_of(plan)
    text = _bucket.policy(aws, bucket)
    now = {**_bucket.settings(aws, bucket), **_of_policy(bucket, text, wanted)}
    checks = [_read_back(bucket, name, after, now) for name, after in wanted.items()]
    return proven(plan, checks, *_spreading(plan, aws))


def _spreading(plan: Plan, aws: Aws) -> tuple[Window, ...]:
    """Tell until when S3 may still overwrite for good: versioning that is new takes its time.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html
    """
    if not any((c.attribute, c.before) == (VERSIONING, None) for c in plan.changes):
        return ()
    name, (since, due) = f"{plan.target.subject.id} keeps versions", in_force(aws, plan.target.at)
    if datetime.now(UTC) < due:
        return (pending(name, "S3 may take so long to do so everywhere", since, due),)
    return (silent(name, f"everywhere by {stamp(due)}", due),)


def _read_back(bucket: str, name: str, after: JsonValue, now: State) -> Check:
    value = now[bucket, name]
    if name == LIFECYCLE:  # rules that delete nothing are their owner's to change
        on = _bucket.deletions(value)
        told = f"{counted(on, 'rule')} on that delete" if on else "no rule deletes"
        return Check(name=f"{bucket} {name}", ok=not on, detail=told)
    ok = value == after
    return Check(name=f"{bucket} {name}", ok=ok, detail="as we set it" if ok else f"is {value}")


# What is told


def _plan(target: Target, params: Params, **members: Any) -> Plan:
    return Plan(
        action="aws.lock_bucket",
        target=target,
        lease=target.subject.id,
        params=params.model_dump(mode="json"),
        **members,
    )


def _summary(bucket: str, params: Params, changes: tuple[Change, ...]) -> str:
    if not changes:
        return f"Nothing to lock: {bucket} is so already."
    if params.to is Whose.PUBLIC:
        return f"Make {bucket} private."
    return f"Lock {bucket}: deny {_denied(params)}."


def _denied(params: Params) -> str:
    what = {Requests.ALL: "everything"}.get(params.deny, params.deny.value)
    to = {
        Whose.EVERYONE: "to everyone",
        Whose.OUTSIDE: "to whoever is of another account",
        Whose.PRESIGNED: "to whoever comes by a pre-signed URL",
    }[params.to]
    spared = [*map(str, params.networks), *params.vpcs]
    return f"{what} {to}" + (f", but not from {', '.join(spared)}" if spared else "")


def _felt(bucket: str, params: Params, changes: tuple[Change, ...]) -> tuple[str, ...]:
    if not changes:
        return ()
    lines = []
    if params.to is not Whose.PUBLIC:
        spared = ", ".join(params.exempt) or "no break-glass role (protected.principals is empty)"
        lines += [
            f"denied on {bucket}: {_denied(params)}; exempt are Firedoor and {spared}",
            "downloads that have begun go on to their end",
        ]
        if params.to is Whose.EVERYONE:
            lines += [
                f"nobody else can change the settings of {bucket}, Terraform neither; the account's"
                " root user can delete its policy all the same",
                "pre-signed URLs are denied with whoever signed them",
            ]
        else:
            lines.append(f"keys and roles of this account go on at {bucket}: revoke those misused")
        lines.append(
            f"if others edit the policy of {bucket} meanwhile, only our statement goes on release:"
            " the last calls of the undo are for that"
        )
        if params.networks or params.vpcs:
            lines.append("services that read on behalf of a caller, as Athena, count as elsewhere")
    for change in changes:
        if change.attribute == LIFECYCLE:
            stopped = _bucket.deletions(change.before)
            lines.append(
                f"off on {bucket}: {counted(stopped, 'lifecycle rule')} that would delete, with all"
                " else they do; what would have expired is kept, and paid for"
            )
        if change.attribute == VERSIONING:
            lines.append(f"what is overwritten in {bucket} is kept as a version, and paid for")
    return tuple(lines)


def _lost(bucket: str, changes: tuple[Change, ...]) -> tuple[str, ...]:
    lost = {
        (VERSIONING, None): f"versioning of {bucket} is suspended after release: it cannot be as if"
        " it had never been on, and versions made meanwhile stay",
        (VERSIONING, SUSPENDED): f"versions made meanwhile in {bucket} stay",
    }
    keys = [(c.attribute, c.before) for c in changes if c.attribute == VERSIONING]
    return tuple(lost[key] for key in keys)  # type: ignore[index]


def _tasks(bucket: str, remarks: Remarks) -> tuple[str, ...]:
    if not any(check.detail == _bucket.UNLOGGED for check in remarks.preflight):
        return ()
    return (
        f"Turn on S3 data events for {bucket} in a CloudTrail trail (CloudTrail, Trails, Data"
        " events), as no trail records who reads or writes its objects. It is done when"
        f" `aws cloudtrail get-event-selectors` of that trail names arn:aws:s3:::{bucket}/.",
    )


# What must not be


def _refusals(aws: Aws, bucket: str, now: State, calls: tuple[Call, ...]) -> tuple[str, ...]:
    refusals = []
    evidence = urlsplit(settings().evidence or "")
    if evidence.scheme == "s3" and evidence.netloc == bucket:
        refusals.append(
            f"{bucket} is where Firedoor keeps evidence: lock it by hand, under a policy that lets"
            " Firedoor write"
        )
    texts = [str(c.parameters["Policy"]) for c in calls if c.operation == "PutBucketPolicy"]
    sizes = [len(text.encode()) for text in texts]
    refusals += [
        f"the policy of {bucket} would have {size} bytes, and S3 takes {_bucket_policy.MOST}:"
        " shorten it first, or lock with `to: public`"
        for size in sizes
        if size > _bucket_policy.MOST
    ]
    if texts and (why := _bucket.public_policy_blocked(aws, bucket, now[bucket, BLOCK])):
        refusals.append(
            f"the policy of {bucket} cannot be added to: {why}. Narrow its public statements first,"
            " or lock with `to: public`"
        )
    return tuple(refusals)


def _delivered(aws: Aws, bucket: str, params: Params) -> tuple[str, ...]:
    """Return why the lock would stop CloudTrail from writing what the response needs to read."""
    service = "cloudtrail.amazonaws.com"
    writes = params.deny is not Requests.READS and params.to in {Whose.EVERYONE, Whose.OUTSIDE}
    if not writes or service in params.services:
        return ()
    names = _bucket.trails(aws, bucket)
    if not names:
        return ()
    return (
        f"{', '.join(names)} deliver into {bucket}, and the lock would stop that: let `services`"
        f" name {service}",
    )


def _may(aws: Aws, bucket: str) -> Check:
    actions = [name for name in ACTION.permissions.apply if name.startswith("s3:Put")]
    return _identity.may(aws, actions, f"arn:{aws.partition}:s3:::{bucket}")


def _is_policy(change: Change) -> bool:
    return change.attribute.startswith(POLICY)


def _wanted_of(plan: Plan) -> dict[str, JsonValue]:
    return _members(plan.before.get("wanted"))


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) else None


def _members(value: JsonValue) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
