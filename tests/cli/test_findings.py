"""Reading findings, and handing them over, as far as that needs no server."""

import gzip
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from firedoor.model.finding import Finding

Cli = Callable[..., Awaitable[Any]]
SAMPLES = Path(__file__).parent.parent / "data" / "guardduty"
PORT_PROBE = SAMPLES / "port_probe.json"


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "bad.json"
    file.write_text('{"a": 1}')
    return file


async def test_each_finding_is_one_line(cli: Cli) -> None:
    ended = await cli("findings", "read", str(PORT_PROBE), str(SAMPLES / "ipv6.json"))

    findings = [Finding.model_validate_json(line) for line in ended.out.splitlines()]
    assert (ended.status, len(findings), findings[0].type) == (
        0,
        2,
        "Recon:EC2/PortProbeUnprotectedPort",
    )


async def test_findings_are_read_from_standard_input_packed_or_not(cli: Cli) -> None:
    plain = await cli("findings", "read", "-", given=PORT_PROBE.read_bytes())
    packed = await cli("findings", "read", "-", given=gzip.compress(PORT_PROBE.read_bytes()))

    assert (packed.status, packed.out) == (0, plain.out)


async def test_bad_finding_is_told_with_its_file(cli: Cli, bad: Path) -> None:
    ended = await cli("findings", "read", str(bad))

    expected = f"firedoor: {bad}: expected a finding of Amazon GuardDuty or AWS Shield or AWS WAF\n"
    assert ended == (2, "", expected)


async def test_missing_file_is_told(cli: Cli) -> None:
    ended = await cli("findings", "read", "nowhere.json")

    assert ended == (2, "", "firedoor: nowhere.json: no such file or directory\n")


async def test_one_bad_finding_of_a_file_starts_nothing(cli: Cli, tmp_path: Path) -> None:
    both = tmp_path / "both.json"
    both.write_text(json.dumps([json.loads(PORT_PROBE.read_text()), {"a": 1}]))

    ended = await cli("submit", str(both))  # status 3 would be an attempt to reach the server

    assert ended.status == 2
    assert "[1]" in ended.err
