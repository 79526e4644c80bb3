"""What the emulator's own handlers take and answer is what AWS's service models have.

That is so in every test beside this one, as `conftest.py` compares each answer. Here each action
runs through its drills, which makes all the calls that it makes in an account.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.validate import ParamValidator

from activities.aws import _contended, _network, _trail, _untracked, revoke_credentials
from firedoor.action import Action
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws
from firedoor.discovery import find
from firedoor.errors import FiredoorError
from firedoor.lab.drills import Drill, Stage
from firedoor.lab.server import REGION
from firedoor.model.plan import LATER, Call, Plan, Target
from firedoor.settings import settings

TRIES = 16

STAGES = {
    f"{id} {name}".strip(): (find("activities", Action)[id], stage)
    for id, drill in find("firedoor.lab.drills", Drill).items()
    for name, stage in drill.stages.items()
}


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for nothing, and have one region only."""
    monkeypatch.setattr(_contended, "PAUSE", 0)
    monkeypatch.setattr(_network, "SETTLE", 0)
    monkeypatch.setattr(_trail, "PAUSE", 0.0)
    monkeypatch.setattr(_untracked, "PAUSES", (0, 0))
    monkeypatch.setattr(revoke_credentials, "SETTLE", ())
    mapped = cloud._mapped

    def with_one_region(client: Any) -> Any:
        client.meta.events.register("before-call.ec2.DescribeRegions", _one_region)
        return mapped(client)

    monkeypatch.setattr(cloud, "_mapped", with_one_region)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("name", STAGES)
def test_actions_plan_what_the_sdk_takes_and_are_answered_as_by_aws(
    aws: Aws, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    action, stage = STAGES[name]
    for setting, value in stage.settings.items():
        monkeypatch.setenv(f"FIREDOOR_{setting}", value)
    settings.cache_clear()

    plans = _planned(action, stage)
    for plan in plans:
        _persist(partial(action.apply, plan, aws))
        if action.verify:
            _persist(partial(action.verify, plan, aws))
    for plan in reversed(plans):
        if action.revert:
            _persist(partial(action.revert, plan, aws))
    settings.cache_clear()

    calls = [call for plan in plans for call in (*plan.calls, *plan.undo)]
    assert [wrong for call in calls for wrong in _wrong(call)] == []


def test_every_handler_of_our_own_is_asked(handlers: dict[tuple[str, str], str]) -> None:
    root = Path(__file__).parents[2]
    files = (*root.glob("tests/lab/*.py"), *root.glob("activities/aws/*.py"))
    text = "\n".join(file.read_text() for file in files)
    named = text.replace("_", "").lower()  # by a client or by its paginator

    assert [name for (_, operation), name in handlers.items() if operation not in named] == []


def test_what_aws_does_not_know_does_not_go_unseen(
    aws: Aws, strangers: Callable[[str, str, Any], list[str]]
) -> None:
    answer = {"accessEntry": {"principalArn": 1, "color": "red"}}

    found = strangers("eks", "CreateAccessEntryResponse", answer)

    assert found == [
        "CreateAccessEntryResponse.accessEntry.principalArn is 1",
        "CreateAccessEntryResponse.accessEntry.color is unknown",
    ]


def _planned(action: Action, stage: Stage) -> tuple[Plan, ...]:
    session = boto3.Session()
    subject = stage.build(session)
    given = stage.params(session) if callable(stage.params) else stage.params
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
    target = Target(subject=subject, incident="incident/1", step="step", at=at, spared=stage.spared)
    params = action.params.model_validate(dict(given))
    return action.plan(target, params, cloud.connect(subject.account, subject.region))


def _persist(attempt: Callable[[], Any]) -> None:
    """Try as Temporal does."""
    for left in reversed(range(TRIES)):
        try:
            attempt()
        except FiredoorError as error:
            if not error.retryable or not left:
                raise
        else:
            return


def _wrong(call: Call) -> Iterator[str]:
    """Yield what the SDK would not take of a planned call, but for what only a later one tells."""
    if call.service == "kubernetes":
        return
    models = botocore.session.get_session()
    operation = models.get_service_model(call.service).operation_model(call.operation)
    report = ParamValidator().validate(call.parameters, operation.input_shape).generate_report()
    for line in report.splitlines():
        if LATER not in line:
            yield f"{call.service}:{call.operation}: {line}"


def _one_region(**_: Any) -> Any:
    return AWSResponse("", 200, {}, None), {"Regions": [{"RegionName": REGION}]}
