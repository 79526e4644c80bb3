"""A server with an agent, whose memory goes into a bucket with Object Lock."""

import hashlib

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.drills.scenes import terminate
from firedoor.model.finding import Kind, Subject

BUCKET = "example-memory"
MEMORY = b"what was in memory"


def build(session: Session) -> Subject:
    """Let an agent answer on the `web` server, whose command prints what it stored."""
    scene = scenes.build(session)
    session.client("iam").attach_role_policy(
        RoleName=scene.role_name, PolicyArn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
    )
    session.client("s3").create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
    said = f"firedoor-memory sha256={hashlib.sha256(MEMORY).hexdigest()} size={len(MEMORY)}"
    session.client("ec2").create_tags(
        Resources=[scene.web_id], Tags=[{"Key": "lab:stdout", "Value": said}]
    )
    return resource(Kind.INSTANCE, scene.web_id)


DRILL = Drill(
    stages={
        "": Stage(
            build=build,
            remove=terminate,
            settings={
                "MEMORY": f"s3://{BUCKET}/kept/",
                "MEMORY_TOOL": "s3://example-tools/avml",
                "MEMORY_TOOL_SHA256": "0" * 64,
            },
        )
    }
)
