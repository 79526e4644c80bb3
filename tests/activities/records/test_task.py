from typing import Any

import pytest
from pydantic import ValidationError

from activities.records import task
from firedoor.model.action import Nature
from firedoor.model.finding import Kind
from firedoor.model.plan import Plan, Target
from firedoor.testing import NOW, instance


def _plan(**params: Any) -> Plan:
    target = Target(subject=instance(), incident="aws/1", step="portal", at=NOW)
    (plan,) = task.plan(target, task.Params(**params), None)
    return plan


def test_the_instruction_names_its_subject() -> None:
    plan = _plan(what="End all portal sessions.", how="In the console; done when none is listed.")

    assert plan.summary == (
        "End all portal sessions (instance i-0aaaaaaaaaaaaaaaa in aws 123456789012 us-east-1)."
        " In the console; done when none is listed."
    )


def test_nothing_is_called_and_nothing_is_taken_back() -> None:
    plan = _plan(what="Call the owner")

    receipt = task.apply(plan, None)

    assert (plan.calls, plan.undo, plan.changes, plan.refusals) == ((), (), (), ())
    assert (receipt.plan_digest, receipt.calls) == (plan.digest, ())


def test_each_step_has_a_lease_of_its_own() -> None:
    assert _plan(what="Call the owner").lease == "aws/1/portal"


@pytest.mark.parametrize("params", [{}, {"what": ""}, {"what": "  "}, {"what": "x", "who": "y"}])
def test_a_task_without_an_instruction_is_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        task.Params(**params)


def test_a_task_is_for_every_kind_of_subject() -> None:
    assert (task.ACTION.kinds, task.ACTION.nature) == (frozenset(Kind), Nature.TASK)
