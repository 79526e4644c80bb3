import json
from collections.abc import Callable
from typing import Any

from firedoor.lab import findings
from firedoor.lab.scene import Scene
from firedoor.lab.server import EmulatedAws

Stock = Callable[..., Any]


def _messages(stock: Stock, scene: Scene) -> list[dict[str, Any]]:
    answer = stock("sqs").receive_message(QueueUrl=scene.queue_url, MaxNumberOfMessages=10)
    return [json.loads(m["Body"]) for m in answer.get("Messages", [])]


def _entry(source: str) -> dict[str, str]:
    return {"Source": source, "DetailType": "GuardDuty Finding", "Detail": json.dumps({"a": 1})}


def test_customer_cannot_speak_for_aws(stock: Stock, scene: Scene) -> None:
    answer = stock("events").put_events(Entries=[_entry("aws.guardduty"), _entry("com.example")])

    assert (
        answer["FailedEntryCount"],
        [e.get("ErrorCode") for e in answer["Entries"]],
        _messages(stock, scene),
    ) == (1, ["NotAuthorizedForSourceException", None], [])


def test_own_event_comes_in_a_whole_envelope(stock: Stock, scene: Scene) -> None:
    events = stock("events")
    events.put_rule(Name="own", EventPattern=json.dumps({"source": ["com.example"]}))
    events.put_targets(Rule="own", Targets=[{"Id": "queue", "Arn": scene.queue_arn}])

    events.put_events(Entries=[_entry("com.example")])

    (message,) = _messages(stock, scene)
    assert message.keys() == {
        "version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"
    }  # fmt: skip


def test_disabled_rule_sends_nothing(lab: EmulatedAws, stock: Stock, scene: Scene) -> None:
    stock("events").disable_rule(Name="guardduty-findings")

    lab.control("POST", "firedoor/findings", findings.ssh_brute_force(scene))

    assert _messages(stock, scene) == []
