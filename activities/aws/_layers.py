"""Where the traffic of an instance's clients really goes by with their own addresses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from activities.aws import _network, _waf
from activities.aws._network import MOST_TARGET_GROUPS
from activities.aws._waf import Door
from firedoor.cloud.aws import Aws


@dataclass(frozen=True)
class Subnets:
    """Subnets whose network ACLs see the clients' addresses: ours, or those of a load balancer."""

    ids: tuple[str, ...]
    balancer: str = ""


@dataclass(frozen=True)
class Open:
    """A way in on which nothing stands that could block an address, and what to do about it."""

    way: str
    instead: str


Crossing = Subnets | Door | Open


def own(interfaces: Iterable[Mapping[str, Any]]) -> Subnets:
    """Return the subnets of an instance itself."""
    return Subnets(tuple(dict.fromkeys(i["SubnetId"] for i in interfaces)))


def fronts(aws: Aws, interfaces: Sequence[Mapping[str, Any]]) -> tuple[Crossing, ...]:
    """Return what stands before an instance where its clients show by their own addresses.

    That is before each load balancer that hides its clients from the instance. Raises `Refused` if
    the VPC has too many target groups to look through.
    """
    return tuple(
        crossing for balancer in _hiding(aws, interfaces) for crossing in _before(aws, balancer)
    )


def is_reachable(interface: Mapping[str, Any]) -> bool:
    """Return whether somebody outside can send to an interface without a load balancer."""
    return bool(
        (interface.get("Association") or {}).get("PublicIp") or interface.get("Ipv6Addresses")
    )


def hides_clients(group: Mapping[str, Any], attributes: Mapping[str, str]) -> bool:
    """Return whether the targets of a group do not see their clients' addresses.

    Application load balancers hide them; network ones as their target group says.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/network/edit-target-group-attributes.html
    """
    protocol = group.get("Protocol")
    if protocol in {"HTTP", "HTTPS"}:
        return True
    if protocol in {"UDP", "TCP_UDP", "GENEVE"}:
        return False
    usual = "false" if group.get("TargetType") == "ip" else "true"
    return attributes.get("preserve_client_ip.enabled", usual) == "false"


def _hiding(aws: Aws, interfaces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Read the load balancers that hide their clients from an instance."""
    newer, classic = aws.together(
        partial(_by_target_group, aws, interfaces), partial(_classic, aws, interfaces)
    )
    return [*newer, *classic]


def _classic(aws: Aws, interfaces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Read the Classic Load Balancers of an instance, as if they were of today.

    They end every connection, so the instance sees theirs alone.
    """
    ids = {interface["Attachment"]["InstanceId"] for interface in interfaces}
    return [
        {
            "LoadBalancerArn": "",
            "LoadBalancerName": one["LoadBalancerName"],
            "DNSName": one["DNSName"],
            "Scheme": one["Scheme"],
            "Type": "classic",
            "AvailabilityZones": [{"SubnetId": subnet} for subnet in one["Subnets"]],
        }
        for one in aws.pages("elb", "DescribeLoadBalancers", "LoadBalancerDescriptions")
        if any(member["InstanceId"] in ids for member in one["Instances"])
    ]


def _by_target_group(aws: Aws, interfaces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    groups = [group for group, _ in _network.target_groups(aws, interfaces, MOST_TARGET_GROUPS)]
    attributes = aws.together(*(partial(_attributes, aws, group) for group in groups))
    arns = {
        arn
        for group, known in zip(groups, attributes, strict=True)
        if hides_clients(group, known)
        for arn in group["LoadBalancerArns"]
    }
    if not arns:
        return []
    return aws.pages(
        "elbv2", "DescribeLoadBalancers", "LoadBalancers", LoadBalancerArns=sorted(arns)
    )


def _attributes(aws: Aws, group: Mapping[str, Any]) -> dict[str, str]:
    answer = aws.client("elbv2").describe_target_group_attributes(
        TargetGroupArn=group["TargetGroupArn"]
    )
    return {one["Key"]: one["Value"] for one in answer["Attributes"]}


def _before(aws: Aws, balancer: Mapping[str, Any]) -> Iterator[Crossing]:
    arn, name = balancer["LoadBalancerArn"], balancer["LoadBalancerName"]
    distributions = list(_distributions(aws, balancer["DNSName"]))
    regional = _web_acl_of(aws, arn) if balancer["Type"] == "application" else None
    bare = [one for one in distributions if not one.get("WebACLId", "").startswith("arn:")]
    for one in distributions:
        if one not in bare:
            yield _waf.door(aws, one["WebACLId"], one["Id"])
        elif regional is None:
            yield Open(
                f"distribution {one['Id']} before {name}",
                "give it a web ACL of AWS WAF, and plan again: behind it only CloudFront's own"
                " addresses show",
            )
    if regional:
        yield _waf.door(aws, regional, arn, forwarded=bool(bare))
    elif not distributions or balancer.get("Scheme") == "internet-facing":
        subnets = tuple(zone["SubnetId"] for zone in balancer["AvailabilityZones"])
        yield Subnets(subnets, name)


def _web_acl_of(aws: Aws, resource: str) -> str | None:
    answer = aws.client("wafv2").get_web_acl_for_resource(ResourceArn=resource)
    arn = (answer.get("WebACL") or {}).get("ARN")
    return str(arn) if arn else None


def _distributions(aws: Aws, origin: str) -> Iterator[dict[str, Any]]:
    """Read the CloudFront distributions that fetch from a load balancer.

    Its name may be written in capitals, and with the prefix under which it has IPv6 too.
    """
    client = aws.elsewhere(region=_waf.CLOUDFRONT_REGION).client("cloudfront")
    for page in client.get_paginator("list_distributions").paginate():
        for one in page["DistributionList"].get("Items") or ():
            origins = one["Origins"].get("Items") or ()
            if any(_plain(o["DomainName"]) == _plain(origin) for o in origins):
                yield one


def _plain(name: str) -> str:
    return name.lower().removeprefix("dualstack.")
