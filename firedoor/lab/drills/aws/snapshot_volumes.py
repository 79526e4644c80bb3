"""A server with two volumes, whose snapshots stay here or go to a forensic account."""

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.drills.scenes import terminate
from firedoor.lab.server import REGION
from firedoor.model.finding import Kind, Subject

FORENSIC = "210987654321"


def build(session: Session) -> Subject:
    """Take the `web` server."""
    return resource(Kind.INSTANCE, scenes.build(session).web_id)


def build_forensic(session: Session) -> Subject:
    """Have a key to share with, and a forensic account with a key of its own."""
    subject = build(session)
    given = session.client("sts").assume_role(
        RoleArn=f"arn:aws:iam::{FORENSIC}:role/firedoor", RoleSessionName="drill"
    )["Credentials"]
    there = Session(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], region_name=REGION
    )
    for kms, alias in (
        (session.client("kms"), "alias/sharing"),
        (there.client("kms"), "alias/evidence"),
    ):
        key = kms.create_key()["KeyMetadata"]["KeyId"]
        kms.create_alias(AliasName=alias, TargetKeyId=key)
    return subject


DRILL = Drill(
    stages={
        "here": Stage(
            build=build, remove=terminate, limits={"CreateSnapshots": "SnapshotLimitExceeded"}
        ),
        "forensic": Stage(
            build=build_forensic,
            remove=terminate,
            limits={"CopySnapshot": "ResourceLimitExceeded"},
            settings={
                "AWS_ROLE": "firedoor",
                "FORENSIC_ACCOUNT": FORENSIC,
                "FORENSIC_KEY": "alias/evidence",
                "SHARING_KEY": "alias/sharing",
                "SNAPSHOT_LOCK": "governance",
            },
        ),
    }
)
