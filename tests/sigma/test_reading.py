"""A folder of Sigma rules is read whole: what cannot be used is refused, and nothing else is."""

from pathlib import Path

import pytest

from firedoor.errors import BadInput
from firedoor.sigma.reading import read

RULE = """
title: Trail deleted
id: 4db60cc0-36fb-42b7-9b58-a5b53019fb74
description: Somebody deleted a trail.
tags: [attack.defense-evasion, attack.t1562.008, attack.T1562.008, cve.2026-1]
logsource: {product: aws, service: cloudtrail}
detection:
    selection: {eventSource: cloudtrail.amazonaws.com, eventName: DeleteTrail}
    condition: selection
level: high
"""


def changed(old: str, new: str) -> str:
    assert old in RULE
    return RULE.replace(old, new)


def test_rule_is_converted(tmp_path: Path) -> None:
    (tmp_path / "trail.yml").write_text(RULE)

    [rule] = read(tmp_path).rules

    assert (rule.id, rule.title, rule.file) == (
        "4db60cc0-36fb-42b7-9b58-a5b53019fb74", "Trail deleted", "trail.yml",
    )  # fmt: skip
    assert (rule.severity, rule.purpose) == (8, "DefenseEvasion")
    assert rule.techniques == ("T1562.008",)
    assert rule.description == "Somebody deleted a trail."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (changed("eventName:", "eventName|shouts:"), "Unknown modifier 'shouts'"),
        (changed("service: cloudtrail", "service: s3"), "no log source of ours reads product aws,"),
        (changed("product: aws, service: cloudtrail", "product: okta, service: okta"),
         "no log source of ours reads product okta, service okta;"),
        (changed("condition: selection", "condition: selection | count() > 5"), "pipe syntax"),
        (changed("condition: selection", "condition: 1 of other*"), "names no detection"),
        (changed("condition: selection", "condition: other"), "'other' not defined"),
        (changed("condition: selection", "condition: selection and"), "Expected"),
        (changed("eventName: DeleteTrail", "a|re: '(?=x)'"), "DuckDB cannot evaluate it: "),
        (changed("eventName: DeleteTrail", "a|re: '('"), "Regular expression '(' is invalid"),
        (changed("eventName: DeleteTrail", "a|cidr: 192.0.2.1/24"), "Invalid CIDR expression"),
        (changed("eventName: DeleteTrail", "a|expand: '%them%'"), "%them% stands for nothing here"),
        (changed("eventName: DeleteTrail", 'a: "\\ud800"'), "cannot encode str as UTF-8"),
        (changed("level: high", "level: loud"), "is not a valid Sigma rule level"),
        (changed("logsource:", "sources:"), "must have a log source"),
        (changed("detection:", "detections:"), "must have a detection"),
        (changed("title: Trail deleted", "action: x"), "Unknown Sigma collection action"),
        ("title: [unclosed", "expected YAML: "),
        ("- a\n- b", "expected a rule, a mapping"),
        ("detection: [1, 2]\nlogsource: 7", "logsource must be a valid"),
        ("\x00", "expected YAML: "),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_reason(
    text: str, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "bad.yaml").write_text(text)
    (tmp_path / "good.yml").write_text(RULE.replace("4db6", "5db6"))

    found = read(tmp_path)

    assert [rule.file for rule in found.rules] == ["good.yml"]
    [refused] = found.refused
    assert refused.file == "below/bad.yaml"
    assert reason in refused.reason
    assert "\n" not in str(refused)


def test_documents_of_a_file_are_read_one_by_one(tmp_path: Path) -> None:
    documents = [RULE, "title: Nothing", RULE.replace("4db6", "5db6"), "", "[]"]
    (tmp_path / "all.yml").write_text("\n---\n".join(documents))

    found = read(tmp_path / "all.yml")

    assert [rule.file for rule in found.rules] == ["all.yml"] * 2
    assert [refused.title for refused in found.refused] == ["Nothing", ""]


def test_global_document_is_part_of_those_after_it(tmp_path: Path) -> None:
    head, _, rest = RULE.partition("detection:")
    (tmp_path / "all.yml").write_text(f"action: global\n{head}\n---\ndetection:{rest}")

    [rule] = read(tmp_path).rules

    assert rule.title == "Trail deleted"


def test_second_rule_with_an_id_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE)
    (tmp_path / "b.yml").write_text(RULE)

    [refused] = read(tmp_path).refused

    assert (refused.file, refused.reason) == ("b.yml", "its id is that of another rule, in a.yml")


def test_rule_without_id_is_known_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(changed("id: 4db60cc0-36fb-42b7-9b58-a5b53019fb74\n", ""))

    assert [rule.id for rule in read(tmp_path).rules] == ["a"]


def test_placeholder_stands_for_what_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        changed("eventName: DeleteTrail", "eventName|expand: '%deleting%'")
    )

    [rule] = read(tmp_path, {"deleting": ["DeleteTrail", "StopLogging"]}).rules

    assert "'deletetrail'" in rule.needed
    assert "'stoplogging'" in rule.needed


def test_correlation_is_refused_and_what_only_counts_for_it(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(changed("id: 4", "name: deleted\nid: 4"))
    (tmp_path / "b.yml").write_text("""
title: Many deleted
correlation: {type: event_count, rules: [deleted], timespan: 1h, condition: {gte: 10}}
""")

    found = read(tmp_path)

    assert found.rules == ()
    assert sorted(refused.reason for refused in found.refused) == [
        "correlations (event_count) are not evaluated",
        "it only counts for the correlation 'Many deleted', which is not evaluated",
    ]


def test_filter_narrows_rules(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(RULE)
    (tmp_path / "filter.yml").write_text("""
title: Not in tests
logsource: {product: aws, service: cloudtrail}
filter:
    rules: [4db60cc0-36fb-42b7-9b58-a5b53019fb74]
    selection: {awsRegion: eu-test-1}
    condition: not selection
""")

    [rule] = read(tmp_path).rules

    assert " and (not " in rule.sigma.detection.condition[0]


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a file or a folder"):
        read(tmp_path / "nowhere")


def test_every_shared_rule_is_converted_or_refused_on_purpose(shared: Path) -> None:
    found = read(shared / "sigma-cloud-rules")

    assert len(found.rules) + len(found.refused) == 145
    meant = ("no log source of ours reads", "the placeholder ")
    assert [str(one) for one in found.refused if not one.reason.startswith(meant)] == []
    assert len(found.rules) == 116
