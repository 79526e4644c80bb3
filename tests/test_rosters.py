"""Who may decide, read from two files; the second is one that ssh-keygen reads the same way."""

import base64
import subprocess
import textwrap
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given
from hypothesis import strategies as st

from firedoor import rosters
from firedoor.approvals import sshsig
from firedoor.approvals.sshsig import public_blob
from firedoor.errors import BadInput
from firedoor.lab.security_keys import security_key
from firedoor.model.responder import Gateway, Issuer, Key, Responder, Roster, Subject

PEOPLE = """\
people:
  alice:
    groups: [security, lead]
    email: alice@example.com
    slack: U012AB3CD
    oidc: [{issuer: https://login.example.com, subject: "007"}]
  bob: {}
  carol: {arns: ["arn:aws:sts::123456789012:assumed-role/responder/carol"]}
gateways: [chat]
issuers:
  - {issuer: https://login.example.com, audience: firedoor}
on_call: [bob]
"""


def written(private: sshsig.PrivateKey) -> str:
    blob = public_blob(private)
    kind = blob[4 : 4 + int.from_bytes(blob[:4])].decode()
    return f"{kind} {base64.b64encode(blob).decode()}"


PRIVATE = Ed25519PrivateKey.generate()
ONE, TWO, THREE = written(PRIVATE), *(written(Ed25519PrivateKey.generate()) for _ in range(2))
HARDWARE = f"sk-ssh-ed25519@openssh.com {base64.b64encode(security_key().blob).decode()}"
SHORT = written(rsa.generate_private_key(65537, 1024))
DSA = base64.b64encode(b"".join(map(sshsig.string, (b"ssh-dss", *[b"\1" * 64] * 4)))).decode()

KEYS = {"BASE64": ONE.split()[1], "ONE": ONE, "SHORT": SHORT, "DSA": DSA}
"""What stands for keys in lines: names of tests are the same in every process."""


def filled(line: str) -> str:
    for name, key in KEYS.items():
        line = line.replace(name, key)
    return line


def parse(people: str, signers: str) -> rosters.Reading:
    return rosters.parse(people, "responders.yaml", signers, "allowed_signers")


def test_two_files_become_one_roster() -> None:
    signers = textwrap.dedent(f"""\
        # keys of people

        alice {ONE} alice@laptop
          alice\tnamespaces="git,firedoor",valid-before="20270101Z" {HARDWARE}
        "bob" VALID-AFTER="202601021530Z",valid-before="20270101000001Z" {TWO} a longer comment
        chat namespaces="fire*" {THREE}
        """)

    reading = parse(PEOPLE, signers)

    alice = Responder(
        groups=("security", "lead"),
        email="alice@example.com",
        slack="U012AB3CD",
        oidc=(Subject(issuer="https://login.example.com", subject="007"),),
        keys=(
            Key(public=ONE),
            Key(public=HARDWARE, valid_before=datetime(2027, 1, 1, tzinfo=UTC)),
        ),
    )
    bob = Key(
        public=TWO,
        valid_after=datetime(2026, 1, 2, 15, 30, tzinfo=UTC),
        valid_before=datetime(2027, 1, 1, 0, 0, 1, tzinfo=UTC),
    )
    carol = Responder(arns=("arn:aws:sts::123456789012:assumed-role/responder/carol",))
    roster = Roster(
        people={"alice": alice, "bob": Responder(keys=(bob,)), "carol": carol},
        gateways={"chat": Gateway(keys=(Key(public=THREE),))},
        issuers=(Issuer(issuer="https://login.example.com", audience="firedoor"),),
        on_call=("bob",),
    )
    assert reading == (roster, ())
    assert Roster.model_validate_json(roster.model_dump_json()) == roster


def test_the_documented_example_can_be_used() -> None:
    example = (rosters.__doc__ or "").partition("\n\n")[2]

    assert set(parse(example, "").roster.people) == {"alice", "bob"}


def test_the_example_of_the_guide_can_be_used() -> None:
    guide = Path(__file__).parent.parent / "docs/guides/approvals.md"
    _, _, rest = guide.read_text().partition("```yaml\npeople:\n")
    example = "people:\n" + rest.partition("```")[0]

    assert {*parse(example, "").roster.people} == {"alice", "bob"}


