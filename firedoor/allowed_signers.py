"""OpenSSH's `allowed_signers`: whose keys are whose, read strictly and with line numbers.

The format is that of ssh-keygen(1), "ALLOWED SIGNERS". Whatever is read here is read by
`ssh-keygen -Y verify` as well; what two readers could understand differently is refused.
"""

import base64
import re
from datetime import UTC, datetime
from typing import NamedTuple

from firedoor.approvals.sshsig import NAMESPACE, BadKey, parse_public
from firedoor.document import Problem, suggestion
from firedoor.model.responder import Key

NAME = re.compile(r"[\w.@+-]+")
"""What a name is made of, so that YAML, `allowed_signers` and people read the same."""

TYPES = ("ssh-", "ecdsa-", "sk-")  # how types of keys begin, and no option does
OPTIONS = ("namespaces", "valid-after", "valid-before")
DATES = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}

TAKEN = "copy a key of type ed25519, ecdsa, or RSA of 2048 bits or more, from its .pub file"

PRINCIPALS = re.compile(r'(?:"([^"]*)"|([^\s"]+))[ \t]+(.+)')
OPTIONAL = re.compile(r'((?:[^\s"]|"[^"]*")+)[ \t]+(.+)')
OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"\\]*)")?(?:,(?=.)|\Z)')


class Entry(NamedTuple):
    """One line: whose key it is."""

    line: int
    names: tuple[str, ...]
    key: Key
    passed_over: str
    """Why the key does not count for Firedoor, or nothing."""


class _Malformed(Exception):
    """What is wrong in a line, and what mends it."""

    def __init__(self, problem: str, mend: str) -> None:
        super().__init__(problem, mend)
        self.problem, self.mend = problem, mend


def read(text: str, file: str) -> tuple[list[Entry], list[Problem]]:
    """Return the keys that a file holds, and what is wrong in its other lines."""
    entries, problems = list[Entry](), list[Problem]()
    for number, written in enumerate(text.split("\n"), 1):
        line = written.strip(" \t\r")
        if not line or line.startswith("#"):
            continue
        try:
            entries.append(_entry(line, number))
        except _Malformed as bad:
            problems.append(Problem(file=file, line=number, problem=bad.problem, mend=bad.mend))
    return entries, problems


def public_key(kind: str, encoded: str) -> str:
    """Return a public key in its one form: type and base64.

    Raises `BadKey` if it is none, or none that is taken.
    """
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise BadKey("the key is not base64") from error
    known = parse_public(blob)
    if known.kind != kind:
        raise BadKey(f"the key is of type {known.kind}, not {kind}")
    return f"{kind} {base64.b64encode(blob).decode()}"


def line(name: str, public: str, comment: str = "") -> str:
    """Return the line that makes a key somebody's, for Firedoor and for nothing else."""
    return f'{name} namespaces="{NAMESPACE}" {public} {comment}'.rstrip()


def _entry(line: str, number: int) -> Entry:
    if not (found := PRINCIPALS.fullmatch(line)):
        raise _Malformed("it is not `name key`", "write name, type and base64 of a key")
    names = _names(found[1] if found[1] is not None else found[2])
    rest, options = found[3], dict[str, str]()
    if not rest.startswith(TYPES):
        if not (found := OPTIONAL.fullmatch(rest)):
            raise _Malformed("no key in it", "write type and base64 of a key after the options")
        options, rest = _options(found[1]), found[2]
    kind, _, encoded = rest.partition(" ")
    words = encoded.split()
    if not words:
        raise _Malformed("half a key", "write type and base64 of it, as in its .pub file")
    try:
        public = public_key(kind, words[0])
    except BadKey as bad:
        raise _Malformed(str(bad), TAKEN) from bad
    after, before = (_instant(name, options.get(name)) for name in OPTIONS[1:])
    if after and before and before <= after:
        raise _Malformed("valid-before is not after valid-after", "mend one of them")
    key = Key(public=public, valid_after=after, valid_before=before)
    return Entry(number, names, key, _elsewhere(options.get("namespaces")))


def _names(written: str) -> tuple[str, ...]:
    names = tuple(written.split(","))
    for name in names:
        if set(name) & set("*?!"):
            raise _Malformed(f"`{name}` is a pattern", "write each name out: a key is one person's")
        if not NAME.fullmatch(name):
            raise _Malformed(f"`{name}` is no name", "use letters, digits and . _ @ + - in names")
    return names


def _options(written: str) -> dict[str, str]:
    options, end = dict[str, str](), 0
    while end < len(written):
        if not (found := OPTION.match(written, end)):
            mend = 'write name="value", separated by commas without blanks'
            raise _Malformed(f"`{written[end:]}` is no list of options", mend)
        name, value, end = found[1].lower(), found[2], found.end()
        if name == "cert-authority":
            mend = "write a line for the key of each person: a certificate could name anybody"
            raise _Malformed("certificate authorities are not taken", mend)
        if name not in OPTIONS:
            raise _Malformed(f"unknown option `{name}`", suggestion(name, OPTIONS))
        if value is None:
            raise _Malformed(f"`{name}` has no value in quotes", f'write {name}="…"')
        if name in options:
            raise _Malformed(f"`{name}` is given twice", "keep one")
        options[name] = value
    return options


def _instant(name: str, written: str | None) -> datetime | None:
    if written is None:
        return None
    digits = written[:-1]
    if written[-1:] != "Z" and written.isdecimal():
        mend = f'write {name}="{written}Z": without Z it is the local time of whoever reads it'
        raise _Malformed(f"`{name}` is in no time zone", mend)
    try:
        if not re.fullmatch("[0-9]+Z", written) or len(digits) not in DATES:
            raise ValueError(written)
        return datetime.strptime(digits, DATES[len(digits)]).replace(tzinfo=UTC)
    except ValueError as error:
        mend = "write YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ"
        raise _Malformed(f"`{name}` is {written!r}", mend) from error


def _elsewhere(namespaces: str | None) -> str:
    """Return why a key does not count here: it is for other things only."""
    if namespaces is None:
        return ""
    patterns = namespaces.split(",")
    barred = any(_matches(one[1:]) for one in patterns if one.startswith("!"))
    if not barred and any(_matches(one) for one in patterns):
        return ""
    return f"it is for {namespaces}, and not for {NAMESPACE}"


def _matches(pattern: str) -> bool:
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, NAMESPACE) is not None
