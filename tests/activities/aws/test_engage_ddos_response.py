import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from pydantic import ValidationError

from activities.aws import _aws_case, _contended, _rate_rule, _shield, engage_ddos_response
from firedoor import errors
from firedoor.cloud.aws import Aws
from firedoor.lab.server import EmulatedAws
from firedoor.model.base import digest
from firedoor.model.finding import GLOBAL, Cloud, Kind, Resource
from firedoor.model.plan import Outcome, Plan, Target, Verdict
from firedoor.settings import settings
from firedoor.testing import ACCOUNT, NOW

BALANCER = f"arn:aws:elasticloadbalancing:us-east-1:{ACCOUNT}:loadbalancer/app/web/0123456789abcdef"
ADDRESS = f"arn:aws:ec2:us-east-1:{ACCOUNT}:eip-allocation/eipalloc-0aaa"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/drt"
CONTACT = {"email": "soc@example.com", "phone": "+15550100", "notes": "day and night"}
SETTINGS = {"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": "web"}
Params = engage_ddos_response.Params


def _target() -> Target:
    subject = Resource(
        cloud=Cloud.AWS, account=ACCOUNT, region=GLOBAL, kind=Kind.ACCOUNT, id=ACCOUNT
    )
    return Target(subject=subject, incident="aws/1", step="ddos", at=NOW)


def _plans(aws: Aws, **params: Any) -> tuple[Plan, ...]:
    return engage_ddos_response.plan(_target(), Params(**params), aws)


def _plan(aws: Aws, **params: Any) -> Plan:
    (plan,) = _plans(aws, **params)
    return plan


def _rule(name: str, priority: int, action: str = "Block") -> dict[str, Any]:
    return {
        "Name": name,
        "Priority": priority,
        "Action": {action: {}},
        "Statement": {"GeoMatchStatement": {"CountryCodes": ["AQ"]}},
        "VisibilityConfig": SETTINGS,
    }


WebAcl = Callable[..., str]


@pytest.fixture
def web_acl(aws: Aws) -> WebAcl:
    def make(*rules: dict[str, Any]) -> str:
        answer = boto3.client("wafv2").create_web_acl(
            Name="web",
            Scope="REGIONAL",
            DefaultAction={"Allow": {}},
            Description="guards the shop",
            VisibilityConfig=SETTINGS,
            Rules=list(rules),
        )
        return str(answer["Summary"]["ARN"])

    return make


def _acl(arn: str) -> dict[str, Any]:
    answer = boto3.client("wafv2").get_web_acl(Name="web", Scope="REGIONAL", Id=arn.split("/")[-1])
    return answer["WebACL"]


def _change_acl(arn: str, **values: Any) -> None:
    client = boto3.client("wafv2")
    named = {"Name": "web", "Scope": "REGIONAL", "Id": arn.split("/")[-1]}
    found = client.get_web_acl(**named)
    acl = found["WebACL"]
    kept = {k: acl[k] for k in ("DefaultAction", "Description", "VisibilityConfig", "Rules")}
    client.update_web_acl(**named, LockToken=found["LockToken"], **{**kept, **values})


# Rates