def test_revoked_key_and_key_for_something_else_are_passed_over_and_said() -> None:
    revoked = Key(public=TWO).fingerprint
    signers = f'alice namespaces="git" {ONE}\nbob {TWO}\nstranger namespaces="file" {ONE}\n'

    reading = parse(f"{PEOPLE}revoked: ['{revoked}']\n", signers)

    assert [reading.roster.people[name].keys for name in ("alice", "bob")] == [(), ()]
    assert [said.partition("does not count: ")[2] for said in reading.passed_over] == [
        "it is for git, and not for firedoor",
        "it is revoked",
        "it is for file, and not for firedoor",
    ]
    assert reading.passed_over[1].startswith(f"allowed_signers:2: {revoked} of bob ")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("people:", "peple:", "line 1: `people` is missing: add `people:`"),
        (
            "  bob: {}",
            "  bob: {group: [a]}",
            "line 7: unknown member `group`: did you mean groups?",
        ),
        ("  bob: {}", "  b?b: {}", "line 7: `b?b` is no name: use letters, digits"),
        ("security, lead", "owner", "line 3: a group called `owner`: call the group something"),
        (
            "[chat]",
            "[alice]",
            "line 9: `alice` is a person too: give the gateway a name of its own",
        ),
        ("[chat]", "['*']", "line 9: `*` is no name"),
        ("[bob]", "[bobb]", "line 12: `on_call` names bobb, who is nobody here: did you mean bob?"),
        ("bob: {}", "bob: {slack: U012AB3CD}", "line 7: `slack` is that of alice too"),
        (
            "bob: {}",
            "bob: {oidc: [{issuer: https://login.example.com, subject: '007'}]}",
            "line 7: `oidc` is that of alice too: one identity is one person's",
        ),
        ("on_call: [bob]", "revoked: [abc]", "line 12: `revoked` is 'abc': "),
        ("  bob: {}", "  alice: {}", "line 7: `alice` is given twice: keep this or line 2"),
    ],
)
def test_a_mistake_among_people_is_refused_with_its_line(old: str, new: str, expected: str) -> None:
    text = PEOPLE.replace(old, new, 1)

    with pytest.raises(BadInput) as caught:
        parse(text, "")

    assert text != PEOPLE
    assert str(caught.value).startswith("responders.yaml: line ")
    assert expected in str(caught.value)


MALFORMED = [
    ("alice", "it is not `name key`: write name, type and base64"),
    ("alice ssh-ed25519", "half a key"),
    ("alice ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA", "the key is damaged"),
    ("alice ssh-ed25519 AAAA!", "the key is not base64"),
    ("alice ssh-rsa BASE64", "the key is of type ssh-ed25519, not ssh-rsa"),
    ("alice ONEA", "the key is not base64"),
    ("alice ssh-dss DSA", "a key of type 'ssh-dss' is not taken: copy a key of type ed25519"),
    ("alice SHORT", "an RSA key of 1024 bits is too short: copy a key of type ed25519"),
    ("* ONE", "`*` is a pattern: write each name out: a key is one person's"),
    ("alice,!bob ONE", "`!bob` is a pattern"),
    ("alice, ONE", "`` is no name"),
    ('"alice ONE', "it is not `name key`"),
    ("dave ONE", "dave is neither a person nor a gateway: "),
    ("alic ONE", "alic is neither a person nor a gateway: did you mean alice?"),
    ("alice,bob ONE", "one key for alice and bob: give each a key of their own"),
    ("alice cert-authority ONE", "certificate authorities are not taken: write a line for"),
    ('alice namespaces="firedoor",cert-authority ONE', "certificate authorities are not taken"),
    ('alice namespace="firedoor" ONE', "unknown option `namespace`: did you mean namespaces?"),
    ("alice no-touch-required ONE", "unknown option `no-touch-required`"),
    ("alice namespaces=firedoor ONE", "`namespaces=firedoor` is no list of options"),
    ("alice namespaces ONE", '`namespaces` has no value in quotes: write namespaces="…"'),
    ('alice namespaces="firedoor", ONE', '`namespaces="firedoor",` is no list of options'),
    ('alice namespaces="firedoor",namespaces="git" ONE', "`namespaces` is given twice"),
    ('alice namespaces="firedoor"', "no key in it"),
    ('alice valid-before="20270101" ONE', 'write valid-before="20270101Z": without Z it is'),
    ('alice valid-before="2027-01-01Z" ONE', "`valid-before` is '2027-01-01Z': write YYYYMM"),
    ('alice valid-before="20271301Z" ONE', "`valid-before` is '20271301Z': write YYYYMMDDZ"),
    ('alice valid-after="202701010Z" ONE', "`valid-after` is '202701010Z'"),
    ('alice valid-after="" ONE', "`valid-after` is ''"),
    (
        'alice valid-after="20270101Z",valid-before="20260101Z" ONE',
        "valid-before is not after valid-after",
    ),
]


