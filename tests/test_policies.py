"""The policy of an installation, read from its file."""

import textwrap
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firedoor import policies
from firedoor.errors import BadInput
from firedoor.model.approval import Rule
from firedoor.model.message import Occasion, Route
from firedoor.model.policy import Policy, Protected
from firedoor.model.responder import Roster
from firedoor.model.word import Means
from firedoor.testing import roster

GOOD = """\
approvals:
  - id: destructive
    effects: [restrict_account]
    quorum: 2
    seats: [owner]
  - {id: usual, accepts: [ssh, chat]}
channels:
  slack: {occasions: [asked]}
owner_tags: [team]
protected:
  tags:
    environment: break-glass
  resources: [i-0123456789abcdef0, prod-*]
  principals:
    - arn:aws:iam::123456789012:role/break-glass
  accounts: [012345678901]
  networks:
    - 203.0.113.0/24
    - 2001:db8::7
"""


def test_without_a_file_each_responder_decides_alone() -> None:
    people = roster("alice", "bob")

    policy = policies.load(None, people)

    assert policy == Policy(roster=people, approvals=(Rule(id="alone", excludes=()),))
    assert policy.protected.tags == {"firedoor:protected": "*"}


def test_a_file_says_what_it_takes_and_what_is_protected(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD)
    people = roster("alice", "bob")

    policy = policies.load(file, people)

    assert policy == Policy(
        roster=people,
        approvals=(
            Rule(id="destructive", effects=("restrict_account",), quorum=2, seats=("owner",)),
            Rule(id="usual", accepts=(Means.SSH, Means.CHAT)),
        ),
        channels={"slack": Route(occasions=(Occasion.ASKED,))},
        owner_tags=("team",),
        protected=Protected(
            tags={"firedoor:protected": "*", "environment": "break-glass"},
            resources=("i-0123456789abcdef0", "prod-*"),
            principals=("arn:aws:iam::123456789012:role/break-glass",),
            accounts=("012345678901",),
            networks=(ip_network("203.0.113.0/24"), ip_network("2001:db8::7/128")),
        ),
    )


@pytest.mark.parametrize("member", ["roster", "responders"])
def test_who_decides_does_not_belong_into_the_policy(member: str) -> None:
    with pytest.raises(BadInput) as caught:
        policies.parse(f"{GOOD}{member}: [mallory]\n", "policy.yaml")

    assert str(caught.value) == (
        f"policy.yaml: line 20: `{member}` does not belong here:"
        " who may decide is in responders.yaml and allowed_signers"
    )


def test_a_policy_survives_being_written_into_a_history() -> None:
    before = policies.parse(GOOD, "policy.yaml")

    after = Policy.model_validate_json(before.model_dump_json())

    assert after == before
    assert after.digest == before.digest


def test_the_documented_example_is_a_policy() -> None:
    example = textwrap.dedent((policies.__doc__ or "").partition("\n\n")[2])

    policy = policies.parse(example, "policy.yaml")

    assert [rule.id for rule in policy.approvals] == ["destructive", "usual"]
    assert set(policy.channels) == {"slack", "pagerduty"}


def test_the_tag_of_firedoor_protects_under_every_policy() -> None:
    policy = policies.parse("protected: {tags: {a: b}}\n", "policy.yaml")

    assert policy.protected.tags == {"firedoor:protected": "*", "a": "b"}


@pytest.mark.parametrize("written", ["true", "on", "1", "1.0"])
def test_values_of_tags_stay_as_they_are_written(written: str) -> None:
    text = f"protected: {{tags: {{keep: {written}}}}}\n"

    assert policies.parse(text, "policy.yaml").protected.tags["keep"] == written


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("approvals", "approval", "policy.yaml: line 1: unknown member `approval`: did you mean"),
        ("quorum: 2", "quorum: 0", "policy.yaml: line 4: `approvals.quorum` is '0': "),
        ("quorum: 2", "quorum: two", "policy.yaml: line 4: `approvals.quorum` is 'two': "),
        ("quorum", "quorom", "line 4: unknown member `quorom`: did you mean quorum?"),
        ("id: usual, ", "", "policy.yaml: line 6: `id` is missing"),
        ("[ssh, chat]", "[mail]", "line 6: `approvals.accepts` is 'mail': expected 'ssh', 'oidc'"),
        ("[ssh, chat]", "[]", "line 6: `approvals.accepts` is []: "),
        ("[asked]", "[asks]", "line 8: `channels.slack.occasions` is 'asks': expected 'asked'"),
        ("[team]", "[]", "line 9: `owner_tags` is []: "),
        ("  resources", "  resource", "line 13: unknown member `resource`: did you mean resources"),
        ("i-0123456789abcdef0", "'arn:aws:ec2:::i'", "line 13: `protected.resources` is 'arn:aws:"),
        ("arn:aws:iam::123456789012:role/", "role/", "line 15: `protected.principals` is 'role/br"),
        ("012345678901", "'arn:a'", "line 16: `protected.accounts` is 'arn:a'"),
        ("203.0.113.0/24", "203.0.113.7/24", "line 18: `protected.networks` is '203.0.113.7/24'"),
        ("2001:db8::7", "2001:db8::/x", "line 19: `protected.networks` is '2001:db8::/x'"),
        ("protected:", "owner_tags: [eve]\nprotected:", "line 10: `owner_tags` is given twice"),
        ("[ssh, chat]", "[ssh", "policy.yaml: line 6: expected"),
    ],
)
def test_a_bad_policy_is_refused_with_line_and_what_is_expected(
    old: str, new: str, expected: str
) -> None:
    text = GOOD.replace(old, new, 1)

    with pytest.raises(BadInput) as caught:
        policies.parse(text, "policy.yaml")

    assert text != GOOD
    assert expected in str(caught.value)


def test_a_policy_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")

    for name in ("none.yaml", "binary.yaml", "."):
        with pytest.raises(BadInput, match=f"policy: {tmp_path / name}"):
            policies.load(tmp_path / name, Roster())


@given(st.text(alphabet="approvals:protected[]{}alice\n -*&!#'\"", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(BadInput):
        assert not policies.parse(text, "policy.yaml").roster.people
