"""A server that is reached directly, one behind a web ACL, and one behind a firewall."""

from contextlib import suppress
from itertools import count
from typing import Any

from boto3 import Session
from botocore.exceptions import ClientError

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.drills.scenes import VISIBILITY, instance_id, load_balancer, terminate, web_acl
from firedoor.model.finding import Kind, Subject

ATTACKERS = ("198.51.100.7", "2001:db8:bad::7")


def build_direct(session: Session) -> Subject:
    """Take the `app` server, whose two subnets have an ACL each."""
    return resource(Kind.INSTANCE, scenes.build(session).app_id)


def build_behind(session: Session) -> Subject:
    """Put the `app` server behind a load balancer with a web ACL of its owners'."""
    scene = scenes.build(session)
    balancer = load_balancer(session, scene, scene.app_id)
    office = session.client("wafv2").create_ip_set(
        Name="office", Scope="REGIONAL", IPAddressVersion="IPV4", Addresses=["203.0.113.0/24"]
    )["Summary"]["ARN"]
    rule = {
        "Name": "office",
        "Priority": 5,
        "Action": {"Allow": {}},
        "Statement": {"IPSetReferenceStatement": {"ARN": office}},
        "VisibilityConfig": VISIBILITY,
    }
    acl = web_acl(session, rule)
    session.client("wafv2").associate_web_acl(WebACLArn=acl["ARN"], ResourceArn=balancer)
    return resource(Kind.INSTANCE, scene.app_id)


def build_routed(session: Session) -> Subject:
    """Route the `web` server through a firewall, and leave no room in its ACL."""
    scene = scenes.build(session)
    ec2 = session.client("ec2")
    endpoint = firewall(session, scene)
    attackers = {"DestinationCidrBlock": "198.51.100.0/24"}
    ec2.create_route(RouteTableId=scene.route_table_id, **attackers, VpcEndpointId=endpoint)
    fill_acls(session, resource(Kind.INSTANCE, scene.web_id))
    return resource(Kind.INSTANCE, scene.web_id)


def firewall(session: Session, scene: scenes.Scene) -> str:
    """Put a firewall with a rule group of its owners' into the public subnet: its endpoint."""
    client = session.client("network-firewall")
    rule = {
        "Action": "DROP",
        "Header": {
            "Protocol": "IP",
            "Source": "192.0.2.200/32",
            "SourcePort": "ANY",
            "Direction": "ANY",
            "Destination": "ANY",
            "DestinationPort": "ANY",
        },
        "RuleOptions": [{"Keyword": "sid", "Settings": ["1"]}],
    }
    known = client.create_rule_group(
        RuleGroupName="known",
        Type="STATEFUL",
        Capacity=10,
        RuleGroup={"RulesSource": {"StatefulRules": [rule]}},
    )["RuleGroupResponse"]["RuleGroupArn"]
    policy = client.create_firewall_policy(
        FirewallPolicyName="edge",
        FirewallPolicy={
            "StatelessDefaultActions": ["aws:forward_to_sfe"],
            "StatelessFragmentDefaultActions": ["aws:forward_to_sfe"],
            "StatefulRuleGroupReferences": [{"ResourceArn": known}],
        },
    )["FirewallPolicyResponse"]["FirewallPolicyArn"]
    client.create_firewall(
        FirewallName="edge",
        FirewallPolicyArn=policy,
        VpcId=scene.vpc_id,
        SubnetMappings=[{"SubnetId": scene.public_subnet_id}],
    )
    states = client.describe_firewall(FirewallName="edge")["FirewallStatus"]["SyncStates"]
    (state,) = states.values()
    return str(state["Attachment"]["EndpointId"])


def swap_acl(session: Session, subject: Subject) -> None:
    """Let one of the subnets have the ACL of the other."""
    ec2 = session.client("ec2")
    one, other = _acls(ec2, subject)
    (found,) = ec2.describe_network_acls(NetworkAclIds=[one])["NetworkAcls"]
    association = found["Associations"][0]["NetworkAclAssociationId"]
    ec2.replace_network_acl_association(AssociationId=association, NetworkAclId=other)


def fill_acls(session: Session, subject: Subject) -> None:
    """Let each ACL have as many rules as it takes, of both families and in both directions."""
    ec2 = session.client("ec2")
    for acl in _acls(ec2, subject):
        for block in ({"CidrBlock": "192.0.2.0/24"}, {"Ipv6CidrBlock": "2001:db8::/64"}):
            for egress in (False, True):
                with suppress(ClientError):
                    for number in count(1000 if "CidrBlock" in block else 2000):
                        ec2.create_network_acl_entry(
                            NetworkAclId=acl,
                            RuleNumber=number,
                            Egress=egress,
                            Protocol="-1",
                            RuleAction="allow",
                            **block,
                        )


def _acls(ec2: Any, subject: Subject) -> list[str]:
    interfaces = ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance_id(subject)]}]
    )["NetworkInterfaces"]
    subnets = [interface["SubnetId"] for interface in interfaces]
    found = ec2.describe_network_acls(
        Filters=[{"Name": "association.subnet-id", "Values": subnets}]
    )["NetworkAcls"]
    return sorted(acl["NetworkAclId"] for acl in found)


DRILL = Drill(
    stages={
        "acl": Stage(
            build=build_direct,
            params={"addresses": ATTACKERS},
            change=swap_acl,
            remove=terminate,
            fill=fill_acls,
        ),
        "waf": Stage(
            build=build_behind,
            params={"addresses": ATTACKERS, "egress": False},
            limits={
                "CreateIPSet": "WAFLimitsExceededException",
                "UpdateIPSet": "WAFLimitsExceededException",
                "UpdateWebACL": "WAFLimitsExceededException",
            },
            remove=terminate,
            kept={"wafv2/*/lock_token": "each change brings another one"},
        ),
        "firewall": Stage(
            build=build_routed,
            params={"addresses": ATTACKERS},
            limits={
                "CreateRuleGroup": "LimitExceededException",
                "UpdateRuleGroup": "LimitExceededException",
                "UpdateFirewallPolicy": "LimitExceededException",
            },
            remove=terminate,
            kept={
                "network-firewall/*/Token": "each change brings another one",
                "+network-firewall/*/flushes/*": "flows that were dropped are gone",
            },
        ),
    }
)
