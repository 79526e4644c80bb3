"""Responders on the command line: added, listed, and checked before it matters."""

import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from firedoor import rosters
from firedoor.model.responder import Key

RULES = """\
approvals:
  - id: destructive
    effects: [restrict_account]
    quorum: 2
    groups: [security]
    step_up: true
"""

Cli = Callable[..., Awaitable[Any]]


@pytest.fixture
def home(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of alice, who has no agent, and no keys yet."""
    for name in ("SSH_AUTH_SOCK", "FIREDOOR_KEY", "FIREDOOR_RESPONDERS", "FIREDOOR_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FIREDOOR_RESPONDER", "alice")
    (tmp_path / ".ssh").mkdir(0o700)
    for file in (tmp_path / "home").iterdir():
        file.unlink()
    return tmp_path


def key(file: Path, *, passphrase: str = "") -> str:
    """Let ssh-keygen make a key, and return its fingerprint."""
    words = ["-q", "-t", "ed25519", "-N", passphrase, "-C", "laptop"]
    subprocess.run(["ssh-keygen", *words, "-f", file], check=True, timeout=60)
    public = file.with_name(f"{file.name}.pub").read_text().split()
    return Key(public=" ".join(public[:2])).fingerprint


@pytest.fixture
def files(home: Path) -> tuple[Path, Path]:
    return home / "home" / "responders.yaml", home / "home" / "allowed_signers"


async def add(cli: Cli, home: Path, name: str, *options: str) -> str:
    file = home / f"key-of-{name}"
    made = key(file)
    ended = await cli("responders", "add", name, "--key", f"{file}.pub", *options, "--yes")
    assert (ended.status, ended.err) == (0, "")
    return made


async def test_added_person_is_listed_with_groups_and_keys(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    options = ("--group", "security", "--group", "lead", "--email", "alice@example.com")
    made = await add(cli, home, "alice", *options, "--slack", "U012AB3CD")

    ended = await cli("responders", "list", "--json")

    [alice] = ended.document
    assert (alice["name"], alice["groups"], alice["gaps"]) == ("alice", ["security", "lead"], [])
    [held] = alice["keys"]
    assert (held["fingerprint"], held["type"], held["hardware"]) == (made, "ssh-ed25519", False)
    assert (held["valid_after"], held["valid_before"]) == (None, None)
    [row] = (await cli("responders", "list")).out.splitlines()[1:]
    assert row.split() == ["alice", "security,", "lead", made, "ssh-ed25519", "always"]


async def test_what_is_written_is_shown(cli: Cli, home: Path, files: tuple[Path, Path]) -> None:
    key(home / "key")

    ended = await cli("responders", "add", "alice", "--key", f"{home}/key.pub", "--yes")

    public = " ".join((home / "key.pub").read_text().split()[:2])
    assert ended.out == (
        f'{files[0]}\n+ alice: {{}}\n{files[1]}\n+ alice namespaces="firedoor" {public} laptop\n'
    )


async def test_second_key_is_a_line_only_and_comments_stay(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    first = await add(cli, home, "alice")
    files[0].write_text(f"{files[0].read_text()}# the end\n")
    before = files[0].read_text()
    second = key(home / "other")

    ended = await cli("responders", "add", "alice", "--key", f"{home}/other.pub", "--yes", "--json")

    assert ended.document == {"name": "alice", "fingerprint": second, "files": [str(files[1])]}
    assert files[0].read_text() == before
    held = rosters.load(*files).people["alice"].keys
    assert [one.fingerprint for one in held] == [first, second]


async def test_private_key_is_refused_in_a_line(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    key(home / "key")

    ended = await cli("responders", "add", "alice", "--key", f"{home}/key", "--yes")

    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        f"firedoor: key: {home}/key: that is a private key, which is nobody else's business:"
        " name its .pub file\n"
    )
    assert not files[0].exists()


async def test_nobody_is_asked_without_a_terminal(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    key(home / "key")

    ended = await cli("responders", "add", "alice", "--key", f"{home}/key.pub", given=b"y\n")

    assert ended == (2, "", "firedoor: no terminal to ask on: give --yes\n")
    assert not files[0].exists()


@pytest.mark.parametrize(("keys", "expected"), [(b"y\n", 0), (b"\n", 1), (b"\x03", 130)])
async def test_person_at_a_terminal_is_asked(
    keys: bytes, expected: int, at_terminal: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    key(home / "key")

    status, said = await at_terminal(keys, "responders", "add", "alice", "--key", f"{home}/key.pub")

    assert status == expected, said
    assert "Let alice decide with this key?" in said
    assert files[0].exists() == (expected == 0)


async def test_without_files_there_is_nobody_to_list(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    for command in ("list", "check"):
        ended = await cli("responders", command)

        expected = f"firedoor: responders: {files[0]}: it cannot be read: No such file or directory"
        assert (ended.status, ended.err) == (2, f"{expected}\n")


async def test_what_is_lacking_is_listed(cli: Cli, home: Path, files: tuple[Path, Path]) -> None:
    await add(cli, home, "alice")
    files[0].write_text(f"{files[0].read_text()}  bob: {{groups: [a]}}\ngateways: [chat]\n")

    listed = (await cli("responders", "list", "--json")).document

    assert [(one["name"], one["gaps"]) for one in listed] == [
        ("alice", ["no group", "no address"]),
        ("bob", ["no key", "no address"]),
        ("chat", ["no key"]),
    ]


async def test_check_says_which_key_this_terminal_signs_with(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    made = await add(cli, home, "alice")
    (home / "key-of-alice").rename(home / ".ssh" / "id_ed25519")

    ended = await cli("responders", "check")

    expected = f"this terminal signs for alice with {made} of {home}/.ssh/id_ed25519\n"
    assert ended == (0, expected, "")
    as_json = await cli("responders", "check", "--json")
    assert as_json.document == {"problems": [], "notes": [expected.strip()]}


async def test_key_that_was_laid_out_is_found(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    made = rosters.lay_out(home / "home", "alice")[2]

    ended = await cli("responders", "check")

    assert ended.status == 0
    assert ended.out.endswith(f" of {made}\n")


async def test_key_that_has_expired_is_not_signed_with(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    old, new = await add(cli, home, "alice"), key(home / ".ssh" / "id_ed25519")
    (home / "key-of-alice").rename(home / "home" / "key")  # which is looked for first
    written = files[1].read_text().replace('firedoor" ', 'firedoor",valid-before="20200101Z" ')
    files[1].write_text(f"{written}alice {(home / '.ssh' / 'id_ed25519.pub').read_text()}")

    ended = await cli("responders", "check")

    assert ended.status == 1
    assert ended.out.splitlines() == [
        f"{old} of alice expired on 2020-01-01: take its line out, or add another key",
        f"this terminal signs for alice with {new} of {home}/.ssh/id_ed25519",
    ]


async def test_check_says_that_this_terminal_cannot_sign(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    made = await add(cli, home, "alice")

    ended = await cli("responders", "check")

    assert ended == (
        1,
        f"this terminal cannot sign for alice: key: {made}: not in an agent, as SSH_AUTH_SOCK names"
        " none, nor in ~/.ssh: ssh-add it, or set FIREDOOR_KEY\n",
        "firedoor: 1 problem with responders\n",
    )


async def test_check_of_a_machine_that_is_nobodys_signs_nothing(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    await add(cli, home, "alice")

    ended = await cli("responders", "check", FIREDOOR_RESPONDER="builder")

    expected = (
        "this terminal is builder's, who is no responder: FIREDOOR_RESPONDER says who it is\n"
    )
    assert ended == (0, expected, "")


async def test_key_with_a_passphrase_is_asked_for_on_a_terminal_only(
    cli: Cli,
    at_terminal: Cli,
    home: Path,
    files: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = key(home / "key", passphrase="secret words")
    await cli("responders", "add", "alice", "--key", f"{home}/key.pub", "--yes")
    monkeypatch.setenv("FIREDOOR_KEY", str(home / "key"))

    alone = await cli("responders", "check", given=b"secret words\n")
    # The blank comes once the terminal echoes no more; what is typed before that is thrown away.
    prompt = f"Passphrase of {home}/key: ".encode()
    status, said = await at_terminal(b"secret words\n", "responders", "check", prompt=prompt)

    assert alone.status == 1
    assert "it has a passphrase, and nobody can be asked for it: ssh-add" in alone.out
    assert status == 0, said
    assert f"signs for alice with {made}" in " ".join(said.split())
    assert "secret words" not in said


async def test_rules_of_the_policy_are_checked(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    await add(cli, home, "alice", "--group", "security")
    policy = home / "policy.yaml"
    policy.write_text(RULES)

    ended = await cli("responders", "check", FIREDOOR_POLICY=str(policy), FIREDOOR_RESPONDER="ci")

    assert ended.status == 1
    assert ended.out.splitlines()[:3] == [
        "rule destructive: `step_up`, and nobody who may decide has a hardware key that counts",
        "rule destructive: 2 have to approve, and those who can are: nobody",
        "rule default: 1 have to approve, which is everybody who can: not if alice asked for it",
    ]
    assert ended.err == "firedoor: 3 problems with responders\n"


async def test_every_malformed_line_is_a_problem(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    await add(cli, home, "alice")
    good = files[1].read_text()
    files[1].write_text(f"{good}* ssh-ed25519 AAAA\nalice\n")

    ended = await cli("responders", "check")

    assert ended.status == 1
    assert [text.partition(": it")[0].partition(": `")[0] for text in ended.out.splitlines()] == [
        f"{files[1]}: line 3",
        f"{files[1]}:4",
    ]
    assert ended.err == "firedoor: 2 problems with responders\n"


async def test_key_that_does_not_count_here_is_noted(
    cli: Cli, home: Path, files: tuple[Path, Path]
) -> None:
    await add(cli, home, "alice")
    made = key(home / "other")
    public = (home / "other.pub").read_text()
    with files[1].open("a") as signers:
        signers.write(f'alice namespaces="git" {public}')

    ended = await cli("responders", "check", FIREDOOR_RESPONDER="ci")

    expected = f"{files[1]}:3: {made} of alice does not count: it is for git, and not for firedoor"
    assert (ended.status, ended.out.splitlines()[0]) == (0, expected)


async def test_settings_name_the_files(cli: Cli, home: Path) -> None:
    elsewhere = home / "elsewhere" / "people.yaml"
    key(home / "key")
    where = {"FIREDOOR_RESPONDERS": str(elsewhere)}

    await cli("responders", "add", "bob", "--key", f"{home}/key.pub", "--yes", **where)

    assert list(rosters.load(elsewhere, elsewhere.with_name("allowed_signers")).people) == ["bob"]
