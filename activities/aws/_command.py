"""The commands that dump the memory of an instance, as Systems Manager runs them.

No secret is in them, as they stay in the history of Systems Manager for 30 days: what the instance
may fetch and store it may by its own role. Each ends with a status that says what went wrong, and
prints the hash and the size of what it stored.
"""

import re
import shlex
from datetime import timedelta
from enum import StrEnum

from activities.aws._reading import counted
from firedoor.model.base import Model


class Platform(StrEnum):
    """What an instance runs, as Systems Manager says it."""

    LINUX = "Linux"
    WINDOWS = "Windows"


DOCUMENTS = {
    Platform.LINUX: "AWS-RunShellScript",
    Platform.WINDOWS: "AWS-RunPowerShellScript",
}

DUMPS = {Platform.LINUX: "memory.lime", Platform.WINDOWS: "memory.raw"}

CLEAN_UP = timedelta(minutes=1)
"""What a command gets beyond its time to remove what it left on the disk."""

FAILURES = {
    10: "the instance has no aws command, or no AWS tools for PowerShell",
    11: "the tool could not be fetched",
    12: "the tool is not the one that is pinned: its SHA-256 is another",
    13: "the disk has no room for a copy of the memory",
    14: "the tool failed, or did not end in time",
    15: "the dump could not be stored, or not in time",
    16: "the same command runs already, or was killed: its directory is there",
}

# How long it is tried to fetch the tool: rights that were just given take seconds to work.
_PATIENCE = 90

_RESULT = re.compile(r"^firedoor-memory sha256=([0-9a-f]{64}) size=([0-9]+)\s*$", re.MULTILINE)

_LINUX = """\
set -u
umask 077
work=/var/tmp/{name}
end=$(($(date +%s) + {seconds}))
left() {{ s=$((end - $(date +%s))); [ "$s" -gt 0 ] && echo "$s" || echo 1; }}
command -v aws >/dev/null || exit 10
mkdir "$work" || exit 16
trap 'rm -rf "$work"' EXIT
export AWS_DEFAULT_REGION={region}
until aws s3 cp --only-show-errors {tool} "$work/tool"; do
  [ "$(date +%s)" -lt $((end - {seconds} + {patience})) ] || exit 11
  sleep 5
done
echo {sha256}"  $work/tool" | sha256sum -c - >/dev/null || exit 12
chmod 700 "$work/tool"
need=$(awk '/^MemTotal:/ {{print $2}}' /proc/meminfo)
free=$(df -Pk "$work" | awk 'NR == 2 {{print $4}}')
[ "$free" -gt "$need" ] || exit 13
timeout "$(left)" "$work/tool" "$work/{dump}" || exit 14
sum=$(sha256sum "$work/{dump}" | cut -d ' ' -f 1)
size=$(wc -c <"$work/{dump}" | tr -d ' ')
echo "$sum  {dump}" >"$work/{dump}.sha256"
for file in {dump} {dump}.sha256; do
  timeout "$(left)" aws s3 cp --only-show-errors "$work/$file" {place}/"$file" || exit 15
done
echo "firedoor-memory sha256=$sum size=$size"
"""

_WINDOWS = """\
$ErrorActionPreference = 'Stop'
$work = Join-Path $env:SystemRoot 'Temp\\{name}'
$end = (Get-Date).AddSeconds({seconds})
if (-not (Get-Command Write-S3Object -ErrorAction SilentlyContinue)) {{ exit 10 }}
if (Test-Path $work) {{ exit 16 }}
New-Item -ItemType Directory -Path $work | Out-Null
try {{
  $fetched = $false
  while (-not $fetched) {{
    try {{
      Read-S3Object -BucketName {tool_bucket} -Key {tool_key} -File "$work\\tool.exe" | Out-Null
      $fetched = $true
    }} catch {{
      if ((Get-Date) -gt $end.AddSeconds({patience} - {seconds})) {{ exit 11 }}
      Start-Sleep -Seconds 5
    }}
  }}
  $found = (Get-FileHash -Algorithm SHA256 "$work\\tool.exe").Hash.ToLower()
  if ($found -ne {sha256}) {{ exit 12 }}
  $need = (Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory
  if ((Get-PSDrive $work.Substring(0, 1)).Free -le $need) {{ exit 13 }}
  $dump = "$work\\{dump}"
  $run = Start-Process "$work\\tool.exe" -ArgumentList $dump -PassThru -NoNewWindow
  $left = [Math]::Max(1, [int]($end - (Get-Date)).TotalMilliseconds)
  if (-not $run.WaitForExit($left)) {{ $run.Kill(); exit 14 }}
  if (-not (Test-Path $dump)) {{ exit 14 }}
  $sum = (Get-FileHash -Algorithm SHA256 $dump).Hash.ToLower()
  $size = (Get-Item $dump).Length
  try {{
    Write-S3Object -BucketName {bucket} -Key {key}/{dump} -File $dump
    Write-S3Object -BucketName {bucket} -Key {key}/{dump}.sha256 -Content "$sum  {dump}"
  }} catch {{ exit 15 }}
  "firedoor-memory sha256=$sum size=$size"
}} finally {{
  Remove-Item -Recurse -Force $work
}}
"""


class Dump(Model):
    """What is run on an instance, and where what comes of it is stored."""

    platform: Platform
    tool: str
    sha256: str
    place: str  # s3://bucket/prefix, without a slash at its end
    name: str
    region: str
    limit: timedelta

    @property
    def uri(self) -> str:
        """The place of the memory itself."""
        return f"{self.place}/{DUMPS[self.platform]}"

    @property
    def script(self) -> str:
        """The text of the command."""
        said = {
            "name": self.name,
            "seconds": int(self.limit.total_seconds()),
            "patience": _PATIENCE,
            "dump": DUMPS[self.platform],
        }
        if self.platform is Platform.LINUX:
            quoted = ("tool", "sha256", "place", "region")
            return _LINUX.format(**said, **{n: shlex.quote(getattr(self, n)) for n in quoted})
        bucket, key = split(self.place)
        tool_bucket, tool_key = split(self.tool)
        return _WINDOWS.format(
            **said,
            sha256=_powershell(self.sha256),
            bucket=_powershell(bucket),
            key=key,
            tool_bucket=_powershell(tool_bucket),
            tool_key=_powershell(tool_key),
        )

    @property
    def parameters(self) -> dict[str, list[str]]:
        """The parameters of the document."""
        seconds = int((self.limit + CLEAN_UP).total_seconds())
        return {"commands": self.script.splitlines(), "executionTimeout": [str(seconds)]}


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of s3://bucket/key."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key.rstrip("/")


def result(output: str) -> tuple[str, int] | None:
    """Return the hash and the size that a command printed."""
    found = _RESULT.search(output)
    return (found[1], int(found[2])) if found else None


def failure(status: str, code: int, said: str, limit: timedelta) -> str:
    """Say why a command gave no dump."""
    if status == "TimedOut":
        return f"it did not end within {counted(int(limit.total_seconds()), 'second')}"
    why = FAILURES.get(code, f"{status}, exit status {code}")
    last = said.strip().splitlines()[-1:]
    return f"{why}: {last[0]}" if last else why


def _powershell(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
