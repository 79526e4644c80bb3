from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from pydantic import ValidationError

from activities.aws import _contended, _network, _resolver, block_domain
from activities.aws.block_domain import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Target, Verdict

AT = datetime(2026, 1, 31, 3, 0, tzinfo=UTC)
EVIL, OTHER = "c2.example.net", "drop.example.org"
ROUND = ["no answer reaches the instance"]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0)
    monkeypatch.setattr(_contended, "PAUSE", 0)


@pytest.fixture
def dns(aws: Aws) -> Any:
    return boto3.client("route53resolver")


# Plan


def test_all_that_is_missing_is_planned_in_order(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene, EVIL)

    name = f"firedoor-{scene.vpc_id}"
    assert plan.lease == f"{scene.vpc_id}/{EVIL}"
    assert [(c.resource, c.attribute, c.after) for c in plan.changes] == [
        (name, "domain list", "made"),
        (name, f"domain {EVIL}", "blocked"),
        (name, f"domain *.{EVIL}", "blocked"),
        (name, "rule group", "made"),
        (name, "rule", "NXDOMAIN"),
        (scene.vpc_id, f"association of {name}", 101),
    ]
    assert [call.operation for call in plan.calls] == [
        "CreateFirewallDomainList",
        "UpdateFirewallDomains",
        "CreateFirewallRuleGroup",
        "CreateFirewallRule",
        "AssociateFirewallRuleGroup",
    ]
    assert plan.calls[-1].parameters["MutationProtection"] == "ENABLED"


@pytest.mark.parametrize(
    ("given", "params", "names"),
    [
        (EVIL, {}, [EVIL, f"*.{EVIL}"]),
        (f"*.{EVIL}", {}, [EVIL, f"*.{EVIL}"]),
        ("C2.Example.NET.", {}, [EVIL, f"*.{EVIL}"]),
        (EVIL, {"below": False}, [EVIL]),
    ],
)
def test_names_below_a_domain_are_blocked_with_it(
    aws: Aws, scene: Scene, given: str, params: dict[str, Any], names: list[str]
) -> None:
    (plan,) = planned(aws, scene, given, **params)

    assert plan.before["names"] == names


def test_plan_changes_nothing(aws: Aws, scene: Scene, dns: Any) -> None:
    assert planned(aws, scene, EVIL) == planned(aws, scene, EVIL)
    assert everything(dns, scene) == EMPTY


def test_finding_without_domains_has_no_plan(aws: Aws, scene: Scene) -> None:
    assert planned(aws, scene) == ()


def test_ways_round_are_named(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene, EVIL)

    told = " ".join(plan.blast_radius)
    assert "2 instances with 3 network interfaces" in told
    assert all(way in told for way in ("DNS over HTTPS", "53 and 853", "TTL", "IP address"))


@pytest.mark.parametrize(("state", "ok"), [("ENABLED", False), ("DISABLED", True)])
def test_firewall_that_fails_open_is_told(
    aws: Aws, scene: Scene, dns: Any, state: str, ok: bool
) -> None:
    dns.update_firewall_config(ResourceId=scene.vpc_id, FirewallFailOpen=state)

    (plan,) = planned(aws, scene, EVIL)

    assert {check.name: check.ok for check in plan.preflight}["fails closed"] is ok


def test_instance_that_is_gone_ends_as_gone(aws: Aws, scene: Scene) -> None:
    (plan,) = planned(aws, scene, EVIL, instance="i-0123456789abcdef0")

    assert (plan.gone, plan.calls) == (True, ())
    assert "does not exist any more" in plan.refusals[0]


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        ("com", "shared by too many"),
        ("co.uk", "shared by too many"),
        ("google.com", "shared by too many"),
        ("amazonaws.com", "the services of AWS"),
        ("evil.s3.amazonaws.com", "the services of AWS"),
        ("ec2.internal", "the services of AWS"),
        ("example.com", "our own"),
        ("shop.example.com", "our own"),
        ("hosted.example", "our own"),
    ],
)
def test_what_is_needed_is_never_blocked(aws: Aws, scene: Scene, domain: str, why: str) -> None:
    boto3.client("route53").create_hosted_zone(Name="www.hosted.example", CallerReference="1")

    (plan,) = planned(aws, scene, domain, own_domains=("example.com",))

    assert why in plan.refusals[0]
    assert plan.calls == ()


