"""Adding people and keys, with all that was in the files left as it was."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from firedoor import enrolment, rosters
from firedoor.approvals.sshsig import public_blob
from firedoor.enrolment import Newcomer
from firedoor.errors import BadInput, Refused
from firedoor.model.responder import Key, Person, Subject

WRITTEN = """\
# who may decide

people:
    # the team
    alice:
        groups: [security]   # and more
    bob:
        groups:
            - platform

# what brings decisions from chat
gateways: [chat]
"""


def public() -> str:
    blob = public_blob(Ed25519PrivateKey.generate())
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


ALICE, CAROL = public(), public()
DAVE = Person(
    groups=("security", "on-call 1"),
    email="dave@example.com",
    slack="U012AB3CD",
    arns=("arn:aws:sts::123456789012:assumed-role/responder/*",),
    oidc=(Subject(issuer="https://login.example.com", subject='a"b'),),
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "responders.yaml", tmp_path / "allowed_signers"


def add(files: tuple[Path, Path], name: str, key: str, person: Person | None = None) -> None:
    newcomer = Newcomer(name, key, f"{name}@laptop", person or Person())
    enrolment.write(enrolment.planned(newcomer, *files))


def test_first_person_makes_both_files(files: tuple[Path, Path]) -> None:
    add(files, "dave", ALICE, DAVE)

    [(name, person)] = rosters.load(*files).people.items()
    assert (name, person.model_dump(exclude={"keys"})) == ("dave", DAVE.model_dump())
    assert [key.public for key in person.keys] == [ALICE]


def test_person_is_added_behind_the_last_one(files: tuple[Path, Path]) -> None:
    files[0].write_text(WRITTEN)
    files[1].write_text(f"# keys\nalice {ALICE}")

    add(files, "carol", CAROL, Person(groups=("security",)))

    added = WRITTEN.replace(
        "            - platform\n",
        "            - platform\n    carol:\n      groups: [security]\n",
    )
    line = f'carol namespaces="firedoor" {CAROL} carol@laptop'
    assert files[0].read_text() == added
    assert files[1].read_text() == f"# keys\nalice {ALICE}\n{line}\n"
    assert rosters.load(*files).people["carol"].groups == ("security",)


@pytest.mark.parametrize("name", ["bob", "chat"])
def test_key_of_somebody_who_is_there_adds_a_line_only(name: str, files: tuple[Path, Path]) -> None:
    files[0].write_text(WRITTEN)
    files[1].write_text(f"alice {ALICE}\n")

    add(files, name, CAROL)

    assert files[0].read_text() == WRITTEN
    roster = rosters.load(*files)
    holder = roster.people.get(name) or roster.gateways[name]
    assert [key.public for key in holder.keys] == [CAROL]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nobody yet\n",
        "people:\n",
        "people: {}",
        "people: {}  # nobody yet\n",
        "on_call: []\npeople:\n",
        "on_call: []",
        "people:\n  bob: {groups: [a,\n    b]}\non_call: []\n",
        "people:\n  bob: {}",
        "people:\n\n  bob: {}\n\n\n# the end\n",
        'people:\n  "bob":\n    email: "b@example.com"\n',
    ],
)
def test_person_is_added_to_whatever_is_there(text: str, files: tuple[Path, Path]) -> None:
    files[0].write_text(text)

    add(files, "carol", CAROL, Person(groups=("a",)))

    people = rosters.load(*files).people
    assert list(people) == (["bob", "carol"] if "bob" in text else ["carol"])
    assert all(line in files[0].read_text() for line in text.splitlines() if "#" not in line[1:]
               and "{}" not in line)  # fmt: skip
    assert ("#" in text) == ("#" in files[0].read_text().removeprefix(rosters.HEAD))


def test_people_on_one_line_are_left_to_their_writer(files: tuple[Path, Path]) -> None:
    text = "on_call: []\npeople: {bob: {}}\n"
    files[0].write_text(text)
    files[1].touch()

    with pytest.raises(BadInput, match=r"responders\.yaml: line 2: write people one below"):
        add(files, "carol", CAROL)

    assert (files[0].read_text(), files[1].read_text()) == (text, "")


def test_groups_of_somebody_who_is_there_are_not_changed(files: tuple[Path, Path]) -> None:
    files[0].write_text(WRITTEN)
    files[1].write_text(f"alice {ALICE}\n")

    with pytest.raises(BadInput, match="bob is there already: change their groups and addresses"):
        add(files, "bob", CAROL, Person(groups=("security",)))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("carol", WRITTEN, "the key of line 1 once more"),
        ("al ice", WRITTEN, "NAME: al ice: use letters"),
        ("", WRITTEN, "NAME: : use letters|NAME: use letters"),
        ("carol", WRITTEN.replace("gateways", "gateway"), "unknown member `gateway`"),
        ("carol", "people: [", "line 1: "),
        ("carol", "- carol\n", "line 1: it is not a mapping"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(
    name: str, text: str, expected: str, files: tuple[Path, Path]
) -> None:
    files[0].write_text(text)
    files[1].write_text(f"alice {ALICE}\n")

    with pytest.raises(BadInput, match=expected):
        add(files, name, ALICE)

    assert (files[0].read_text(), files[1].read_text()) == (text, f"alice {ALICE}\n")


def test_revoked_key_is_not_added(files: tuple[Path, Path]) -> None:
    files[0].write_text(f"{WRITTEN}revoked: ['{Key(public=CAROL).fingerprint}']\n")
    files[1].touch()

    with pytest.raises(BadInput, match="would not count: is it revoked"):
        add(files, "bob", CAROL)


def test_what_changed_meanwhile_is_not_overwritten(files: tuple[Path, Path]) -> None:
    files[0].write_text(WRITTEN)
    files[1].touch()
    changes = enrolment.planned(Newcomer("bob", CAROL, "", Person()), *files)
    files[1].write_text(f"alice {ALICE}\n")

    with pytest.raises(Refused, match="allowed_signers has changed meanwhile: try again"):
        enrolment.write(changes)

    assert files[1].read_text() == f"alice {ALICE}\n"


def test_files_keep_their_modes_and_links(files: tuple[Path, Path], tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.write_text(f"alice {ALICE}\n")
    real.chmod(0o640)
    files[0].write_text(WRITTEN)
    files[1].symlink_to(real)

    add(files, "bob", CAROL)

    assert files[1].is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert CAROL in real.read_text()


def test_what_cannot_be_written_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(BadInput, match="a character that cannot be printed"):
        add(files, "carol", CAROL, Person(groups=("a\ufffeb",)))

    assert not files[0].exists()


TEXTS = st.text(min_size=1).filter(lambda text: text.isprintable() and text.strip() != "owner")
SAID = TEXTS.map(str.strip).filter(bool)


@given(groups=st.lists(SAID, max_size=3).map(tuple), email=SAID)
def test_whatever_is_said_of_somebody_is_read_back(groups: tuple[str, ...], email: str) -> None:
    person = Person(groups=groups, email=email)
    newcomer = Newcomer("carol", CAROL, "", person)
    nowhere = Path("/nonexistent/responders.yaml"), Path("/nonexistent/allowed_signers")

    people, signers = enrolment.planned(newcomer, *nowhere)

    roster = rosters.parse(people.after, "", signers.after, "").roster
    assert roster.people["carol"].model_dump(exclude={"keys"}) == person.model_dump()
