"""IAM policies for Firedoor itself, with just the rights that its actions say they need."""

import json
from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import Any
from urllib.parse import urlparse

from firedoor.action import Permissions
from firedoor.cloud.aws import READS
from firedoor.errors import BadInput

Document = dict[str, Any]
"""A policy document as IAM takes it."""

LONGEST = 6144
"""Characters of a managed policy; IAM does not count white space.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
"""

VERSION = "2012-10-17"

HAND_OVER = "iam:PassRole"
PASSED_TO = ("drt.shield.amazonaws.com", "ec2.amazonaws.com")
"""The services that actions hand roles to; handing any role to any service is to have them all."""

QUEUE = (
    "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
)  # fmt: skip
DEAD_LETTERS = ("sqs:GetQueueUrl", "sqs:SendMessage")
EVIDENCE = (
    "s3:GetObject",
    "s3:GetObjectLegalHold",
    "s3:GetObjectRetention",
    "s3:PutObject",
    "s3:PutObjectLegalHold",
)


class Phase(StrEnum):
    """What an action does, one after the other."""

    PLAN = "plan"
    APPLY = "apply"
    VERIFY = "verify"
    REVERT = "revert"


READ = "Read"
STATEMENTS = {
    READ: (Phase.PLAN, Phase.VERIFY),
    "Apply": (Phase.APPLY,),
    "Revert": (Phase.REVERT,),
}
"""The statements of a policy, in order, and the phases that each is for."""


def rights(
    needed: Iterable[Permissions],
    phases: Collection[Phase] = tuple(Phase),
    *,
    own_role: str = "",
    partition: str = "aws",
) -> tuple[Document, ...]:
    """Return the policies that allow these phases of actions, and nothing more.

    A right that several phases need stands in the first of their statements; but what planning
    needs for a dry run is the right to do it, and comes only with the phase that does. What IAM
    would not take as one policy becomes several, of which all are needed.

    With `own_role`, the name of the role that has these rights, that role is denied to change
    itself: who took it over could else give it any right.
    """
    allowed = dict(_allowed(tuple(needed), phases))
    denial = _denial(allowed.values(), f"arn:{partition}:iam::*:role/{own_role}")
    documents = [_document([denial] if own_role and denial["Action"] else [])]
    for sid, names in allowed.items():
        for name in names:
            with_it = _with(documents[-1], sid, name)
            if size(with_it) > LONGEST:
                documents.append(_with(_document([]), sid, name))
            else:
                documents[-1] = with_it
    return tuple(document for document in documents if document["Statement"])


def trust(principal: str, external_id: str) -> Document:
    """Return the trust policy of the role that is assumed in a member account.

    Only `sts:AssumeRole` is asked for with the external id; the others, which let in nobody by
    themselves, stand apart. Session tags come along unasked where the principal is a pod with EKS
    Pod Identity.
    """
    by = {"AWS": principal}
    condition = {"StringEquals": {"sts:ExternalId": external_id}}
    return _document(
        [
            {
                "Sid": "Enter",
                "Effect": "Allow",
                "Principal": by,
                "Action": "sts:AssumeRole",
                "Condition": condition,
            },
            {
                "Sid": "SayWhoDecided",
                "Effect": "Allow",
                "Principal": by,
                "Action": ["sts:SetSourceIdentity", "sts:TagSession"],
            },
        ]
    )


