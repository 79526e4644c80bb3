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
from firedoor.model.policy import Policy, Protected

GOOD = """\
responders: [alice, bob]
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


def test_without_a_file_whoever_is_at_the_terminal_decides() -> None:
    policy = policies.load(None, "alice")

    assert policy == Policy(responders=("alice",))
    assert policy.protected.tags == {"firedoor:protected": "*"}


def test_a_file_says_who_decides_and_what_is_protected(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(GOOD)

    policy = policies.load(file, "mallory")

    assert policy == Policy(
        responders=("alice", "bob"),
        protected=Protected(
            tags={"firedoor:protected": "*", "environment": "break-glass"},
            resources=("i-0123456789abcdef0", "prod-*"),
            principals=("arn:aws:iam::123456789012:role/break-glass",),
            accounts=("012345678901",),
            networks=(ip_network("203.0.113.0/24"), ip_network("2001:db8::7/128")),
        ),
    )


def test_a_policy_survives_being_written_into_a_history() -> None:
    before = policies.parse(GOOD, "policy.yaml")

    after = Policy.model_validate_json(before.model_dump_json())

    assert after == before
    assert after.digest == before.digest


def test_the_documented_example_is_a_policy() -> None:
    example = textwrap.dedent((policies.__doc__ or "").partition("\n\n")[2])

    assert policies.parse(example, "policy.yaml").responders == ("alice", "bob")


def test_the_tag_of_firedoor_protects_under_every_policy() -> None:
    policy = policies.parse("responders: [alice]\nprotected: {tags: {a: b}}\n", "policy.yaml")

    assert policy.protected.tags == {"firedoor:protected": "*", "a": "b"}


@pytest.mark.parametrize("written", ["true", "on", "1", "1.0"])
def test_values_of_tags_stay_as_they_are_written(written: str) -> None:
    text = f"responders: [alice]\nprotected: {{tags: {{keep: {written}}}}}\n"

    assert policies.parse(text, "policy.yaml").protected.tags["keep"] == written


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "responders",
            "responder",
            "policy.yaml: line 1: unknown member `responder`: did you mean",
        ),
        (
            "[alice, bob]",
            "[]",
            "policy.yaml: line 1: `responders` names nobody: name those who may",
        ),
        ("[alice, bob]", "['']", "line 1: `responders` is '': "),
        ("[alice, bob]", "alice", "line 1: `responders` is not a list"),
        ("  resources", "  resource", "line 5: unknown member `resource`: did you mean resources?"),
        ("i-0123456789abcdef0", "'arn:aws:ec2:::i'", "line 5: `protected.resources` is 'arn:aws:"),
        ("arn:aws:iam::123456789012:role/", "role/", "line 7: `protected.principals` is 'role/br"),
        ("012345678901", "'arn:a'", "line 8: `protected.accounts` is 'arn:a'"),
        ("203.0.113.0/24", "203.0.113.7/24", "line 10: `protected.networks` is '203.0.113.7/24'"),
        ("2001:db8::7", "2001:db8::/x", "line 11: `protected.networks` is '2001:db8::/x'"),
        ("protected:", "responders: [eve]\nprotected:", "line 2: `responders` is given twice"),
        ("[alice, bob]", "[alice", "policy.yaml: line 2: "),
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
            policies.load(tmp_path / name, "alice")


@given(st.text(alphabet="responders:protected[]{}alice\n -*&!#'\"", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(BadInput):
        assert policies.parse(text, "policy.yaml").responders
