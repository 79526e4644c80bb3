from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

Stock = Callable[..., Any]


@pytest.fixture
def ecs(stock: Stock) -> Any:
    client = stock("ecs")
    client.create_cluster(clusterName="prod")
    client.register_task_definition(
        family="app", containerDefinitions=[{"name": "app", "image": "app:1", "memory": 64}]
    )
    return client


def _run(ecs: Any, **options: Any) -> str:
    network: dict[str, Any] = {"awsvpcConfiguration": {"subnets": []}}
    started = ecs.run_task(
        cluster="prod",
        taskDefinition="app",
        launchType="FARGATE",
        networkConfiguration=network,
        **options,
    )
    return str(started["tasks"][0]["taskArn"])


def test_a_task_of_a_service_is_protected_for_a_time(ecs: Any) -> None:
    arn = _run(ecs, group="service:app")

    ecs.update_task_protection(
        cluster="prod", tasks=[arn], protectionEnabled=True, expiresInMinutes=60
    )

    (found,) = ecs.get_task_protection(cluster="prod", tasks=[arn])["protectedTasks"]
    left = found["expirationDate"] - datetime.now(UTC)
    assert found["protectionEnabled"] is True
    assert timedelta(minutes=58) < left <= timedelta(minutes=60)


def test_protection_is_taken_back(ecs: Any) -> None:
    arn = _run(ecs, group="service:app")
    ecs.update_task_protection(cluster="prod", tasks=[arn], protectionEnabled=True)

    ecs.update_task_protection(cluster="prod", tasks=[arn], protectionEnabled=False)

    (found,) = ecs.get_task_protection(cluster="prod", tasks=[arn])["protectedTasks"]
    assert (found["protectionEnabled"], "expirationDate" in found) == (False, False)


def test_what_no_service_runs_or_what_is_not_there_fails_in_the_answer(ecs: Any) -> None:
    alone = _run(ecs)

    answer = ecs.update_task_protection(
        cluster="prod", tasks=[alone, "none"], protectionEnabled=True
    )

    assert answer["protectedTasks"] == []
    assert [one["reason"] for one in answer["failures"]] == ["MISSING", "TASK_NOT_VALID"]


def test_a_task_runs_until_it_is_stopped(ecs: Any) -> None:
    arn = _run(ecs)

    seen = [ecs.describe_tasks(cluster="prod", tasks=[arn])["tasks"][0] for _ in range(3)]
    ecs.stop_task(cluster="prod", task=arn)
    stopped = ecs.describe_tasks(cluster="prod", tasks=[arn])["tasks"][0]

    assert {task["lastStatus"] for task in seen} == {"RUNNING"}
    assert stopped["lastStatus"] != "RUNNING"


def test_tasks_of_a_service_are_listed_while_they_run(ecs: Any) -> None:
    ecs.create_service(
        cluster="prod",
        serviceName="app",
        taskDefinition="app",
        desiredCount=0,
    )
    own, ended = (_run(ecs, group="service:app") for _ in range(2))
    alone = _run(ecs)
    ecs.stop_task(cluster="prod", task=ended)

    listed = ecs.list_tasks(cluster="prod", serviceName="app")["taskArns"]

    assert listed == [own]
    assert alone in ecs.list_tasks(cluster="prod")["taskArns"]
    with pytest.raises(ecs.exceptions.ServiceNotFoundException):
        ecs.list_tasks(cluster="prod", serviceName="none")
