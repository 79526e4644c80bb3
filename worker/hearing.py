"""Hearing what is said to the whole installation, under the policy that this worker has now."""

from datetime import UTC, datetime

from temporalio import activity

from activities.attest import attest
from firedoor.approvals.hearing import NotTheirs, needs_voucher, question, speaker
from firedoor.approvals.judge import speaks_out
from firedoor.model.decision import Ruling
from firedoor.model.word import Instruction, Signed
from worker.catalogue import policy


@activity.defn(name="approvals.hear")
async def hear(said: Signed[Instruction]) -> Ruling:
    """Accept an instruction if a responder of today has said it, by means that count for it."""
    roster, voucher = policy().roster, None
    if not said.word.reason.strip():
        return Ruling(accepted=False, reason="it needs a reason")
    if needs_voucher(said):
        voucher = await attest(question(said, roster))
    try:
        who = speaker(said, roster, datetime.now(UTC), voucher)
    except NotTheirs as why:
        return Ruling(accepted=False, reason=str(why))
    if not speaks_out(who, policy()):
        return Ruling(accepted=False, reason=f"{who.means} does not count for this")
    return Ruling(accepted=True)
