"""A server whose VPC has no rule group of ours yet."""

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.lab.drills.scenes import terminate
from firedoor.model.finding import Kind, Subject

FULL = "LimitExceededException"
LIMITS = {
    "CreateFirewallDomainList": FULL,
    "UpdateFirewallDomains": FULL,
    "CreateFirewallRuleGroup": FULL,
    "CreateFirewallRule": FULL,
    "AssociateFirewallRuleGroup": FULL,
}


def build(session: Session) -> Subject:
    """Take the `web` server."""
    return resource(Kind.INSTANCE, scenes.build(session).web_id)


DRILL = Drill(
    stages={
        "": Stage(
            build=build,
            params={"domains": ("c2.example.net", "drop.example.org")},
            remove=terminate,
            limits=LIMITS,
        )
    }
)
