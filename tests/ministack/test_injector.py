"""Throttled, cut and lost calls, by an injector that is none of ours, before two emulators."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from firedoor import errors
from firedoor.cloud import aws as cloud
from firedoor.cloud.aws import Aws, connect
from firedoor.lab.server import EmulatedAws
from firedoor.model.plan import Call, Outcome
from firedoor.settings import settings

pytestmark = pytest.mark.fetches

ACCOUNT = "123456789012"
VOLUME = Call(
    service="ec2",
    operation="CreateVolume",  # without a client token, whoever sends it twice has two
    parameters={"AvailabilityZone": "us-east-1a", "Size": 1},
)
HERE = {"service": "ec2", "operation": "CreateVolume"}


@pytest.fixture(scope="module", params=["moto", "ministack"])
def upstream(request: pytest.FixtureRequest, lab: EmulatedAws) -> str:
    """The endpoint of an emulator."""
    if request.param == "moto":
        return lab.endpoint
    endpoint: str = request.getfixturevalue("ministack")
    return endpoint


@pytest.fixture(scope="module")
def injector(upstream: str, kit: Any) -> Iterator[str]:
    """The endpoint of the injector before it."""
    port = kit.free_port()
    endpoint = f"http://127.0.0.1:{port}"
    command = ("microburst", "--upstream", upstream, "--port", str(port))
    with kit.running(kit.MICROBURST, *command, health=f"{endpoint}/_microburst/health"):
        yield endpoint


@pytest.fixture
def through(injector: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    """The product's clients, whose calls all pass the injector."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", injector)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    settings.cache_clear()
    cloud.forget()
    yield connect(ACCOUNT, "us-east-1")
    cloud.forget()


def inject(kit: Any, injector: str, **fault: Any) -> None:
    kit.ask(f"{injector}/_microburst/rules", json.dumps([{**HERE, "times": 1, **fault}]).encode())


def fail(aws: Aws) -> errors.CloudError:
    """Return the error of a call that must fail."""
    with pytest.raises(errors.CloudError) as failed, aws.only([VOLUME]):
        aws.call(VOLUME)
    return failed.value


def volumes(aws: Aws) -> int:
    return len(aws.client("ec2").describe_volumes()["Volumes"])


def test_throttled_call_is_not_made_and_not_repeated(through: Aws, injector: str, kit: Any) -> None:
    there = volumes(through)
    inject(kit, injector, error={"code": "RequestLimitExceeded", "status": 503})

    error = fail(through)

    assert (type(error), error.retryable) == (errors.Throttled, True)
    assert [made.outcome for made in error.made] == [Outcome.ERROR]
    assert volumes(through) == there


def test_call_that_is_cut_off_is_unknown_and_not_repeated(
    through: Aws, injector: str, kit: Any
) -> None:
    there = volumes(through)
    inject(kit, injector, reset=True)

    error = fail(through)

    assert (type(error), error.retryable) == (errors.Unavailable, True)
    assert [made.outcome for made in error.made] == [Outcome.UNKNOWN]
    assert volumes(through) == there


def test_call_whose_answer_is_lost_is_unknown_and_made_once(
    through: Aws, injector: str, kit: Any
) -> None:
    there = volumes(through)
    inject(kit, injector, response={"abort_bytes": 0})

    error = fail(through)

    assert (type(error), error.retryable) == (errors.Unavailable, True)
    assert [made.outcome for made in error.made] == [Outcome.UNKNOWN]
    assert volumes(through) == there + 1
