"""What is said of rules and responders before anybody needs them."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from firedoor.approvals.lint import problems
from firedoor.approvals.sshsig import public_blob
from firedoor.lab.security_keys import security_key
from firedoor.model.approval import Rule, Tier
from firedoor.model.policy import Policy
from firedoor.model.responder import Gateway, Issuer, Key, Responder, Roster, Subject
from firedoor.model.word import Means

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ISSUER = "https://login.example.com"


def soft(**validity: Any) -> Key:
    blob = public_blob(Ed25519PrivateKey.generate())
    return Key(public=f"ssh-ed25519 {base64.b64encode(blob).decode()}", **validity)


def hard() -> Key:
    encoded = base64.b64encode(security_key().blob).decode()
    return Key(public=f"sk-ssh-ed25519@openssh.com {encoded}")


def person(*groups: str, keys: tuple[Key, ...] | None = None, **members: Any) -> Responder:
    return Responder(groups=groups, keys=(soft(),) if keys is None else keys, **members)


PEOPLE = {
    "alice": person("security", "lead"),
    "bob": person("security"),
    "carol": person("platform"),
    "dave": person("platform"),
}


def said(rule: Rule | None = None, people: dict[str, Responder] = PEOPLE, **roster: Any) -> Any:
    rules = () if rule is None else (rule,)
    policy = Policy(roster=Roster(people=people, **roster), approvals=rules)
    return [line.removeprefix("rule r: ") for line in problems(policy, NOW)]


def rule(**members: Any) -> Rule:
    return Rule(**{"id": "r", "excludes": (), **members})


def test_good_rules_and_people_have_no_problems() -> None:
    assert said() == []
    assert said(rule(groups=("security",), quorum=2, seats=("lead", "security"))) == []
    assert said(rule(groups=("security",), excludes=("requester", "on_call"))) == []


def test_without_people_nobody_may_decide() -> None:
    assert said(people={}) == ["nobody may decide: `firedoor responders add` adds people"]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"groups": ("security", "secops")}, "`groups` names secops, and nobody is in that group"),
        ({"seats": ("legal", "lead")}, "`seats` names legal, and nobody is in that group"),
        (
            {"escalation": (Tier(to=("board",), within="1h"),)},
            "`escalation` names board, and nobody is in that group",
        ),
        (
            {"groups": ("security",), "quorum": 3},
            "3 have to approve, and those who can are: alice, bob",
        ),
        (
            {"groups": ("lead",), "seats": ("lead", "lead")},
            "2 have to approve, and those who can are: alice",
        ),
        (
            {"groups": ("security",), "quorum": 2, "excludes": ("requester",)},
            "2 have to approve, which is everybody who can: not if alice or bob asked for it",
        ),
        (
            {"seats": ("lead", "lead")},
            "not everybody can have a seat of their own: lead stays empty",
        ),
        ({"step_up": True}, "`step_up`, and nobody who may decide has a hardware key that counts"),
        (
            {"step_up": True, "accepts": ("oidc",)},
            "`step_up` wants hardware keys, and `accepts` leaves out ssh",
        ),
        ({"accepts": ("ssh", "chat")}, "`accepts` chat, and no gateway has a key that counts"),
        (
            {"accepts": ("ssh", "chat")},
            "`accepts` chat, and nobody who may decide has an id in `slack` or `teams`",
        ),
        ({"accepts": ("ssh", "oidc")}, "`accepts` oidc, and there is no issuer"),
        (
            {"accepts": ("ssh", "oidc")},
            "`accepts` oidc, and nobody who may decide has an `oidc` subject of one of `issuers`",
        ),
        (
            {"accepts": ("ssh", "sts")},
            "`accepts` sts, and nobody who may decide has an ARN in `arns`",
        ),
    ],
)
def test_rule_that_nobody_can_satisfy_is_said(members: dict[str, Any], expected: str) -> None:
    assert expected in said(rule(**members))


def test_whoever_is_on_call_is_not_counted_on() -> None:
    excluding = rule(groups=("security",), quorum=2, excludes=("on_call",))

    assert said(excluding, on_call=("bob", "carol")) == [
        "2 have to approve, and those who can are: alice; on call: bob"
    ]
    assert said(rule(groups=("security",), quorum=2), on_call=("bob",)) == []


def test_escalation_widens_who_can_approve() -> None:
    tier = Tier(to=("platform",), within="1h")

    assert said(rule(groups=("security",), quorum=4, escalation=(tier,))) == []


def test_owner_may_be_anybody() -> None:
    assert said(rule(groups=("lead",), quorum=2, seats=("owner", "lead"))) == []


def test_seats_are_filled_by_whoever_is_left_for_them() -> None:
    # alice alone is a lead, so bob has to take the other seat, whoever is asked first.
    assert said(rule(groups=("security",), seats=("security", "lead"))) == []


def test_a_hardware_key_that_counts_satisfies_step_up() -> None:
    people = {**PEOPLE, "alice": person("security", keys=(soft(), hard()))}
    expired = hard().model_copy(update={"valid_before": NOW - timedelta(days=1)})

    assert said(rule(step_up=True), people) == []
    assert said(rule(step_up=True, quorum=2), people) == [
        "2 have to approve, and those who can are: alice"
    ]
    assert "1 have to approve, and those who can are: nobody" in said(
        rule(step_up=True), {"alice": person(keys=(expired,))}
    )


def test_chat_oidc_and_sts_satisfy_a_rule_when_all_is_there() -> None:
    everything = tuple(Means)
    people = {
        "alice": person(
            keys=(),
            slack="U012AB3CD",
            arns=("arn:aws:iam::123456789012:user/alice",),
            oidc=(Subject(issuer=ISSUER, subject="007"),),
        ),
        "bob": person(),
    }
    roster = {
        "gateways": {"chat": Gateway(keys=(soft(),))},
        "issuers": (Issuer(issuer=ISSUER, audience="firedoor"),),
    }

    assert said(rule(accepts=everything, quorum=2), people, **roster) == []
    for means in ("chat", "oidc", "sts"):
        assert said(rule(accepts=(means,)), people, **roster) == []
    assert said(rule(accepts=("ssh",)), people, **roster) == [
        "alice has no key, nor anything else that a rule accepts"
    ]


def test_default_rule_is_looked_at_where_a_rule_leaves_room_for_it() -> None:
    people = {"alice": person()}
    expected = (
        "rule default: 1 have to approve, which is everybody who can: not if alice asked for it"
    )

    assert said(people=people) == [expected]
    assert said(rule(effects=("isolate_*",)), people) == [expected]
    assert said(rule(classes=("production",)), people) == [expected]
    assert said(rule(), people) == []


def test_rule_behind_one_that_covers_all_never_counts() -> None:
    rules = (rule(id="first"), rule(id="second", effects=("isolate_*",)))
    policy = Policy(roster=Roster(people=PEOPLE), approvals=rules)

    assert problems(policy, NOW) == ("rule second: it never counts, as first before it covers all",)


@pytest.mark.parametrize(
    ("validity", "expected"),
    [
        ({"valid_before": NOW}, "expired on 2026-06-01: take its line out, or add another key"),
        ({"valid_before": NOW + timedelta(days=30)}, "expires on 2026-07-01: add another key"),
        ({"valid_after": NOW + timedelta(days=1)}, "does not count before 2026-06-02"),
    ],
)
def test_key_that_does_not_count_now_or_soon_is_said(
    validity: dict[str, datetime], expected: str
) -> None:
    key = soft(**validity)
    people = {**PEOPLE, "eve": person(keys=(soft(), key))}

    assert said(people=people) == [f"{key.fingerprint} of eve {expected}"]


def test_key_that_is_good_for_longer_is_not_said() -> None:
    key = soft(valid_after=NOW, valid_before=NOW + timedelta(days=31))

    assert said(people={**PEOPLE, "eve": person(keys=(key,))}) == []


def test_gateway_without_key_and_issuer_that_is_unknown_are_said() -> None:
    people = {**PEOPLE, "eve": person(oidc=(Subject(issuer=ISSUER, subject="1"),))}

    assert said(people=people, gateways={"chat": Gateway()}) == [
        f"eve is known to {ISSUER}, which is none of `issuers`",
        "gateway chat has no key",
    ]


GROUPS = st.lists(st.sampled_from(["a", "b", "c", "owner"]), max_size=3).map(tuple)


@given(
    st.dictionaries(st.sampled_from(["x", "y", "z"]), GROUPS, max_size=3),
    st.builds(
        Rule,
        id=st.just("r"),
        quorum=st.integers(1, 4),
        groups=GROUPS,
        seats=GROUPS,
        excludes=st.sampled_from([(), ("requester",), ("on_call",)]),
        accepts=st.lists(st.sampled_from(Means), min_size=1, max_size=2).map(tuple),
        step_up=st.booleans(),
    ),
)
def test_any_rule_and_people_are_looked_at(groups: dict[str, Any], any_rule: Rule) -> None:
    people = {name: person(*of) for name, of in groups.items()}

    lines = said(any_rule, people, on_call=tuple(people)[:1])

    assert all(line.isprintable() for line in lines)
