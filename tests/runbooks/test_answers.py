"""The runbooks that are shipped, and which findings they answer."""

from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from firedoor import runbooks
from firedoor.action import Action
from firedoor.discovery import find
from firedoor.model.action import Nature
from firedoor.model.finding import Cloud, Finding, Kind, Principal, PrincipalType, Resource, Side
from firedoor.model.runbook import Approval, Step
from firedoor.testing import ACCOUNT, finding

TYPES = Path(__file__).parents[3] / "shared" / "facts" / "guardduty_types.tsv"
ACTIONS = find("activities", Action)
RUNBOOKS = runbooks.load(ACTIONS)
STEPS = [(id, step) for id, runbook in RUNBOOKS.items() for step in runbook.steps]

# What GuardDuty says stands on which side; unlisted types say TARGET where it matters.
ACTORS = (
    "Backdoor:EC2/*", "Behavior:EC2/*", "CryptoCurrency:EC2/*", "DefenseEvasion:EC2/*",
    "Impact:EC2/*", "Recon:EC2/Portscan", "Trojan:EC2/*", "UnauthorizedAccess:EC2/*",
)  # fmt: skip

# Purpose by type; the first line that fits counts.
EXPECTED = {
    "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration*": "instance_credentials",
    "Policy:*": "default",  # settings, not attacks
    "*:IAMUser/*": "api_abuse",
    "AttackSequence:IAM/*": "api_abuse",
    "Recon:EC2/PortProbe*": "port_scan",
    "Execution:EC2/MaliciousFile!*": "default",  # in an image, a snapshot or a backup
    "*:EC2/*": "compromised_instance",
    "*:Runtime/*": "compromised_instance",
    "Execution:S3/*": "default",  # in a backup
    "Object:S3/*": "default",  # an upload, by somebody who may upload
    "*:S3/*": "data_exfiltration",
    "*:Container/*": "default",
    "*:ECS/*": "default",
    "*:EKS/*": "default",
    "*:Kubernetes/*": "default",
    "*:Lambda/*": "default",
    "*:RDS/*": "default",
}

KINDS = {
    "*!AMI": Kind.IMAGE,
    "*!RecoveryPoint": Kind.OTHER,
    "*!Snapshot": Kind.SNAPSHOT,
    "*:IAM*/*": Kind.PRINCIPAL,
    "*:EC2/*": Kind.INSTANCE,
    "*:Runtime/*": Kind.INSTANCE,
    "*:S3/*": Kind.BUCKET,
    "*:Lambda/*": Kind.FUNCTION,
    "*:RDS/*": Kind.DATABASE,
    "*:Container/*": Kind.WORKLOAD,
    "*:ECS/*": Kind.CLUSTER,
    "*:EKS/*": Kind.CLUSTER,
    "*:Kubernetes/*": Kind.CLUSTER,
}


def of(name: str, kind: Kind | None = None, side: Side | None = None) -> Finding:
    """A finding of a type, about what GuardDuty reports it about."""
    kind = kind or next(k for pattern, k in KINDS.items() if fnmatchcase(name, pattern))
    acts = any(fnmatchcase(name, pattern) for pattern in ACTORS)
    return finding(
        type=name, subject=subject(kind), side=side or (Side.ACTOR if acts else Side.TARGET)
    )


def subject(kind: Kind) -> Resource | Principal:
    if kind is Kind.PRINCIPAL:
        user = PrincipalType.USER
        return Principal(cloud=Cloud.AWS, account=ACCOUNT, id="user/app", type=user, name="app")
    where = {"cloud": Cloud.AWS, "account": ACCOUNT, "region": "us-east-1", "id": "it"}
    return Resource.model_validate(where | {"kind": kind})


def chosen(of: Finding) -> str:
    return runbooks.select(of, RUNBOOKS).id