@pytest.mark.parametrize(("line", "expected"), MALFORMED)
def test_a_malformed_line_is_refused_with_its_number(line: str, expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(PEOPLE, f"# keys\n\n{filled(line)}\n")

    assert str(caught.value).startswith("allowed_signers: line 3: ")
    assert expected in str(caught.value)


def test_key_of_two_people_is_refused() -> None:
    with pytest.raises(BadInput) as caught:
        parse(PEOPLE, f'alice {ONE}\nbob namespaces="firedoor" {ONE} another comment\n')

    assert str(caught.value) == (
        "allowed_signers: line 2: the key of line 1 once more: keep one: a key is one person's"
    )


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        parse(PEOPLE.replace("[bob]", "[eve]"), "alice x y\nbob\n")

    assert str(caught.value).startswith("responders.yaml: line 12: `on_call` names eve")
    assert [note.partition(": ")[0] for note in caught.value.__notes__] == [
        "allowed_signers:1",
        "allowed_signers:2",
    ]


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    people, signers = tmp_path / "responders.yaml", tmp_path / "allowed_signers"

    with pytest.raises(BadInput, match=f"responders: {people}: it cannot be read: No such file"):
        rosters.load(people, signers)
    people.write_text(PEOPLE)
    with pytest.raises(BadInput, match=f"allowed signers: {signers}: it cannot be read: No such"):
        rosters.load(people, signers)
    signers.write_bytes(b"\xff")
    with pytest.raises(BadInput, match=f"allowed signers: {signers}: expected UTF-8"):
        rosters.load(people, signers)


class Keygen(NamedTuple):
    """What ssh-keygen says of a file of signers."""

    finds: bool
    verifies: bool


def keygen(where: Path, line: str, private: sshsig.PrivateKey, at: str = "20260601Z") -> Keygen:
    signers, signature = where / "signers", where / "signature"
    signers.write_text(f"# keys\n\n{line}\n")
    signature.write_text(sshsig.sign(private, b"message"))
    common = ("-f", signers, "-s", signature, "-O", f"verify-time={at}")
    find = ["ssh-keygen", "-Y", "find-principals", *common]
    verify = ["ssh-keygen", "-Y", "verify", "-I", "alice", "-n", "firedoor", *common]
    found = subprocess.run(find, capture_output=True, check=False, timeout=60)
    verified = subprocess.run(
        verify, input=b"message", capture_output=True, check=False, timeout=60
    )
    return Keygen(found.stdout.strip() == b"alice", verified.returncode == 0)


@pytest.mark.parametrize(
    "line",
    [
        "alice ONE",
        "alice ONE with a comment",
        '  alice\tnamespaces="firedoor"   ONE',
        '"alice" namespaces="git,firedoor" ONE',
        'alice Namespaces="f?re*" ONE',
        'alice valid-after="20260101Z",valid-before="202701010000Z" ONE',
        'alice namespaces="firedoor",valid-before="20270101000000Z" ONE',
    ],
)
def test_line_that_we_take_is_one_that_keygen_takes(line: str, tmp_path: Path) -> None:
    taken = parse(PEOPLE, filled(line)).roster.people["alice"].keys

    assert [key.public for key in taken] == [ONE]
    assert keygen(tmp_path, filled(line), PRIVATE) == (True, True)


@pytest.mark.parametrize(
    "line",
    [
        'alice namespaces="git" ONE',
        'alice namespaces="git, firedoor" ONE',
        'alice namespaces="firedoor2" ONE',
        'alice namespaces="*,!firedoor" ONE',
        'alice namespaces="*,!fire*" ONE',
        'alice namespaces="" ONE',
        'alice namespaces="FIREDOOR" ONE',
    ],
)
def test_key_that_we_pass_over_is_not_good_to_keygen(line: str, tmp_path: Path) -> None:
    reading = parse(PEOPLE, filled(line))

    assert reading.passed_over
    assert not reading.roster.people["alice"].keys
    assert not keygen(tmp_path, filled(line), PRIVATE).verifies


def test_times_are_those_that_keygen_reads(tmp_path: Path) -> None:
    line = f'alice valid-after="20260101Z",valid-before="20260102120000Z" {ONE}'

    [key] = parse(PEOPLE, line).roster.people["alice"].keys

    assert key.valid_after == datetime(2026, 1, 1, tzinfo=UTC)
    assert key.valid_before == datetime(2026, 1, 2, 12, tzinfo=UTC)
    seen = ("20251231235959Z", "20260101000000Z", "20260102115959Z", "20260102120001Z")
    assert [keygen(tmp_path, line, PRIVATE, at).verifies for at in seen] == [
        False, True, True, False,
    ]  # fmt: skip


def test_one_person_is_laid_out_with_a_key_that_keygen_knows(tmp_path: Path) -> None:
    people, signers, key = rosters.lay_out(tmp_path / "home", "alice")

    roster = rosters.load(people, signers)

    private = load_ssh_private_key(key.read_bytes(), None)
    assert list(roster.people) == ["alice"]
    assert [key.public for key in roster.people["alice"].keys] == [written(private)]
    assert key.stat().st_mode & 0o777 == 0o600
    assert keygen(tmp_path, signers.read_text(), private).verifies


def test_what_is_laid_out_stays(tmp_path: Path) -> None:
    files = rosters.lay_out(tmp_path, "alice")
    before = [file.read_bytes() for file in files]

    again = rosters.lay_out(tmp_path, "bob")

    assert again == files
    assert [file.read_bytes() for file in again] == before
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files}


