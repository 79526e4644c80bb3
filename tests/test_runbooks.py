"""Reading, checking and choosing runbooks; the ones that are shipped are in tests/runbooks."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from firedoor import document, runbooks
from firedoor.action import Action, NoParams, Permissions
from firedoor.discovery import find
from firedoor.document import Document, Problem
from firedoor.errors import BadRunbook
from firedoor.model.action import Nature
from firedoor.model.base import Model
from firedoor.model.finding import Cloud, Kind, Side
from firedoor.model.runbook import FACTS, Runbook, When, resolve
from firedoor.testing import finding, step

GOOD = """\
id: shut
title: Shut the door
when:
  types:
    - Fire:EC2/*
  kinds: [instance]
steps:
  - id: photo
    do: photograph
    on: instance
    approval: auto
  - id: close
    do: close_door
    on: instance
    needs: [photo]
    with:
      addresses: $addresses
    deadline: 10m
"""


class DoorParams(Model):
    addresses: tuple[str, ...] = ()
    width: int = 0


def action(
    nature: Nature,
    *kinds: Kind,
    params: type[Model] = NoParams,
    first: Mapping[Kind, tuple[str, ...]] | None = None,
) -> Action:
    return Action(
        nature=nature,
        kinds=frozenset(kinds or Kind),
        plan=lambda target, params, cloud: (),
        apply=lambda plan, cloud: None,  # type: ignore[return-value]
        params=params,
        permissions=Permissions(plan=()),
        evidence_first=first or {},
    )


ACTIONS = {
    "aws.close_door": action(
        Nature.CONTAINMENT,
        Kind.INSTANCE,
        params=DoorParams,
        first={Kind.INSTANCE: ("photograph",)},
    ),
    "aws.lock_window": action(
        Nature.CONTAINMENT,
        Kind.BUCKET,
        Kind.PRINCIPAL,
        Kind.WORKLOAD,
        first={Kind.BUCKET: ("photograph",), Kind.WORKLOAD: ("photograph",)},
    ),
    "aws.photograph": action(Nature.EVIDENCE, Kind.INSTANCE, Kind.BUCKET),
    "records.tell": action(Nature.RECORD),
    "records.task": action(Nature.TASK),
}


def lint(text: str, name: str = "shut.yaml") -> list[str]:
    return [str(problem) for problem in runbooks.lint(text, name, ACTIONS)]


def runbook(id: str, *types: str, **when: object) -> Runbook:
    return Runbook(
        id=id,
        title=id,
        when=When.model_validate({"types": types, **when}) if types else None,
        steps=(step("tell", "tell"),),
    )


def catalogue(*known: Runbook) -> dict[str, Runbook]:
    return {each.id: each for each in known}


# Reading


def test_a_runbook_is_read_with_its_references_and_lengths_of_time() -> None:
    close = runbooks.parse(GOOD, "shut.yaml").steps[1]

    assert close.params == {"addresses": "$addresses"}
    assert close.deadline == timedelta(minutes=10)
    assert lint(GOOD) == []


def test_on_is_the_name_of_a_member_and_not_true() -> None:
    assert runbooks.parse(GOOD, "shut.yaml").steps[0].on is Kind.INSTANCE


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "012", "1_000", "12:30", "2026-01-01"])
def test_what_yaml_1_1_makes_of_plain_words_stays_text(word: str) -> None:
    text = GOOD.replace("Shut the door", word)

    assert runbooks.parse(text, "shut.yaml").title == word


def test_a_runbook_survives_being_written_into_a_history() -> None:
    before = runbooks.parse(GOOD, "shut.yaml")

    after = Runbook.model_validate_json(before.model_dump_json())

    assert after == before
    assert after.digest == before.digest


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("title:", "titel:", "shut.yaml:2: unknown member `titel`: did you mean title?"),
        ("title: Shut the door\n", "", "shut.yaml:1: `title` is missing: add `title:`"),
        ("Shut the door", "{a: 1}", "shut.yaml:2: `title` is {'a': 1}: expected a valid string"),
        ("  kinds: [instance]", "  kinds: [instanze]", "shut.yaml:6: `when.kinds` is 'instanze'"),
        ("    - Fire:EC2/*\n", "    - Fire:EC2/*\n    - 5\n", "shut.yaml:6: `when.types` is 5"),
        ("deadline: 10m", "deadline: 600", "shut.yaml:18: step close: `deadline` is 600"),
        ("deadline: 10m", "deadline: 0m", "expected greater than 0 seconds"),
        ("deadline: 10m", "deadline: 10:00", "expected a length of time with its unit: 15m, 4h"),
        ("approval: auto", "approval: maybe", "step photo: `approval` is 'maybe': expected 'ask'"),
        ("approval: auto", "aproval: auto", "shut.yaml:11: step photo: unknown member `aproval`"),
        ("$addresses", "$adresses", "shut.yaml:16: step close: `with` is"),
        ("$addresses", "$adresses", "$adresses is not a fact that a finding states"),
        ("[photo]", "[foto]", "shut.yaml:15: step close: needs foto, which is no step at all"),
        ("[photo]", "[close]", "step close: needs close, which is not an earlier step"),
        ("id: close", "id: photo", "shut.yaml:12: step photo: step photo occurs twice"),
        ("id: close", "id: Close!", "shut.yaml:12: step Close!: `id` is 'Close!'"),
        ("  - id: close\n    do", "  - do", "shut.yaml:12: step 2: `id` is missing"),
        ("    do: photograph\n", "    do: photograph\n    do: tell\n", ":10: `do` is given twice"),
        ("[photo]", "[photo", "shut.yaml:16: expected ',' or ']'"),
        ("[photo]", "&a [photo]\n    waives: *a", "shut.yaml:16: aliases are not read here"),
        ("[photo]", "!!set {photo}", "shut.yaml:15: tags are not read here"),
        ("Shut", "Shut\x00", "shut.yaml:2: a character that cannot be printed"),
        ("title", "5", "shut.yaml:2: a name that is not text"),
        ("  types:\n    - Fire:EC2/*", "  types: Fire:EC2/*", "`when.types` is not a list"),
    ],
)
def test_a_bad_runbook_is_refused_with_line_step_and_what_mends_it(
    old: str, new: str, expected: str
) -> None:
    text = GOOD.replace(old, new, 1)

    assert text != GOOD
    assert expected in "\n".join(lint(text))
    with pytest.raises(BadRunbook):
        runbooks.parse(text, "shut.yaml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "shut.yaml:1: it is empty: write something into it"),
        ("- id: shut\n", "shut.yaml:1: it is not a mapping: write `name: value`"),
        ("---\na: 1\n---\nb: 2\n", "shut.yaml:3: but found another document"),
        ("[" * 5000, "shut.yaml:1: it is nested too deeply: make it flatter"),
    ],
)
def test_what_is_no_runbook_at_all_is_refused(text: str, expected: str) -> None:
    assert lint(text)[0].startswith(expected)


def test_an_error_names_file_line_and_step_and_every_further_problem() -> None:
    text = GOOD.replace("title:", "titel:").replace("10m", "10")

    with pytest.raises(BadRunbook) as caught:
        runbooks.parse(text, "shut.yaml")

    assert caught.value.what == "shut.yaml"
    assert caught.value.where == "line 1"
    assert [note[:13] for note in caught.value.__notes__] == ["shut.yaml:2: ", "shut.yaml:18:"]


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert runbooks.lint(text, "shut.yaml", ACTIONS)


@given(st.data())
def test_any_damage_to_a_runbook_is_read_or_refused(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(GOOD)))
    until = data.draw(st.integers(at, min(len(GOOD), at + 20)))
    damage = data.draw(st.text(alphabet="abc:- \n{}[]&*!#|>'\"%@0179.\t$", max_size=10))

    found = runbooks.lint(GOOD[:at] + damage + GOOD[until:], "shut.yaml", ACTIONS)

    assert all(problem.line >= 1 and problem.mend for problem in found)


# Rules


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "do: close_door",
            "do: close_dor",
            "shut.yaml:13: step close: unknown effect close_dor: did you mean close_door?",
        ),
        (
            "id: shut",
            "id: shout",
            "shut.yaml:1: the id is shout, but the file is shut: write `id: shut`",
        ),
        (
            "    - Fire:EC2/*",
            "    - Fire:EC2/*\n    - Fire:EC2/*",
            "shut.yaml:6: `Fire:EC2/*` is there twice: remove one",
        ),
        (
            "$addresses",
            "$region",
            "shut.yaml:17: step close: `with.addresses` is not a list: write [one, another]",
        ),
        (
            "addresses: $addresses",
            "adresses: $addresses",
            "shut.yaml:17: step close: unknown member `adresses`: did you mean addresses?",
        ),
        (
            "addresses: $addresses",
            "width: $ports",
            "shut.yaml:17: step close: `with.width` is '$ports': expected a valid integer",
        ),
        (
            "    deadline: 10m",
            "    approval: auto",
            "shut.yaml:18: step close: a containment that nobody is asked about, without a reason:"
            " add `because:`, or let people decide with `approval: ask`",
        ),
        (
            "    approval: auto",
            "    approval: auto\n    term: 12h",
            "shut.yaml:12: step photo: photograph holds nothing, so it has no term: remove `term`",
        ),
    ],
)
def test_a_rule_that_is_broken_is_told_with_its_place(old: str, new: str, expected: str) -> None:
    assert lint(GOOD.replace(old, new, 1)) == [expected]


def test_a_task_is_always_a_person_s() -> None:
    text = GOOD + "  - id: ring\n    do: task\n    approval: auto\n"

    assert lint(text) == [
        "shut.yaml:21: step ring: a task is a person's, who signs it off: write `approval: ask`,"
        " or leave it out"
    ]


def test_standing_authority_holds_with_a_reason() -> None:
    text = GOOD.replace("deadline: 10m", "approval: auto\n    because: fire spreads in minutes")

    assert lint(text) == []


def test_a_runbook_must_say_which_findings_it_answers_and_the_default_must_not() -> None:
    anything = "title: t\nsteps:\n  - {id: tell, do: tell}\n"

    assert lint("id: shut\n" + anything)[0].startswith("shut.yaml:1: `when` is missing")
    assert lint("id: default\n" + anything, "default.yaml") == []
    assert lint("id: default\nwhen: {types: [a]}\n" + anything, "default.yaml") == [
        "default.yaml:2: the default runbook answers whatever no other does: remove `when`"
    ]


def test_a_step_must_fit_every_kind_of_subject_that_the_runbook_answers() -> None:
    text = GOOD.replace("  kinds: [instance]\n", "").replace("    on: instance\n", "")

    assert lint(text) == [
        "shut.yaml:8: step photo: aws.photograph cannot act on every kind of subject: say `on:`"
        " with one of bucket, instance",
        "shut.yaml:11: step close: aws.close_door cannot act on every kind of subject: say `on:`"
        " with one of instance",
    ]


def test_a_step_on_what_its_action_cannot_act_on_is_told() -> None:
    text = GOOD.replace("on: instance\n    needs", "on: principal\n    needs")

    assert lint(text)[0] == (
        "shut.yaml:14: step close: aws.close_door cannot act on principal: say `on:` with one of"
        " instance"
    )


def test_a_step_that_repeats_another_is_told() -> None:
    text = GOOD + "  - id: again\n    do: photograph\n    on: instance\n    approval: auto\n"

    assert lint(text) == [
        "shut.yaml:19: step again: it does the same as step photo: remove one, or change `on` or"
        " `with`"
    ]


def test_rule_7_nothing_that_destroys_evidence_comes_before_it() -> None:
    text = GOOD.replace("    needs: [photo]\n", "")

    assert lint(text) == [
        "shut.yaml:13: step close: close_door can destroy what photograph preserves: put step photo"
        " above it and into its `needs`, or waive it: `waives`, `because`"
    ]


@pytest.mark.parametrize("between", ["tell", "lock_window", "task"])
def test_rule_7_is_not_kept_by_way_of_another_step(between: str) -> None:
    # That may come to nothing at once, and then nobody has waited for the photograph.
    way = f"  - id: way\n    do: {between}\n    on: principal\n    needs: [photo]\n  - id: close\n"
    text = GOOD.replace("  - id: close\n", way).replace(
        "on: instance\n    needs: [photo]", "on: instance\n    needs: [way]"
    )

    assert lint(text) == [
        "shut.yaml:17: step close: close_door can destroy what photograph preserves: put step photo"
        " above it and into its `needs`, or waive it: `waives`, `because`"
    ]


def test_rule_7_is_kept_whatever_else_a_step_needs() -> None:
    lock = (
        "  - id: lock\n    do: lock_window\n    on: principal\n    deadline: 10m\n  - id: close\n"
    )
    text = GOOD.replace("  - id: close\n", lock).replace("needs: [photo]", "needs: [lock, photo]")

    assert lint(text) == []


def test_rule_7_wants_evidence_that_nobody_can_deny() -> None:
    text = GOOD.replace("    approval: auto\n", "    approval: ask\n", 1)

    assert lint(text) == [
        "shut.yaml:15: step close: step photo can come to nothing, and then close_door does not"
        " wait for it: let step photo say `approval: auto` and need evidence only"
    ]


def test_rule_7_wants_evidence_that_is_not_skipped_with_what_it_needs() -> None:
    ring = "  - id: ring\n    do: task\n  - id: photo\n    needs: [ring]\n"
    text = GOOD.replace("  - id: photo\n", ring)

    assert lint(text) == [
        "shut.yaml:18: step close: step photo can come to nothing, and then close_door does not"
        " wait for it: let step photo say `approval: auto` and need evidence only"
    ]


def test_rule_7_lets_evidence_need_evidence() -> None:
    first = "  - id: wide\n    do: photograph\n    on: bucket\n    approval: auto\n"
    text = GOOD.replace("  - id: photo\n", f"{first}  - id: photo\n    needs: [wide]\n")

    assert lint(text) == []


@pytest.mark.parametrize(
    ("kind", "photo", "expected"),
    [
        ("principal", "bucket", []),  # nothing is wanted first of a principal
        ("bucket", "bucket", []),
        ("workload", "instance", []),  # no photograph of it can be taken but with its instance
        ("bucket", "instance", ["step photo preserves other subjects than lock_window acts on"]),
    ],
)
def test_rule_7_goes_by_the_kind_of_subject(kind: str, photo: str, expected: list[str]) -> None:
    text = (
        GOOD.replace("do: close_door\n    on: instance", f"do: lock_window\n    on: {kind}")
        .replace("do: photograph\n    on: instance", f"do: photograph\n    on: {photo}")
        .replace("    with:\n      addresses: $addresses\n", "")
    )

    assert [
        problem.partition("close: ")[2].partition(": ")[0] for problem in lint(text)
    ] == expected


def test_rule_7_holds_for_each_kind_that_a_step_can_come_to_act_on() -> None:
    text = (
        GOOD.replace("[instance]", "[bucket, principal, workload]")
        .replace("do: close_door\n    on: instance", "do: lock_window")
        .replace("    with:\n      addresses: $addresses\n", "")
    )

    (problem,) = lint(text)

    assert "step photo preserves other subjects than lock_window acts on" in problem


@pytest.mark.parametrize(
    ("photo", "close", "is_covered"),
    [
        ("instance", "instance", True),
        ("instance", "", True),
        ("", "", True),
        ("bucket", "instance", False),
        ("", "instance", False),  # the first instance only, and all are shut
    ],
)
def test_rule_7_wants_evidence_of_everything_that_the_step_acts_on(
    photo: str, close: str, is_covered: bool
) -> None:
    on = "    on: instance\n"
    before, between, after = GOOD.split(on)
    lines = [on.replace("instance", kind) if kind else "" for kind in (photo, close)]

    found = lint(before + lines[0] + between + lines[1] + after)

    assert any("preserves other subjects" in problem for problem in found) is not is_covered
    assert bool(found) is not is_covered


def test_rule_7_can_be_waived_with_a_reason() -> None:
    waived = GOOD.replace("    needs: [photo]\n", "    waives: [photograph]\n")

    assert lint(waived) == [
        "shut.yaml:15: step close: evidence is waived without a reason: add `because:`"
    ]
    assert lint(waived + "    because: the room burns\n") == []


def test_a_waiver_of_what_nobody_wants_is_told() -> None:
    text = GOOD.replace("do: photograph", "do: photograph\n    waives: [tell]\n    because: x")

    assert lint(text) == [
        "shut.yaml:10: step photo: photograph does not want tell first: remove it from `waives`"
    ]


def test_an_action_without_parameters_takes_none() -> None:
    text = GOOD.replace("do: photograph", "do: photograph\n    with: {flash: true}")

    assert lint(text) == ["shut.yaml:10: step photo: unknown member `flash`: there are none"]


def test_a_parameter_that_some_finding_would_leave_empty_is_refused_beforehand() -> None:
    class Picky(Model):
        addresses: tuple[str, ...] = Field(min_length=1)

    picky = ACTIONS | {"aws.close_door": replace(ACTIONS["aws.close_door"], params=Picky)}

    (told,) = runbooks.lint(GOOD, "shut.yaml", picky)
    named = GOOD.replace("$addresses", "[198.51.100.7]")

    assert (told.line, told.step) == (17, "close")
    assert runbooks.lint(named, "shut.yaml", picky) == []


# Facts


def test_references_become_what_the_finding_says() -> None:
    seen = finding(
        addresses=(ip_address("198.51.100.7"), ip_address("2001:db8::7")), ports=(22,), domains=()
    )
    params = {"who": "$addresses", "deep": {"ports": "$ports"}, "where": "$region", "plain": "a$b"}

    assert resolve(params, seen) == {
        "who": ["198.51.100.7", "2001:db8::7"],
        "deep": {"ports": [22]},
        "where": "us-east-1",
        "plain": "a$b",
    }


@pytest.mark.parametrize("fact", FACTS)
def test_every_fact_is_a_member_of_findings_and_is_in_the_sample(fact: str) -> None:
    assert resolve({"it": f"${fact}"}, runbooks.SAMPLE)["it"]
    assert getattr(runbooks.SAMPLE, fact)


@pytest.mark.parametrize("fact", FACTS)
def test_the_bare_sample_states_only_what_every_finding_does(fact: str) -> None:
    always = {"first_seen", "region"}

    assert bool(resolve({"it": f"${fact}"}, runbooks.BARE)["it"]) is (fact in always)


# Choosing


def test_the_most_exact_runbook_answers() -> None:
    known = catalogue(
        runbook("default"), runbook("wide", "Fire:*"), runbook("exact", "Fire:EC2/*", "*")
    )

    assert runbooks.select(finding(type="Fire:EC2/Kitchen"), known).id == "exact"
    assert runbooks.select(finding(type="Fire:S3/Kitchen"), known).id == "wide"


def test_what_no_runbook_matches_is_answered_by_the_default() -> None:
    known = catalogue(runbook("default"), runbook("fire", "Fire:*"))

    assert runbooks.select(finding(type="Flood:EC2/Cellar"), known).id == "default"


@pytest.mark.parametrize(
    ("when", "members", "matches"),
    [
        ({"kinds": ["instance"]}, {}, True),
        ({"kinds": ["bucket"]}, {}, False),
        ({"side": "actor"}, {"side": Side.ACTOR}, True),
        ({"side": "actor"}, {"side": Side.TARGET}, False),
        ({"side": "actor"}, {}, False),
        ({}, {"side": Side.TARGET}, True),
        ({"min_severity": 7}, {"severity": 7}, True),
        ({"min_severity": 7}, {"severity": 6.9}, False),
    ],
)
def test_kind_side_and_severity_narrow_a_runbook(
    when: dict[str, object], members: dict[str, object], matches: bool
) -> None:
    fire = runbook("fire", "Fire:*", **when)

    chosen = runbooks.select(finding(type="Fire:x", **members), catalogue(runbook("default"), fire))

    assert (chosen is fire) is matches


@pytest.mark.parametrize("pattern", ["Fire:?", "Fire:[x]", "fire:*", "Fire", "ire:*"])
def test_only_the_asterisk_stands_for_other_characters(pattern: str) -> None:
    assert When(types=(pattern,)).matches(finding(type="Fire:x")) is None


def test_two_runbooks_that_match_as_exactly_are_told() -> None:
    one = GOOD.replace("- Fire:EC2/*", "- Smoke:*\n    - Fire:*/Room")
    two = GOOD.replace("- Fire:EC2/*", "- '*e:EC2/Room'")

    found = runbooks.clashes({"one.yaml": one, "two.yaml": two})

    assert [str(problem) for problem in found] == [
        "two.yaml:5: `*e:EC2/Room` matches as exactly as `Fire:*/Room` of one.yaml: write more of"
        " the type out, or let kinds or side tell them apart"
    ]


