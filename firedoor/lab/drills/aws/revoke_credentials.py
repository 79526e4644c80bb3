"""A user with one credential of each kind, a role whose trust is wide, and the role of a server."""

import json

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, principal, resource
from firedoor.lab.server import ACCOUNT
from firedoor.model.finding import Kind, PrincipalType, Subject

ALICE = {"UserName": "alice"}
ROLE = {"RoleName": "firedoor-demo-web"}
MFA = f"arn:aws:iam::{ACCOUNT}:mfa/phone"


def build_user(session: Session) -> Subject:
    """Give the user a second key, and a credential of each other kind."""
    scenes.build(session)
    iam = session.client("iam")
    iam.create_access_key(**ALICE)
    iam.create_service_specific_credential(**ALICE, ServiceName="codecommit.amazonaws.com")
    iam.upload_ssh_public_key(**ALICE, SSHPublicKeyBody="ssh-rsa AAAA alice")
    return principal(PrincipalType.USER, "alice")


def build_role(session: Session) -> Subject:
    """Take the role of the `web` server."""
    scenes.build(session)
    return principal(PrincipalType.ROLE, ROLE["RoleName"])


def build_instance(session: Session) -> Subject:
    """Take the `web` server itself."""
    return resource(Kind.INSTANCE, scenes.build(session).web_id)


def turn_off_a_key(session: Session, _: Subject) -> None:
    """Turn one of the user's keys off."""
    iam = session.client("iam")
    key = iam.list_access_keys(**ALICE)["AccessKeyMetadata"][0]["AccessKeyId"]
    iam.update_access_key(**ALICE, AccessKeyId=key, Status="Inactive")


def delete_user(session: Session, _: Subject) -> None:
    """Delete the user with all credentials; one kind of them moto cannot delete."""
    iam = session.client("iam")
    for key in iam.list_access_keys(**ALICE)["AccessKeyMetadata"]:
        iam.delete_access_key(**ALICE, AccessKeyId=key["AccessKeyId"])
    for one in iam.list_ssh_public_keys(**ALICE)["SSHPublicKeys"]:
        iam.delete_ssh_public_key(**ALICE, SSHPublicKeyId=one["SSHPublicKeyId"])
    iam.delete_user_policy(**ALICE, PolicyName="operator")
    iam.delete_user(**ALICE)


def delete_role(session: Session, _: Subject) -> None:
    """Delete the role."""
    iam = session.client("iam")
    iam.remove_role_from_instance_profile(**ROLE, InstanceProfileName=ROLE["RoleName"])
    iam.delete_role_policy(**ROLE, PolicyName="read-reports")
    iam.delete_role(**ROLE)


def fill_user(session: Session, _: Subject) -> None:
    """Use up the 2,048 characters of inline policies that a user may have."""
    session.client("iam").put_user_policy(
        **ALICE, PolicyName="long", PolicyDocument=_long(2048 - 260)
    )


def fill_role(session: Session, _: Subject) -> None:
    """Use up the 10,240 characters of inline policies that a role may have."""
    session.client("iam").put_role_policy(
        **ROLE, PolicyName="long", PolicyDocument=_long(10240 - 260)
    )


def _long(size: int) -> str:
    statement = {"Sid": "", "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    statement["Sid"] = "x" * (size - len(json.dumps(document)))
    return json.dumps(document)


DRILL = Drill(
    stages={
        "user": Stage(
            build=build_user, change=turn_off_a_key, remove=delete_user, fill=fill_user
        ),
        "role": Stage(
            build=build_role, params={"narrow_trust": True}, remove=delete_role, fill=fill_role
        ),
        "instance": Stage(build=build_instance),
    }
)
