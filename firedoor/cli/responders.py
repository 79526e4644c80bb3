"""Responders: who may decide and with which keys; added, listed, and checked before it matters."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from firedoor import enrolment, policies, rosters, signing
from firedoor.approvals import lint
from firedoor.cli import _keys, output, render
from firedoor.cli.main import STATUSES
from firedoor.cli.output import Json as AsJson
from firedoor.cli.output import can_ask, confirm, document, line
from firedoor.errors import BadInput, Refused
from firedoor.model.responder import Gateway, Key, Person, Responder, Roster
from firedoor.model.word import Close, Signed, SshSignature, signable
from firedoor.settings import settings

app = typer.Typer(rich_markup_mode=None)
responders = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(responders, name="responders", help="Add, list and check who may decide.")

EXAMPLES = """\b
Examples:
  firedoor responders add alice --key ~/.ssh/id_ed25519.pub --group security
  firedoor responders add alice --key ~/.ssh/id_ed25519_sk.pub
"""


class Check(NamedTuple):
    """What is wrong, and what is worth knowing."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


@responders.command(epilog=f"{EXAMPLES}\n{STATUSES}")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who; as FIREDOOR_RESPONDER has it.")],
    key: Annotated[
        Path, typer.Option(metavar="FILE.pub", help="Their public key; never the private one.")
    ],
    group: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help="A group; can be given again.")
    ] = None,
    email: Annotated[str | None, typer.Option(help="Where mail goes.")] = None,
    slack: Annotated[str | None, typer.Option(metavar="ID", help="Member id in Slack.")] = None,
    teams: Annotated[str | None, typer.Option(metavar="ID", help="Object id in Entra.")] = None,
    arn: Annotated[
        list[str] | None,
        typer.Option(metavar="ARN", help="What AWS knows them by; can be given again."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: AsJson = False,
) -> None:
    """Add somebody who may decide, or one more key of theirs.

    Writes into both files, behind what is there, and leaves that as it is. Shows what it will
    write, and asks. Incidents that are open already keep the responders that they began with.
    """
    public, comment = signing.load_public(key.expanduser())
    person = Person(
        groups=tuple(group or ()), email=email, slack=slack, teams=teams, arns=tuple(arn or ())
    )
    newcomer = enrolment.Newcomer(name, public, comment, person)
    changes = enrolment.planned(newcomer, *settings().roster)
    asking = not yes
    if asking and not can_ask():
        raise BadInput("no terminal to ask on", "", "give --yes")
    for change in changes:
        for text in (str(change.file), *(f"+ {added}" for added in change.added)):
            output.show(output.clean(text), stderr=asking or json)
    if asking and not confirm(f"Let {name} decide with this key?"):
        raise Refused("nothing was written")
    enrolment.write(changes)
    if json:
        document(
            {
                "name": name,
                "fingerprint": Key(public=public).fingerprint,
                "files": [str(change.file) for change in changes],
            }
        )


@responders.command("list")
def list_(json: AsJson = False) -> None:
    """List who may decide, and with which keys."""
    roster = rosters.load(*settings().roster)
    listed = [*_people(roster), *_gateways(roster)]
    if json:
        document(listed)
        return
    heads = ("name", "groups", "key", "type", "counts", "lacks")
    rows = [row for one in listed for row in _rows(one)]
    output.show(render.table(heads, rows))


@responders.command()
def check(json: AsJson = False) -> None:
    """Say what is wrong with responders, their keys, and the policy's rules for approval.

    Also signs a trial word, and checks it, to say which key this terminal signs with; it is sent
    nowhere.
    """
    found = _check(datetime.now(UTC))
    if json:
        document(found)
    else:
        for said in (*found.problems, *found.notes):
            line(said)
    if count := len(found.problems):
        raise Refused(f"{count} problem{'s' if count > 1 else ''} with responders")


def _check(now: datetime) -> Check:
    try:
        reading = rosters.read_both(*settings().roster)
        policy = policies.load(settings().policy, reading.roster)
    except BadInput as error:
        if not error.where.startswith("line "):  # no file to say something of
            raise
        others = getattr(error, "__notes__", ())
        return Check((str(error), *others), ())
    trouble, note = _trial(reading.roster, now)
    return Check((*lint.problems(policy, now), *trouble), (*reading.passed_over, *note))


def _trial(roster: Roster, now: datetime) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return why this terminal could not sign, or else what it signs with."""
    from firedoor.approvals import hearing  # it brings HTTP along, which nothing else here needs

    me = settings().responder
    person = roster.people.get(me)
    if person is None:
        note = f"this terminal is {me}'s, who is no responder: FIREDOOR_RESPONDER says who it is"
        return (), (note,)
    word = Close(
        incident="trial",
        run="trial",
        by=me,
        reason="to try out the key",
        at=now,
        expires_at=now + timedelta(minutes=5),
        nonce=secrets.token_hex(16),
    )
    try:
        key = _keys.signing_key(person.keys)
        signature = _keys.signed(key, signable(word))
        said = Signed[Close](word=word, attestation=SshSignature(signature=signature))
        hearing.speaker(said, roster, now)
    except (BadInput, hearing.NotTheirs) as error:
        return (f"this terminal cannot sign for {me}: {error}",), ()
    return (), (f"this terminal signs for {me} with {key.describe()}",)


def _people(roster: Roster) -> Iterator[dict[str, Any]]:
    for name, person in roster.people.items():
        yield {
            "name": name,
            "gateway": False,
            **person.model_dump(mode="json", exclude={"keys"}),
            "on_call": name in roster.on_call,
            **_described(person, "" if person.groups else "no group"),
        }


def _gateways(roster: Roster) -> Iterator[dict[str, Any]]:
    for name, gateway in roster.gateways.items():
        yield {"name": name, "gateway": True, "groups": [], **_described(gateway)}


def _described(holder: Responder | Gateway, *gaps: str) -> dict[str, Any]:
    """Return somebody's keys, and what they lack."""
    keys = [
        {
            **key.model_dump(mode="json"),
            "type": key.public.split()[0],
            "fingerprint": key.fingerprint,
            "hardware": key.is_hardware,
        }
        for key in holder.keys
    ]
    lacks = [*gaps, "" if keys else "no key"]
    if isinstance(holder, Responder):
        lacks.append("" if holder.email or holder.slack or holder.teams else "no address")
    return {"keys": keys, "gaps": [gap for gap in lacks if gap]}


def _rows(one: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each key; what is the same in all is said once."""
    groups = "gateway" if one["gateway"] else ", ".join(one["groups"])
    first = (one["name"], groups, ", ".join(one["gaps"]))
    for key in one["keys"] or [None]:
        shown = ("", "", "")
        if key:
            kind = f"{key['type']}, hardware" if key["hardware"] else key["type"]
            shown = (key["fingerprint"], kind, _validity(key))
        yield (first[0], first[1], *shown, first[2])
        first = ("", "", "")


def _validity(key: dict[str, Any]) -> str:
    parts = (("from", key["valid_after"]), ("until", key["valid_before"]))
    return " ".join(f"{word} {written}" for word, written in parts if written) or "always"