@pytest.mark.parametrize("text", ["", "a b.example.com", "-a.example.com", "x" * 64, "a..b"])
def test_what_is_no_domain_is_refused_with_the_runbook(text: str) -> None:
    with pytest.raises(ValidationError, match="expected the name of a domain"):
        Params(domains=(text,))


def test_priority_is_the_lowest_that_is_free(aws: Aws, scene: Scene, dns: Any) -> None:
    rule_group(dns, scene, "others", 101)
    rule_group(dns, scene, "more", 103)

    (plan,) = planned(aws, scene, EVIL)

    assert plan.changes[-1].after == 102


def test_allow_of_the_domain_before_every_free_priority_is_refused(
    aws: Aws, scene: Scene, dns: Any
) -> None:
    rule_group(dns, scene, "partners", 101, "ALLOW", "*.example.net")

    (plan,) = planned(aws, scene, EVIL)

    assert "which allows before priority 102" in plan.refusals[0]


def test_list_that_aws_does_not_show_is_passed_over(
    aws: Aws, scene: Scene, dns: Any, lab: EmulatedAws
) -> None:
    rule_group(dns, scene, "managed", 101, "BLOCK", "botnet.example.net")
    hidden = {"kind": "error", "code": "AccessDeniedException", "status": 400, "times": 50}
    fault(lab, "ListFirewallDomains", **hidden)

    (plan,) = planned(aws, scene, EVIL)

    assert plan.refusals == ()
    assert plan.calls[-1].parameters["Priority"] == 102


def test_own_domains_that_cannot_be_read_are_said(
    aws: Aws, scene: Scene, dns: Any, lab: EmulatedAws
) -> None:
    fault(lab, "ListHostedZones", service="route53", code="AccessDenied", status=403, times=9)

    (plan,) = planned(aws, scene, EVIL)

    (own,) = (c for c in plan.preflight if c.name == "is none of our own domains")
    assert (own.ok, "AccessDenied" in own.detail) == (False, True)


def test_vpc_that_asks_other_resolvers_is_told(aws: Aws, scene: Scene) -> None:
    ec2 = boto3.client("ec2")
    servers = [{"Key": "domain-name-servers", "Values": ["192.0.2.53", "AmazonProvidedDNS"]}]
    made = ec2.create_dhcp_options(DhcpConfigurations=servers)["DhcpOptions"]["DhcpOptionsId"]
    ec2.associate_dhcp_options(DhcpOptionsId=made, VpcId=scene.vpc_id)

    (plan,) = planned(aws, scene, EVIL)

    (asked,) = (c for c in plan.preflight if c.name == "instances ask the VPC's resolver")
    assert (asked.ok, "192.0.2.53:" in asked.detail) == (False, True)


def test_allow_of_another_domain_does_not_matter(aws: Aws, scene: Scene, dns: Any) -> None:
    rule_group(dns, scene, "partners", 101, "ALLOW", "*.example.org")

    (plan,) = planned(aws, scene, EVIL)

    assert plan.refusals == ()


def test_answer_is_that_of_the_rule_that_stands(aws: Aws, scene: Scene) -> None:
    apply(planned(aws, scene, EVIL, response="NODATA")[0], aws)

    (plan,) = planned(aws, scene, OTHER)

    assert plan.summary.endswith("with NODATA.")


def test_domain_that_is_blocked_needs_nothing(aws: Aws, scene: Scene) -> None:
    apply(planned(aws, scene, EVIL)[0], aws)

    (plan,) = planned(aws, scene, EVIL)

    assert (plan.calls, plan.undo, plan.refusals) == ((), (), ())
    assert "already" in plan.summary
    assert apply(plan, aws).calls == ()
    assert failing(plan, aws) == ROUND


# Apply


