"""The memory of an instance, dumped by a pinned tool through Systems Manager, within a limit."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, TypeAdapter

from activities.aws import _identity, _reading
from activities.aws._command import CLEAN_UP, DOCUMENTS, Dump, Platform, failure, result, split
from activities.aws._context import canonical
from activities.aws._reading import GONE, counted, tags, terminated
from firedoor import evidence
from firedoor.action import Action, Permissions, proof, receipt
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused
from firedoor.model.action import Barrier, Nature
from firedoor.model.base import Model
from firedoor.model.evidence import Evidence
from firedoor.model.finding import Kind
from firedoor.model.length import Length
from firedoor.model.plan import Call, Check, Plan, Proof, Receipt, Target, Touched, Verdict
from firedoor.settings import settings

RESULT = "memory-result.json"
LOCK = "Object Lock"

DELIVERY = timedelta(minutes=1)
"""Within which the agent must fetch the command."""

SLACK = timedelta(minutes=2)
"""What Systems Manager takes to say how a command ended."""

EXPIRY = timedelta(days=1)
"""After which the right to store ends by itself, if nobody is left to take it away."""

ENDED = frozenset({"Cancelled", "Failed", "Success", "TimedOut"})


def _zero(value: object) -> object:
    return timedelta(0) if value == 0 else value


class Params(Model):
    """What a runbook may set."""

    limit: Annotated[Length, BeforeValidator(_zero)] = Field(
        default=timedelta(minutes=10),
        ge=timedelta(0),
        le=timedelta(hours=2),
        description="how long containment waits for it; 0 skips it, as when data is flowing out",
    )


def plan(target: Target, params: Params, aws: Aws) -> tuple[Plan, ...]:
    """Dump the memory of an instance by a pinned tool, and store it with its hash."""
    if not params.limit:
        return (_nothing(target, params, "skipped by policy: its limit is 0", skipped=True),)
    instance = _reading.instance(aws, target.subject.id)
    if instance is None or terminated(instance):
        return (_nothing(target, params, f"{target.subject.id} {GONE}", gone=True),)
    try:
        dump = _prepare(target, params, aws)
        role = _role(instance, aws)
    except Refused as reason:
        return (_nothing(target, params, str(reason)),)
    name = role["RoleName"]
    allow, send, forbid = _calls(target, dump, name, aws)
    return (
        Plan(
            action="aws.capture_memory",
            target=target,
            lease=target.subject.id,
            params=params.model_dump(mode="json"),
            summary=f"Dump the memory of {target.subject.id}, for at most {_said(params.limit)}.",
            before={"dump": dump.model_dump(mode="json"), "role": name},
            calls=(allow, send, forbid),
            blast_radius=(
                f"{target.subject.id} goes on; the tool needs as much room on its disk as it has"
                " memory, which overwrites what was deleted there: take the snapshots first",
                f"steps that need it wait for {_said(params.limit)} at most",
                f"role {name} may store below {dump.place} from this instance until it is done",
            ),
            preflight=(
                _identity.may(aws, ["iam:PutRolePolicy", "iam:DeleteRolePolicy"], role["Arn"]),
            ),
            touched=Touched(
                resources={target.subject.id: tags(instance), f"role/{name}": tags(role)}
            ),
        ),
    )


def apply(plan: Plan, aws: Aws) -> Receipt:
    """Send the command, unless it was sent; when it has ended, take the right to store away again.

    It is called again until the command has ended or its time is over.
    """
    if not plan.calls:
        return receipt(plan)
    allow, send, _ = plan.calls
    kept = evidence.recorded(plan.digest)
    with aws.only(plan.calls) as permit:
        # SendCommand has no client token, and an answer may have been lost: look for ours first.
        run = _run(plan, aws)
        if run is None and not kept:
            _allow(allow, aws)
            try:
                aws.call(send)
            except CloudError as error:
                if not error.retryable:
                    _forbid(plan, aws)
                raise
        elif run and run.ended and not kept:
            kept = evidence.record(plan.digest, _result(plan, run, _forbid(plan, aws), aws))
    return receipt(plan, permit.made, created={"command": run.id} if run else {}, evidence=kept)


def verify(plan: Plan, aws: Aws) -> Proof:
    """Show that the memory is stored, with the size and the hash that the instance computed."""
    if not plan.calls:
        return proof(plan, [Check(name="memory", ok=True, detail=plan.summary)])
    kept = evidence.recorded(plan.digest)
    if not kept:
        run = _run(plan, aws)
        detail = f"command {run.id} {run.status}" if run else "no command was sent"
        checks = [Check(name="memory", ok=False, detail=detail)]
        return proof(plan, checks, verdict=Verdict.PENDING)
    content, written = evidence.checked(kept[0])
    problems = json.loads(content)["problems"] if written.ok else ()
    checks = [written, *(Check(name="memory", ok=False, detail=why) for why in problems)]
    checks += [check for dump in kept[1:] for check in _stored(dump)]
    proven = len(kept) > 1 and all(check.ok for check in checks if check.name != LOCK)
    verdict = Verdict.PROVEN if proven else Verdict.UNPROVEN
    return proof(plan, checks, verdict=verdict, evidence=kept)


ACTION = Action(
    nature=Nature.EVIDENCE,
    kinds=frozenset({Kind.INSTANCE}),
    plan=plan,
    apply=apply,
    verify=verify,
    params=Params,
    permissions=Permissions(
        plan=(
            "ec2:DescribeInstances",
            "iam:GetInstanceProfile",
            "iam:GetRole",
            "iam:SimulatePrincipalPolicy",
            "ssm:DescribeInstanceInformation",
        ),
        apply=(
            "iam:DeleteRolePolicy",
            "iam:GetRolePolicy",
            "iam:PutRolePolicy",
            "ssm:GetCommandInvocation",
            "ssm:ListCommands",
            "ssm:SendCommand",
        ),
        verify=("ssm:GetCommandInvocation", "ssm:ListCommands"),
    ),
    barrier=Barrier.ENDED,  # what comes after takes away the network and the role that it needs
    evidence_first={Kind.INSTANCE: ("snapshot_volumes",)},  # it writes to the disk
    techniques=("T1055", "T1070", "T1496", "T1620"),
    function="RS.AN",
)


def _nothing(
    target: Target, params: Params, why: str, *, gone: bool = False, skipped: bool = False
) -> Plan:
    return Plan(
        action="aws.capture_memory",
        target=target,
        lease=target.subject.id,
        params=params.model_dump(mode="json"),
        summary=f"No memory is captured: {why}.",
        refusals=() if skipped else (why,),
        gone=gone,
    )


def _prepare(target: Target, params: Params, aws: Aws) -> Dump:
    """Return what is to be run, or raise `Refused`."""
    place = settings().memory
    if place is None and (settings().evidence or "").startswith("s3://"):
        place = f"{str(settings().evidence).rstrip('/')}/memory"
    if place is None:
        raise Refused("memory has no place: set FIREDOOR_MEMORY to s3://bucket/prefix")
    platform = _platform(target.subject.id, aws)
    tool, sha256 = _tool(platform)
    name = _name(target)
    return Dump(
        platform=platform,
        tool=tool,
        sha256=sha256,
        place=f"{place.rstrip('/')}/{target.subject.account}/{target.subject.id}/{name}",
        name=name,
        region=aws.region,
        limit=params.limit,
    )


def _tool(platform: Platform) -> tuple[str, str]:
    suffix = "_WINDOWS" if platform is Platform.WINDOWS else ""
    tool = settings().memory_tool_windows if suffix else settings().memory_tool
    sha256 = settings().memory_tool_windows_sha256 if suffix else settings().memory_tool_sha256
    if tool is None or sha256 is None:
        raise Refused(
            f"no memory tool is set up for {platform}: set FIREDOOR_MEMORY_TOOL{suffix} and"
            f" FIREDOOR_MEMORY_TOOL{suffix}_SHA256"
        )
    return tool, sha256


def _platform(id: str, aws: Aws) -> Platform:
    listed = aws.pages(
        "ssm",
        "DescribeInstanceInformation",
        "InstanceInformationList",
        Filters=[{"Key": "InstanceIds", "Values": [id]}],
    )
    if not listed:
        raise Refused(f"{id} is not managed by Systems Manager: dump its memory by hand")
    (agent,) = listed
    if agent["PingStatus"] != "Online":
        raise Refused(
            f"the agent of Systems Manager on {id} is {agent['PingStatus']}, last seen"
            f" {agent.get('LastPingDateTime')}: dump its memory by hand"
        )
    try:
        return Platform(agent["PlatformType"])
    except ValueError:
        raise Refused(f"{id} runs {agent['PlatformType']}: dump its memory by hand") from None


def _role(instance: Mapping[str, Any], aws: Aws) -> dict[str, Any]:
    """Return the role by which the instance is to fetch the tool and store the dump.

    That it uses its own, and is given the right for just that, needs no secret to be handed over.
    A session of ours would have to be: in the command, where it stays, or in a parameter that
    others can read too, and our record of the call that makes the parameter would hold it as well.
    Who is on the instance can use either.
    """
    profile = instance.get("IamInstanceProfile")
    if profile is None:
        raise Refused(f"{instance['InstanceId']} has no role by which it could store its memory")
    name = profile["Arn"].rpartition("/")[2]
    iam = aws.client("iam")
    found = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    role = next(iter(found["Roles"]), None)
    if role is None or role["Path"].startswith("/aws-service-role/"):
        raise Refused(f"profile {name} has no role that can be given the right to store memory")
    # Only asked for by its own name it comes with its tags, by which it can be protected.
    return dict(iam.get_role(RoleName=role["RoleName"])["Role"])


def _calls(target: Target, dump: Dump, role: str, aws: Aws) -> tuple[Call, Call, Call]:
    """Return the calls: give the right, send the command, take the right away."""
    policy = {"RoleName": role, "PolicyName": dump.name}
    document = json.dumps(_policy(target, dump, aws), sort_keys=True)
    return (
        Call(
            service="iam",
            operation="PutRolePolicy",
            parameters={**policy, "PolicyDocument": document},
        ),
        Call(
            service="ssm",
            operation="SendCommand",
            parameters={
                "InstanceIds": [target.subject.id],
                "DocumentName": DOCUMENTS[dump.platform],
                "Comment": dump.name,
                "TimeoutSeconds": int(DELIVERY.total_seconds()),
                "Parameters": TypeAdapter(dict[str, Any]).validate_python(dump.parameters),
            },
        ),
        Call(service="iam", operation="DeleteRolePolicy", parameters={**policy}),
    )


def _policy(target: Target, dump: Dump, aws: Aws) -> dict[str, Any]:
    """Return the policy that lets this instance, and no other with its role, store for a while."""
    here = f"arn:{aws.partition}:ec2:{aws.region}:{aws.account}:instance/{target.subject.id}"
    condition = {
        "ArnEquals": {"ec2:SourceInstanceARN": here},
        "DateLessThan": {"aws:CurrentTime": f"{target.at + EXPIRY:%Y-%m-%dT%H:%M:%SZ}"},
    }
    s3 = f"arn:{aws.partition}:s3:::"
    rights = (
        ("s3:GetObject", f"{s3}{'/'.join(split(dump.tool))}"),
        (["s3:AbortMultipartUpload", "s3:PutObject"], f"{s3}{'/'.join(split(dump.place))}/*"),
    )
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}
            for action, resource in rights
        ],
    }


def _name(target: Target) -> str:
    """Return the name by which the command, its policy and its directory are known."""
    ours = (target.incident, target.step, target.subject.id)
    return f"firedoor-memory-{hashlib.sha256(repr(ours).encode()).hexdigest()[:16]}"


# What happens


@dataclass(frozen=True)
class _Run:
    """A command that was sent, and how it is."""

    id: str
    sent: datetime
    status: str
    over: bool
    invocation: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether nothing more is to be expected of it."""
        return self.over or self.status in ENDED


