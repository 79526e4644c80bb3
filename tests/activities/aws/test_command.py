"""The command that dumps memory, run by a real shell with an `aws` that copies files."""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from activities.aws._command import FAILURES, Dump, Platform, failure, result

TOOL = '#!/bin/sh\nprintf "what was in memory" >"$1"\n'

AWS = """\
#!/bin/sh
# aws s3 cp --only-show-errors FROM TO
from=$(echo "$4" | sed "s,^s3://,$BUCKETS/,")
to=$(echo "$5" | sed "s,^s3://,$BUCKETS/,")
mkdir -p "$(dirname "$to")" && cp "$from" "$to"
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def buckets(tmp_path: Path) -> Path:
    (tmp_path / "buckets" / "tools").mkdir(parents=True)
    (tmp_path / "buckets" / "tools" / "avml").write_text(TOOL)
    return tmp_path / "buckets"


@pytest.fixture
def name() -> Iterator[str]:
    """A name that no other command has; its directory is gone afterwards."""
    name = f"firedoor-memory-{uuid4().hex[:16]}"
    yield name
    with suppress(FileNotFoundError):
        Path("/var/tmp", name).rmdir()


@pytest.fixture
def run(tmp_path: Path, buckets: Path) -> Run:
    """Run a command as Systems Manager does, on a machine with a large disk."""
    programs = tmp_path / "bin"
    programs.mkdir()
    large = "#!/bin/sh\necho header\necho disk 1 1 ${FREE:-99999999999} 1% /\n"
    for program, text in (("aws", AWS), ("df", large)):
        (programs / program).write_text(text)
        (programs / program).chmod(0o755)

    def run(dump: Dump, **variables: str) -> "subprocess.CompletedProcess[str]":
        path = variables.pop("PATH", f"{programs}:{os.environ['PATH']}")
        environment = {"PATH": path, "BUCKETS": str(buckets), **variables}
        script = "\n".join(dump.parameters["commands"])
        return subprocess.run(
            ["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False
        )

    return run


def dump(
    name: str, sha256: str = hashlib.sha256(TOOL.encode()).hexdigest(), seconds: int = 60
) -> Dump:
    return Dump(
        platform=Platform.LINUX,
        tool="s3://tools/avml",
        sha256=sha256,
        place="s3://evidence/memory/i-0aaaaaaaaaaaaaaaa/one",
        name=name,
        region="us-east-1",
        limit=timedelta(seconds=seconds),
    )


def test_memory_is_stored_with_its_hash_beside_it(run: Run, buckets: Path, name: str) -> None:
    done = run(dump(name))

    place = buckets / "evidence" / "memory" / "i-0aaaaaaaaaaaaaaaa" / "one"
    sha256 = hashlib.sha256(b"what was in memory").hexdigest()
    assert done.returncode == 0
    assert (place / "memory.lime").read_text() == "what was in memory"
    assert (place / "memory.lime.sha256").read_text() == f"{sha256}  memory.lime\n"
    assert result(done.stdout) == (sha256, 18)
    assert not Path("/var/tmp", name).exists()


def test_tool_that_is_not_the_pinned_one_is_not_run(run: Run, buckets: Path, name: str) -> None:
    (buckets / "tools" / "avml").write_text("#!/bin/sh\ntouch $BUCKETS/ran\n")

    done = run(dump(name))

    assert done.returncode == 12
    assert not (buckets / "ran").exists()


def test_disk_without_room_is_left_alone(run: Run, name: str) -> None:
    assert run(dump(name), FREE="1024").returncode == 13


def test_tool_that_does_not_end_is_ended(run: Run, buckets: Path, name: str) -> None:
    slow = "#!/bin/sh\nexec sleep 30\n"
    (buckets / "tools" / "avml").write_text(slow)

    done = run(dump(name, hashlib.sha256(slow.encode()).hexdigest(), seconds=1))

    assert done.returncode == 14


def test_second_command_does_nothing(run: Run, buckets: Path, name: str) -> None:
    Path("/var/tmp", name).mkdir()

    assert run(dump(name)).returncode == 16
    assert not (buckets / "evidence").exists()


def test_instance_without_aws_command_is_told(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "date").symlink_to("/bin/date")

    assert run(dump(name), PATH=str(tmp_path / "none")).returncode == 10


def test_text_from_settings_is_text_to_the_shell(name: str) -> None:
    odd = dump(name).model_copy(update={"tool": "s3://tools/a b; touch /tmp/x"})

    assert "'s3://tools/a b; touch /tmp/x'" in odd.script


def test_powershell_gets_its_text_quoted_too(name: str) -> None:
    windows = dump(name).model_copy(update={"platform": Platform.WINDOWS, "tool": "s3://t'x/w.exe"})

    assert "-BucketName 't''x' -Key 'w.exe'" in windows.script
    assert windows.uri.endswith("/memory.raw")


def test_command_gets_a_minute_more_to_clean_up(name: str) -> None:
    assert dump(name).parameters["executionTimeout"] == ["120"]


@pytest.mark.parametrize("code", FAILURES)
def test_every_status_of_the_command_is_explained(code: int, name: str) -> None:
    texts = [dump(name).script, dump(name).model_copy(update={"platform": "Windows"}).script]

    assert any(f"exit {code}" in text for text in texts)
    assert (
        failure("Failed", code, "a\nlast words\n", timedelta(0)) == f"{FAILURES[code]}: last words"
    )
