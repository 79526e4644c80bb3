"""Route 53 Resolver DNS Firewall: one list, rule group, rule and association for each VPC.

Each VPC has a list of its own: what one containment takes out of a list, another that holds the
same domain in another VPC still needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pydantic import JsonValue

from activities.aws._reading import or_none
from firedoor.action import State
from firedoor.cloud.aws import Aws
from firedoor.errors import CloudError, Refused

# Others, such as Firewall Manager, have what is below and above.
# https://docs.aws.amazon.com/Route53/latest/APIReference/API_route53resolver_AssociateFirewallRuleGroup.html
PRIORITIES = range(101, 9900)

LARGEST_LIST = 100_000
"""Domains in all lists of an account and region."""

DONE = "COMPLETE"

OF_THE_VPC = "AmazonProvidedDNS"
"""What DHCP options call the VPC's own resolver."""


@dataclass(frozen=True)
class Installed:
    """What there is of ours in a VPC; None for what is missing."""

    list: dict[str, Any] | None
    domains: tuple[str, ...]
    group: dict[str, Any] | None
    rule: dict[str, Any] | None
    association: dict[str, Any] | None


def name_of(vpc: str) -> str:
    """Return the name of all that is ours in a VPC."""
    return f"firedoor-{vpc}"


def read(aws: Aws, vpc: str) -> Installed:
    """Read what there is of ours in a VPC."""
    name = name_of(vpc)
    found_list = _named(aws, "ListFirewallDomainLists", "FirewallDomainLists", name)
    found_group = _named(aws, "ListFirewallRuleGroups", "FirewallRuleGroups", name)
    rules = _rules(aws, found_group["Id"]) if found_group else []
    return Installed(
        list=_whole_list(aws, found_list["Id"]) if found_list else None,
        domains=_domains(aws, found_list["Id"]) if found_list else (),
        group=found_group,
        rule=next(
            (r for r in rules if found_list and r.get("FirewallDomainListId") == found_list["Id"]),
            None,
        ),
        association=next(
            (a for a in associations(aws, vpc) if found_group and _of(a, found_group["Id"])), None
        ),
    )


def state(installed: Installed, vpc: str) -> State:
    """Return what there is of ours as a state; a domain that is listed is `blocked`."""
    name = name_of(vpc)
    now: dict[tuple[str, str], JsonValue] = {
        (name, f"domain {domain}"): "blocked" for domain in installed.domains
    }
    if installed.list:
        now[name, "domain list"] = "made"
    if installed.group:
        now[name, "rule group"] = "made"
    if rule := installed.rule:
        now[name, "rule"] = (
            rule["BlockResponse"] if rule["Action"] == "BLOCK" else str(rule["Action"])
        )
    if association := installed.association:
        now[vpc, f"association of {name}"] = association["Priority"]
    return now


def associations(aws: Aws, vpc: str) -> list[dict[str, Any]]:
    """Read the rule groups that a VPC uses, in the order in which they are asked."""
    found = aws.pages(
        "route53resolver",
        "ListFirewallRuleGroupAssociations",
        "FirewallRuleGroupAssociations",
        VpcId=vpc,
    )
    return sorted(
        (one for one in found if one["Status"] != "DELETING"), key=lambda one: int(one["Priority"])
    )


def free_priority(aws: Aws, vpc: str, domain: str) -> int:
    """Return the lowest free priority of a VPC, before any group that lets the domain through.

    Raises `Refused` if there is none.
    """
    found = associations(aws, vpc)
    taken = {one["Priority"] for one in found}
    free = next((number for number in PRIORITIES if number not in taken), None)
    if free is None:
        raise Refused(f"{vpc} has no free priority for a rule group: remove one that nobody needs")
    if letting := answered_before(aws, found, free, domain):
        raise Refused(
            f"{vpc} asks {letting} before priority {free}, the first that is free: take the domain"
            " off that list, or give the rule group a later priority"
        )
    return free


def answered_before(
    aws: Aws, found: list[dict[str, Any]], priority: int, domain: str
) -> str | None:
    """Name the rule that lets a domain through before a priority; None if none does.

    The first rule that has the domain on its list decides, unless it only alerts.
    """
    for association in found:
        if association["Priority"] >= priority:
            return None
        for rule in _rules(aws, association["FirewallRuleGroupId"]):
            if rule["Action"] != "ALERT" and _lists(aws, rule, domain):
                if rule["Action"] == "BLOCK":
                    return None
                return f"rule {rule['Name']} of {association['FirewallRuleGroupId']}, which allows"
    return None