def test_applied_and_taken_back_nothing_is_left(aws: Aws, scene: Scene, dns: Any) -> None:
    (plan,) = planned(aws, scene, EVIL)

    apply(plan, aws)
    proof = verify(plan, aws)
    receipt = revert(plan, aws)

    assert (proof.verdict, [c.name for c in proof.checks if not c.ok]) == (
        Verdict.UNPROVEN,
        ROUND,
    )
    assert receipt.left == ()
    assert [call.operation for call in receipt.calls if call.outcome == "ok"] == [
        "UpdateFirewallDomains",
        "UpdateFirewallRuleGroupAssociation",
        "DisassociateFirewallRuleGroup",
        "DeleteFirewallRule",
        "DeleteFirewallRuleGroup",
        "DeleteFirewallDomainList",
    ]
    assert everything(dns, scene) == EMPTY


def test_applied_twice_is_applied_once(aws: Aws, scene: Scene, dns: Any) -> None:
    (plan,) = planned(aws, scene, EVIL)
    apply(plan, aws)
    before = everything(dns, scene)

    assert apply(plan, aws).calls == ()
    assert everything(dns, scene) == before


@pytest.mark.parametrize(
    "operation",
    [
        "CreateFirewallDomainList",
        "UpdateFirewallDomains",
        "CreateFirewallRuleGroup",
        "CreateFirewallRule",
        "AssociateFirewallRuleGroup",
    ],
)
@pytest.mark.parametrize("kind", ["lost", "error"])
def test_apply_goes_on_and_revert_restores_wherever_it_stopped(
    aws: Aws, scene: Scene, dns: Any, lab: EmulatedAws, operation: str, kind: str
) -> None:
    (plan,) = planned(aws, scene, EVIL)
    error = {"code": "ThrottlingException", "status": 400} if kind == "error" else {}
    fault(lab, operation, kind=kind, **error)
    with pytest.raises((Unavailable, Throttled)):
        apply(plan, aws)

    if kind == "lost":
        apply(plan, aws)
        assert failing(plan, aws) == ROUND
    revert(plan, aws)

    assert everything(dns, scene) == EMPTY


@pytest.mark.parametrize(
    "operation",
    [
        "UpdateFirewallDomains",
        "UpdateFirewallRuleGroupAssociation",
        "DisassociateFirewallRuleGroup",
        "DeleteFirewallRule",
        "DeleteFirewallRuleGroup",
        "DeleteFirewallDomainList",
    ],
)
def test_revert_goes_on_after_a_lost_answer(
    aws: Aws, scene: Scene, dns: Any, lab: EmulatedAws, operation: str
) -> None:
    (plan,) = planned(aws, scene, EVIL)
    apply(plan, aws)
    fault(lab, operation, kind="lost")
    with pytest.raises(Unavailable):
        revert(plan, aws)

    revert(plan, aws)

    assert everything(dns, scene) == EMPTY


def test_list_that_is_busy_is_waited_for(aws: Aws, scene: Scene, dns: Any) -> None:
    (first,), (second,) = planned(aws, scene, EVIL), planned(aws, scene, OTHER)
    apply(first, aws)
    id = dns.list_firewall_domain_lists()["FirewallDomainLists"][0]["Id"]
    add = {"FirewallDomainListId": id, "Operation": "ADD", "Domains": ["known.example.net"]}
    before_call(aws, "UpdateFirewallDomains", lambda: dns.update_firewall_domains(**add))

    receipt = apply(second, aws)

    *conflicts, last = (call for call in receipt.calls if "Domains" in call.operation)
    assert ({call.outcome for call in conflicts}, last.outcome) == ({"error"}, "ok")
    assert domains(dns) == [
        f"{EVIL}.", f"*.{EVIL}.", "known.example.net.", f"{OTHER}.", f"*.{OTHER}."
    ]  # fmt: skip


def test_list_that_stays_busy_is_tried_later(aws: Aws, scene: Scene, lab: EmulatedAws) -> None:
    (plan,) = planned(aws, scene, EVIL)
    fault(lab, "UpdateFirewallDomains", code="ConflictException", status=400, times=50)

    with pytest.raises(Throttled, match="ConflictException"):
        apply(plan, aws)


