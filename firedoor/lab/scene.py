"""A small account where incidents can happen: two servers, a user, a bucket, an alarm line."""

import json
from typing import Any

import boto3

from firedoor.lab.server import ACCOUNT
from firedoor.model.base import Model

IMAGE = "ami-0abcdef1234567890"
BUCKET = "example-reports"


class Scene(Model):
    """What was built, by id."""

    account: str
    region: str
    vpc_id: str
    internet_gateway_id: str
    route_table_id: str
    public_subnet_id: str
    private_subnet_id: str
    public_acl_id: str
    private_acl_id: str
    default_group_id: str
    web_group_id: str
    app_group_id: str
    web_id: str
    web_interface_id: str
    web_address: str
    web_public_address: str
    web_volume_ids: tuple[str, ...]
    app_id: str
    app_interface_ids: tuple[str, ...]
    app_address: str
    app_addresses: tuple[str, ...]
    role_name: str
    role_arn: str
    role_id: str
    profile_name: str
    profile_arn: str
    profile_id: str
    app_role_name: str
    app_role_arn: str
    app_role_id: str
    app_profile_name: str
    app_profile_arn: str
    app_profile_id: str
    user_name: str
    user_arn: str
    user_id: str
    access_key_id: str
    secret_access_key: str
    bucket: str
    bucket_arn: str
    detector_id: str
    queue_url: str
    queue_arn: str
    dead_queue_url: str
    dead_queue_arn: str
    rule_arn: str


def build(session: boto3.Session) -> Scene:
    """Build the scene in the session's account and region, which should be empty of it."""
    network = _network(session.client("ec2"))
    identities = _identities(session.client("iam"))
    servers = _servers(session.client("ec2"), network, identities)
    return Scene(
        account=ACCOUNT,
        region=session.region_name,
        **network,
        **identities,
        **servers,
        **_bucket(session.client("s3")),
        **_alarm_line(session.client("sqs"), session.client("events"), session.client("guardduty")),
    )


def _network(ec2: Any) -> dict[str, Any]:
    vpc_id = ec2.create_vpc(
        CidrBlock="10.20.0.0/16", AmazonProvidedIpv6CidrBlock=True, **_named("vpc", "firedoor-demo")
    )["Vpc"]["VpcId"]
    gateway_id = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc_id)
    public, private = (
        ec2.create_subnet(
            VpcId=vpc_id, CidrBlock=block, AvailabilityZone="us-east-1a", **_named("subnet", name)
        )["Subnet"]["SubnetId"]
        for name, block in (("public", "10.20.1.0/24"), ("private", "10.20.2.0/24"))
    )
    ec2.modify_subnet_attribute(SubnetId=public, MapPublicIpOnLaunch={"Value": True})
    table_id = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table_id, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway_id)
    ec2.associate_route_table(RouteTableId=table_id, SubnetId=public)
    groups = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [vpc_id]}])
    return {
        "vpc_id": vpc_id,
        "internet_gateway_id": gateway_id,
        "route_table_id": table_id,
        "public_subnet_id": public,
        "private_subnet_id": private,
        "public_acl_id": _acl(ec2, vpc_id, public, "public"),
        "private_acl_id": _acl(ec2, vpc_id, private, "private"),
        "default_group_id": groups["SecurityGroups"][0]["GroupId"],
        "web_group_id": _group(ec2, vpc_id, "web", 443),
        "app_group_id": _group(ec2, vpc_id, "app", 8080),
    }


def _acl(ec2: Any, vpc_id: str, subnet_id: str, name: str) -> str:
    acl_id = str(
        ec2.create_network_acl(VpcId=vpc_id, **_named("network-acl", name))["NetworkAcl"][
            "NetworkAclId"
        ]
    )
    everybody = {"Protocol": "-1", "RuleAction": "allow", "NetworkAclId": acl_id}
    for egress in (False, True):
        ec2.create_network_acl_entry(
            RuleNumber=100, CidrBlock="0.0.0.0/0", Egress=egress, **everybody
        )
        ec2.create_network_acl_entry(
            RuleNumber=101, Ipv6CidrBlock="::/0", Egress=egress, **everybody
        )
    associated = ec2.describe_network_acls(
        Filters=[{"Name": "association.subnet-id", "Values": [subnet_id]}]
    )["NetworkAcls"][0]["Associations"]
    (association_id,) = (
        a["NetworkAclAssociationId"] for a in associated if a["SubnetId"] == subnet_id
    )
    ec2.replace_network_acl_association(AssociationId=association_id, NetworkAclId=acl_id)
    return acl_id


def _group(ec2: Any, vpc_id: str, name: str, port: int) -> str:
    group_id = str(
        ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc_id)["GroupId"]
    )
    ec2.authorize_security_group_ingress(
        GroupId=group_id,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": port,
                "ToPort": port,
                "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
            }
        ],
    )
    return group_id