def test_a_rate_rule_counts_first_and_keeps_the_rest(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl(_rule("geo", 5))
    before = _acl(arn)

    plan = _plan(aws, web_acl=arn)
    engage_ddos_response.apply(plan, aws)

    after = _acl(arn)
    ours = next(rule for rule in after["Rules"] if rule["Name"] == _rate_rule.NAME)
    assert ours["Action"] == {"Count": {}}
    assert ours["Priority"] == 0
    assert ours["Statement"]["RateBasedStatement"] == {
        "Limit": 2000, "EvaluationWindowSec": 300, "AggregateKeyType": "IP",
    }  # fmt: skip
    assert [r for r in after["Rules"] if r["Name"] != _rate_rule.NAME] == before["Rules"]
    assert {k: v for k, v in after.items() if k not in {"Rules", "Capacity"}} == {
        k: v for k, v in before.items() if k not in {"Rules", "Capacity"}
    }


def test_counting_is_contained_but_unproven_and_the_block_is_a_persons_decision(
    aws: Aws, web_acl: WebAcl
) -> None:
    plan = _plan(aws, web_acl=web_acl())
    engage_ddos_response.apply(plan, aws)

    assert engage_ddos_response.verify(plan, aws).verdict is Verdict.UNPROVEN
    assert any("mode: block" in task for task in plan.tasks)
    assert plan.blast_radius == ("Nothing is blocked yet: requests over the limit are counted",)


def test_count_becomes_block_and_undo_makes_it_count_again(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl()
    engage_ddos_response.apply(_plan(aws, web_acl=arn), aws)
    counting = _acl(arn)["Rules"]

    plan = _plan(aws, web_acl=arn, mode="block")
    engage_ddos_response.apply(plan, aws)
    blocking = _acl(arn)["Rules"]
    proof = engage_ddos_response.verify(plan, aws)
    engage_ddos_response.revert(plan, aws)

    assert [rule["Action"] for rule in blocking] == [{"Block": {}}]
    assert (proof.verdict, proof.checks[-1].detail) == (
        Verdict.UNPROVEN,
        "nobody is over the limit now: the attack is over, passes elsewhere, or stays below",
    )
    assert _acl(arn)["Rules"] == counting


def test_undo_takes_only_our_rule_away_even_if_others_came(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl(_rule("geo", 5))
    plan = _plan(aws, web_acl=arn, mode="block")
    engage_ddos_response.apply(plan, aws)
    _change_acl(arn, Rules=[*_acl(arn)["Rules"], _rule("late", 9)])

    engage_ddos_response.revert(plan, aws)
    engage_ddos_response.revert(plan, aws)

    assert [rule["Name"] for rule in _acl(arn)["Rules"]] == ["geo", "late"]


def test_a_web_acl_that_changed_otherwise_makes_the_plan_stale(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl()
    plan = _plan(aws, web_acl=arn)
    _change_acl(arn, DefaultAction={"Block": {}})

    with pytest.raises(errors.PlanStale):
        engage_ddos_response.apply(plan, aws)

    assert _acl(arn)["DefaultAction"] == {"Block": {}}


def test_the_rule_comes_before_those_that_let_requests_in(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl(_rule("a", 0), _rule("allow", 2, "Allow"))

    plan = _plan(aws, web_acl=arn)

    assert plan.changes[0].after["Priority"] == 1  # type: ignore[call-overload,index]


def test_without_a_priority_before_an_allow_it_is_a_task(aws: Aws, web_acl: WebAcl) -> None:
    plan = _plan(aws, web_acl=web_acl(_rule("allow", 0, "Allow")))

    assert "no free priority before 0" in plan.refusals[0]
    assert "no free priority before 0" in plan.tasks[0]


def test_a_lock_token_that_is_old_is_read_again(
    aws: Aws, web_acl: WebAcl, lab: EmulatedAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_contended, "PAUSE", 0.01)
    arn = web_acl()
    plan = _plan(aws, web_acl=arn)
    _fault(lab, "wafv2", "UpdateWebACL", code="WAFOptimisticLockException", status=400)

    receipt = engage_ddos_response.apply(plan, aws)

    assert [call.outcome for call in receipt.calls] == [Outcome.ERROR, Outcome.OK]


def test_a_lost_answer_is_read_back(aws: Aws, web_acl: WebAcl, lab: EmulatedAws) -> None:
    arn = web_acl()
    plan = _plan(aws, web_acl=arn)
    _fault(lab, "wafv2", "UpdateWebACL", kind="lost")

    with pytest.raises(errors.Unavailable):
        engage_ddos_response.apply(plan, aws)

    assert engage_ddos_response.apply(plan, aws).calls == ()
    assert len(_acl(arn)["Rules"]) == 1


def test_addresses_that_are_kept_out_prove_the_block(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl()
    plan = _plan(aws, web_acl=arn, mode="block")
    engage_ddos_response.apply(plan, aws)
    over = {"IPAddressVersion": "IPV4", "Addresses": ["198.51.100.7/32"]}
    found = {"WebACL": _acl(arn), "LockToken": "0" * 36}
    with Stubber(aws.client("wafv2")) as stubber:
        stubber.add_response("get_web_acl", found)
        stubber.add_response("get_rate_based_statement_managed_keys", {"ManagedKeysIPV4": over})

        proof = engage_ddos_response.verify(plan, aws)

    assert (proof.verdict, proof.checks[-1].detail) == (Verdict.PROVEN, "of 198.51.100.7/32")


def test_what_a_web_acl_guards_is_told_and_nothing_is_a_warning(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl()

    alone = _plan(aws, web_acl=arn)
    boto3.client("wafv2").associate_web_acl(WebACLArn=arn, ResourceArn=BALANCER)
    attached = _plan(aws, web_acl=arn)

    told = "it is attached to nothing, so the rule would see no request"
    assert told in [check.detail for check in alone.preflight if not check.ok]
    assert attached.blast_radius[0] == "It counts for 1 resource: app/web/0123456789abcdef"


def test_what_we_may_not_look_at_is_a_remark(aws: Aws, web_acl: WebAcl, lab: EmulatedAws) -> None:
    arn = web_acl()
    fault = {"service": "wafv2", "operation": "ListResourcesForWebACL", "status": 400, "times": 9}
    lab.control("POST", "firedoor/faults", fault | {"code": "AccessDeniedException"})

    plan = _plan(aws, web_acl=arn)

    # Nor is there anybody in the emulated IAM whose rights could be asked for.
    silent = ["may wafv2:UpdateWebACL", "what the web ACL guards"]
    assert [c.name for c in plan.preflight if not c.ok] == silent
    assert plan.calls != ()


def test_a_web_acl_that_is_gone_leaves_nothing_to_take_back(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl()
    plan = _plan(aws, web_acl=arn, mode="block")
    engage_ddos_response.apply(plan, aws)
    client, named = boto3.client("wafv2"), {"Name": "web", "Scope": "REGIONAL"}
    named["Id"] = arn.split("/")[-1]
    token = client.get_web_acl(**named)["LockToken"]
    client.delete_web_acl(**named, LockToken=token)

    proof = engage_ddos_response.verify(plan, aws)
    receipt = engage_ddos_response.revert(plan, aws)

    assert (proof.verdict, receipt.calls, receipt.left) == (Verdict.DRIFTED, (), ())
    with pytest.raises(errors.PlanStale):
        engage_ddos_response.apply(plan, aws)
    assert "does not exist" in _plan(aws, web_acl=arn).refusals[0]


def test_behind_a_proxy_the_header_counts(aws: Aws, web_acl: WebAcl) -> None:
    arn = web_acl()
    engage_ddos_response.apply(_plan(aws, web_acl=arn, forwarded_header="X-Forwarded-For"), aws)

    statement = _acl(arn)["Rules"][0]["Statement"]["RateBasedStatement"]
    assert (statement["AggregateKeyType"], statement["ForwardedIPConfig"]["HeaderName"]) == (
        "FORWARDED_IP",
        "X-Forwarded-For",
    )


def test_a_web_acl_of_cloudfront_is_asked_for_in_its_region() -> None:
    arn = f"arn:aws:wafv2:us-east-1:{ACCOUNT}:global/webacl/web/1"
    call = _rate_rule.update(
        _models(),
        {"Name": "web", "Id": "1", "ARN": arn, "DefaultAction": {"Allow": {}}},
        exact=True,
    )

    assert (call.region, call.parameters["Scope"]) == ("us-east-1", "CLOUDFRONT")


# Shield


@pytest.fixture
def shield(aws: Aws) -> Any:
    client = boto3.client("shield")
    client.create_subscription()
    client.create_protection(Name="web", ResourceArn=BALANCER)
    return client


def _shield_state(client: Any) -> list[Any]:
    answer = client.describe_protection(ResourceArn=BALANCER)["Protection"]
    access = client.describe_drt_access()
    contacts = client.describe_emergency_contact_settings()["EmergencyContactList"]
    return [
        answer.get("ApplicationLayerAutomaticResponseConfiguration"),
        {k: v for k, v in access.items() if k != "ResponseMetadata"},
        contacts,
    ]


def test_without_a_subscription_shield_is_a_task(aws: Aws) -> None:
    plan = _plan(aws, resources=(BALANCER,))

    assert "no subscription to Shield Advanced" in plan.refusals[0]
    assert "without Shield Advanced" in plan.tasks[0]


def test_what_is_named_is_set_and_taken_back(aws: Aws, shield: Any) -> None:
    shield.associate_proactive_engagement_details(
        EmergencyContactList=[{"EmailAddress": "old@example.com"}]
    )
    shield.disable_proactive_engagement()
    before = _shield_state(shield)

    plan = _plan(
        aws, resources=(BALANCER,), drt_role=ROLE, log_buckets=("logs",), contacts=(CONTACT,)
    )
    engage_ddos_response.apply(plan, aws)
    applied = _shield_state(shield)
    again = engage_ddos_response.apply(plan, aws)
    proof = engage_ddos_response.verify(plan, aws)
    engage_ddos_response.revert(plan, aws)
    engage_ddos_response.revert(plan, aws)

    assert applied == [
        {"Status": "ENABLED", "Action": {"Count": {}}},
        {"RoleArn": ROLE, "LogBucketList": ["logs"]},
        [
            {
                "EmailAddress": "soc@example.com",
                "PhoneNumber": "+15550100",
                "ContactNotes": "day and night",
            }
        ],
    ]
    assert (again.calls, proof.verdict) == ((), Verdict.PROVEN)
    assert _shield_state(shield) == before
    status = shield.describe_subscription()["Subscription"]["ProactiveEngagementStatus"]
    assert status == "DISABLED"


def test_shield_is_asked_in_its_region(aws: Aws, shield: Any) -> None:
    plan = _plan(aws, drt_role=ROLE)

    assert {call.region for call in (*plan.calls, *plan.undo)} == {"us-east-1"}


def test_the_role_that_was_there_is_replaced_and_comes_back(aws: Aws, shield: Any) -> None:
    shield.associate_drt_role(RoleArn=ROLE + "-old")

    plan = _plan(aws, drt_role=ROLE)
    engage_ddos_response.apply(plan, aws)
    engage_ddos_response.revert(plan, aws)

    assert any(f"loses {ROLE}-old" in line for line in plan.blast_radius)
    assert shield.describe_drt_access()["RoleArn"] == ROLE + "-old"


def test_a_role_that_the_response_team_cannot_act_as_is_told(aws: Aws, shield: Any) -> None:
    def told() -> tuple[bool, str]:
        checks = _plan(aws, drt_role=ROLE).preflight
        return next((c.ok, c.detail) for c in checks if c.name == _shield.TEAM_ROLE)

    iam, name = boto3.client("iam"), ROLE.rpartition("/")[2]
    absent = told()
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(_trust("ec2")))
    bare = told()
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(_trust("drt.shield")))
    policy = iam.create_policy(PolicyName=_shield.TEAM_POLICY, PolicyDocument=json.dumps(ANYTHING))[
        "Policy"
    ]
    iam.attach_role_policy(RoleName=name, PolicyArn=policy["Arn"])

    assert absent == (False, f"there is no role {name}: make it first")
    lacking = f"trust in {_shield.TEAM} and policy {_shield.TEAM_POLICY}"
    assert bare == (False, f"{name} lacks {lacking}")
    assert told() == (True, name)


ANYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "shield:*", "Resource": "*"}],
}


def _trust(service: str) -> dict[str, Any]:
    who = {"Service": f"{service}.amazonaws.com"}
    statement = {"Effect": "Allow", "Principal": who, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_a_role_that_somebody_set_since_is_left_alone(aws: Aws, shield: Any) -> None:
    plan = _plan(aws, drt_role=ROLE)
    engage_ddos_response.apply(plan, aws)
    shield.associate_drt_role(RoleArn=ROLE + "-new")

    left = engage_ddos_response.revert(plan, aws).left

    assert "was changed since" in left[0]
    assert shield.describe_drt_access()["RoleArn"] == ROLE + "-new"


def test_an_eleventh_bucket_is_a_task(aws: Aws, shield: Any) -> None:
    plan = _plan(aws, drt_role=ROLE, log_buckets=tuple(f"logs-{n}" for n in range(11)))

    engage_ddos_response.apply(plan, aws)

    assert len(shield.describe_drt_access()["LogBucketList"]) == 10
    assert any("response team read logs-10" in task for task in plan.tasks)


def test_buckets_without_a_role_are_tasks(aws: Aws, shield: Any) -> None:
    plan = _plan(aws, log_buckets=("logs",))

    assert plan.calls == ()
    assert any("response team read logs, for which it needs a role" in t for t in plan.tasks)


def test_what_shield_saw_is_told(aws: Aws) -> None:
    attack = {
        "AttackId": "a-1",
        "ResourceArn": BALANCER,
        "StartTime": datetime(2026, 1, 2, 14, 3, 10, tzinfo=UTC),
        "AttackVectors": [{"VectorType": "REQUEST_FLOOD"}],
    }
    asked = {"ResourceArns": [BALANCER], "StartTime": {"FromInclusive": NOW - _shield.RECENT}}
    with Stubber(aws.client("shield")) as stubber:
        stubber.add_response("list_attacks", {"AttackSummaries": [attack]}, asked)

        seen = _shield.attacks(aws, [BALANCER], NOW)

    where = "loadbalancer/app/web/0123456789abcdef"
    assert seen == [f"REQUEST_FLOOD on {where} since 2026-01-02 14:03:10Z and goes on"]


def test_a_subscription_that_ended_leaves_nothing_to_take_back(
    aws: Aws, shield: Any, lab: EmulatedAws
) -> None:
    plan = _plan(aws, resources=(BALANCER,), drt_role=ROLE, log_buckets=("logs",))
    engage_ddos_response.apply(plan, aws)
    for operation in ("DescribeDRTAccess", "DescribeProtection"):
        fault = {"service": "shield", "operation": operation, "status": 400, "times": 9}
        lab.control("POST", "firedoor/faults", fault | {"code": "ResourceNotFoundException"})

    proof = engage_ddos_response.verify(plan, aws)
    receipt = engage_ddos_response.revert(plan, aws)

    assert (proof.verdict, receipt.calls) == (Verdict.DRIFTED, ())
    assert receipt.left == (f"{BALANCER} automatic response was changed since, to None",)


def test_counting_becomes_blocking_and_back(aws: Aws, shield: Any) -> None:
    shield.enable_application_layer_automatic_response(ResourceArn=BALANCER, Action={"Count": {}})
    before = _shield_state(shield)

    plan = _plan(aws, resources=(BALANCER,), mode="block")
    engage_ddos_response.apply(plan, aws)
    applied = _shield_state(shield)[0]
    engage_ddos_response.revert(plan, aws)

    assert applied["Action"] == {"Block": {}}
    assert _shield_state(shield) == before


def test_what_blocks_is_not_made_to_count(aws: Aws, shield: Any) -> None:
    shield.enable_application_layer_automatic_response(ResourceArn=BALANCER, Action={"Block": {}})

    assert _plan(aws, resources=(BALANCER,)).calls == ()


def test_what_shield_cannot_answer_for_is_a_task(aws: Aws, shield: Any) -> None:
    shield.delete_protection(
        ProtectionId=shield.describe_protection(ResourceArn=BALANCER)["Protection"]["Id"]
    )

    plan = _plan(aws, resources=(BALANCER, ADDRESS))

    assert plan.calls == ()
    assert [task.partition(",")[0] for task in plan.tasks[:2]] == [
        f"Protect {BALANCER} in Shield Advanced",
        f"Find a front for {ADDRESS}",
    ]


def test_the_first_request_to_be_called_is_pending(aws: Aws, shield: Any) -> None:
    plan = _plan(aws, contacts=(CONTACT,))
    engage_ddos_response.apply(plan, aws)
    proof = engage_ddos_response.verify(plan, aws)
    engage_ddos_response.revert(plan, aws)

    assert [call.operation for call in plan.calls] == ["AssociateProactiveEngagementDetails"]
    assert proof.verdict is Verdict.UNPROVEN
    assert plan.lost
    assert shield.describe_emergency_contact_settings()["EmergencyContactList"] == []


@pytest.mark.parametrize("operation", ["AssociateDRTRole", "AssociateDRTLogBucket"])
def test_an_apply_that_breaks_off_can_be_taken_back_or_go_on(
    aws: Aws, shield: Any, lab: EmulatedAws, operation: str
) -> None:
    before = _shield_state(shield)
    plan = _plan(aws, drt_role=ROLE, log_buckets=("logs",))
    _fault(lab, "shield", operation)

    with pytest.raises(errors.Unavailable):
        engage_ddos_response.apply(plan, aws)
    engage_ddos_response.revert(plan, aws)
    restored = _shield_state(shield)
    engage_ddos_response.apply(plan, aws)

    assert restored == before
    assert engage_ddos_response.verify(plan, aws).verdict is Verdict.PROVEN


# Cases


def _cases() -> list[dict[str, Any]]:
    return list(boto3.client("support").describe_cases(includeResolvedCases=True)["cases"])


def test_a_support_case_is_opened_once_and_stays(aws: Aws) -> None:
    plan = _plan(aws, case="support", addresses=("198.51.100.7",))

    receipt = engage_ddos_response.apply(plan, aws)
    again = engage_ddos_response.apply(plan, aws)
    left = engage_ddos_response.revert(plan, aws).left

    (case,) = _cases()
    assert receipt.created == {"case": case["caseId"]}
    assert (case["serviceCode"], case["categoryCode"]) == (
        "distributed-denial-of-service",
        "inbound-to-aws",
    )
    assert "198.51.100.7" in plan.calls[0].parameters["communicationBody"]  # type: ignore[operator]
    assert again.calls == ()
    assert left == ("the case stays open: resolve it where it was opened",)
    assert plan.lost == ("The case stays open until somebody resolves it",)


def test_a_case_whose_answer_was_lost_is_not_opened_again(aws: Aws, lab: EmulatedAws) -> None:
    plan = _plan(aws, case="support")
    _fault(lab, "support", "CreateCase", kind="lost")

    with pytest.raises(errors.Unavailable):
        engage_ddos_response.apply(plan, aws)
    engage_ddos_response.apply(plan, aws)

    assert len(_cases()) == 1


def test_without_a_support_plan_the_case_is_a_task(aws: Aws, lab: EmulatedAws) -> None:
    _fault(lab, "support", "DescribeServices", code="SubscriptionRequiredException", status=400)

    plan = _plan(aws, case="support")

    assert "no agreement" in plan.refusals[0]
    assert plan.tasks[0].startswith("Open a case at AWS by the console or by phone")


def test_a_case_at_security_incident_response_has_a_client_token(aws: Aws) -> None:
    target = _target()
    with Stubber(aws.client("security-ir")) as stub:
        member = {"membershipId": "m-0123456789", "membershipStatus": "Active"}
        listed = {"items": [{**member, "accountId": ACCOUNT, "region": "us-east-1"}]}
        stub.add_response("list_memberships", listed)
        for _ in range(2):
            stub.add_response("list_cases", {"items": []})
        sent = {
            "clientToken": digest(target),
            "resolverType": "AWS",
            "engagementType": "Security Incident",
            "title": _aws_case.title(target),
            "description": ANY,
            "reportedIncidentStartDate": "2026-01-01T12:00:00Z",
            "impactedAccounts": [ACCOUNT],
            "watchers": [{"email": "soc@example.com"}],
            "threatActorIpAddresses": [{"ipAddress": "198.51.100.7"}],
        }
        stub.add_response("create_case", {"caseId": "0123456789"}, sent)

        plan = _plan(
            aws, case="security-ir", watchers=("soc@example.com",), addresses=("198.51.100.7",)
        )
        receipt = engage_ddos_response.apply(plan, aws)

        stub.assert_no_pending_responses()
    assert receipt.created == {"case": "0123456789"}


def test_without_membership_the_case_is_a_task(aws: Aws) -> None:
    with Stubber(aws.client("security-ir")) as stub:
        stub.add_response("list_memberships", {"items": []})

        plan = _plan(aws, case="security-ir", watchers=("soc@example.com",))

    assert "no membership of AWS Security Incident Response in us-east-1" in plan.refusals[0]


def test_a_case_is_opened_where_the_membership_is(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIREDOOR_AWS_ROLE", "firedoor")
    settings.cache_clear()
    where = {"account": "222222222222", "region": "eu-west-1"}
    subject = _target().subject.model_copy(update={"region": "us-east-1"})
    target = _target().model_copy(update={"subject": subject})
    params = Params(case="security-ir", watchers=("soc@example.com",), membership=where)
    there = aws.elsewhere(**where).client("security-ir")
    with Stubber(there) as stub:
        member = {"membershipId": "m-0123456789", "membershipStatus": "Active"}
        stub.add_response("list_memberships", {"items": [{**member, **_in(where)}]})
        stub.add_response("list_cases", {"items": []})
        stub.add_response("list_cases", {"items": []})
        stub.add_response("create_case", {"caseId": "0123456789"})

        (plan,) = engage_ddos_response.plan(target, params, aws)
        receipt = engage_ddos_response.apply(plan, aws)

    (call,) = receipt.calls
    assert (call.account, call.region) == (where["account"], where["region"])
    assert call.parameters["impactedAccounts"] == [ACCOUNT]
    assert call.parameters["impactedAwsRegions"] == [{"region": "us-east-1"}]


def _in(where: dict[str, str]) -> dict[str, str]:
    return {"accountId": where["account"], "region": where["region"]}


# All


def test_what_nobody_authorised_is_for_people(aws: Aws) -> None:
    plan = _plan(aws)

    assert (plan.calls, plan.refusals) == ((), ())
    assert len(plan.tasks) == 3
    assert engage_ddos_response.apply(plan, aws).calls == ()
    assert engage_ddos_response.revert(plan, aws).calls == ()


def test_one_part_that_is_lacking_leaves_the_others(aws: Aws, web_acl: WebAcl) -> None:
    rate, shield, case = _plans(aws, web_acl=web_acl(), mode="block", drt_role=ROLE, case="support")

    assert (bool(rate.calls), bool(case.calls)) == (True, True)
    assert shield.refusals
    assert len({rate.lease, shield.lease, case.lease}) == 3


@pytest.mark.parametrize(
    "params",
    [
        {"web_acl": "web"},
        {"drt_role": "drt"},
        {"limit": 9},
        {"window": 30},
        {"contacts": ({"email": "soc", "phone": "1", "notes": ""},)},
        {"case": "security-ir"},
        {"case": "phone"},
        {"mode": "off"},
    ],
)
def test_params_that_make_no_sense_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Params(**params)


def _fault(lab: EmulatedAws, service: str, operation: str, **more: Any) -> None:
    lab.control("POST", "firedoor/faults", {"service": service, "operation": operation, **more})


def _models() -> Aws:
    session = boto3.Session(
        aws_access_key_id="testing", aws_secret_access_key="testing", region_name="eu-west-1"
    )
    return Aws(ACCOUNT, "eu-west-1", session)