def _dump(plan: Plan) -> Dump:
    return Dump.model_validate(plan.before["dump"])


def _run(plan: Plan, aws: Aws) -> _Run | None:
    """Read the command of a plan, if it was sent; of two the first, as the other does nothing."""
    dump = _dump(plan)
    after = f"{plan.target.at - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}"
    listed = aws.pages(
        "ssm",
        "ListCommands",
        "Commands",
        InstanceId=plan.target.subject.id,
        Filters=[{"key": "InvokedAfter", "value": after}],
    )
    ours = [command for command in listed if command.get("Comment") == dump.name]
    if not ours:
        return None
    first = min(ours, key=lambda command: command["RequestedDateTime"])
    invocation = _invocation(first["CommandId"], plan.target.subject.id, aws)
    sent = first["RequestedDateTime"].astimezone(UTC)
    return _Run(
        id=first["CommandId"],
        sent=sent,
        status=invocation.get("Status", first["Status"]),
        over=datetime.now(UTC) > sent + DELIVERY + dump.limit + CLEAN_UP + SLACK,
        invocation=invocation,
    )


def _invocation(command: str, instance: str, aws: Aws) -> dict[str, Any]:
    read = partial(aws.client("ssm").get_command_invocation, CommandId=command, InstanceId=instance)
    try:
        return dict(read())
    except CloudError as error:
        if error.code != "InvocationDoesNotExist":  # it does a moment after it was sent
            raise
        return {"Status": "Pending"}


