"""The proof that comes of what was read back and what logs show."""

from datetime import UTC, datetime, timedelta

import pytest

from activities.aws._window import Window, pending, proven, silent, unproven
from firedoor.model.finding import Cloud, Kind, Resource
from firedoor.model.plan import Check, Plan, Target, Verdict

AT = datetime(2026, 1, 2, 14, 3, 10, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
SUBJECT = Resource(
    cloud=Cloud.AWS, account="123456789012", region="us-east-1", kind=Kind.INSTANCE, id="i-0abc"
)
PLAN = Plan(
    action="aws.isolate_instance",
    target=Target(subject=SUBJECT, incident="inc-1", step="isolate", at=AT),
    lease="i-0abc",
    summary="isolate i-0abc",
)
GOOD, BAD = Check(name="groups", ok=True), Check(name="groups", ok=False)
SILENT, STILL = silent("flow logs", "dark", AT), pending("CloudTrail", "quiet", LATER, LATER)
BLIND = unproven("flow logs", "no flow log")


@pytest.mark.parametrize(
    ("checks", "windows", "verdict", "since"),
    [
        ([GOOD], [], Verdict.PROVEN, None),
        ([GOOD], [SILENT], Verdict.PROVEN, AT),
        ([GOOD], [SILENT, STILL], Verdict.PENDING, LATER),
        ([GOOD], [SILENT, BLIND, STILL], Verdict.UNPROVEN, None),
        ([GOOD, BAD], [SILENT], Verdict.DRIFTED, None),
    ],
)
def test_worst_decides_and_a_failed_check_is_drift(
    checks: list[Check], windows: list[Window], verdict: Verdict, since: datetime | None
) -> None:
    proof = proven(PLAN, checks, *windows)

    assert (proof.verdict, proof.since) == (verdict, since)


def test_proof_shows_what_was_read_back_and_what_logs_say() -> None:
    proof = proven(PLAN, [GOOD], SILENT, STILL)

    assert [check.name for check in proof.checks] == ["groups", "flow logs", "CloudTrail"]
    assert proof.checks[2].detail == "quiet; proven by 2026-01-02 14:08:10Z if it stays so"
