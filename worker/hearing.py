"""Hearing what is said to the whole installation, under the policy that this worker has now."""

from datetime import UTC, datetime

from temporalio import activity

from activities.attest import attest
from firedoor.approvals.hearing import NotTheirs, needs_voucher, speaker
from firedoor.model.base import digest
from firedoor.model.decision import Ruling
from firedoor.model.word import Instruction, Means, Question, Signed
from worker.catalogue import policy


@activity.defn(name="approvals.hear")
async def hear(said: Signed[Instruction]) -> Ruling:
    """Accept an instruction if a responder of today has said it, and not in chat."""
    roster, voucher = policy().roster, None
    if needs_voucher(said):
        about = Question(
            attestation=said.attestation, digest=digest(said.word), issuers=roster.issuers
        )
        voucher = await attest(about)
    try:
        who = speaker(said, roster, datetime.now(UTC), voucher)
    except NotTheirs as why:
        return Ruling(accepted=False, reason=str(why))
    if who.means is Means.CHAT:
        return Ruling(accepted=False, reason="this is not said in chat")
    return Ruling(accepted=True)
