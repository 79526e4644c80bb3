"""Blocking of addresses where an instance's own subnets do not see them, or have no room."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import boto3
import pytest
from pydantic import ValidationError

from activities.aws import _acl, _contended, _layers, _network, _waf, block_address
from activities.aws.block_address import Params, apply, revert, verify
from firedoor.cloud.aws import Aws
from firedoor.errors import PlanStale, Throttled, Unavailable
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Plan, Target, Verdict

KEEPS = "preserve_client_ip.enabled"
ATTACKER, OTHER, ATTACKER_V6 = "198.51.100.7", "203.0.113.9", "2001:db8:bad::7"
VISIBILITY = {
    "SampledRequestsEnabled": True,
    "CloudWatchMetricsEnabled": False,
    "MetricName": "shop",
}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_network, "SETTLE", 0)
    monkeypatch.setattr(_contended, "PAUSE", 0)


@pytest.fixture
def ec2(aws: Aws) -> Any:
    return boto3.client("ec2")


@pytest.fixture
def waf(aws: Aws) -> Any:
    return boto3.client("wafv2")


@pytest.fixture
def front(scene: Scene, ec2: Any) -> Any:
    """An application load balancer before the app server, which nobody reaches but through it."""
    return load_balancer(ec2, scene, "application", scene.app_id)


@pytest.fixture
def shop(front: Any, waf: Any) -> Any:
    """The web ACL of that load balancer, with a rule of its own."""
    acl = web_acl(waf, [allow("office", 5, statement("203.0.113.0/24", waf))])
    waf.associate_web_acl(WebACLArn=acl["ARN"], ResourceArn=front["LoadBalancerArn"])
    return acl


# Where


def test_client_of_a_load_balancer_is_blocked_in_its_subnets(
    aws: Aws, scene: Scene, front: Any
) -> None:
    plans = planned(aws, scene.app_id, ATTACKER, egress=False)

    public, other = sorted(plans, key=lambda plan: scene.public_acl_id not in plan.lease)
    assert (public.lease, public.before["subnets"]) == (
        f"{scene.public_acl_id}/{ATTACKER}/32",
        [scene.public_subnet_id],
    )
    assert "before load balancer front" in other.summary
    for plan in plans:
        apply(plan, aws)
        assert failing(plan, aws) == ["flow logs"]


def test_client_of_a_classic_load_balancer_is_blocked_in_its_subnets(
    aws: Aws, scene: Scene
) -> None:
    listener = {"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 80}
    named = {"LoadBalancerName": "old"}
    elb = boto3.client("elb")
    elb.create_load_balancer(**named, Listeners=[listener], Subnets=[scene.public_subnet_id])
    elb.register_instances_with_load_balancer(**named, Instances=[{"InstanceId": scene.app_id}])

    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)

    assert plan.lease == f"{scene.public_acl_id}/{ATTACKER}/32"
    assert (plan.before["balancer"], plan.before["subnets"]) == ("old", [scene.public_subnet_id])
    assert "before load balancer old" in plan.summary


def test_client_of_a_load_balancer_is_blocked_at_its_web_acl(
    aws: Aws, scene: Scene, shop: Any
) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)

    assert [(call.operation, call.region) for call in plan.calls] == [
        ("CreateIPSet", ""),
        ("UpdateIPSet", ""),
        ("UpdateWebACL", ""),
    ]
    name = f"firedoor-{shop['Id']}-ipv4"
    assert [(c.resource, c.attribute, c.after) for c in plan.changes] == [
        (name, "set", "IPV4"),
        (name, f"address {ATTACKER}/32", "blocked"),
        (shop["Id"], f"rule {name}", {"priority": 0, "action": "Block", "set": name}),
    ]
    assert plan.lease == f"webacl/shop/{shop['Id']}/{ATTACKER}/32"


def test_acl_of_both_the_instance_and_its_load_balancer_is_planned_once(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    load_balancer(ec2, scene, "application", scene.web_id)
    plans = planned(aws, scene.web_id, ATTACKER)

    (plan,) = (one for one in plans if scene.public_acl_id in one.lease)

    assert len(plan.calls) == 2
    assert plan.before["subnets"] == [scene.public_subnet_id]


def test_what_goes_out_is_denied_in_the_own_subnets_too(aws: Aws, scene: Scene, shop: Any) -> None:
    plans = planned(aws, scene.app_id, ATTACKER)

    assert {plan.before["layer"] for plan in plans} == {"waf", "acl"}


def test_distribution_before_the_load_balancer_is_asked_in_us_east_1(
    aws: Aws, scene: Scene, front: Any, waf: Any
) -> None:
    acl = web_acl(waf, [], Scope="CLOUDFRONT")
    id = distribution(front["DNSName"], acl["ARN"])

    plan = next(p for p in planned(aws, scene.app_id, ATTACKER) if p.before["layer"] == "waf")

    assert {(call.parameters["Scope"], call.region) for call in (*plan.calls, *plan.undo)} == {
        ("CLOUDFRONT", "us-east-1")
    }
    apply(plan, aws)
    assert plan.before["resource"] == id
    assert failing(plan, aws) == ["sampled requests"]
    assert revert(plan, aws).left == ()
    assert waf.list_ip_sets(Scope="CLOUDFRONT")["IPSets"] == []


def test_distribution_names_the_load_balancer_as_it_likes(
    aws: Aws, scene: Scene, front: Any, waf: Any
) -> None:
    acl = web_acl(waf, [], Scope="CLOUDFRONT")
    distribution(f"dualstack.{front['DNSName'].upper()}", acl["ARN"])

    assert any(p.before["layer"] == "waf" for p in planned(aws, scene.app_id, ATTACKER))


def test_distribution_without_web_acl_is_named_as_a_way_in(
    aws: Aws, scene: Scene, front: Any
) -> None:
    id = distribution(front["DNSName"], "")

    refused = next(plan for plan in planned(aws, scene.app_id, ATTACKER) if plan.refusals)

    assert refused.refusals[0].startswith(f"distribution {id} before front: give it a web ACL")


def test_behind_a_distribution_the_last_forwarded_address_counts(
    aws: Aws, scene: Scene, front: Any, shop: Any, waf: Any
) -> None:
    distribution(front["DNSName"], "")
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)

    apply(plan, aws)

    rule = rules(waf, shop)[0]
    direct, by_header = rule["Statement"]["OrStatement"]["Statements"]
    assert "IPSetForwardedIPConfig" not in direct["IPSetReferenceStatement"]
    assert by_header["IPSetReferenceStatement"]["IPSetForwardedIPConfig"] == {
        "HeaderName": "X-Forwarded-For",
        "FallbackBehavior": "NO_MATCH",
        "Position": "LAST",
    }
    assert failing(plan, aws) == ["sampled requests"]


@pytest.mark.parametrize(
    ("group", "attributes", "hides"),
    [
        ({"TargetType": "instance", "Protocol": "HTTPS"}, {}, True),
        ({"TargetType": "instance", "Protocol": "TCP"}, {}, False),
        ({"TargetType": "ip", "Protocol": "TLS"}, {}, True),
        ({"TargetType": "ip", "Protocol": "TCP"}, {KEEPS: "true"}, False),
        ({"TargetType": "instance", "Protocol": "TCP"}, {KEEPS: "false"}, True),
        ({"TargetType": "ip", "Protocol": "UDP"}, {}, False),
    ],
)  # fmt: skip
def test_network_load_balancer_hides_its_clients_as_its_target_group_says(
    group: dict[str, str], attributes: dict[str, str], hides: bool
) -> None:
    assert _layers.hides_clients(group, attributes) is hides


def test_load_balancers_that_cannot_be_read_do_not_stop_the_block(
    aws: Aws, scene: Scene, lab: EmulatedAws
) -> None:
    denied = {"kind": "error", "code": "AccessDenied", "status": 403}
    fault(lab, "DescribeTargetGroups", service="elbv2", **denied)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert plan.calls
    assert [check.name for check in plan.preflight if not check.ok] == ["load balancers"]


def test_address_of_an_aws_service_is_refused(aws: Aws, scene: Scene, ec2: Any) -> None:
    lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
    s3 = next(one for one in lists if one["PrefixListName"].endswith(".s3"))
    entry = ec2.get_managed_prefix_list_entries(PrefixListId=s3["PrefixListId"])["Entries"][0]
    address = str(ip_network(entry["Cidr"])[1])

    (plan,) = planned(aws, scene.web_id, address)

    assert f"{address} is of an AWS service" in plan.refusals[0]
    assert plan.calls == ()


# AWS WAF


def test_web_acl_keeps_everything_else_and_comes_back_exactly(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    before = read_acl(waf, shop)
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)

    apply(plan, aws)
    during = read_acl(waf, shop)
    left = revert(plan, aws).left

    ours, *others = during.pop("Rules")
    assert (ours["Name"], ours["Action"]) == (f"firedoor-{shop['Id']}-ipv4", {"Block": {}})
    assert {**during, "Rules": others} == before
    assert (read_acl(waf, shop), left) == (before, ())
    assert our_sets(waf) == {}


def test_applied_twice_is_applied_once(aws: Aws, scene: Scene, shop: Any, waf: Any) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)

    assert apply(plan, aws).calls == ()
    assert our_sets(waf) == {f"firedoor-{shop['Id']}-ipv4": [f"{ATTACKER}/32"]}


def test_families_have_sets_and_rules_of_their_own(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    four, six = planned(aws, scene.app_id, ATTACKER, ATTACKER_V6, egress=False)

    for plan in (four, six):
        apply(plan, aws)

    assert [rule["Priority"] for rule in rules(waf, shop)] == [0, 1, 5]
    assert {failing(plan, aws)[0] for plan in (four, six)} == {"sampled requests"}
    assert apply(six, aws).calls == ()  # though WAF shows the address in full length


def test_entries_of_others_stay(aws: Aws, scene: Scene, shop: Any, waf: Any) -> None:
    (first,), (second,) = (
        planned(aws, scene.app_id, address, egress=False) for address in (ATTACKER, "192.0.2.9")
    )
    apply(first, aws)
    put(waf, "192.0.2.1/32")
    apply(second, aws)

    assert next(iter(our_sets(waf).values())) == [
        f"{ATTACKER}/32", "192.0.2.1/32", "192.0.2.9/32"
    ]  # fmt: skip
    revert(first, aws)
    revert(second, aws)
    assert next(iter(our_sets(waf).values())) == ["192.0.2.1/32"]
    assert len(rules(waf, shop)) == 2


def test_last_one_out_clears_away_whoever_came_first(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    before = read_acl(waf, shop)
    plans = []
    for address in (ATTACKER, "192.0.2.9"):
        (plan,) = planned(aws, scene.app_id, address, egress=False)
        apply(plan, aws)
        plans.append(plan)
    assert [call.operation for call in plans[1].calls] == ["UpdateIPSet"]

    for plan in plans:
        revert(plan, aws)

    assert (read_acl(waf, shop), our_sets(waf)) == (before, {})


def test_set_of_others_that_no_rule_uses_is_not_put_into_effect(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    made_by_people(waf, shop)

    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)

    assert "is not of Firedoor's making" in plan.refusals[0]


def test_set_that_people_made_stays_when_it_is_empty(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    name, arn = made_by_people(waf, shop)
    ours = allow(name, 0, {"IPSetReferenceStatement": {"ARN": arn}})
    update(waf, shop, [{**ours, "Action": {"Block": {}}}, *rules(waf, shop)])
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    assert failing(plan, aws) == ["sampled requests"]

    revert(plan, aws)

    assert our_sets(waf) == {name: []}


def test_lost_race_for_the_lock_token_is_run_again(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    (first,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(first, aws)
    (plan,) = planned(aws, scene.app_id, "192.0.2.9", egress=False)
    before_call(aws, "wafv2", "UpdateIPSet", lambda: put(waf, "192.0.2.1/32"))

    receipt = apply(plan, aws)

    assert [(c.operation, c.outcome) for c in receipt.calls] == [
        ("UpdateIPSet", "error"),
        ("UpdateIPSet", "ok"),
    ]
    assert "192.0.2.1/32" in next(iter(our_sets(waf).values()))


def test_race_that_is_lost_again_and_again_is_tried_later(
    aws: Aws, scene: Scene, shop: Any, lab: EmulatedAws
) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    lost = {"kind": "error", "code": "WAFOptimisticLockException", "status": 400, "times": 100}
    fault(lab, "UpdateIPSet", service="wafv2", **lost)

    with pytest.raises(Throttled, match="WAFOptimisticLockException"):
        apply(plan, aws)


@pytest.mark.parametrize("operation", ["CreateIPSet", "UpdateIPSet", "UpdateWebACL"])
def test_lost_answer_is_read_back(
    aws: Aws, scene: Scene, shop: Any, waf: Any, lab: EmulatedAws, operation: str
) -> None:
    before = read_acl(waf, shop)
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    fault(lab, operation, service="wafv2", kind="lost")
    with pytest.raises(Unavailable):
        apply(plan, aws)

    apply(plan, aws)

    assert failing(plan, aws) == ["sampled requests"]
    revert(plan, aws)
    assert (read_acl(waf, shop), our_sets(waf)) == (before, {})


def test_address_that_comes_while_the_set_is_cleared_away_stays_blocked(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    (first,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(first, aws)
    before_call(aws, "wafv2", "DeleteIPSet", lambda: put(waf, "192.0.2.9/32"))

    revert(first, aws)

    assert next(iter(our_sets(waf).values())) == ["192.0.2.9/32"]
    assert rules(waf, shop)[0]["Name"] == f"firedoor-{shop['Id']}-ipv4"


def test_full_set_is_refused(aws: Aws, scene: Scene, shop: Any, waf: Any) -> None:
    (first,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(first, aws)
    put(waf, *(f"10.0.{n // 256}.{n % 256}/32" for n in range(_waf.MOST_ADDRESSES - 1)))

    (plan,) = planned(aws, scene.app_id, "192.0.2.9", egress=False)

    assert "is full, 10000 addresses" in plan.refusals[0]


def test_rule_goes_before_the_first_that_may_let_the_address_in(
    aws: Aws, scene: Scene, front: Any, waf: Any
) -> None:
    everybody = {"GeoMatchStatement": {"CountryCodes": ["US"]}}
    count = {**allow("count", 0, everybody), "Action": {"Count": {}}}
    acl = web_acl(waf, [count, allow("everybody", 2, everybody)])
    waf.associate_web_acl(WebACLArn=acl["ARN"], ResourceArn=front["LoadBalancerArn"])

    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)

    after: Any = plan.changes[-1].after
    assert after["priority"] == 1


def test_no_priority_before_an_allow_is_refused(
    aws: Aws, scene: Scene, front: Any, waf: Any
) -> None:
    acl = web_acl(waf, [allow("all", 0, {"GeoMatchStatement": {"CountryCodes": ["US"]}})])
    waf.associate_web_acl(WebACLArn=acl["ARN"], ResourceArn=front["LoadBalancerArn"])

    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)

    assert "no free priority before all (0)" in plan.refusals[0]


def test_allow_put_before_ours_is_drift(aws: Aws, scene: Scene, shop: Any, waf: Any) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    ours, office = rules(waf, shop)
    everybody = allow("all", 0, {"GeoMatchStatement": {"CountryCodes": ["US"]}})
    update(waf, shop, [everybody, {**ours, "Priority": 1}, office])

    assert failing(plan, aws) == ["no rule before it lets the address in"]
    assert verify(plan, aws).verdict is Verdict.DRIFTED


def test_rule_group_of_firewall_manager_that_allows_is_told_and_is_drift(
    aws: Aws, scene: Scene, shop: Any
) -> None:
    managed: dict[str, Any] = {
        "VendorName": "AWS",
        "Name": "AWSManagedRulesCommonRuleSet",
        "RuleActionOverrides": [],
    }
    first = {
        "Name": "org",
        "Priority": 0,
        "FirewallManagerStatement": {"ManagedRuleGroupStatement": managed},
        "OverrideAction": {"None": {}},
        "VisibilityConfig": VISIBILITY,
    }
    groups = {"PreProcessFirewallManagerRuleGroups": [first]}
    on_answer(aws, "wafv2", "GetWebACL", lambda a: a["WebACL"].update(groups))
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    name = "no rule group of Firewall Manager lets the address in"

    harmless = failing(plan, aws)
    managed["RuleActionOverrides"] = [{"Name": "SizeRestrictions", "ActionToUse": {"Allow": {}}}]
    (again,) = planned(aws, scene.app_id, OTHER, egress=False)

    assert (harmless, failing(plan, aws)) == (["sampled requests"], [name])
    assert name in [check.name for check in again.preflight if not check.ok]


def test_web_acl_taken_off_the_load_balancer_is_drift(
    aws: Aws, scene: Scene, shop: Any, front: Any, waf: Any
) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    waf.disassociate_web_acl(ResourceArn=front["LoadBalancerArn"])

    assert failing(plan, aws) == [f"the web ACL still guards {front['LoadBalancerArn']}"]


@pytest.mark.parametrize("kind", ["REGIONAL", "CLOUDFRONT"])
def test_what_a_web_acl_guarded_may_be_gone(
    aws: Aws, scene: Scene, front: Any, waf: Any, kind: str
) -> None:
    acl = web_acl(waf, [], Scope=kind)
    if kind == "CLOUDFRONT":
        resource = distribution(front["DNSName"], acl["ARN"])
    else:
        waf.associate_web_acl(WebACLArn=acl["ARN"], ResourceArn=front["LoadBalancerArn"])
    plan = next(p for p in planned(aws, scene.app_id, ATTACKER) if p.before["layer"] == "waf")
    apply(plan, aws)
    if kind == "CLOUDFRONT":
        cloudfront = boto3.client("cloudfront")
        etag = cloudfront.get_distribution_config(Id=resource)["ETag"]
        cloudfront.delete_distribution(Id=resource, IfMatch=etag)
    else:
        waf.disassociate_web_acl(ResourceArn=front["LoadBalancerArn"])
    lock = waf.get_web_acl(Name="shop", Scope=kind, Id=acl["Id"])["LockToken"]
    waf.delete_web_acl(Name="shop", Scope=kind, Id=acl["Id"], LockToken=lock)

    assert verify(plan, aws).verdict is Verdict.DRIFTED
    assert revert(plan, aws).left == ()
    assert waf.list_ip_sets(Scope=kind)["IPSets"] == []


def test_layer_that_may_not_be_read_does_not_stop_the_others(
    aws: Aws, scene: Scene, shop: Any, lab: EmulatedAws
) -> None:
    fault(lab, "ListIPSets", service="wafv2", kind="error",
          code="AccessDeniedException", status=400)  # fmt: skip

    refused, *others = planned(aws, scene.app_id, ATTACKER)

    assert "AccessDeniedException" in refused.refusals[0]
    assert all(plan.calls for plan in others)


def test_settings_changed_since_the_plan_make_it_stale(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    update(waf, shop, rules(waf, shop), DefaultAction={"Block": {}})

    with pytest.raises(PlanStale, match="settings of web ACL shop"):
        apply(plan, aws)

    assert our_sets(waf) == {}


def test_rule_that_others_changed_is_left_alone(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    ours, office = rules(waf, shop)
    update(waf, shop, [{**ours, "Action": {"Count": {}}}, office])

    (left,) = revert(plan, aws).left

    assert left.endswith("was changed since: priority 0, Count")
    assert len(rules(waf, shop)) == 2


def test_requests_let_in_show_in_the_sample(aws: Aws, scene: Scene, shop: Any) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    let_in(aws, ClientIP=ATTACKER)

    proof = verify(plan, aws.after(datetime.now(UTC) - timedelta(hours=1)))

    assert proof.verdict is Verdict.UNPROVEN
    assert "a request was let in at" in proof.checks[-1].detail


def test_request_let_in_while_the_rule_spreads_keeps_proof_pending(
    aws: Aws, scene: Scene, shop: Any
) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    let_in(aws, ClientIP=ATTACKER)

    proof = verify(plan, aws.after(datetime.now(UTC) - timedelta(minutes=1)))

    assert proof.verdict is Verdict.PENDING


def test_request_that_a_distribution_passed_on_shows_by_its_header(
    aws: Aws, scene: Scene, front: Any, shop: Any
) -> None:
    distribution(front["DNSName"], "")
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False, at=an_hour_ago)
    apply(plan, aws)
    forged, passed_on = f"{ATTACKER}, 192.0.2.1", f"anything, {ATTACKER}"
    applied = aws.after(an_hour_ago)
    header = {"Name": "x-forwarded-for", "Value": forged}
    let_in(aws, ClientIP="192.0.2.80", Headers=[header])

    before = verify(plan, applied).verdict
    header["Value"] = passed_on

    assert (before, verify(plan, applied).verdict) == (Verdict.PROVEN, Verdict.UNPROVEN)


def test_web_acl_without_samples_proves_nothing(
    aws: Aws, scene: Scene, shop: Any, waf: Any
) -> None:
    (plan,) = planned(aws, scene.app_id, ATTACKER, egress=False)
    apply(plan, aws)
    unsampled = VISIBILITY | {"SampledRequestsEnabled": False}
    update(waf, shop, rules(waf, shop), VisibilityConfig=unsampled)

    proof = verify(plan, aws.after(datetime.now(UTC) - timedelta(hours=1)))

    assert proof.verdict is Verdict.UNPROVEN
    assert proof.checks[-1].detail.startswith("web ACL shop keeps no samples")


def test_silence_in_the_sample_from_before_it_was_applied_proves_nothing(
    aws: Aws, scene: Scene, shop: Any
) -> None:
    (plan,) = planned(
        aws, scene.app_id, ATTACKER, egress=False, at=datetime.now(UTC) - timedelta(hours=1)
    )
    apply(plan, aws)

    assert verify(plan, aws.after(datetime.now(UTC))).verdict is Verdict.PENDING


def test_silence_in_the_sample_is_proof_after_a_while(aws: Aws, scene: Scene, shop: Any) -> None:
    early, late = (
        planned(aws, scene.app_id, ATTACKER, egress=False, at=datetime.now(UTC) - ago)[0]
        for ago in (timedelta(minutes=1), timedelta(hours=1))
    )
    apply(early, aws)

    assert verify(early, aws).verdict is Verdict.PENDING
    assert verify(late, aws).verdict is Verdict.PROVEN


# Network Firewall


def test_full_acl_passes_on_to_the_firewall_on_the_route(aws: Aws, scene: Scene, ec2: Any) -> None:
    firewall = on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    before = policy(firewall)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert plan.lease == f"firewall-policy/edge/{ATTACKER}/32"
    apply(plan, aws)
    assert failing(plan, aws) == ["flow logs"]
    assert len(policy(firewall)["StatefulRuleGroupReferences"]) == 2
    revert(plan, aws)
    assert policy(firewall) == before
    assert [group["Name"] for group in firewall.list_rule_groups()["RuleGroups"]] == ["known"]


def test_open_flows_are_flushed_both_ways(aws: Aws, scene: Scene, ec2: Any) -> None:
    on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    (plan,) = planned(aws, scene.web_id, ATTACKER)

    receipt = apply(plan, aws)

    assert receipt.calls[-1].operation == "StartFlowFlush"
    assert receipt.calls[-1].parameters["FlowFilters"] == [
        {"SourceAddress": {"AddressDefinition": f"{ATTACKER}/32"}},
        {"DestinationAddress": {"AddressDefinition": f"{ATTACKER}/32"}},
    ]
    assert plan.lost == ("Flows with the address that are flushed",)


def test_flush_that_fails_for_now_is_done_by_the_next_attempt_and_once(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    firewall = on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    fault(lab, "StartFlowFlush", service="network-firewall", kind="error",
          code="ThrottlingException", status=400)  # fmt: skip
    with pytest.raises(Throttled):
        apply(plan, aws)

    receipts = [apply(plan, aws), apply(plan, aws)]

    assert [[call.operation for call in r.calls] for r in receipts] == [["StartFlowFlush"], []]
    arn = firewall.describe_firewall(FirewallName="edge")["Firewall"]["FirewallArn"]
    flushes = firewall.list_flow_operations(FirewallArn=arn, AvailabilityZone="us-east-1a")
    assert len(flushes["FlowOperations"]) == 1


def test_flush_that_fails_is_said_and_undoes_nothing(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws
) -> None:
    on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    fault(lab, "StartFlowFlush", service="network-firewall", kind="error",
          code="InvalidRequestException", status=400)  # fmt: skip

    (left,) = apply(plan, aws).left

    assert left.startswith("flows that are open in us-east-1a were not flushed")
    assert failing(plan, aws) == ["flow logs"]


def test_lost_race_for_the_update_token_is_run_again_and_keeps_what_others_wrote(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    firewall = on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    (first,) = planned(aws, scene.web_id, ATTACKER)
    apply(first, aws)
    (second,) = planned(aws, scene.web_id, "192.0.2.9")
    before_call(aws, "network-firewall", "UpdateRuleGroup", lambda: write(firewall, "192.0.2.1/32"))

    receipt = apply(second, aws)

    assert [call.outcome for call in receipt.calls] == ["error", "ok", "ok"]
    assert dropped(firewall) == [f"{ATTACKER}/32", "192.0.2.1/32", "192.0.2.9/32"]
    revert(first, aws)
    revert(second, aws)
    assert dropped(firewall) == ["192.0.2.1/32"]


@pytest.mark.parametrize("operation", ["CreateRuleGroup", "UpdateFirewallPolicy", "StartFlowFlush"])
def test_lost_answer_of_the_firewall_is_read_back(
    aws: Aws, scene: Scene, ec2: Any, lab: EmulatedAws, operation: str
) -> None:
    firewall = on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    before = policy(firewall)
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    fault(lab, operation, service="network-firewall", kind="lost")
    try:
        apply(plan, aws)
    except Unavailable:
        apply(plan, aws)

    assert failing(plan, aws) == ["flow logs"]
    revert(plan, aws)
    assert policy(firewall) == before


def test_rule_that_passes_first_is_refused(aws: Aws, scene: Scene, ec2: Any) -> None:
    on_the_route(aws, scene, action="PASS", address="198.51.100.0/24")
    fill(ec2, scene.public_acl_id)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert "lets the address pass first, by stateful rule group known" in plan.refusals[0]


def test_strict_order_puts_ours_before_what_passes(aws: Aws, scene: Scene, ec2: Any) -> None:
    firewall = on_the_route(
        aws, scene, action="PASS", address="198.51.100.0/24", order="STRICT_ORDER"
    )
    fill(ec2, scene.public_acl_id)

    (plan,) = planned(aws, scene.web_id, ATTACKER)
    apply(plan, aws)

    references = policy(firewall)["StatefulRuleGroupReferences"]
    assert [reference["Priority"] for reference in references] == [10, 1]
    assert failing(plan, aws) == ["flow logs"]


def test_policy_that_forwards_nothing_to_stateful_rules_is_refused(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    on_the_route(aws, scene, StatelessDefaultActions=["aws:pass"])
    fill(ec2, scene.public_acl_id)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert "does not forward packets to its stateful rules" in plan.refusals[0]


def test_policy_that_stops_forwarding_is_drift(aws: Aws, scene: Scene, ec2: Any) -> None:
    firewall = on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    apply(plan, aws)
    passing = {**policy(firewall), "StatelessDefaultActions": ["aws:pass"]}
    token = firewall.describe_firewall_policy(FirewallPolicyName="edge")["UpdateToken"]
    firewall.update_firewall_policy(
        FirewallPolicyName="edge", FirewallPolicy=passing, UpdateToken=token
    )

    assert "the policy forwards packets to its stateful rules" in failing(plan, aws)


def test_policy_changed_since_the_plan_makes_it_stale(aws: Aws, scene: Scene, ec2: Any) -> None:
    firewall = on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    (plan,) = planned(aws, scene.web_id, ATTACKER)
    token = firewall.describe_firewall_policy(FirewallPolicyName="edge")["UpdateToken"]
    changed = {**policy(firewall), "StatefulRuleGroupReferences": []}
    firewall.update_firewall_policy(
        FirewallPolicyName="edge", FirewallPolicy=changed, UpdateToken=token
    )

    with pytest.raises(PlanStale, match="was changed"):
        apply(plan, aws)


def test_group_of_others_that_the_policy_does_not_use_is_not_put_into_effect(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    firewall = on_the_route(aws, scene)
    fill(ec2, scene.public_acl_id)
    described = firewall.describe_firewall_policy(FirewallPolicyName="edge")
    rules = [firewall_rule("DROP", "192.0.2.1/32", "1")]
    firewall.create_rule_group(
        RuleGroupName=f"firedoor-{described['FirewallPolicyResponse']['FirewallPolicyId']}",
        Type="STATEFUL",
        Capacity=10,
        RuleGroup={"RulesSource": {"StatefulRules": rules}},
    )

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert "is not of Firedoor's making" in plan.refusals[0]


def test_firewall_elsewhere_is_no_way_out(aws: Aws, scene: Scene, ec2: Any) -> None:
    on_the_route(aws, scene, routed=False)
    fill(ec2, scene.public_acl_id)

    (plan,) = planned(aws, scene.web_id, ATTACKER)

    assert "is full" in plan.refusals[0]


# Blocks


def test_neighbours_that_find_no_room_are_joined(aws: Aws, scene: Scene, ec2: Any) -> None:
    fill(ec2, scene.public_acl_id, room=2)
    addresses = [f"198.51.100.{host}" for host in (1, 3, 7)] + [OTHER]

    plans = planned(aws, scene.web_id, *addresses)

    assert [(plan.params["address"], plan.refusals) for plan in plans] == [
        ("198.51.100.0/29", ()),
        (OTHER, ()),
    ]
    assert "it denies 8 addresses" in plans[0].blast_radius[-1]
    for plan in plans:
        apply(plan, aws)
        assert failing(plan, aws) == ["flow logs"]
    before = len(acl_entries(ec2, scene))
    revert(plans[0], aws)
    assert len(acl_entries(ec2, scene)) == before - 2


def test_neighbours_with_a_protected_address_between_are_not_joined(
    aws: Aws, scene: Scene, ec2: Any
) -> None:
    fill(ec2, scene.public_acl_id, room=1)
    one, other, protected = "198.51.100.4", "198.51.100.7", ip_network("198.51.100.5/32")

    plans = planned(aws.sparing((protected,)), scene.web_id, one, other)

    assert not any(
        plan.calls and protected[0] in net for plan in plans for net in plan.touched.networks
    )


def test_block_goes_before_an_allow_for_a_part_of_it() -> None:
    entry = {"Egress": False, "Protocol": "6", "RuleAction": "allow"}
    entries = [
        {**entry, "RuleNumber": 100, "CidrBlock": "0.0.0.0/0"},
        {**entry, "RuleNumber": 50, "CidrBlock": "198.51.100.1/32"},
    ]

    first = _acl.first_allow({"Entries": entries}, ip_network("198.51.100.0/28"), egress=False)

    assert first == 50


def test_standing_rules_are_not_pushed_out_by_a_flood(aws: Aws, scene: Scene, ec2: Any) -> None:
    (standing,) = planned(aws, scene.web_id, ATTACKER)
    apply(standing, aws)
    flood = [f"192.0.{host}.77" for host in range(16, 80)]

    plans = planned(aws, scene.web_id, *flood)
    for plan in plans:
        apply(plan, aws)

    used = [e for e in acl_entries(ec2, scene) if not e["Egress"] and "CidrBlock" in e]
    assert len(used) == 20 - block_address.RESERVE
    assert sum(bool(plan.refusals) for plan in plans) == len(flood) - 15
    assert failing(standing, aws) == ["flow logs"]


@pytest.mark.parametrize(
    ("addresses", "number", "expected"),
    [
        (["198.51.100.1", "198.51.100.2"], 2, ["198.51.100.1/32", "198.51.100.2/32"]),
        (["198.51.100.0", "198.51.100.1"], 1, ["198.51.100.0/31"]),
        (["198.51.100.1", "198.51.100.17"], 1, ["198.51.100.1/32", "198.51.100.17/32"]),
        (["198.51.100.4", "198.51.100.6"], 1, ["198.51.100.4/32", "198.51.100.6/32"]),
    ],
    ids=["room", "neighbours", "wider than a /28", "ours between"],
)
def test_blocks_are_as_narrow_as_the_room_allows(
    addresses: list[str], number: int, expected: list[str]
) -> None:
    networks = [ip_network(address) for address in addresses]

    blocks = _acl.merged(networks, number, 28, [ip_network("198.51.100.5/32")])

    assert [str(block) for block in blocks] == expected


@pytest.mark.parametrize("wide", [{"widest": 23}, {"widest_v6": 47}])
def test_block_as_wide_as_a_catch_all_cannot_be_asked_for(wide: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        Params(**wide)


# Proof


@pytest.mark.parametrize(
    ("action", "verdict"), [("REJECT", Verdict.PROVEN), ("ACCEPT", Verdict.PENDING)]
)
def test_flow_logs_prove_that_the_address_is_dark(
    aws: Aws, scene: Scene, ec2: Any, action: str, verdict: Verdict
) -> None:
    start = datetime.now(UTC) - timedelta(minutes=40)
    (plan,) = planned(aws, scene.web_id, ATTACKER, at=start)
    apply(plan, aws)
    flow_log(ec2, scene, start, action)

    proof = verify(plan, aws)

    assert (proof.verdict, proof.checks[-1].name) == (verdict, "flow logs")


# Helpers


def flow_log(ec2: Any, scene: Scene, start: datetime, last: str) -> None:
    """A log in which the attacker is seen once, near the end, beside somebody else's traffic."""
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="/flows")
    stream = {"logGroupName": "/flows", "logStreamName": f"{scene.web_interface_id}-all"}
    logs.create_log_stream(**stream)
    ec2.create_flow_logs(
        ResourceType="VPC",
        ResourceIds=[scene.vpc_id],
        TrafficType="ALL",
        MaxAggregationInterval=60,
        LogGroupName="/flows",
        DeliverLogsPermissionArn="arn:aws:iam::123456789012:role/flow-logs",
    )
    events = []
    for minute in range(38):
        begin = int(start.timestamp()) + 60 * minute
        remote, action = (ATTACKER, last) if minute == 36 else ("192.0.2.44", "ACCEPT")
        flow = f"{remote} {scene.web_address} 40000 443 6 10 840 {begin} {begin + 60} {action} OK"
        message = f"2 {scene.account} {scene.web_interface_id} {flow}"
        events.append({"timestamp": begin * 1000, "message": message})
    logs.put_log_events(**stream, logEvents=events)