def test_laying_out_goes_on_where_it_was_cut_off(tmp_path: Path) -> None:
    people, signers, key = rosters.lay_out(tmp_path, "alice")
    before = key.read_bytes()
    people.unlink()
    signers.unlink()

    rosters.lay_out(tmp_path, "alice")

    assert key.read_bytes() == before
    assert rosters.load(people, signers).people["alice"].keys


def test_many_at_once_lay_out_one_person(tmp_path: Path) -> None:
    ready = Barrier(4)

    def lay_out(home: Path, name: str) -> tuple[Path, Path, Path]:
        ready.wait(20)
        return rosters.lay_out(home, name)

    with ThreadPoolExecutor(4) as pool:
        for home in (tmp_path / str(number) for number in range(20)):
            names = [f"alice{number}" for number in range(4)]
            made = set(pool.map(lay_out, [home] * 4, names))

            [(people, signers, key)] = made
            [person] = rosters.load(people, signers).people.values()
            private = load_ssh_private_key(key.read_bytes(), None)
            assert [held.public for held in person.keys] == [written(private)]


@pytest.mark.parametrize("name", ["@work", "1", "true", "jörg", "a.b-c@example.com"])
def test_any_name_that_is_one_can_be_laid_out(name: str, tmp_path: Path) -> None:
    people, signers, _ = rosters.lay_out(tmp_path, name)

    assert rosters.load(people, signers).people[name].keys


def test_name_that_the_files_could_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="FIREDOOR_RESPONDER: a b: use letters"):
        rosters.lay_out(tmp_path / "home", "a b")

    assert not (tmp_path / "home").exists()


def test_home_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BadInput, match=f"FIREDOOR_HOME: {tmp_path}/file/home: cannot be used: "):
        rosters.lay_out(tmp_path / "file" / "home", "alice")


def test_key_that_was_there_and_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nothing")

    with pytest.raises(BadInput, match=f"key: {tmp_path}/key: it cannot be read: move it away"):
        rosters.lay_out(tmp_path, "alice")

    assert list(tmp_path.iterdir()) == [tmp_path / "key"]


@given(
    st.text(max_size=80),
    st.text(alphabet='alice ssh-ed25519 AAAA,="*!#\t\\namespaces', max_size=80),
)
def test_any_line_is_read_or_refused_with_one(junk: str, near: str) -> None:
    for text in (junk, near, f"alice {junk} {ONE}", f'alice namespaces="{near}" {ONE}'):
        with suppress(BadInput):
            parse(PEOPLE, text)
