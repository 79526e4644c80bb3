"""What people read before they decide."""

import io
from datetime import timedelta

import pytest
from rich.console import Console, RenderableType

from firedoor.cli import render
from firedoor.model.plan import Call, CallRecord, Change, Check, Outcome, Plan, Receipt, Target
from firedoor.testing import NOW, instance


def read(shown: RenderableType) -> str:
    """Return what stands on the terminal, without blanks at the ends of lines."""
    console = Console(file=io.StringIO(), width=200, color_system="truecolor", force_terminal=True)
    with console.capture() as captured:
        console.print(shown)
    text = captured.get()
    for style in range(40):
        text = text.replace(f"\x1b[{style}m", "").replace(f"\x1b[1;{style}m", "")
    return "\n".join(line.rstrip() for line in text.splitlines())


def plan(**members: object) -> Plan:
    target = Target(subject=instance("i-0abc"), incident="incident/x", step="isolate", at=NOW)
    values = {
        "action": "aws.isolate_instance",
        "target": target,
        "lease": "i-0abc",
        "summary": "Isolate i-0abc.",
    }
    return Plan.model_validate({**values, **members})


def test_plan_begins_with_what_it_does() -> None:
    assert read(render.plan(plan())).splitlines()[0] == "Isolate i-0abc."


def test_plan_tells_everything_that_speaks_for_and_against_it() -> None:
    shown = plan(
        calls=(
            Call(service="ec2", operation="StopInstances", parameters={"InstanceIds": ["i-0abc"]}),
        ),
        undo=(
            Call(service="ec2", operation="StartInstances", parameters={"InstanceIds": ["i-0abc"]}),
        ),
        blast_radius=("40 users lose the shop",),
        lost=("the memory",),
        refusals=("it is tagged firedoor:protected",),
        preflight=(Check(name="quota", ok=False, detail="0 left"), Check(name="rights", ok=True)),
    )

    text = read(render.plan(shown))

    assert "Must not be done\n  x it is tagged firedoor:protected\n" in text
    assert 'Calls\n  1  ec2:StopInstances  InstanceIds=["i-0abc"]\n' in text
    assert "Who will feel it\n  - 40 users lose the shop\n" in text
    assert "Cannot be brought back\n  ! the memory\n" in text
    assert 'Undo\n  1  ec2:StartInstances  InstanceIds=["i-0abc"]\n' in text
    assert "Checked before\n  no quota: 0 left\n  ok rights" in text


def test_plan_without_a_way_back_says_so() -> None:
    call = Call(service="ec2", operation="CreateSnapshot", parameters={})

    assert "Undo\n  there is none" in read(render.plan(plan(calls=(call,))))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("open", "closed", "- open\n+ closed"),
        (None, ["sg-1"], '- (not there)\n+ ["sg-1"]'),
        (["sg-1"], None, '- ["sg-1"]\n+ (not there)'),
        ("", "x", "- (empty)\n+ x"),
        ('{"a": 1}', '{"a": 2}', '- {"a": 1}\n+ {"a": 2}'),
        (True, False, "- true\n+ false"),
    ],
)
def test_change_is_the_lines_that_go_and_those_that_come(
    before: object, after: object, expected: str
) -> None:
    change = Change.model_validate(
        {"resource": "r", "attribute": "a", "before": before, "after": after}
    )

    text = read(render.change(change))

    assert text == "r  a\n" + "\n".join(f"  {line}" for line in expected.splitlines())


def test_of_a_long_document_only_the_difference_is_shown() -> None:
    before = {f"statement{n}": "x" * 20 for n in range(20)}
    after = dict(reversed(({**before, "statement7": "changed"}).items()))

    text = read(render.change(Change(resource="r", attribute="policy", before=before, after=after)))

    marked = [line.strip() for line in text.splitlines() if line.strip()[0] in "+-"]
    assert marked == [f'-   "statement7": "{"x" * 20}",', '+   "statement7": "changed",']
    assert len(text.splitlines()) < 10


def test_names_from_the_account_cannot_act_on_the_terminal_or_fake_a_line() -> None:
    evil = "web\x1b[2J\x1b]8;;http://example.com\x07\nUndo\n  1  none \u202etxt [bold red]x[/]"

    text = read(render.plan(plan(summary=evil, blast_radius=(evil,))))

    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "Undo" not in [line.strip() for line in text.splitlines()]
    assert "[bold red]x[/]" in text


def test_changed_values_cannot_act_on_the_terminal() -> None:
    change = Change(resource="r", attribute="a", before="x\x1b[2J", after={"k": "\x9b2J"})

    text = read(render.change(change))

    assert not {"\x1b", "\x9b"} & set(text)


def test_only_the_cell_of_the_status_is_coloured_by_it() -> None:
    row = (render.status("incomplete"), "incomplete", "other\x9b2J")
    console = Console(file=io.StringIO(), width=80, color_system="truecolor", force_terminal=True)

    with console.capture() as captured:
        console.print(render.table(("status", "types", "note"), [row]))

    text = captured.get()
    assert (text.count("\x1b[1;31mincomplete"), text.count("incomplete")) == (1, 2)
    assert "\x9b" not in text


def test_undoing_shows_the_changes_backwards() -> None:
    door = Change(resource="door", attribute="state", before="open", after="closed")
    lock = Change(resource="lock", attribute="state", before="off", after="on")

    text = read(render.undo(plan(changes=(door, lock))))

    assert text.index("- on") < text.index("+ off") < text.index("- closed") < text.index("+ open")


@pytest.mark.parametrize(
    ("detail", "request_id", "expected"),
    [
        ("", "r-1", "ec2:StopInstances  ok  r-1"),
        ("", "", "ec2:StopInstances  ok"),
        ("too  many   calls", "r-1", "ec2:StopInstances  ok  too  many   calls  r-1"),
    ],
)
def test_call_is_told_with_what_is_known_of_it(detail: str, request_id: str, expected: str) -> None:
    made = CallRecord(
        service="ec2",
        operation="StopInstances",
        parameters={},
        at=NOW,
        request_id=request_id,
        outcome=Outcome.OK,
        detail=detail,
    )

    (line,) = render.receipts([Receipt(plan_digest="", at=NOW, calls=(made,))])

    assert read(line) == f"{render.instant(NOW)}  {expected}"


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (timedelta(hours=2, minutes=5), "2 h 5 min left"),
        (timedelta(minutes=14, seconds=20), "14 min 20 s left"),
        (timedelta(seconds=9), "9 s left"),
        (timedelta(0), "time is up"),
        (timedelta(seconds=-1), "time is up"),
    ],
)
def test_time_that_is_left_is_told_in_words(time: timedelta, expected: str) -> None:
    assert render.left(time) == expected
