from typing import Any

import pytest

from firedoor.lab.policy import Decision, decide

ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def _decide(
    *statements: dict[str, Any],
    action: str = "s3:GetObject",
    resource: str | None = "arn:aws:s3:::example/a",
    context: dict[str, str] | None = None,
    boundary: dict[str, Any] | None = None,
) -> Decision:
    policy = {"Version": "2012-10-17", "Statement": list(statements)}
    limit = {"Version": "2012-10-17", "Statement": boundary} if boundary else None
    return decide([policy], limit, action, resource, context or {})


def test_nothing_is_allowed_by_itself() -> None:
    assert _decide() == Decision.IMPLICIT_DENY


def test_deny_wins() -> None:
    deny = {"Effect": "Deny", "Action": "s3:Get*", "Resource": "*"}

    assert _decide(ALLOW_ALL, deny) == Decision.EXPLICIT_DENY


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"Action": "S3:getobject"}, Decision.ALLOWED),
        ({"Action": ["s3:Put*", "s3:Get?bject"]}, Decision.ALLOWED),
        ({"Action": "ec2:*"}, Decision.IMPLICIT_DENY),
        ({"NotAction": "iam:*"}, Decision.ALLOWED),
        ({"NotAction": "s3:*"}, Decision.IMPLICIT_DENY),
        ({"Action": "*", "Resource": "arn:aws:s3:::example/*"}, Decision.ALLOWED),
        ({"Action": "*", "Resource": "arn:aws:s3:::other/*"}, Decision.IMPLICIT_DENY),
        ({"Action": "*", "NotResource": "arn:aws:s3:::other/*"}, Decision.ALLOWED),
    ],
)
def test_elements_match_as_iam_has_them(statement: dict[str, Any], expected: Decision) -> None:
    resource = {} if "NotResource" in statement else {"Resource": "*"}

    assert _decide({"Effect": "Allow", **resource, **statement}) == expected


@pytest.mark.parametrize(
    ("issued", "expected"),
    [
        ("2026-03-01T11:59:59Z", Decision.EXPLICIT_DENY),
        ("2026-03-01T12:00:00Z", Decision.ALLOWED),
        ("2026-03-01T12:00:01+00:00", Decision.ALLOWED),
    ],
)
def test_revocation_denies_older_sessions_only(issued: str, expected: Decision) -> None:
    revoke = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-03-01T12:00:00Z"}},
    }

    assert _decide(ALLOW_ALL, revoke, context={"aws:TokenIssueTime": issued}) == expected


def test_revocation_leaves_those_without_a_session_alone() -> None:
    revoke = {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-03-01T12:00:00Z"}},
    }

    assert _decide(ALLOW_ALL, revoke) == Decision.ALLOWED


@pytest.mark.parametrize(
    ("operator", "wanted", "holds"),
    [
        ("StringEquals", "alice", True),
        ("StringEquals", ["bob", "alice"], True),
        ("StringNotEquals", ["bob", "alice"], False),
        ("StringNotEquals", "bob", True),
        ("StringLike", "al*", True),
        ("StringEqualsIfExists", "bob", False),
        ("Null", "true", False),
        ("Null", "false", True),
        ("NeverHeardOf", "alice", False),
    ],
)
def test_conditions_hold_as_iam_has_them(operator: str, wanted: Any, holds: bool) -> None:
    statement = {**ALLOW_ALL, "Condition": {operator: {"aws:UserName": wanted}}}

    decision = _decide(statement, context={"aws:username": "alice"})

    assert decision == (Decision.ALLOWED if holds else Decision.IMPLICIT_DENY)


@pytest.mark.parametrize(
    ("operator", "holds"), [("StringEquals", False), ("StringEqualsIfExists", True), ("Null", True)]
)
def test_missing_key_is_no_match_unless_it_may_be_missing(operator: str, holds: bool) -> None:
    statement = {**ALLOW_ALL, "Condition": {operator: {"aws:SourceVpc": "true"}}}

    assert _decide(statement) == (Decision.ALLOWED if holds else Decision.IMPLICIT_DENY)


def test_address_condition_takes_networks() -> None:
    statement = {**ALLOW_ALL, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}

    inside = _decide(statement, context={"aws:SourceIp": "192.0.2.7"})
    outside = _decide(statement, context={"aws:SourceIp": "198.51.100.7"})

    assert (inside, outside) == (Decision.ALLOWED, Decision.IMPLICIT_DENY)


def test_boundary_limits_what_is_allowed() -> None:
    boundary = {"Effect": "Allow", "Action": "ec2:*", "Resource": "*"}

    assert _decide(ALLOW_ALL, boundary=boundary) == Decision.IMPLICIT_DENY


def test_of_an_unknown_resource_only_a_general_deny_holds() -> None:
    some = {"Effect": "Deny", "Action": "*", "Resource": "arn:aws:s3:::secret/*"}
    all_ = {"Effect": "Deny", "Action": "*", "Resource": "*"}

    assert [_decide(ALLOW_ALL, deny, resource=None) for deny in (some, all_)] == [
        Decision.ALLOWED,
        Decision.EXPLICIT_DENY,
    ]
