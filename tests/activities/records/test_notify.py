"""Telling people, as a step of a runbook."""

from structlog.testing import capture_logs

from activities.records import notify
from activities.records.notify import Params, apply
from firedoor.model.plan import Plan, Target
from firedoor.testing import NOW, instance

ABOUT = "incident/1: instance i-0aaaaaaaaaaaaaaaa in aws 123456789012 us-east-1"


def planned(message: str = "") -> Plan:
    target = Target(subject=instance(), incident="incident/1", step="tell", at=NOW)
    (plan,) = notify.plan(target, Params(message=message), None)
    return plan


def test_log_is_told_all_of_it() -> None:
    plan = planned("Call the owner.")

    with capture_logs() as lines:
        receipt = apply(plan, None)

    (line,) = lines
    assert {key: value for key, value in line.items() if key != "log_level"} == {
        "event": "incident.notified",
        "id": plan.digest,
        "text": f"{ABOUT}: Call the owner.",
        "incident": "incident/1",
        "step": "tell",
        "subject": "aws/123456789012/us-east-1/instance/i-0aaaaaaaaaaaaaaaa",
        "summary": "Tell people about instance i-0aaaaaaaaaaaaaaaa.",
    }
    assert receipt.created == {"log": "incident.notified"}


def test_repeat_says_the_same_under_the_same_id() -> None:
    plan = planned()

    with capture_logs() as lines:
        apply(plan, None), apply(plan, None)

    assert lines[0] == lines[1]


def test_plan_calls_nothing_and_has_the_text_for_the_channels() -> None:
    plan = planned("Call the owner.")

    assert plan.calls == ()
    assert plan.params == {"message": f"{ABOUT}: Call the owner."}
