"""A database that the whole world can reach, and a cluster with a Data API."""

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.drills.scenes import QUARANTINE
from firedoor.model.finding import Kind, Subject

NAME = "orders"
OWN = {"DBInstanceIdentifier": NAME}
CLUSTER, AURORA = "ledger", "aurora-postgresql"
KEPT = {
    **QUARANTINE,
    "+rds/*/database_snapshots/*": "the snapshot is evidence, and stays",
    "+rds/*/cluster_snapshots/*": "the snapshot is evidence, and stays",
    "rds/*/apply_immediately": "moto keeps what the last call said",
    "rds/*/rotate_master_user_password": "moto keeps what the last call said",
    "rds/*/clusters/*/_status": "a change comes to its end by itself",
    "rds/*/databases/*/status": "a change comes to its end by itself",
    "secretsmanager/*/secrets/rds!*": "the password stays rotated",
}

LIMITS = {
    "CreateDBSnapshot": "SnapshotQuotaExceeded",
    "CreateSecurityGroup": "SecurityGroupLimitExceeded",
}


def build_instance(session: Session) -> Subject:
    """Build an instance."""
    scene = _network(session)
    session.client("rds").create_db_instance(
        **OWN,
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="owner",
        ManageMasterUserPassword=True,
        DBSubnetGroupName="data",
        VpcSecurityGroupIds=[scene.app_group_id, scene.web_group_id],
        PubliclyAccessible=True,
    )
    return resource(Kind.DATABASE, NAME)


def build_cluster(session: Session) -> Subject:
    """Build a cluster of two instances, one of which is public."""
    scene = _network(session)
    rds = session.client("rds")
    cluster = rds.create_db_cluster(
        DBClusterIdentifier=CLUSTER,
        Engine=AURORA,
        MasterUsername="owner",
        ManageMasterUserPassword=True,
        DBSubnetGroupName="data",
        VpcSecurityGroupIds=[scene.app_group_id],
    )["DBCluster"]
    for number, public in enumerate((True, False)):
        rds.create_db_instance(
            DBInstanceIdentifier=f"{CLUSTER}-{number}",
            DBInstanceClass="db.r6g.large",
            Engine=AURORA,
            DBClusterIdentifier=CLUSTER,
            PubliclyAccessible=public,
        )
    rds.enable_http_endpoint(ResourceArn=cluster["DBClusterArn"])
    return resource(Kind.DATABASE, CLUSTER)


def change(session: Session, _: Subject) -> None:
    """Put it into other security groups."""
    rds, ec2 = session.client("rds"), session.client("ec2")
    (found,) = rds.describe_db_instances(**OWN)["DBInstances"]
    made = ec2.create_security_group(
        GroupName="new", Description="new", VpcId=found["DBSubnetGroup"]["VpcId"]
    )
    rds.modify_db_instance(**OWN, VpcSecurityGroupIds=[made["GroupId"]], ApplyImmediately=True)
    for _look in range(2):
        rds.describe_db_instances(**OWN)  # lets what is under way come to rest


def remove(session: Session, _: Subject) -> None:
    """Delete it, protected or not."""
    rds = session.client("rds")
    for _look in range(2):
        rds.describe_db_instances(**OWN)  # lets what is under way come to rest
    rds.modify_db_instance(**OWN, DeletionProtection=False, ApplyImmediately=True)
    rds.delete_db_instance(**OWN, SkipFinalSnapshot=True)


def _network(session: Session) -> scenes.Scene:
    """Have subnets for databases in two zones."""
    scene = scenes.build(session)
    second = session.client("ec2").create_subnet(
        VpcId=scene.vpc_id, CidrBlock="10.20.9.0/24", AvailabilityZone="us-east-1b"
    )
    session.client("rds").create_db_subnet_group(
        DBSubnetGroupName="data",
        DBSubnetGroupDescription="-",
        SubnetIds=[scene.private_subnet_id, second["Subnet"]["SubnetId"]],
    )
    return scene


DRILL = Drill(
    stages={
        "instance": Stage(
            build=build_instance, change=change, remove=remove, limits=LIMITS, kept=KEPT
        ),
        "cluster": Stage(build=build_cluster, kept=KEPT),
    }
)
