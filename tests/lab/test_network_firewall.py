from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]


@pytest.fixture
def firewall(stock: Stock) -> Any:
    return stock("network-firewall")


def test_rule_group_shows_the_rules_that_it_was_given(firewall: Any) -> None:
    made = group(firewall, [rule(1)], Tags=[{"Key": "team", "Value": "net"}])

    shown = described(firewall)

    assert shown["RuleGroup"]["RulesSource"]["StatefulRules"] == [rule(1)]
    assert shown["UpdateToken"] == made["UpdateToken"]
    assert (
        shown["RuleGroupResponse"]["ConsumedCapacity"],
        shown["RuleGroupResponse"]["Tags"],
    ) == (1, [{"Key": "team", "Value": "net"}])


def test_stale_update_token_is_refused(firewall: Any) -> None:
    token = group(firewall, [rule(1)])["UpdateToken"]
    update(firewall, [rule(1), rule(2)], token)

    assert code(update, firewall, [rule(1)], token) == "InvalidTokenException"


def test_dry_run_changes_nothing(firewall: Any) -> None:
    token = group(firewall, [rule(1)])["UpdateToken"]

    update(firewall, [rule(1), rule(2)], token, DryRun=True)
    group(firewall, [rule(1)], RuleGroupName="other", DryRun=True)

    assert described(firewall)["RuleGroup"]["RulesSource"]["StatefulRules"] == [rule(1)]
    assert [g["Name"] for g in firewall.list_rule_groups()["RuleGroups"]] == ["bad"]


def test_capacity_and_signature_ids_are_checked(firewall: Any) -> None:
    rules = [rule(1), rule(2), rule(3)]

    assert code(group, firewall, rules, Capacity=2) == "InvalidRequestException"
    assert code(group, firewall, [rule(1), rule(1)]) == "InvalidRequestException"


def test_rule_group_in_use_is_not_deleted(firewall: Any) -> None:
    arn = group(firewall, [rule(1)])["RuleGroupResponse"]["RuleGroupArn"]
    policy(firewall, [{"ResourceArn": arn}])

    used = code(firewall.delete_rule_group, RuleGroupArn=arn)
    policy_update(firewall, [])
    firewall.delete_rule_group(RuleGroupArn=arn)

    assert used == "InvalidOperationException"
    assert code(described, firewall) == "ResourceNotFoundException"


def test_policy_takes_only_groups_of_its_own_rule_order(firewall: Any) -> None:
    arn = group(firewall, [rule(1)])["RuleGroupResponse"]["RuleGroupArn"]
    strict = {"StatefulEngineOptions": {"RuleOrder": "STRICT_ORDER"}}

    mixed = code(policy, firewall, [{"ResourceArn": arn, "Priority": 1}], **strict)

    assert mixed == "InvalidRequestException"


def test_firewall_has_an_endpoint_in_each_subnet(firewall: Any, scene: Scene) -> None:
    arn = policy(firewall, [])["FirewallPolicyResponse"]["FirewallPolicyArn"]
    firewall.create_firewall(
        FirewallName="edge",
        FirewallPolicyArn=arn,
        VpcId=scene.vpc_id,
        SubnetMappings=[{"SubnetId": scene.public_subnet_id}],
    )

    status = firewall.describe_firewall(FirewallName="edge")["FirewallStatus"]

    assert {
        zone: state["Attachment"]["EndpointId"] for zone, state in status["SyncStates"].items()
    } == {"us-east-1a": f"vpce-{scene.public_subnet_id.removeprefix('subnet-')}"}


