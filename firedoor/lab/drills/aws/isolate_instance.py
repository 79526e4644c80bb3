"""A server with everything that isolation has parts for, and one with two network interfaces."""

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.drills.scenes import QUARANTINE, elastic_address, instance_id, terminate
from firedoor.model.finding import Kind, Subject

PEERS = ("198.51.100.7", "2001:db8:ffff::7")
KEPT = {
    **QUARANTINE,
    "ec2/*/addresses/*/association_id": "the Elastic IP address is associated anew",
    "+ec2/*/connection_tracking_configuration/*": "that nothing was ever set cannot be set",
}

LIMITS = {
    "CreateSecurityGroup": "SecurityGroupLimitExceeded",
    "CreateNetworkAclEntry": "NetworkAclEntryLimitExceeded",
    "CreateTags": "TagLimitExceeded",
}


def build_web(session: Session) -> Subject:
    """Put the `web` server into a fleet, behind two balancers, with an address that stays."""
    scene = scenes.build(session)
    ec2 = session.client("ec2")
    elastic_address(ec2, scene.web_interface_id)
    scaling = session.client("autoscaling")
    fleet = {"AutoScalingGroupName": "fleet"}
    scaling.create_auto_scaling_group(
        **fleet,
        InstanceId=scene.web_id,
        VPCZoneIdentifier=scene.public_subnet_id,
        MinSize=0,
        MaxSize=4,
    )
    scaling.attach_instances(**fleet, InstanceIds=[scene.web_id])
    scaling.update_auto_scaling_group(**fleet, MinSize=0)
    balancing = session.client("elbv2")
    group = balancing.create_target_group(
        Name="relay", Protocol="TCP", Port=80, VpcId=scene.vpc_id, TargetType="instance"
    )["TargetGroups"][0]["TargetGroupArn"]
    balancing.register_targets(TargetGroupArn=group, Targets=[{"Id": scene.web_id, "Port": 80}])
    classic = session.client("elb")
    classic.create_load_balancer(
        LoadBalancerName="old",
        Listeners=[{"Protocol": "tcp", "LoadBalancerPort": 80, "InstancePort": 80}],
        AvailabilityZones=["us-east-1a"],
    )
    classic.register_instances_with_load_balancer(
        LoadBalancerName="old", Instances=[{"InstanceId": scene.web_id}]
    )
    timeouts = {"TcpEstablishedTimeout": 600, "UdpStreamTimeout": 120, "UdpTimeout": 45}
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=scene.web_interface_id, ConnectionTrackingSpecification=timeouts
    )
    return resource(Kind.INSTANCE, scene.web_id)


def build_app(session: Session) -> Subject:
    """Take the `app` server, which has an interface in each subnet."""
    return resource(Kind.INSTANCE, scenes.build(session).app_id)


def change(session: Session, subject: Subject) -> None:
    """Move its first interface to another security group."""
    ec2 = session.client("ec2")
    found = ec2.describe_network_interfaces(
        Filters=[{"Name": "attachment.instance-id", "Values": [instance_id(subject)]}]
    )["NetworkInterfaces"][0]
    made = ec2.create_security_group(GroupName="new", Description="new", VpcId=found["VpcId"])
    ec2.modify_network_interface_attribute(
        NetworkInterfaceId=found["NetworkInterfaceId"], Groups=[made["GroupId"]]
    )


DRILL = Drill(
    stages={
        "web": Stage(
            build=build_web,
            params={"addresses": PEERS, "untrack_for": "0s"},
            change=change,
            remove=terminate,
            limits=LIMITS,
            kept=KEPT,
        ),
        "app": Stage(
            build=build_app,
            # All the rest stands on the other stage.
            params={
                "untrack_for": "0s",
                "idle_timeouts": False,
                "metadata_off": False,
                "protect": False,
            },
            change=change,
            remove=terminate,
            part="ModifyNetworkInterfaceAttribute",
            kept=QUARANTINE,
        ),
    }
)