def hub(
    *,
    role: str = "",
    organization: str = "",
    queue: str = "",
    dead_letters: str = "",
    evidence: str = "",
    partition: str = "aws",
) -> Document:
    """Return what Firedoor's own identity needs, beside the rights that its actions need at home.

    `role` is the name of the role in member accounts, `queue` and `dead_letters` are URLs or ARNs,
    `evidence` is `s3://bucket/prefix`. What is empty is left out; without any, there is no
    statement. `organization` limits the role to accounts of that organization.
    """
    statements = []
    if role:
        enter = _allow(
            "EnterMembers",
            ("sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"),
            f"arn:{partition}:iam::*:role/{role}",
        )
        if organization:
            enter["Condition"] = {"StringEquals": {"aws:ResourceOrgID": organization}}
        statements.append(enter)
    if queue:
        statements.append(_allow("TakeFindings", QUEUE, _queue(queue, partition)))
    if dead_letters:
        statements.append(_allow("PutAside", DEAD_LETTERS, _queue(dead_letters, partition)))
    if evidence:
        statements += _evidence(evidence, partition)
    return _document(statements)


def size(document: Document) -> int:
    """Return the characters of a document that IAM counts."""
    return len(json.dumps(document, separators=(",", ":")))


def _allowed(
    needed: tuple[Permissions, ...], phases: Collection[Phase]
) -> Iterator[tuple[str, list[str]]]:
    """Yield each statement with the rights that none before it has."""
    changing = {n for n in _named(needed, (Phase.APPLY, Phase.REVERT)) if not _reads(n)}
    known = set[str]()
    for sid, members in STATEMENTS.items():
        names = _named(needed, [phase for phase in members if phase in phases])
        if sid == READ:
            names -= changing
        yield sid, sorted(names - known, key=lambda name: (name == HAND_OVER, name))
        known |= names


def _named(needed: tuple[Permissions, ...], phases: Collection[Phase]) -> set[str]:
    return {name for each in needed for phase in phases for name in getattr(each, phase)}


def _reads(right: str) -> bool:
    return right.partition(":")[2].startswith(READS)


def _with(document: Document, sid: str, name: str) -> Document:
    """Return a document that allows one more right, in the statement of that name."""
    statements = document["Statement"]
    if name == HAND_OVER:
        passing = _allow(f"{sid}PassRole", (name,), "*")
        passing["Condition"] = {"StringEquals": {"iam:PassedToService": list(PASSED_TO)}}
        return _document([*statements, passing])
    if statements and statements[-1]["Sid"] == sid:
        grown = {**statements[-1], "Action": [*statements[-1]["Action"], name]}
        return _document([*statements[:-1], grown])
    return _document([*statements, _allow(sid, (name,), "*")])


def _denial(allowed: Iterable[list[str]], arn: str) -> Document:
    names = {name for names in allowed for name in names if name.startswith("iam:")}
    changing = sorted(name for name in names if not _reads(name))
    return {"Sid": "NotItself", "Effect": "Deny", "Action": changing, "Resource": arn}


def _allow(sid: str, names: Iterable[str], resource: str) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": list(names), "Resource": resource}


def _document(statements: list[Document]) -> Document:
    return {"Version": VERSION, "Statement": statements}


def _queue(place: str, partition: str) -> str:
    """Return the ARN of a queue; raises `BadInput` unless it is one, or a URL as SQS has them."""
    if place.startswith("arn:"):
        return place
    url = urlparse(place)
    match (url.netloc.split("."), url.path.strip("/").split("/")):
        case (["sqs", region, "amazonaws", *_], [account, name]):
            return f"arn:{partition}:sqs:{region}:{account}:{name}"
    raise BadInput("queue", place, "expected its ARN, or https://sqs.REGION.amazonaws.com/…")


def _evidence(place: str, partition: str) -> list[Document]:
    url = urlparse(place)
    if url.scheme != "s3" or not url.netloc:
        raise BadInput("evidence", place, "expected s3://bucket/prefix")
    bucket, prefix = f"arn:{partition}:s3:::{url.netloc}", url.path.strip("/")
    objects = f"{bucket}/{prefix}/*" if prefix else f"{bucket}/*"
    return [
        _allow("KeepEvidence", EVIDENCE, objects),
        # Without it S3 answers "access denied" for what is not there yet.
        _allow("MissEvidence", ("s3:GetBucketObjectLockConfiguration", "s3:ListBucket"), bucket),
    ]
