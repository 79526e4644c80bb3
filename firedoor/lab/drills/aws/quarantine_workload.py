"""A pod under a policy engine, and a task and a service behind a load balancer."""

import base64
import json
import ssl
from typing import Any
from urllib.request import Request, urlopen

from boto3 import Session

from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.server import ACCOUNT
from firedoor.model.finding import Kind, Resource, Subject

ROLE = f"arn:aws:iam::{ACCOUNT}:role/shop"
SHOP = "/api/v1/namespaces/shop"
SETS = "/apis/apps/v1/namespaces"
RULES = {"ec2/*/groups/*_rules/*/id": "the rules of security groups get other ids"}
# All that the emulated API looks at: for whom a request to STS was signed, it does not ask.
TOKEN = b"https://sts.amazonaws.com/?Action=GetCallerIdentity&X-Amz-SignedHeaders=host;x-k8s-aws-id"


def build_pod(session: Session) -> Subject:
    """Run two pods of a web server on a node, with Calico to enforce policies."""
    session.client("eks").create_cluster(
        name="prod",
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/cluster",
        resourcesVpcConfig={"subnetIds": []},
    )
    _make(session, "/api/v1/nodes", "node-1", {"providerID": "aws:///us-east-1a/i-0aaa"})
    _make(session, f"{SHOP}/serviceaccounts", "web")
    _make(session, f"{SHOP}/services", "web", {"selector": {"app": "web"}})
    engine = {"template": {"spec": {"containers": [{"name": "calico-node"}]}}}
    _make(session, f"{SETS}/kube-system/daemonsets", "calico-node", engine)
    labels = {"app": "web", "hash": "1"}
    pod = {"containers": [{"name": "web"}], "serviceAccountName": "web"}
    template = {"metadata": {"labels": {**labels, "team": "shop"}}, "spec": pod}
    web = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    _make(session, f"{SETS}/shop/replicasets", "web", web)
    name = _ask(session, "GET", f"{SHOP}/pods")["items"][0]["metadata"]["name"]
    return resource(Kind.WORKLOAD, f"prod/shop/pods/{name}")


def build_task(session: Session) -> Subject:
    """Run a task of a service on a network interface of its own."""
    (task,) = _run(session, 1)
    return resource(Kind.WORKLOAD, task)


def build_service(session: Session) -> Subject:
    """Run a service of two tasks, which have one security group together."""
    task, _ = _run(session, 2)
    return resource(
        Kind.WORKLOAD, task.replace(":task/", ":service/").rpartition("/")[0] + "/orders"
    )


def _run(session: Session, number: int) -> list[str]:
    """Run a service, and return the ARNs of its tasks."""
    ec2, ecs, elbv2 = (session.client(name) for name in ("ec2", "ecs", "elbv2"))
    vpc = ec2.create_vpc(CidrBlock="198.51.100.0/24")["Vpc"]["VpcId"]
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})  # or moto fails
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="198.51.100.0/26")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="orders", Description="orders", VpcId=vpc)[
        "GroupId"
    ]
    ranges = [{"CidrIp": "203.0.113.0/24", "Description": "office"}, {"CidrIp": "192.0.2.0/24"}]
    web = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": ranges}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[web])
    targets = elbv2.create_target_group(
        Name="orders", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="ip"
    )["TargetGroups"][0]["TargetGroupArn"]
    ecs.create_cluster(clusterName="prod")
    ecs.register_task_definition(
        family="orders",
        networkMode="awsvpc",
        taskRoleArn=ROLE,
        containerDefinitions=[{"name": "app", "image": "app:1", "memory": 64}],
    )
    common: dict[str, Any] = {
        "cluster": "prod",
        "taskDefinition": "orders",
        "launchType": "FARGATE",
        "networkConfiguration": {
            "awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}
        },
    }
    balanced = {"targetGroupArn": targets, "containerName": "app", "containerPort": 80}
    ecs.create_service(**common, serviceName="orders", desiredCount=0, loadBalancers=[balanced])
    tasks = []
    for _ in range(number):
        task = ecs.run_task(**common, group="service:orders")["tasks"][0]
        details = {d["name"]: d["value"] for d in task["attachments"][0]["details"]}
        interface = details["networkInterfaceId"]
        ec2.modify_network_interface_attribute(NetworkInterfaceId=interface, Groups=[group])
        described = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])
        address = described["NetworkInterfaces"][0]["PrivateIpAddress"]
        elbv2.register_targets(TargetGroupArn=targets, Targets=[{"Id": address, "Port": 80}])
        tasks.append(str(task["taskArn"]))
    return tasks


def relabel(session: Session, subject: Subject) -> None:
    """Give the pod another label of its owner's."""
    pod = _pod(subject)
    _ask(session, "PATCH", f"{SHOP}/pods/{pod}", {"metadata": {"labels": {"hash": "2"}}})


def delete_pod(session: Session, subject: Subject) -> None:
    """Delete the pod; another takes its place."""
    _ask(session, "DELETE", f"{SHOP}/pods/{_pod(subject)}")


def stop_task(session: Session, subject: Subject) -> None:
    """Stop the task."""
    assert isinstance(subject, Resource)  # noqa: S101
    session.client("ecs").stop_task(cluster="prod", task=subject.id)


def stop_all(session: Session, _: Subject) -> None:
    """Stop all tasks."""
    ecs = session.client("ecs")
    for task in ecs.list_tasks(cluster="prod")["taskArns"]:
        ecs.stop_task(cluster="prod", task=task)


def _pod(subject: Subject) -> str:
    assert isinstance(subject, Resource)  # noqa: S101
    return subject.id.rpartition("/")[2]


def _make(session: Session, path: str, name: str, spec: dict[str, Any] | None = None) -> None:
    _ask(session, "POST", path, {"metadata": {"name": name}, "spec": spec or {}})


def _ask(session: Session, method: str, path: str, body: Any = None) -> Any:
    cluster = session.client("eks").describe_cluster(name="prod")["cluster"]
    authority = base64.b64decode(cluster["certificateAuthority"]["data"]).decode()
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    request = Request(  # noqa: S310
        cluster["endpoint"] + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"Bearer k8s-aws-v1.{base64.urlsafe_b64encode(TOKEN).decode()}",
            "Content-Type": kind,
        },
        method=method,
    )
    with urlopen(request, context=ssl.create_default_context(cadata=authority)) as answer:  # noqa: S310
        return json.load(answer)


DRILL = Drill(
    stages={
        "pod": Stage(
            build=build_pod,
            change=relabel,
            remove=delete_pod,
            kept={
                "eks/*/kubernetes/version": "each change counts",
                "eks/*/metadata/resourceVersion": "each change counts",
            },
        ),
        "task": Stage(
            build=build_task,
            remove=stop_task,
            kept=RULES,
        ),
        "service": Stage(build=build_service, remove=stop_all, kept=RULES),
    }
)
