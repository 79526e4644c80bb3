"""Who may decide, and by which keys an incident knows them: two files, read as one value.

people:                              # names as `allowed_signers` has them
  alice:
    groups: [security, security-lead]
    email: alice@example.com         # where mail goes
    slack: U012AB3CD                 # member id, for decisions in Slack
    teams: 00000000-0000-0000-0000-000000000000   # object id in Entra, for decisions in Teams
    arns: ["arn:aws:sts::123456789012:assumed-role/responder/alice"]
    oidc: [{issuer: "https://login.example.com", subject: alice}]
  bob: {groups: [platform]}
gateways: [chat]                     # what brings decisions from chat; has a key as people have
issuers:
  - {issuer: "https://login.example.com", audience: firedoor}
on_call: [bob]                       # whoever is on call now
revoked: []                          # fingerprints of keys that count no longer, SHA256:…
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from pydantic import Field, StringConstraints, ValidationError

from firedoor import allowed_signers
from firedoor.allowed_signers import NAME, Entry
from firedoor.document import Document, Problem, problem, problems, read, suggestion
from firedoor.errors import BadInput
from firedoor.model.approval import OWNER
from firedoor.model.base import Model
from firedoor.model.responder import Gateway, Issuer, Key, Person, Responder, Roster, Text

Fingerprint = Annotated[str, StringConstraints(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]

HEAD = """\
# Who may decide. `firedoor responders add` adds people and keys, `check` says what is missing.
people:
"""
SIGNERS_HEAD = '# Their keys; the format is that of ssh-keygen(1), "ALLOWED SIGNERS".\n'


class Responders(Model):
    """What `responders.yaml` says."""

    people: dict[Text, Person] = Field(min_length=1)
    gateways: tuple[Text, ...] = ()
    issuers: tuple[Issuer, ...] = ()
    on_call: tuple[Text, ...] = ()
    revoked: tuple[Fingerprint, ...] = ()


class Reading(NamedTuple):
    """What two files say together."""

    roster: Roster
    passed_over: tuple[str, ...]
    """Keys that do not count, each with the reason."""


def load(responders: Path, signers: Path) -> Roster:
    """Return who may decide, with their keys.

    Raises `BadInput` with the file, the line and what mends it; further problems are its notes.
    """
    return read_both(responders, signers).roster


def read_both(responders: Path, signers: Path) -> Reading:
    """Return what the files say, with the keys that do not count. Raises as `load`."""
    return parse(
        text_of("responders", responders), str(responders),
        text_of("allowed signers", signers), str(signers),
    )  # fmt: skip


def parse(responders: str, name: str, signers: str, signers_name: str) -> Reading:
    """Return what two texts say; the names are those of their files. Raises as `load`."""
    document = read(responders, name, only_text=True)
    if isinstance(document, Problem):
        raise _refusal([document])
    try:
        said = Responders.model_validate(document.value)
    except ValidationError as error:
        raise _refusal(problems(document, Responders, error)) from error
    found = list(_misfits(document, said))
    entries, malformed = allowed_signers.read(signers, signers_name)
    found += [*malformed, *_strays(entries, said, signers_name)]
    if found:
        raise _refusal(found)
    return _joined(said, entries, signers_name)


def text_of(what: str, file: Path) -> str:
    """Return what a file holds. Raises `BadInput` if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(what, str(file), f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(what, str(file), "expected UTF-8") from error


def lay_out(home: Path, name: str) -> tuple[Path, Path, Path]:
    """Make one person the responder of a machine where nothing is configured, with a new key.

    Returns `responders.yaml`, `allowed_signers` and the private key. What is there stays as it is.
    """
    if not NAME.fullmatch(name):
        raise BadInput("FIREDOOR_RESPONDER", name, "use letters, digits and . _ @ + - in it")
    people, signers, key = home / "responders.yaml", home / "allowed_signers", home / "key"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with locked(home):
            if not people.exists():
                _put(key, _new_key)
                _put(signers, lambda: SIGNERS_HEAD + _own_line(name, key))
                _put(people, lambda: f"{HEAD}  {written(name)}: {{}}\n")
    except OSError as error:
        raise BadInput("FIREDOOR_HOME", str(home), f"cannot be used: {error.strerror}") from error
    return people, signers, key


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from changing the files of a directory for as long."""
    held = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def written(name: str) -> str:
    """Return a name as YAML has it."""
    return name if name[0].isalnum() else f'"{name}"'


def _refusal(found: list[Problem]) -> BadInput:
    # Those of `responders.yaml` first: names that are wrong there are unknown in the other file.
    order = {file: number for number, file in enumerate(dict.fromkeys(p.file for p in found))}
    first, *others = sorted(found, key=lambda p: (order[p.file], p.line))
    error = BadInput(first.file, f"line {first.line}", f"{first.problem}: {first.mend}")
    for other in others:
        error.add_note(str(other))
    return error


def _misfits(document: Document, said: Responders) -> Iterator[Problem]:
    """Yield what is wrong in `responders.yaml`, beyond the form of its values."""
    for name, person in said.people.items():
        if not NAME.fullmatch(name):
            mend = "use letters, digits and . _ @ + - in names"
            yield problem(document, ("people", name), f"`{name}` is no name", mend)
        if OWNER in person.groups:
            mend = "call the group something else: `owner` is whoever owns the resource"
            yield problem(document, ("people", name, "groups"), "a group called `owner`", mend)
    for index, name in enumerate(said.gateways):
        if name in said.people:
            mend = "give the gateway a name of its own"
            yield problem(document, ("gateways", index), f"`{name}` is a person too", mend)
        elif not NAME.fullmatch(name):
            mend = "use letters, digits and . _ @ + - in names"
            yield problem(document, ("gateways", index), f"`{name}` is no name", mend)
    for index, name in enumerate(said.on_call):
        if name not in said.people:
            said_of = f"`on_call` names {name}, who is nobody here"
            yield problem(document, ("on_call", index), said_of, suggestion(name, said.people))
    yield from _doubles(document, said)


IDENTITIES: dict[str, Callable[[Person], Iterable[Hashable]]] = {
    "slack": lambda person: filter(None, (person.slack,)),
    "teams": lambda person: filter(None, (person.teams,)),
    "arns": lambda person: person.arns,
    "oidc": lambda person: ((one.issuer, one.subject) for one in person.oidc),
}
"""By what, beside keys, somebody is known."""


def _doubles(document: Document, said: Responders) -> Iterator[Problem]:
    """Yield what would let one person speak for two."""
    for member, of in IDENTITIES.items():
        owners = dict[Hashable, str]()
        for name, person in said.people.items():
            for identity in of(person):
                other = owners.setdefault(identity, name)
                if other != name:
                    place, mend = ("people", name, member), "one identity is one person's"
                    yield problem(document, place, f"`{member}` is that of {other} too", mend)


def _strays(entries: list[Entry], said: Responders, file: str) -> Iterator[Problem]:
    """Yield the lines of `allowed_signers` whose key is nobody's, or more than one's."""
    known, lines = {*said.people, *said.gateways}, dict[str, int]()
    for entry in entries:
        for name in entry.names:
            # A key that does not count here may be anybody's: git uses the same file.
            if name not in known and not entry.passed_over:
                what = f"{name} is neither a person nor a gateway"
                mend = f"{suggestion(name, known)}; or add them to the responders"
                yield Problem(file=file, line=entry.line, problem=what, mend=mend)
        if entry.passed_over:
            continue
        if len(set(entry.names)) > 1:
            what = f"one key for {' and '.join(entry.names)}"
            mend = "give each a key of their own, or one could decide for both"
            yield Problem(file=file, line=entry.line, problem=what, mend=mend)
        first = lines.setdefault(entry.key.public, entry.line)
        if first != entry.line:
            what, mend = f"the key of line {first} once more", "keep one: a key is one person's"
            yield Problem(file=file, line=entry.line, problem=what, mend=mend)


def _joined(said: Responders, entries: list[Entry], file: str) -> Reading:
    keys, passed_over = dict[str, list[Key]](), list[str]()
    for entry in entries:
        revoked = entry.key.fingerprint in said.revoked
        why = entry.passed_over or ("it is revoked" if revoked else "")
        if why:
            whose = ", ".join(entry.names)
            passed_over.append(
                f"{file}:{entry.line}: {entry.key.fingerprint} of {whose} does not count: {why}"
            )
        else:
            keys.setdefault(entry.names[0], []).append(entry.key)
    people = {
        name: Responder(**dict(person), keys=tuple(keys.get(name, ())))
        for name, person in said.people.items()
    }
    gateways = {name: Gateway(keys=tuple(keys.get(name, ()))) for name in said.gateways}
    roster = Roster(people=people, gateways=gateways, issuers=said.issuers, on_call=said.on_call)
    return Reading(roster, tuple(passed_over))


def _put(file: Path, make: Callable[[], str]) -> None:
    """Write a file that only its owner reads, whole or not at all, unless it is there."""
    if file.exists():
        return
    # 0600 from the beginning: a key that others could read for a moment is no secret.
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(make())
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(name, file)
    finally:
        Path(name).unlink()


def _new_key() -> str:
    form = Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(*form).decode()


def _own_line(name: str, key: Path) -> str:
    try:
        private = load_ssh_private_key(key.read_bytes(), password=None)
    except (TypeError, ValueError) as error:  # the former: it has a passphrase
        raise BadInput("key", str(key), "it cannot be read: move it away for a new one") from error
    form = Encoding.OpenSSH, PublicFormat.OpenSSH
    return allowed_signers.line(name, private.public_key().public_bytes(*form).decode()) + "\n"