def test_priority_taken_meanwhile_makes_the_plan_stale(aws: Aws, scene: Scene, dns: Any) -> None:
    (plan,) = planned(aws, scene, EVIL)
    rule_group(dns, scene, "others", 101)

    with pytest.raises(PlanStale, match="priority 101"):
        apply(plan, aws)

    assert len(dns.list_firewall_domain_lists()["FirewallDomainLists"]) == 1


# Two incidents


def test_domains_of_two_incidents_share_all_but_their_own_names(
    aws: Aws, scene: Scene, dns: Any
) -> None:
    (first,) = planned(aws, scene, EVIL)
    (second,) = planned(aws, scene, OTHER)
    apply(first, aws)
    apply(second, aws)

    revert(first, aws)

    assert domains(dns) == [f"{OTHER}.", f"*.{OTHER}."]
    assert failing(second, aws) == ROUND
    revert(second, aws)
    assert everything(dns, scene) == EMPTY


def test_last_one_out_clears_away_though_the_first_made_it(
    aws: Aws, scene: Scene, dns: Any
) -> None:
    (first,) = planned(aws, scene, EVIL)
    apply(first, aws)
    (second,) = planned(aws, scene, OTHER)
    apply(second, aws)

    revert(first, aws)
    revert(second, aws)

    assert [call.operation for call in second.calls] == ["UpdateFirewallDomains"]
    assert everything(dns, scene) == EMPTY


def test_what_others_put_on_the_list_stays_with_all_that_blocks_it(
    aws: Aws, scene: Scene, dns: Any
) -> None:
    (plan,) = planned(aws, scene, EVIL)
    apply(plan, aws)
    id = dns.list_firewall_domain_lists()["FirewallDomainLists"][0]["Id"]
    dns.update_firewall_domains(
        FirewallDomainListId=id, Operation="ADD", Domains=["known.example.net"]
    )

    revert(plan, aws)

    assert domains(dns) == ["known.example.net."]
    assert len(_resolver.associations(aws, scene.vpc_id)) == 1


def test_list_of_others_that_the_vpc_does_not_use_is_not_put_into_effect(
    aws: Aws, scene: Scene, dns: Any
) -> None:
    domain_list(dns, f"firedoor-{scene.vpc_id}", "quiet.example.org")

    (plan,) = planned(aws, scene, EVIL)

    assert "is not of Firedoor's making" in plan.refusals[0]


# Verify


def test_allow_put_before_ours_is_drift(aws: Aws, scene: Scene, dns: Any) -> None:
    rule_group(dns, scene, "others", 101)
    (plan,) = planned(aws, scene, EVIL)
    apply(plan, aws)
    (other,) = (a for a in _resolver.associations(aws, scene.vpc_id) if a["Priority"] == 101)
    listed = domain_list(dns, "partners", EVIL)
    rule(dns, other["FirewallRuleGroupId"], listed, "ALLOW", 7)

    proof = verify(plan, aws)

    assert proof.verdict is Verdict.DRIFTED
    assert [check.name for check in proof.checks if not check.ok] == [
        "no rule before it allows the domain"
    ]


def test_domain_taken_off_the_list_is_drift(aws: Aws, scene: Scene, dns: Any) -> None:
    (plan,) = planned(aws, scene, EVIL)
    apply(plan, aws)
    id = dns.list_firewall_domain_lists()["FirewallDomainLists"][0]["Id"]
    dns.update_firewall_domains(FirewallDomainListId=id, Operation="REMOVE", Domains=[EVIL])

    assert f"{EVIL} is on the list" in failing(plan, aws)


def test_association_that_is_removed_is_drift(aws: Aws, scene: Scene, dns: Any) -> None:
    (plan,) = planned(aws, scene, EVIL)
    apply(plan, aws)
    (ours,) = _resolver.associations(aws, scene.vpc_id)
    named = {"FirewallRuleGroupAssociationId": ours["Id"]}
    dns.update_firewall_rule_group_association(**named, MutationProtection="DISABLED")
    dns.disassociate_firewall_rule_group(**named)

    assert failing(plan, aws) == ["the association is in force"]


