"""A web ACL without a limit of rates, and an account that is subscribed to Shield Advanced."""

from boto3 import Session

from firedoor.lab.drills import Drill, Params, Stage, resource
from firedoor.lab.drills.scenes import VISIBILITY, web_acl
from firedoor.lab.server import ACCOUNT
from firedoor.model.finding import GLOBAL, Kind, Subject

BALANCER = f"arn:aws:elasticloadbalancing:us-east-1:{ACCOUNT}:loadbalancer/app/web/0123456789abcdef"
SHOP = {"Name": "shop", "Scope": "REGIONAL"}


def build_rates(session: Session) -> Subject:
    """Make the web ACL."""
    web_acl(session)
    return resource(Kind.ACCOUNT, ACCOUNT, region=GLOBAL)


def rates(session: Session) -> Params:
    """Limit rates at that web ACL."""
    return {"web_acl": _acl(session)["ARN"], "mode": "block"}


def let_in(session: Session, _: Subject) -> None:
    """Turn the web ACL's default round."""
    waf = session.client("wafv2")
    found = waf.get_web_acl(**SHOP, Id=_acl(session)["Id"])
    waf.update_web_acl(
        **SHOP,
        Id=found["WebACL"]["Id"],
        DefaultAction={"Block": {}},
        VisibilityConfig=VISIBILITY,
        LockToken=found["LockToken"],
    )


def build_shield(session: Session) -> Subject:
    """Subscribe, protect a load balancer, and name somebody to be called."""
    shield = session.client("shield")
    shield.create_subscription()
    shield.create_protection(Name="web", ResourceArn=BALANCER)
    shield.associate_proactive_engagement_details(
        EmergencyContactList=[{"EmailAddress": "old@example.com"}]
    )
    shield.disable_proactive_engagement()
    return resource(Kind.ACCOUNT, ACCOUNT, region=GLOBAL)


def engagement(_: Session) -> Params:
    """Engage all that can be engaged."""
    return {
        "resources": (BALANCER,),
        "drt_role": f"arn:aws:iam::{ACCOUNT}:role/drt",
        "log_buckets": ("logs", "more-logs"),
        "contacts": ({"email": "soc@example.com", "phone": "+15550100", "notes": "day and night"},),
        "case": "support",
    }


def other_role(session: Session, _: Subject) -> None:
    """Let the response team act as another role."""
    session.client("shield").associate_drt_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/other")


def _acl(session: Session) -> dict[str, str]:
    (acl,) = session.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]
    return dict(acl)


DRILL = Drill(
    stages={
        "rates": Stage(
            build=build_rates,
            params=rates,
            change=let_in,
            limits={"UpdateWebACL": "WAFLimitsExceededException"},
            kept={"wafv2/*/lock_token": "each change brings another one"},
        ),
        "shield": Stage(
            build=build_shield,
            params=engagement,
            change=other_role,
            limits={
                "AssociateDRTLogBucket": "LimitsExceededException",
                "CreateCase": "CaseCreationLimitExceeded",
            },
            kept={"+support/*": "the case stays open until somebody resolves it"},
        ),
    }
)