def before_ours_in_group(aws: Aws, installed: Installed, domain: str) -> str | None:
    """Name the rule of our own group that lets a domain through before ours; None if none does."""
    if not (installed.group and installed.rule):
        return None
    for rule in _rules(aws, installed.group["Id"]):
        if rule["Priority"] >= installed.rule["Priority"]:
            return None
        if rule["Action"] == "ALLOW" and _lists(aws, rule, domain):
            return f"rule {rule['Name']} of {installed.group['Id']}, which allows"
    return None


def on(domain: str, listed: str) -> bool:
    """Return whether an entry of a list, such as `*.example.com`, means a domain."""
    entry, name = plain(listed), plain(domain)
    if entry == "*":
        return True
    if entry.startswith("*."):
        return name.endswith(entry[1:])
    return name == entry


def plain(domain: str) -> str:
    """Return a domain as it is compared: lower case, without the last dot."""
    return domain.rstrip(".").lower()


def fail_open(aws: Aws, vpc: str) -> bool:
    """Return whether queries are answered unfiltered while DNS Firewall does not work."""
    answer = aws.client("route53resolver").get_firewall_config(ResourceId=vpc)
    return bool(answer["FirewallConfig"]["FirewallFailOpen"] == "ENABLED")


def servers(aws: Aws, vpc: str) -> list[str]:
    """Read which name servers a VPC tells its instances to ask."""
    (found,) = aws.pages("ec2", "DescribeVpcs", "Vpcs", VpcIds=[vpc])
    asked = [found["DhcpOptionsId"]] if found.get("DhcpOptionsId", "default") != "default" else []
    options = (
        aws.pages("ec2", "DescribeDhcpOptions", "DhcpOptions", DhcpOptionsIds=asked)
        if asked
        else []
    )
    return [
        value["Value"]
        for option in options
        for configuration in option["DhcpConfigurations"]
        if configuration["Key"] == "domain-name-servers"
        for value in configuration["Values"]
    ]


def made_by_us(aws: Aws, arn: str) -> bool:
    """Return whether a thing carries the tag of an incident."""
    tags = aws.pages("route53resolver", "ListTagsForResource", "Tags", ResourceArn=arn)
    return any(tag["Key"] == "firedoor:incident" for tag in tags)


def status_of_list(aws: Aws, id: str) -> str | None:
    """Return how far a list is; None if there is none."""
    found = or_none(partial(_whole_list, aws, id))
    return str(found["Status"]) if found else None


def status_of_association(aws: Aws, id: str) -> str | None:
    """Return how far an association is; None if there is none."""
    client = aws.client("route53resolver")
    answer = or_none(
        partial(client.get_firewall_rule_group_association, FirewallRuleGroupAssociationId=id)
    )
    return str(answer["FirewallRuleGroupAssociation"]["Status"]) if answer else None


def _lists(aws: Aws, rule: Mapping[str, Any], domain: str) -> bool:
    """Return whether a rule is about a domain, as far as its list is shown to us.

    AWS does not show what is on the lists that it manages, which people block or are alerted to.
    """
    if "FirewallDomainListId" not in rule:
        return False
    try:
        domains = _domains(aws, rule["FirewallDomainListId"])
    except CloudError as error:
        if error.retryable or rule["Action"] == "ALLOW":
            raise
        return False
    return any(on(domain, one) for one in domains)


def _named(aws: Aws, operation: str, key: str, name: str) -> dict[str, Any] | None:
    found = [one for one in aws.pages("route53resolver", operation, key) if one["Name"] == name]
    # Names are not unique; whoever made the second uses the first as well.
    return min(found, key=lambda one: str(one["Id"]), default=None)


def _whole_list(aws: Aws, id: str) -> dict[str, Any]:
    client = aws.client("route53resolver")
    answer = client.get_firewall_domain_list(FirewallDomainListId=id)
    return answer["FirewallDomainList"]  # type: ignore[no-any-return]


def _domains(aws: Aws, id: str) -> tuple[str, ...]:
    found = aws.pages("route53resolver", "ListFirewallDomains", "Domains", FirewallDomainListId=id)
    return tuple(plain(domain) for domain in found)


def _rules(aws: Aws, group: str) -> list[dict[str, Any]]:
    found = aws.pages(
        "route53resolver", "ListFirewallRules", "FirewallRules", FirewallRuleGroupId=group
    )
    return sorted(found, key=lambda rule: int(rule["Priority"]))


def _of(association: Mapping[str, Any], group: str) -> bool:
    return bool(association["FirewallRuleGroupId"] == group)