@pytest.mark.parametrize(
    ("domain", "entry", "fits"),
    [
        ("a.example.com", "*.example.com.", True),
        ("example.com", "*.example.com", False),
        ("badexample.com", "*.example.com", False),
        ("Example.com.", "example.com", True),
        ("*.a.example.com", "*.example.com", True),
        ("example.com", "*", True),
    ],
)
def test_entries_of_a_list_mean_names_as_the_resolver_reads_them(
    domain: str, entry: str, fits: bool
) -> None:
    assert _resolver.on(domain, entry) is fits


# Helpers

EMPTY: dict[str, list[Any]] = {"lists": [], "groups": [], "associations": []}


def planned(
    aws: Aws, scene: Scene, *domains: str, instance: str = "", **params: Any
) -> tuple[Plan, ...]:
    subject = Resource(
        cloud=Cloud.AWS,
        account=aws.account,
        region=aws.region,
        id=instance or scene.web_id,
        kind=Kind.INSTANCE,
    )
    target = Target(subject=subject, incident="incident/1", step="block", at=AT)
    return block_domain.plan(target, Params(domains=domains, **params), aws)


def failing(plan: Plan, aws: Aws) -> list[str]:
    return [check.name for check in verify(plan, aws).checks if not check.ok]


def everything(dns: Any, scene: Scene) -> dict[str, Any]:
    associations = dns.list_firewall_rule_group_associations(VpcId=scene.vpc_id)
    return {
        "lists": dns.list_firewall_domain_lists()["FirewallDomainLists"],
        "groups": dns.list_firewall_rule_groups()["FirewallRuleGroups"],
        "associations": associations["FirewallRuleGroupAssociations"],
    }


def domains(dns: Any) -> Any:
    (one,) = dns.list_firewall_domain_lists()["FirewallDomainLists"]
    return dns.list_firewall_domains(FirewallDomainListId=one["Id"])["Domains"]


def rule_group(
    dns: Any, scene: Scene, name: str, priority: int, action: str = "", domain: str = ""
) -> None:
    """A rule group of somebody else's in the VPC, with one rule if there is a domain."""
    group = dns.create_firewall_rule_group(CreatorRequestId=name, Name=name)
    id = group["FirewallRuleGroup"]["Id"]
    listed = domain_list(dns, name, domain or "quiet.example.org")
    rule(dns, id, listed, action or "ALERT", 1)
    made = dns.associate_firewall_rule_group(
        CreatorRequestId=name,
        FirewallRuleGroupId=id,
        VpcId=scene.vpc_id,
        Priority=priority,
        Name=name,
    )
    for _ in range(2):
        dns.get_firewall_rule_group_association(
            FirewallRuleGroupAssociationId=made["FirewallRuleGroupAssociation"]["Id"]
        )


def domain_list(dns: Any, name: str, domain: str) -> str:
    made = dns.create_firewall_domain_list(CreatorRequestId=name, Name=name)
    id = str(made["FirewallDomainList"]["Id"])
    dns.update_firewall_domains(FirewallDomainListId=id, Operation="ADD", Domains=[domain])
    return id


def rule(dns: Any, group: str, domain_list: str, action: str, priority: int) -> None:
    dns.create_firewall_rule(
        CreatorRequestId=f"{group}/{priority}",
        FirewallRuleGroupId=group,
        FirewallDomainListId=domain_list,
        Priority=priority,
        Action=action,
        Name="partners",
        **({"BlockResponse": "NODATA"} if action == "BLOCK" else {}),
    )


def fault(lab: EmulatedAws, operation: str, **more: Any) -> None:
    asked = {"service": "route53resolver", "operation": operation, **more}
    lab.control("POST", "firedoor/faults", asked)


def before_call(aws: Aws, operation: str, do: Callable[[], Any]) -> None:
    """Let something happen just before an operation is sent for the first time."""
    pending = [do]

    def called(**_: Any) -> None:
        if pending:
            pending.pop()()

    aws.client("route53resolver").meta.events.register(
        f"before-call.route53resolver.{operation}", called
    )
