"""A bucket with one of everything that a lock touches."""

from boto3 import Session

from firedoor.lab.drills import Drill, Stage, resource
from firedoor.model.finding import Kind, Subject

NAME = "payroll"
OWN = {"Bucket": NAME}
# Written as nobody's serialiser would, to show that it comes back letter by letter.
THEIRS = """{"Version":"2012-10-17",  "Statement":
  {"Sid":"Partner","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::210987654321:root"},
   "Action":"s3:GetObject","Resource":"arn:aws:s3:::payroll/*"}}"""


def build(session: Session) -> Subject:
    """Build it."""
    s3 = session.client("s3")
    s3.create_bucket(**OWN)
    s3.put_object(**OWN, Key="salaries.csv", Body=b"1,2,3")
    s3.put_bucket_policy(**OWN, Policy=THEIRS)
    s3.put_public_access_block(**OWN, PublicAccessBlockConfiguration={"BlockPublicAcls": True})
    s3.put_bucket_versioning(**OWN, VersioningConfiguration={"Status": "Suspended"})
    old = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "logs/"}}
    s3.put_bucket_lifecycle_configuration(
        **OWN, LifecycleConfiguration={"Rules": [{**old, "Expiration": {"Days": 30}}]}
    )
    return resource(Kind.BUCKET, NAME)


def change(session: Session, _: Subject) -> None:
    """Give it another policy."""
    session.client("s3").put_bucket_policy(**OWN, Policy=THEIRS.replace("Partner", "Other"))


def remove(session: Session, _: Subject) -> None:
    """Empty and delete it."""
    s3 = session.client("s3")
    s3.delete_object(**OWN, Key="salaries.csv", VersionId="null")
    s3.delete_bucket(**OWN)


def fill(session: Session, _: Subject) -> None:
    """Give it the longest policy that a bucket may have: 20 KB."""
    longest = THEIRS.replace("Partner", "x" * (20 * 1024 - len(THEIRS)))
    session.client("s3").put_bucket_policy(**OWN, Policy=longest)


DRILL = Drill(stages={"": Stage(build=build, change=change, remove=remove, fill=fill)})
