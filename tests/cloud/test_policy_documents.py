"""The IAM policies that Firedoor needs: no right too few, none too many, as IAM takes them."""

import re
from functools import cache
from itertools import chain
from typing import Any

import botocore.session
import pytest

from firedoor.action import Action, Permissions
from firedoor.cloud.policy_documents import LONGEST, Phase, hub, rights, size, trust
from firedoor.discovery import find
from firedoor.errors import BadInput

ACTIONS = {id: action for id, action in find("activities", Action).items() if id.startswith("aws.")}
NEEDED = [action.permissions for action in ACTIONS.values()]

# Services that IAM calls by another name than the SDK does.
PREFIXES = {
    "cloudwatch": "cloudwatch",  # it signs as monitoring
    "elb": "elasticloadbalancing",
    "elbv2": "elasticloadbalancing",
    "resourcegroupstaggingapi": "tag",
    "s3control": "s3",
    "service-quotas": "servicequotas",
    "sso-admin": "sso",
}

# Rights that are no operation, or that an operation of another name needs.
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
OTHER_NAMES = {
    "eks:AccessKubernetesApi",
    "iam:PassRole",
    "kms:ReEncryptFrom", "kms:ReEncryptTo",
    "lambda:InvokeFunction", "lambda:InvokeFunctionUrl",
    "s3:GetAccountPublicAccessBlock", "s3:PutAccountPublicAccessBlock",
    "s3:GetBucketCORS", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketPublicAccessBlock",
    "s3:GetEncryptionConfiguration", "s3:GetLifecycleConfiguration", "s3:GetObjectVersion",
    "s3:GetReplicationConfiguration", "s3:ListAllMyBuckets", "s3:ListBucket",
    "s3:BypassGovernanceRetention", "s3:DeleteObjectVersion",
    "s3:ListBucketVersions", "s3:PutBucketCORS", "s3:PutBucketObjectLockConfiguration",
    "s3:PutBucketPublicAccessBlock", "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration", "s3:PutEncryptionConfiguration",
}  # fmt: skip
# Operations that IAM knows by such another name.
NO_RIGHTS = {
    "kms:ReEncrypt",
    "lambda:Invoke",
    "s3:CopyObject", "s3:DeleteObjects", "s3:DeletePublicAccessBlock", "s3:GetBucketCors",
    "s3:GetBucketEncryption", "s3:GetBucketLifecycle", "s3:GetBucketLifecycleConfiguration",
    "s3:GetBucketNotificationConfiguration", "s3:GetBucketReplication",
    "s3:GetObjectLockConfiguration", "s3:GetPublicAccessBlock", "s3:HeadBucket", "s3:HeadObject",
    "s3:ListBuckets", "s3:ListObjectVersions", "s3:ListObjects", "s3:ListObjectsV2",
    "s3:PutBucketEncryption", "s3:PutBucketLifecycleConfiguration",
    "s3:PutBucketNotificationConfiguration", "s3:PutBucketReplication",
    "s3:PutObjectLockConfiguration", "s3:PutPublicAccessBlock",
}  # fmt: skip


def allowed(documents: tuple[Any, ...]) -> list[str]:
    statements = chain.from_iterable(document["Statement"] for document in documents)
    return [name for s in statements if s["Effect"] == "Allow" for name in s["Action"]]


def everything(needed: list[Permissions], *phases: str) -> set[str]:
    return {name for each in needed for phase in phases for name in getattr(each, phase)}


@cache
def operations() -> dict[str, set[str]]:
    """What services can do, by the names that IAM has for them."""
    session, known = botocore.session.get_session(), dict[str, set[str]]()
    wanted = {name.partition(":")[0] for name in everything(NEEDED, *Phase)}
    for service in {*wanted.intersection(session.get_available_services()), *PREFIXES}:
        model = session.get_service_model(service)
        for prefix in (model.signing_name, PREFIXES.get(service, model.signing_name)):
            known.setdefault(prefix, set()).update(model.operation_names)
    return known


@pytest.mark.parametrize("id", ACTIONS)
def test_every_right_that_an_action_names_is_one_of_iam(id: str) -> None:
    named = everything([ACTIONS[id].permissions], *Phase)
    unknown = {
        name
        for name in named - OTHER_NAMES
        if name.partition(":")[2] not in operations().get(name.partition(":")[0], ())
    }

    assert unknown == set()
    assert named & NO_RIGHTS == set()


def test_every_right_stands_once() -> None:
    names = allowed(rights(NEEDED))

    assert len(names) == len(set(names))
    assert set(names) == everything(NEEDED, *Phase)


def test_phases_are_statements_and_what_several_need_stands_in_the_first() -> None:
    needed = Permissions(
        plan=("ec2:DescribeVpcs",),
        apply=("ec2:DescribeVpcs", "ec2:CreateTags"),
        verify=("ec2:DescribeSubnets",),
        revert=("ec2:CreateTags", "ec2:DeleteTags"),
    )

    (document,) = rights([needed])

    assert {s["Sid"]: s["Action"] for s in document["Statement"]} == {
        "Read": ["ec2:DescribeSubnets", "ec2:DescribeVpcs"],
        "Apply": ["ec2:CreateTags"],
        "Revert": ["ec2:DeleteTags"],
    }


