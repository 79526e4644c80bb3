"""Who feels it when an instance is cut off, and what goes on all the same."""

from collections.abc import Iterable
from typing import Any

from activities.aws import _network
from activities.aws._network import Remarks
from firedoor.cloud.aws import Aws
from firedoor.model.plan import Check

NOT_FILTERED = Check(
    name="cuts DNS and instance metadata",
    ok=False,
    detail="security groups do not filter queries to the VPC's resolver or to instance metadata: "
    "names still resolve, so DNS can still carry data out",
)


def scaling(instance: dict[str, Any], aws: Aws) -> Remarks:
    """Name the Auto Scaling group that replaces what does not answer."""
    members = aws.pages(
        "autoscaling",
        "DescribeAutoScalingInstances",
        "AutoScalingInstances",
        InstanceIds=[instance["InstanceId"]],
    )
    return Remarks(
        blast_radius=tuple(
            f"Auto Scaling group {member['AutoScalingGroupName']} will find it unhealthy, terminate"
            " it with what it holds, and start another from the same image"
            for member in members
        ),
        preflight=tuple(
            Check(
                name="stays alive in its Auto Scaling group",
                ok=False,
                detail=f"{member['AutoScalingGroupName']} ({member['LifecycleState']}): set it to "
                "standby first, or its disks may be gone before anybody looks",
            )
            for member in members
        ),
    )


def serving(interfaces: list[dict[str, Any]], aws: Aws) -> Remarks:
    """Name the target groups that send traffic to the interfaces."""
    return Remarks(
        blast_radius=tuple(
            f"Target group {group['TargetGroupName']} loses this target"
            for group, _ in _network.target_groups(aws, interfaces, _network.MOST_TARGET_GROUPS)
        )
    )


def live(interfaces: list[dict[str, Any]], aws: Aws) -> Remarks:
    """Say that open connections go on, and which gateways make all of them tracked."""
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html
    vpcs = {interface["VpcId"] for interface in interfaces}
    tables = _network.by_filter(aws, "DescribeRouteTables", "vpc-id", vpcs)
    hops = sorted({hop for i in interfaces for hop in _tracking_hops(i, tables)})
    detail = (
        "connections that are open and tracked now go on until they fall idle, for 5 days unless"
        " the interface sets less; to cut one at once, block its remote address in the network ACL"
    )
    if hops:
        detail += f". Whatever goes through {', '.join(hops)} is always tracked"
    return Remarks(preflight=(Check(name="cuts live connections", ok=False, detail=detail),))


def credentials(instance: dict[str, Any]) -> tuple[str, ...]:
    """Say which credentials the instance was handed."""
    profile = instance.get("IamInstanceProfile")
    if not profile:
        return ()
    return (
        f"Credentials that it took from {profile['Arn']} stay valid elsewhere: revoke the role's"
        " sessions too",
    )


def _tracking_hops(interface: dict[str, Any], tables: list[dict[str, Any]]) -> Iterable[str]:
    subnet, vpc = interface["SubnetId"], interface["VpcId"]
    own = [t for t in tables if any(a.get("SubnetId") == subnet for a in t["Associations"])]
    main = [
        t for t in tables if t["VpcId"] == vpc and any(a.get("Main") for a in t["Associations"])
    ]
    for table in own or main:
        for route in table["Routes"]:
            for member in ("NatGatewayId", "EgressOnlyInternetGatewayId", "TransitGatewayId"):
                if hop := route.get(member):
                    yield hop
            if (route.get("GatewayId") or "").startswith("vpce-"):
                yield route["GatewayId"]