def planned(
    aws: Aws, instance_id: str, *addresses: str, at: datetime | None = None, **params: Any
) -> tuple[Plan, ...]:
    subject = Resource(
        cloud=Cloud.AWS, account=aws.account, region=aws.region, id=instance_id, kind=Kind.INSTANCE
    )
    target = Target(
        subject=subject, incident="incident/1", step="block", at=at or datetime.now(UTC)
    )
    return block_address.plan(target, Params(addresses=addresses, **params), aws)


def let_in(aws: Aws, **request: Any) -> None:
    """Let a request show among those that WAF sampled just now."""
    one = {"Weight": 1, "Timestamp": datetime.now(UTC), "Action": "ALLOW"}
    sample = [{**one, "Request": {"Method": "GET", **request}}]
    on_answer(aws, "wafv2", "GetSampledRequests", lambda a: a.update(SampledRequests=sample))


def failing(plan: Plan, aws: Aws) -> list[str]:
    return [check.name for check in verify(plan, aws).checks if not check.ok]


def load_balancer(ec2: Any, scene: Scene, kind: str, instance_id: str) -> Any:
    elbv2 = boto3.client("elbv2")
    zone = ec2.create_subnet(
        VpcId=scene.vpc_id, CidrBlock="10.20.9.0/24", AvailabilityZone="us-east-1b"
    )["Subnet"]["SubnetId"]
    subnets = [scene.public_subnet_id, zone]
    balancer = elbv2.create_load_balancer(Name="front", Subnets=subnets, Type=kind)
    protocol = "HTTP" if kind == "application" else "TCP"
    group = elbv2.create_target_group(
        Name="shop", Protocol=protocol, Port=80, VpcId=scene.vpc_id, TargetType="instance"
    )["TargetGroups"][0]["TargetGroupArn"]
    elbv2.register_targets(TargetGroupArn=group, Targets=[{"Id": instance_id}])
    elbv2.create_listener(
        LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
        Protocol=protocol,
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    return balancer["LoadBalancers"][0]


def distribution(origin: str, web_acl: str) -> str:
    """A distribution of CloudFront that fetches from an origin."""
    custom = {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "http-only"}
    config = {
        "CallerReference": "1",
        "Comment": "",
        "Enabled": True,
        "WebACLId": web_acl,
        "Origins": {
            "Quantity": 1,
            "Items": [{"Id": "front", "DomainName": origin, "CustomOriginConfig": custom}],
        },
        "DefaultCacheBehavior": {
            "TargetOriginId": "front",
            "ViewerProtocolPolicy": "allow-all",
            "ForwardedValues": {"QueryString": False, "Cookies": {"Forward": "none"}},
        },
    }
    made = boto3.client("cloudfront").create_distribution(DistributionConfig=config)
    return str(made["Distribution"]["Id"])


def web_acl(waf: Any, rules: list[Any], **members: Any) -> Any:
    asked = {
        "Name": "shop",
        "Scope": "REGIONAL",
        "Description": "the shop's",
        "DefaultAction": {"Allow": {}},
        "VisibilityConfig": VISIBILITY,
        "Rules": rules,
        "TokenDomains": ["example.com"],
    }
    return waf.create_web_acl(**asked | members)["Summary"]


def allow(name: str, priority: int, statement: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": name,
        "Priority": priority,
        "Action": {"Allow": {}},
        "Statement": statement,
        "VisibilityConfig": VISIBILITY,
    }


def statement(block: str, waf: Any) -> dict[str, Any]:
    made = waf.create_ip_set(
        Name="office", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=[block]
    )
    return {"IPSetReferenceStatement": {"ARN": made["Summary"]["ARN"]}}


def made_by_people(waf: Any, acl: Any) -> tuple[str, str]:
    """A set with the name of ours, but without our tag."""
    name = f"firedoor-{acl['Id']}-ipv4"
    made = waf.create_ip_set(Name=name, Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=[])
    return name, made["Summary"]["ARN"]


def read_acl(waf: Any, acl: Any) -> Any:
    found = waf.get_web_acl(Name=acl["Name"], Scope="REGIONAL", Id=acl["Id"])["WebACL"]
    return {**found, "Rules": rules(waf, acl)}


def rules(waf: Any, acl: Any) -> Any:
    found = waf.get_web_acl(Name=acl["Name"], Scope="REGIONAL", Id=acl["Id"])["WebACL"]
    return sorted(found["Rules"], key=lambda rule: int(rule["Priority"]))


def update(waf: Any, acl: Any, rules: list[Any], **members: Any) -> None:
    named = {"Name": acl["Name"], "Scope": "REGIONAL", "Id": acl["Id"]}
    token = waf.get_web_acl(**named)["LockToken"]
    kept = {"DefaultAction": {"Allow": {}}, "VisibilityConfig": VISIBILITY}
    waf.update_web_acl(**named, **kept | members, Rules=rules, LockToken=token)


def our_sets(waf: Any) -> dict[str, list[str]]:
    found = waf.list_ip_sets(Scope="REGIONAL")["IPSets"]
    return {
        one["Name"]: waf.get_ip_set(Name=one["Name"], Scope="REGIONAL", Id=one["Id"])["IPSet"][
            "Addresses"
        ]
        for one in found
        if one["Name"].startswith("firedoor-")
    }


def put(waf: Any, *blocks: str) -> None:
    """Add addresses to our set, as somebody else would."""
    (one,) = (
        s for s in waf.list_ip_sets(Scope="REGIONAL")["IPSets"] if s["Name"].startswith("firedoor-")
    )
    named = {"Name": one["Name"], "Scope": "REGIONAL", "Id": one["Id"]}
    found = waf.get_ip_set(**named)
    addresses = [*found["IPSet"]["Addresses"], *blocks]
    waf.update_ip_set(**named, Addresses=addresses, LockToken=found["LockToken"])


def on_the_route(
    aws: Aws,
    scene: Scene,
    *,
    action: str = "DROP",
    address: str = "192.0.2.200/32",
    order: str = "DEFAULT_ACTION_ORDER",
    routed: bool = True,
    **members: Any,
) -> Any:
    """A firewall in the public subnet with a rule group of its owners'; routes lead through it."""
    client = boto3.client("network-firewall")
    options = {"StatefulRuleOptions": {"RuleOrder": order}}
    source = {"RulesSource": {"StatefulRules": [firewall_rule(action, address, "1")]}, **options}
    known = client.create_rule_group(
        RuleGroupName="known", Type="STATEFUL", Capacity=10, RuleGroup=source
    )["RuleGroupResponse"]["RuleGroupArn"]
    priority = {"Priority": 10} if order == "STRICT_ORDER" else {}
    made = client.create_firewall_policy(
        FirewallPolicyName="edge",
        FirewallPolicy={
            "StatelessDefaultActions": ["aws:forward_to_sfe"],
            "StatelessFragmentDefaultActions": ["aws:forward_to_sfe"],
            "StatefulRuleGroupReferences": [{"ResourceArn": known, **priority}],
            "StatefulEngineOptions": {"RuleOrder": order},
            **members,
        },
    )
    client.create_firewall(
        FirewallName="edge",
        FirewallPolicyArn=made["FirewallPolicyResponse"]["FirewallPolicyArn"],
        VpcId=scene.vpc_id,
        SubnetMappings=[{"SubnetId": scene.public_subnet_id}],
    )
    if routed:
        route_through(scene, client.describe_firewall(FirewallName="edge"))
    return client


def route_through(scene: Scene, firewall: Any) -> None:
    """Let what the VPC sends to the attackers go to the endpoint of a firewall."""
    (state,) = firewall["FirewallStatus"]["SyncStates"].values()
    ec2 = boto3.client("ec2")
    own = [{"Name": "vpc-id", "Values": [scene.vpc_id]}]
    for table in ec2.describe_route_tables(Filters=own)["RouteTables"]:
        ec2.create_route(
            RouteTableId=table["RouteTableId"],
            DestinationCidrBlock="198.51.100.0/24",
            VpcEndpointId=state["Attachment"]["EndpointId"],
        )


def firewall_rule(action: str, address: str, sid: str) -> dict[str, Any]:
    return {
        "Action": action,
        "Header": {
            "Protocol": "IP",
            "Source": address,
            "SourcePort": "ANY",
            "Direction": "ANY",
            "Destination": "ANY",
            "DestinationPort": "ANY",
        },
        "RuleOptions": [{"Keyword": "sid", "Settings": [sid]}],
    }


def policy(firewall: Any) -> Any:
    return firewall.describe_firewall_policy(FirewallPolicyName="edge")["FirewallPolicy"]


def our_group(firewall: Any) -> Any:
    (name,) = (
        group["Name"]
        for group in firewall.list_rule_groups()["RuleGroups"]
        if group["Name"].startswith("firedoor-")
    )
    return firewall.describe_rule_group(RuleGroupName=name, Type="STATEFUL")


def dropped(firewall: Any) -> list[str]:
    found = our_group(firewall)["RuleGroup"]["RulesSource"]["StatefulRules"]
    return [rule["Header"]["Source"] for rule in found]


def write(firewall: Any, address: str) -> None:
    """Add a rule to our group, as somebody else would."""
    found = our_group(firewall)
    group = found["RuleGroup"]
    group["RulesSource"]["StatefulRules"].append(firewall_rule("DROP", address, "7"))
    firewall.update_rule_group(
        RuleGroupArn=found["RuleGroupResponse"]["RuleGroupArn"],
        Type="STATEFUL",
        RuleGroup=group,
        UpdateToken=found["UpdateToken"],
    )


def fill(ec2: Any, acl: str, *, room: int = 0) -> None:
    """Add ingress rules until there is room for so many more, beside the reserve."""
    for number in range(2, 18 - room):
        ec2.create_network_acl_entry(
            NetworkAclId=acl,
            RuleNumber=200 + number,
            Protocol="-1",
            RuleAction="deny",
            Egress=False,
            CidrBlock=f"192.0.2.{number}/32",
        )


def acl_entries(ec2: Any, scene: Scene) -> Any:
    return ec2.describe_network_acls(NetworkAclIds=[scene.public_acl_id])["NetworkAcls"][0][
        "Entries"
    ]


def fault(lab: EmulatedAws, operation: str, *, service: str, **more: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": service, "operation": operation, **more})


def before_call(aws: Aws, service: str, operation: str, do: Callable[[], Any]) -> None:
    """Let something happen just before an operation is sent for the first time."""
    pending = [do]

    def called(**_: Any) -> None:
        if pending:
            pending.pop()()

    aws.client(service).meta.events.register(f"before-call.{service}.{operation}", called)


def on_answer(aws: Aws, service: str, operation: str, change: Callable[[Any], Any]) -> None:
    """Change the answers to an operation: what the emulator cannot show."""

    def changed(parsed: Any, **_: Any) -> None:
        change(parsed)

    aws.client(service).meta.events.register_last(f"after-call.{service}.{operation}", changed)
