"""PagerDuty, against a receiver that takes what Events API v2 takes."""

import json
from datetime import datetime
from typing import Any

import pytest

from activities.records.pagerduty import CHANNEL
from firedoor.errors import BadInput, Refused
from firedoor.model.finding import Severity
from firedoor.model.message import Occasion

KEY = "0123456789abcdef0123456789abcdef"


def event(got: Any) -> Any:
    """Return an event if it is one by PagerDuty's own description of the API."""
    body, text = got.json, json.dumps(got.json)
    payload = body["payload"]
    assert got.headers["content-type"].startswith("application/json")
    assert len(got.body) <= 512 * 1024
    assert set(body) <= {
        "routing_key", "event_action", "dedup_key", "client", "client_url", "links", "images",
        "payload",
    }  # fmt: skip
    assert set(payload) <= {
        "summary", "source", "severity", "timestamp", "component", "group", "class",
        "custom_details",
    }  # fmt: skip
    assert (body["routing_key"], body["event_action"]) == (KEY, "trigger")
    assert text.count(KEY) == 1
    assert 0 < len(body["dedup_key"]) <= 255
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["source"]
    assert payload["severity"] in {"critical", "error", "warning", "info"}
    assert datetime.fromisoformat(payload["timestamp"]).tzinfo
    assert isinstance(payload["custom_details"], dict)
    return body


@pytest.fixture
def pagerduty(use: Any, receiver: Any) -> Any:
    use(pagerduty_key=KEY, pagerduty_url=receiver.url)
    taken = {"status": "success", "message": "Event processed", "dedup_key": "theirs"}
    receiver.answers((202, json.dumps(taken).encode()))
    return receiver


def test_alert_says_all_that_matters(pagerduty: Any, message: Any, said: tuple[str, ...]) -> None:
    delivered = CHANNEL.deliver(message())

    body = event(pagerduty.only)
    assert delivered.answer == "theirs"
    assert body["payload"]["summary"] == "Decide on isolate: i-0aaaaaaaaaaaaaaaa"
    assert [text for text in said if text not in json.dumps(body)] == []


@pytest.mark.parametrize(
    ("severity", "theirs"),
    [
        (Severity.CRITICAL, "critical"),
        (Severity.HIGH, "error"),
        (Severity.MEDIUM, "warning"),
        (Severity.LOW, "info"),
        (Severity.INFORMATIONAL, "info"),
    ],
)
def test_severity_is_theirs(severity: Severity, theirs: str, pagerduty: Any, message: Any) -> None:
    CHANNEL.deliver(message(severity=severity))

    assert event(pagerduty.only)["payload"]["severity"] == theirs


def keys(pagerduty: Any) -> list[str]:
    return [event(got)["dedup_key"] for got in pagerduty.got]


def test_what_is_asked_of_one_step_is_one_alert(pagerduty: Any, message: Any) -> None:
    for id, occasion in enumerate((Occasion.ASKED, Occasion.ESCALATED, Occasion.EXPIRED)):
        CHANNEL.deliver(message(id=str(id), occasion=occasion))

    assert len(set(keys(pagerduty))) == 1


def test_alarm_is_not_lost_in_the_alert_that_asked_for_the_step(
    pagerduty: Any, message: Any
) -> None:
    CHANNEL.deliver(message())
    CHANNEL.deliver(message(occasion=Occasion.ALARM))
    CHANNEL.deliver(message(step="block"))
    CHANNEL.deliver(message(incident="incident/other"))

    assert len(set(keys(pagerduty))) == 4


def test_long_name_of_an_incident_still_makes_a_key(pagerduty: Any, message: Any) -> None:
    for step in ("a", "a", "b"):
        CHANNEL.deliver(message(incident="i" * 400, step=step))

    first, again, other = keys(pagerduty)
    assert first == again != other


def test_flood_of_text_is_cut_and_what_decides_is_not(
    pagerduty: Any, message: Any, said: tuple[str, ...]
) -> None:
    many = tuple("x" * 10_000 for _ in range(1000))

    CHANNEL.deliver(
        message(title="t" * 5000, text="y" * 10**6, plans=many, blast_radius=many, lost=many)
    )

    text = json.dumps(event(pagerduty.only))
    assert [one for one in said[4:] if one not in text] == []
    assert "981 more" in text


def test_refusal_says_why_without_the_key(pagerduty: Any, message: Any) -> None:
    problem = {"status": "invalid event", "errors": [f"'routing_key' {KEY} is\x1b unknown"]}
    pagerduty.answers((400, json.dumps(problem).encode()))

    with pytest.raises(Refused) as found:
        CHANNEL.deliver(message())

    assert str(found.value).endswith("HTTP 400: 'routing_key' … is\\u001b unknown")


@pytest.mark.parametrize("key", ["", "short", KEY + "0", KEY[:-1] + "-"])
def test_key_of_another_form_is_not_used(key: str, use: Any, pagerduty: Any) -> None:
    use(pagerduty_key=key)

    with pytest.raises(BadInput, match="FIREDOOR_PAGERDUTY_KEY"):
        CHANNEL.check()