def _allow(call: Call, aws: Aws) -> None:
    if _given(call, aws) != json.loads(str(call.parameters["PolicyDocument"])):
        aws.call(call)


def _forbid(plan: Plan, aws: Aws) -> tuple[str, ...]:
    """Take the right to store away, or say that it stays until it expires."""
    allow, _, forbid = plan.calls
    try:
        if _given(allow, aws) is not None:
            aws.call(forbid)
    except CloudError as error:
        if error.retryable:
            raise
        until = plan.target.at + EXPIRY
        return (f"role {plan.before['role']} may store until {until:%Y-%m-%d %H:%MZ}: {error}",)
    return ()


def _given(call: Call, aws: Aws) -> Any:
    role, name = (str(call.parameters[member]) for member in ("RoleName", "PolicyName"))
    return _identity.inline_policy(aws, "Role", role, name)


def _result(plan: Plan, run: _Run, problems: tuple[str, ...], aws: Aws) -> list[Evidence]:
    """Store how it ended, and return that and the memory itself, if it was stored."""
    dump, said = _dump(plan), run.invocation
    stored = result(said.get("StandardOutputContent", "")) if run.status == "Success" else None
    if stored is None:
        code, errors = said.get("ResponseCode", -1), said.get("StandardErrorContent", "")
        status = "TimedOut" if run.over else run.status
        problems = (failure(status, code, errors, dump.limit), *problems)
    at = datetime.now(UTC)
    document = {
        "incident": plan.target.incident,
        "step": plan.target.step,
        "plan": plan.digest,
        "subject": plan.target.subject.model_dump(mode="json"),
        "taken_by": aws.identity,
        "approved_by": aws.by,
        "written_at": at,
        "tool": {"uri": dump.tool, "sha256": dump.sha256},
        "command": {"id": run.id, "sent_at": run.sent, "invocation": said},
        "memory": {"uri": dump.uri, "sha256": stored[0], "bytes": stored[1]} if stored else None,
        "problems": problems,
    }
    kept = [evidence.keep(canonical(document), RESULT, at)]
    if stored:
        name = f"memory of {plan.target.subject.id}"
        sha256, size = stored
        kept.append(Evidence(name=name, taken_at=run.sent, uri=dump.uri, sha256=sha256, size=size))
    return kept


def _stored(dump: Evidence) -> list[Check]:
    """Say whether the memory is where it should be, and kept from being altered there.

    Its hash is the one that the instance computed: it may have many GiB, and is not read here.
    """
    found = evidence.stat(dump.uri)
    if found is None:
        return [Check(name=dump.name, ok=False, detail=f"{dump.uri} is not there")]
    size = found["ContentLength"]
    detail = f"{dump.uri}, {size} bytes of {dump.size}"
    held = evidence.lock(dump.uri)
    return [
        Check(name=dump.name, ok=size == dump.size, detail=detail),
        Check(name=LOCK, ok=held is not None, detail=held or f"{dump.uri} is not locked"),
    ]


def _said(limit: timedelta) -> str:
    return counted(int(limit.total_seconds() // 60), "minute")