def test_route_leads_to_the_endpoint_of_a_firewall_and_to_no_other(
    firewall: Any, stock: Stock, scene: Scene
) -> None:
    arn = policy(firewall, [])["FirewallPolicyResponse"]["FirewallPolicyArn"]
    firewall.create_firewall(
        FirewallName="edge",
        FirewallPolicyArn=arn,
        VpcId=scene.vpc_id,
        SubnetMappings=[{"SubnetId": scene.public_subnet_id}],
    )
    ec2, table = stock("ec2"), {"RouteTableId": scene.route_table_id}
    endpoint = f"vpce-{scene.public_subnet_id.removeprefix('subnet-')}"
    to = {**table, "DestinationCidrBlock": "198.51.100.0/24"}

    ec2.create_route(**to, VpcEndpointId=endpoint)

    assert code(ec2.create_route, **to, VpcEndpointId="vpce-1") == "InvalidVpcEndpointId.NotFound"
    (found,) = ec2.describe_route_tables(RouteTableIds=[scene.route_table_id])["RouteTables"]
    ways = {r.get("DestinationCidrBlock"): r.get("GatewayId") for r in found["Routes"]}
    assert ways["198.51.100.0/24"] == endpoint


def test_flush_remembers_what_it_flushed(firewall: Any, scene: Scene) -> None:
    filters = [{"SourceAddress": {"AddressDefinition": "198.51.100.7/32"}}]
    arn = firewall.create_firewall(
        FirewallName="edge",
        FirewallPolicyArn="arn:aws:network-firewall:us-east-1:123456789012:firewall-policy/p",
        VpcId=scene.vpc_id,
        SubnetMappings=[],
    )["Firewall"]["FirewallArn"]

    id = firewall.start_flow_flush(FirewallArn=arn, FlowFilters=filters)["FlowOperationId"]

    shown = firewall.describe_flow_operation(FirewallArn=arn, FlowOperationId=id)
    assert shown["FlowOperation"]["FlowFilters"] == filters
    listed = firewall.list_flow_operations(FirewallArn=arn)["FlowOperations"]
    assert [one["FlowOperationId"] for one in listed] == [id]


def rule(sid: int) -> dict[str, Any]:
    return {
        "Action": "DROP",
        "Header": {
            "Protocol": "IP",
            "Source": f"198.51.100.{sid}/32",
            "SourcePort": "ANY",
            "Direction": "ANY",
            "Destination": "ANY",
            "DestinationPort": "ANY",
        },
        "RuleOptions": [{"Keyword": "sid", "Settings": [str(sid)]}],
    }


def group(firewall: Any, rules: list[Any], **members: Any) -> Any:
    asked = {"RuleGroupName": "bad", "Type": "STATEFUL", "Capacity": 10, **members}
    return firewall.create_rule_group(RuleGroup={"RulesSource": {"StatefulRules": rules}}, **asked)


def described(firewall: Any) -> Any:
    return firewall.describe_rule_group(RuleGroupName="bad", Type="STATEFUL")


def update(firewall: Any, rules: list[Any], token: str, **members: Any) -> Any:
    return firewall.update_rule_group(
        RuleGroupName="bad",
        Type="STATEFUL",
        RuleGroup={"RulesSource": {"StatefulRules": rules}},
        UpdateToken=token,
        **members,
    )


def policy(firewall: Any, references: list[Any], **members: Any) -> Any:
    return firewall.create_firewall_policy(
        FirewallPolicyName="edge", FirewallPolicy=_policy(references, **members)
    )


def policy_update(firewall: Any, references: list[Any]) -> None:
    token = firewall.describe_firewall_policy(FirewallPolicyName="edge")["UpdateToken"]
    firewall.update_firewall_policy(
        FirewallPolicyName="edge", FirewallPolicy=_policy(references), UpdateToken=token
    )


def _policy(references: list[Any], **members: Any) -> dict[str, Any]:
    return {
        "StatelessDefaultActions": ["aws:forward_to_sfe"],
        "StatelessFragmentDefaultActions": ["aws:forward_to_sfe"],
        "StatefulRuleGroupReferences": references,
        **members,
    }


def code(call: Callable[..., Any], *args: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*args, **parameters)
    return str(caught.value.response["Error"]["Code"])
