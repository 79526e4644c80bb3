"""A server about which all is read that can be."""

from boto3 import Session

from firedoor.lab import scene as scenes
from firedoor.lab.drills import Drill, Stage, resource
from firedoor.model.finding import Kind, Subject


def build(session: Session) -> Subject:
    """Take the `web` server."""
    return resource(Kind.INSTANCE, scenes.build(session).web_id)


DRILL = Drill(stages={"": Stage(build=build)})