def _identities(iam: Any) -> dict[str, Any]:
    reports = {"Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    secrets = {"Action": "secretsmanager:GetSecretValue", "Resource": "*"}
    web = _server_role(iam, "firedoor-demo-web", "read-reports", reports)
    app = _server_role(iam, "firedoor-demo-app", "read-secrets", secrets)
    user = iam.create_user(UserName="alice")["User"]
    look = _policy({"Action": ["ec2:Describe*", "s3:*"], "Resource": "*"})
    iam.put_user_policy(UserName="alice", PolicyName="operator", PolicyDocument=look)
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    return {
        **web,
        **{f"app_{name}": value for name, value in app.items()},
        "user_name": "alice",
        "user_arn": user["Arn"],
        "user_id": user["UserId"],
        "access_key_id": key["AccessKeyId"],
        "secret_access_key": key["SecretAccessKey"],
    }


def _server_role(
    iam: Any, name: str, policy_name: str, statement: dict[str, Any]
) -> dict[str, str]:
    trust = _policy({"Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]
    iam.put_role_policy(RoleName=name, PolicyName=policy_name, PolicyDocument=_policy(statement))
    profile = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return {
        "role_name": name,
        "role_arn": role["Arn"],
        "role_id": role["RoleId"],
        "profile_name": name,
        "profile_arn": profile["Arn"],
        "profile_id": profile["InstanceProfileId"],
    }


def _servers(ec2: Any, network: dict[str, str], identities: dict[str, str]) -> dict[str, Any]:
    volume = {"VolumeSize": 8, "VolumeType": "gp3", "DeleteOnTermination": True}
    common = {"ImageId": IMAGE, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1}
    web = ec2.run_instances(
        **common,
        SubnetId=network["public_subnet_id"],
        SecurityGroupIds=[network["web_group_id"]],
        IamInstanceProfile={"Name": identities["profile_name"]},
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": volume},
            {"DeviceName": "/dev/xvdb", "Ebs": volume},
        ],
        **_named("instance", "web"),
    )["Instances"][0]
    app = ec2.run_instances(
        **common,
        IamInstanceProfile={"Name": identities["app_profile_name"]},
        NetworkInterfaces=[
            {"DeviceIndex": index, "SubnetId": network[subnet], "Groups": [network["app_group_id"]]}
            for index, subnet in enumerate(("private_subnet_id", "public_subnet_id"))
        ],
        **_named("instance", "app"),
    )["Instances"][0]
    described = ec2.describe_instances(InstanceIds=[web["InstanceId"], app["InstanceId"]])
    by_id = {i["InstanceId"]: i for r in described["Reservations"] for i in r["Instances"]}
    web, app = by_id[web["InstanceId"]], by_id[app["InstanceId"]]
    return {
        "web_id": web["InstanceId"],
        "web_interface_id": web["NetworkInterfaces"][0]["NetworkInterfaceId"],
        "web_address": web["PrivateIpAddress"],
        "web_public_address": web["PublicIpAddress"],
        "web_volume_ids": tuple(m["Ebs"]["VolumeId"] for m in web["BlockDeviceMappings"]),
        "app_id": app["InstanceId"],
        "app_interface_ids": tuple(i["NetworkInterfaceId"] for i in app["NetworkInterfaces"]),
        "app_address": app["PrivateIpAddress"],
        "app_addresses": tuple(i["PrivateIpAddress"] for i in app["NetworkInterfaces"]),
    }


def _bucket(s3: Any) -> dict[str, Any]:
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="2026/q1.csv", Body=b"region,revenue\nnorth,1200\n")
    return {"bucket": BUCKET, "bucket_arn": f"arn:aws:s3:::{BUCKET}"}


def _alarm_line(sqs: Any, events: Any, guardduty: Any) -> dict[str, Any]:
    dead_url, dead_arn = _queue(sqs, "firedoor-findings-dead", {})
    redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "5"})
    url, arn = _queue(sqs, "firedoor-findings", {"RedrivePolicy": redrive})
    pattern = {"source": ["aws.guardduty"], "detail-type": ["GuardDuty Finding"]}
    rule = events.put_rule(Name="guardduty-findings", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="guardduty-findings", Targets=[{"Id": "queue", "Arn": arn}])
    return {
        "detector_id": guardduty.create_detector(Enable=True)["DetectorId"],
        "queue_url": url,
        "queue_arn": arn,
        "dead_queue_url": dead_url,
        "dead_queue_arn": dead_arn,
        "rule_arn": rule["RuleArn"],
    }


def _queue(sqs: Any, name: str, attributes: dict[str, str]) -> tuple[str, str]:
    url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, answer["Attributes"]["QueueArn"]


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"TagSpecifications": [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]}


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})
