"""What several drills build."""

from typing import Any

from boto3 import Session

from firedoor.lab.scene import Scene
from firedoor.model.finding import Resource, Subject

QUARANTINE = {
    "+ec2/*/groups/*/sg-*": "the quarantine group stays, for whatever comes next",
    "+ec2/*/tags/sg-*/firedoor:purpose": "and so does its tag",
}

VISIBILITY = {
    "SampledRequestsEnabled": True,
    "CloudWatchMetricsEnabled": False,
    "MetricName": "shop",
}


def instance_id(subject: Subject) -> str:
    """Return the id of a subject that is an instance."""
    assert isinstance(subject, Resource)  # noqa: S101
    return subject.id


def terminate(session: Session, subject: Subject) -> None:
    """Terminate an instance; its network interfaces go with it, which moto leaves."""
    ec2 = session.client("ec2")
    id = instance_id(subject)
    attached = [{"Name": "attachment.instance-id", "Values": [id]}]
    interfaces = ec2.describe_network_interfaces(Filters=attached)["NetworkInterfaces"]
    ec2.modify_instance_attribute(InstanceId=id, DisableApiTermination={"Value": False})
    ec2.terminate_instances(InstanceIds=[id])
    for interface in interfaces:
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])


def elastic_address(ec2: Any, interface: str) -> str:
    """Give a network interface an address that stays, and return its allocation."""
    allocated = str(ec2.allocate_address(Domain="vpc")["AllocationId"])
    ec2.associate_address(AllocationId=allocated, NetworkInterfaceId=interface)
    return allocated


def web_acl(session: Session, *rules: dict[str, Any]) -> dict[str, Any]:
    """Make a web ACL, and return its summary."""
    made: dict[str, Any] = session.client("wafv2").create_web_acl(
        Name="shop",
        Scope="REGIONAL",
        Description="the shop's",
        DefaultAction={"Allow": {}},
        VisibilityConfig=VISIBILITY,
        Rules=list(rules),
        TokenDomains=["example.com"],
    )["Summary"]
    return made


def load_balancer(session: Session, scene: Scene, instance: str) -> str:
    """Put an application load balancer before an instance, and return its ARN."""
    balancing = session.client("elbv2")
    zone = session.client("ec2").create_subnet(
        VpcId=scene.vpc_id, CidrBlock="10.20.9.0/24", AvailabilityZone="us-east-1b"
    )["Subnet"]["SubnetId"]
    balancer = str(
        balancing.create_load_balancer(Name="front", Subnets=[scene.public_subnet_id, zone])[
            "LoadBalancers"
        ][0]["LoadBalancerArn"]
    )
    group = balancing.create_target_group(
        Name="shop", Protocol="HTTP", Port=80, VpcId=scene.vpc_id, TargetType="instance"
    )["TargetGroups"][0]["TargetGroupArn"]
    balancing.register_targets(TargetGroupArn=group, Targets=[{"Id": instance}])
    balancing.create_listener(
        LoadBalancerArn=balancer,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    return balancer
