"""Web requests that are not as most are."""

import io
import json
from typing import Any

import pytest

from firedoor.lake.objects import Reading
from firedoor.log_source import Parsed, Place

REQUEST: dict[str, Any] = {
    "timestamp": 1767323045678,
    "webaclId": "arn:aws:wafv2:us-east-1:123456789012:global/webacl/edge/0a1b",
    "terminatingRuleId": "Default_Action",
    "action": "ALLOW",
    "httpRequest": {"clientIp": "192.0.2.1", "uri": "/"},
}


def read(*records: dict[str, Any]) -> Parsed:
    """Return what an object of records holds."""
    content = "".join(f"{json.dumps(record)}\n" for record in records).encode()
    [parsed] = Reading(io.BytesIO(content), Place("waf.jsonl"))
    return parsed


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ({"timestamp": "then"}, "timestamp: expected a time, not then"),
        ({"action": "PONDER"},
         "action: expected one of ALLOW, BLOCK, CAPTCHA, CHALLENGE, COUNT, EXCLUDED_AS_COUNT, "
         "not PONDER"),
        ({"httpRequest": "GET"}, "Expected `object`, got `str` - at `$.httpRequest`"),
    ],
)  # fmt: skip
def test_damaged_request_is_refused_alone(odd: dict[str, Any], reason: str) -> None:
    parsed = read(REQUEST, REQUEST | odd)

    assert [(one.number, one.reason) for one in parsed.refused] == [(2, reason)]
    assert parsed.tables["http_activity"].num_rows == 1


def test_address_that_is_none_is_null() -> None:
    [row] = read(REQUEST | {"httpRequest": {"clientIp": "x"}}).tables["http_activity"].to_pylist()

    assert (row["src_ip"], row["src_key"], row["account"]) == (None, None, "123456789012")


def test_counting_rule_does_not_hide_who_decided() -> None:
    counted = {"nonTerminatingMatchingRules": [{"ruleId": "counting", "action": "COUNT"}]}
    rows = read(
        REQUEST | counted,
        REQUEST | counted | {"terminatingRuleId": "allow-office"},
        REQUEST | counted | {"terminatingRuleId": "deny", "action": "BLOCK"},
    ).tables["http_activity"]

    assert list(zip(rows["action"].to_pylist(), rows["rule"].to_pylist(), strict=True)) == [
        ("Observed", "counting"),
        ("Allowed", "allow-office"),
        ("Denied", "deny"),
    ]
