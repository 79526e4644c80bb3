"""Findings are events of OCSF class 2004, as a model of others has them."""

from datetime import timedelta

import pytest
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

from firedoor.model.finding import Cloud
from firedoor.ocsf import detection_finding
from firedoor.testing import NOW, finding


@pytest.mark.parametrize("cloud", list(Cloud))
@pytest.mark.parametrize("severity", [0, 1, 4, 7, 9.5])
def test_event_is_one_that_others_understand(cloud: Cloud, severity: float) -> None:
    one = finding().model_copy(
        update={
            "cloud": cloud, "severity": severity, "techniques": ("T1046",),
            "domains": ("example.com",),
        }
    )  # fmt: skip

    event = DetectionFinding.model_validate(detection_finding(one))

    assert (event.class_uid, event.category_uid) == (2004, 2)
    assert event.finding_info.uid == one.id
    assert event.finding_info.attacks[0].technique.uid == "T1046"


def test_numbers_follow_the_schema() -> None:
    told = detection_finding(finding().model_copy(update={"severity": 7.5, "count": 3}))

    assert (told["severity_id"], told["severity"]) == (4, "High")
    assert (told["activity_id"], told["type_uid"]) == (2, 200402)


def test_times_are_epoch_milliseconds() -> None:
    one = finding(seen=NOW + timedelta(milliseconds=250))

    told = detection_finding(one)["finding_info"]

    assert told["last_seen_time"] == round(one.last_seen.timestamp() * 1000)
