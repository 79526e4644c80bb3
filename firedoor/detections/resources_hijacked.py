"""Somebody asked for what is dear, who had not done so before."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, says
from firedoor.detections._examples import CHANGE, DAY, TIME, call
from firedoor.model.finding import Side

FAMILIES: Final = ("p2", "p3", "p3dn", "p4d", "p4de", "p5", "g4dn", "g4ad", "g5", "g6", "trn1")
DEAR: Final = says(*(f'"instanceType":"{family}.' for family in FAMILIES))
RUN: Final = {**CHANGE, "operation": "RunInstances", "request": '{"instanceType":"p3.2xlarge"}'}

DETECTION = Detection(
    title="Dear machines are asked for by somebody new",
    description=(
        "A principal started machines with graphics processors, a region that was off, or the use"
        " of models, or tried to, and had not done so in the two weeks before. What is stolen is"
        " computing time: the bill tells it weeks later."
    ),
    type="Impact:IAMUser/ResourcesHijacked",
    severity=6,
    techniques=("T1496", "T1578.002", "T1535"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    history=timedelta(days=14),
    sql=_calls.newcomers(
        any_of(
            all_of(aws("RunInstances", "RequestSpotInstances", "CreateFleet"), DEAR),
            aws(
                "EnableRegion",
                "PutFoundationModelEntitlement",
                "PutUseCaseForModelAccess",
                "CreateFoundationModelAgreement",
            ),
        ),
        # Who has no right, or no quota, tries.
        outcome="status IS NOT NULL",
    ),
    summary="{actor} called {operation} of {what}, of which the logs have none before",
    examples=(
        Example("graphics processors", {"api_activity": (RUN,)}, matches=1),
        Example(
            "graphics processors, in vain",
            {"api_activity": ({**RUN, "status": "Failure", "denied": True},)},
            matches=1,
        ),
        Example("a region", call("EnableRegion", '{"RegionName":"ap-east-1"}'), matches=1),
        Example("a small machine", call("RunInstances", '{"instanceType":"t3.micro"}'), 0),
        Example(
            "who trains each week",
            {"api_activity": (RUN, {**RUN, "time": TIME - 7 * DAY})},
            matches=0,
        ),
    ),
)
