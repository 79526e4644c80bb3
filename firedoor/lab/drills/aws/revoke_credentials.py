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


def replace_key(session: Session, _: Subject) -> None:
    """Let the user have another key instead of one that is there."""
    iam = session.client("iam")
    key = iam.list_access_keys(**ALICE)["AccessKeyMetadata"][0]["AccessKeyId"]
    iam.delete_access_key(**ALICE, AccessKeyId=key)
    iam.create_access_key(**ALICE)


def trust_somebody(session: Session, _: Subject) -> None:
    """Let another account into the role."""
    there = {"AWS": "arn:aws:iam::210987654321:root"}
    statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": there}
    session.client("iam").update_assume_role_policy(
        **ROLE, PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )


def delete_user(session: Session, _: Subject) -> None:
    """Delete the user with all credentials; one kind of them moto cannot delete."""
    iam = session.client("iam")
    for key in iam.list_access_keys(**ALICE)["AccessKeyMetadata"]:
        iam.delete_access_key(**ALICE, AccessKeyId=key["AccessKeyId"])
    for one in iam.list_ssh_public_keys(**ALICE)["SSHPublicKeys"]:
        iam.delete_ssh_public_key(**ALICE, SSHPublicKeyId=one["SSHPublicKeyId"])
    for name in iam.list_user_policies(**ALICE)["PolicyNames"]:
        iam.delete_user_policy(**ALICE, PolicyName=name)
    iam.delete_user(**ALICE)


def delete_role(session: Session, _: Subject) -> None:
    """Delete the role."""
    iam = session.client("iam")
    iam.remove_role_from_instance_profile(**ROLE, InstanceProfileName=ROLE["RoleName"])
    for name in iam.list_role_policies(**ROLE)["PolicyNames"]:
        iam.delete_role_policy(**ROLE, PolicyName=name)
    iam.delete_role(**ROLE)


DRILL = Drill(
    stages={
        "user": Stage(
            build=build_user,
            change=replace_key,
            remove=delete_user,
            limits={"PutUserPolicy": "LimitExceeded"},
        ),
        "role": Stage(
            build=build_role,
            params={"narrow_trust": True},
            change=trust_somebody,
            remove=delete_role,
            limits={"PutRolePolicy": "LimitExceeded", "UpdateAssumeRolePolicy": "LimitExceeded"},
        ),
        "instance": Stage(build=build_instance, limits={"PutRolePolicy": "LimitExceeded"}),
    }
)