def test_every_type_of_guardduty_is_answered_on_purpose() -> None:
    if not TYPES.is_file():
        pytest.skip("the list of GuardDuty's types is not here")
    types = [line.split("\t")[0] for line in TYPES.read_text().splitlines()[1:] if line]

    answers = {name: chosen(of(name)) for name in types}

    expected = {
        name: next((r for pattern, r in EXPECTED.items() if fnmatchcase(name, pattern)), "nobody's")
        for name in types
    }
    assert len(types) == 221
    assert answers == expected


@pytest.mark.parametrize(
    ("name", "kind", "side", "expected"),
    [
        ("UnauthorizedAccess:EC2/SSHBruteForce", Kind.INSTANCE, Side.TARGET, "brute_force"),
        ("UnauthorizedAccess:EC2/SSHBruteForce", Kind.INSTANCE, Side.ACTOR, "compromised_instance"),
        ("UnauthorizedAccess:EC2/RDPBruteForce", Kind.INSTANCE, Side.TARGET, "brute_force"),
        ("Impact:EC2/WinRMBruteForce", Kind.INSTANCE, Side.TARGET, "brute_force"),
        ("Impact:EC2/WinRMBruteForce", Kind.INSTANCE, Side.ACTOR, "compromised_instance"),
        ("Recon:EC2/Portscan", Kind.INSTANCE, Side.TARGET, "port_scan"),
        ("Recon:EC2/Portscan", Kind.INSTANCE, Side.ACTOR, "compromised_instance"),
        ("Execution:Runtime/ReverseShell", Kind.INSTANCE, Side.TARGET, "compromised_instance"),
        ("Execution:Runtime/ReverseShell", Kind.WORKLOAD, Side.TARGET, "default"),
        (
            "AttackSequence:EC2/CompromisedInstanceGroup",
            Kind.INSTANCE,
            None,
            "compromised_instance",
        ),
        ("AttackSequence:IAM/CompromisedCredentials", Kind.PRINCIPAL, None, "api_abuse"),
        ("AttackSequence:S3/CompromisedData", Kind.BUCKET, None, "data_exfiltration"),
        ("Policy:IAMUser/RootCredentialUsage", Kind.PRINCIPAL, None, "default"),
        ("Exfiltration:S3/AnomalousBehavior", Kind.BUCKET, None, "data_exfiltration"),
    ],
)
def test_side_and_kind_of_the_subject_settle_who_answers(
    name: str, kind: Kind, side: Side | None, expected: str
) -> None:
    assert chosen(of(name, kind, side)) == expected


def test_no_two_shipped_runbooks_can_match_as_exactly() -> None:
    texts = {str(file): file.read_text() for file in runbooks.files()}

    assert runbooks.clashes(texts) == []


@pytest.mark.parametrize("file", runbooks.files(), ids=lambda file: file.stem)
def test_a_shipped_runbook_explains_itself_and_has_no_problems(file: Path) -> None:
    text = file.read_text()
    runbook = runbooks.parse(text, file.name)

    assert runbooks.lint(text, str(file), ACTIONS) == []
    assert text.startswith("# ")
    assert runbook.description
    assert any(step.do == "notify" for step in runbook.steps)


@pytest.mark.parametrize(("id", "step"), STEPS, ids=[f"{id}-{step.id}" for id, step in STEPS])
def test_only_containment_asks_and_always_says_until_when(id: str, step: Step) -> None:
    action = ACTIONS[runbooks.action_for(step, Cloud.AWS, ACTIONS)]

    contains = action.nature is Nature.CONTAINMENT

    assert (step.approval is Approval.ASK) is contains
    assert ("deadline" in step.model_fields_set) is contains


def test_context_is_captured_beside_what_is_urgent_and_never_before_it() -> None:
    # A plan holds the state that its change replaces, so nothing is lost by not waiting.
    for runbook in RUNBOOKS.values():
        captures = {step.id for step in runbook.steps if step.do == "capture_context"}
        assert captures
        assert not any(captures & set(step.needs) for step in runbook.steps)
