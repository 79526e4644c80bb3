"""IAM: print the policies that Firedoor needs, made from what its actions say they need."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from firedoor.action import Permissions
from firedoor.cli.main import STATUSES
from firedoor.cli.output import Json as AsJson
from firedoor.cli.output import document, line
from firedoor.cloud import policy_documents
from firedoor.cloud.policy_documents import Document, Phase
from firedoor.errors import BadInput, Refused
from firedoor.settings import settings
from worker import catalogue

app = typer.Typer(rich_markup_mode=None)
iam = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(iam, name="iam", help="Print the IAM policies that Firedoor needs.")

ACCOUNT = r"\d{12}", "12 digits"
NAME = r"[\w+=,.@/-]{1,512}", "letters, digits, and +=,.@/-"
EXTERNAL_ID = r"[\w+=,.@:/-]{2,1224}", "2 to 1224 letters, digits, and +=,.@:/-"
ORGANIZATION = r"o-[a-z0-9]{10,32}", "o- with 10 to 32 letters and digits"
PARTITION = r"aws(-[a-z]+)*", "aws, aws-cn or aws-us-gov"

POLICY_EXAMPLES = """\b
Examples:
  firedoor iam policy --role firedoor-responder --directory policies
  firedoor iam policy --phase plan --phase verify
  firedoor iam policy --action aws.isolate_instance > policy.json
"""
ROLE_EXAMPLES = """\b
Examples:
  firedoor iam role --account 123456789012 --external-id ID > trust.json
  firedoor iam role --account 123456789012 --external-id ID --hub-role firedoor
"""
HUB_EXAMPLES = """\b
Examples:
  firedoor iam hub --role firedoor-responder --organization o-a1b2c3d4e5
  firedoor iam hub --queue https://sqs.us-east-1.amazonaws.com/123456789012/findings
  firedoor iam hub --evidence s3://evidence.example.com/firedoor