@pytest.mark.parametrize("phase", Phase)
def test_one_phase_has_nothing_of_the_others(phase: Phase) -> None:
    assert set(allowed(rights(NEEDED, [phase]))) <= everything(NEEDED, phase)


def test_dry_run_gives_no_right_to_those_who_only_look() -> None:
    asks = Permissions(plan=("ec2:DescribeVpcs", "ec2:CreateTags"), apply=("ec2:CreateTags",))

    assert allowed(rights([asks], [Phase.PLAN])) == ["ec2:DescribeVpcs"]
    assert allowed(rights([asks])) == ["ec2:DescribeVpcs", "ec2:CreateTags"]


def test_reading_needs_no_right_to_change() -> None:
    names = allowed(rights(NEEDED, [Phase.PLAN, Phase.VERIFY]))

    assert [n for n in names if re.search(r":(Put|Create|Delete|Update|Modify|Attach)", n)] == []


def test_roles_are_passed_only_to_services_that_actions_hand_them_to() -> None:
    needed = Permissions(plan=(), apply=("iam:PassRole", "iam:PutRolePolicy", "lambda:TagResource"))

    (document,) = rights([needed])

    apply, passing = document["Statement"]
    assert apply["Action"] == ["iam:PutRolePolicy", "lambda:TagResource"]
    assert passing["Action"] == ["iam:PassRole"]
    assert "ec2.amazonaws.com" in passing["Condition"]["StringEquals"]["iam:PassedToService"]


def test_names_of_statements_are_unique_in_a_policy() -> None:
    for document in rights(NEEDED, own_role="firedoor-responder"):
        sids = [statement["Sid"] for statement in document["Statement"]]
        assert len(sids) == len(set(sids))


def test_what_is_too_long_for_one_policy_becomes_several() -> None:
    many = tuple(f"ec2:DescribeSomethingWithALongName{number:04}" for number in range(300))
    needed = Permissions(plan=many, apply=("ec2:CreateTags", "iam:PutUserPolicy"))

    documents = rights([needed], own_role="firedoor-responder")

    assert len(documents) == 3
    assert all(size(document) <= LONGEST for document in documents)
    assert LONGEST - size(documents[0]) < 100
    assert sorted(allowed(documents)) == sorted([*many, *needed.apply])


def test_role_is_denied_to_change_itself_and_not_to_read_itself() -> None:
    needed = Permissions(plan=("iam:GetRole", "ec2:CreateTags"), apply=("iam:PutRolePolicy",))

    (document,) = rights([needed], own_role="ir/firedoor", partition="aws-cn")

    assert document["Statement"][0] == {
        "Sid": "NotItself",
        "Effect": "Deny",
        "Action": ["iam:PutRolePolicy"],
        "Resource": "arn:aws-cn:iam::*:role/ir/firedoor",
    }


def test_nothing_needed_is_no_policy() -> None:
    assert rights([Permissions(plan=())], own_role="firedoor") == ()


def test_trust_asks_for_the_external_id() -> None:
    enter, rest = trust("arn:aws:iam::123456789012:role/firedoor", "an-id")["Statement"]

    assert enter["Action"] == "sts:AssumeRole"
    assert enter["Condition"] == {"StringEquals": {"sts:ExternalId": "an-id"}}
    assert enter["Principal"] == rest["Principal"]
    assert "sts:AssumeRole" not in rest["Action"]


def test_hub_needs_its_role_its_queues_and_its_evidence() -> None:
    document = hub(
        role="firedoor-responder",
        organization="o-a1b2c3d4e5",
        queue="https://sqs.eu-west-1.amazonaws.com/123456789012/findings",
        dead_letters="arn:aws:sqs:eu-west-1:123456789012:unreadable",
        evidence="s3://evidence.example.com/firedoor/",
    )

    assert [statement["Resource"] for statement in document["Statement"]] == [
        "arn:aws:iam::*:role/firedoor-responder",
        "arn:aws:sqs:eu-west-1:123456789012:findings",
        "arn:aws:sqs:eu-west-1:123456789012:unreadable",
        "arn:aws:s3:::evidence.example.com/firedoor/*",
        "arn:aws:s3:::evidence.example.com",
    ]
    assert document["Statement"][0]["Condition"] == {
        "StringEquals": {"aws:ResourceOrgID": "o-a1b2c3d4e5"}
    }


def test_whole_bucket_can_be_for_evidence() -> None:
    objects, _ = hub(evidence="s3://evidence.example.com")["Statement"]

    assert objects["Resource"] == "arn:aws:s3:::evidence.example.com/*"


@pytest.mark.parametrize(
    "places", [{"queue": "http://example.com/q"}, {"evidence": "s3:///x"}, {"evidence": "/srv"}]
)
def test_place_that_is_none_of_aws_is_refused(places: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="expected"):
        hub(**places)
