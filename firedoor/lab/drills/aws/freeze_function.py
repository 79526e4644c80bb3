"""A function that is reserved, provisioned, polled and open to the web."""

import io
import zipfile

from boto3 import Session

from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.server import ACCOUNT, REGION
from firedoor.model.finding import Kind, Subject

NAME = "thumbnails"
OWN = {"FunctionName": NAME}


def build(session: Session) -> Subject:
    """Build the function with all that can start it."""
    functions = session.client("lambda")
    role = session.client("iam").create_role(RoleName=NAME, AssumeRolePolicyDocument="{}")["Role"][
        "Arn"
    ]
    functions.create_function(
        **OWN, Runtime="python3.12", Role=role, Handler="main.handler", Code={"ZipFile": _code()}
    )
    functions.put_function_concurrency(**OWN, ReservedConcurrentExecutions=50)
    functions.create_function_url_config(**OWN, AuthType="NONE")
    functions.publish_version(**OWN)
    functions.create_alias(**OWN, Name="live", FunctionVersion="1")
    functions.put_provisioned_concurrency_config(
        **OWN, Qualifier="live", ProvisionedConcurrentExecutions=5
    )
    for name in ("uploads", "retries"):
        session.client("sqs").create_queue(QueueName=name)
        functions.create_event_source_mapping(
            **OWN, EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        )
    for _ in range(2):
        functions.list_event_source_mappings()  # lets what is turning come to rest
    return resource(Kind.FUNCTION, NAME)


def change(session: Session, _: Subject) -> None:
    """Reserve otherwise."""
    session.client("lambda").put_function_concurrency(**OWN, ReservedConcurrentExecutions=7)


def remove(session: Session, _: Subject) -> None:
    """Delete it."""
    session.client("lambda").delete_function(**OWN)


def _code() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("main.py"), "def handler(event, context): ...\n")
    return packed.getvalue()


DRILL = Drill(
    stages={
        "": Stage(
            build=build,
            change=change,
            remove=remove,
            limits={"PutFunctionConcurrency": "LimitExceededException"},
            kept={"lambda/*/last_modified": "it says when somebody changed it last"},
        )
    }
)
