"""No damage to a log stops what reads it, or takes more with it than what is damaged."""

import io
import random
from pathlib import Path

import pytest

from firedoor.errors import Unreadable
from firedoor.lake.objects import Reading
from firedoor.log_source import Place

DATA = Path(__file__).parents[1] / "data" / "logs"
SAMPLES = sorted(
    file for file in DATA.glob("aws_*/*") if file.suffix in (".log", ".json", ".jsonl")
)
BYTES = b'-"\\ 9a\xff\x00\n\r{}[],:'


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_damage_is_refused_and_never_raised(sample: Path) -> None:
    content, chance = sample.read_bytes(), random.Random(7)

    for _ in range(15):
        at, damage = chance.randrange(len(content)), bytes([chance.choice(BYTES)])
        cut = chance.choice((0, 1, 9))
        damaged = content[:at] + damage + content[at + cut :]
        try:
            for parsed in Reading(
                io.BytesIO(damaged), Place(sample.name), source=sample.parent.name
            ):
                assert all(one.reason for one in parsed.refused)
        except Unreadable:
            assert sample.suffix != ".log"
