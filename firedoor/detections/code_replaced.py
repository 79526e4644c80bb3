"""Somebody replaced code of a function, who had not done so before."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, azure, gcp, says
from firedoor.detections._examples import CHANGE, DAY, TIME, call
from firedoor.model.finding import Side

UPDATE: Final = {
    **CHANGE, "service": "lambda.amazonaws.com", "operation": "UpdateFunctionCode20150331v2",
}  # fmt: skip

DETECTION = Detection(
    title="Code is replaced by somebody new",
    description=(
        "A principal replaced the code of a function, or had it load a layer, and had not done so"
        " in the two weeks before. Deployments come from few principals, again and again."
    ),
    type="Behavior:IAMUser/CodeReplaced",
    severity=4,
    techniques=("T1648", "T1525"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    history=timedelta(days=14),
    sql=_calls.newcomers(
        any_of(
            aws("UpdateFunctionCode20150331v2", "UpdateFunctionCode20141111"),
            all_of(aws("UpdateFunctionConfiguration20150331v2"), says('"layers":["')),
            azure("microsoft.web/sites/functions/write", "microsoft.web/sites/publish/action"),
            gcp("cloudfunctionsservice.updatefunction", "functionservice.updatefunction"),
        )
    ),
    summary="{actor} called {operation} of {what}, of which the logs have none before",
    examples=(
        Example("a first change", {"api_activity": (UPDATE,)}, matches=1),
        Example(
            "a layer",
            call("UpdateFunctionConfiguration20150331v2", '{"layers":["arn:aws:lambda:l"]}'),
            matches=1,
        ),
        Example(
            "who deploys each week",
            {"api_activity": (UPDATE, {**UPDATE, "time": TIME - 7 * DAY})},
            matches=0,
        ),
        Example(
            "more memory",
            call("UpdateFunctionConfiguration20150331v2", '{"memorySize":512}'),
            matches=0,
        ),
    ),
)
