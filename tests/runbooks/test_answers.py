"""The runbooks that are shipped, and which findings they answer."""

from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from pydantic import TypeAdapter

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

# Purpose by type; the first line that fits counts. Nothing falls through to `default` unsaid.
EXPECTED = {
    # Settings: a bucket that is open to the public is closed, root is asked about.
    "Policy:IAMUser/RootCredentialUsage": "root_usage",
    "Policy:IAMUser/ShortTermRootCredentialUsage": "root_usage",
    "Policy:S3/BucketAnonymous*": "exposed_bucket",
    "Policy:S3/BucketPublicAccessGranted": "exposed_bucket",
    "Policy:IAMUser/S3*": "default",  # retired types; S3's own tell the same with the bucket
    "Policy:S3/*BlockPublicAccessDisabled": "default",  # opens nothing by itself
    "Policy:Kubernetes/*": "exposed_cluster",
    # Identities
    "UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration*": "instance_credentials",
    "UnauthorizedAccess:IAMUser/ResourceCredentialExfiltration*": "resource_credentials",
    "Stealth:IAMUser/CloudTrailLoggingDisabled": "account_takeover",
    "Stealth:IAMUser/LoggingConfigurationModified": "account_takeover",
    "AttackSequence:IAM/*": "account_takeover",
    "*:IAMUser/*": "api_abuse",
    # Malware where nothing runs
    "Execution:EC2/MaliciousFile!*": "malicious_file",
    "Execution:S3/MaliciousFile!*": "malicious_file",
    "Object:S3/MaliciousFile": "malicious_file",
    # Instances
    "Recon:EC2/PortProbe*": "port_scan",
    "Backdoor:EC2/DenialOfService*": "instance_doing_harm",
    "Backdoor:EC2/Spambot": "instance_doing_harm",
    "Trojan:EC2/DNSDataExfiltration": "instance_doing_harm",
    "Trojan:EC2/DropPoint*": "instance_doing_harm",
    "Trojan:Runtime/DropPoint*": "instance_doing_harm",
    "*:EC2/*": "compromised_instance",
    "*:Runtime/*": "compromised_instance",
    # Data
    "Impact:S3/*": "data_destruction",
    "AttackSequence:S3/*": "data_destruction",
    "*:S3/*": "data_exfiltration",
    "CredentialAccess:RDS/*FailedLogin": "database_probed",
    "Discovery:RDS/*": "database_probed",
    "*:RDS/*": "compromised_database",
    # Workloads
    "*:Lambda/*": "compromised_function",
    "*:Container/*": "compromised_workload",
    "*:ECS/*": "compromised_workload",
    "*:EKS/*": "compromised_workload",
    "Execution:Kubernetes/*": "compromised_workload",
    "*:Kubernetes/*Container*": "compromised_workload",
    "*:Kubernetes/*": "cluster_abuse",
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
        ("Execution:Runtime/ReverseShell", Kind.WORKLOAD, None, "compromised_workload"),
        ("Execution:Runtime/ReverseShell", Kind.CLUSTER, None, "compromised_workload"),
        ("Trojan:Runtime/DropPoint", Kind.WORKLOAD, None, "compromised_workload"),
        ("Backdoor:EC2/DenialOfService.Dns", Kind.INSTANCE, Side.ACTOR, "instance_doing_harm"),
        ("Execution:Kubernetes/MaliciousFile", Kind.WORKLOAD, None, "compromised_workload"),
        ("Impact:Kubernetes/TorIPCaller", Kind.WORKLOAD, None, "cluster_abuse"),
        (
            "AttackSequence:EC2/CompromisedInstanceGroup",
            Kind.INSTANCE,
            None,
            "compromised_instance",
        ),
        ("AttackSequence:IAM/CompromisedCredentials", Kind.PRINCIPAL, None, "account_takeover"),
        ("AttackSequence:S3/CompromisedData", Kind.BUCKET, None, "data_destruction"),
        ("Policy:IAMUser/RootCredentialUsage", Kind.PRINCIPAL, None, "root_usage"),
        ("Impact:Shield/DDoSDetected", Kind.OTHER, Side.TARGET, "denial_of_service"),
        ("Impact:Shield/DDoSDetected", Kind.INSTANCE, Side.TARGET, "denial_of_service"),
        ("Impact:WAFV2/BlockedRequests", Kind.OTHER, Side.TARGET, "denial_of_service"),
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
def test_containment_and_tasks_ask_and_always_say_until_when(id: str, step: Step) -> None:
    action = ACTIONS[runbooks.action_for(step, Cloud.AWS, ACTIONS)]

    asks = action.nature in (Nature.CONTAINMENT, Nature.TASK)

    assert (step.approval is Approval.ASK) is asks
    assert ("deadline" in step.model_fields_set) is asks


@pytest.mark.parametrize(("id", "step"), STEPS, ids=[f"{id}-{step.id}" for id, step in STEPS])
def test_what_wakes_people_leaves_them_time_to_wake(id: str, step: Step) -> None:
    assert step.approval is Approval.AUTO or step.deadline >= timedelta(minutes=30)


def test_revocation_reaches_what_a_principal_renews_while_people_decide() -> None:
    margins = TypeAdapter(timedelta)
    steps = [step for _, step in STEPS if "margin" in step.params]

    assert {step.do for step in steps} == {"revoke_credentials"}
    assert all(margins.validate_python(s.params["margin"]) == s.deadline for s in steps)


def test_blocks_of_addresses_and_names_are_lent_and_not_given() -> None:
    terms = {step.term for _, step in STEPS if step.do in ("block_address", "block_domain")}

    assert terms
    assert None not in terms


def test_a_task_says_when_it_is_done() -> None:
    tasks = [step for _, step in STEPS if step.do == "task"]

    assert tasks
    assert [step.id for step in tasks if "Done when" not in str(step.params["how"])] == []


def test_memory_is_given_up_only_where_harm_is_done_meanwhile() -> None:
    waivers = {(id, step.do, step.waives) for id, step in STEPS if step.waives}

    assert waivers == {
        ("instance_doing_harm", "isolate_instance", ("capture_memory",)),
        ("instance_doing_harm", "revoke_credentials", ("capture_memory",)),
    }


def test_no_containment_waits_for_another_which_could_be_denied() -> None:
    for runbook in RUNBOOKS.values():
        asked = {step.id for step in runbook.steps if step.approval is Approval.ASK}
        assert not any(asked & set(step.needs) for step in runbook.steps)


def test_every_containment_that_there_is_has_its_runbook() -> None:
    contains = {id for id, action in ACTIONS.items() if action.nature is Nature.CONTAINMENT}

    assert contains - {f"aws.{step.do}" for _, step in STEPS} == set()


def test_context_is_captured_beside_what_is_urgent_and_never_before_it() -> None:
    # A plan holds the state that its change replaces, so nothing is lost by not waiting.
    for runbook in RUNBOOKS.values():
        captures = {step.id for step in runbook.steps if step.do == "capture_context"}
        assert captures
        assert not any(captures & set(step.needs) for step in runbook.steps)
