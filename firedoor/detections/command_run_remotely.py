"""Somebody ran a command on a machine through the API, who had not done so before."""

from datetime import timedelta
from typing import Final

from firedoor.detection import About, Detection, Example
from firedoor.detections import _calls
from firedoor.detections._calls import all_of, any_of, aws, azure, gcp, says
from firedoor.detections._examples import CHANGE, DAY, TIME, call
from firedoor.model.finding import Side

SEND: Final = {**CHANGE, "service": "ssm.amazonaws.com", "operation": "SendCommand"}

DETECTION = Detection(
    title="A command is run on a machine through the API",
    description=(
        "A principal ran a command on a machine, opened a session or sent a key for one, or changed"
        " what it runs when it starts, and had not done so in the two weeks before. So somebody"
        " gets from the keys of an account into its machines, past every firewall."
    ),
    type="Behavior:IAMUser/RemoteCommand",
    severity=4,
    techniques=("T1651", "T1021.007", "T1037"),
    about=About.PRINCIPAL,
    side=Side.TARGET,
    window=timedelta(hours=1),
    history=timedelta(days=14),
    sql=_calls.newcomers(
        any_of(
            aws(
                "SendCommand",
                "StartSession",
                "StartAutomationExecution",
                "CreateAssociation",
                "SendSSHPublicKey",
                "SendSerialConsoleSSHPublicKey",
                "ExecuteCommand",
            ),
            all_of(aws("ModifyInstanceAttribute"), says('"userData":')),
            azure(
                "microsoft.compute/virtualmachines/runcommand/action",
                "microsoft.compute/virtualmachines/runcommands/write",
                "microsoft.compute/virtualmachinescalesets/virtualmachines/runcommand/action",
                "microsoft.compute/virtualmachines/extensions/write",
                "microsoft.compute/galleries/applications/versions/write",
                "microsoft.containerservice/managedclusters/runcommand/action",
                "microsoft.serialconsole/serialports/connect/action",
            ),
            all_of(
                gcp("compute.instances.setmetadata", "setcommoninstancemetadata"),
                any_of("request IS NULL", says("ssh-keys", "startup-script")),
            ),
        )
    ),
    summary="{actor} called {operation} of {what}, of which the logs have none before",
    examples=(
        Example("a first command", {"api_activity": (SEND,)}, matches=1),
        Example(
            "what a machine runs when it starts",
            call("ModifyInstanceAttribute", '{"instanceId":"i-1","userData":"x"}'),
            matches=1,
        ),
        Example(
            "a command on a machine of Azure",
            call(
                "MICROSOFT.COMPUTE/VIRTUALMACHINES/RUNCOMMAND/ACTION",
                cloud="azure",
                actor_type="User",
            ),
            matches=1,
        ),
        Example(
            "who does it each week",
            {"api_activity": (SEND, {**SEND, "time": TIME - 7 * DAY})},
            matches=0,
        ),
        Example("a change of size", call("ModifyInstanceAttribute", '{"instanceType":"x"}'), 0),
        Example(
            "a service of the cloud that patches",
            {"api_activity": ({**SEND, "actor_type": "AWSService"},)},
            matches=0,
        ),
    ),
)
