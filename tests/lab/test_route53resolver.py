from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from firedoor.lab.scene import Scene

Stock = Callable[..., Any]


@pytest.fixture
def dns(stock: Stock) -> Any:
    return stock("route53resolver")


def test_list_that_was_changed_is_busy_until_it_is_complete(dns: Any) -> None:
    id = made_list(dns)
    add(dns, id, "example.com")

    busy = code(add, dns, id, "example.net")
    states = [status_of_list(dns, id) for _ in range(2)]
    add(dns, id, "Example.NET.")

    assert (busy, states) == ("ConflictException", ["UPDATING", "COMPLETE"])
    assert domains(dns, id) == ["example.com.", "example.net."]


def test_repeated_creation_is_one(dns: Any) -> None:
    first, second = made_list(dns), made_list(dns)

    assert first == second
    assert len(dns.list_firewall_domain_lists()["FirewallDomainLists"]) == 1


def test_list_that_a_rule_looks_at_is_not_deleted(dns: Any) -> None:
    domain_list, group = made_list(dns), made_group(dns)
    rule(dns, group, domain_list)

    used = code(dns.delete_firewall_domain_list, FirewallDomainListId=domain_list)
    dns.delete_firewall_rule(FirewallRuleGroupId=group, FirewallDomainListId=domain_list)
    dns.delete_firewall_domain_list(FirewallDomainListId=domain_list)

    assert used == "ConflictException"
    assert code(status_of_list, dns, domain_list) == "ResourceNotFoundException"


def test_rule_that_blocks_says_how(dns: Any) -> None:
    domain_list, group = made_list(dns), made_group(dns)

    assert code(rule, dns, group, domain_list, response=None) == "ValidationException"


def test_association_is_removed_unprotected_and_in_its_time(dns: Any, scene: Scene) -> None:
    group = made_group(dns)
    id = associate(dns, group, scene, 101, MutationProtection="ENABLED")
    gone = {"FirewallRuleGroupAssociationId": id}
    busy = code(dns.disassociate_firewall_rule_group, **gone)
    assert [status_of_association(dns, id) for _ in range(2)] == ["UPDATING", "COMPLETE"]

    protected = code(dns.disassociate_firewall_rule_group, **gone)
    dns.update_firewall_rule_group_association(**gone, MutationProtection="DISABLED")
    dns.disassociate_firewall_rule_group(**gone)

    assert (busy, protected) == ("ConflictException", "ValidationException")
    assert status_of_association(dns, id) == "DELETING"
    assert code(dns.delete_firewall_rule_group, FirewallRuleGroupId=group) == "ConflictException"
    assert associations(dns, scene) == []
    dns.delete_firewall_rule_group(FirewallRuleGroupId=group)


@pytest.mark.parametrize("priority", [100, 9900])
def test_priorities_of_others_are_kept_for_them(dns: Any, scene: Scene, priority: int) -> None:
    group = made_group(dns)

    assert code(associate, dns, group, scene, priority) == "ValidationException"


def test_priority_is_used_once_in_a_vpc(dns: Any, scene: Scene) -> None:
    associate(dns, made_group(dns), scene, 101)

    other = made_group(dns, "other")

    assert code(associate, dns, other, scene, 101) == "ValidationException"


def test_fail_open_is_remembered(dns: Any, scene: Scene) -> None:
    before = dns.get_firewall_config(ResourceId=scene.vpc_id)["FirewallConfig"]
    dns.update_firewall_config(ResourceId=scene.vpc_id, FirewallFailOpen="ENABLED")
    after = dns.get_firewall_config(ResourceId=scene.vpc_id)["FirewallConfig"]

    assert (before["FirewallFailOpen"], after["FirewallFailOpen"]) == ("DISABLED", "ENABLED")


def made_list(dns: Any) -> str:
    made = dns.create_firewall_domain_list(CreatorRequestId="1", Name="bad")
    return str(made["FirewallDomainList"]["Id"])


def made_group(dns: Any, name: str = "bad") -> str:
    made = dns.create_firewall_rule_group(CreatorRequestId=name, Name=name)
    return str(made["FirewallRuleGroup"]["Id"])


def rule(dns: Any, group: str, domain_list: str, response: str | None = "NXDOMAIN") -> None:
    dns.create_firewall_rule(
        CreatorRequestId="1",
        FirewallRuleGroupId=group,
        FirewallDomainListId=domain_list,
        Priority=1,
        Action="BLOCK",
        Name="bad",
        **({"BlockResponse": response} if response else {}),
    )


def add(dns: Any, id: str, *names: str) -> None:
    dns.update_firewall_domains(FirewallDomainListId=id, Operation="ADD", Domains=list(names))


def domains(dns: Any, id: str) -> Any:
    return dns.list_firewall_domains(FirewallDomainListId=id)["Domains"]


def status_of_list(dns: Any, id: str) -> Any:
    return dns.get_firewall_domain_list(FirewallDomainListId=id)["FirewallDomainList"]["Status"]


def associate(dns: Any, group: str, scene: Scene, priority: int, **more: Any) -> str:
    made = dns.associate_firewall_rule_group(
        CreatorRequestId=f"{group}/{priority}",
        FirewallRuleGroupId=group,
        VpcId=scene.vpc_id,
        Priority=priority,
        Name="bad",
        **more,
    )
    return str(made["FirewallRuleGroupAssociation"]["Id"])


def status_of_association(dns: Any, id: str) -> Any:
    found = dns.get_firewall_rule_group_association(FirewallRuleGroupAssociationId=id)
    return found["FirewallRuleGroupAssociation"]["Status"]


def associations(dns: Any, scene: Scene) -> Any:
    found = dns.list_firewall_rule_group_associations(VpcId=scene.vpc_id)
    return found["FirewallRuleGroupAssociations"]


def code(call: Callable[..., Any], *args: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(*args, **parameters)
    return str(caught.value.response["Error"]["Code"])


def test_tags_of_a_list_are_shown(dns: Any) -> None:
    tags = [{"Key": "team", "Value": "net"}]
    made = dns.create_firewall_domain_list(CreatorRequestId="1", Name="bad", Tags=tags)

    shown = dns.list_tags_for_resource(ResourceArn=made["FirewallDomainList"]["Arn"])

    assert shown["Tags"] == tags
