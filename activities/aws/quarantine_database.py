"""Quarantine of an RDS instance or cluster: unreachable, kept, and under a new password."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pydantic import Field, JsonValue

from activities.aws import _database, _groups, _identity, _network, _quarantine
from activities.aws._database import (
    AT_REST,
    CLUSTER,
    DATA_API,
    GROUPS,
    INSTANCE,
    PROTECTION,
    PUBLIC,
    STEADY,
    Sight,
)
from activities.aws._reading import strings
from activities.aws._window import Window, pending, proven, unproven
from firedoor.action import Action, Permissions, outstanding, receipt, restorable
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, PlanStale, Refused
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


class Params(Model):
    """What a runbook may set."""

    rotate: bool = Field(
        default=True, description="give the master user a new password, where RDS manages it"
    )
    snapshot: bool = Field(default=True, description="take a snapshot, which stays after release")


_MEMBERS = {
    GROUPS: "VpcSecurityGroupIds",
    PUBLIC: "PubliclyAccessible",
    PROTECTION: "DeletionProtection",
}
"""What sets an attribute in ModifyDBInstance and ModifyDBCluster."""


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Let nothing connect to a database any more, keep a snapshot, and change its password."""
    found = _database.find(aws, target.subject.id)
    sight = _database.look(aws, *found) if found else None
    if sight is None:
        why = f"database {target.subject.id} does not exist"
        return (_plan(target, params, target.subject.id, summary=why, refusals=(why,), gone=True),)
    name = _snapshot_name(target, sight)
    changes = _changes(sight)
    calls = _calls(sight, changes, params, name, target) if changes else ()
    reads: list[Callable[[], Any]] = [
        partial(_database.doors, aws, sight, target.at),
        partial(_may, aws, sight, calls),
    ]
    remarks, may = aws.together(*reads)
    return (
        _plan(
            target,
            params,
            sight.label,
            summary=_summary(sight, changes),
            before={
                "kind": sight.kind,
                "id": sight.id,
                "resource": sight.resource,
                "quarantine": _quarantine.planned([sight.vpc], sight.groups),
                "secret": sight.secret.get("SecretArn"),
                "version": sight.version,
                "snapshot": name,
                "groups": [*sight.group_ids],
            },
            changes=changes,
            calls=calls,
            undo=_undo(sight, changes),
            blast_radius=(*_felt(sight, changes), *remarks.blast_radius),
            preflight=(*may, *remarks.preflight),
            lost=_lost(sight, calls, name),
            touched=Touched(resources={sight.id: sight.tags}),
            refusals=_refusals(sight),
            tasks=_tasks(sight, params) if changes else (),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Close the door first: RDS takes no change of a database that is being backed up.

    It also takes none while an earlier one is under way; then this is tried again, and does what is
    left. A new password or a snapshot that RDS refuses for good stops nothing, and the receipt says
    so.
    """
    if not plan.calls:
        return receipt(plan)
    sight = _sight(plan, aws)
    if sight is None:
        raise PlanStale(_gone(plan, aws))
    todo = outstanding(plan, sight.state)
    if todo and (why := AT_REST.get(sight.status)):
        raise PlanStale(f"{sight.label} cannot be changed: {why}")
    group = sight.groups.get(sight.vpc)
    if group:
        _quarantine.expect_planned(group, plan)
    with aws.only(plan.calls) as permit:
        if any(change.attribute == GROUPS for change in todo):
            group_id = _quarantine.ready(sight.vpc, group, plan, aws)
            created = {sight.vpc: group_id} if _quarantine.creation_in(plan, sight.vpc) else {}
        else:
            group_id, created = group["GroupId"] if group else LATER, {}
        for call in _settings(sight, plan.changes, group_id):
            if any(change in todo for change in _of(call, plan.changes)):
                aws.call(call)
        left = (*_rotate(plan, sight, aws), *_snapshot(plan, sight, aws))
    return receipt(plan, permit.made, created=created, left=left)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that nothing can connect, and whether whoever was connected still is."""
    return _network.settled(partial(_looked_at, plan, aws))


def revert(plan: Plan, aws: Aws) -> Receipt:
    """Give back what still is as we set it; the snapshot and the new password stay."""
    if not plan.undo:
        return receipt(plan)
    sight = _sight(plan, aws)
    if sight is None:
        return receipt(plan, left=(_gone(plan, aws),))
    ours, left = restorable(plan, sight.state)
    if ours and sight.status in AT_REST:
        raise Refused(
            f"{sight.label} is {sight.status}, and RDS changes nothing of it: it stays in"
            " quarantine until somebody starts it and it is released again"
        )
    ours, gone = _with_groups_that_exist(plan, ours, aws)
    with aws.only(plan.undo) as permit:
        for call in _back(sight, plan.changes, ours, groups=strings(plan.before["groups"])):
            aws.call(call)
    return receipt(plan, permit.made, left=(*left, *gone))


ACTION = Action(
    nature=Nature.CONTAINMENT,
    kinds=frozenset({Kind.DATABASE}),
    plan=plan,
    apply=apply,
    verify=verify,
    revert=revert,
    params=Params,
    permissions=Permissions(
        plan=(
            "cloudwatch:GetMetricStatistics",
            "ec2:DescribeSecurityGroups",
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "kms:DescribeKey",
            "rds:DescribeDBClusters",
            "rds:DescribeDBInstances",
            "rds:DescribeDBProxies",
            "rds:DescribeDBProxyTargets",
            "rds:DescribeDBShardGroups",
            "rds:DescribeDBSubnetGroups",
            "secretsmanager:DescribeSecret",
            "sts:GetCallerIdentity",
        ),
        apply=(
            "ec2:CreateSecurityGroup",
            "ec2:CreateTags",
            "ec2:DescribeSecurityGroups",
            "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
            "rds:AddTagsToResource",
            "rds:CreateDBClusterSnapshot",
            "rds:CreateDBSnapshot",
            "rds:DescribeDBClusterSnapshots",
            "rds:DescribeDBClusters",
            "rds:DescribeDBInstances",
            "rds:DescribeDBSnapshots",
            "rds:DescribeDBSubnetGroups",
            "rds:DisableHttpEndpoint",
            "rds:ModifyDBCluster",
            "rds:ModifyDBInstance",
            "secretsmanager:DescribeSecret",
            "secretsmanager:RotateSecret",
        ),
        verify=(
            "cloudwatch:GetMetricStatistics",
            "ec2:DescribeSecurityGroups",
            "rds:DescribeDBClusterSnapshots",
            "rds:DescribeDBClusters",
            "rds:DescribeDBInstances",
            "rds:DescribeDBSnapshots",
            "rds:DescribeDBSubnetGroups",
            "secretsmanager:DescribeSecret",
        ),
        revert=(
            "ec2:DescribeSecurityGroups",
            "rds:DescribeDBClusters",
            "rds:DescribeDBInstances",
            "rds:DescribeDBSubnetGroups",
            "rds:EnableHttpEndpoint",
            "rds:ModifyDBCluster",
            "rds:ModifyDBInstance",
            "secretsmanager:DescribeSecret",
        ),
    ),
    techniques=("T1078", "T1110", "T1485", "T1530", "T1565.001"),
    countermeasures=("D3-CRO", "D3-NI"),
)


# What it takes


def _changes(sight: Sight) -> tuple[Change, ...]:
    wanted: dict[str, JsonValue] = {
        GROUPS: [_quarantine.NAME],
        PUBLIC: False,
        PROTECTION: True,
        DATA_API: False,
    }
    return tuple(
        Change(resource=resource, attribute=attribute, before=value, after=wanted[attribute])
        for (resource, attribute), value in sight.state.items()
        if value != wanted[attribute]
    )


def _calls(
    sight: Sight, changes: tuple[Change, ...], params: Params, name: str, target: Target
) -> tuple[Call, ...]:
    calls: list[Call] = []
    group = sight.groups.get(sight.vpc, _quarantine.NEW)
    if any(change.attribute == GROUPS for change in changes):
        calls += [] if sight.vpc in sight.groups else [_quarantine.creation(sight.vpc)]
        calls += _quarantine.revocations(group)
    calls += _settings(sight, changes, str(group["GroupId"]))
    if params.rotate and sight.version:
        calls.append(_rotation(sight))
    if params.snapshot:
        calls.append(_creation(sight, name, target))
    return tuple(calls)


def _settings(sight: Sight, changes: Iterable[Change], group: str) -> list[Call]:
    """Return the calls that make the changes, one for each thing: RDS takes one at a time."""
    changes = tuple(changes)
    calls = []
    for resource in dict.fromkeys(change.resource for change in changes):
        members: dict[str, JsonValue] = {
            _MEMBERS[change.attribute]: [group] if change.attribute == GROUPS else change.after
            for change in changes
            if change.resource == resource and change.attribute in _MEMBERS
        }
        if members:
            calls.append(_modify(resource, members))
    if any(change.attribute == DATA_API for change in changes):
        calls.append(_data_api(sight, on=False))
    return calls


def _undo(sight: Sight, changes: tuple[Change, ...]) -> tuple[Call, ...]:
    """Return all that revert may call: each thing at once, or what others left of it, alone."""
    back = partial(_back, sight, changes, groups=sight.group_ids)
    whole = back(changes)
    single = [call for change in reversed(changes) for call in back((change,))]
    return (*whole, *(call for call in single if call not in whole))


def _back(
    sight: Sight, changes: tuple[Change, ...], ours: tuple[Change, ...], *, groups: list[str]
) -> list[Call]:
    """Return the calls that take changes back, one by one where others changed a part since.

    `groups` are the security groups from before, in the order that they had.
    """
    calls = []
    if any(change.attribute == DATA_API for change in ours):
        calls.append(_data_api(sight, on=True))
    for resource in dict.fromkeys(change.resource for change in reversed(changes)):
        settings = [c for c in changes if c.resource == resource and c.attribute in _MEMBERS]
        back = [change for change in settings if change in ours]
        parts = [back] if back == settings else [[change] for change in back]
        calls += [
            _modify(
                resource,
                {
                    _MEMBERS[c.attribute]: [*groups] if c.attribute == GROUPS else c.before
                    for c in part
                },
            )
            for part in parts
            if part
        ]
    return calls


def _modify(resource: str, members: dict[str, JsonValue]) -> Call:
    kind, _, id = resource.partition("/")
    name = "DBCluster" if kind == CLUSTER else "DBInstance"
    return Call(
        service="rds",
        operation=f"Modify{name}",
        parameters={f"{name}Identifier": id, **members, "ApplyImmediately": True},
    )


def _data_api(sight: Sight, *, on: bool) -> Call:
    if sight.described.get("EngineMode") == "serverless":  # of version 1
        return _modify(sight.label, {"EnableHttpEndpoint": on})
    return Call(
        service="rds",
        operation="EnableHttpEndpoint" if on else "DisableHttpEndpoint",
        parameters={"ResourceArn": sight.arn},
    )


def _rotation(sight: Sight) -> Call:
    return _modify(sight.label, {"RotateMasterUserPassword": True})


def _creation(sight: Sight, name: str, target: Target) -> Call:
    kind = "DBCluster" if sight.kind == CLUSTER else "DB"
    owner = "DBClusterIdentifier" if sight.kind == CLUSTER else "DBInstanceIdentifier"
    tags = {"firedoor:incident": target.incident, "firedoor:step": target.step}
    return Call(
        service="rds",
        operation=f"Create{kind}Snapshot",
        parameters={
            f"{kind}SnapshotIdentifier": name,
            owner: sight.id,
            "Tags": [{"Key": key, "Value": value} for key, value in tags.items()],
        },
    )


def _snapshot_name(target: Target, sight: Sight) -> str:
    """Return the same name for every attempt of a step, and another for every other step."""
    step = hashlib.sha256(f"{target.incident}\n{target.step}".encode()).hexdigest()[:16]
    return f"firedoor-{sight.id}-{step}"


# What is done


def _sight(plan: Plan, aws: Aws) -> Sight | None:
    return _database.look(aws, str(plan.before["kind"]), str(plan.before["id"]))


def _gone(plan: Plan, aws: Aws) -> str:
    """Say that a database does not exist any more, or what it is called by now."""
    kind, id = str(plan.before["kind"]), plan.before["id"]
    if name := _database.renamed(aws, kind, str(plan.before["resource"])):
        return f"database {id} is called {name} by now: act on it by that name"
    return f"database {id} does not exist any more"


def _of(call: Call, changes: Iterable[Change]) -> list[Change]:
    """Return the changes that a call makes."""
    ids = {f"{CLUSTER}/{call.parameters.get('DBClusterIdentifier')}"}
    ids.add(f"{INSTANCE}/{call.parameters.get('DBInstanceIdentifier')}")
    is_api = "ResourceArn" in call.parameters or "EnableHttpEndpoint" in call.parameters
    return [
        change
        for change in changes
        if (is_api and change.attribute == DATA_API)
        or (change.resource in ids and _MEMBERS.get(change.attribute, "another") in call.parameters)
    ]


def _rotate(plan: Plan, sight: Sight, aws: Aws) -> tuple[str, ...]:
    """Have the password changed, unless it was since planning, or is being."""
    call = _rotation(sight)
    same = sight.version == plan.before["version"]
    if call in plan.calls and same and sight.secret.get("SecretStatus") != "rotating":
        return _tried("the master password was not changed", partial(aws.call, call))
    return ()


def _snapshot(plan: Plan, sight: Sight, aws: Aws) -> tuple[str, ...]:
    call = next((c for c in plan.calls if c.operation.endswith("Snapshot")), None)
    name = str(plan.before["snapshot"])
    if call is None:
        return ()

    def take() -> None:
        if _database.snapshot(aws, sight, name) is None:
            aws.call(call)

    return _tried("no snapshot was taken", take)


def _tried(failing: str, attempt: Callable[[], object]) -> tuple[str, ...]:
    """Attempt what the door is shut without, and say if it is refused."""
    try:
        attempt()
    except CloudError as error:
        if error.retryable:
            raise
        return (f"{failing}: {error}",)
    return ()


def _with_groups_that_exist(
    plan: Plan, ours: tuple[Change, ...], aws: Aws
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Return what can be given back: a group that was deleted meanwhile cannot."""
    moved = next((change for change in ours if change.attribute == GROUPS), None)
    if moved is None:
        return ours, ()
    wanted = set(strings(plan.before["groups"]))
    found = _network.by_filter(aws, "DescribeSecurityGroups", "group-id", wanted)
    gone = wanted - {group["GroupId"] for group in found}
    if not gone:
        return ours, ()
    told = (
        f"{moved.resource} stays in {_quarantine.NAME}, as {', '.join(sorted(gone))} does not exist"
    )
    return tuple(change for change in ours if change is not moved), (f"{told} any more",)


# What is so now


def _looked_at(plan: Plan, aws: Aws) -> Proof:
    sight = _sight(plan, aws)
    if sight is None:
        gone = Check(name=str(plan.before["id"]), ok=False, detail=_gone(plan, aws))
        return proven(plan, [gone])
    now = datetime.now(UTC)
    late = [change for change in plan.changes if _is_late(change, sight)]
    checks = [_read_back(change, sight) for change in plan.changes if change not in late]
    checks.append(_empty(sight))
    counts = (partial(_database.connections, aws, one, now) for one in sight.instances)
    windows = [*aws.together(*counts), *_under_way(sight, late, plan.target.at, now)]
    proof = proven(plan, checks, *windows, *_password(plan, sight, now))
    kept = _kept(plan, sight, aws)
    return proof.model_copy(update={"checks": (*proof.checks, *kept)})


def _is_late(change: Change, sight: Sight) -> bool:
    """Tell whether RDS still shows the public access from before, which it is just taking away."""
    value = sight.state.get((change.resource, change.attribute))
    is_modifying = change.resource in sight.modifying
    return change.attribute == PUBLIC and value == change.before and is_modifying


def _read_back(change: Change, sight: Sight) -> Check:
    value = sight.state.get((change.resource, change.attribute))
    ok = value == change.after
    told = "as we set it" if ok else f"is {value}"
    return Check(name=f"{change.resource} {change.attribute}", ok=ok, detail=told)


def _empty(sight: Sight) -> Check:
    name = f"{_quarantine.NAME} in {sight.vpc} lets nothing pass"
    group = sight.groups.get(sight.vpc)
    if group is None:
        return Check(name=name, ok=False, detail="does not exist")
    rules = [rule for _, rule in _quarantine.rules(group)]
    return Check(name=name, ok=not rules, detail=", ".join(rules))


def _under_way(
    sight: Sight, late: Iterable[Change], since: datetime, now: datetime
) -> list[Window]:
    """Return what RDS has accepted and not done yet."""
    told = sight.described.get("VpcSecurityGroups") or ()
    moving = sorted(g["VpcSecurityGroupId"] for g in told if g.get("Status") != "active")
    windows = [pending(f"{c.resource} {c.attribute}", "is being set", since, now) for c in late]
    if moving:
        what = f"{sight.label} {GROUPS}"
        windows.append(pending(what, f"{', '.join(moving)} under way", since, now))
    return windows


def _password(plan: Plan, sight: Sight, now: datetime) -> list[Window]:
    if not any("RotateMasterUserPassword" in call.parameters for call in plan.calls):
        return []
    name = f"{sight.label} master password"
    status = str(sight.secret.get("SecretStatus", "none"))
    if status == "rotating":
        return [pending(name, "is being changed", plan.target.at, now)]
    if sight.version == plan.before["version"]:
        return [unproven(name, f"is the one from before (the secret is {status})")]
    return []


def _kept(plan: Plan, sight: Sight, aws: Aws) -> list[Check]:
    """Say how far the snapshot is; it is evidence, and makes the quarantine no truer."""
    if not any(call.operation.endswith("Snapshot") for call in plan.calls):
        return []
    name = str(plan.before["snapshot"])
    found = _database.snapshot(aws, sight, name)
    if found is None:
        return [Check(name=f"snapshot {name}", ok=False, detail="is not there")]
    status = str(found["Status"])
    detail = f"{status}, {found.get('PercentProgress', 0)} %"
    return [Check(name=f"snapshot {name}", ok=status in {STEADY, "creating"}, detail=detail)]


# What is told


def _plan(target: Target, params: Params, lease: str, **members: Any) -> Plan:
    return Plan(
        action="aws.quarantine_database",
        target=target,
        lease=lease,
        params=params.model_dump(mode="json"),
        **members,
    )


def _summary(sight: Sight, changes: tuple[Change, ...]) -> str:
    if not changes:
        return f"Nothing to quarantine: {sight.label} is so already."
    return f"Quarantine {sight.label}: nothing connects to it any more."


def _felt(sight: Sight, changes: tuple[Change, ...]) -> tuple[str, ...]:
    if not changes:
        return ()
    lines = [f"no client, and no rotation function of yours, connects to {sight.id} any more"]
    if sight.kind == CLUSTER:
        names = ", ".join(sight.instances)
        lines.append(f"all {len(sight.instances)} instances of the cluster: {names}")
        if not _database.is_aurora(sight) and any(
            m.get("PubliclyAccessible") for m in sight.members
        ):
            lines.append("its public addresses stay, behind the quarantine group")
    if any(change.attribute == DATA_API for change in changes):
        lines.append("the Data API is off, which needs no connection and no security group")
    parts = [change for change in changes if change.attribute in _MEMBERS]
    if len(parts) > 1:
        lines.append(
            "if others change a part of it meanwhile, the rest is given back on release: the last"
            f" {len(parts)} calls of the undo are for that"
        )
    if sight.described.get("PendingModifiedValues"):
        waiting = ", ".join(sorted(sight.described["PendingModifiedValues"]))
        lines.append(f"what waits for the maintenance window takes effect at once: {waiting}")
    return tuple(lines)


def _lost(sight: Sight, calls: tuple[Call, ...], name: str) -> tuple[str, ...]:
    lost = []
    if any("RotateMasterUserPassword" in call.parameters for call in calls):
        lost.append(f"the master password of {sight.id} stays the new one, in the same secret")
    if any(call.operation.endswith("Snapshot") for call in calls):
        lost.append(f"snapshot {name} stays, and is charged for, until somebody deletes it")
    if calls and calls[0].operation == "CreateSecurityGroup":
        lost.append(f"{_quarantine.NAME} stays in {sight.vpc}, empty")
    return tuple(lost)


def _tasks(sight: Sight, params: Params) -> tuple[str, ...]:
    instances = ", ".join(sight.instances)
    tasks = [
        f"End the sessions that were open on {sight.id}: security groups do not. Restart"
        f" {instances} (RDS, Databases, Actions, Reboot; about a minute of outage), or from a"
        f" session that is still open use {_database.how_to_end(sight)}. It is done when the metric"
        f" DatabaseConnections of {instances} is 0."
    ]
    if params.rotate and not sight.version:
        why = "we may not read the secret of RDS" if sight.secret else "RDS does not manage it"
        tasks.append(
            f"Change the password of the master user of {sight.id}"
            f" ({sight.described.get('MasterUsername', 'master')}) by hand, where your clients read"
            f" it from too: {why}. It is done when the old one is refused."
        )
    tasks.append(
        f"Change the passwords of the other users of {sight.id} that may be known. It is done when"
        " the old ones are refused."
    )
    return tuple(tasks)


def _refusals(sight: Sight) -> tuple[str, ...]:
    refusals = []
    if why := AT_REST.get(sight.status):
        refusals.append(f"{sight.label} cannot be changed: {why}")
    group = sight.groups.get(sight.vpc)
    if group is not None and not _groups.has(group, _quarantine.TAGS):
        refusals.append(
            f"{group['GroupId']} in {sight.vpc} is named {_quarantine.NAME} but is not Firedoor's:"
            " rename or remove it first"
        )
    if not sight.vpc:
        refusals.append(f"{sight.label} is in no VPC, so no security group can cut it off")
    return tuple(refusals)


def _may(aws: Aws, sight: Sight, calls: tuple[Call, ...]) -> tuple[Check, ...]:
    named = sorted({f"rds:{call.operation}" for call in calls if call.service == "rds"})
    created = [call for call in calls if call.operation == "CreateSecurityGroup"]
    reads = [partial(aws.allowed, call) for call in created]
    if named:
        reads.append(partial(_identity.may, aws, named, sight.arn))
    return tuple(aws.together(*reads))
