"""Printing the IAM policies that Firedoor needs."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Awaitable[Any]]


def sids(document: Any) -> list[str]:
    return [statement["Sid"] for statement in document["Statement"]]


async def test_policy_is_printed_as_iam_takes_it(cli: Cli) -> None:
    ended = await cli("iam", "policy", "--action", "aws.isolate_instance")

    assert (ended.status, ended.err) == (0, "")
    assert ended.document.keys() == {"Version", "Statement"}
    assert sids(ended.document)[:2] == ["Read", "Apply"]


async def test_policy_of_some_phases_and_actions(cli: Cli) -> None:
    ended = await cli(
        "iam", "policy", "--action", "aws.isolate_instance", "--action", "aws.revoke_credentials",
        "--phase", "plan", "--phase", "verify",
    )  # fmt: skip

    (read,) = ended.document["Statement"]
    assert {"ec2:DescribeInstances", "iam:ListAccessKeys"} <= set(read["Action"])


async def test_role_that_is_known_is_denied_to_change_itself(cli: Cli) -> None:
    ended = await cli(
        "iam", "policy", "--action", "aws.revoke_credentials",
        FIREDOOR_AWS_ROLE="firedoor-responder",
    )  # fmt: skip

    assert ended.document["Statement"][0]["Resource"] == "arn:aws:iam::*:role/firedoor-responder"


async def test_policies_are_written_into_a_directory(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "new" / "policies"
    ended = await cli("iam", "policy", "--directory", str(place))

    files = [Path(line) for line in ended.out.splitlines()]
    assert files == sorted(place.iterdir())
    assert all("Statement" in json.loads(file.read_text()) for file in files)


async def test_json_names_each_policy(cli: Cli) -> None:
    ended = await cli("iam", "policy", "--action", "aws.isolate_instance", "--json")

    (policy,) = ended.document
    assert (policy["name"], sids(policy["document"])[0]) == ("firedoor-rights", "Read")


async def test_role_trusts_the_hub_that_says_the_external_id(cli: Cli) -> None:
    given = ("iam", "role", "--account", "123456789012")
    named = await cli(*given, "--hub-role", "firedoor", "--external-id", "an-id")
    configured = await cli(*given, FIREDOOR_AWS_EXTERNAL_ID="an-id")

    principals = [e.document["Statement"][0]["Principal"]["AWS"] for e in (named, configured)]
    assert principals == [
        "arn:aws:iam::123456789012:role/firedoor",
        "arn:aws:iam::123456789012:root",
    ]
    assert "an-id" in configured.out


async def test_hub_needs_what_options_and_settings_name(cli: Cli) -> None:
    ended = await cli(
        "iam", "hub", "--role", "firedoor-responder", "--evidence", "s3://evidence.example.com",
        FIREDOOR_QUEUE_URL="https://sqs.us-east-1.amazonaws.com/123456789012/findings",
    )  # fmt: skip

    assert sids(ended.document) == [
        "EnterMembers",
        "TakeFindings",
        "KeepEvidence",
        "MissEvidence",
    ]


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("policy", "--action", "aws.nothing"), 1, "there is no action aws.nothing"),
        (("policy", "--action", "records.notify"), 1, "need no rights"),
        (("policy", "--role", "not a name"), 2, "--role: not a name: expected"),
        (("policy", "--phase", "undo"), 2, "undo"),
        (("role", "--account", "12", "--external-id", "an-id"), 2, "expected 12 digits"),
        (("role", "--account", "123456789012"), 2, "--external-id: expected"),
        (("hub",), 1, "name a role, a queue or a place for evidence"),
        (("hub", "--queue", "http://example.com"), 2, "expected its ARN"),
        (("hub", "--role", "r", "--partition", "azure"), 2, "expected aws, aws-cn or aws-us-gov"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
async def test_what_cannot_be_printed_is_told(
    cli: Cli, arguments: tuple[str, ...], status: int, told: str
) -> None:
    ended = await cli("iam", *arguments)

    assert (ended.status, ended.out) == (status, "")
    assert told in ended.err


async def test_directory_that_cannot_be_written_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = await cli("iam", "policy", "--directory", str(tmp_path / "file"))

    assert (ended.status, ended.err) == (
        2,
        f"firedoor: --directory: {tmp_path}/file: file exists\n",
    )