def test_runbooks_of_different_kinds_or_sides_do_not_clash() -> None:
    bucket = GOOD.replace("[instance]", "[bucket]")
    actor = GOOD.replace("when:\n", "when:\n  side: actor\n")
    target = GOOD.replace("when:\n", "when:\n  side: target\n")

    assert len(runbooks.clashes({"a.yaml": GOOD, "b.yaml": GOOD})) == 1
    assert runbooks.clashes({"a.yaml": GOOD, "b.yaml": bucket}) == []
    assert runbooks.clashes({"a.yaml": actor, "b.yaml": target}) == []


PATTERNS = st.text(alphabet="ab*", min_size=1, max_size=6)


@given(PATTERNS, PATTERNS, st.text(alphabet="ab", max_size=6))
def test_no_finding_is_ever_a_tie_between_runbooks_that_do_not_clash(
    one: str, other: str, name: str
) -> None:
    texts = {
        name: GOOD.replace("- Fire:EC2/*", f"- '{pattern}'")
        for name, pattern in (("a.yaml", one), ("b.yaml", other))
    }
    fits = [When(types=(pattern,)).matches(finding(type=name)) for pattern in (one, other)]

    is_tie = fits[0] is not None and fits[0] == fits[1]

    assert bool(runbooks.clashes(texts)) >= is_tie


