"""A database that the whole world can reach."""

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.drills.scenes import QUARANTINE
from firedoor.model.finding import Kind, Subject

NAME = "orders"
OWN = {"DBInstanceIdentifier": NAME}
KEPT = {
    **QUARANTINE,
    "+rds/*/database_snapshots/*": "the snapshot is evidence, and stays",
    "rds/*/apply_immediately": "moto keeps what the last call said",
    "rds/*/databases/*/status": "a change comes to its end by itself",
    "secretsmanager/*": "the password stays rotated",
}


def build(session: Session) -> Subject:
    """Build it in both private zones."""
    scene = scenes.build(session)
    rds = session.client("rds")
    second = session.client("ec2").create_subnet(
        VpcId=scene.vpc_id, CidrBlock="10.20.9.0/24", AvailabilityZone="us-east-1b"
    )
    rds.create_db_subnet_group(
        DBSubnetGroupName="data",
        DBSubnetGroupDescription="-",
        SubnetIds=[scene.private_subnet_id, second["Subnet"]["SubnetId"]],
    )
    rds.create_db_instance(
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


def change(session: Session, _: Subject) -> None:
    """Protect it from deletion."""
    session.client("rds").modify_db_instance(
        **OWN, PubliclyAccessible=False, DeletionProtection=True, ApplyImmediately=True
    )


def remove(session: Session, _: Subject) -> None:
    """Delete it."""
    session.client("rds").delete_db_instance(**OWN, SkipFinalSnapshot=True)


DRILL = Drill(stages={"": Stage(build=build, change=change, remove=remove, kept=KEPT)})
