"""What the guide says of the channels is so."""

import re
from pathlib import Path

import pytest

from firedoor import policies
from firedoor.channel import Channel
from firedoor.discovery import find
from firedoor.model.message import Occasion
from firedoor.settings import Settings

HOUSE = Path(__file__).parents[3]
GUIDE = (HOUSE / "docs/guides/notifications.md").read_text()
CHANNELS = find("activities.records", Channel)


@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_has_a_test_and_a_row_with_its_settings(name: str) -> None:
    (row,) = re.findall(rf"^\| `{name}` \| (.*?) \|", GUIDE, re.MULTILINE)
    needed = set(re.findall(r"FIREDOOR_([A-Z_]+)", CHANNELS[name].setting))

    assert needed
    assert needed <= set(re.findall(r"FIREDOOR_([A-Z_]+)", row))
    assert {setting.lower() for setting in needed} <= set(Settings.model_fields)
    assert (HOUSE / "tests" / "activities" / "records" / f"test_{name}.py").is_file()


def test_the_example_of_channels_can_be_used() -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)

    policy = policies.parse(text, "policy.yaml")

    assert policy.channels.keys() <= CHANNELS.keys()
    assert policy.channels["pagerduty"].occasions == (Occasion.ESCALATED, Occasion.ALARM)


def test_the_guide_names_every_occasion() -> None:
    (said,) = re.findall(r"^The occasions are (.*)\.$", GUIDE, re.MULTILINE)

    assert re.findall(r"`(\w+)`", said) == list(Occasion)