# Actions


def test_the_subjects_cloud_picks_the_action() -> None:
    close, tell = step("close", "close_door"), step("tell", "tell")

    assert runbooks.action_for(close, Cloud.AWS, ACTIONS) == "aws.close_door"
    assert runbooks.action_for(tell, Cloud.AWS, ACTIONS) == "records.tell"
    assert runbooks.action_for(tell, Cloud.GCP, ACTIONS) == "records.tell"


def test_where_a_cloud_lacks_the_action_a_person_does_it() -> None:
    close = step("close", "close_door")

    assert runbooks.action_for(close, Cloud.AZURE, ACTIONS) == "records.task"


def test_an_action_that_no_cloud_has_is_named() -> None:
    with pytest.raises(BadRunbook, match="step close: azure has no action open_window"):
        runbooks.action_for(step("close", "open_window"), Cloud.AZURE, ACTIONS)


# Directories


def test_a_directory_adds_runbooks_and_replaces_those_of_the_same_name(tmp_path: Path) -> None:
    tell = "steps:\n  - {id: tell, do: notify, approval: auto}\n"
    (tmp_path / "default.yaml").write_text(f"id: default\ntitle: Ours\n{tell}")
    (tmp_path / "ours.yaml").write_text(f"id: ours\ntitle: Ours\nwhen: {{types: [x]}}\n{tell}")
    (tmp_path / "notes.txt").write_text("not a runbook")

    names = [file.name for file in runbooks.files(tmp_path)]

    assert {"default.yaml", "ours.yaml", "compromised_instance.yaml"} <= set(names)
    assert len(names) == len(runbooks.files()) + 1
    assert tmp_path / "default.yaml" in runbooks.files(tmp_path)


def test_loading_reads_each_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = document.read, list[str]()

    def spy(text: str, file: str) -> Document | Problem:
        seen.append(file)
        return read(text, file)

    monkeypatch.setattr(document, "read", spy)
    loaded = runbooks.load(find("activities", Action))

    assert len(loaded) == len(seen) == len(runbooks.files())


def test_loading_refuses_a_catalogue_with_any_problem(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("id: bad\n")

    with pytest.raises(BadRunbook, match=r"bad\.yaml: line 1: `title` is missing"):
        runbooks.load(find("activities", Action), tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [("a.yml", b"id: a\n", "expected the ending .yaml"), ("a.yaml", b"\xff", "expected UTF-8")],
)
def test_a_file_that_would_be_passed_over_is_refused(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(BadRunbook, match=expected):
        runbooks.load(ACTIONS, tmp_path)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRunbook, match="expected a directory of runbooks"):
        runbooks.files(tmp_path / "none")
