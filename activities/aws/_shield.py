"""Shield Advanced: what its response to an attack is set to, and what its responders may see."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws._reading import or_none
from activities.aws._window import stamp
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.model.plan import Call, Change, Check

REGION = "us-east-1"
"""Where Shield is asked, whichever region a subject is in."""

# https://docs.aws.amazon.com/waf/latest/DDOSAPIReference/API_AssociateDRTLogBucket.html
MOST_BUCKETS = 10

RECENT = timedelta(days=1)
"""How far back attacks are looked for."""

COUNT, BLOCK, OFF = "Count", "Block", "off"

ACCESS = "shield/drt-access"
PROACTIVE = "shield/proactive-engagement"

# What an answer to an attack on the application layer can be set for.
# https://docs.aws.amazon.com/waf/latest/developerguide/ddos-automatic-app-layer-response.html
GUARDED = (":cloudfront::", ":loadbalancer/app/")

TEAM, TEAM_POLICY = "drt.shield.amazonaws.com", "AWSShieldDRTAccessPolicy"
TEAM_ROLE = "the response team can act as the role"

Object = dict[str, Any]
Effect = tuple[Change, Call, Call | None]


def subscription(aws: Aws) -> Object | None:
    """Read the subscription to Shield Advanced; None if there is none."""
    found = or_none(_client(aws).describe_subscription)
    return found["Subscription"] if found else None


def responses(
    aws: Aws, resources: Sequence[str], *, block: bool
) -> tuple[list[Effect], list[str], list[str]]:
    """Return how to have Shield answer attacks on resources by itself, and what people must do.

    The second list says what is not protected, the third what cannot have such an answer.
    """
    effects: list[Effect] = []
    unprotected, unfit = [], []
    wanted = BLOCK if block else COUNT
    for arn in resources:
        if not any(part in arn for part in GUARDED):
            unfit.append(arn)
            continue
        now = _response(aws, arn)
        if now is None:
            unprotected.append(arn)
        elif now not in {wanted, BLOCK}:  # what blocks is not made to count again
            effects.append(_answer(arn, now, wanted))
    return effects, unprotected, unfit


def attacks(aws: Aws, resources: Sequence[str], at: datetime) -> list[str]:
    """Return what Shield saw of attacks on resources in the last day, newest first."""
    found = aws.elsewhere(region=REGION).pages(
        "shield",
        "ListAttacks",
        "AttackSummaries",
        ResourceArns=list(resources),
        StartTime={"FromInclusive": at - RECENT},
    )
    newest = sorted(found, key=lambda attack: attack["StartTime"], reverse=True)
    return [_attack(attack) for attack in newest]


def access(aws: Aws, role: str, buckets: Sequence[str]) -> tuple[list[Effect], list[str]]:
    """Return how to let the response team in, and the buckets that it cannot be let into.

    It has at most ten, and none without a role.
    """
    now = _client(aws).describe_drt_access()
    had, known = now.get("RoleArn"), now.get("LogBucketList") or []
    effects: list[Effect] = []
    if role and role != had:
        # An account has one, so ours takes the place of that one.
        back = _call("AssociateDRTRole", {"RoleArn": had}) if had else _call("DisassociateDRTRole")
        change = Change(resource=ACCESS, attribute="role", before=had, after=role)
        effects.append((change, _call("AssociateDRTRole", {"RoleArn": role}), back))
    new = [bucket for bucket in dict.fromkeys(buckets) if bucket not in known]
    room = MOST_BUCKETS - len(known) if role or had else 0
    for bucket in new[:room]:
        change = Change(resource=ACCESS, attribute=f"bucket {bucket}", before=False, after=True)
        named: dict[str, JsonValue] = {"LogBucket": bucket}
        effects.append(
            (
                change,
                _call("AssociateDRTLogBucket", named),
                _call("DisassociateDRTLogBucket", named),
            )
        )
    return effects, new[room:]


def can_act_as(aws: Aws, role: str) -> tuple[Check, ...]:
    """Say whether the response team can do anything as a role: Shield takes no other.

    https://docs.aws.amazon.com/waf/latest/developerguide/ddos-srt-access.html
    """
    iam, name = aws.client("iam"), role.rpartition("/")[2]
    found = or_none(partial(iam.get_role, RoleName=name))
    if found is None:
        return (Check(name=TEAM_ROLE, ok=False, detail=f"there is no role {name}: make it first"),)
    attached = aws.pages("iam", "ListAttachedRolePolicies", "AttachedPolicies", RoleName=name)
    lacking = [
        what
        for what, there in (
            (f"trust in {TEAM}", TEAM in json.dumps(found["Role"]["AssumeRolePolicyDocument"])),
            (f"policy {TEAM_POLICY}", TEAM_POLICY in {one["PolicyName"] for one in attached}),
        )
        if not there
    ]
    told = f"{name} lacks {' and '.join(lacking)}" if lacking else name
    return (Check(name=TEAM_ROLE, ok=not lacking, detail=told),)


def engagement(
    aws: Aws, subscription: Mapping[str, Any], contacts: Sequence[Mapping[str, str]]
) -> Iterator[Effect]:
    """Yield how to have the response team call people by themselves."""
    status = subscription.get("ProactiveEngagementStatus")
    had = _contacts(aws)
    wanted: JsonValue = [dict(contact) for contact in contacts]
    before: JsonValue = [*had]
    change = Change(resource=PROACTIVE, attribute="contacts", before=before, after=wanted)
    named: dict[str, JsonValue] = {"EmergencyContactList": wanted}
    restored = _call("UpdateEmergencyContactSettings", {"EmergencyContactList": before})
    if wanted != before:
        # The first time they come with the request to be engaged; later they are only replaced.
        first = "AssociateProactiveEngagementDetails"
        operation = "UpdateEmergencyContactSettings" if status else first
        yield change, _call(operation, named), restored
    if status == "DISABLED":
        change = Change(resource=PROACTIVE, attribute="enabled", before=False, after=True)
        back = _call("DisableProactiveEngagement")
        yield change, _call("EnableProactiveEngagement"), back


def state(aws: Aws, changes: Sequence[Change]) -> State:
    """Read what changes are about, as it is now."""
    found: dict[tuple[str, str], JsonValue] = {}
    drt = or_none(_client(aws).describe_drt_access) or {}
    for change in changes:
        match change.attribute.split(" "):
            case ["role"]:
                value: JsonValue = drt.get("RoleArn")
            case ["bucket", bucket]:
                value = bucket in (drt.get("LogBucketList") or ())
            case ["contacts"]:
                value = [*_contacts(aws)]
            case ["enabled"]:
                value = engaged(aws) not in {"", "DISABLED"}
            case _:
                value = _response(aws, change.resource)
        found[change.resource, change.attribute] = value
    return found


def engaged(aws: Aws) -> str:
    """Read the status of proactive engagement; nothing if it was never asked for."""
    return str((subscription(aws) or {}).get("ProactiveEngagementStatus") or "")


def _attack(attack: Mapping[str, Any]) -> str:
    vectors = ", ".join(vector["VectorType"] for vector in attack.get("AttackVectors") or ())
    until = f"until {stamp(attack['EndTime'])}" if "EndTime" in attack else "and goes on"
    where = attack["ResourceArn"].rpartition(":")[2]
    return f"{vectors or 'attack'} on {where} since {stamp(attack['StartTime'])} {until}"


def _answer(arn: str, now: str, wanted: str) -> Effect:
    change = Change(resource=arn, attribute="automatic response", before=now, after=wanted)
    action: dict[str, JsonValue] = {"ResourceArn": arn, "Action": {wanted: {}}}
    if now == OFF:
        return (
            change,
            _call("EnableApplicationLayerAutomaticResponse", action),
            _call("DisableApplicationLayerAutomaticResponse", {"ResourceArn": arn}),
        )
    update = "UpdateApplicationLayerAutomaticResponse"
    return change, _call(update, action), _call(update, {**action, "Action": {now: {}}})


def _response(aws: Aws, arn: str) -> str | None:
    found = or_none(partial(_client(aws).describe_protection, ResourceArn=arn))
    if found is None:
        return None
    set_to = found["Protection"].get("ApplicationLayerAutomaticResponseConfiguration") or {}
    if set_to.get("Status") != "ENABLED":
        return OFF
    return BLOCK if BLOCK in set_to["Action"] else COUNT


def _contacts(aws: Aws) -> list[dict[str, JsonValue]]:
    answer = or_none(_client(aws).describe_emergency_contact_settings) or {}
    return [dict(contact) for contact in answer.get("EmergencyContactList") or ()]


def _call(operation: str, parameters: dict[str, JsonValue] | None = None) -> Call:
    return Call(service="shield", operation=operation, parameters=parameters or {}, region=REGION)


def _client(aws: Aws) -> Any:
    return aws.elsewhere(region=REGION).client("shield")