"""


class Policy(NamedTuple):
    """A policy document with the name of its file."""

    name: str
    document: Document


def _ids(incomplete: str) -> list[str]:
    return [id for id in catalogue.actions() if id.startswith(incomplete)]


Directory = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write each policy into a file there, over older ones."),
]
Partition = Annotated[str, typer.Option(metavar="NAME", help="aws, aws-cn or aws-us-gov.")]
RoleName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The role in member accounts; else FIREDOOR_AWS_ROLE."),
]


@iam.command(epilog=f"{POLICY_EXAMPLES}\n{STATUSES}")
def policy(
    action: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Only what this action needs; can be given again.",
            autocompletion=_ids,
        ),
    ] = None,
    phase: Annotated[
        list[Phase] | None,
        typer.Option(
            metavar="PHASE",
            help="Only what plan, apply, verify or revert needs; can be given again.",
        ),
    ] = None,
    role: RoleName = None,
    partition: Partition = "aws",
    directory: Directory = None,
    json: AsJson = False,
) -> None:
    """Print the rights that actions need where they act, and nothing more.

    Attach them to the role in each member account, and to Firedoor's own identity if it is to act
    in its own account. More than one managed policy can hold is printed as several, each on a line
    of its own where there is no terminal; all are needed. The role, if it is named, is denied to
    change itself. Without `apply` nothing can be changed, and a plan says of its dry runs so.
    """
    chosen = [_permissions(id) for id in action or catalogue.actions()]
    documents = policy_documents.rights(
        chosen,
        phase or tuple(Phase),
        own_role=_role(role),
        partition=_fit("--partition", partition, PARTITION),
    )
    if not documents:
        raise Refused("these actions and phases need no rights")
    _print("firedoor-rights", documents, directory, json=json)


@iam.command(epilog=f"{ROLE_EXAMPLES}\n{STATUSES}")
def role(
    account: Annotated[
        str, typer.Option(metavar="HUB", help="The account that Firedoor runs in, 12 digits.")
    ],
    external_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="What the role demands; else FIREDOOR_AWS_EXTERNAL_ID."),
    ] = None,
    hub_role: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The role that Firedoor runs as; else whoever its account lets assume this one.",
        ),
    ] = None,
    partition: Partition = "aws",
    directory: Directory = None,
    json: AsJson = False,
) -> None:
    """Print the trust policy of the role that Firedoor assumes in member accounts.

    It lets in the hub account, or one role of it, which must say the external id, and may say who
    decided.
    """
    known = _fit("--external-id", external_id or settings().aws_external_id or "", EXTERNAL_ID)
    principal = ":".join(
        (
            "arn",
            _fit("--partition", partition, PARTITION),
            "iam:",
            _fit("--account", account, ACCOUNT),
            f"role/{_fit('--hub-role', hub_role, NAME)}" if hub_role else "root",
        )
    )
    _print("firedoor-trust", [policy_documents.trust(principal, known)], directory, json=json)


@iam.command(epilog=f"{HUB_EXAMPLES}\n{STATUSES}")
def hub(
    role: RoleName = None,
    organization: Annotated[
        str, typer.Option(metavar="ID", help="Only in accounts of this organization, o-….")
    ] = "",
    queue: Annotated[
        str | None, typer.Option(metavar="URL|ARN", help="The queue; else FIREDOOR_QUEUE_URL.")
    ] = None,
    dead_letter: Annotated[
        str | None,
        typer.Option(
            metavar="URL|ARN",
            help="The queue for what is no finding; else FIREDOOR_DEAD_LETTER_URL.",
        ),
    ] = None,
    evidence: Annotated[
        str | None,
        typer.Option(metavar="URI", help="s3://bucket/prefix; else FIREDOOR_EVIDENCE."),
    ] = None,
    partition: Partition = "aws",
    directory: Directory = None,
    json: AsJson = False,
) -> None:
    """Print what Firedoor's own identity needs: its members' role, its queue, its evidence.

    What neither an option nor a setting names is left out. To act in its own account it needs what
    `firedoor iam policy` prints as well.
    """
    configured = settings()
    kept = configured.evidence or ""
    made = policy_documents.hub(
        role=_role(role),
        organization=organization and _fit("--organization", organization, ORGANIZATION),
        queue=queue or configured.queue_url or "",
        dead_letters=dead_letter or configured.dead_letter_url or "",
        evidence=evidence or (kept if kept.startswith("s3:") else ""),
        partition=_fit("--partition", partition, PARTITION),
    )
    if not made["Statement"]:
        raise Refused("it needs nothing: name a role, a queue or a place for evidence")
    _print("firedoor-hub", [made], directory, json=json)


def _permissions(id: str) -> Permissions:
    found = catalogue.actions().get(id)
    if found is None:
        raise Refused(f"there is no action {id}; there are {', '.join(catalogue.actions())}")
    return found.permissions


def _role(name: str | None) -> str:
    name = name or settings().aws_role
    return _fit("--role", name, NAME) if name else ""


def _fit(option: str, value: str, form: tuple[str, str]) -> str:
    pattern, words = form
    if not re.fullmatch(pattern, value, re.ASCII):
        raise BadInput(option, value, f"expected {words}")
    return value


def _print(name: str, documents: Sequence[Document], directory: Path | None, *, json: bool) -> None:
    """Print policies, or write them into a directory and print the files."""
    policies = [
        Policy(name if len(documents) == 1 else f"{name}-{number}", made)
        for number, made in enumerate(documents, 1)
    ]
    if directory:
        _write(policies, directory)
    if json:
        document([made._asdict() for made in policies])
        return
    for made in policies:
        if directory:
            line(str(directory / f"{made.name}.json"))
        else:
            document(made.document)


def _write(policies: Sequence[Policy], directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for made in policies:
            text = json.dumps(made.document, indent=2)
            (directory / f"{made.name}.json").write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise BadInput("--directory", str(directory), str(error.strerror).lower()) from error
