"""A member account of an organisation whose management account is ours."""

from boto3 import Session

from firedoor.lab.drills import Drill, Stage, resource
from firedoor.model.finding import GLOBAL, Kind, Subject

SCP = "SERVICE_CONTROL_POLICY"


def build(session: Session) -> Subject:
    """Found the organisation."""
    office = session.client("organizations")
    office.create_organization(FeatureSet="ALL")
    (root,) = office.list_roots()["Roots"]
    office.enable_policy_type(RootId=root["Id"], PolicyType=SCP)
    made = office.create_account(AccountName="shop", Email="shop@example.com")
    account = str(made["CreateAccountStatus"]["AccountId"])
    return resource(Kind.ACCOUNT, account, account=account, region=GLOBAL)


def fill(session: Session, subject: Subject) -> None:
    """Attach as many policies as an account can have: 5."""
    office = session.client("organizations")
    for number in range(4):
        policy = office.create_policy(
            Name=f"theirs-{number}",
            Type=SCP,
            Description="",
            Content='{"Version": "2012-10-17", "Statement": []}',
        )["Policy"]["PolicySummary"]["Id"]
        office.attach_policy(PolicyId=policy, TargetId=subject.account)


def leave(session: Session, subject: Subject) -> None:
    """Take the account out of the organisation."""
    session.client("organizations").remove_account_from_organization(AccountId=subject.account)


DRILL = Drill(
    stages={
        "": Stage(
            build=build,
            params={"exempt": ("arn:aws:iam::*:role/break-glass",)},
            change=leave,
            fill=fill,
            settings={"AWS_ROLE": "firedoor"},
        )
    }
)
