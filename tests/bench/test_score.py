"""What the score counts is there, and everything that can be counted is."""

from bench.correspondence import DIFFERENT, MISSED, PAIRS, TECHNIQUES, UNPAIRED
from bench.labelled import Tally
from bench.plants import NEAR, PLANTS
from firedoor.detection import Detection
from firedoor.discovery import find

DETECTIONS = find("firedoor.detections", Detection)


def test_an_attack_is_planted_for_every_detection_and_for_nothing_else() -> None:
    assert {rule for plant in PLANTS for rule in plant.rules} == DETECTIONS.keys()


def test_what_only_looks_like_an_attack_is_planted_for_every_detection_that_can_be_wrong() -> None:
    # The first is of the account as a whole, and for the second anything of root is an attack.
    alone = {"rejected_share", "root_usage"}

    assert {rule for near in NEAR for rule in near.rules} == DETECTIONS.keys() - alone


def test_who_attacks_is_told_from_who_does_not() -> None:
    # Oscar has two jobs, neither of them an attack.
    marks = [plant.mark for plant in PLANTS] + [*{near.mark for near in NEAR}]

    assert len(marks) == len({*marks})


def test_rules_of_others_are_answered_by_rules_that_there_are() -> None:
    ours = {one for pair in PAIRS.values() for one in pair.ours if not one.startswith("sigma/")}

    assert ours <= DETECTIONS.keys()


def test_a_rule_of_others_has_an_answer_or_a_reason_why_not() -> None:
    without = [id_ for ids in UNPAIRED.values() for id_ in ids]

    assert len(without) == len({*without})
    assert not PAIRS.keys() & {*without}
    assert {id_ for id_, _ in DIFFERENT} <= PAIRS.keys()
    assert MISSED.keys() <= TECHNIQUES.keys()


def test_precision_and_recall_are_of_what_was_told_and_of_what_was_there() -> None:
    tally = Tally()
    for expected, fired in ((True, True), (True, True), (False, True), (True, False)):
        tally.count(expected=expected, fired=fired, why="")

    assert (tally.precision, tally.recall) == (2 / 3, 2 / 3)
    assert tally.explained == 0
