"""What freezing a Lambda function reads and preserves: settings, sources, code."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from pydantic import JsonValue

from activities.aws import _identity, _metrics, _network
from activities.aws._network import Remarks
from activities.aws._reading import counted, named, or_none
from firedoor import evidence
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import FiredoorError, Unreachable
from firedoor.model.evidence import Evidence
from firedoor.model.plan import Check, Plan

RESERVED, ENABLED = "reserved concurrency", "enabled"
PROVISIONED, URL = "provisioned concurrency of ", "URL access of "
"""What changes are called; the last two before a version or an alias."""

LATEST = "$LATEST"

EDGE, EDGE_HOME = "copies at the edge", "us-east-1"
"""What is said of Lambda@Edge, and the one region where its functions are made."""

BUSY = "busy"
"""Stands for a mapping in between: AWS takes no change of it until it has come to rest."""

FETCH = 20  # seconds that fetching the code may hold up the rest

MOST_CODE = 300 * 1024**2  # bytes; 250 MiB is the most that Lambda takes

_STATES = {"Enabled": True, "Enabling": True, "Disabled": False, "Disabling": False}


@dataclass(frozen=True)
class Sight:
    """A function as it is now."""

    name: str
    function: Mapping[str, Any]
    mappings: list[dict[str, Any]] = field(default_factory=list)
    state: State = field(default_factory=dict)
    unread: tuple[str, ...] = ()  # what we may not list

    @property
    def configuration(self) -> Mapping[str, Any]:
        """What GetFunction says of it."""
        found: Mapping[str, Any] = self.function["Configuration"]
        return found

    @property
    def arn(self) -> str:
        """Its ARN, without a version."""
        return str(self.configuration["FunctionArn"])

    @property
    def timeout(self) -> timedelta:
        """For how long one invocation can run."""
        return timedelta(seconds=self.configuration.get("Timeout", 3))


def name_of(id: str) -> str:
    """Return the name in a name, an ARN or a part of one, whatever version it adds."""
    found = re.search(r"(?:^|:function:)([^:]+)(?::[^:]+)?$", id)
    return found[1] if found else id


def look(aws: Aws, name: str) -> Sight | None:
    """Read a function, who calls it by polling, and its URLs; None if it does not exist."""
    client = aws.client("lambda")
    function = or_none(partial(client.get_function, FunctionName=name))
    if function is None:
        return None
    lists: dict[str, Callable[[], Any]] = {
        "provisioned concurrency": partial(_provisioned, aws, name),
        "event sources": partial(_mappings, aws, name),
        "function URLs": partial(_urls, aws, name),
    }
    concurrency, *listed = aws.together(
        partial(client.get_function_concurrency, FunctionName=name),
        *(partial(_identity.if_allowed, read) for read in lists.values()),
    )
    unread = tuple(what for what, one in zip(lists, listed, strict=True) if one is None)
    provisioned, mappings, urls = listed[0] or {}, listed[1] or [], listed[2] or {}
    state: dict[tuple[str, str], Any] = {
        (name, RESERVED): concurrency.get("ReservedConcurrentExecutions")
    }
    state |= {(name, f"{PROVISIONED}{q}"): number for q, number in provisioned.items()}
    state |= {(name, f"{URL}{q}"): access for q, access in urls.items()}
    state |= {(m["UUID"], ENABLED): _STATES.get(m["State"], BUSY) for m in mappings}
    return Sight(name, function, mappings, state, unread)


def source(mapping: Mapping[str, Any]) -> str:
    """Return what a mapping polls."""
    own = mapping.get("SelfManagedEventSource", {}).get("Endpoints", {})
    servers = ", ".join(server for servers in own.values() for server in servers)
    return str(mapping.get("EventSourceArn") or servers or "a source")


def surroundings(aws: Aws, sight: Sight, at: datetime) -> Remarks:
    """Look who calls a function, how often, and who else shares its concurrency."""
    looks: Mapping[str, Callable[[], Remarks]] = {
        "use": partial(_used, aws, sight.name, at),
        "resource policy": partial(_invokers, aws, sight.name),
        "aliases": partial(_aliases, aws, sight.name),
        "concurrency of the account": partial(_limits, aws, sight),
        "CloudFront": partial(_at_the_edge, aws, sight),
    }
    return _network.together(
        aws, *(partial(_network.tried, name, look) for name, look in looks.items())
    )


def version_with_code(aws: Aws, name: str, sha256: JsonValue) -> str | None:
    """Return the newest version of a function that has the code of a hash, if there is one."""
    versions = aws.pages("lambda", "ListVersionsByFunction", "Versions", FunctionName=name)
    having = [v["Version"] for v in versions if v["CodeSha256"] == sha256]
    return next((version for version in reversed(having) if version != LATEST), None)


def preserve(plan: Plan, sight: Sight, at: datetime, aws: Aws) -> tuple[Evidence, ...]:
    """Store settings and code of a function, unless that was done for the plan before.

    Code that cannot be had is named, with the reason, in the document that is always kept. Raises
    `Unreachable` if the store takes nothing.
    """
    if kept := evidence.recorded(plan.digest):
        return kept
    code, missing = _code(sight)
    document = {
        "incident": plan.target.incident,
        "step": plan.target.step,
        "plan": plan.digest,
        "frozen_at": at.isoformat(),
        "taken_by": aws.identity,
        "function": _without_secrets(sight.function),
        "event_source_mappings": sight.mappings,
        "not captured": missing,
    }
    text = json.dumps(document, sort_keys=True, indent=2, default=str).encode()
    stored = [evidence.keep(text, f"{sight.name}-function.json", at)]
    if code is not None:
        stored.append(evidence.keep(code, f"{sight.name}-code.zip", at))
    return evidence.record(plan.digest, stored)


def not_captured(kept: tuple[Evidence, ...]) -> tuple[str, ...]:
    """Return what the preserved document says that it lacks."""
    if not kept:
        return ()
    missing = json.loads(evidence.fetch(kept[0].uri))["not captured"]
    return tuple(f"{what} was not kept: {why}" for what, why in missing.items())


def _provisioned(aws: Aws, name: str) -> dict[str, int]:
    found = aws.pages(
        "lambda",
        "ListProvisionedConcurrencyConfigs",
        "ProvisionedConcurrencyConfigs",
        FunctionName=name,
    )
    return {
        _qualifier(one["FunctionArn"]): one["RequestedProvisionedConcurrentExecutions"]
        for one in found
    }


def _mappings(aws: Aws, name: str) -> list[dict[str, Any]]:
    # All of the account: asked for a function, AWS leaves out those of its versions and aliases.
    found = aws.pages("lambda", "ListEventSourceMappings", "EventSourceMappings")
    return sorted(
        (m for m in found if name_of(m.get("FunctionArn", "")) == name),
        key=lambda m: str(m["UUID"]),
    )


def _urls(aws: Aws, name: str) -> dict[str, str]:
    found = aws.pages("lambda", "ListFunctionUrlConfigs", "FunctionUrlConfigs", FunctionName=name)
    return {_qualifier(one["FunctionArn"]): one["AuthType"] for one in found}


def _qualifier(arn: str) -> str:
    parts = arn.split(":")
    return parts[7] if len(parts) > 7 else LATEST


# Who calls it


def _invokers(aws: Aws, name: str) -> Remarks:
    found = or_none(partial(aws.client("lambda").get_policy, FunctionName=name))
    if found is None:
        return Remarks()
    allowed = [s for s in json.loads(found["Policy"])["Statement"] if s["Effect"] == "Allow"]
    who = named(sorted({_principal(statement) for statement in allowed}))
    number = counted(len(allowed), "statement")
    return Remarks((f"its resource policy lets {who} call it ({number}): that stays, unused",))


def _principal(statement: Mapping[str, Any]) -> str:
    principal = statement.get("Principal", "*")
    if isinstance(principal, str):
        return principal
    return str(principal.get("Service") or principal.get("AWS") or "*")


def _aliases(aws: Aws, name: str) -> Remarks:
    found = aws.pages("lambda", "ListAliases", "Aliases", FunctionName=name)
    names = named([alias["Name"] for alias in found])
    return Remarks((f"its aliases stop too ({len(found)}): {names}",) if found else ())


def _used(aws: Aws, name: str, at: datetime) -> Remarks:
    day = timedelta(days=1)
    found = _metrics.points(
        aws,
        "AWS/Lambda Invocations",
        {"FunctionName": name},
        at - day,
        at,
        period=timedelta(hours=1),
    )
    number = int(sum(value for _, value in found))
    return Remarks((f"{name} was invoked {counted(number, 'time')} in the last 24 h",))


def _limits(aws: Aws, sight: Sight) -> Remarks:
    reserved = sight.state[sight.name, RESERVED]
    if not isinstance(reserved, int) or not reserved:
        return Remarks()
    found = aws.client("lambda").get_account_settings()["AccountLimit"]
    free = found["UnreservedConcurrentExecutions"]
    return Remarks(
        (
            f"its {reserved} reserved executions join {free} unreserved ones; on release they are"
            " reserved again, which AWS refuses if others have reserved too much by then",
        )
    )


def _at_the_edge(aws: Aws, sight: Sight) -> Remarks:
    """Look for copies of it at CloudFront's edges, which no concurrency of ours limits.

    https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/lambda-at-edge-function-restrictions.html
    """
    if aws.region != EDGE_HOME:
        return Remarks()
    pages = aws.client("cloudfront").get_paginator("list_distributions").paginate()
    found = [d for page in pages for d in page.get("DistributionList", {}).get("Items", ())]
    ids = [d["Id"] for d in found if any(a.startswith(f"{sight.arn}:") for a in _associated(d))]
    if not ids:
        return Remarks()
    told = f"run on in {counted(len(ids), 'CloudFront distribution')}: {named(ids)}"
    return Remarks(preflight=(Check(name=EDGE, ok=False, detail=told),))


def _associated(distribution: Mapping[str, Any]) -> list[str]:
    """Return the ARNs of the functions that a distribution has copies of."""
    others = distribution.get("CacheBehaviors", {}).get("Items") or ()
    behaviors = (distribution.get("DefaultCacheBehavior") or {}, *others)
    associations = (b.get("LambdaFunctionAssociations", {}).get("Items") or () for b in behaviors)
    return [str(one["LambdaFunctionARN"]) for some in associations for one in some]


# What is preserved


def _without_secrets(function: Mapping[str, Any]) -> dict[str, Any]:
    """Return what GetFunction says with one hash in place of the environment's values.

    The values are often secrets, and the location lets whoever has it fetch the code.
    """
    configuration = dict(function["Configuration"])
    if variables := configuration.pop("Environment", {}).get("Variables"):
        text = json.dumps(variables, sort_keys=True).encode()
        digest = hashlib.sha256(text).hexdigest()
        configuration["Environment"] = {"Names": sorted(variables), "SHA256": digest}
    code = {key: value for key, value in function.get("Code", {}).items() if key != "Location"}
    return {
        "Configuration": configuration,
        "Code": code,
        "Concurrency": function.get("Concurrency"),
        "Tags": function.get("Tags"),
    }


def _code(sight: Sight) -> tuple[bytes | None, dict[str, str]]:
    """Fetch the code; what is not in a zip file, or is not what Lambda runs, is said."""
    code = sight.function.get("Code", {})
    if "ImageUri" in code:
        image = code.get("ResolvedImageUri", code["ImageUri"])
        return None, {"code": f"it is the image {image}: keep that in its registry"}
    try:
        content = _fetched(str(code.get("Location", "")))
    except Unreachable as error:
        return None, {"code": str(error)}
    sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
    if sha256 != sight.configuration["CodeSha256"]:
        told = f"what was fetched has the SHA-256 {sha256}, and Lambda runs another"
        return content, {"certainty about the code": told}
    return content, {}


def _fetched(location: str) -> bytes:
    if urlsplit(location).scheme not in {"http", "https"}:
        raise Unreachable(f"AWS names no place of it: {location or 'none'}")
    try:
        with urlopen(location, timeout=FETCH) as answer:  # noqa: S310 - the scheme was looked at
            content: bytes = answer.read(MOST_CODE + 1)
    except (OSError, HTTPException) as error:
        raise Unreachable(f"fetching it failed: {error}") from error
    if len(content) > MOST_CODE:
        raise Unreachable(f"it has more than {MOST_CODE} bytes")
    return content


def seconds(value: JsonValue) -> timedelta:
    """Return a plan's number of seconds as a time."""
    return timedelta(seconds=int(str(value)))


def kept_at(plan: Plan) -> datetime | None:
    """Return when a function was seen frozen for a plan; None if that is not on record."""
    try:
        kept = evidence.recorded(plan.digest)
    except FiredoorError:
        return None
    return kept[0].taken_at if kept else None
